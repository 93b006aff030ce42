//! `esker history`: when each version of a package first appeared, over the tags of the repository.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use rattler_conda_types::Subdir;
use serde::Serialize;

use super::args::{Format, HistoryArgs};
use super::failure::Failure;
use super::lock::selected;
use super::ui::Ui;
use crate::git::{Repository, Tag};
use crate::lock::{self, Lock};
use crate::pipeline::Session;
use crate::progress::Progress;
use crate::project::ImageSpec;

#[derive(Serialize)]
struct Report {
    schema: u32,
    package: String,
    images: Vec<History>,
}

#[derive(Serialize)]
struct History {
    image: String,
    subdir: String,
    /// The newest tag first.
    versions: Vec<Appearance>,
}

/// The first tag with a version.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Appearance {
    tag: String,
    date: String,
    version: String,
}

pub fn run(args: &HistoryArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = selected(&args.image, session)?;
    let repository = Repository::around(&session.project.root)?;
    let tags = repository.tags()?;
    if tags.is_empty() {
        let hint = "a shallow clone has none: `git fetch --unshallow --tags`";
        return Err(Failure::no("the repository has no tags".to_owned(), Some(hint.to_owned())));
    }
    let package = args.package.to_lowercase();
    let mut histories = Vec::new();
    for image in images {
        let subdir = args.subdir.or_else(|| image.subdirs.first().copied()).unwrap_or(Subdir::Linux64);
        let past = Past { repository: &repository, tags: &tags, session, image, subdir, package: &package };
        let versions = appearances(&tags, &past.versions(ui)?);
        histories.push(History { image: image.name.clone(), subdir: subdir.to_string(), versions });
    }
    if histories.iter().all(|history| history.versions.is_empty()) {
        return Err(Failure::no(format!("no tag has `{package}` in a lock"), None));
    }
    histories.retain(|history| !history.versions.is_empty());
    let report = Report { schema: 1, package, images: histories };
    match args.format {
        Format::Json => ui.json(&report)?,
        Format::Markdown => ui.result(&report, markdown)?,
        Format::Text => ui.result(&report, text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The versions that the tags of a repository have of one package in one image.
struct Past<'a> {
    repository: &'a Repository,
    tags: &'a [Tag],
    session: &'a Session<'a>,
    image: &'a ImageSpec,
    subdir: Subdir,
    package: &'a str,
}

impl Past<'_> {
    /// By tag; empty where the tag has no lock, or the lock not the package.
    fn versions(&self, ui: &Ui) -> Result<Vec<BTreeSet<String>>, Failure> {
        let all: Vec<usize> = (0..self.tags.len()).collect();
        let mut versions = vec![BTreeSet::new(); all.len()];
        // The explicit lock is read in no time. What has none, has perhaps a `conda-lock.yml`.
        let rest = self.read(&all, &self.image.explicit_lock_path(self.subdir), &mut versions, ui)?;
        self.read(&rest, &self.image.lock_path(), &mut versions, ui)?;
        Ok(versions)
    }

    /// Reads `path` at the tags of these indices. Returns those that have no such file.
    fn read(
        &self,
        indices: &[usize],
        path: &Path,
        versions: &mut [BTreeSet<String>],
        ui: &Ui,
    ) -> Result<Vec<usize>, Failure> {
        let path = self.session.relative(path).display().to_string();
        let tag = |index: &usize| self.tags[*index].name.as_str();
        let files: Vec<_> = indices.iter().map(|index| (format!("refs/tags/{}", tag(index)), path.clone())).collect();
        let mut absent = Vec::new();
        let mut last: Option<(Vec<u8>, BTreeSet<String>)> = None;
        let mut next = indices.iter();
        self.repository.files(&files, |content| {
            let index = next.next().expect("one answer a file");
            let Some(content) = content else { return absent.push(*index) };
            // Tags often follow each other without a new lock.
            if let Some((_, found)) = last.as_ref().filter(|(same, _)| *same == content) {
                versions[*index].clone_from(found);
                return;
            }
            let name = format!("{}:{path}", tag(index));
            match self.versions_in(Path::new(&name), &String::from_utf8_lossy(&content)) {
                Ok(found) => versions[*index].clone_from(&last.insert((content, found)).1),
                // An old tag cannot be mended: the rest of the history is worth having.
                Err(error) => ui.warning(&format!("`{}` is left out: {error}", tag(index))),
            }
        })?;
        Ok(absent)
    }

    fn versions_in(&self, path: &Path, text: &str) -> Result<BTreeSet<String>, lock::Error> {
        if !text.contains(self.package) {
            return Ok(BTreeSet::new());
        }
        let lock = if Lock::is_explicit(text) {
            let about = |line: &&str| line.starts_with(['#', '@']) || line.contains(self.package);
            let lines: Vec<&str> = text.lines().filter(about).collect();
            Lock::parse_explicit(path, &lines.join("\n"))?
        } else {
            Lock::parse(path, text)?
        };
        let locked = lock.packages_for(self.subdir).filter(|package| package.name == self.package);
        Ok(locked.map(|package| package.version.clone()).collect())
    }
}

/// For each version the first of `tags` (the oldest first) that has it; the newest first.
fn appearances(tags: &[Tag], versions: &[BTreeSet<String>]) -> Vec<Appearance> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (tag, versions) in tags.iter().zip(versions) {
        for version in versions.iter().filter(|version| seen.insert(version.as_str())) {
            found.push(Appearance { tag: tag.name.clone(), date: tag.date.clone(), version: version.clone() });
        }
    }
    found.reverse();
    found
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for history in &report.images {
        out.push_str(&format!("{}: {} on {}\n", history.image, report.package, history.subdir));
        let width = history.versions.iter().map(|row| row.tag.chars().count()).max().unwrap_or(0);
        for row in &history.versions {
            out.push_str(&format!("  {:width$}  {}  {}\n", row.tag, row.date, row.version));
        }
    }
    out
}

fn markdown(report: &Report) -> String {
    let mut out = String::new();
    for history in &report.images {
        out.push_str(&format!("### {}\n\n| {} | image tag | date |\n|---|---|---|\n", history.image, report.package));
        // Neither git's tags nor conda's versions may hold what means something in a table, but for `|` in a tag.
        let cell = |text: &str| text.replace('|', "\\|");
        for row in &history.versions {
            out.push_str(&format!("| {} | {} | {} |\n", cell(&row.version), cell(&row.tag), row.date));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_appears_once_however_often_it_comes_back() {
        let tags: Vec<_> = (1..=5).map(|n| Tag { name: format!("v{n}"), date: format!("2024-0{n}-01") }).collect();
        let versions = ["1.0", "1.0", "2.0", "", "1.0"].map(|version| {
            Some(version.to_owned()).filter(|version| !version.is_empty()).into_iter().collect::<BTreeSet<_>>()
        });
        let rows: Vec<_> = appearances(&tags, &versions).into_iter().map(|row| (row.tag, row.version)).collect();
        assert_eq!(rows, [("v3".to_owned(), "2.0".to_owned()), ("v1".to_owned(), "1.0".to_owned())]);
    }
}
