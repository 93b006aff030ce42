//! What this process may do, and which architectures it can run.

use super::protocol::Privilege;
use crate::oci::Platform;
use crate::verify::runtime::config::HUB_USER;

/// CAP_CHOWN, CAP_SETGID, CAP_SETUID and CAP_SYS_ADMIN (linux/capability.h): what [`Privilege::Root`] needs.
const NEEDED: u64 = 1 | 1 << 6 | 1 << 7 | 1 << 21;

impl Privilege {
    /// What this process may do. Being user 0 is not enough: in a container it often lacks the capabilities, or there
    /// is no user but 0.
    pub fn of_this_process() -> Self {
        let read = |file: &str| fs_err::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        Self::judge(&read("status"), &read("uid_map"))
    }

    fn judge(status: &str, uid_map: &str) -> Self {
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
        let has_user = uid_map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
            let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
            let user = u64::from(HUB_USER.0);
            first.zip(count).is_some_and(|(first, count)| (first..first.saturating_add(count)).contains(&user))
        });
        if effective & NEEDED == NEEDED && has_user { Self::Root } else { Self::User }
    }
}

/// Whether programs for `platform` run on this machine; if not, why.
///
/// # Errors
/// The reason, for the report.
pub fn can_run(platform: Platform) -> Result<(), String> {
    if Platform::host() == Some(platform) || binfmt_handler(platform) {
        return Ok(());
    }
    Err(format!("no binfmt handler for {}", platform.architecture()))
}

/// Whether the kernel hands programs for `platform` to an emulator it holds open (flag F), which alone is found from
/// within a container.
pub fn binfmt_handler(platform: Platform) -> bool {
    let emulator = match platform {
        Platform::LinuxAmd64 => "qemu-x86_64",
        Platform::LinuxArm64 => "qemu-aarch64",
        Platform::LinuxPpc64le => "qemu-ppc64le",
    };
    let handler = fs_err::read_to_string(format!("/proc/sys/fs/binfmt_misc/{emulator}")).unwrap_or_default();
    handler.starts_with("enabled") && handler.lines().any(|line| line.starts_with("flags:") && line.contains('F'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_needs_its_capabilities_and_other_users() {
        let whole = "         0          0 4294967295\n";
        let alone = "         0       1000          1\n";
        let full = "Name:\tesker\nCapEff:\t000001ffffffffff\n";
        let docker = "CapEff:\t00000000a80425fb\n";
        assert_eq!(Privilege::judge(full, whole), Privilege::Root);
        assert_eq!(Privilege::judge(full, alone), Privilege::User);
        assert_eq!(Privilege::judge(docker, whole), Privilege::User);
        assert_eq!(Privilege::judge("CapEff:\t0000000000000000\n", whole), Privilege::User);
        assert_eq!(Privilege::judge("", ""), Privilege::User);
    }

    #[test]
    fn this_machine_runs_its_own_programs() {
        assert!(Platform::host().is_none_or(|host| can_run(host).is_ok()));
    }
}
