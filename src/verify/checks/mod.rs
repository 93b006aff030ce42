//! The checks, in one table. To add one: write its function in the file of its group and its line here.
//!
//! The first group needs the image's layers alone and runs for every platform; the second runs programs in the image.

mod cleanliness;
mod contract;
mod dask;
mod entrypoint;
mod files;
mod gpu;
mod hashes;
mod hub;
mod identity;
mod imports;
mod info;
mod jupyter;
mod kernels;
mod licences;
mod page;
mod python;
mod scene;
mod secrets;
mod suites;
mod system;
mod warm;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;

pub use info::NAME as INFO;
pub use page::PICTURE;
pub use scene::{Scene, Shared};
pub use secrets::may_hold_secrets;
pub use suites::tests_digest;

use super::report::Outcome;
use super::runtime;
use super::subject::{Subject, conda_packages};
use crate::lock::Lock;
use crate::oci::Platform;

/// How long a program may take to stop after SIGTERM: Docker waits this long before it kills.
const GRACE: Duration = Duration::from_secs(10);

/// One thing that must hold of an image.
pub struct Check {
    /// Its name: `group.what`.
    pub name: &'static str,
    /// Who or what breaks when it does not hold.
    pub why: &'static str,
    /// conda packages without which it means nothing: it is not run unless the lock has them all. `a|b` is either.
    pub needs: &'static [&'static str],
    /// Whether it runs only when it is asked for.
    pub opt_in: bool,
    /// How it is found out.
    pub how: How,
}

/// How a check is made.
pub enum How {
    /// From the layers.
    Layers(fn(&Subject<'_>) -> Outcome),
    /// From the layers, and more is learned than whether it holds.
    Listing(fn(&Subject<'_>) -> Finding),
    /// By running programs in the image. An error is about the machine at hand, and ends verify.
    Running(for<'a> fn(&'a Scene<'a>) -> BoxFuture<'a, Result<Finding, runtime::Error>>),
}

/// What a running check found.
#[derive(Debug)]
pub struct Finding {
    /// Whether it holds.
    pub outcome: Outcome,
    /// What else was learned.
    pub facts: BTreeMap<String, String>,
}

impl From<Outcome> for Finding {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, facts: BTreeMap::new() }
    }
}

/// Every check, in the order of the report.
pub const ALL: &[Check] = &[
    layers("identity.conda", "an image is its lock: no package more, none less, no other build", identity::conda),
    layers("identity.root", "conda and mamba in /srv/conda are locked like everything else", identity::root),
    layers("identity.files", "conda and pip remove and update by their records of files", identity::files),
    listing(
        "identity.hashes",
        "a file that changed since it was packed is not what its maker tested",
        hashes::recorded,
    ),
    listing("identity.licences", "who publishes an image hands out all that is in it", licences::recorded),
    layers("identity.pip", "packages that pip installed are locked, too", identity::pip),
    layers("identity.packages-txt", "packages.txt tells people what is in the image", identity::packages_txt),
    layers("contract.environment", "hubs, Binder and start scripts rely on these variables", contract::environment),
    layers("contract.path", "the environment's programs come before conda's and the system's", contract::path),
    Check {
        needs: &["cuda-version"],
        ..layers("contract.nvidia", "NVIDIA's container runtime puts the driver there", contract::nvidia)
    },
    layers("contract.entrypoint", "/srv/start prepares every program that a hub runs", contract::entrypoint),
    layers("contract.command", "DockerSpawner appends to the image's command; KubeSpawner runs it", contract::command),
    layers("contract.port", "hubs look for the server at port 8888", contract::port),
    layers("contract.user", "hubs run images as user 1000 and mount volumes for it", contract::user),
    layers("contract.labels", "registries show where an image's source is by its labels", contract::labels),
    layers("files.start", "an entrypoint that user 1000 cannot execute starts nothing", files::start),
    layers("files.srv-owner", "users install packages in /srv/conda", files::srv_owner),
    layers("files.condarc", "conda in the image solves with the project's channels", files::condarc),
    layers("files.dask-config", "the dask lab extension starts clusters with this class", files::dask_config),
    layers(
        "files.login-shell",
        "terminals in JupyterLab are login shells and need the environment",
        files::login_shell,
    ),
    layers("files.home", "hubs lay a volume over HOME: what the image keeps there is lost", files::home),
    layers(
        "clean.setuid",
        "set-user-id programs that Debian does not have are nobody's intention",
        cleanliness::setuid,
    ),
    layers("clean.world-writable", "what everybody may change, any program may", cleanliness::world_writable),
    layers("clean.secrets", "everybody who can pull an image has the secrets in it", secrets::secrets),
    layers("clean.leftovers", "every byte is pulled by every user", cleanliness::leftovers),
    layers(
        "clean.build-paths",
        "paths of the building machine make images differ and mislead conda",
        cleanliness::build_paths,
    ),
    Check {
        needs: &["cuda-version"],
        ..layers("gpu.cuda", "one major version of CUDA can be loaded, with a driver that is as new", gpu::cuda)
    },
    layers("system.apt", "apt.txt says which Debian packages the image has", system::apt),
    running(
        "entrypoint.exec",
        "a hub's signals must reach the program, with its arguments as they were",
        &[],
        |scene| Box::pin(entrypoint::exec(scene)),
    ),
    running("entrypoint.init", "kernels and dask workers leave zombies that somebody must reap", &[], |scene| {
        Box::pin(entrypoint::init(scene))
    }),
    running("entrypoint.signals", "a hub stops servers by SIGTERM, and waits for them", &[], |scene| {
        Box::pin(entrypoint::signals(scene))
    }),
    running("entrypoint.zombies", "a session of days must not fill with processes that have ended", &[], |scene| {
        Box::pin(entrypoint::zombies(scene))
    }),
    running("entrypoint.pangeo-env", "programs tell by PANGEO_ENV which image they run in", &[], |scene| {
        Box::pin(entrypoint::pangeo_env(scene))
    }),
    running("entrypoint.pangeo-scratch", "half a scratch path is somebody else's", &[], |scene| {
        Box::pin(entrypoint::pangeo_scratch(scene))
    }),
    running("entrypoint.login-shell", "terminals must find the environment's python", &["python"], |scene| {
        Box::pin(entrypoint::login_shell(scene))
    }),
    running("hub.empty-home", "a user's first volume is empty", &[], |scene| Box::pin(hub::empty_home(scene))),
    running("hub.arbitrary-user", "some clusters run images as a user whom no image knows", &["python"], |scene| {
        Box::pin(hub::arbitrary_user(scene))
    }),
    running("hub.read-only", "clusters with strict rules let nothing be written but volumes", &[], |scene| {
        Box::pin(hub::read_only(scene))
    }),
    running(
        "hub.singleuser",
        "a hub starts jupyterhub-singleuser",
        &["jupyterhub-singleuser|jupyterhub-base|jupyterhub"],
        |scene| Box::pin(hub::singleuser(scene)),
    ),
    running(
        "hub.command",
        "the image's command is the hub's server in a hub, and JupyterLab elsewhere",
        &["jupyterhub-singleuser|jupyterhub-base|jupyterhub", "jupyterlab"],
        |scene| Box::pin(hub::command(scene)),
    ),
    running("hub.binder", "BinderHub finds jupyter-lab with the system's python3", &["jupyterlab"], |scene| {
        Box::pin(hub::binder(scene))
    }),
    running("dask.commands", "dask-gateway starts dask-scheduler and dask-worker", &["distributed"], |scene| {
        Box::pin(dask::commands(scene))
    }),
    running("dask.gateway-preload", "dask-gateway's scheduler loads this module", &["dask-gateway"], |scene| {
        Box::pin(dask::gateway_preload(scene))
    }),
    running("dask.scheduler-worker", "dask-gateway's clusters are these programs", &["distributed"], |scene| {
        Box::pin(dask::scheduler_and_worker(scene))
    }),
    running("dask.local-cluster", "notebooks start clusters in their own container", &["distributed"], |scene| {
        Box::pin(dask::local_cluster(scene))
    }),
    running("python.version", "the interpreter is the locked one", &["python"], |scene| {
        Box::pin(python::version(scene))
    }),
    running("python.imports", "what the environment asks for can be imported", &["python"], |scene| {
        Box::pin(python::imports(scene))
    }),
    running("python.bytecode", "compiling at the first import costs seconds in every session", &["python"], |scene| {
        Box::pin(python::bytecode(scene))
    }),
    running("python.pip-check", "Python packages find the versions they ask for", &["python", "pip"], |scene| {
        Box::pin(python::pip_check(scene))
    }),
    running(
        "jupyter.server",
        "JupyterLab starts, answers those with the token and nobody else",
        &["jupyterlab"],
        |scene| Box::pin(jupyter::server(scene)),
    ),
    running("jupyter.old-options", "BinderHub still spells options --NotebookApp", &["jupyterlab"], |scene| {
        Box::pin(jupyter::old_options(scene))
    }),
    running(
        "jupyter.kernels",
        "a kernel that Jupyter offers and cannot start fails in front of its user",
        &["python", "jupyter_client|jupyter-client"],
        |scene| Box::pin(kernels::kernels(scene)),
    ),
    running(
        "jupyter.labextensions",
        "JupyterLab leaves out extensions made for another version, and says so to nobody",
        &["jupyterlab"],
        |scene| Box::pin(kernels::labextensions(scene)),
    ),
    running(
        "tests.notebooks",
        "the notebooks that a project's users begin with must run",
        &["nbclient", "ipykernel"],
        |scene| Box::pin(suites::notebooks(scene)),
    ),
    running("tests.pytest", "a project knows best what its images must be able to do", &["python"], |scene| {
        Box::pin(suites::pytest(scene))
    }),
    running(
        "gpu.devices",
        "libraries that find no GPU fall back to the processor in silence",
        &["cuda-version"],
        |scene| Box::pin(gpu::devices(scene)),
    ),
    Check {
        opt_in: true,
        ..running("page.notebook", "people see JupyterLab in a browser", &["jupyterlab", "ipykernel"], |scene| {
            Box::pin(page::notebook(scene))
        })
    },
    running(INFO, "people ask what exactly is in an image; `info` in esker.yml has it asked each time", &[], |scene| {
        Box::pin(info::commands(scene))
    }),
];

type Running = for<'a> fn(&'a Scene<'a>) -> BoxFuture<'a, Result<Finding, runtime::Error>>;

const fn layers(name: &'static str, why: &'static str, check: fn(&Subject<'_>) -> Outcome) -> Check {
    Check { name, why, needs: &[], opt_in: false, how: How::Layers(check) }
}

const fn listing(name: &'static str, why: &'static str, check: fn(&Subject<'_>) -> Finding) -> Check {
    Check { name, why, needs: &[], opt_in: false, how: How::Listing(check) }
}

const fn running(name: &'static str, why: &'static str, needs: &'static [&'static str], check: Running) -> Check {
    Check { name, why, needs, opt_in: false, how: How::Running(check) }
}

impl Check {
    /// Whether `selector` means this check: its name, or its group.
    pub fn is(&self, selector: &str) -> bool {
        self.name == selector || self.name.split_once('.').is_some_and(|(group, _)| group == selector)
    }

    /// The package without which this check means nothing for an image of `lock`, if there is one.
    pub fn lacks(&self, lock: &Lock, platform: Platform) -> Option<&'static str> {
        let is_locked = |name: &str| conda_packages(lock, platform).any(|package| package.name == name);
        let is_there = |either: &str| either.split('|').any(is_locked);
        let lacking = self.needs.iter().find(|either| !is_there(either))?;
        lacking.split('|').next()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_have_a_group() {
        let names: BTreeSet<_> = ALL.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), ALL.len());
        for check in ALL {
            let (group, what) = check.name.split_once('.').unwrap();
            assert!(!what.contains('.') && check.is(group) && check.is(check.name) && !check.is(what));
        }
    }
}
