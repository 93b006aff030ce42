//! Which files dpkg is told to leave out (`path-exclude`, `path-include` of dpkg(1)): slim bases have no manuals.

use std::collections::BTreeMap;

/// Where dpkg is told, relative to the root.
pub fn is_settings(path: &str) -> bool {
    path == "etc/dpkg/dpkg.cfg" || path.strip_prefix("etc/dpkg/dpkg.cfg.d/").is_some_and(|name| !name.contains('/'))
}

/// The patterns, in the order they are said: the last that fits a path decides.
#[derive(Clone, Debug, Default)]
pub struct Excludes(Vec<(bool, String)>);

impl Excludes {
    /// Reads the settings among `files` of a base.
    pub fn read(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut patterns = Vec::new();
        // dpkg reads the folder first, by name, then its own file.
        let (own, folder): (Vec<_>, Vec<_>) =
            files.iter().filter(|(path, _)| is_settings(path)).partition(|(path, _)| *path == "etc/dpkg/dpkg.cfg");
        for (_, bytes) in folder.into_iter().chain(own) {
            for line in String::from_utf8_lossy(bytes).lines().map(str::trim) {
                let option = line.trim_start_matches('-');
                let Some((name, pattern)) = option.split_once(['=', ' ', '\t']) else { continue };
                let pattern = pattern.trim().trim_matches(['"', '\'']);
                match name {
                    "path-exclude" => patterns.push((true, pattern.to_owned())),
                    "path-include" => patterns.push((false, pattern.to_owned())),
                    _ => {}
                }
            }
        }
        Self(patterns)
    }

    /// Whether `path`, with a `/` in front, is left out.
    pub fn has(&self, path: &str) -> bool {
        let last = self.0.iter().rev().find(|(_, pattern)| matches(pattern.as_bytes(), path.as_bytes()));
        last.is_some_and(|(excluded, _)| *excluded)
    }
}

/// Shell patterns, of which `*` and `?` stand for slashes, too. One step back is enough: the last `*` takes what is left.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_decides() {
        let settings =
            "# comment\npath-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\nforce-unsafe-io\n";
        let files = [
            ("etc/dpkg/dpkg.cfg.d/docker", settings),
            ("etc/dpkg/dpkg.cfg", "path-exclude=/usr/share/m?n/*\n"),
            ("etc/dpkg/other", "path-exclude=/*\n"),
        ];
        let excludes = Excludes::read(&files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into());
        for (path, expected) in [
            ("/usr/share/doc/jq/README", true),
            ("/usr/share/doc/jq/copyright", false),
            ("/usr/share/doc/jq/a/copyright", false),
            ("/usr/share/doc", false),
            ("/usr/share/man/man1/jq.1.gz", true),
            ("/usr/bin/jq", false),
        ] {
            assert_eq!(excludes.has(path), expected, "{path}");
        }
        assert!(!Excludes::default().has("/usr/bin/jq"));
    }
}
