//! What can be done about an environment without a solution: one [`Advice`] for each thing that a channel or a file of
//! the image could answer, so that nobody has to read the solver's words to find it.

use std::path::PathBuf;

use indexmap::IndexMap;
use rattler_conda_types::Subdir;

use super::Failure;
use crate::oci::Platform;

/// Something the reader can do about a subdir without a solution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// A package is there for other subdirs only.
    Elsewhere {
        /// What is missing: a requested package, or what one needs.
        missing: String,
        /// The requested package that needs it; `None` if it is requested itself.
        needed_by: Option<String>,
        /// The requested package.
        root: String,
        /// The newest version where it is missing, if there is another one.
        newest: Option<String>,
        /// Where it is, and its newest version there.
        subdirs: Vec<(Subdir, String)>,
    },
    /// No such version exists.
    Version {
        /// As asked.
        asked: String,
        /// The newest version that is older, if any is.
        below: Option<String>,
        /// The oldest version that is newer, if any is.
        above: Option<String>,
        /// The newest version.
        newest: String,
    },
    /// The version exists, in other builds.
    Build {
        /// As asked.
        asked: String,
        /// Builds of the newest version that would do.
        builds: Vec<String>,
    },
    /// The version exists in a channel that strict priority leaves out.
    Channel {
        /// As asked.
        asked: String,
        /// The package.
        name: String,
        /// The first channel that has the package.
        first: String,
        /// The channel that has the version.
        other: String,
    },
    /// More is needed of the machines than is assumed of them.
    VirtualPackage {
        /// As needed.
        needed: String,
        /// The virtual package.
        name: String,
        /// The version that would do.
        version: String,
        /// What is assumed.
        assumed: Option<String>,
        /// The file to say otherwise in.
        file: PathBuf,
    },
    /// A package is for another operating system.
    OtherSystem {
        /// The requested package.
        root: String,
        /// The virtual package that it needs.
        name: String,
    },
}

impl Advice {
    /// One line for somebody who wants to solve `image` for `subdirs`.
    fn text(&self, image: &str, subdirs: &[Subdir]) -> String {
        let here = list(subdirs);
        match self {
            Self::Elsewhere { missing, needed_by, root, newest, subdirs: elsewhere } => {
                let there = elsewhere.iter().map(|(subdir, newest)| format!("{subdir} (up to {newest})"));
                let needed_by = needed_by.as_ref().map(|root| format!(", which `{root}` needs,")).unwrap_or_default();
                let newest = newest.as_ref().map(|newest| format!(" (up to {newest})")).unwrap_or_default();
                format!(
                    "`{missing}`{needed_by} exists for {}, not for {here}{newest}: keep `{root}` off there with a \
                     selector (`# [{}]`), or {}",
                    there.collect::<Vec<_>>().join(", "),
                    elsewhere.iter().map(|(subdir, _)| selector(*subdir)).collect::<Vec<_>>().join(" or "),
                    subdirs.iter().map(|subdir| removal(*subdir, image)).collect::<Vec<_>>().join(" and "),
                )
            }
            Self::Version { asked, below, above, newest } => {
                let known = match (below, above) {
                    (Some(below), Some(above)) if above != newest => {
                        format!("the nearest versions are {below} and {above}, the newest is {newest}")
                    }
                    (Some(below), Some(above)) => format!("the nearest versions are {below} and {above}"),
                    (None, Some(above)) if above != newest => {
                        format!("the oldest version is {above}, the newest {newest}")
                    }
                    _ => format!("the newest version is {newest}"),
                };
                format!("there is no `{asked}` for {here}: {known}")
            }
            Self::Build { asked, builds } => {
                format!("there is no such build of `{asked}` for {here}: there are `{}`", builds.join("`, `"))
            }
            Self::Channel { asked, name, first, other } => format!(
                "`{asked}` is in `{other}` only, and `{name}` is taken from `{first}`, the first channel that has it: \
                 write `{other}::{name}`, or list `{other}` first"
            ),
            Self::VirtualPackage { needed, name, version, assumed, file } => {
                let assumed = assumed.as_ref().map_or("none is assumed".into(), |it| format!("{it} is assumed"));
                let entry = |subdir: &Subdir| format!("{subdir}: {{packages: {{{name}: \"{version}\"}}}}");
                let entries = subdirs.iter().map(entry).collect::<Vec<_>>().join(", ");
                format!(
                    "`{needed}` is needed on {here}, where {assumed}: if the machines have it, write \
                     `subdirs: {{{entries}}}` into `{}`",
                    file.display()
                )
            }
            Self::OtherSystem { root, name } => {
                let (system, selector) = system(name).map_or(("another system", "…"), |it| (it.name, it.selector));
                format!(
                    "`{root}` needs `{name}`, which means it is for {system}: keep it off {here} with a selector \
                     (`# [{selector}]`)"
                )
            }
        }
    }
}

/// What can be done about `failures` of `image`, a line each; what is the same for several subdirs is said once.
pub fn advice(image: &str, failures: &[Failure]) -> String {
    let mut together: IndexMap<&Advice, Vec<Subdir>> = IndexMap::new();
    for failure in failures {
        for advice in &failure.advice {
            together.entry(advice).or_default().push(failure.subdir);
        }
    }
    if together.is_empty() {
        return "change or remove one of these lines".to_owned();
    }
    let lines: Vec<_> = together.into_iter().map(|(advice, subdirs)| advice.text(image, &subdirs)).collect();
    lines.join("\n")
}

/// An operating system, as virtual packages tell them apart.
pub(super) struct System {
    name: &'static str,
    selector: &'static str,
    /// Whether `subdir` is of it.
    pub has: fn(Subdir) -> bool,
}

/// The system that a virtual package stands for.
pub(super) fn system(name: &str) -> Option<System> {
    Some(match name {
        "__win" => System { name: "Windows", selector: "win", has: Subdir::is_windows },
        "__osx" => System { name: "macOS", selector: "osx", has: Subdir::is_osx },
        "__linux" | "__glibc" => System { name: "Linux", selector: "linux", has: Subdir::is_linux },
        "__unix" => System { name: "Linux and macOS", selector: "unix", has: Subdir::is_unix },
        _ => return None,
    })
}

/// The selector that keeps a line for `subdir` alone.
fn selector(subdir: Subdir) -> &'static str {
    match subdir {
        Subdir::Linux64 => "linux64",
        Subdir::LinuxAarch64 => "aarch64",
        Subdir::LinuxPpc64le => "ppc64le",
        Subdir::Osx64 => "osx64",
        Subdir::OsxArm64 => "arm64",
        _ => "win",
    }
}

/// How to do without `subdir`.
fn removal(subdir: Subdir, image: &str) -> String {
    match Platform::from_subdir(subdir) {
        Some(platform) => format!("remove `{platform}` from `platforms` of `{image}` in `esker.yml`"),
        None => format!("remove `{subdir}` from `lock-subdirs` of `{image}` in `esker.yml`"),
    }
}

fn list(subdirs: &[Subdir]) -> String {
    subdirs.iter().map(|subdir| subdir.as_str()).collect::<Vec<_>>().join(", ")
}
