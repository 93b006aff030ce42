//! Whether Python and the packages that were asked for work.

use super::files::some;
use super::scene::{Scene, prints, succeeds};
use super::warm::PIP_CHECK;
use super::{Finding, Outcome};
use crate::verify::runtime::Error;

pub async fn version(scene: &Scene<'_>) -> Result<Finding, Error> {
    let locked = scene.subject.locked("python").map_or("", |package| &package.version);
    let output = scene.python("import platform; print(platform.python_version())").await?;
    Ok(prints(&output, locked).into())
}

pub async fn pip_check(scene: &Scene<'_>) -> Result<Finding, Error> {
    scene.warm_or_alone(PIP_CHECK, PIP_CHECK.command(), succeeds).await
}

pub async fn imports(scene: &Scene<'_>) -> Result<Finding, Error> {
    let imported = scene.imported().await?;
    if imported.requested == 0 && imported.faults.is_empty() {
        return Ok(Outcome::not_run("no package that was asked for has modules").into());
    }
    let mut finding = Finding::from(Outcome::of_faults("modules cannot be imported", imported.faults.clone()));
    finding.facts.insert("imported-modules".to_owned(), imported.requested.to_string());
    Ok(finding)
}

pub async fn bytecode(scene: &Scene<'_>) -> Result<Finding, Error> {
    let Some(compiled) = &scene.imported().await?.compiled else {
        return Ok(Outcome::failed("importing modules did not come to its end").into());
    };
    let faults = some(compiled.iter(), Clone::clone);
    Ok(Outcome::of_faults("modules were compiled when imported: their byte code is missing or stale", faults).into())
}
