//! A base system made of Debian packages alone, as debootstrap would install them, without running anything of them.
//!
//! The system begins with a merged `/usr` and nothing else: all that is there comes out of packages, or is what their
//! scripts would make of it ([`super::essential`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::alternatives::STATE;
use super::effects::{self, Effect};
use super::error::Error;
use super::package::Package;
use super::tree::{Content, Node, Owner, Tree};
use super::{Ground, Installed, database, essential, followed, spool};
use crate::apt::LockedDeb;
use crate::oci::Platform;
use crate::project::DebianRelease;

/// Another way to make the system of the same packages needs another number.
pub const FORMAT: u32 = 1;
/// Packages whose scripts' effects others rely on, in this order.
const FIRST: [&str; 2] = ["base-passwd", "base-files"];
/// Folders that are one with those below `/usr`; the last where the loader is there by the ABI.
const MERGED: [(&str, &str); 4] = [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), LIB64];
const LIB64: (&str, &str) = ("lib64", "usr/lib64");
/// What a slim system goes without, as dpkg is told: licences stay.
const SLIM: (&str, &str) = (
    "etc/dpkg/dpkg.cfg.d/slim",
    "# Documentation and translations are left out, also of what is installed later.\n\
     path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\npath-exclude /usr/share/groff/*\n\
     path-exclude /usr/share/info/*\npath-exclude /usr/share/linda/*\npath-exclude /usr/share/lintian/*\n\
     path-exclude /usr/share/locale/*\npath-exclude /usr/share/man/*\n",
);

/// Packages that make a base system.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Which Debian.
    pub release: DebianRelease,
    /// The platform.
    pub platform: Platform,
    /// The packages.
    pub packages: Vec<LockedDeb>,
    /// Packages whose maintainer scripts are known not to matter.
    pub skip: Vec<String>,
    /// Where apt finds more in the system, as `debian.sources`.
    pub sources: String,
}

impl Bootstrap {
    /// Installs the packages, whose `archives` are in their order, into nothing; contents go into a file in `scratch`.
    ///
    /// # Errors
    /// When a package does not allow it, by name.
    pub fn install(&self, archives: Vec<PathBuf>, scratch: &Path) -> Result<Installed, Error> {
        let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
        let mut debs: Vec<_> = self.packages.iter().cloned().zip(archives).collect();
        debs.sort_by(|(a, _), (b, _)| (rank(&a.name), &a.name).cmp(&(rank(&b.name), &b.name)));
        let mut tree = Tree::new(spool(scratch, &format!("base-{}", self.platform.architecture()))?);
        let made = merged(&mut tree, self.platform);
        let mut files = BTreeMap::from([(format!("{}/status", database::FOLDER), Vec::new())]);
        if self.release.slim {
            files.insert(SLIM.0.to_owned(), SLIM.1.as_bytes().to_vec());
        }
        let ground = Ground { tree, files, installed: BTreeMap::new(), made };
        ground.install(&debs, &|packages, tree| self.effects(packages, tree))
    }

    /// What the maintainer scripts of `packages` do, and what an installer does besides.
    fn effects(&self, packages: &[Package], tree: &Tree) -> Result<Vec<Effect>, Error> {
        let mut all = Vec::new();
        for package in packages.iter().filter(|package| self.skip.iter().all(|skip| skip != package.name())) {
            let name = package.name();
            if let Some(reason) = effects::needs(&package.list).filter(|_| !essential::has_loader(name)) {
                return Err(Error::Script { package: package.deb.locked.label(), script: "postinst", reason });
            }
            match essential::known(name).or_else(|| effects::known(name)) {
                Some(known) => all.extend(known),
                None => all.extend(followed(package, tree)?),
            }
        }
        // A manual that was left out is no alternative.
        all.retain(|effect| match effect {
            Effect::Alternative(alternative) => tree.follow(&alternative.path).is_some(),
            _ => true,
        });
        all.extend(self.besides());
        Ok(all)
    }

    /// What an installer makes: where more packages are, dpkg's folders, and a machine's number, which every machine has
    /// to find for itself.
    fn besides(&self) -> Vec<Effect> {
        let (machine, format) = ("etc/machine-id", "var/lib/dpkg/info/format");
        let mut all = vec![
            Effect::File { path: machine, text: "".into() },
            Effect::Mode { path: machine, group: "root", mode: 0o444 },
            Effect::File { path: "etc/apt/sources.list.d/debian.sources", text: self.sources.clone().into() },
            Effect::File { path: format, text: "1\n".into() },
            Effect::Directory { path: STATE, mode: 0o755, owner: (0, 0) },
        ];
        if self.release.slim {
            all.push(Effect::File { path: SLIM.0, text: SLIM.1.into() });
        }
        all
    }
}

/// Makes `/usr` one with the folders that were beside it once; returns what was made.
fn merged(tree: &mut Tree, platform: Platform) -> Vec<&'static str> {
    let node =
        |content: Content, mode| Node { content, mode, uid: 0, gid: 0, mtime: 0, owner: Owner::Nobody, added: true };
    let has_lib64 = matches!(platform, Platform::LinuxAmd64 | Platform::LinuxPpc64le);
    let mut made = vec!["usr"];
    for (link, folder) in MERGED.into_iter().filter(|pair| *pair != LIB64 || has_lib64) {
        tree.insert(folder, node(Content::Directory, 0o755));
        tree.insert(link, node(Content::Symlink(folder.to_owned()), 0o777));
        made.extend([link, folder]);
    }
    made
}
