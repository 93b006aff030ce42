//! `esker diff`: what changed in the locks, and whether that may be.

mod text;

pub use text::text;

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::args::{DiffArgs, Format};
use super::failure::Failure;
use super::lock::selected;
use super::source;
use super::ui::Ui;
use crate::git::Repository;
use crate::installed::ImageSource;
use crate::lock::diff::{ImageDiff, LIMIT, LockDiff, markdown};
use crate::lock::{self, Lock};
use crate::pipeline::Session;
use crate::project::{ChangeKind, Denied, ImageSpec};
use crate::settings::Settings;

#[derive(Serialize)]
struct Report {
    schema: u32,
    old: String,
    new: String,
    images: Vec<ImageDiff>,
    denied: Vec<Refused>,
}

/// A change that the project or the command line denies.
#[derive(Serialize)]
struct Refused {
    image: String,
    name: String,
    kind: ChangeKind,
}

/// Where a lock is taken from.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    WorkingTree,
    Revision(String),
}

/// Compares two files. They need no project.
pub fn files(args: &DiffArgs, old: &Path, new: &Path, ui: &Ui) -> Result<ExitCode, Failure> {
    if !args.image.is_empty() {
        return Err(Failure::usage("`--image` means nothing where two files are compared"));
    }
    let diff = LockDiff::between(&read(old)?, &read(new)?);
    let image = ImageDiff { image: new.display().to_string(), diff };
    let denied = Denied { kinds: args.deny.clone(), allow: args.allow.clone() };
    report(args, [old.display().to_string(), new.display().to_string()], vec![image], &denied, ui)
}

/// Compares what is installed in two images. They need no project.
pub async fn images(
    args: &DiffArgs,
    pair: [ImageSource; 2],
    settings: &Settings,
    ui: &Ui,
) -> Result<ExitCode, Failure> {
    if !args.image.is_empty() {
        return Err(Failure::usage("`--image` means nothing where two images are compared"));
    }
    let client = source::client(settings);
    let [old, new] = &pair;
    let mut reader = source::reader(&client, &[old, new], settings, ui);
    let diff = LockDiff::between(&reader.read(old).await?, &reader.read(new).await?);
    let image = ImageDiff { image: new.to_string(), diff };
    let denied = Denied { kinds: args.deny.clone(), allow: args.allow.clone() };
    report(args, pair.map(|image| image.to_string()), vec![image], &denied, ui)
}

/// The two images to compare, if that is what is asked.
///
/// A name without a prefix is an image only where git, asked in `folder`, has no revision of that name.
pub fn image_pair(args: &DiffArgs, folder: &Path) -> Result<Option<[ImageSource; 2]>, Failure> {
    let [old, new] = [&args.old, &args.new].map(|text| text.as_deref().map(|text| image(text, folder)));
    let [old, new] = [old.transpose()?.flatten(), new.transpose()?.flatten()];
    match (old, new) {
        (None, None) => Ok(None),
        (Some(old), Some(new)) => Ok(Some([old, new])),
        _ => Err(Failure::usage(
            "give two images (`oci:DIR`, `docker-archive:FILE` or `docker://REGISTRY/NAME:TAG`), or files and revisions that \
             exist: an image compares with nothing else",
        )),
    }
}

fn image(text: &str, folder: &Path) -> Result<Option<ImageSource>, Failure> {
    if let Some(explicit) = ImageSource::explicit(text) {
        return Ok(Some(explicit?));
    }
    let is_revision = || Repository::around(folder).is_ok_and(|repository| repository.commit(text).is_ok());
    Ok(ImageSource::implied(text).filter(|_| !Path::new(text).exists() && !is_revision()))
}

/// Compares two states of the project's locks.
pub fn run(args: &DiffArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let sides = sides(args)?;
    let images = selected(&args.image, session)?;
    let repository = Repository::around(&session.project.root)?;
    let [old, new] = &sides;
    let (old, new) = (texts(old, &images, session, &repository)?, texts(new, &images, session, &repository)?);
    let mut diffs = Vec::new();
    for ((image, old), new) in images.iter().zip(old).zip(new) {
        diffs.push(ImageDiff { image: image.name.clone(), diff: difference(old.as_ref(), new.as_ref())? });
    }
    let denied = &session.project.denied;
    let kinds = if args.deny.is_empty() { &denied.kinds } else { &args.deny };
    let allow = denied.allow.iter().chain(&args.allow).cloned().collect();
    report(args, sides.map(|side| side.label()), diffs, &Denied { kinds: kinds.clone(), allow }, ui)
}

/// A lock's text, and what to call it in messages.
type Text = (std::path::PathBuf, String);

fn texts(
    side: &Side,
    images: &[&ImageSpec],
    session: &Session<'_>,
    repository: &Repository,
) -> Result<Vec<Option<Text>>, Failure> {
    let paths: Vec<_> = images.iter().map(|image| image.lock_path()).collect();
    let Side::Revision(revision) = side else {
        return paths.iter().map(|path| Ok(on_disk(path)?.map(|text| (session.relative(path), text)))).collect();
    };
    let commit = repository.commit(revision)?;
    let paths: Vec<_> = paths.iter().map(|path| session.relative(path).display().to_string()).collect();
    let asked: Vec<_> = paths.iter().map(|path| (commit.clone(), path.clone())).collect();
    let mut found = Vec::new();
    repository.files(&asked, |content| found.push(content))?;
    let text = |(content, path): (Option<Vec<u8>>, &String)| {
        let name = format!("{revision}:{path}");
        content.map(|content| (name.into(), String::from_utf8_lossy(&content).into_owned()))
    };
    Ok(found.into_iter().zip(&paths).map(text).collect())
}

fn on_disk(path: &Path) -> Result<Option<String>, lock::Error> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(lock::Error::Read { path: path.to_owned(), source }),
    }
}

fn difference(old: Option<&Text>, new: Option<&Text>) -> Result<LockDiff, lock::Error> {
    let texts = [old, new].map(|side| side.map(|(_, text)| text));
    if texts[0] == texts[1] {
        return Ok(LockDiff::default());
    }
    let lock = |side: Option<&Text>| side.map_or_else(|| Ok(Lock::default()), |(path, text)| parsed(path, text));
    Ok(LockDiff::between(&lock(old)?, &lock(new)?))
}

fn read(path: &Path) -> Result<Lock, lock::Error> {
    let text = fs_err::read_to_string(path).map_err(|source| lock::Error::Read { path: path.to_owned(), source })?;
    parsed(path, &text)
}

fn parsed(path: &Path, text: &str) -> Result<Lock, lock::Error> {
    if Lock::is_explicit(text) { Lock::parse_explicit(path, text) } else { Lock::parse(path, text) }
}

/// What the command line asks to compare.
fn sides(args: &DiffArgs) -> Result<[Side; 2], Failure> {
    let revision = |text: &str| Side::Revision(if text.is_empty() { "HEAD" } else { text }.to_owned());
    let (old, new) = (args.old.as_deref().unwrap_or_default(), args.new.as_deref());
    let is_file = |text: &str| text.ends_with(".yml") || text.ends_with(".lock");
    if is_file(old) || new.is_some_and(is_file) {
        return Err(Failure::usage(
            "give two lock files that exist, or revisions: a file and a revision do not compare",
        ));
    }
    if old.contains("...") || new.is_some_and(|new| new.contains("..")) {
        return Err(Failure::usage("write `OLD..NEW` or `OLD NEW`"));
    }
    Ok(match (old.split_once(".."), new) {
        (None, None) => [revision(old), Side::WorkingTree],
        (None, Some(new)) => [revision(old), revision(new)],
        (Some((old, new)), None) => [revision(old), revision(new)],
        (Some(_), Some(_)) => return Err(Failure::usage("write `OLD..NEW` or `OLD NEW`, not both")),
    })
}

impl Side {
    fn label(&self) -> String {
        match self {
            Self::WorkingTree => "working tree".to_owned(),
            Self::Revision(revision) => revision.clone(),
        }
    }
}

fn report(
    args: &DiffArgs,
    [old, new]: [String; 2],
    images: Vec<ImageDiff>,
    denied: &Denied,
    ui: &Ui,
) -> Result<ExitCode, Failure> {
    let refused = refused(&images, denied);
    let report = Report { schema: 1, old, new, images, denied: refused };
    match args.format {
        Format::Json => ui.json(&report)?,
        Format::Markdown => ui.result(&report, |report| markdown(&report.images, LIMIT))?,
        Format::Text => ui.result(&report, |report| text(&report.images))?,
    }
    if report.denied.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let what: Vec<_> = report
        .denied
        .iter()
        .map(|refused| format!("{} of `{}` in {}", refused.kind, refused.name, refused.image))
        .collect();
    let hint = "undo it, or agree to it with `--allow PKG` or `allow` in `esker.yml`";
    Err(Failure::no(format!("denied: {}", what.join(", ")), Some(hint.to_owned())))
}

fn refused(images: &[ImageDiff], denied: &Denied) -> Vec<Refused> {
    let mut refused: Vec<Refused> = Vec::new();
    for image in images {
        for change in image.diff.changes.iter().filter(|change| denied.refuses(change.kind, &change.name)) {
            let same =
                |known: &Refused| (&known.image, &known.name, known.kind) == (&image.image, &change.name, change.kind);
            if !refused.iter().any(same) {
                refused.push(Refused { image: image.image.clone(), name: change.name.clone(), kind: change.kind });
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(old: Option<&str>, new: Option<&str>) -> Option<[String; 2]> {
        let args = DiffArgs {
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            image: vec![],
            format: Format::Text,
            deny: vec![],
            allow: vec![],
        };
        sides(&args).ok().map(|sides| sides.map(|side| side.label()))
    }

    #[test]
    fn revisions_as_git_writes_them() {
        for (old, new, expected) in [
            (None, None, ["HEAD", "working tree"]),
            (Some("v1"), None, ["v1", "working tree"]),
            (Some("v1..v2"), None, ["v1", "v2"]),
            (Some("v1.."), None, ["v1", "HEAD"]),
            (Some("v1"), Some("v2"), ["v1", "v2"]),
        ] {
            assert_eq!(compared(old, new), Some(expected.map(str::to_owned)));
        }
        for (old, new) in [(Some("a...b"), None), (Some("a..b"), Some("c")), (Some("a.yml"), Some("v1"))] {
            assert_eq!(compared(old, new), None, "{old:?} {new:?}");
        }
    }
}
