//! A project whose image has a Dockerfile written by hand, and what came of building it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::process::Command;

use esker::docker::{Engine, Setting};
use esker::oci::{Image, Layout, Platform, read_files};
use serde_json::Value;

use crate::bases;
use crate::common::{Sandbox, skipped};

/// A sandbox whose images go from the engine when it is dropped.
pub struct Project {
    sandbox: Sandbox,
}

impl Deref for Project {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// Whether an engine answers; says so if none does.
pub fn has_engine() -> bool {
    let answer = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    let answers = answer.as_ref().is_ok_and(|output| output.status.success());
    if !answers {
        skipped("no Docker engine answers here");
    }
    answers
}

impl Project {
    /// A project with a base that has a shell, and this Dockerfile for its image `tiny`, which is locked.
    pub fn new(dockerfile: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("base-amd64.tar", &bases::of_this_machine());
        sandbox.write("base-arm64.tar", &bases::for_arm64());
        sandbox.write("project/tiny/Dockerfile", dockerfile.as_bytes());
        let project = Self { sandbox };
        project.setting("engine: docker");
        project.ok(&["lock", "tiny"]);
        project
    }

    /// Adds a line to `esker.yml`.
    pub fn setting(&self, line: &str) {
        let text = self.read("project/esker.yml");
        self.write("project/esker.yml", format!("{line}\n{text}").as_bytes());
    }

    /// Builds `tiny` for this machine, with these arguments and variables.
    pub fn build_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Built {
        let mut command = self.command(&["build", "tiny", "--json"]);
        if !arguments.contains(&"--platform") {
            command.args(["--platform", &host().to_string()]);
        }
        command.args(arguments).envs(variables.iter().copied());
        let ran = crate::common::Ran::new(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let layout = Layout::open(self.path("project/.esker/images/tiny")).unwrap();
        Built { report: report["images"][0].clone(), layout, said: ran.stderr }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let root = fs_err::canonicalize(self.path("project")).unwrap();
        let id = esker::oci::Digest::of(root.as_os_str().as_encoded_bytes()).hex();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Ok(engine) = Engine::connect(&Setting::default()).await else { return };
            for image in ["tiny", "base-image"] {
                for architecture in ["amd64", "arm64"] {
                    // One that was never built is not there to be removed.
                    let name = format!("localhost/esker-{}/image-{image}:{architecture}", &id[..8]);
                    drop(engine.remove_image(&name).await);
                }
            }
        });
    }
}

/// This machine's platform.
pub fn host() -> Platform {
    Platform::host().unwrap()
}

/// What a build left.
pub struct Built {
    pub report: Value,
    pub layout: Layout,
    pub said: String,
}

impl Built {
    pub fn digest(&self) -> &str {
        self.report["digest"].as_str().unwrap()
    }

    pub fn image(&self, platform: Platform) -> Image {
        self.layout.image(platform).unwrap()
    }

    /// The configuration, with all that engines know.
    pub fn configuration(&self) -> Value {
        let image = self.image(host());
        serde_json::from_slice(&self.layout.read(image.manifest.config()).unwrap()).unwrap()
    }

    /// The content of all files in the image for `platform` whose path begins like this.
    pub fn files(&self, platform: Platform, prefix: &str) -> BTreeMap<String, String> {
        let files = read_files(&self.image(platform), &self.layout, |path: &str| path.starts_with(prefix)).unwrap();
        files.into_iter().map(|(path, content)| (path, String::from_utf8_lossy(&content).into_owned())).collect()
    }
}
