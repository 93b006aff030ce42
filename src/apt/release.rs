//! `Release`: which files a suite has, and their hashes. What was signed.

use std::collections::HashMap;

use super::control::Paragraph;

/// A file of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// A suite's `Release`, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The names it goes by: suite (`oldstable-security`) and codename (`bookworm-security`).
    pub names: Vec<String>,
    files: HashMap<String, Listed>,
}

impl Release {
    /// Reads the signed text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let paragraph = Paragraph::parse(text);
        let names = ["Suite", "Codename"].iter().filter_map(|field| paragraph.get(field)).map(str::to_owned).collect();
        let list = paragraph.get("SHA256").ok_or("it lists no SHA-256")?;
        let mut files = HashMap::new();
        for line in list.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [sha256, size, path] = words[..] else { return Err(format!("`{line}` is no hash, size and path")) };
            let size = size.parse().map_err(|_| format!("`{path}` has the size `{size}`"))?;
            if !super::package::is_sha256(sha256) {
                return Err(format!("`{path}` has the hash `{sha256}`"));
            }
            files.insert(path.to_owned(), Listed { sha256: sha256.to_owned(), size });
        }
        Ok(Self { names, files })
    }

    /// The file at `path`, relative to the suite.
    pub fn file(&self, path: &str) -> Option<&Listed> {
        self.files.get(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_path() {
        let hash = "0".repeat(64);
        let text = format!(
            "Suite: stable\nCodename: bookworm\nMD5Sum:\n 00 5 main/x\nSHA256:\n {hash}  12 main/binary-amd64/Packages.xz\n"
        );
        let release = Release::read(&text).unwrap();
        assert_eq!(release.names, ["stable", "bookworm"]);
        assert_eq!(release.file("main/binary-amd64/Packages.xz").unwrap().size, 12);
        assert_eq!(release.file("main/x"), None, "an MD5 proves nothing");
        for wrong in ["Suite: a\n", "SHA256:\n 00 1 a\n", &text.replace(" 12 ", " x "), &text.replace(" 12 ", " ")] {
            assert!(Release::read(wrong).is_err(), "{wrong}");
        }
    }
}
