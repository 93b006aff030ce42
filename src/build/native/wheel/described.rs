//! A wheel as far as a plan needs it, without its archive.

use std::path::PathBuf;

use std::collections::BTreeMap;

use rattler_conda_types::package::EntryPoint;
use serde::{Deserialize, Serialize};

use super::record::Listed;
use super::{EARLIEST, Member, Wheel, plain};
use crate::build::native::described::is_often_shared;
use crate::build::native::paths::PrefixPath;
use crate::build::native::pinned::Pinned;
use crate::oci::Digest;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DescribedWheel {
    size: u64,
    built: u64,
    /// Below the wheel's root, of one part.
    dist_info: PrefixPath,
    distribution: String,
    files: Vec<PrefixPath>,
    /// Of files that other packages often have as well.
    digests: BTreeMap<PrefixPath, Digest>,
    entry_points: Vec<EntryPoint>,
    license: Option<String>,
    depends: Vec<String>,
}

impl Wheel {
    /// What a plan needs of it.
    pub fn described(&self) -> Option<DescribedWheel> {
        let digests = self.members.iter().filter(|member| is_often_shared(&member.path)).filter_map(|member| {
            let digest = member.listed.as_ref()?.sha256()?;
            Some((member.path.clone(), digest))
        });
        Some(DescribedWheel {
            digests: digests.collect(),
            size: self.size,
            built: self.timestamp,
            dist_info: PrefixPath::parse(self.dist_info.as_bytes()).ok()?,
            distribution: self.distribution.clone(),
            files: self.members.iter().map(|member| member.path.clone()).collect(),
            entry_points: self.entry_points.clone(),
            license: self.license.clone(),
            depends: self.depends.clone(),
        })
    }

    /// The wheel of `package` as it was described, of which nothing can be read; `None` if it is described as another.
    pub fn of_described(package: &Pinned, described: &DescribedWheel) -> Option<Self> {
        let DescribedWheel { size, built, dist_info, distribution, files, digests, entry_points, license, depends } =
            described;
        let is_same = plain(distribution) == plain(&package.locked.name) && !distribution.contains('/');
        let is_sorted = files.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_same || !is_sorted || dist_info.parent().is_some() {
            return None;
        }
        let member = |(index, path): (usize, &PrefixPath)| Member {
            index,
            path: path.clone(),
            size: 0,
            executable: false,
            mtime: EARLIEST,
            listed: digests.get(path).map(Listed::of),
        };
        Some(Self {
            name: package.locked.file_name().to_owned(),
            size: *size,
            timestamp: *built,
            path: PathBuf::from(package.path()),
            dist_info: dist_info.as_str().to_owned(),
            distribution: distribution.clone(),
            members: files.iter().enumerate().map(member).collect(),
            entry_points: entry_points.clone(),
            license: license.clone(),
            depends: depends.clone(),
        })
    }
}
