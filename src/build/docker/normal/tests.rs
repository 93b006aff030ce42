use super::*;

const LATEST: u64 = 1_700_000_000;

fn normal(layer: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    normalise(layer, &mut out, LATEST).unwrap();
    out
}

struct File<'a> {
    path: &'a str,
    content: Vec<u8>,
    time: u64,
    owner: &'a str,
    pax: &'a [(&'a str, &'a [u8])],
}

fn layer(files: &[File<'_>]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for file in files {
        if !file.pax.is_empty() {
            builder.append_pax_extensions(file.pax.iter().copied()).unwrap();
        }
        let mut header = Header::new_ustar();
        header.set_size(file.content.len() as u64);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(file.time);
        header.set_username(file.owner).unwrap();
        header.set_groupname(file.owner).unwrap();
        builder.append_data(&mut header, file.path, file.content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn pyc(time: u32, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0xa7, 0x0d, b'\r', b'\n', flags, 0, 0, 0];
    bytes.extend(time.to_le_bytes());
    bytes.extend([9, 0, 0, 0, 1, 2, 3]);
    bytes
}

#[test]
fn two_builds_of_the_same_are_the_same() {
    let long = format!("{}/f", "d".repeat(120));
    let made = |time: u64, owner: &'static str, fraction: &'static [u8]| {
        let pax: [(&str, &[u8]); 3] =
            [("mtime", fraction), ("SCHILY.xattr.security.capability", b"\x01\n\0z"), ("atime", fraction)];
        layer(&[
            File { path: "a", content: vec![5; 700], time, owner, pax: &pax },
            File { path: &long, content: b"x".to_vec(), time, owner, pax: &[] },
            File { path: "old", content: vec![], time: 5, owner, pax: &[("mtime", fraction)] },
        ])
    };
    let one = normal(&made(LATEST + 100, "root", b"1700000100.25"));
    assert_eq!(one, normal(&made(LATEST + 999, "admin", b"1700000999.75")));
    assert_eq!(one, normal(&one), "what is normal stays as it is");
    let mut archive = ::tar::Archive::new(one.as_slice());
    let seen: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let attributes: Vec<_> = entry
                .pax_extensions()
                .unwrap()
                .map(|all| all.flatten().map(|one| one.key().unwrap().to_owned()).collect())
                .unwrap_or_default();
            let header = entry.header();
            let owner =
                (header.uid().unwrap(), header.gid().unwrap(), header.username().unwrap().unwrap_or("").to_owned());
            (entry.path_bytes().len(), header.mtime().unwrap(), header.mode().unwrap(), owner, attributes)
        })
        .collect();
    let owner = (7, 8, String::new());
    assert_eq!(seen[0].0, 1);
    assert_eq!((seen[0].1, seen[0].2, &seen[0].3), (LATEST, 0o4755, &owner));
    assert!(one.windows(10).any(|window| window == b"capability"), "attributes stay");
    assert_eq!((seen[1].0, seen[1].1), (122, LATEST));
    assert_eq!(seen[2].1, 5, "what is older stays");
}

#[test]
fn byte_code_still_fits_its_source() {
    let times = [(LATEST as u32 + 60, 0, LATEST as u32), (77, 0, 77), (LATEST as u32 + 60, 1, LATEST as u32 + 60)];
    for (time, flags, expected) in times {
        let file = |path| File { path, content: pyc(time, flags), time: 1, owner: "", pax: &[] };
        let out = normal(&layer(&[file("a/__pycache__/m.pyc"), file("a/data")]));
        assert_eq!(out[512..512 + 19], pyc(expected, flags), "{time} {flags}");
        assert_eq!(out[1536..1536 + 19], pyc(time, flags), "only byte code is touched");
    }
}

#[test]
fn damage_is_an_error() {
    let whole = layer(&[File { path: "a", content: vec![1; 700], time: 1, owner: "", pax: &[] }]);
    for cut in [100, 600, 1100] {
        assert!(normalise(&whole[..cut], io::sink(), LATEST).is_err(), "{cut}");
    }
    let mut garbled = whole.clone();
    garbled[3] ^= 1;
    assert!(normalise(garbled.as_slice(), io::sink(), LATEST).is_err());
    assert!(normalise(&[b'x'; 1024][..], io::sink(), LATEST).is_err());
}
