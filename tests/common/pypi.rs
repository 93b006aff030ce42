//! A Python package index of tiny wheels on loopback, and the program that reads it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use esker::lock::{LockedPackage, Manager};
use rattler_conda_types::Subdir;
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;

use super::Server;

/// A wheel to be made: `NAME-VERSION-TAG.whl` that holds what it says of itself, and what it is given.
#[derive(Clone, Debug)]
pub struct Wheel {
    name: String,
    version: String,
    tag: String,
    needs: Vec<String>,
    members: Vec<Member>,
}

/// A member of a wheel's archive.
#[derive(Clone, Debug)]
struct Member {
    path: String,
    content: Vec<u8>,
    /// What stat(2) says of it.
    mode: u32,
    /// The content that its line in `RECORD` is made of; none for no line.
    listed: Option<Vec<u8>>,
    /// How long the archive says it is, if not as long as it is.
    claimed: Option<u32>,
}

impl Wheel {
    /// A wheel for every platform.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), tag: "py3-none-any".into(), needs: vec![], members: vec![] }
    }

    /// For another Python, ABI and platform: `cp312-cp312-manylinux_2_17_x86_64`.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tag = tag.into();
        self
    }

    /// One `Requires-Dist` more; an extra that its marker names is declared, too.
    pub fn needs(mut self, requirement: &str) -> Self {
        self.needs.push(requirement.into());
        self
    }

    /// A file; below `*.dist-info` as `{info}/name`, below `*.data` as `{data}/scripts/name`.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.member(path, 0o100_644, content.as_ref(), Some(content.as_ref()))
    }

    /// A file of another mode and type.
    pub fn special(self, path: &str, mode: u32, content: &str) -> Self {
        self.member(path, mode, content.as_bytes(), Some(content.as_bytes()))
    }

    /// A file that `RECORD` does not list.
    pub fn unlisted(self, path: &str, content: &str) -> Self {
        self.member(path, 0o100_644, content.as_bytes(), None)
    }

    /// A file of which `RECORD` has the hash of something else.
    pub fn lying(self, path: &str, content: &str) -> Self {
        self.member(path, 0o100_644, content.as_bytes(), Some(b"something else"))
    }

    /// A file of which the archive says that it has `size` bytes.
    pub fn claimed(self, path: &str, content: &str, size: u32) -> Self {
        let mut wheel = self.file(path, content);
        wheel.members.last_mut().unwrap().claimed = Some(size);
        wheel
    }

    fn member(mut self, path: &str, mode: u32, content: &[u8], listed: Option<&[u8]>) -> Self {
        let path = path.replace("{info}", &self.folder("dist-info")).replace("{data}", &self.folder("data"));
        let (content, listed) = (content.to_vec(), listed.map(<[u8]>::to_vec));
        self.members.push(Member { path, content, mode, listed, claimed: None });
        self
    }

    fn folder(&self, kind: &str) -> String {
        format!("{}-{}.{kind}", self.name.replace('-', "_"), self.version)
    }

    /// A lock's entry for it, fetched from `base`.
    pub fn locked(&self, subdir: Subdir, base: &str) -> LockedPackage {
        LockedPackage {
            name: self.name.clone(),
            version: self.version.clone(),
            manager: Manager::Pip,
            subdir,
            dependencies: BTreeMap::new(),
            url: format!("{base}{}", self.file_name()).parse().unwrap(),
            md5: None,
            sha256: Some(hex::encode(Sha256::digest(self.bytes()))),
            category: "main".into(),
            optional: false,
        }
    }

    /// Its file name.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.whl", self.name.replace('-', "_"), self.version, self.tag)
    }

    /// The archive.
    pub fn bytes(&self) -> Vec<u8> {
        let mut metadata = format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n", self.name, self.version);
        for need in &self.needs {
            metadata.push_str(&format!("Requires-Dist: {need}\n"));
            if let Some((_, extra)) = need.split_once("extra == ") {
                metadata.push_str(&format!("Provides-Extra: {}\n", extra.trim_matches(['\'', '"'])));
            }
        }
        let own = Self { members: vec![], ..self.clone() }
            .file("{info}/METADATA", metadata)
            .file("{info}/WHEEL", format!("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {}\n", self.tag));
        // What a test gives comes instead.
        let mut members = self.members.clone();
        members.extend(own.members.into_iter().filter(|own| self.members.iter().all(|given| given.path != own.path)));
        let record = format!("{}/RECORD", self.folder("dist-info"));
        let line = |member: &Member| {
            let listed = member.listed.as_ref()?;
            let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(listed));
            Some(format!("{},sha256={hash},{}\n", member.path, listed.len()))
        };
        let lines: String = members.iter().filter_map(line).chain([format!("{record},,\n")]).collect();
        let content = lines.into_bytes();
        members.push(Member { path: record, content, mode: 0o100_644, listed: None, claimed: None });
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for member in &members {
            let time = zip::DateTime::from_date_and_time(2024, 1, 1, 0, 0, 0).unwrap();
            zip.start_file(member.path.as_str(), SimpleFileOptions::default().last_modified_time(time)).unwrap();
            zip.write_all(&member.content).unwrap();
        }
        let mut bytes = zip.finish().unwrap().into_inner();
        for member in &members {
            member.set_header(&mut bytes);
        }
        bytes
    }
}

impl Member {
    /// Writes mode and size into the archive's directory as they are: the writer lets no strange ones through.
    fn set_header(&self, bytes: &mut [u8]) {
        // After the fixed part of an entry of the central directory, 46 bytes, comes the name.
        let entry = (0..bytes.len() - 46)
            .rfind(|&at| bytes[at..].starts_with(b"PK\x01\x02") && bytes[at + 46..].starts_with(self.path.as_bytes()));
        let entry = entry.unwrap();
        if let Some(size) = self.claimed {
            bytes[entry + 24..entry + 28].copy_from_slice(&size.to_le_bytes());
        }
        bytes[entry + 38..entry + 42].copy_from_slice(&(self.mode << 16).to_le_bytes());
    }
}

/// An index as PEP 503 has it, below `/simple/` of a server.
pub struct Index {
    /// The server; it can be told to fail.
    pub server: Server,
    folder: tempfile::TempDir,
}

impl Index {
    /// An index of these wheels.
    pub fn new(wheels: &[Wheel]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let index = Self { server: Server::start(folder.path()), folder };
        index.publish(wheels);
        index
    }

    /// Adds wheels.
    pub fn publish(&self, wheels: &[Wheel]) {
        for wheel in wheels {
            self.put(&wheel.name, &wheel.file_name(), &wheel.bytes());
        }
    }

    /// Adds any file to a project: a source archive.
    pub fn put(&self, project: &str, file: &str, bytes: &[u8]) {
        let folder = self.folder.path().join("simple").join(project);
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join(file), bytes).unwrap();
        let mut links = BTreeMap::new();
        for entry in fs_err::read_dir(&folder).unwrap().flatten().filter(|entry| entry.file_name() != "index.html") {
            let name = entry.file_name().into_string().unwrap();
            let hash = hex::encode(Sha256::digest(fs_err::read(entry.path()).unwrap()));
            links.insert(name.clone(), format!("<a href=\"{name}#sha256={hash}\">{name}</a>\n"));
        }
        let html: String = links.into_values().collect();
        fs_err::write(folder.join("index.html"), format!("<!DOCTYPE html>\n<html><body>\n{html}</body></html>\n"))
            .unwrap();
    }

    /// What `UV_DEFAULT_INDEX` is to be.
    pub fn url(&self) -> String {
        format!("{}simple/", self.server.url())
    }

    /// The URL of a wheel, and its SHA-256.
    pub fn wheel(&self, wheel: &Wheel) -> (String, String) {
        let url = format!("{}{}/{}", self.url(), wheel.name, wheel.file_name());
        (url, hex::encode(Sha256::digest(wheel.bytes())))
    }
}

/// The program `uv`; `None`, said to be skipped, if it cannot be had here.
pub fn uv() -> Option<PathBuf> {
    Some(super::judges::installed("uv", &["uv>=0.8.17,<1"])?.join("bin/uv"))
}
