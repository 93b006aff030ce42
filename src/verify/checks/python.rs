//! Whether Python and the packages that were asked for work.

use std::collections::BTreeSet;

use rattler_conda_types::{MatchSpec, PackageNameMatcher, ParseMatchSpecOptions};
use serde::Deserialize;

use super::files::some;
use super::scene::{Scene, prints, succeeds};
use super::{Finding, Outcome};
use crate::project::Dependency;
use crate::verify::runtime::{Command, Error, Output};
use crate::verify::subject::Subject;

const IMPORTS: &str = include_str!("imports.py");
const MARK: &str = "@esker ";
/// Modules of the standard library that everything in a notebook imports.
const STANDARD: [&str; 6] = ["argparse", "asyncio", "email.message", "http.client", "json", "unittest.mock"];

pub async fn version(scene: &Scene<'_>) -> Result<Finding, Error> {
    let locked = scene.subject.locked("python").map_or("", |package| &package.version);
    let output = scene.python("import platform; print(platform.python_version())").await?;
    Ok(prints(&output, locked).into())
}

pub async fn pip_check(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(succeeds(&scene.run(&Command::arguments(["python", "-m", "pip", "check"])).await?))
}

pub async fn imports(scene: &Scene<'_>) -> Result<Finding, Error> {
    let mut modules = requested_modules(scene.subject);
    if modules.is_empty() {
        return Ok(Outcome::not_run("no package that was asked for has modules").into());
    }
    let count = modules.len();
    let mut faults = Vec::new();
    // A module that takes the process with it is left out of the next one. Each turn loses at least one module.
    while !modules.is_empty() {
        let output = import(scene, &modules).await?;
        let told = Told::read(&output);
        faults.extend(told.failed);
        if told.compiled.is_some() {
            break;
        }
        let culprit = told.begun.last().cloned().unwrap_or_else(|| modules[0].clone());
        faults.push(format!("{culprit}: {}", output.exit));
        modules = modules.split_off(told.begun.len().max(1));
    }
    let mut finding = Finding::from(Outcome::of_faults("modules cannot be imported", faults));
    finding.facts.insert("imported-modules".to_owned(), count.to_string());
    Ok(finding)
}

pub async fn bytecode(scene: &Scene<'_>) -> Result<Finding, Error> {
    let mut modules = STANDARD.map(str::to_owned).to_vec();
    modules.extend(requested_modules(scene.subject));
    let output = import(scene, &modules).await?;
    let Some(compiled) = Told::read(&output).compiled else {
        return Ok(Outcome::failed("importing did not come to its end").with_output(&output.text()).into());
    };
    let faults = some(compiled.into_iter(), |path| path);
    Ok(Outcome::of_faults("modules were compiled when imported: their byte code is missing or stale", faults).into())
}

async fn import(scene: &Scene<'_>, modules: &[String]) -> Result<Output, Error> {
    let program = ["python", "-c", IMPORTS].map(str::to_owned).into_iter();
    // HOME may be written: some modules make their settings when first imported.
    let command = Command::arguments(program.chain(modules.iter().cloned())).over_empty_home();
    scene.run(&command).await
}

/// One line of `imports.py`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Begin { begin: String },
    Failed { failed: String, reason: String },
    Compiled { compiled: Vec<String> },
}

/// What `imports.py` told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    begun: Vec<String>,
    failed: Vec<String>,
    /// What was compiled; `None` if it did not come to its end.
    compiled: Option<Vec<String>>,
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
            }
        }
        told
    }
}

/// The modules of the packages that the image's environments ask for on this platform.
fn requested_modules(subject: &Subject<'_>) -> Vec<String> {
    let subdir = subject.platform().subdir();
    let applies = |d: &&Dependency| d.selector.as_ref().is_none_or(|subdirs| subdirs.contains(&subdir));
    let dependencies = subject.spec.environments.iter().flat_map(|e| &e.dependencies).filter(applies);
    let packages = dependencies.filter_map(|dependency| package_name(&dependency.spec));
    let installed = packages.filter_map(|name| subject.installed.packages.get(&name));
    let modules: BTreeSet<&str> = installed.flat_map(|package| package.modules()).collect();
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
        let expected = Told { begun: vec!["a".into(), "b".into()], failed: vec!["a: E: x".into()], compiled: None };
        assert_eq!(Told::read(&output), expected);
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
