//! The provenance of an image of a Dockerfile: what is known of how it came about, and no more.
//!
//! Build arguments are told by name alone, as their values may be meant for nobody. For the same reason an image is not
//! named whose name such a value decides.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::distribution::Reference;
use serde::Serialize;

use super::error::Error;
use super::{BASE, BASE_IMAGE, BuilderChoice, Recipe, Request, images_of};
use crate::build::documents::{self, image_url};
use crate::docker;
use crate::oci::{Compression, Digest, Platform, reference};
use crate::supply::provenance::{self, Builder, Input};

/// What stands for the value of a build argument that is not to be seen.
const UNSEEN: &str = "esker-unseen";

/// What a build was asked for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters<'a> {
    image: &'a str,
    platforms: &'a [Platform],
    compression: Compression,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_date_epoch: Option<u64>,
    /// Which builder of the engine or daemon worked.
    builder: &'static str,
    /// What was built, the lowest first.
    dockerfiles: Vec<Dockerfile<'a>>,
    esker: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dockerfile<'a> {
    image: &'a str,
    path: &'a str,
    /// Names of its own build arguments.
    build_args: Vec<&'a str>,
    /// Images that it names besides its base without a digest: the builder found them.
    images_without_digest: Vec<String>,
}

/// The statement about `subjects`, which were made of `packages` among other things.
///
/// # Errors
/// When a file that was built with cannot be read.
pub fn statement(request: &Request<'_>, subjects: &[(String, Digest)], packages: Vec<Input>) -> Result<Vec<u8>, Error> {
    let (builder, name) = match request.builder {
        BuilderChoice::Engine(_, docker::Builder::BuildKit) => (Builder::DockerEngine, "buildkit"),
        BuilderChoice::Engine(_, docker::Builder::Classic(_)) => (Builder::DockerEngine, "classic"),
        BuilderChoice::Daemon { .. } => (Builder::BuildkitDaemon, "buildkit"),
    };
    let mut inputs = packages;
    inputs.extend(below(request));
    let mut dockerfiles = Vec::new();
    for recipe in built(request) {
        let files = recipe.context.digests()?;
        inputs.extend(files.into_iter().map(|(path, digest)| Input {
            name: format!("{}/{path}", recipe.name),
            uri: None,
            digest,
        }));
        let mut without = Vec::new();
        for image in named(recipe) {
            match image.digest().and_then(|digest| digest.parse::<Digest>().ok()) {
                Some(digest) => inputs.push(image_input(&image, digest)),
                None => without.push(image.to_string()),
            }
        }
        dockerfiles.push(Dockerfile {
            image: recipe.name,
            path: &recipe.context.dockerfile,
            build_args: recipe.args.keys().map(String::as_str).collect(),
            images_without_digest: without,
        });
    }
    let parameters = Parameters {
        image: request.image,
        platforms: request.platforms,
        compression: request.compression,
        source_date_epoch: request.source_date_epoch,
        builder: name,
        dockerfiles,
        esker: provenance::version(),
    };
    Ok(provenance::statement(subjects, builder, &parameters, inputs))
}

/// The Dockerfiles that are built: a daemon builds the last, on what was pushed before.
fn built<'a, 'r>(request: &'a Request<'r>) -> &'a [Recipe<'r>] {
    let first = match request.builder {
        BuilderChoice::Engine(..) => 0,
        BuilderChoice::Daemon { .. } => request.recipes.len().saturating_sub(1),
    };
    &request.recipes[first..]
}

/// What the lowest of them is built on.
fn below(request: &Request<'_>) -> Vec<Input> {
    if let BuilderChoice::Daemon { parent: Some(parent), .. } = request.builder {
        let image = reference::parse(parent).ok();
        let digest = image.as_ref().and_then(|image| image.digest()?.parse().ok());
        return image.zip(digest).map(|(image, digest)| image_input(&image, digest)).into_iter().collect();
    }
    let bases = request.platforms.iter().filter_map(|platform| request.bases.get(platform));
    bases.map(documents::base).collect()
}

fn image_input(image: &Reference, digest: Digest) -> Input {
    let name = format!("image {}/{}", image.registry(), image.repository());
    Input { name, uri: Some(image_url(image, &digest, "")), digest }
}

/// The images that the Dockerfile of `recipe` names besides what it is built on, as far as no build argument decides.
fn named(recipe: &Recipe<'_>) -> Vec<Reference> {
    let text = recipe.context.dockerfile_text();
    let with = |value: &dyn Fn(&str) -> String| {
        // What esker passes is in the engine.
        let below = [BASE, BASE_IMAGE].map(|name| (name.to_owned(), "scratch".to_owned()));
        let own = recipe.args.iter().map(|(name, given)| (name.clone(), value(given)));
        images_of(&text, &own.chain(below).collect::<BTreeMap<_, _>>())
    };
    let unseen: BTreeSet<_> = with(&|_| UNSEEN.to_owned()).iter().map(ToString::to_string).collect();
    with(&str::to_owned).into_iter().filter(|image| unseen.contains(&image.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use oci_spec::image::ImageConfiguration;
    use serde_json::{Value, json};

    use super::*;
    use crate::build::base::BaseImage;
    use crate::build::docker::{Context, ContextFile};

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn recipe<'a>(name: &'a str, dockerfile: &str) -> Recipe<'a> {
        let file = ContextFile { path: "Dockerfile".into(), executable: false, content: dockerfile.into() };
        let context = Context { folder: None, files: vec![file], dockerfile: "Dockerfile".into() };
        Recipe { name, context, args: [("KEY".to_owned(), "hidden".to_owned())].into() }
    }

    #[test]
    fn no_value_of_an_argument_shows_in_the_name_of_an_image() {
        let text = format!(
            "ARG BASE=b.example.org/base\nARG KEY=x\nARG PLAIN=a.example.org/plain\n\
             FROM c.example.org/${{KEY}}:1 AS one\nFROM ${{BASE}}\nCOPY --from=d.example.org/tool:2 /a /b\n\
             COPY --from=e.example.org/x:3@{EMPTY} /c /d\nFROM ${{PLAIN}}\n"
        );
        let found: Vec<_> = named(&recipe("x", &text)).iter().map(|image| image.repository().to_owned()).collect();
        assert_eq!(found, ["plain", "tool", "x"]);
    }

    /// What is said of a build by a daemon of `above`, which is built on `below`.
    fn by_a_daemon(parent: Option<&str>) -> Value {
        let platform = Platform::LinuxAmd64;
        let base = BaseImage {
            reference: "docker.io/library/debian:12".into(),
            source_digest: Digest::of(b"index"),
            manifest_digest: Digest::of(b"manifest"),
            platform,
            config: ImageConfiguration::default(),
            layers: vec![],
            made_of: None,
        };
        let tools = format!("FROM a.example.org/x\nCOPY --from=b.example.org/tools:1@{EMPTY} /a /b\n");
        let request = Request {
            image: "above",
            recipes: vec![recipe("below", "FROM scratch\n"), recipe("above", &tools)],
            platforms: &[platform],
            bases: &[(platform, base)].into(),
            packages: vec![],
            debian: vec![],
            compression: Compression::GZIP,
            source_date_epoch: Some(7),
            cache_dir: Path::new("/cache"),
            project: Path::new("/project"),
            state_dir: Path::new("/project/.esker"),
            no_cache: false,
            builder: BuilderChoice::Daemon { address: &"tcp://somewhere:1".parse().unwrap(), parent },
            logins: vec![],
            sbom: true,
        };
        let subjects = [("above".to_owned(), Digest::of(b"built"))];
        let text = statement(&request, &subjects, vec![]).unwrap();
        assert!(provenance::is_of_dockerfile(&text));
        for private in ["hidden", "somewhere", "/project"] {
            assert!(!String::from_utf8_lossy(&text).contains(private), "{private}");
        }
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn a_daemon_builds_the_last_dockerfile_on_what_it_pulls() {
        let parent = format!("r.example.org/p/below@{}", Digest::of(b"pushed"));
        for (parent, expected) in [
            (None, ["base linux/amd64".to_owned(), Digest::of(b"manifest").hex()]),
            (Some(parent.as_str()), ["image r.example.org/p/below".to_owned(), Digest::of(b"pushed").hex()]),
        ] {
            let statement = by_a_daemon(parent);
            let builder = &statement["predicate"]["runDetails"]["builder"];
            assert!(builder["id"].as_str().unwrap().ends_with("#buildkit-daemon"), "{builder}");
            let definition = &statement["predicate"]["buildDefinition"];
            let dockerfile = json!({
                "image": "above", "path": "Dockerfile", "buildArgs": ["KEY"],
                "imagesWithoutDigest": ["a.example.org/x:latest"],
            });
            assert_eq!(definition["externalParameters"]["dockerfiles"], json!([dockerfile]));
            let inputs = definition["resolvedDependencies"].as_array().unwrap().iter();
            let mut inputs: Vec<_> = inputs
                .map(|input| [&input["name"], &input["digest"]["sha256"]].map(|it| it.as_str().unwrap().to_owned()))
                .collect();
            let names: Vec<_> = inputs.iter().map(|[name, _]| name.clone()).collect();
            assert!(names.contains(&"above/Dockerfile".to_owned()), "{names:?}");
            inputs.retain(|[name, _]| name != "above/Dockerfile" && name != "image b.example.org/tools");
            assert_eq!((names.len(), inputs), (3, vec![expected]));
        }
        assert!(!provenance::is_of_dockerfile(b"{") && !provenance::is_of_dockerfile(b"{\"predicate\": 1}"));
    }
}
