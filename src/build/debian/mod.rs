//! Debian packages as a layer of their own, between the base and the conda packages. Nothing of them is run.
//!
//! ```text
//! LockedDeb ─► Deb ─► Package ─► Tree ─► effects ─► database ─► layer
//! (sha256)    (ar)   (control)  (paths)  (scripts)  (dpkg)
//! ```
//!
//! Packages are unpacked into a [`tree`] that starts as the base's, so that a path is resolved through the base's links
//! (`/lib` leads to `/usr/lib`), and what another package has is not overwritten. What their maintainer scripts would do
//! is found out by [`scripts`] and a table ([`effects`]); what is not known is refused by name.
//!
//! The layer is a function of the packages, the base and the settings. A base's `ld.so.cache` is left as it is: the loader
//! looks into its default folders for what the cache does not have.

mod accounts;
mod alternatives;
mod bootstrap;
mod certificates;
mod conditions;
mod database;
mod deb;
mod effects;
mod error;
mod essential;
mod excludes;
mod layer;
mod libraries;
mod package;
mod pam;
mod scripts;
pub mod shell;
mod shells;
mod sysusers;
mod tree;
mod unpack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::base::BaseImage;
use crate::apt::version::Version;
use crate::apt::{self, AptLock, LockedDeb};
use crate::supply::{Component, debian};

pub use bootstrap::{Bootstrap, FORMAT};
pub use error::Error;
pub use layer::{System, Written};

use accounts::Accounts;
use deb::Deb;
use effects::{Applied, Effect};
use excludes::Excludes;
use package::Package;
use tree::{Content, Owner, Tree};
use unpack::Target;

/// The Debian packages of an image.
#[derive(Clone, Copy, Debug)]
pub struct DebianRequest<'a> {
    /// What is locked.
    pub lock: &'a AptLock,
    /// Packages whose maintainer scripts are known not to matter.
    pub skip: &'a [String],
}

/// What is installed on one base.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The base.
    pub base: BaseImage,
    /// The packages and their archives.
    pub debs: Vec<(LockedDeb, PathBuf)>,
    /// Digest of what the base has to have installed.
    pub installed: crate::oci::Digest,
    /// Packages whose maintainer scripts are known not to matter.
    pub skip: Vec<String>,
}

/// The base with packages installed on it.
pub struct Installed {
    tree: Tree,
    accounts: Accounts,
    time: u64,
    packages: Vec<Component>,
}

/// What other packages' files were moved out of the way, relative to the root.
const DIVERSIONS: &str = "var/lib/dpkg/diversions";

/// Which files of a base are looked into.
fn is_wanted(path: &str) -> bool {
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    super::accounts::FILES.contains(&path)
        || excludes::is_settings(path)
        || debian::is_wanted(path)
        || path == DIVERSIONS
        || below("var/lib/dpkg/triggers")
        || below(alternatives::STATE)
        || below(certificates::LOCAL)
        || database::list_of(path).is_some()
}

/// What finds out what the scripts of packages do to a tree.
type Effects<'a> = dyn Fn(&[Package], &Tree) -> Result<Vec<Effect>, Error> + 'a;

/// What packages are installed on: a file system, and what its files say.
struct Ground {
    tree: Tree,
    /// Files of the base, by path.
    files: BTreeMap<String, Vec<u8>>,
    /// Versions of what is installed, by name.
    installed: BTreeMap<String, Version>,
    /// Paths that are the time of the newest file.
    made: Vec<&'static str>,
}

/// A file for the contents of what is added.
fn spool(scratch: &Path, name: &str) -> Result<fs_err::File, Error> {
    let path = scratch.join(name);
    let options = fs_err::File::options().read(true).write(true).create(true).truncate(true).open(&path);
    options.map_err(Error::write(&path))
}

impl Installation {
    /// Installs the packages; contents go into a file in `scratch`.
    ///
    /// # Errors
    /// When the base or a package does not allow it, each by name.
    pub fn install(&self, scratch: &Path) -> Result<Installed, Error> {
        let unreadable = |error| Error::BaseContent(Box::new(error));
        let files = self.base.read_files(is_wanted).map_err(unreadable)?;
        let installed = self.check_base(&files)?;
        let mut tree = Tree::new(spool(scratch, &format!("debian-{}", self.base.platform.architecture()))?);
        self.base.walk(|entry| tree.base(entry)).map_err(unreadable)?;
        owners(&files, &mut tree);
        let ground = Ground { tree, files, installed, made: vec![] };
        ground.install(&self.debs, &|packages, tree| effects_of(packages, &self.skip, tree))
    }

    /// Versions of what is installed on the base, by name.
    fn check_base(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, Version>, Error> {
        let bad = |reason: String| Error::Base { reason };
        let status = files.get(apt::STATUS).ok_or_else(|| bad(format!("it has no `/{}`", apt::STATUS)))?;
        let status = String::from_utf8_lossy(status);
        if apt::installed_digest(&status).map_err(bad)? != self.installed {
            return Err(Error::OtherBase { base: self.base.reference.clone() });
        }
        let mut installed = BTreeMap::new();
        for paragraph in apt::control::paragraphs(&status).map(apt::control::Paragraph::parse) {
            let version = paragraph.get("Version").and_then(|version| version.parse().ok());
            installed.extend(paragraph.get("Package").map(str::to_owned).zip(version));
        }
        Ok(installed)
    }
}

impl Ground {
    /// Unpacks `debs`, and carries out what `effects` finds that they do.
    fn install(self, debs: &[(LockedDeb, PathBuf)], effects: &Effects<'_>) -> Result<Installed, Error> {
        let Self { mut tree, files, installed, made } = self;
        let mut accounts = Accounts::read(&files);
        let excludes = Excludes::read(&files);
        let mut target = Target {
            tree: &mut tree,
            excludes: &excludes,
            installed: &installed,
            diverted: diversions(&files),
            lost: BTreeMap::new(),
            before: vec![],
        };
        for (locked, path) in debs {
            target.unpack(Package::read(Deb { locked: locked.clone(), path: path.clone() })?)?;
        }
        let Target { lost, before: packages, .. } = target;
        // What is made has the time of the newest file: nobody's clock.
        let time = tree.iter().filter(|(_, node)| node.added).map(|(_, node)| node.mtime).max().unwrap_or_default();
        made.iter().filter_map(|path| tree.get_mut(path).map(|node| node.mtime = time)).for_each(drop);
        let effects = effects(&packages, &tree)?;
        Applied { base: &files, accounts: &mut accounts, time }.apply(&effects, &mut tree)?;
        accounts.write(&mut tree, time)?;
        database::write(&packages, &lost, &files, &mut tree, time)?;
        let mut described: BTreeMap<_, _> = files.into_iter().filter(|(path, _)| debian::is_wanted(path)).collect();
        described.extend(tree.added_bytes(apt::STATUS)?.map(|status| (apt::STATUS.to_owned(), status)));
        Ok(Installed { tree, accounts, time, packages: debian::components(&described) })
    }
}

/// What the maintainer scripts of `packages` do, but for those of `skip`.
fn effects_of(packages: &[Package], skip: &[String], tree: &Tree) -> Result<Vec<Effect>, Error> {
    let mut all = Vec::new();
    for package in packages.iter().filter(|package| skip.iter().all(|skip| skip != package.name())) {
        if let Some(reason) = effects::needs(&package.list) {
            return Err(Error::Script { package: package.deb.locked.label(), script: "postinst", reason });
        }
        match effects::known(package.name()) {
            Some(known) => all.extend(known),
            None => all.extend(followed(package, tree)?),
        }
    }
    Ok(all)
}

/// What the maintainer scripts of `package` do, by reading them.
fn followed(package: &Package, tree: &Tree) -> Result<Vec<Effect>, Error> {
    let mut all = Vec::new();
    for (script, action) in [("preinst", "install"), ("postinst", "configure")] {
        let Some(text) = package.text(script) else { continue };
        let refused = |reason| Error::Script { package: package.deb.locked.label(), script, reason };
        all.extend(scripts::follow(&text, action, tree).map_err(refused)?);
    }
    Ok(all)
}

/// The packages that diverted paths (dpkg-divert(1)), by path.
fn diversions(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(files.get(DIVERSIONS).map_or(&[][..], Vec::as_slice)).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let record = |record: &[&str]| Some(((*record.first()?).to_owned(), (*record.get(2)?).to_owned()));
    lines.chunks(3).filter_map(record).collect()
}

/// Notes whose the paths of the base are, by dpkg's lists.
fn owners(files: &BTreeMap<String, Vec<u8>>, tree: &mut Tree) {
    for (path, bytes) in files {
        let Some(package) = database::list_of(path) else { continue };
        for line in String::from_utf8_lossy(bytes).lines() {
            // A list spells paths as the package had them, before `/lib` was a link.
            let Ok(place) = tree.locate(line) else { continue };
            if let Some(node) = tree.get_mut(&place).filter(|node| node.content != Content::Directory) {
                node.owner = Owner::Package(package.to_owned());
            }
        }
    }
}
