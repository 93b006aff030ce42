//! Files that a wheel has and another package as well.
//!
//! conda says which of its packages wins; pip says nothing, and what is installed last stays. So a path that is in a
//! wheel and elsewhere is fine only where both have the same content, as the empty `__init__.py` of a namespace: then it
//! is the other's.

use std::collections::{BTreeSet, HashMap};

use super::error::Error;
use super::install::{Installed, Origin};
use super::paths::PrefixPath;
use super::prefix::Inspected;

/// Adds to `excluded` what wheels have that other packages have as well.
///
/// # Errors
/// [`Error::Overlap`] where the content differs.
pub fn settle(
    packages: &[&Inspected],
    installed: &[Installed],
    excluded: &mut [BTreeSet<PrefixPath>],
) -> Result<(), Error> {
    let mut owners: HashMap<&PrefixPath, usize> = HashMap::new();
    for (index, package) in packages.iter().enumerate() {
        let files = &installed[index].files;
        if matches!(package, Inspected::Conda(..)) {
            let own = files.keys().filter(|path| !excluded[index].contains(*path));
            owners.extend(own.map(|path| (path, index)));
            continue;
        }
        // Sources first: byte code goes with them.
        let (code, others): (Vec<_>, Vec<_>) =
            files.iter().partition(|(_, origin)| matches!(origin, Origin::ByteCode(_)));
        for (path, origin) in others.into_iter().chain(code) {
            if matches!(origin, Origin::ByteCode(source) if excluded[index].contains(source)) {
                continue;
            }
            let Some(&other) = owners.get(path) else {
                owners.insert(path, index);
                continue;
            };
            let theirs = packages[other].digest_of(&installed[other].files[path]);
            if theirs.is_none() || theirs != package.digest_of(origin) {
                return Err(Error::Overlap {
                    path: path.to_string(),
                    package: package.file_name().to_owned(),
                    other: packages[other].file_name().to_owned(),
                });
            }
            excluded[index].insert(path.clone());
        }
    }
    Ok(())
}
