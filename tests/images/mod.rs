//! Makes small images for tests, hostile ones among them.

#![allow(dead_code, reason = "each test binary uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use esker::oci::{Compression, Digest, Layout, Platform};
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, ImageConfigurationBuilder, ImageIndex, ImageIndexBuilder, ImageManifestBuilder,
    MediaType, Os, PlatformBuilder, RootFsBuilder,
};
use skip::skipped;
use tar::{EntryType, Header};

#[path = "../common/skip.rs"]
pub mod skip;

/// A layer put together entry by entry, with names that a well-behaved writer would refuse.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn file(self, path: &str, content: &str) -> Self {
        self.file_mode(path, content, 0o644)
    }

    pub fn file_mode(self, path: &str, content: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Regular, "", content.as_bytes(), mode)
    }

    pub fn dir(self, path: &str) -> Self {
        self.dir_mode(path, 0o755)
    }

    pub fn dir_mode(self, path: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Directory, "", b"", mode)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, target, b"", 0o777)
    }

    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, target, b"", 0o644)
    }

    pub fn device(self, path: &str) -> Self {
        self.entry(path, EntryType::Char, "", b"", 0o666)
    }

    pub fn entry(mut self, path: &str, kind: EntryType, link: &str, content: &[u8], mode: u32) -> Self {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(1234);
        header.set_mtime(1_577_836_800);
        header.set_size(content.len() as u64);
        if kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn bytes(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// Puts an image of `layers` into `layout`; returns the descriptor of its manifest.
pub fn add_image(layout: &Layout, platform: Platform, layers: Vec<Tar>, compression: Compression) -> Descriptor {
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in layers {
        let bytes = layer.bytes();
        diff_ids.push(Digest::of(&bytes).to_string());
        let mut encoder = compression.encoder(layout.writer().unwrap()).unwrap();
        encoder.write_all(&bytes).unwrap();
        let (digest, size) = encoder.finish().unwrap().commit().unwrap();
        descriptors.push(Descriptor::new(compression.layer_media_type(), size, digest));
    }
    let config = ImageConfigurationBuilder::default()
        .os(Os::Linux)
        .architecture(Arch::from(platform.architecture()))
        .config(ConfigBuilder::default().cmd(vec!["/bin/true".to_owned()]).build().unwrap())
        .rootfs(RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().unwrap())
        .build()
        .unwrap();
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(layout.put_json(MediaType::ImageConfig, &config).unwrap())
        .layers(descriptors)
        .build()
        .unwrap();
    let mut descriptor = layout.put_json(MediaType::ImageManifest, &manifest).unwrap();
    let named = PlatformBuilder::default().os(Os::Linux).architecture(Arch::from(platform.architecture())).build();
    descriptor.set_platform(Some(named.unwrap()));
    descriptor
}

pub fn index(manifests: Vec<Descriptor>) -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .unwrap()
}

/// A layout in `dir` that holds one image for linux/amd64, of these layers.
pub fn layout_of(dir: &Path, layers: Vec<Tar>) -> Layout {
    let layout = Layout::create(dir).unwrap();
    let manifest = add_image(&layout, Platform::LinuxAmd64, layers, Compression::GZIP);
    layout.set_index("test", &index(vec![manifest])).unwrap();
    layout
}

/// A layout with a small image for amd64 and another for arm64, tagged `small`.
pub fn two_platforms(dir: &Path, compression: Compression) -> Layout {
    let layout = Layout::create(dir).unwrap();
    let manifests = [Platform::LinuxAmd64, Platform::LinuxArm64].map(|platform| {
        let lower = Tar::default().dir("etc").file("etc/passwd", "root:x:0:0::/:/bin/sh\n").dir("usr").dir("usr/bin");
        let upper = Tar::default().file("etc/platform", &platform.to_string()).symlink("bin", "usr/bin");
        add_image(&layout, platform, vec![lower, upper], compression)
    });
    layout.set_index("small", &index(manifests.to_vec())).unwrap();
    layout
}

/// Whether `program` can be run here; says so when a test has to leave something out.
pub fn available(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        skipped(&format!("`{program}` is not installed"));
    }
    found
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {shown}");
    output
}
