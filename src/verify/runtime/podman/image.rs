//! Getting an image of a layout into Podman's store, and an OCI runtime that can run it.

use std::io;
use std::path::Path;

use fs_err::os::unix::fs::symlink;
use oci_spec::image::MediaType;
use serde_json::json;
use tempfile::TempDir;

use super::containers::{Created, Traces};
use super::program::Program;
use super::{Podman, PodmanError};
use crate::oci::{Image, Layout};
use crate::progress::{Progress, Task, Unit};
use crate::verify::runtime::{Command, ContainerConfig, Error};

/// OCI runtimes to try where Podman's own choice sets up no container: crun knows no cgroups of both versions at once.
const OTHERS: [&str; 2] = ["runc", "crun"];
/// A program that every container has, once it is set up.
const ANY_PROGRAM: &str = "/proc/self/exe";

impl Podman {
    /// Sees that Podman, the program at `program`, has `image` of `layout`, and can run it. `work_dir` is for files that are
    /// needed meanwhile.
    ///
    /// # Errors
    /// [`Error::Podman`] and [`Error::File`].
    pub async fn prepare(
        program: &Path,
        image: &Image,
        layout: &Layout,
        config: ContainerConfig,
        work_dir: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let program = Program::new(program);
        let id = image.config_digest.hex();
        let there = program.ask("/".as_ref(), &["image", "exists", &id]).await?;
        let traces = match there.code {
            Some(0) => Traces::new(&program, None),
            Some(1) => {
                let _task = Task::start(progress, "loading the image into Podman", None, Unit::Bytes);
                pull(&program, image, layout, work_dir).await?
            }
            _ => return Err(super::program::refused("look for the image", &there.stderr).into()),
        };
        let mut podman = Self { program, image: id, config, traces };
        podman.choose_oci_runtime().await?;
        Ok(podman)
    }

    /// Takes the first OCI runtime that sets up a container. If none does, what Podman's own says is the reason.
    async fn choose_oci_runtime(&mut self) -> Result<(), PodmanError> {
        let Err(refusal) = self.sets_up().await else { return Ok(()) };
        let own = self.program.clone();
        for name in OTHERS {
            self.program = own.with_oci_runtime(name);
            if self.sets_up().await.is_ok() {
                tracing::info!(%refusal, "containers run with {name}");
                return Ok(());
            }
        }
        Err(refusal)
    }

    async fn sets_up(&self) -> Result<(), PodmanError> {
        let created = Created::new(&self.program, &self.traces);
        let result = created.set_up(&self.create(&Command::instead([ANY_PROGRAM]), created.name(), None)).await;
        created.remove().await;
        result
    }
}

/// Pulls the image out of the layout, by a layout of its own with the same blobs. Podman's versions differ in what they call
/// an image of a layout, after the layout's folder or after its tag there: here both are the same, and nobody else's.
async fn pull(program: &Program, image: &Image, layout: &Layout, work_dir: &Path) -> Result<Traces, Error> {
    let wanted = image.config_digest.hex();
    let name = format!("esker-verify-{}", &wanted[..12]);
    let folder = one_image(image, layout, work_dir, &name)
        .map_err(|source| Error::File { path: work_dir.to_owned(), source })?;
    let traces = Traces::new(program, Some(format!("localhost/{name}:latest")));
    let platform = format!("--platform={}", image.platform);
    let source = format!("oci:{name}:{name}");
    let arguments = ["pull", "--quiet", &platform, &source];
    let found = program.run_in(folder.path(), "load the image", &arguments).await?;
    let found = found.lines().last().unwrap_or_default().trim_start_matches("sha256:");
    if found != wanted {
        return Err(PodmanError::OtherImage { found: found.to_owned(), wanted }.into());
    }
    Ok(traces)
}

/// A folder with the layout `name` in it, that has `image` alone.
fn one_image(image: &Image, layout: &Layout, work_dir: &Path, name: &str) -> io::Result<TempDir> {
    fs_err::create_dir_all(work_dir)?;
    let folder = tempfile::tempdir_in(work_dir)?;
    let one = folder.path().join(name);
    fs_err::create_dir(&one)?;
    symlink(std::path::absolute(layout.path())?.join("blobs"), one.join("blobs"))?;
    fs_err::write(one.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    let manifest = json!({
        "mediaType": MediaType::ImageManifest.to_string(),
        "digest": image.digest.to_string(),
        "size": fs_err::metadata(layout.blob_path(&image.digest))?.len(),
        "annotations": {"org.opencontainers.image.ref.name": name},
    });
    fs_err::write(one.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())?;
    Ok(folder)
}
