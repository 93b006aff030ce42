//! The kernels that Jupyter offers, and the extensions of JupyterLab.

use serde::Deserialize;

use super::scene::Scene;
use super::warm::LABEXTENSIONS;
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error, Output};

const PROGRAM: &str = include_str!("kernels.py");
const MARK: &str = "@esker ";

/// One line of `kernels.py`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Answer { kernel: String, answer: String },
    Fault { kernel: String, fault: String },
    End {},
}

pub async fn kernels(scene: &Scene<'_>) -> Result<Finding, Error> {
    let seconds = scene.timeout.as_secs().max(1).to_string();
    let output = scene.run(&Command::arguments(["python", "-c", PROGRAM, &seconds]).over_empty_home()).await?;
    Ok(judge(&output))
}

fn judge(output: &Output) -> Finding {
    let lines = output.stdout.lines().filter_map(|line| line.strip_prefix(MARK));
    let (mut names, mut faults, mut ended) = (Vec::new(), Vec::new(), false);
    for line in lines.filter_map(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Answer { kernel, answer } if is_two(&answer) => names.push(kernel),
            Line::Answer { kernel, answer } => faults.push(format!("{kernel}: 1+1 is `{answer}`")),
            Line::Fault { kernel, fault } => faults.push(format!("{kernel}: {fault}")),
            Line::End {} => ended = true,
        }
    }
    if !ended {
        return Outcome::failed(format!("asking the kernels: {}", output.exit)).with_output(&output.text()).into();
    }
    if names.is_empty() && faults.is_empty() {
        return Outcome::failed("Jupyter finds no kernel").into();
    }
    let mut finding = Finding::from(Outcome::of_faults("kernels do not work", faults));
    finding.facts.insert("kernels".to_owned(), names.join(", "));
    finding
}

/// `2`, and R's `[1] 2`.
fn is_two(answer: &str) -> bool {
    answer.split_whitespace().last().is_some_and(|word| word == "2" || word == "2.0")
}

/// JupyterLab marks what it can use `OK`, what it cannot `X`.
pub async fn labextensions(scene: &Scene<'_>) -> Result<Finding, Error> {
    let alone = Command::arguments(["jupyter", "labextension", "list"]).over_empty_home();
    scene.warm_or_alone(LABEXTENSIONS, alone, judge_labextensions).await
}

fn judge_labextensions(output: &Output) -> Finding {
    let text = output.text();
    if !output.exit.success() {
        return Outcome::failed(output.exit.to_string()).with_output(&text).into();
    }
    if !text.contains("JupyterLab v") {
        return Outcome::failed("`jupyter labextension list` does not say whose they are").with_output(&text).into();
    }
    let mut faults = Vec::new();
    let mut good = 0;
    for line in text.lines().map(plain) {
        let is_listed = line.split_whitespace().any(|word| word == "enabled" || word == "disabled");
        match line.split_whitespace().any(|word| word == "X") || line.contains("not compatible") {
            true => faults.push(line.trim().to_owned()),
            false if is_listed => good += 1,
            false => {}
        }
    }
    let mut finding = Finding::from(Outcome::of_faults("JupyterLab cannot use some of its extensions", faults));
    finding.facts.insert("labextensions".to_owned(), good.to_string());
    finding
}

/// `line` without the codes that colour it on terminals.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::runtime::Exit;

    fn judged(stdout: &str) -> Finding {
        judge(&Output { exit: Exit::Code(0), stdout: stdout.to_owned(), stderr: String::new() })
    }

    #[test]
    fn answers_are_judged() {
        let good = judged(
            "@esker {\"kernel\": \"ir\", \"answer\": \"[1] 2\"}\n@esker {\"kernel\": \"python3\", \"answer\": \"2\"}\n\
             @esker {\"end\": true}\n",
        );
        assert_eq!((good.outcome, good.facts["kernels"].as_str()), (Outcome::Passed, "ir, python3"));
        for bad in [
            "@esker {\"kernel\": \"python3\", \"answer\": \"3\"}\n@esker {\"end\": true}\n",
            "@esker {\"kernel\": \"python3\", \"fault\": \"RuntimeError: died\"}\n@esker {\"end\": true}\n",
            "@esker {\"kernel\": \"python3\", \"answer\": \"2\"}\n",
            "@esker {\"end\": true}\n",
        ] {
            assert!(matches!(judged(bad).outcome, Outcome::Failed { .. }), "{bad}");
        }
    }

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(plain("a \u{1b}[32menabled\u{1b}[0m \u{1b}[31m X\u{1b}[0m"), "a enabled  X");
    }
}
