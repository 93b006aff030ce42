//! Reads `apt.txt`: the Debian packages an image wants.

use std::fmt;

use super::{Error, ImageSpec, Place, text};

/// One package that `apt.txt` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptRequest {
    /// Its name.
    pub name: String,
    /// The version it must have (`=VERSION`).
    pub version: Option<String>,
    /// Where it stands.
    pub place: Place,
}

impl fmt::Display for AptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}={version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl ImageSpec {
    /// The packages of the image's `apt.txt`, in its order, each once; none if there is no such file.
    ///
    /// Comments begin with `#`; a name may carry `:architecture`, `=version` or `/suite`, as apt-get takes them.
    ///
    /// # Errors
    /// [`Error::AptPackage`] for what is no package's name.
    pub fn apt_packages(&self) -> Result<Vec<String>, Error> {
        Ok(self.apt_words()?.into_iter().map(|(word, _)| word).collect())
    }

    /// [`apt_packages`](Self::apt_packages) as what can be installed.
    ///
    /// # Errors
    /// Those of [`apt_packages`](Self::apt_packages), and [`Error::AptForm`] for `:architecture` and `/suite`.
    pub fn apt_requests(&self) -> Result<Vec<AptRequest>, Error> {
        let request = |(word, place): (String, Place)| {
            let refuse = |what| Err(Error::AptForm { place: place.clone(), given: word.clone(), what });
            let (name, version) = word.split_once('=').map_or((&*word, None), |(name, version)| (name, Some(version)));
            if name.contains(':') {
                return refuse("an image has the packages of its own architecture");
            }
            if name.contains('/') || version.is_some_and(|version| version.contains('/')) {
                return refuse("packages come from the release of the base and its updates");
            }
            Ok(AptRequest { name: name.to_owned(), version: version.map(str::to_owned), place })
        };
        self.apt_words()?.into_iter().map(request).collect()
    }

    fn apt_words(&self) -> Result<Vec<(String, Place)>, Error> {
        let Some(path) = self.file("apt.txt") else { return Ok(Vec::new()) };
        let mut packages: Vec<(String, Place)> = Vec::new();
        for (number, line) in text::read(&path)?.lines().enumerate() {
            let code = line.split('#').next().unwrap_or_default();
            let mut end = 0;
            for word in code.split_whitespace() {
                let start = end + code[end..].find(word).unwrap_or_default();
                end = start + word.len();
                let column = line[..start].chars().count() + 1;
                let place = Place { file: path.clone(), line: number + 1, column };
                if !is_package(word) {
                    return Err(Error::AptPackage { place, given: word.to_owned() });
                }
                if packages.iter().all(|(package, _)| package != word) {
                    packages.push((word.to_owned(), place));
                }
            }
        }
        Ok(packages)
    }
}

/// Names are at least two characters (Debian policy 5.6.1).
fn is_package(word: &str) -> bool {
    let (name, rest) = word.split_at(word.find([':', '=', '/']).unwrap_or(word.len()));
    let in_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    let in_rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '=' | '/' | '+' | '-' | '.' | '~' | '_');
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(in_name)
        && rest.chars().all(in_rest)
        && rest.len() != 1
}
