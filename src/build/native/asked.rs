//! Why a pip package is installed: what `REQUESTED` and `direct_url.json` (PEP 376, PEP 610) tell other tools.

use std::collections::BTreeMap;

use rattler_conda_types::Subdir;
use serde::{Deserialize, Serialize};

use super::wheel::plain;
use crate::lock::LockedPackage;
use crate::project::{ImageSpec, requirement, wheel_url};

/// Why a pip package is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// Another package needs it.
    #[default]
    Needed,
    /// A line below `pip:` names it.
    ByName,
    /// A line below `pip:` gives its URL.
    ByUrl,
}

/// What the lines below `pip:` ask for on each subdir, by normalised name.
pub type AskedFor = BTreeMap<Subdir, BTreeMap<String, Asked>>;

impl Asked {
    /// The files of `*.dist-info` that an installer adds.
    pub fn notes(self) -> &'static [&'static str] {
        match self {
            Self::Needed => &["INSTALLER"],
            Self::ByName => &["INSTALLER", "REQUESTED"],
            Self::ByUrl => &["INSTALLER", "REQUESTED", "direct_url.json"],
        }
    }

    /// The content of one of them for `package`.
    pub fn note(note: &str, package: &LockedPackage) -> Vec<u8> {
        match note {
            "INSTALLER" => b"esker\n".to_vec(),
            "direct_url.json" => direct_url(package),
            _ => Vec::new(),
        }
    }
}

/// Which pip packages of `image` are asked for on these `subdirs`.
pub fn asked_for(image: &ImageSpec, subdirs: &[Subdir]) -> AskedFor {
    let mut asked = AskedFor::new();
    for line in image.environments.iter().flat_map(|environment| &environment.pip) {
        // What cannot be read was refused when the project was.
        let Ok(wanted) = requirement(&line.spec) else { continue };
        let how = if wheel_url(&wanted).is_some() { Asked::ByUrl } else { Asked::ByName };
        for subdir in subdirs {
            if line.selector.as_ref().is_none_or(|only| only.contains(subdir)) {
                let entry = asked.entry(*subdir).or_default().entry(plain(wanted.name.as_ref())).or_default();
                if *entry != Asked::ByUrl {
                    *entry = how;
                }
            }
        }
    }
    asked
}

/// `direct_url.json` as pip writes it for the URL of a wheel.
fn direct_url(package: &LockedPackage) -> Vec<u8> {
    let mut archive = serde_json::Map::new();
    if let Some(sha256) = &package.sha256 {
        archive.insert("hash".to_owned(), format!("sha256={sha256}").into());
        archive.insert("hashes".to_owned(), serde_json::json!({ "sha256": sha256 }));
    }
    crate::oci::canonical_json(&serde_json::json!({ "archive_info": archive, "url": package.public_url() }))
}
