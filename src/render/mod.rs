//! What esker puts into an image besides packages: the entrypoint, shell activation, conda's and dask's configuration,
//! environment variables.
//!
//! The layout is repo2docker's, which BinderHub and JupyterHub deployments know. Templates hold layout, this module
//! holds decisions.

pub mod docker;
mod templates;

use std::io;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::oci::Platform;
use crate::project::{self, ImageSpec};

/// Where the root prefix is: `CONDA_DIR`.
pub const ROOT_PREFIX: &str = "/srv/conda";
/// Where the notebook environment is: `NB_PYTHON_PREFIX`.
pub const NOTEBOOK_PREFIX: &str = "/srv/conda/envs/notebook";
/// The notebook environment's name.
pub const NOTEBOOK_ENVIRONMENT: &str = "notebook";
/// Owner and group of everything below `/srv` and of the home directory.
pub const USER: (u64, u64) = (1000, 1000);

const START: &str = include_str!("../../templates/start.sh");
const ACTIVATION: &str = include_str!("../../templates/init_conda.sh");
const SERVE: &str = include_str!("../../templates/serve.sh");

/// Configuration files with where they go in an image, and what they say where no folder has one.
const CONFIGURATION: [(&str, &str, &str); 2] = [
    ("condarc.yml", "srv/conda/.condarc", include_str!("../../base-image/condarc.yml")),
    ("dask_config.yml", "srv/conda/etc/dask.yml", include_str!("../../base-image/dask_config.yml")),
];

/// What esker adds to an image besides packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageContent {
    /// Files, in order of their paths.
    pub files: Vec<ContentFile>,
    /// Environment variables. `PATH` holds only esker's own directories: the base's follow in the image.
    pub env: IndexMap<String, String>,
    /// The image's entrypoint.
    pub entrypoint: Vec<String>,
    /// The command that runs when none is given.
    pub cmd: Vec<String>,
    /// Labels.
    pub labels: IndexMap<String, String>,
    /// Ports, as `8888/tcp`.
    pub exposed_ports: Vec<String>,
    /// The user that processes run as, numeric, so that Kubernetes can tell it is not root.
    pub user: String,
    /// The directory that processes start in.
    pub workdir: String,
    /// The account behind `user`.
    pub account: Account,
    /// What Docker does first in an image that is built `FROM` this one.
    pub on_build: Vec<String>,
}

/// The account that the image's processes run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Numeric user id.
    pub uid: u64,
    /// Numeric group id.
    pub gid: u64,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// One file that esker writes into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentFile {
    /// Path in the image, relative to `/`.
    pub path: String,
    /// Content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
}

/// Why an image's files could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the image's folder could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A template is wrong.
    #[error("template `{name}` cannot be rendered")]
    Template {
        /// The template's file name.
        name: String,
        /// Why.
        source: minijinja::Error,
    },
    /// `apt.txt` cannot be read.
    #[error(transparent)]
    Apt(project::Error),
    /// Dockerfiles need something in the root prefix that installs packages.
    #[error("the root prefix of `{image}` has no micromamba for {platform}, which Dockerfiles install packages with")]
    NoInstaller {
        /// The image of the root prefix.
        image: String,
        /// The platform.
        platform: Platform,
    },
    /// A Dockerfile in the image's folder could not take its files from a folder below.
    #[error("`{image}` has its build files in `{}`; a rendered Dockerfile takes them from the image's folder", folder.display())]
    BinderFolder {
        /// The image.
        image: String,
        /// Where its files are.
        folder: PathBuf,
    },
    /// `env:` uses a variable that the image does not have.
    #[error("environment variable `{name}` of `{image}` uses `${{{used}}}`, which is not set in the image")]
    UnknownVariable {
        /// The image.
        image: String,
        /// The variable being set.
        name: String,
        /// The variable in its value.
        used: String,
    },
}

/// Collects what goes into `image`; `root` is the image whose folder has `condarc.yml` and `dask_config.yml`.
///
/// # Errors
/// When a file cannot be read or `env:` names an unknown variable.
pub fn image_content(image: &ImageSpec, root: Option<&ImageSpec>) -> Result<ImageContent, Error> {
    let mut files = Vec::new();
    let mut add = |path: &str, content: Vec<u8>, mode, owner| {
        files.push(ContentFile { path: path.to_owned(), content, mode, owner });
    };
    let is_root = root.is_some_and(|root| root.name == image.name);
    let start = match image.file("start") {
        Some(path) => read(path)?,
        // What Docker builds on the image of the root prefix says by the variable which image it is.
        None if is_root => render("start.sh", START, context! { image => format!("${{PANGEO_ENV:-{}}}", image.name) })?,
        None => render("start.sh", START, context! { image => image.name })?,
    };
    add("srv/start", start, 0o755, USER);
    add("srv/serve", render("serve.sh", SERVE, context! {})?, 0o755, USER);
    let (prefix, environment) = active(is_root);
    let activation = context! { prefix, environment, root => ROOT_PREFIX };
    add("etc/profile.d/init_conda.sh", render("init_conda.sh", ACTIVATION, activation)?, 0o644, (0, 0));
    for (name, path, default) in CONFIGURATION {
        let content = match image.file(name).or_else(|| root.and_then(|root| root.file(name))) {
            Some(file) => read(file)?,
            None => default.as_bytes().to_vec(),
        };
        add(path, content, 0o644, USER);
    }
    if let Some(file) = image.file("jupyter_notebook_config.py") {
        add("etc/jupyter/jupyter_notebook_config.py", read(file)?, 0o644, (0, 0));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));

    let account = Account::jovyan();
    Ok(ImageContent {
        files,
        env: environment_variables(image, is_root)?,
        entrypoint: vec!["/srv/start".to_owned()],
        cmd: if is_root { vec!["/bin/bash".to_owned()] } else { vec!["/srv/serve".to_owned()] },
        labels: image.labels.clone(),
        exposed_ports: vec!["8888/tcp".to_owned()],
        user: format!("{}:{}", USER.0, USER.1),
        workdir: account.home.clone(),
        account,
        on_build: Vec::new(),
    })
}

impl Account {
    /// The account of every image: repo2docker's.
    fn jovyan() -> Self {
        Self {
            name: "jovyan".to_owned(),
            uid: USER.0,
            gid: USER.1,
            home: "/home/jovyan".to_owned(),
            shell: "/bin/bash".to_owned(),
        }
    }
}

/// The prefix that is active in an image, and its environment's name.
const fn active(is_root: bool) -> (&'static str, &'static str) {
    if is_root { (ROOT_PREFIX, "base") } else { (NOTEBOOK_PREFIX, NOTEBOOK_ENVIRONMENT) }
}

/// The environment variables of `image`: every image's, those of its `environment.yml`, those of `env:`. `is_root` says
/// that its environment is the root prefix. `PATH` is without the base's part.
///
/// # Errors
/// [`Error::UnknownVariable`].
pub fn environment_variables(image: &ImageSpec, is_root: bool) -> Result<IndexMap<String, String>, Error> {
    let (prefix, environment) = active(is_root);
    let account = Account::jovyan();
    // The same in every image, base-image too: what is built on it puts its environment there.
    let path = format!("{NOTEBOOK_PREFIX}/bin:{ROOT_PREFIX}/bin");
    let uid = account.uid.to_string();
    let mut env: IndexMap<String, String> = [
        ("PATH", path.as_str()),
        ("NB_USER", &account.name),
        ("NB_UID", &uid),
        ("USER", &account.name),
        ("HOME", &account.home),
        ("SHELL", &account.shell),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("CONDA_DIR", ROOT_PREFIX),
        ("CONDA_ENV", NOTEBOOK_ENVIRONMENT),
        ("CONDA_PREFIX", prefix),
        ("CONDA_DEFAULT_ENV", environment),
        ("NB_PYTHON_PREFIX", NOTEBOOK_PREFIX),
        ("DASK_ROOT_CONFIG", "/srv/conda/etc"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let own = image.environments.first().map(|own| &own.variables).into_iter().flatten();
    for (name, value) in own.chain(&image.env) {
        let value = expand(value, &env).map_err(|used| Error::UnknownVariable {
            image: image.name.clone(),
            name: name.clone(),
            used,
        })?;
        env.insert(name.clone(), value);
    }
    Ok(env)
}

/// Replaces `${NAME}` by the variable's value so far, as `ENV` in a Dockerfile does.
fn expand(value: &str, env: &IndexMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(env.get(name).ok_or_else(|| name.to_owned())?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn render(name: &str, source: &str, context: minijinja::Value) -> Result<Vec<u8>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    let rendered = environment.render_str(source, context).map(String::into_bytes);
    rendered.map_err(|source| Error::Template { name: name.to_owned(), source })
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
    let path = path.as_ref();
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_in_a_dockerfile() {
        let env: IndexMap<String, String> = [("PATH".to_owned(), "/a".to_owned())].into();
        assert_eq!(expand("${PATH}:/b$", &env).unwrap(), "/a:/b$");
        assert_eq!(expand("plain ${unclosed", &env).unwrap(), "plain ${unclosed");
        assert_eq!(expand("${NO}", &env).unwrap_err(), "NO");
    }

    #[test]
    fn templates_render_without_anything_undefined() {
        let text = render("start.sh", START, context! { image => "an-image" }).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("PANGEO_ENV=\"an-image\""));
        assert!(render("start.sh", START, context! {}).is_err());
    }
}
