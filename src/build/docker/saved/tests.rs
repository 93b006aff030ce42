use serde_json::json;

use super::*;
use crate::oci::Layout;
use crate::oci::tar::{Entry, Kind, TarWriter};

fn entry(path: &str, kind: Kind, mtime: u64) -> Entry {
    Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime }
}

fn layer(name: &str, size: usize, time: u64) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    let content = vec![b'x'; size];
    writer.append(&entry(name, Kind::File(size as u64), time), content.as_slice()).unwrap();
    writer.end().unwrap()
}

fn archive(files: &[(&str, Kind, &[u8])]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (path, kind, bytes) in files {
        writer.append(&entry(path, kind.clone(), 0), *bytes).unwrap();
    }
    writer.end().unwrap()
}

fn file(bytes: &[u8]) -> Kind {
    Kind::File(bytes.len() as u64)
}

fn known(dir: &Path) -> Known {
    Known {
        notes: dir.join("notes"),
        layout: Layout::create(dir.join("layout")).unwrap(),
        others: vec![],
        compression: Compression::ZSTD,
        latest: 1000,
    }
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

/// As engines before containerd write it: a folder a layer, links to what is there already.
fn classic(time: u64) -> Vec<u8> {
    let (small, large) = (layer("a", 5, time), layer("b", 3 << 20, time));
    let config = config(&[&small, &large, &small]);
    let manifest =
        json!([{"Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"]}]);
    let manifest = manifest.to_string().into_bytes();
    archive(&[
        ("1", Kind::Directory, b""),
        ("1/layer.tar", file(&small), &small),
        ("2/layer.tar", file(&large), &large),
        ("3/layer.tar", Kind::Symlink("../1/layer.tar".into()), b""),
        ("c.json", file(&config), &config),
        ("manifest.json", file(&manifest), &manifest),
    ])
}

/// As engines with containerd write it: blobs, compressed.
fn modern(time: u64) -> Vec<u8> {
    let (small, large) = (layer("a", 5, time), layer("b", 3 << 20, time));
    let config = config(&[&small, &large, &small]);
    let packed: Vec<Vec<u8>> = [(&small, Compression::GZIP), (&large, Compression::ZSTD)]
        .map(|(layer, compression)| {
            let mut encoder = compression.encoder(Vec::new()).unwrap();
            encoder.write_all(layer).unwrap();
            encoder.finish().unwrap()
        })
        .into();
    let manifest =
        json!([{"Config": "blobs/sha256/c", "Layers": ["blobs/sha256/s", "blobs/sha256/l", "blobs/sha256/s"]}]);
    let manifest = manifest.to_string().into_bytes();
    archive(&[
        ("blobs/sha256/c", file(&config), &config),
        ("blobs/sha256/l", file(&packed[1]), &packed[1]),
        ("blobs/sha256/s", file(&packed[0]), &packed[0]),
        ("manifest.json", file(&manifest), &manifest),
    ])
}

#[test]
fn archives_of_all_engines_give_the_same_layers() {
    let dir = tempfile::tempdir().unwrap();
    let known = known(dir.path());
    let first = read(classic(5000).as_slice(), "x", &known).unwrap();
    assert_eq!((first.layers.len(), first.reused), (3, 0));
    assert_eq!(first.layers[0], first.layers[2]);
    let again = read(classic(5000).as_slice(), "x", &known).unwrap();
    assert_eq!((&again.layers, again.reused), (&first.layers, 3), "known by then");
    let later = read(modern(7000).as_slice(), "x", &known).unwrap();
    assert_eq!(later.layers, first.layers, "only times differed");
    for layer in &first.layers {
        assert!(known.layout.has(&layer.digest(), layer.descriptor.size()));
    }
}

#[test]
fn what_was_lost_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let known = known(dir.path());
    let first = read(classic(1).as_slice(), "x", &known).unwrap();
    fs_err::remove_file(known.layout.blob_path(&first.layers[1].digest())).unwrap();
    let again = read(classic(1).as_slice(), "x", &known).unwrap();
    assert_eq!((&again.layers, again.reused), (&first.layers, 2));
}

#[test]
fn layers_of_other_images_of_the_project_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = known(dir.path());
    read(classic(1).as_slice(), "x", &first).unwrap();
    let layout = Layout::create(dir.path().join("second")).unwrap();
    let second = Known { layout, others: vec![first.layout.clone()], ..first };
    let saved = read(classic(1).as_slice(), "y", &second).unwrap();
    assert_eq!(saved.reused, 3);
    assert!(second.layout.has(&saved.layers[1].digest(), saved.layers[1].descriptor.size()));
}

#[test]
fn what_is_no_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let known = known(dir.path());
    let whole = classic(1);
    assert!(matches!(read(&whole[..whole.len() / 2], "x", &known), Err(Error::Transfer { .. })));
    let one = layer("a", 5, 1);
    let other = config(&[b"other"]);
    let manifest = br#"[{"Config": "c.json", "Layers": ["l"]}]"#;
    let kind = Kind::File;
    for (reason, files) in [
        ("lacks `manifest.json`", vec![("x", kind(1), &b"y"[..])]),
        (
            "holds 2 images",
            vec![(
                "manifest.json",
                kind(62),
                &br#"[{"Config":"a","Layers":[]    },{"Config":"a","Layers":[]     }]"#[..],
            )],
        ),
        ("lacks `c.json`", vec![("manifest.json", file(manifest), &manifest[..])]),
        (
            "its configuration says",
            vec![
                ("c.json", file(&other), other.as_slice()),
                ("l", file(&one), one.as_slice()),
                ("manifest.json", file(manifest), &manifest[..]),
            ],
        ),
        (
            "lacks `l`",
            vec![("c.json", file(&other), other.as_slice()), ("manifest.json", file(manifest), &manifest[..])],
        ),
    ] {
        let bytes = archive(
            &files
                .iter()
                .map(|(path, kind, bytes)| {
                    let kind = if *path == "manifest.json" { file(bytes) } else { kind.clone() };
                    (*path, kind, *bytes)
                })
                .collect::<Vec<_>>(),
        );
        let error = read(bytes.as_slice(), "x", &known).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
