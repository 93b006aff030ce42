//! A run of verify written down: `report.json` for programs, `junit.xml` for CI, `manifest.md` for a repository or a
//! release, and `report.html` for people, which needs nothing else to be read.
//!
//! Templates hold layout; `view` and `space` hold what is shown and in which words.

mod junit;
mod space;
mod view;

use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::{CheckReport, Error, Report, Reports, folder_name};
use crate::installed::Contents;
use crate::oci::layout::write_atomically;

/// Names of templates decide what is escaped in them (minijinja, `default_auto_escape_callback`).
const JUNIT: (&str, &str) = ("junit.xml", include_str!("../../../templates/junit.xml"));
const MANIFEST: (&str, &str) = ("manifest.md", include_str!("../../../templates/manifest.md"));
const PAGE: (&str, &str) = ("report.html", include_str!("../../../templates/report.html"));
/// The folder of logs, beside the documents.
const LOGS: &str = "logs";
/// How much of a log is shown in the page, in bytes; the file beside it has all.
const SHOWN: usize = 64 << 10;

/// An image that was verified.
#[derive(Clone, Debug)]
pub struct Described {
    /// What came of it.
    pub report: Report,
    /// What is in it, for each platform of the report.
    pub contents: Vec<Contents>,
}

/// Writes the four documents and all logs into `folder`, which is made if it is missing, and returns their paths.
///
/// # Errors
/// [`Error::Write`], and [`Error::Image`] for a document that cannot be written.
pub fn write(folder: &Path, images: &[Described]) -> Result<Vec<PathBuf>, Error> {
    fs_err::create_dir_all(folder).map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    let mut images = images.to_vec();
    images.iter_mut().try_for_each(|image| take_logs(folder, &mut image.report))?;
    let reports = Reports::new(images.iter().map(|image| image.report.clone()).collect());
    let views = view::Views::new(&images, &|log| shown(&folder.join(log)))?;
    let json = serde_json::to_string_pretty(&reports).expect("a report is JSON") + "\n";
    let documents = [
        ("report.json", json),
        (JUNIT.0, render(JUNIT, &junit::Suites::new(&reports.images))?),
        (MANIFEST.0, render(MANIFEST, &views.for_markdown())?),
        (PAGE.0, render(PAGE, &views)?),
    ];
    let written = documents.into_iter().map(|(name, text)| {
        let path = folder.join(name);
        write_atomically(&path, text.as_bytes())?;
        Ok(path)
    });
    written.collect()
}

/// Copies the logs of `report` into `folder`, and has the report name the copies, as seen from there.
fn take_logs(folder: &Path, report: &mut Report) -> Result<(), Error> {
    for platform in &mut report.platforms {
        let inside = Path::new(LOGS).join(&report.image).join(folder_name(platform.platform));
        for CheckReport { name, log, .. } in &mut platform.checks {
            let Some(log) = log else { continue };
            let copy = inside.join(format!("{name}.log"));
            let to = folder.join(&copy);
            let copied = fs_err::create_dir_all(folder.join(&inside)).and_then(|()| fs_err::copy(&*log, &to));
            copied.map_err(|source| Error::Write { path: to, source })?;
            *log = copy;
        }
    }
    Ok(())
}

/// The end of the log at `path`.
fn shown(path: &Path) -> Result<String, Error> {
    let bytes = read(path)?;
    let end = &bytes[bytes.len().saturating_sub(SHOWN)..];
    let text = String::from_utf8_lossy(end);
    Ok(if end.len() < bytes.len() { format!("(only the end)\n{text}") } else { text.into_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    Ok(fs_err::read(path).map_err(crate::oci::Error::read(path))?)
}

fn render((name, source): (&'static str, &str), context: &impl Serialize) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    let rendered = environment.render_named_str(name, source, context);
    rendered.map_err(|source| Error::Template { name, source: Box::new(source) })
}

/// `text` without the characters that XML has no way to write (XML 1.0, `Char`), nor a terminal's commands.
fn printable(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n') || !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().filter(|&c| c != '\r').map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(printable("a\u{1b}[1m\tb\r\nc\0\u{ffff}é"), "a\u{fffd}[1m\tb\nc\u{fffd}\u{fffd}é");
    }

    #[test]
    fn markup_is_escaped_where_it_is_markup() {
        let context = minijinja::context! { x => "<b>&\"" };
        assert_eq!(render(("a.html", "{{ x }}"), &context).unwrap(), "&lt;b&gt;&amp;&quot;");
        assert_eq!(render(("a.xml", "{{ x }}"), &context).unwrap(), "&lt;b&gt;&amp;&quot;");
        assert_eq!(render(("a.md", "{{ x }}"), &context).unwrap(), "<b>&\"");
        assert!(matches!(render(("a.md", "{{ y }}"), &context), Err(Error::Template { name: "a.md", .. })));
    }
}
