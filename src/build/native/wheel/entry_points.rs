//! The commands that a wheel wants: `console_scripts` and `gui_scripts` of its `entry_points.txt`.

use std::io;
use std::str::FromStr;

use rattler_conda_types::package::EntryPoint;

/// The groups whose entries become commands. There is no difference between them but on Windows.
const GROUPS: [&str; 2] = ["console_scripts", "gui_scripts"];

/// Reads `entry_points.txt`: an INI file in which names keep their case.
///
/// # Errors
/// When it is not UTF-8, or a command is none that a script could be written for.
pub fn parse(content: &[u8]) -> io::Result<Vec<EntryPoint>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let text = std::str::from_utf8(content).map_err(|error| invalid(error.to_string()))?;
    let mut wanted = false;
    let mut commands: Vec<EntryPoint> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(group) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            wanted = GROUPS.contains(&group.trim());
        } else if wanted && !line.is_empty() && !line.starts_with(['#', ';']) {
            // Extras behind it (`name = module:function [extra]`) say what the command needs, not what it is.
            let command = line.split_once('[').map_or(line, |(command, _)| command).trim();
            let command = EntryPoint::from_str(command).map_err(|error| invalid(format!("`{line}`: {error}")))?;
            commands.retain(|other| other.command != command.command);
            commands.push(command);
        }
    }
    commands.sort_by(|a, b| a.command.cmp(&b.command));
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_both_groups() {
        let text = "# c\n[console_scripts]\nb = pkg.cli:main [fast]\nA=pkg:Main.run\n\n[pytest11]\nx = y\n\
                    [ gui_scripts ]\ngui = pkg.gui:start\n";
        let commands: Vec<_> = parse(text.as_bytes()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(commands, ["A = pkg:Main.run", "b = pkg.cli:main", "gui = pkg.gui:start"]);
    }

    #[test]
    fn commands_that_would_leave_bin_or_run_something_else() {
        for bad in ["../x = a:b", "x = a:b; import os", "x = a", "x", "= a:b"] {
            let error = parse(format!("[console_scripts]\n{bad}\n").as_bytes()).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
