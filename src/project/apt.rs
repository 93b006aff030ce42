//! Reads `apt.txt`: the Debian packages an image wants.

use super::{Error, ImageSpec, Place, text};

impl ImageSpec {
    /// The packages of the image's `apt.txt`, in its order, each once; none if there is no such file.
    ///
    /// Comments begin with `#`; a name may carry `:architecture`, `=version` or `/suite`, as apt-get takes them.
    ///
    /// # Errors
    /// [`Error::AptPackage`] for what is no package's name.
    pub fn apt_packages(&self) -> Result<Vec<String>, Error> {
        let Some(path) = self.file("apt.txt") else { return Ok(Vec::new()) };
        let mut packages: Vec<String> = Vec::new();
        for (number, line) in text::read(&path)?.lines().enumerate() {
            let code = line.split('#').next().unwrap_or_default();
            for word in code.split_whitespace() {
                if !is_package(word) {
                    let column = line.find(word).map_or(1, |position| line[..position].chars().count() + 1);
                    let place = Place { file: path, line: number + 1, column };
                    return Err(Error::AptPackage { place, given: word.to_owned() });
                }
                if packages.iter().all(|package| package != word) {
                    packages.push(word.to_owned());
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
