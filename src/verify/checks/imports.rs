//! Imports the modules of the packages that were asked for.
//!
//! All in one process, as a process for each would import the same libraries again and again; a module that takes the
//! process with it costs one process more. Other checks have their programs run there as well, see [`warm`](super::warm).

use std::collections::{BTreeMap, BTreeSet};

use rattler_conda_types::{MatchSpec, PackageNameMatcher, ParseMatchSpecOptions};
use serde::Deserialize;

use super::scene::Scene;
use super::warm::PROGRAMS;
use crate::project::{Dependency, requirement};
use crate::verify::installed::plain;
use crate::verify::runtime::{Command, Error, Exit, Output};
use crate::verify::subject::Subject;

const PROGRAM: &str = include_str!("imports.py");
const MARK: &str = "@esker ";
/// Modules of the standard library that everything in a notebook imports.
const STANDARD: [&str; 6] = ["argparse", "asyncio", "email.message", "http.client", "json", "unittest.mock"];

/// What importing came to.
#[derive(Debug)]
pub struct Imported {
    /// How many modules were asked for, the standard library's aside.
    pub requested: usize,
    /// Modules that cannot be imported, and why.
    pub faults: Vec<String>,
    /// Files that were compiled for want of byte code; `None` if no process came to its end.
    pub compiled: Option<Vec<String>>,
    /// What came of the programs that ran there, by their names.
    pub ran: BTreeMap<String, Output>,
}

impl Imported {
    /// Imports the modules.
    ///
    /// # Errors
    /// When no program can be run on this machine.
    pub async fn find(scene: &Scene<'_>) -> Result<Self, Error> {
        let requested = requested_modules(scene.subject);
        let mut imported =
            Self { requested: requested.len(), faults: Vec::new(), compiled: None, ran: BTreeMap::new() };
        let mut modules: Vec<_> = STANDARD.iter().map(|name| (*name).to_owned()).chain(requested).collect();
        // Each turn that does not come to its end loses at least one module.
        while !modules.is_empty() {
            let output = import(scene, &modules).await?;
            let told = Told::read(&output);
            imported.faults.extend(told.failed);
            imported.ran.extend(told.ran);
            if let Some(compiled) = told.compiled {
                imported.compiled.get_or_insert_default().extend(compiled);
                break;
            }
            let Some(culprit) = told.begun.last() else {
                // Python itself does not start.
                imported.faults.push(format!("python: {} {}", output.exit, output.text().trim()));
                break;
            };
            imported.faults.push(format!("{culprit}: {}", output.exit));
            modules = modules.split_off(told.begun.len());
        }
        Ok(imported)
    }
}

async fn import(scene: &Scene<'_>, modules: &[String]) -> Result<Output, Error> {
    let programs: BTreeMap<_, _> = PROGRAMS.iter().map(|program| (program.name, program.words())).collect();
    let programs = serde_json::json!(programs).to_string();
    let words = ["python", "-c", PROGRAM, &programs].into_iter().chain(modules.iter().map(String::as_str));
    // HOME may be written: some modules make their settings when first imported.
    scene.run(&Command::arguments(words).over_empty_home()).await
}

/// One line of `imports.py`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Begin { begin: String },
    Failed { failed: String, reason: String },
    Compiled { compiled: Vec<String> },
    Ran { ran: String, code: i32, stdout: String, stderr: String },
}

/// What `imports.py` told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    begun: Vec<String>,
    failed: Vec<String>,
    /// What was compiled; `None` if it did not come to its end.
    compiled: Option<Vec<String>>,
    ran: BTreeMap<String, Output>,
}

impl Told {
    fn read(output: &Output) -> Self {
        let mut told = Self::default();
        let lines = output.stdout.lines().filter_map(|line| line.strip_prefix(MARK));
        for line in lines.filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Begin { begin } => told.begun.push(begin),
                Line::Failed { failed, reason } => told.failed.push(format!("{failed}: {reason}")),
                Line::Compiled { compiled } => told.compiled = Some(compiled),
                Line::Ran { ran, code, stdout, stderr } => {
                    let exit = if code < 0 { Exit::Signal(-code) } else { Exit::Code(code) };
                    told.ran.insert(ran, Output { exit, stdout, stderr });
                }
            }
        }
        told
    }
}

/// Names of the packages that the image's environments ask for on this platform, conda's and pip's.
pub fn requested(subject: &Subject<'_>) -> BTreeSet<String> {
    let subdir = subject.platform().subdir();
    let applies = |d: &&Dependency| d.selector.as_ref().is_none_or(|subdirs| subdirs.contains(&subdir));
    let environments = &subject.spec.environments;
    let conda = environments.iter().flat_map(|environment| &environment.dependencies).filter(applies);
    let pip = environments.iter().flat_map(|environment| &environment.pip).filter(applies);
    let wheels = pip.filter_map(|line| requirement(&line.spec).ok()).map(|wanted| plain(wanted.name.as_ref()));
    conda.filter_map(|dependency| package_name(&dependency.spec)).chain(wheels).collect()
}

/// The modules of the packages that the image's environments ask for on this platform.
fn requested_modules(subject: &Subject<'_>) -> Vec<String> {
    let names = requested(subject);
    let conda = subject.installed.packages.iter().filter(|(name, _)| names.contains(*name));
    let wheels = subject.installed.wheels.iter().filter(|wheel| names.contains(&wheel.name));
    let modules = conda.flat_map(|(_, package)| package.modules()).chain(wheels.flat_map(|wheel| wheel.modules()));
    let modules: BTreeSet<&str> = modules.collect();
    modules.into_iter().map(str::to_owned).collect()
}

fn package_name(spec: &str) -> Option<String> {
    let spec = MatchSpec::from_str(spec, ParseMatchSpecOptions::lenient()).ok()?;
    match spec.name {
        PackageNameMatcher::Exact(name) => Some(name.as_normalized().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::runtime::Exit;

    #[test]
    fn lines_of_modules_are_told_from_ours() {
        let stdout = "hello\n@esker {\"begin\": \"a\"}\nnoise\n@esker {\"failed\": \"a\", \"reason\": \"E: x\"}\n\
                      @esker {\"begin\": \"b\"}\n@esker nonsense\n";
        let output = Output { exit: Exit::Signal(11), stdout: stdout.to_owned(), stderr: String::new() };
        let expected = Told { begun: vec!["a".into(), "b".into()], failed: vec!["a: E: x".into()], ..Told::default() };
        assert_eq!(Told::read(&output), expected);
    }

    #[test]
    fn programs_end_by_themselves_or_by_signals() {
        let line = |code: i32| {
            format!("@esker {{\"ran\": \"{code}\", \"code\": {code}, \"stdout\": \"a\", \"stderr\": \"b\"}}\n")
        };
        let stdout = format!("@esker {{\"compiled\": []}}\n{}{}", line(3), line(-9));
        let told = Told::read(&Output { exit: Exit::Code(0), stdout, stderr: String::new() });
        let output = |exit| Output { exit, stdout: "a".to_owned(), stderr: "b".to_owned() };
        let ran = [("-9".to_owned(), output(Exit::Signal(9))), ("3".to_owned(), output(Exit::Code(3)))];
        assert_eq!((told.compiled, told.ran), (Some(vec![]), ran.into()));
    }

    #[test]
    fn names_are_found_in_specs() {
        for (spec, name) in [
            ("xarray", "xarray"),
            ("argopy<1.4.0", "argopy"),
            ("Python 3.12.*", "python"),
            ("conda-forge::numpy=2", "numpy"),
            ("jaxlib>=0.4,<1 *cuda*", "jaxlib"),
        ] {
            assert_eq!(package_name(spec).as_deref(), Some(name), "{spec}");
        }
    }
}
