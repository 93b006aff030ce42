//! The images that a Dockerfile names: which registries its builder asks.
//!
//! It is read as far as that takes: `FROM`, `COPY --from`, `RUN --mount=from=` and the frontend of `# syntax=`. What a
//! base brings along in `ONBUILD` is not seen from here.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::distribution::Reference;

use crate::oci::reference;

/// The base of everything, which is no image.
const SCRATCH: &str = "scratch";

/// The images that `dockerfile` names when it is built with `args`, each once. Names that are none are the builder's to
/// refuse.
pub fn images(dockerfile: &str, args: &BTreeMap<String, String>) -> Vec<Reference> {
    let mut file = File { args, defaults: BTreeMap::new(), stages: BTreeSet::new(), named: BTreeSet::new() };
    file.named.extend(frontend(dockerfile));
    for line in instructions(dockerfile) {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        match instruction.to_ascii_uppercase().as_str() {
            "ARG" if file.stages.is_empty() => file.arg(rest),
            "FROM" => file.from(rest),
            "COPY" | "RUN" => file.taken_from(rest),
            _ => {}
        }
    }
    file.named.iter().filter_map(|name| reference::parse(name).ok()).collect()
}

struct File<'a> {
    args: &'a BTreeMap<String, String>,
    /// `ARG`s before the first stage; only those can stand in `FROM`.
    defaults: BTreeMap<String, String>,
    /// Names of stages; a stage without one has its number.
    stages: BTreeSet<String>,
    named: BTreeSet<String>,
}

impl File<'_> {
    fn arg(&mut self, rest: &str) {
        for word in rest.split_whitespace() {
            let (name, default) = word.split_once('=').unwrap_or((word, ""));
            let default = self.expanded(default.trim_matches(['"', '\'']));
            self.defaults.insert(name.to_owned(), self.args.get(name).cloned().unwrap_or(default));
        }
    }

    fn from(&mut self, rest: &str) {
        let mut words = rest.split_whitespace().filter(|word| !word.starts_with("--"));
        if let Some(image) = words.next() {
            let image = self.expanded(image.trim_matches(['"', '\'']));
            self.name(&image);
        }
        let is_as = words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"));
        let name = words.next().filter(|_| is_as).map(str::to_ascii_lowercase);
        self.stages.insert(name.unwrap_or_else(|| self.stages.len().to_string()));
    }

    fn taken_from(&mut self, rest: &str) {
        for option in rest.split_whitespace().take_while(|word| word.starts_with("--")) {
            let image = match option.split_once('=') {
                Some(("--from", image)) => Some(image),
                Some(("--mount", fields)) => fields.split(',').find_map(|field| field.strip_prefix("from=")),
                _ => None,
            };
            if let Some(image) = image {
                self.name(image);
            }
        }
    }

    /// `image` is needed, unless it is a stage.
    fn name(&mut self, image: &str) {
        let is_stage = self.stages.contains(&image.to_ascii_lowercase()) || image.parse::<usize>().is_ok();
        if !image.is_empty() && image != SCRATCH && !is_stage {
            self.named.insert(image.to_owned());
        }
    }

    /// `text` with `$NAME`, `${NAME}`, `${NAME:-DEFAULT}` and `${NAME:+OTHER}` filled in.
    fn expanded(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once('$') else { return text.to_owned() };
        let value = |name: &str| self.defaults.get(name).filter(|value| !value.is_empty());
        let (filled, rest) = if let Some(braced) = rest.strip_prefix('{') {
            let (inside, rest) = braced.split_once('}').unwrap_or((braced, ""));
            let filled = match inside.split_once(':') {
                Some((name, word)) if word.starts_with('+') => value(name).map(|_| self.expanded(&word[1..])),
                Some((name, word)) => {
                    value(name).cloned().or_else(|| Some(self.expanded(word.strip_prefix('-').unwrap_or(word))))
                }
                None => value(inside).cloned(),
            };
            (filled, rest)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (value(&rest[..end]).cloned(), &rest[end..])
        };
        format!("{before}{}{}", filled.unwrap_or_default(), self.expanded(rest))
    }
}

/// The image of `# syntax=`, which stands before everything else.
fn frontend(dockerfile: &str) -> Option<String> {
    let directives = dockerfile.lines().map_while(|line| line.trim().strip_prefix('#')?.trim().split_once('='));
    let mut syntax = directives.filter(|(name, _)| name.trim().eq_ignore_ascii_case("syntax"));
    syntax.next().map(|(_, image)| image.trim().to_owned())
}

/// Instructions in one line each, without comments and the text of here-documents.
fn instructions(dockerfile: &str) -> Vec<String> {
    let mut instructions = Vec::new();
    let mut lines = dockerfile.lines();
    let mut begun = String::new();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            begun.push_str(part);
            continue;
        }
        begun.push_str(line);
        let instruction = std::mem::take(&mut begun);
        for end in here_documents(&instruction) {
            lines.by_ref().find(|line| line.trim_start_matches('\t') == end);
        }
        instructions.push(instruction);
    }
    instructions.extend(Some(begun).filter(|begun| !begun.is_empty()));
    instructions
}

/// The words that end the here-documents which `instruction` begins.
fn here_documents(instruction: &str) -> Vec<String> {
    let takes_any = ["RUN ", "COPY ", "ADD "]
        .iter()
        .any(|name| instruction.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    let words = instruction.split_whitespace().filter_map(|word| word.strip_prefix("<<")).filter(|_| takes_any);
    let words = words.map(|word| word.trim_start_matches('-').trim_matches(['"', '\'']).to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(dockerfile: &str) -> Vec<String> {
        let args = [("BASE".to_owned(), "a.example.org/base:1".to_owned())].into();
        images(dockerfile, &args).iter().map(|image| format!("{}/{}", image.registry(), image.repository())).collect()
    }

    #[test]
    fn images_are_told_from_stages_comments_and_scripts() {
        let dockerfile = r#"# syntax = docker/dockerfile:1
# escape=\
ARG BASE=b.example.org/never:1
ARG TAG=2 TOOLS="c.example.org:5000/tools:${TAG}"
FROM --platform=linux/amd64 \
    # between
    ${BASE} AS One
COPY --from=e.example.org/copied --chown=1:1 /a /b
RUN --mount=type=bind,from=f.example.org/mounted,target=/m echo FROM g.example.org/said
RUN <<EOF
FROM h.example.org/written
EOF
FROM one
COPY --from=0 /a /b
COPY --from=One /a /b
from $TOOLS as two
FROM scratch
FROM ${NONE:-i.example.org/else}
FROM ${BASE:+j.example.org/if}${NONE}
FROM ${NONE}
FROM debian:12
"#;
        let expected = [
            "a.example.org/base",
            "c.example.org:5000/tools",
            "docker.io/library/debian",
            "docker.io/docker/dockerfile",
            "e.example.org/copied",
            "f.example.org/mounted",
            "i.example.org/else",
            "j.example.org/if",
        ];
        assert_eq!(named(dockerfile), expected);
    }

    #[test]
    fn an_argument_has_its_default_where_nothing_is_given() {
        assert_eq!(named("ARG OTHER=a.example.org/x\nFROM $OTHER\nARG OTHER=b.example.org/y"), ["a.example.org/x"]);
        assert_eq!(named("FROM $OTHER"), [""; 0]);
    }
}
