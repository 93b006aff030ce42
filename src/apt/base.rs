//! What a base says of itself: which Debian it is, what is installed, whose signatures it trusts.

use std::collections::BTreeMap;

use super::control::{Paragraph, paragraphs};
use super::error::Error;
use super::package::Package;
use super::signature::{self, Keyring};
use crate::oci::{Digest, Platform, canonical_json};

/// dpkg's list of what is installed, relative to the root.
pub const STATUS: &str = "var/lib/dpkg/status";
/// Where a system says what it is, the first of them that is there. `/etc/os-release` is a link to the other mostly.
const OS_RELEASE: [&str; 2] = ["usr/lib/os-release", "etc/os-release"];

/// The part of a base that decides which packages are installed on it.
#[derive(Clone, Debug)]
pub struct BaseSystem {
    /// Its platform.
    pub platform: Platform,
    /// `VERSION_CODENAME` of its `os-release`.
    pub codename: String,
    /// What is installed, by name.
    pub installed: Vec<Package>,
    /// Keys it trusts.
    pub keyrings: Vec<Keyring>,
}

impl BaseSystem {
    /// Whether [`read`](Self::read) looks into the file `path` of a base.
    pub fn wants(path: &str) -> bool {
        path == STATUS || OS_RELEASE.contains(&path) || signature::is_keyring(path)
    }

    /// Reads what a base for `platform` says in the files that it [`wants`](Self::wants).
    ///
    /// # Errors
    /// [`Error::Base`] when it is no Debian, [`Error::Status`] when its list cannot be understood.
    pub fn read(platform: Platform, files: BTreeMap<String, Vec<u8>>) -> Result<Self, Error> {
        let bad = |reason: String| Error::Base { platform, reason };
        let text = |path: &str| files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let release = OS_RELEASE.iter().find_map(|path| text(path));
        let release = release.ok_or_else(|| bad("it has no `/etc/os-release`, which says what it is".to_owned()))?;
        let value = |name: &str| os_release(&release, name);
        match value("ID") {
            Some("debian") => {}
            Some(other) => return Err(bad(format!("its `/etc/os-release` says it is `{other}`, not `debian`"))),
            None => return Err(bad("its `/etc/os-release` does not say what it is".to_owned())),
        }
        let codename = value("VERSION_CODENAME").filter(|name| super::relation::is_name(name));
        let codename = codename.ok_or_else(|| bad("its `/etc/os-release` has no `VERSION_CODENAME`".to_owned()))?;
        let status = text(STATUS).ok_or_else(|| bad(format!("it has no `/{STATUS}`")))?;
        let installed = installed(&status).map_err(|reason| Error::Status { platform, reason })?;
        let keyrings = files.into_iter().filter(|(path, _)| signature::is_keyring(path));
        let keyrings = keyrings.map(|(name, bytes)| Keyring { name, bytes }).collect();
        Ok(Self { platform, codename: codename.to_owned(), installed, keyrings })
    }

    /// A digest of what is installed: packages that were locked for it suit every base that has the same.
    pub fn digest(&self) -> Digest {
        digest(&self.installed)
    }
}

/// A digest of names, versions and architectures.
fn digest(installed: &[Package]) -> Digest {
    let mut all: Vec<_> = installed.iter().map(|one| (&one.name, one.version.as_str(), &one.architecture)).collect();
    all.sort_unstable();
    Digest::of(&canonical_json(&all))
}

/// The digest of what dpkg's `status` lists as installed.
///
/// # Errors
/// What cannot be understood of it.
pub fn installed_digest(status: &str) -> Result<Digest, String> {
    installed(status).map(|installed| digest(&installed))
}

/// The packages that dpkg's `status` lists as installed, by name.
fn installed(status: &str) -> Result<Vec<Package>, String> {
    let is_installed = |paragraph: &Paragraph<'_>| {
        paragraph.get("Status").is_some_and(|status| status.split_whitespace().nth(2) == Some("installed"))
    };
    let all = paragraphs(status).map(Paragraph::parse).filter(is_installed);
    let read = |paragraph: Paragraph<'_>| {
        let name = paragraph.get("Package").unwrap_or("a package without a name");
        Package::read(&paragraph, None).map_err(|reason| format!("`{name}`: {reason}"))
    };
    let mut installed = all.map(read).collect::<Result<Vec<_>, _>>()?;
    installed.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    Ok(installed)
}

/// The value of `name` in an `os-release` file (os-release(5)), its quotes taken off.
fn os_release<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?.trim();
    Some(value.trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS_TEXT: &str = "Package: zlib\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n\
        Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: amd64\n\n\
        Package: base-files\nStatus: hold ok installed\nVersion: 12.4\nArchitecture: amd64\n";

    fn files(release: &str, status: &str) -> BTreeMap<String, Vec<u8>> {
        let files = [("etc/os-release", release), (STATUS, status), ("etc/apt/trusted.gpg.d/a.gpg", "key")];
        files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into()
    }

    #[test]
    fn what_is_installed_is_read() {
        let release = "NAME=\"Debian\"\nID=debian\nVERSION_CODENAME='bookworm'\n";
        let base = BaseSystem::read(Platform::LinuxAmd64, files(release, STATUS_TEXT)).unwrap();
        assert_eq!(base.codename, "bookworm");
        assert_eq!(base.installed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["base-files", "zlib"]);
        assert_eq!(base.keyrings.len(), 1);
        assert_eq!(base.digest(), installed_digest(STATUS_TEXT).unwrap());
        assert_ne!(base.digest(), installed_digest(&STATUS_TEXT.replace("12.4", "12.5")).unwrap());
    }

    #[test]
    fn other_systems_are_refused() {
        let debian = "ID=debian\nVERSION_CODENAME=bookworm\n";
        let broken = STATUS_TEXT.replace("Version: 1\n", "Version: -\n");
        for (release, status, expected) in [
            ("ID=ubuntu\nVERSION_CODENAME=noble\n", STATUS_TEXT, "ubuntu"),
            ("ID=debian\n", STATUS_TEXT, "VERSION_CODENAME"),
            ("", STATUS_TEXT, "does not say"),
            (debian, broken.as_str(), "zlib"),
        ] {
            let error = BaseSystem::read(Platform::LinuxAmd64, files(release, status)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let mut none = files(debian, "");
        none.remove(STATUS);
        assert!(BaseSystem::read(Platform::LinuxAmd64, none).is_err());
    }
}
