//! One record of `conda-meta`, as far as it tells which package is installed.

use std::collections::BTreeMap;

use rattler_conda_types::Subdir;
use serde::Deserialize;
use url::Url;

use crate::lock::{LockedPackage, Manager};
use crate::supply::{Component, requirement_name};

/// See the module's documentation. conda, mamba, micromamba and esker write these fields.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    name: String,
    version: String,
    #[serde(default)]
    build: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    subdir: Option<String>,
    #[serde(default, rename = "fn")]
    file_name: Option<String>,
    #[serde(default)]
    md5: Option<String>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    depends: Vec<String>,
    /// What it has in the prefix, by path in it.
    #[serde(default)]
    pub files: Vec<String>,
}

/// Whether `path` is a record's.
pub fn is_record(path: &str) -> bool {
    path.ends_with(".json") && path.rsplit('/').nth(1) == Some("conda-meta")
}

/// The prefix of the record at `path`.
pub fn prefix_of(path: &str) -> &str {
    let mut parts = path.rsplitn(3, '/');
    parts.nth(2).unwrap_or_default()
}

impl Record {
    /// The package as a lock has it.
    pub fn locked(&self, subdir: Subdir) -> LockedPackage {
        let hash = |hash: &Option<String>| hash.clone().filter(|hash| !hash.is_empty());
        LockedPackage {
            name: self.name.clone(),
            version: self.version.clone(),
            manager: Manager::Conda,
            subdir,
            dependencies: BTreeMap::new(),
            url: self.url(subdir),
            md5: hash(&self.md5),
            sha256: hash(&self.sha256),
            category: "main".to_owned(),
            optional: false,
        }
    }

    /// The package as a document about the image has it; it is in `prefix`. Documents name no address that the record does
    /// not have, and none of a machine's own.
    pub fn component(&self, prefix: &str, subdir: Subdir) -> Component {
        let hash = |hash: &Option<String>| hash.clone().filter(|hash| !hash.is_empty());
        let component = match self.stated_url().filter(|url| url.scheme() != "file") {
            Some(url) => Component::conda(&self.name, &self.version, &self.build, prefix, without_secrets(url)),
            None => {
                let subdir = self.subdir.as_deref().unwrap_or(subdir.as_str());
                Component::conda_of_nowhere(&self.name, &self.version, &self.build, prefix, subdir)
            }
        };
        Component {
            md5: hash(&self.md5),
            sha256: hash(&self.sha256),
            license: self.license.clone(),
            depends: self.depends.iter().map(|requirement| requirement_name(requirement)).collect(),
            ..component
        }
    }

    /// Where it comes from, without secrets; put together where the record does not say.
    fn url(&self, subdir: Subdir) -> Url {
        without_secrets(self.stated_url().unwrap_or_else(|| self.assembled_url(subdir)))
    }

    fn stated_url(&self) -> Option<Url> {
        self.url.as_deref().and_then(|url| Url::parse(url).ok()).filter(|url| !url.cannot_be_a_base())
    }

    fn assembled_url(&self, subdir: Subdir) -> Url {
        let subdir = self.subdir.as_deref().unwrap_or(subdir.as_str());
        let named = format!("{}-{}-{}.conda", self.name, self.version, self.build);
        let file = self.file_name.as_ref().unwrap_or(&named);
        let channel = self.channel.as_deref().unwrap_or("unknown").trim_end_matches('/');
        let channel = channel.strip_suffix(subdir).map_or(channel, |channel| channel.trim_end_matches('/'));
        let absolute = Url::parse(&format!("{channel}/{subdir}/{file}"));
        absolute.unwrap_or_else(|_| {
            let mut url = Url::parse("https://conda.anaconda.org").expect("it is one");
            url.set_path(&format!("{channel}/{subdir}/{file}"));
            url
        })
    }
}

/// Who installed from a private place may have left the way in.
pub fn without_secrets(mut url: Url) -> Url {
    // Neither setter fails where there is a host, and without one there is nothing to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    let path = url.path().to_owned();
    if let Some((_, rest)) = path.strip_prefix("/t/").and_then(|rest| rest.split_once('/')) {
        url.set_path(rest);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(json: &str) -> String {
        let record: Record = serde_json::from_str(json).unwrap();
        let locked = record.locked(Subdir::Linux64);
        assert_eq!((locked.name.as_str(), locked.build()), ("a", Some("0")));
        locked.url.to_string()
    }

    #[test]
    fn urls_are_stated_or_put_together_and_hold_no_secrets() {
        let forge = "https://conda.anaconda.org/conda-forge/noarch/a-1-0.conda";
        let of = |more: &str| url(&format!(r#"{{"name": "a", "version": "1", "build": "0"{more}}}"#));
        assert_eq!(of(&format!(r#", "url": "{forge}", "files": []"#)), forge);
        assert_eq!(of(r#", "channel": "conda-forge", "subdir": "noarch", "fn": "a-1-0.conda""#), forge);
        let base = "https://conda.anaconda.org/conda-forge/noarch";
        assert_eq!(of(&format!(r#", "channel": "{base}", "subdir": "noarch", "url": """#)), forge);
        let secret = r#", "url": "https://user:pass@host/t/tk-1/c/noarch/a-1-0.conda?x=y""#;
        assert_eq!(of(secret), "https://host/c/noarch/a-1-0.conda");
        assert_eq!(of(""), "https://conda.anaconda.org/unknown/linux-64/a-1-0.conda");
    }

    #[test]
    fn documents_name_no_address_that_is_not_stated() {
        let component = |more: &str| {
            let json = format!(r#"{{"name": "a", "version": "1", "build": "0", "subdir": "noarch"{more}}}"#);
            serde_json::from_str::<Record>(&json).unwrap().component("/srv", Subdir::Linux64)
        };
        let stated = component(r#", "url": "https://user:pass@host/c/noarch/a-1-0.conda""#);
        assert_eq!(stated.url.unwrap().as_str(), "https://host/c/noarch/a-1-0.conda");
        for more in ["", r#", "channel": "conda-forge""#, r#", "url": "file:///home/me/c/noarch/a-1-0.conda""#] {
            let found = component(more);
            assert_eq!((found.url, found.purl.as_str()), (None, "pkg:conda/a@1?build=0&subdir=noarch"), "{more}");
        }
    }

    #[test]
    fn records_are_known_by_their_path() {
        assert!(is_record("srv/conda/conda-meta/a-1-0.json") && is_record("conda-meta/a-1-0.json"));
        assert!(!is_record("srv/conda/conda-meta/history") && !is_record("srv/conda-meta/x/a.json"));
        assert_eq!(prefix_of("srv/conda/conda-meta/a-1-0.json"), "srv/conda");
        assert_eq!(prefix_of("conda-meta/a-1-0.json"), "");
    }
}
