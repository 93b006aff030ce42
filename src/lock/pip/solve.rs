//! Asking uv, and making entries of a lock from what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use futures::{StreamExt, TryStreamExt, stream};
use pep508_rs::pep440_rs::Version;
use pep508_rs::{ExtraName, VersionOrUrl};

use super::super::uv::{self, Answer, Question, Resolved};
use super::super::{Error, LockedPackage, Manager, Relock, SubdirSpec};
use super::{Pip, pip_name, python_version};
use crate::channel::{self, Client};
use crate::project::{Dependency, Requirement, parse_requirement, sha256_of, wheel_url};

/// Wheels whose metadata is asked for at once.
const AT_ONCE: usize = 16;

/// One question to uv, and what is made of the answer.
pub(super) struct Solve<'a> {
    pub image: &'a str,
    pub spec: &'a SubdirSpec,
    pub pip: &'a Pip<'a>,
    /// pip's packages of the lock before, but for those that may move.
    pub kept: &'a [&'a LockedPackage],
    pub how: &'a Relock<'a>,
    pub client: &'a Client,
}

impl Solve<'_> {
    /// The packages; the inner error says why there are none.
    pub async fn run(&self) -> Result<Result<Vec<LockedPackage>, String>, Error> {
        if let Some((line, wanted)) = self.pip.wanted.iter().find(|(_, wanted)| self.is_provided_wheel(wanted)) {
            let (place, spec, name) = (&line.place, &line.spec, &wanted.name);
            return Ok(Err(format!(
                "{place}: `{spec}`\nconda provides `{name}` already: remove this line, or conda's"
            )));
        }
        if let Some(packages) = self.direct().await? {
            return Ok(Ok(packages));
        }
        let resolved = match self.ask().await? {
            Answer::Solved(resolved) => resolved,
            Answer::Unsolvable(words) => return Ok(Err(self.explained(&words))),
        };
        let mut packages = Vec::with_capacity(resolved.len());
        for package in &resolved {
            match self.entry(package) {
                Ok(entry) => packages.push(entry),
                Err(problem) => return Ok(Err(self.explained(&problem))),
            }
        }
        self.add_dependencies(&mut packages).await?;
        Ok(Ok(packages))
    }

    fn is_provided_wheel(&self, wanted: &Requirement) -> bool {
        wheel_url(wanted).is_some() && self.pip.provided.contains_key(wanted.name.as_ref())
    }

    /// The answer without a solve: where all lines name wheels with their hashes, and these need nothing else.
    async fn direct(&self) -> Result<Option<Vec<LockedPackage>>, Error> {
        let others = self.pip.wanted.iter().filter(|(_, wanted)| !self.pip.provided.contains_key(wanted.name.as_ref()));
        let named = others.map(|(_, wanted)| self.entry(&named_wheel(wanted)?).ok());
        let Some(mut packages) = named.collect::<Option<Vec<_>>>() else { return Ok(None) };
        self.add_dependencies(&mut packages).await?;
        let found: Vec<&LockedPackage> = packages.iter().collect();
        Ok(self.pip.stale(&found, true).is_empty().then_some(packages))
    }

    async fn ask(&self) -> Result<Answer, Error> {
        let (target, first) = (&self.pip.target, self.pip.wanted[0].0);
        let unsupported = || Error::PipPlatform { place: first.place.clone(), subdir: self.spec.subdir };
        let version = |package: &LockedPackage| python_version(&package.version);
        let question = Question {
            program: self.client.uv(),
            offline: self.client.is_offline(),
            python: &target.python,
            platform: target.uv_platform.as_deref().ok_or_else(unsupported)?,
            macos: target.macos.as_deref(),
            requirements: self.pip.wanted.iter().map(|(_, wanted)| wanted.to_string()).collect(),
            provided: self.pip.provided.iter().map(|(name, package)| (name.clone(), version(package))).collect(),
            cutoff: self.how.cutoff.map(|cutoff| cutoff.to_string()),
            cutoff_exempt: self.how.cutoff_exempt.iter().map(|name| pip_name(name)).collect(),
            preferred: self.kept.iter().map(|package| (pip_name(&package.name), version(package))).collect(),
        };
        question.ask().await.map_err(|failure| match failure {
            uv::Failure::Missing => Error::UvMissing { place: first.place.clone(), requirement: first.spec.clone() },
            uv::Failure::Io(source) => Error::UvRun { program: self.client.uv().to_owned(), source },
            uv::Failure::Offline(words) => {
                let what = self.about(&words).first().map_or(first.spec.clone(), |(line, _)| line.spec.clone());
                Error::Fetch(channel::Error::Offline { what })
            }
            uv::Failure::Failed(reason) => Error::Uv { image: self.image.to_owned(), subdir: self.spec.subdir, reason },
        })
    }

    /// The lines that `words` are about, all if none: uv knows names alone.
    fn about(&self, words: &str) -> Vec<&(&Dependency, Requirement)> {
        let names = names_in(words);
        let (about, others): (Vec<_>, Vec<_>) =
            self.pip.wanted.iter().partition(|(_, wanted)| names.contains(wanted.name.as_ref()));
        if about.is_empty() { others } else { about }
    }

    /// What uv says, with the lines and the packages of conda that it is about.
    fn explained(&self, words: &str) -> String {
        let lines = self.about(words).into_iter();
        let mut out: String = lines.map(|(line, _)| format!("{}: `{}`\n", line.place, line.spec)).collect();
        out.push_str(words);
        let names = names_in(words);
        let provided = self.pip.provided.iter().filter(|(name, _)| names.contains(*name));
        let provided: Vec<_> = provided.map(|(name, package)| format!("`{name}` {}", package.version)).collect();
        if !provided.is_empty() {
            out.push_str(&format!("\n(provided by conda: {})", provided.join(", ")));
        }
        if words.contains("wheels") {
            out.push_str("\n(only wheels can be locked: take another version, or a conda package)");
        }
        out
    }

    /// The entry of a package, without what it depends on. The inner error says why none of its wheels will do.
    fn entry(&self, package: &Resolved) -> Result<LockedPackage, String> {
        let (name, version) = (&package.name, &package.version);
        let ranked = package.wheels.iter().filter_map(|(url, hash)| {
            let file = url.path().rsplit('/').next()?;
            Some((self.pip.target.rank(&file.replace("%2B", "+"))?, url, hash))
        });
        let Some((_, url, sha256)) = ranked.min() else {
            return Err(format!("{name} {version} has no wheels for {}", self.spec.subdir));
        };
        if url.query().is_some() {
            return Err(format!("{name} {version} has a URL with a query, which may hold a secret"));
        }
        let (mut url, mut sha256) = (url.clone(), sha256.clone());
        // The same file may lie at several places: the one that is locked stays.
        let is_kept = |locked: &&&LockedPackage| {
            pip_name(&locked.name) == *name
                && locked.sha256.as_ref().is_some_and(|locked| package.wheels.iter().any(|(_, hash)| hash == locked))
                && self.pip.target.rank(locked.file_name()).is_some()
        };
        if let Some(kept) = self.kept.iter().find(is_kept) {
            (url, sha256) = (kept.url.clone(), kept.sha256.clone().unwrap_or(sha256));
        }
        if url.set_username("").and(url.set_password(None)).is_err() {
            return Err(format!("{name} {version} has a URL without a host"));
        }
        let category =
            self.spec.pip.iter().find(|merged| merged.name == *name).map_or("main", |merged| &merged.category);
        Ok(LockedPackage {
            name: name.clone(),
            version: version.clone(),
            manager: Manager::Pip,
            subdir: self.spec.subdir,
            dependencies: BTreeMap::new(),
            url,
            md5: None,
            sha256: Some(sha256),
            category: category.to_owned(),
            optional: category != "main",
        })
    }

    /// Adds what the wheels say they need: for this target, and with the extras that are asked for.
    async fn add_dependencies(&self, packages: &mut [LockedPackage]) -> Result<(), Error> {
        let texts = stream::iter(packages.iter().map(|package| self.client.wheel_metadata(package)));
        let texts: Vec<String> = texts.buffered(AT_ONCE).try_collect().await?;
        let needs: BTreeMap<String, Vec<Requirement>> =
            packages.iter().zip(&texts).map(|(package, text)| (package.name.clone(), requires_dist(text))).collect();
        let extras = self.extras(&needs);
        for package in packages {
            let extras = &extras[&package.name];
            for need in self.active(&needs[&package.name], extras) {
                // `foo[all]` may be made of `foo[a]` and `foo[b]`.
                if need.name.as_ref() != package.name {
                    let known = package.dependencies.entry(need.name.to_string()).or_default();
                    *known = joined(known, need);
                }
            }
            for version in package.dependencies.values_mut().filter(|version| version.is_empty()) {
                "*".clone_into(version);
            }
        }
        Ok(())
    }

    /// The extras asked of each package, by the lines and by other packages.
    fn extras(&self, needs: &BTreeMap<String, Vec<Requirement>>) -> BTreeMap<String, BTreeSet<ExtraName>> {
        let mut extras: BTreeMap<String, BTreeSet<ExtraName>> =
            needs.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        let mut todo: Vec<&Requirement> = self.pip.wanted.iter().map(|(_, wanted)| wanted).collect();
        let mut seen = BTreeSet::new();
        while let Some(wanted) = todo.pop() {
            let name = wanted.name.to_string();
            let (Some(known), Some(needs)) = (extras.get_mut(&name), needs.get(&name)) else { continue };
            let before = known.len();
            known.extend(wanted.extras.iter().cloned());
            if seen.insert(name.clone()) || known.len() > before {
                todo.extend(self.active(needs, &extras[&name]));
            }
        }
        extras
    }

    fn active<'b>(
        &'b self,
        needs: &'b [Requirement],
        extras: &BTreeSet<ExtraName>,
    ) -> impl Iterator<Item = &'b Requirement> {
        let extras: Vec<ExtraName> = extras.iter().cloned().collect();
        needs.iter().filter(move |need| need.evaluate_markers(&self.pip.target.markers, &extras))
    }
}

/// All words that may be names of packages, normalised.
fn names_in(words: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    words.split(|c| !is_word(c)).map(pip_name).collect()
}

/// The wheel that a line names with its hash: its file name tells the version.
fn named_wheel(wanted: &Requirement) -> Option<Resolved> {
    let mut url = wheel_url(wanted)?.clone();
    let sha256 = sha256_of(&url)?;
    url.set_fragment(None);
    let version = url.path().rsplit('/').next()?.split('-').nth(1)?.replace("%2B", "+");
    Version::from_str(&version).ok()?;
    Some(Resolved { name: wanted.name.to_string(), version, wheels: vec![(url, sha256)] })
}

/// The `Requires-Dist` of a wheel's `METADATA`. What is no requirement was none to uv either.
fn requires_dist(metadata: &str) -> Vec<Requirement> {
    let head = metadata.lines().take_while(|line| !line.trim().is_empty());
    head.filter_map(|line| parse_requirement(line.strip_prefix("Requires-Dist:")?.trim()).ok()).collect()
}

fn joined(known: &str, need: &Requirement) -> String {
    let mut parts: Vec<String> = known.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if let Some(VersionOrUrl::VersionSpecifier(specifiers)) = &need.version_or_url {
        parts.extend(specifiers.iter().map(ToString::to_string));
    }
    parts.sort_unstable();
    parts.dedup();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_of_metadata() {
        let text = "Metadata-Version: 2.1\nName: foo\nRequires-Dist: bar (>=1,<2)\nRequires-Dist: baz; extra == 'x'\n\
                    Requires-Dist: ???\n\nRequires-Dist: text\n";
        let found: Vec<_> = requires_dist(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["bar>=1,<2", "baz ; extra == 'x'"]);
    }
}
