//! What a project wants to be told of its images: the commands of `info:`.

use super::scene::Scene;
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error};

/// The name of the check.
pub const NAME: &str = "info.commands";

/// Runs each command in a shell of its own behind the entrypoint, and keeps what it prints as a fact `info.NAME`.
pub async fn commands(scene: &Scene<'_>) -> Result<Finding, Error> {
    let info = &scene.subject.spec.info;
    if info.is_empty() {
        return Ok(Outcome::not_run("esker.yml has no `info` for it").into());
    }
    let (mut faults, mut facts) = (Vec::new(), std::collections::BTreeMap::new());
    for (name, command) in info {
        let output = scene.run(&Command::arguments(["bash", "-c", command])).await?;
        if output.exit.success() {
            facts.insert(format!("info.{name}"), output.stdout.trim_end().to_owned());
        } else {
            faults.push(format!("{name}: `{command}`: {}", output.exit));
            faults.extend(output.text().lines().map(|line| format!("  {line}")));
        }
    }
    Ok(Finding { outcome: Outcome::of_faults("commands of `info` failed", faults), facts })
}
