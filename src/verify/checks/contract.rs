//! What an image's configuration promises those who run it.
//!
//! repo2docker's layout, so that Binder and hubs feel at home.

use crate::render;
use crate::verify::report::Outcome;
use crate::verify::runtime::config::HUB_USER;
use crate::verify::subject::Subject;

/// Variables of every image. A project may set others, and give these other values.
const ENVIRONMENT: [(&str, &str); 13] = [
    ("CONDA_DIR", "/srv/conda"),
    ("CONDA_ENV", "notebook"),
    ("DASK_ROOT_CONFIG", "/srv/conda/etc"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("HOME", "/home/jovyan"),
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
    ("NB_PYTHON_PREFIX", "/srv/conda/envs/notebook"),
    ("NB_UID", "1000"),
    ("NB_USER", "jovyan"),
    ("SHELL", "/bin/bash"),
    ("TZ", "UTC"),
    // An empty value stands for any: `contract.path` looks at it.
    ("PATH", ""),
];
const PATH: &str = "/srv/conda/envs/notebook/bin:/srv/conda/bin";
const SOURCE_LABEL: &str = "org.opencontainers.image.source";

pub fn environment(subject: &Subject<'_>) -> Outcome {
    let all = match render::environment_variables(subject.spec, subject.is_root()) {
        Ok(all) => all,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    // The table is compared by itself: what is rendered may be wrong, too. `PATH` is for `contract.path`.
    let own = |name: &str| name != "PATH" && subject.spec.env.contains_key(name);
    let standard = ENVIRONMENT.iter().filter(|(name, _)| !own(name)).copied();
    let asked = all.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.as_str(), value.as_str()));
    let faults = standard.chain(asked).filter_map(|(name, expected)| match subject.container.variable(name) {
        Some(value) if value == expected || expected.is_empty() => None,
        Some(value) => Some(format!("{name} is `{value}`, not `{expected}`")),
        None => Some(format!("{name} is not set")),
    });
    Outcome::of_faults("environment variables are missing or different", faults.collect())
}

pub fn path(subject: &Subject<'_>) -> Outcome {
    let path = subject.container.variable("PATH").unwrap_or_default();
    let begins = path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    if begins {
        Outcome::Passed
    } else {
        Outcome::failed(format!("PATH is `{path}`, which does not begin with `{PATH}`"))
    }
}

pub fn nvidia(subject: &Subject<'_>) -> Outcome {
    let places = [("PATH", "/usr/local/nvidia/bin"), ("LD_LIBRARY_PATH", "/usr/local/nvidia/lib64")];
    let missing = places.into_iter().filter(|(name, place)| {
        let value = subject.container.variable(name).unwrap_or_default();
        !value.split(':').any(|part| part == *place)
    });
    let faults = missing.map(|(name, place)| format!("`{place}` is not in {name}; set it under `env` in `esker.yml`"));
    Outcome::of_faults("programs do not find NVIDIA's driver", faults.collect())
}

pub fn entrypoint(subject: &Subject<'_>) -> Outcome {
    match subject.container.entrypoint.as_slice() {
        [start] if start == "/srv/start" => Outcome::Passed,
        other => Outcome::failed(format!("the entrypoint is {other:?}, not [\"/srv/start\"]")),
    }
}

pub fn command(subject: &Subject<'_>) -> Outcome {
    match subject.container.cmd.first() {
        Some(_) => Outcome::Passed,
        None => Outcome::failed("there is no command"),
    }
}

pub fn port(subject: &Subject<'_>) -> Outcome {
    let config = subject.image.config.config().clone().unwrap_or_default();
    let ports = config.exposed_ports().clone().unwrap_or_default();
    if ports.iter().any(|port| port == "8888/tcp" || port == "8888") {
        return Outcome::Passed;
    }
    Outcome::failed(format!("the exposed ports are {ports:?}, without 8888/tcp"))
}

pub fn user(subject: &Subject<'_>) -> Outcome {
    let user = &subject.container.user;
    let (expected, _) = HUB_USER;
    // `owner` replaces root, which is no answer here.
    let is_root = ["", "0", "root"].contains(&user.split(':').next().unwrap_or_default());
    let (uid, _) = subject.container.owner(subject.passwd());
    let named = subject.passwd().lines().any(|line| line.split(':').nth(2) == Some("1000"));
    match uid == expected && !is_root {
        true if named => Outcome::Passed,
        true => Outcome::failed("/etc/passwd has no name for user 1000"),
        false => Outcome::failed(format!("the user is `{user}`, not 1000")),
    }
}

pub fn labels(subject: &Subject<'_>) -> Outcome {
    let config = subject.image.config.config().clone().unwrap_or_default();
    let labels = config.labels().clone().unwrap_or_default();
    let asked = subject.spec.labels.iter().filter_map(|(name, value)| match labels.get(name) {
        Some(found) if found == value => None,
        Some(found) => Some(format!("{name} is `{found}`, not `{value}`")),
        None => Some(format!("{name} is not set")),
    });
    let faults: Vec<_> = asked.collect();
    // Only the project can know where its source is.
    if faults.is_empty() && labels.get(SOURCE_LABEL).is_none_or(String::is_empty) {
        return Outcome::not_run(format!("`labels` in `esker.yml` does not set {SOURCE_LABEL}"));
    }
    Outcome::of_faults("labels are missing or different", faults)
}
