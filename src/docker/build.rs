//! Building images in the engine, from a Dockerfile and a folder of files, for one platform at a time.

use std::collections::BTreeMap;
use std::io;

use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use futures::{StreamExt, TryStreamExt};

use super::pipe::{self, Sink, Source};
use super::steps::Steps;
use super::{Builder, Engine, Error, Login, login, refused};
use crate::oci::{Digest, Platform};
use crate::progress::Progress;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// Build arguments. No secrets: they are kept in the image's history.
    pub args: BTreeMap<String, String>,
    /// The platform.
    pub platform: Platform,
    /// The name that the image gets in the engine.
    pub tag: String,
    /// Whether steps see the network of the engine's machine.
    pub host_network: bool,
    /// Whether every step is made anew.
    pub no_cache: bool,
    /// What the builder shows registries that it pulls from.
    pub logins: Vec<Login>,
}

/// What is known of an image in the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineImage {
    /// Its id.
    pub id: String,
    /// Its CPU, in OCI's words.
    pub architecture: String,
    /// Digests of its layers, decompressed, the lowest first.
    pub diff_ids: Vec<Digest>,
}

impl Engine {
    /// Builds `request`; `context` writes the tar file of what steps may copy, on a thread of its own. What the builder
    /// says goes to `progress` as it comes.
    ///
    /// # Errors
    /// [`Error::Step`] when a step of the Dockerfile failed, [`Error::Build`] when it is the Dockerfile's or the
    /// builder's fault; [`Error::Archive`] when the context cannot be read.
    pub async fn build<E: Send + 'static>(
        &self,
        request: &BuildRequest,
        builder: Builder,
        context: impl FnOnce(Sink) -> Result<(), E> + Send + 'static,
        progress: &dyn Progress,
    ) -> Result<Result<(), E>, Error> {
        let logins = match builder {
            Builder::BuildKit => login::all(&request.logins),
            Builder::Classic(_) => login::in_header(&request.logins)?,
        };
        let (stream, writing) = pipe::written(context);
        let body = bollard::body_try_stream(stream);
        let mut steps = Steps::new(request.platform, progress);
        let mut reason = None;
        {
            let mut answers = std::pin::pin!(self.docker.build_image(options(request, builder), logins, Some(body)));
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(info) => note(&info, &mut steps),
                    Err(error) => {
                        reason = Some(error);
                        break;
                    }
                }
            }
        }
        let written = writing.await.map_err(|_| Error::Panicked)?;
        match reason {
            // A context that cannot be read is the reason for what the builder then says.
            Some(_) if written.is_err() => Ok(written),
            Some(error) => Err(explain(error, steps)),
            None => Ok(written),
        }
    }

    /// The image called `name`, if there is one.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn image(&self, name: &str) -> Result<Option<EngineImage>, Error> {
        let image = match self.docker.inspect_image(name).await {
            Ok(image) => image,
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
            Err(source) => return Err(refused("look for the image")(source)),
        };
        let layers = image.root_fs.and_then(|layers| layers.layers).unwrap_or_default();
        Ok(Some(EngineImage {
            id: image.id.unwrap_or_default(),
            architecture: image.architecture.unwrap_or_default(),
            diff_ids: layers.iter().filter_map(|digest| digest.parse().ok()).collect(),
        }))
    }

    /// Gives the archive of the image `name`, as `docker save` writes it, to `read`, which runs on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Panicked`]. An engine that fails shows as an error in what `read` reads.
    pub async fn save<T: Send + 'static>(
        &self,
        name: &str,
        read: impl FnOnce(Source) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let stream = self.docker.export_image(name).map_err(io::Error::other);
        pipe::read(stream, read).await.ok_or(Error::Panicked)
    }
}

fn options(request: &BuildRequest, builder: Builder) -> BuildImageOptions {
    let is_buildkit = builder == Builder::BuildKit;
    BuildImageOptions {
        dockerfile: request.dockerfile.clone(),
        t: Some(request.tag.clone()),
        nocache: request.no_cache,
        rm: true,
        forcerm: true,
        buildargs: Some(request.args.clone().into_iter().collect()),
        networkmode: request.host_network.then(|| "host".to_owned()),
        platform: request.platform.to_string(),
        version: if is_buildkit { BuilderVersion::BuilderBuildKit } else { BuilderVersion::BuilderV1 },
        session: is_buildkit.then(session),
        ..BuildImageOptions::default()
    }
}

/// A name that no other build has.
fn session() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    format!("esker-{}", hex::encode(bytes))
}

fn note(info: &BuildInfo, steps: &mut Steps<'_>) {
    if let Some(BuildInfoAux::BuildKit(status)) = &info.aux {
        steps.status(status);
    }
    if let Some(text) = &info.stream {
        steps.text(text);
    }
}

fn explain(error: bollard::errors::Error, steps: Steps<'_>) -> Error {
    use bollard::errors::Error as E;
    match error {
        E::DockerStreamError { error } => steps.failure(&error),
        E::DockerResponseServerError { message, .. } => steps.failure(&message),
        source => refused("build the image")(source),
    }
}
