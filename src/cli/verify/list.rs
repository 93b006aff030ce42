//! `esker verify --list`: the checks there are.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::args::VerifyOptions;
use crate::cli::failure::Failure;
use crate::cli::ui::Ui;
use crate::verify::checks::{ALL, Check, How};

#[derive(Serialize)]
struct List {
    schema: u32,
    checks: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    group: &'static str,
    /// Who or what breaks when it does not hold.
    why: &'static str,
    /// `layers` or `running`.
    how: &'static str,
    /// conda packages without which it is not run; of each list one is enough.
    needs: Vec<Vec<&'static str>>,
    /// Whether it runs only when it is asked for.
    opt_in: bool,
}

/// Lists the checks that `options` choose.
pub fn run(options: &VerifyOptions, ui: &Ui) -> Result<ExitCode, Failure> {
    let mut selection = options.selection()?;
    // Those that wait to be asked for are worth knowing, too.
    selection.with.extend(ALL.iter().filter(|check| check.opt_in).map(|check| check.name.to_owned()));
    let chosen = ALL.iter().filter(|check| selection.excludes(check).is_none());
    let list = List { schema: 1, checks: chosen.map(Listed::new).collect() };
    ui.result(&list, human)?;
    Ok(ExitCode::SUCCESS)
}

impl Listed {
    fn new(check: &Check) -> Self {
        Self {
            name: check.name,
            group: check.name.split('.').next().unwrap_or_default(),
            why: check.why,
            how: match check.how {
                How::Layers(_) | How::Listing(_) => "layers",
                How::Running(_) => "running",
            },
            needs: check.needs.iter().map(|either| either.split('|').collect()).collect(),
            opt_in: check.opt_in,
        }
    }
}

fn human(list: &List) -> String {
    let width = list.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (how, title) in [("layers", "from the layers"), ("running", "by running programs in the image")] {
        let checks: Vec<_> = list.checks.iter().filter(|check| check.how == how).collect();
        if checks.is_empty() {
            continue;
        }
        text.push_str(&format!("{title}:\n"));
        for check in checks {
            let needs: Vec<_> = check.needs.iter().map(|either| either.join(" or ")).collect();
            let needs = if needs.is_empty() { String::new() } else { format!(" (needs {})", needs.join(", ")) };
            let asked = if check.opt_in { " (only when asked for)" } else { "" };
            text.push_str(&format!("  {:width$}  {}{needs}{asked}\n", check.name, check.why));
        }
    }
    text
}
