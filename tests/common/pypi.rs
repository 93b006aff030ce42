//! A Python package index of tiny wheels on loopback, and the program that reads it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;

use super::Server;

/// A wheel to be made: `NAME-VERSION-TAG.whl` that holds nothing but what it says of itself.
#[derive(Clone, Debug)]
pub struct Wheel {
    name: String,
    version: String,
    tag: String,
    needs: Vec<String>,
}

impl Wheel {
    /// A wheel for every platform.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), tag: "py3-none-any".into(), needs: vec![] }
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

    /// Its file name.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.whl", self.name.replace('-', "_"), self.version, self.tag)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut metadata = format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n", self.name, self.version);
        for need in &self.needs {
            metadata.push_str(&format!("Requires-Dist: {need}\n"));
            if let Some((_, extra)) = need.split_once("extra == ") {
                metadata.push_str(&format!("Provides-Extra: {}\n", extra.trim_matches(['\'', '"'])));
            }
        }
        let folder = format!("{}-{}.dist-info", self.name.replace('-', "_"), self.version);
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let files = [
            ("METADATA", metadata),
            ("WHEEL", format!("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {}\n", self.tag)),
            ("RECORD", String::new()),
        ];
        for (file, content) in files {
            let time = zip::DateTime::from_date_and_time(2024, 1, 1, 0, 0, 0).unwrap();
            let options = SimpleFileOptions::default().last_modified_time(time);
            zip.start_file(format!("{folder}/{file}"), options).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
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
