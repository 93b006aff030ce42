//! `RECORD`: the files of a wheel and their hashes (PEP 376, PEP 427), read from a wheel and written for what was
//! installed of it.

use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::oci::Digest;

/// What `RECORD` says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    algorithm: Algorithm,
    hash: Vec<u8>,
}

/// The hashes that a wheel may use: SHA-256 or better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

/// Hashes a file as its entry in `RECORD` was hashed.
#[derive(Clone)]
pub enum Hasher {
    /// The usual one.
    Sha256(Sha256),
    /// One of the longer ones.
    Sha384(Sha384),
    /// One of the longer ones.
    Sha512(Sha512),
}

impl Listed {
    /// Reads the hash of an entry, `sha256=` and its base64.
    fn parse(text: &str) -> Option<Self> {
        let (name, hash) = text.split_once('=')?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return None,
        };
        let hash = URL_SAFE_NO_PAD.decode(hash.trim_end_matches('=')).ok()?;
        Some(Self { algorithm, hash })
    }

    /// An entry with this SHA-256.
    pub fn of(digest: &Digest) -> Self {
        Self { algorithm: Algorithm::Sha256, hash: digest.bytes().to_vec() }
    }

    /// The SHA-256, if that is what is listed.
    pub fn sha256(&self) -> Option<Digest> {
        let bytes = <[u8; 32]>::try_from(self.hash.as_slice()).ok()?;
        (self.algorithm == Algorithm::Sha256).then(|| Digest::from_bytes(bytes))
    }

    /// Begins to hash a file.
    pub fn hasher(&self) -> Hasher {
        match self.algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha384 => Hasher::Sha384(Sha384::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    /// Whether `hasher`, which began [here](Self::hasher), has seen the listed file.
    pub fn is(&self, hasher: Hasher) -> bool {
        match hasher {
            Hasher::Sha256(hasher) => hasher.finalize().as_slice() == self.hash,
            Hasher::Sha384(hasher) => hasher.finalize().as_slice() == self.hash,
            Hasher::Sha512(hasher) => hasher.finalize().as_slice() == self.hash,
        }
    }
}

impl Hasher {
    /// Hashes `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }
}

/// The entries of a wheel's `RECORD` by path; those without a hash are left out.
///
/// # Errors
/// When it is no table of three columns, has a path twice with other hashes, or a hash that is none of those allowed.
pub fn parse(content: &[u8]) -> io::Result<BTreeMap<String, Listed>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut listed = BTreeMap::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content);
    for row in reader.records() {
        let row = row.map_err(|error| invalid(error.to_string()))?;
        let (path, hash) = (row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default());
        if path.is_empty() || hash.is_empty() {
            continue;
        }
        let entry = Listed::parse(hash)
            .ok_or_else(|| invalid(format!("`{path}` has the hash `{hash}`, which is not SHA-256 or better")))?;
        if let Some(other) = listed.insert(path.to_owned(), entry.clone())
            && other != entry
        {
            return Err(invalid(format!("it lists `{path}` twice, with other hashes")));
        }
    }
    Ok(listed)
}

/// A `RECORD` in the making.
#[derive(Debug)]
pub struct Written {
    /// The directory that paths are relative to, below the prefix.
    site_packages: String,
    rows: BTreeMap<String, (String, String)>,
}

impl Written {
    /// An empty one; paths will be relative to `site_packages`, which is below the prefix.
    pub fn new(site_packages: &str) -> Self {
        Self { site_packages: site_packages.to_owned(), rows: BTreeMap::new() }
    }

    /// Lists a file of `size` bytes at `path` below the prefix.
    pub fn file(&mut self, path: &str, digest: &Digest, size: u64) {
        let hash = hex::decode(digest.hex()).expect("a digest prints as hex");
        let hash = format!("sha256={}", URL_SAFE_NO_PAD.encode(hash));
        self.rows.insert(self.relative(path), (hash, size.to_string()));
    }

    /// Lists a file that others may make anew: byte code, and `RECORD` itself.
    pub fn unhashed(&mut self, path: &str) {
        self.rows.insert(self.relative(path), Default::default());
    }

    /// The file's content, in the order of the paths.
    pub fn finish(self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for (path, (hash, size)) in &self.rows {
            writer.write_record([path, hash, size]).expect("memory takes it, and all rows are as long");
        }
        writer.into_inner().expect("memory takes it")
    }

    fn relative(&self, path: &str) -> String {
        let from: Vec<&str> = self.site_packages.split('/').collect();
        let to: Vec<&str> = path.split('/').collect();
        let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
        let up = std::iter::repeat_n("..", from.len() - shared);
        up.chain(to[shared..].iter().copied()).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_and_compared() {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(b"x"));
        let long = URL_SAFE_NO_PAD.encode(Sha512::digest(b"x"));
        let text = format!("a.py,sha256={hash},1\r\n\"b,c.py\",sha512={long}==,1\r\nd.dist-info/RECORD,,\r\n");
        let listed = parse(text.as_bytes()).unwrap();
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["a.py", "b,c.py"]);
        for (entry, sha256) in listed.values().zip([Some(Digest::of(b"x")), None]) {
            let mut hasher = entry.hasher();
            assert!(!entry.is(hasher.clone()));
            hasher.update(b"x");
            assert!(entry.is(hasher));
            assert_eq!(entry.sha256(), sha256);
        }
    }

    #[test]
    fn weak_hashes_and_contradictions_are_refused() {
        let md5 = parse(b"a,md5=AAAA,1\n").unwrap_err().to_string();
        assert!(md5.contains("`a` has the hash `md5=AAAA`"), "{md5}");
        let [one, two] = ["x", "y"].map(|text| URL_SAFE_NO_PAD.encode(Sha256::digest(text)));
        assert!(parse(format!("a,sha256={one},1\na,sha256={two},1\n").as_bytes()).is_err());
        assert!(parse(format!("a,sha256={one},1\na,sha256={one},1\n").as_bytes()).is_ok());
    }

    #[test]
    fn written_paths_are_relative_to_site_packages() {
        let mut record = Written::new("lib/python3.12/site-packages");
        record.unhashed("lib/python3.12/site-packages/a-1.dist-info/RECORD");
        record.file("bin/a", &Digest::of(b"x"), 1);
        record.file("lib/python3.12/site-packages/a, b.py", &Digest::of(b"x"), 1);
        let hash = "sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE";
        let expected = format!("../../../bin/a,{hash},1\n\"a, b.py\",{hash},1\na-1.dist-info/RECORD,,\n");
        assert_eq!(String::from_utf8(record.finish()).unwrap(), expected);
    }
}
