//! What a package says about itself: `info/index.json`, `info/paths.json`, `info/link.json`, and what older packages
//! have instead of `paths.json`.

use std::collections::BTreeMap;
use std::io::{self, Read};

use rattler_conda_types::package::{
    Files, HasPrefix, IndexJson, LinkJson, NoArchLinks, NoLink, NoSoftlink, PackageFile, PathType, PathsEntry,
    PathsJson, PythonEntryPoints,
};

use super::archive::{Archive, Section, What};
use super::error::Error;
use super::paths::{PathFault, PrefixPath};

/// The most bytes a file of `info/` that is read may have. The largest real `paths.json` has 15 MB.
const MAX_INFO: u64 = 64 << 20;

/// The files of `info/` that say how a package is installed.
pub const WANTED: [&str; 7] = [
    "info/index.json",
    "info/paths.json",
    "info/link.json",
    "info/files",
    "info/has_prefix",
    "info/no_link",
    "info/no_softlink",
];

/// What a package says about itself.
#[derive(Clone, Debug)]
pub struct Info {
    /// Name, version, build, requirements.
    pub index: IndexJson,
    /// Every file to install, in the order of their paths.
    pub paths: Vec<ListedPath>,
    /// Commands of a `noarch: python` package.
    pub entry_points: Vec<rattler_conda_types::package::EntryPoint>,
    /// When it was built, in seconds since 1970.
    pub timestamp: u64,
}

/// A path of `info/paths.json`, checked.
#[derive(Clone, Debug)]
pub struct ListedPath {
    /// The path in the package.
    pub path: PrefixPath,
    /// The rest of what is listed.
    pub entry: PathsEntry,
}

impl Info {
    /// Reads it from `archive`.
    ///
    /// # Errors
    /// When the archive is damaged, the files are missing or wrong, or a path is refused.
    pub fn read(archive: &Archive) -> Result<Self, Error> {
        let mut raw = Raw::default();
        archive.walk(Section::Info, &mut |member| {
            let What::File(size, data) = member.what else { return Ok(()) };
            let Some(name) = WANTED.into_iter().find(|name| *name == member.path.as_str()) else { return Ok(()) };
            if size > MAX_INFO {
                let limit = format!("{} MiB in `{name}`", MAX_INFO >> 20);
                return Err(Error::TooLarge { package: archive.name.clone(), limit });
            }
            let mut content = Vec::new();
            data.read_to_end(&mut content).map_err(|error| archive.damaged(error))?;
            if name == WANTED[0] {
                raw.index_mtime = member.mtime;
            }
            raw.files.insert(name, content);
            Ok(())
        })?;
        raw.understand(archive)
    }
}

#[derive(Default)]
struct Raw {
    files: BTreeMap<&'static str, Vec<u8>>,
    index_mtime: u64,
}

impl Raw {
    fn understand(self, archive: &Archive) -> Result<Info, Error> {
        let index: IndexJson = self.parse(archive, "info/index.json")?.ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::NotFound, "it is not in the archive");
            Error::Metadata { package: archive.name.clone(), file: "info/index.json", source }
        })?;
        let paths = match self.parse::<PathsJson>(archive, "info/paths.json")? {
            Some(paths) => paths,
            None => self.paths_of_old_package(archive)?,
        };
        let entry_points = match self.parse::<LinkJson>(archive, "info/link.json")?.map(|link| link.noarch) {
            Some(NoArchLinks::Python(PythonEntryPoints { entry_points })) => entry_points,
            Some(NoArchLinks::Generic) | None => vec![],
        };
        // Old packages have no timestamp; the file that would hold it was written at that time.
        let timestamp = index.timestamp.as_ref().and_then(|time| u64::try_from(time.timestamp()).ok());
        let timestamp = timestamp.unwrap_or(self.index_mtime).min(u32::MAX.into());
        Ok(Info { index, paths: check_paths(paths, archive)?, entry_points, timestamp })
    }

    fn parse<T: PackageFile>(&self, archive: &Archive, file: &'static str) -> Result<Option<T>, Error> {
        self.files.get(file).map(|content| T::from_slice(content)).transpose().map_err(|source| Error::Metadata {
            package: archive.name.clone(),
            file,
            source,
        })
    }

    /// Before conda-build 3, `files`, `has_prefix` and `no_link` said what `paths.json` says now, except for types.
    fn paths_of_old_package(&self, archive: &Archive) -> Result<PathsJson, Error> {
        let files: Files = self.parse(archive, "info/files")?.unwrap_or(Files { files: vec![] });
        let has_prefix: Option<HasPrefix> = self.parse(archive, "info/has_prefix")?;
        let no_link: Option<NoLink> = self.parse(archive, "info/no_link")?;
        let no_softlink: Option<NoSoftlink> = self.parse(archive, "info/no_softlink")?;
        let types = types_of(archive)?;
        PathsJson::from_deprecated(files, has_prefix, no_link, no_softlink, |path| {
            let path = path.to_string_lossy();
            types
                .get(path.as_ref())
                .copied()
                .ok_or_else(|| Error::Missing { package: archive.name.clone(), path: path.into_owned() })
        })
    }
}

fn types_of(archive: &Archive) -> Result<BTreeMap<String, PathType>, Error> {
    let mut types = BTreeMap::new();
    archive.walk(Section::Content, &mut |member| {
        let kind = match member.what {
            What::File(..) | What::Hardlink(_) => PathType::HardLink,
            What::Symlink(_) => PathType::SoftLink,
            What::Directory => PathType::Directory,
        };
        types.insert(member.path.into(), kind);
        Ok(())
    })?;
    Ok(types)
}

fn check_paths(paths: PathsJson, archive: &Archive) -> Result<Vec<ListedPath>, Error> {
    let mut listed = paths
        .paths
        .into_iter()
        .map(|entry| {
            use std::os::unix::ffi::OsStrExt;
            let raw = entry.relative_path.as_os_str().as_bytes();
            let path = match entry.path_type {
                PathType::Directory => PrefixPath::parse_directory(raw),
                PathType::HardLink | PathType::SoftLink => PrefixPath::parse(raw),
            };
            let path = path.map_err(|fault| archive.fault(raw, fault))?;
            Ok(ListedPath { path, entry })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    match listed.windows(2).find(|pair| pair[0].path == pair[1].path) {
        Some(pair) => Err(archive.fault(pair[0].path.as_str().as_bytes(), PathFault::Twice)),
        None => Ok(listed),
    }
}

/// Reads a member that is known to be small enough for memory.
///
/// # Errors
/// When the archive is damaged, or the member ends early.
pub fn read_all(archive: &Archive, path: &PrefixPath, size: u64, data: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let reserved = usize::try_from(size).is_ok_and(|size| content.try_reserve_exact(size).is_ok());
    if !reserved {
        return Err(Error::TooLarge { package: archive.name.clone(), limit: format!("fits into memory (`{path}`)") });
    }
    data.read_to_end(&mut content).map_err(|error| archive.damaged(error))?;
    if content.len() as u64 == size {
        return Ok(content);
    }
    let source = io::Error::new(io::ErrorKind::UnexpectedEof, format!("`{path}` ends early"));
    Err(archive.damaged(source))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rattler_conda_types::compression_level::CompressionLevel;
    use rattler_conda_types::package::FileMode;
    use rattler_package_streaming::write::write_tar_bz2_package;

    use super::*;

    /// A `.tar.bz2` of these files and one link, `bin/link`.
    fn package(files: &[(&str, &str)]) -> Result<Info, Error> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let mut paths: Vec<PathBuf> = Vec::new();
        for (path, content) in files {
            let place = root.join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(&place, content).unwrap();
            paths.push(place);
        }
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::os::unix::fs::symlink("run", root.join("bin/link")).unwrap();
        paths.push(root.join("bin/link"));
        let path = folder.path().join("old-1-0.tar.bz2");
        let file = fs_err::File::create(&path).unwrap();
        let time = jiff::Timestamp::from_second(1_400_000_000).unwrap();
        write_tar_bz2_package(file, &root, &paths, CompressionLevel::Lowest, Some(&time), None).unwrap();
        Info::read(&Archive::open(path, "old-1-0.tar.bz2").unwrap())
    }

    const INDEX: (&str, &str) =
        ("info/index.json", r#"{"name":"old","version":"1","build":"0","build_number":0,"depends":[]}"#);

    #[test]
    fn packages_from_before_paths_json_are_understood() {
        let info = package(&[
            INDEX,
            ("info/files", "bin/link\nbin/run\n"),
            ("info/has_prefix", "/opt/placeholder text bin/run\n"),
            ("bin/run", "#!/opt/placeholder/bin/python\n"),
        ])
        .unwrap();
        let kinds: Vec<_> = info.paths.iter().map(|listed| (listed.path.as_str(), listed.entry.path_type)).collect();
        assert_eq!(kinds, [("bin/link", PathType::SoftLink), ("bin/run", PathType::HardLink)]);
        let placeholder = info.paths[1].entry.prefix_placeholder.as_ref().unwrap();
        assert_eq!((placeholder.placeholder.as_str(), placeholder.file_mode), ("/opt/placeholder", FileMode::Text));
        assert_eq!(info.timestamp, 1_400_000_000, "the time of `info/index.json`, which has none in it");
    }

    #[test]
    fn what_is_missing_or_listed_twice_is_named() {
        let error = package(&[("info/files", "")]).unwrap_err();
        assert!(matches!(error, Error::Metadata { file: "info/index.json", .. }), "{error}");
        let error = package(&[INDEX, ("info/files", "bin/gone\n")]).unwrap_err();
        assert!(matches!(&error, Error::Missing { path, .. } if path == "bin/gone"), "{error}");
        let error = package(&[INDEX, ("info/files", "bin/link\nbin/link\n")]).unwrap_err();
        assert!(matches!(&error, Error::Path { fault: PathFault::Twice, .. }), "{error}");
        let error = package(&[INDEX, ("info/paths.json", "{")]).unwrap_err();
        assert!(matches!(error, Error::Metadata { file: "info/paths.json", .. }), "{error}");
    }
}
