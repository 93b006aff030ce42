//! Link scripts: what a package wants to run when it is installed.
//!
//! They are never run: they are written for a prefix that exists on a machine of the right kind. They stay in the
//! image as the files they are. A package whose script matters would be broken without it, so one that is not known to
//! be harmless is an error, which an image can overrule.

use super::archive::{Archive, Section, What};
use super::error::Error;
use super::package::{Info, read_all};

/// The largest script that is looked into, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;

/// Where conda shows messages from, as scripts spell it.
const MESSAGES: [&str; 2] = ["${PREFIX}/.messages.txt", "$PREFIX/.messages.txt"];

/// Refuses packages with a `pre-link` or `post-link` script that might matter and is not in `skip`.
///
/// `pre-unlink` scripts run when a package is removed, which never happens to one in an image.
///
/// # Errors
/// [`Error::LinkScript`], and for damaged archives.
pub fn check<'a>(packages: impl IntoIterator<Item = (&'a Archive, &'a Info)>, skip: &[String]) -> Result<(), Error> {
    for (archive, info) in packages {
        let name = info.index.name.as_normalized();
        if skip.iter().any(|skipped| skipped == name) {
            continue;
        }
        let wanted = ["pre-link", "post-link"].map(|when| format!("bin/.{name}-{when}.sh"));
        for script in info.paths.iter().filter(|listed| wanted.iter().any(|path| path == listed.path.as_str())) {
            if !reads_harmless(archive, script.path.as_str())? {
                return Err(Error::LinkScript { package: name.to_owned(), script: script.path.to_string() });
            }
        }
    }
    Ok(())
}

fn reads_harmless(archive: &Archive, script: &str) -> Result<bool, Error> {
    let mut harmless = false;
    archive.walk(Section::Content, &mut |member| {
        if let What::File(size @ ..=MAX_SCRIPT, data) = member.what
            && member.path.as_str() == script
        {
            let content = read_all(archive, &member.path, size, data)?;
            harmless = std::str::from_utf8(&content).is_ok_and(is_harmless);
        }
        Ok(())
    })?;
    Ok(harmless)
}

/// Whether `script` does nothing but talk: empty lines, comments, `exit`, `true`, shell options, and `echo` to the
/// terminal or to conda's `.messages.txt`.
fn is_harmless(script: &str) -> bool {
    script.lines().map(str::trim).all(|line| {
        line.is_empty()
            || line.starts_with('#')
            || matches!(line, "exit" | "exit 0" | "true" | ":" | "set -e" | "set -x" | "set -ex" | "set -euo pipefail")
            || is_message(line)
    })
}

fn is_message(line: &str) -> bool {
    let Some(text) = line.strip_prefix("echo").filter(|text| text.is_empty() || text.starts_with(' ')) else {
        return false;
    };
    let (text, file) = text.split_once(">>").unwrap_or((text, MESSAGES[0]));
    if !MESSAGES.contains(&file.trim().trim_matches('"')) {
        return false;
    }
    // Nothing that the shell would run, or write elsewhere.
    !text.contains(['`', '$', '>', '<', '|', ';', '&', '\\'])
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn talk_is_harmless() {
        for script in [
            "",
            "#!/bin/bash\n\n# nothing\nexit 0\n",
            "#!/bin/sh\necho\necho \"Read the manual.\" >> \"${PREFIX}/.messages.txt\"\necho done >> $PREFIX/.messages.txt",
        ] {
            assert!(is_harmless(script), "{script}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for script in [
            "rm -rf x",
            "echo $(rm x)",
            "echo `rm x`",
            "echo a > \"$PREFIX/etc/x\"",
            "echo a >> \"$PREFIX/etc/x\"",
            "echo a; rm x",
            "echo a && rm x",
            "echo a >> \"${PREFIX}/.messages.txt\"; rm x",
            "echorm",
            "\"$PREFIX/bin/python\" -m thing",
        ] {
            assert!(!is_harmless(script), "{script}");
        }
    }
}
