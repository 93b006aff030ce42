//! A lock in other tools' words.

use rattler_conda_types::Subdir;

use super::{Lock, LockedPackage, Manager, yaml};

impl Lock {
    /// An `environment.yml` that asks for exactly what is locked for `subdir`: `name=version=build`, each, and pip's
    /// packages by URL and hash.
    ///
    /// It names builds, so it holds for this one subdir. A conda that solves it fetches from the lock's channels;
    /// unlike the explicit lock it has no hashes of conda packages.
    pub fn environment_yaml(&self, name: &str, subdir: Subdir) -> String {
        let mut out = format!("# Locked for {subdir} by esker.\nname: {}\nchannels:\n", yaml::key(name));
        for channel in &self.channels {
            out.push_str(&item(2, &channel.url));
        }
        // Without this a configured channel of the machine's would take part.
        out.push_str("  - nodefaults\ndependencies:\n");
        let mut packages: Vec<&LockedPackage> = self.packages_for(subdir).collect();
        packages.sort_by(|a, b| a.key().cmp(&b.key()));
        // A package of several categories has an entry for each.
        packages.dedup_by(|a, b| (a.manager, &a.name) == (b.manager, &b.name));
        let (conda, pip): (Vec<&LockedPackage>, Vec<_>) =
            packages.into_iter().partition(|package| package.manager == Manager::Conda);
        for package in conda {
            out.push_str(&item(2, &conda_pin(package)));
        }
        if !pip.is_empty() {
            out.push_str("  - pip:\n");
        }
        for package in pip {
            out.push_str(&item(6, &pip_pin(package)));
        }
        out
    }
}

/// One entry of a list. The text is not folded, so that each stands on a line.
fn item(indent: usize, text: &str) -> String {
    format!("{:indent$}- {}\n", "", yaml::key(text))
}

fn conda_pin(package: &LockedPackage) -> String {
    let build = package.build().map(|build| format!("={build}")).unwrap_or_default();
    format!("{}={}{build}", package.name, package.version)
}

fn pip_pin(package: &LockedPackage) -> String {
    let hash = package.sha256.as_ref().map(|sha256| format!("#sha256={sha256}")).unwrap_or_default();
    format!("{} @ {}{hash}", package.name, package.written_url())
}

#[cfg(test)]
mod tests {
    use super::super::LockedChannel;
    use super::super::diff::tests::{lock, package};
    use super::*;

    #[test]
    fn pins_are_exact_and_read_back() {
        let mut lock = lock(&["b 1.10 h_0", "_a 1!2.0 py312_1", "c 2 0"]);
        lock.channels = vec![LockedChannel { url: "conda-forge".into(), used_env_vars: vec![] }];
        let url = "https://files.example.org/foo-2.0-py3-none-any.whl".parse().unwrap();
        let pip = LockedPackage {
            manager: Manager::Pip,
            url,
            sha256: Some("aa".into()),
            ..package(Subdir::Linux64, "foo 2.0 x")
        };
        lock.packages.push(pip);
        let text = lock.environment_yaml("tiny", Subdir::Linux64);
        let expected = "# Locked for linux-64 by esker.\nname: tiny\nchannels:\n  - conda-forge\n  - nodefaults\n\
                        dependencies:\n  - _a=1!2.0=py312_1\n  - b=1.10=h_0\n  - c=2=0\n  - pip:\n      - \
                        foo @ https://files.example.org/foo-2.0-py3-none-any.whl#sha256=aa\n";
        assert_eq!(text, expected);
        let read = crate::project::match_spec("_a=1!2.0=py312_1").unwrap();
        assert_eq!(read.build.map(|build| build.to_string()).as_deref(), Some("py312_1"));
        assert!(!lock.environment_yaml("tiny", Subdir::LinuxAarch64).contains("pip"));
    }
}
