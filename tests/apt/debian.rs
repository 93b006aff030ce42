//! A small Debian: packages made bit by bit, a signed archive of them, and a base to install them on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::common::{Ran, Sandbox};

/// An entry of a package: path, kind and mode.
#[derive(Clone)]
pub struct Entry {
    path: Vec<u8>,
    kind: tar::EntryType,
    mode: u32,
    owner: u64,
    content: Vec<u8>,
    link: String,
}

/// A package in the making.
#[derive(Clone)]
pub struct Deb {
    name: String,
    version: String,
    architecture: String,
    fields: Vec<String>,
    control: BTreeMap<String, String>,
    entries: Vec<Entry>,
    suffix: &'static str,
}

impl Deb {
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            fields: vec![],
            control: BTreeMap::new(),
            entries: vec![],
            suffix: "xz",
        }
    }

    /// A line of its paragraph.
    pub fn field(mut self, line: &str) -> Self {
        self.fields.push(line.to_owned());
        self
    }

    pub fn all(mut self) -> Self {
        self.architecture = "all".into();
        self
    }

    /// How its tar archives are compressed.
    pub fn compressed(mut self, suffix: &'static str) -> Self {
        self.suffix = suffix;
        self
    }

    /// A control file.
    pub fn control(mut self, name: &str, text: &str) -> Self {
        self.control.insert(name.into(), text.into());
        self
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Regular, 0o644, content, "")
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.entries.last_mut().unwrap().mode = mode;
        self
    }

    pub fn owner(mut self, owner: u64) -> Self {
        self.entries.last_mut().unwrap().owner = owner;
        self
    }

    pub fn directory(self, path: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Directory, 0o755, "", "")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Symlink, 0o777, "", target)
    }

    pub fn entry(mut self, path: &[u8], kind: tar::EntryType, mode: u32, content: &str, link: &str) -> Self {
        let (path, content, link) = (path.to_vec(), content.as_bytes().to_vec(), link.to_owned());
        self.entries.push(Entry { path, kind, mode, owner: 0, content, link });
        self
    }

    fn paragraph(&self) -> String {
        let fields: String = self.fields.iter().map(|line| format!("{line}\n")).collect();
        let Self { name, version, architecture, .. } = self;
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: T <t@example.org>\n{fields}Description: test\n"
        )
    }

    pub fn bytes(&self) -> Vec<u8> {
        let control = |(name, text): (&String, &String)| Entry {
            path: format!("./{name}").into_bytes(),
            kind: tar::EntryType::Regular,
            mode: 0o755,
            owner: 0,
            content: text.as_bytes().to_vec(),
            link: String::new(),
        };
        let mut all = self.control.clone();
        all.entry("control".into()).or_insert_with(|| self.paragraph());
        let control = tar_of(&all.iter().map(control).collect::<Vec<_>>());
        let data = tar_of(&self.entries);
        let mut ar = b"!<arch>\n".to_vec();
        for (name, bytes) in [
            ("debian-binary".to_owned(), b"2.0\n".to_vec()),
            (format!("control.tar.{}", self.suffix), compressed(&control, self.suffix)),
            (format!("data.tar.{}", self.suffix), compressed(&data, self.suffix)),
        ] {
            writeln!(ar, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, bytes.len()).unwrap();
            ar.extend(&bytes);
            ar.resize(ar.len().next_multiple_of(2), b'\n');
        }
        ar
    }
}

/// The entries as a tar stream, their paths as they are, however bad.
fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..entry.path.len()].copy_from_slice(&entry.path);
        header.as_gnu_mut().unwrap().linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(entry.owner);
        header.set_mtime(1_750_000_000);
        header.set_size(entry.content.len() as u64);
        if entry.kind == tar::EntryType::Block {
            header.set_device_major(8).unwrap();
            header.set_device_minor(0).unwrap();
        }
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(&entry.content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.extend([0; 1024]);
    tar
}

fn compressed(bytes: &[u8], suffix: &str) -> Vec<u8> {
    match suffix {
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(bytes, 1).unwrap(),
        _ => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A key to sign with, in a GnuPG home of its own.
pub struct Key {
    home: tempfile::TempDir,
}

impl Key {
    /// `None` where gpg is not installed.
    pub fn new() -> Option<Self> {
        // A short path: gpg's agent listens on a socket below it.
        let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
        let key = Self { home };
        let mut gpg = key.gpg();
        gpg.args(["--quick-generate-key", "Archive <a@example.org>", "ed25519", "sign", "never"]);
        match gpg.output() {
            Ok(output) if output.status.success() => Some(key),
            Ok(output) => panic!("gpg: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => None,
        }
    }

    fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", "", "--homedir"])
            .arg(self.home.path());
        gpg
    }

    fn with_input(mut command: Command, input: &[u8]) -> Vec<u8> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub fn sign(&self, text: &str) -> Vec<u8> {
        let mut gpg = self.gpg();
        gpg.arg("--clearsign");
        Self::with_input(gpg, text.as_bytes())
    }

    /// The public half.
    pub fn public(&self) -> Vec<u8> {
        let mut gpg = self.gpg();
        gpg.args(["--armor", "--export"]);
        Self::with_input(gpg, b"")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // Its agent would stay.
        let mut connect = Command::new("gpgconf");
        drop(connect.args(["--kill", "all", "--homedir"]).arg(self.home.path()).output());
    }
}

/// A project with a Debian base, and a signed archive that is mirrored from a folder.
pub struct Debian {
    pub sandbox: Sandbox,
    pub key: Key,
}

pub const SUITES: [(&str, &str); 3] =
    [("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security")];

/// A path of a file system, its kind and content: `/` at the end for a directory, ` -> ` for a link.
type Path2<'a> = (&'a str, &'a str);

impl Debian {
    /// `None` where gpg is not installed.
    pub fn new() -> Option<Self> {
        let debian = Self { sandbox: Sandbox::new(), key: Key::new()? };
        debian.base(&[]);
        debian.settings("");
        Some(debian)
    }

    /// `esker.yml`, with more lines.
    pub fn settings(&self, more: &str) {
        self.settings_on("rootfs:../base-amd64.tar", "linux/amd64", more);
    }

    /// `esker.yml` with this base, these platforms and more lines.
    pub fn settings_on(&self, base: &str, platforms: &str, more: &str) {
        let archive = self.sandbox.path("archive");
        let text = format!(
            "platforms: [{platforms}]\nbase: {base}\nmirrors:\n  https://snapshot.debian.org/archive/: file://{}/\n{more}",
            archive.display()
        );
        self.sandbox.write("project/esker.yml", text.as_bytes());
    }

    /// Runs esker on a machine that knows the archive's key.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.sandbox.write("keyring.asc", &self.key.public());
        let keyring = self.sandbox.path("keyring.asc");
        Ran::new(self.sandbox.command(arguments).env("ESKER_DEBIAN_KEYRING", keyring).output().unwrap())
    }

    /// [`run`](Self::run), which must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
        ran
    }

    /// A base of bookworm with `libbase` installed, and more files.
    pub fn base(&self, more: &[Path2<'_>]) {
        let status = "Package: libbase\nStatus: install ok installed\nVersion: 2.0\nArchitecture: amd64\n\n";
        let key = String::from_utf8(self.key.public()).unwrap();
        let mut files: Vec<Path2<'_>> = vec![
            ("etc/", ""),
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/group", "root:x:0:\n"),
            ("etc/apt/trusted.gpg.d/test.asc", &key),
            ("lib -> usr/lib", ""),
            ("usr/", ""),
            ("usr/lib/", ""),
            ("usr/lib/base.so", "base"),
            ("usr/lib/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n"),
            ("var/lib/dpkg/info/libbase:amd64.list", "/.\n/lib\n/lib/base.so\n"),
            ("var/lib/dpkg/info/format", "1\n"),
            ("var/lib/dpkg/status", status),
        ];
        files.extend(more);
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_700_000_000);
            header.set_size(0);
            if let Some((path, target)) = path.split_once(" -> ") {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, path, target).unwrap();
            } else if path.ends_with('/') {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, path, &[][..]).unwrap();
            } else {
                header.set_mode(0o644);
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
        }
        self.sandbox.write("base-amd64.tar", &builder.into_inner().unwrap());
    }

    pub fn folder(&self, archive: &str, date: &str) -> PathBuf {
        self.sandbox.path("archive").join(archive).join(date)
    }

    /// The archive of `date` with these packages in its first suite, and none in the others.
    pub fn archive(&self, date: &str, debs: &[Deb]) {
        let root = self.folder("debian", date);
        let packages: String = debs.iter().map(|deb| pool(&root, deb)).collect();
        self.publish(date, &[("amd64", packages)]);
    }

    /// The archive of `date` with packages that are in its pool: their paragraphs by architecture.
    pub fn publish(&self, date: &str, packages: &[(&str, String)]) {
        for (archive, suite) in SUITES {
            let folder = self.folder(archive, date).join("dists").join(suite);
            let mut release = format!(
                "Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
            );
            for (architecture, packages) in packages {
                let name = format!("main/binary-{architecture}/Packages.xz");
                let xz = compressed(if suite == "bookworm" { packages } else { "" }.as_bytes(), "xz");
                fs_err::create_dir_all(folder.join(&name).parent().unwrap()).unwrap();
                fs_err::write(folder.join(&name), &xz).unwrap();
                release.push_str(&format!(" {} {} {name}\n", sha256(&xz), xz.len()));
            }
            fs_err::write(folder.join("InRelease"), self.key.sign(&release)).unwrap();
        }
    }

    /// A file of a suite of the archive of `date`.
    pub fn suite_file(&self, date: &str, suite: usize, name: &str) -> PathBuf {
        let (archive, suite) = SUITES[suite];
        self.folder(archive, date).join("dists").join(suite).join(name)
    }

    pub fn apt_txt(&self, text: &str) {
        self.sandbox.write("project/tiny/apt.txt", text.as_bytes());
    }

    pub fn apt_lock(&self) -> String {
        self.sandbox.read("project/tiny/apt-lock.yml")
    }
}

/// Puts a package into the pool, and returns its paragraph in `Packages`.
fn pool(root: &Path, deb: &Deb) -> String {
    let bytes = deb.bytes();
    let path = format!("pool/main/{0}/{0}_{1}_{2}.deb", deb.name, deb.version.replace(':', "%3a"), deb.architecture);
    let file = root.join(path.replace("%3a", ":"));
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    fs_err::write(file, &bytes).unwrap();
    format!("{}Filename: {path}\nSize: {}\nSHA256: {}\n\n", deb.paragraph(), bytes.len(), sha256(&bytes))
}
