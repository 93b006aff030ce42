//! Files that every image has, and whose they are.

use serde_json::Value;

use crate::oci::entries::EntryKind;
use crate::verify::report::Outcome;
use crate::verify::runtime::config::HUB_USER;
use crate::verify::subject::Subject;
use crate::verify::tree::Node;

/// How many paths a failure lists.
const SHOWN: usize = 10;

pub fn start(subject: &Subject<'_>) -> Outcome {
    let Some(node) = subject.tree.node("srv/start") else { return Outcome::failed("there is no /srv/start") };
    let text = subject.tree.text("srv/start").unwrap_or_default();
    let faults = [
        (node.kind != EntryKind::File, "it is not a file".to_owned()),
        (node.mode & 0o555 != 0o555, format!("its mode is {:o}: not everybody may read and execute it", node.mode)),
        (node.mode & 0o022 != 0, format!("its mode is {:o}: others may change it", node.mode)),
        (!text.starts_with("#!"), "it does not begin with `#!`".to_owned()),
    ];
    let faults = faults.into_iter().filter(|(wrong, _)| *wrong).map(|(_, fault)| fault);
    Outcome::of_faults("/srv/start cannot be the entrypoint", faults.collect())
}

pub fn srv_owner(subject: &Subject<'_>) -> Outcome {
    let Some(srv) = subject.tree.nodes.get("srv") else { return Outcome::failed("there is no /srv") };
    let all = std::iter::once(("srv", srv)).chain(subject.tree.below("srv"));
    // A link's owner means nothing, and a hard link has that of its target.
    let owned = all.filter(|(_, node)| matches!(node.kind, EntryKind::File | EntryKind::Directory));
    let others = owned.filter(|(_, node)| (node.uid, node.gid) != HUB_USER);
    Outcome::of_faults("/srv does not belong to 1000:1000 throughout", some(others, |(path, node)| owner(path, node)))
}

pub fn condarc(subject: &Subject<'_>) -> Outcome {
    match yaml(subject, "srv/conda/.condarc") {
        Ok(Value::Object(settings)) if !settings.is_empty() => Outcome::Passed,
        Ok(_) => Outcome::failed("/srv/conda/.condarc sets nothing"),
        Err(outcome) => outcome,
    }
}

pub fn dask_config(subject: &Subject<'_>) -> Outcome {
    match yaml(subject, "srv/conda/etc/dask.yml") {
        Ok(settings) => match settings.pointer("/labextension/factory/class").and_then(Value::as_str) {
            Some("LocalCluster") => Outcome::Passed,
            other => Outcome::failed(format!("labextension.factory.class is {other:?}, not LocalCluster")),
        },
        Err(outcome) => outcome,
    }
}

pub fn login_shell(subject: &Subject<'_>) -> Outcome {
    match subject.tree.text("etc/profile.d/init_conda.sh") {
        // What it does shows when it runs: see `entrypoint.login-shell`.
        Some(script) if !script.trim().is_empty() => Outcome::Passed,
        Some(_) => Outcome::failed("/etc/profile.d/init_conda.sh is empty"),
        None => Outcome::failed("there is no /etc/profile.d/init_conda.sh"),
    }
}

pub fn home(subject: &Subject<'_>) -> Outcome {
    let Some(home) = subject.tree.nodes.get("home/jovyan") else { return Outcome::failed("there is no /home/jovyan") };
    let mut faults = some(subject.tree.below("home/jovyan"), |(path, _)| format!("/{path} is lost under a volume"));
    if (home.uid, home.gid) != HUB_USER {
        faults.push(owner("home/jovyan", home));
    }
    Outcome::of_faults("/home/jovyan is not an empty directory of 1000:1000", faults)
}

fn yaml(subject: &Subject<'_>, path: &str) -> Result<Value, Outcome> {
    let text = subject.tree.text(path).ok_or_else(|| Outcome::failed(format!("there is no /{path}")))?;
    serde_saphyr::from_str(text).map_err(|error| Outcome::failed(format!("/{path} is no YAML: {error}")))
}

fn owner(path: &str, node: &Node) -> String {
    format!("/{path} belongs to {}:{}", node.uid, node.gid)
}

/// The first of `items` in words, and how many more there are.
pub fn some<T>(items: impl Iterator<Item = T>, show: impl Fn(T) -> String) -> Vec<String> {
    let mut items = items.fuse();
    let mut shown: Vec<_> = items.by_ref().take(SHOWN).map(show).collect();
    match items.count() {
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    shown
}
