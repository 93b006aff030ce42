//! conda-lock's content hash of a request.
//!
//! It goes into the locks because tools look at it; whether a lock is stale is decided by [`holds`](super::holds),
//! not by this hash, which conda-lock's own authors call flawed. The rule was checked against every pangeo lock from
//! conda-lock 2.5 on.

use std::fmt::Write as _;

use pep508_rs::{MarkerEnvironment, MarkerExpression, MarkerTree};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::pip::Target;
use super::spelling::Requirement;
use super::{LockedChannel, Manager, SubdirSpec, VirtualPackage};
use crate::project::{Dependency, MergedSpec, requirement};

/// The time that conda-lock stamps on virtual packages, in milliseconds.
const VIRTUAL_TIMESTAMP: u64 = 1_577_854_800_000;

/// The content hash of `spec`. `defaults` says that the virtual packages are (or are laid over) conda-lock's own.
pub(super) fn of(channels: &[String], spec: &SubdirSpec, defaults: bool) -> String {
    let channel = |channel: &String| {
        let LockedChannel { url, used_env_vars } = LockedChannel::of(channel);
        python_compact(&json!({ "url": url, "used_env_vars": used_env_vars }))
    };
    let content = json!({
        "channels": channels.iter().map(channel).collect::<Vec<_>>(),
        "specs": specs(spec),
        "virtual_package_hash": {
            "noarch": { "info": { "subdir": "noarch" }, "packages": {} },
            spec.subdir.as_str(): {
                "info": { "subdir": spec.subdir.as_str() },
                "packages": virtual_packages(spec, defaults),
            },
        },
    });
    let mut text = String::new();
    write_python_json(&content, [", ", ": "], &mut text);
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn specs(spec: &SubdirSpec) -> Vec<Value> {
    let mut all: Vec<(Manager, String, Value)> = Vec::new();
    for conda in &spec.conda {
        all.push((Manager::Conda, conda.name.clone(), conda_spec(conda)));
    }
    if !spec.pip.is_empty() {
        all.retain(|(_, name, _)| name != "pip");
        let pip = versioned(Manager::Conda, "pip", "*", "main");
        all.push((Manager::Conda, "pip".to_owned(), pip));
    }
    let markers = if spec.pip.is_empty() { None } else { Target::new(spec.subdir, "3.12", &[]) };
    for pip in &spec.pip {
        let of_platform =
            |line: &&Dependency| markers.as_ref().is_none_or(|target| may_hold(&line.spec, &target.markers));
        // Where a name repeats, conda-lock takes the last.
        if let Some(line) = pip.dependencies.iter().rfind(of_platform) {
            all.push((Manager::Pip, pip.name.clone(), pip_spec(&pip.name, &line.spec, &pip.category)));
        }
    }
    all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    all.into_iter().map(|(.., value)| value).collect()
}

fn conda_spec(spec: &MergedSpec) -> Value {
    let requirements: Vec<_> = spec.dependencies.iter().map(|line| Requirement::parse(&line.spec)).collect();
    let versions: Vec<&str> =
        requirements.iter().map(|one| one.version.as_str()).filter(|version| !version.is_empty()).collect();
    let mut value = versioned(Manager::Conda, &spec.name, &versions.join(","), &spec.category);
    value["build"] = requirements.iter().find_map(|one| one.build.clone()).into();
    value["conda_channel"] = requirements.iter().find_map(|one| one.channel.clone()).into();
    value
}

/// A pip requirement in conda-lock's words, which are those of the line: nothing is normalised but the name.
fn pip_spec(name: &str, line: &str, category: &str) -> Value {
    let (line, marker) = match line.rsplit_once(';') {
        Some((line, marker)) => (line.trim(), Some(marker.trim())),
        None => (line, None),
    };
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(line.len());
    let (extras, rest) = match line[end..].trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((extras, rest)) => (extras, rest.trim()),
        None => ("", line[end..].trim()),
    };
    let parts = |text: &str| {
        let parts = text.split(',').map(|part| part.split_whitespace().collect::<String>());
        let mut parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        parts.sort_unstable();
        parts
    };
    let mut value = match rest.strip_prefix('@') {
        Some(url) => {
            let (url, hash) = url.trim().split_once('#').unwrap_or((url.trim(), ""));
            let hashes = [hash.replace('=', ":")];
            json!({ "category": category, "hashes": hashes, "manager": "pip", "name": name, "url": url })
        }
        None => {
            let version = parts(rest.trim_matches(['(', ')'])).join(",").replace("===", "==");
            versioned(Manager::Pip, name, if version.is_empty() { "*" } else { &version }, category)
        }
    };
    value["extras"] = parts(extras).into();
    if let Some(marker) = marker {
        value["markers"] = marker.into();
    }
    value
}

/// Whether the markers of a line may hold on a platform. conda-lock asks before it knows the Python: whatever is not of
/// the platform is taken to hold.
fn may_hold(line: &str, environment: &MarkerEnvironment) -> bool {
    const OF_PLATFORM: [&str; 3] = ["os_name", "platform_system", "sys_platform"];
    let Ok(requirement) = requirement(line) else { return true };
    let holds = |expression: &MarkerExpression| match expression {
        MarkerExpression::String { key, .. } if OF_PLATFORM.contains(&key.to_string().as_str()) => {
            MarkerTree::expression(expression.clone()).evaluate(environment, &[])
        }
        _ => true,
    };
    requirement.marker.is_true() || requirement.marker.to_dnf().iter().any(|all| all.iter().all(holds))
}

fn versioned(manager: Manager, name: &str, version: &str, category: &str) -> Value {
    json!({
        "build": null,
        "category": category,
        "conda_channel": null,
        "extras": [],
        "hash": null,
        "manager": manager.as_str(),
        "name": name,
        "version": version,
    })
}

fn virtual_packages(spec: &SubdirSpec, defaults: bool) -> Value {
    let mut packages: Vec<VirtualPackage> = spec.virtual_packages.clone();
    if defaults && spec.subdir == rattler_conda_types::Subdir::Osx64 {
        // An oversight of conda-lock's that it keeps, as every hash would change.
        packages.push(VirtualPackage { name: "__osx".into(), version: "10.15".into(), build: String::new() });
    }
    let entries = packages.iter().map(|package| {
        let build = if package.build.is_empty() { "0".to_owned() } else { format!("{}_0", package.build) };
        let value = json!({
            "build": build,
            "build_number": 0,
            "build_string": package.build,
            "depends": [],
            "name": package.name,
            "noarch": "",
            "package_type": "virtual_system",
            "subdir": spec.subdir.as_str(),
            "timestamp": VIRTUAL_TIMESTAMP,
            "version": package.version,
        });
        (format!("{}-{}-{build}.tar.bz2", package.name, package.version), value)
    });
    Value::Object(entries.collect())
}

/// JSON without spaces, as pydantic dumps a model.
fn python_compact(value: &Value) -> String {
    let mut text = String::new();
    write_python_json(value, [",", ":"], &mut text);
    text
}

/// `value` as Python's `json.dumps(…, sort_keys=True)` writes it, with these separators.
fn write_python_json(value: &Value, separators: [&str; 2], out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                out.push_str(if index > 0 { separators[0] } else { "" });
                write_python_string(key, out);
                out.push_str(separators[1]);
                write_python_json(value, separators, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { separators[0] } else { "" });
                write_python_json(item, separators, out);
            }
            out.push(']');
        }
        Value::String(text) => write_python_string(text, out),
        other => out.push_str(&other.to_string()),
    }
}

/// A string in ASCII: everything else as UTF-16 escapes.
fn write_python_string(text: &str, out: &mut String) {
    for character in Value::from(text).to_string().chars() {
        if character.is_ascii() && character != '\x7f' {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}").expect("a String takes everything");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_pythons() {
        let value = json!({ "b": [1, null, "é😀\"\n\u{7f}"], "a": {} });
        let mut text = String::new();
        write_python_json(&value, [", ", ": "], &mut text);
        // Written by Python 3.11.
        assert_eq!(text, "{\"a\": {}, \"b\": [1, null, \"\\u00e9\\ud83d\\ude00\\\"\\n\\u007f\"]}");
    }
}
