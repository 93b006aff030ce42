//! Proving what was built, and remembering that it was proven.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Error, Session};
use crate::oci::{self, Digest, Layout, Platform, canonical_json, layout};
use crate::project::ImageSpec;
use crate::verify::{self, Equipment, Report, RuntimeKind, Selection, Verification};

/// How to verify.
#[derive(Clone, Debug)]
pub struct VerifyChoice<'a> {
    /// The layout that holds the image.
    pub layout: &'a Path,
    /// Platforms, none for all of the layout.
    pub platforms: &'a [Platform],
    /// What runs the image.
    pub runtime: RuntimeKind,
    /// How long one check may take.
    pub timeout: Duration,
    /// Which checks run.
    pub selection: &'a Selection,
    /// Whether the image stays unpacked for the next run.
    pub keep_unpacked: bool,
    /// Whether outputs of containers are kept of checks that passed, too.
    pub keep_all_logs: bool,
    /// Whether this machine's GPUs are used.
    pub gpus: bool,
}

/// What is kept of a run of verify that passed.
#[derive(Serialize, Deserialize)]
struct Stamp {
    esker: String,
    runtime: RuntimeKind,
    /// Of `packages.txt`, which whoever changes it afterwards gets written again.
    packages: Digest,
    /// Of the project's own tests of the image.
    tests: Digest,
    /// The commands that were run to tell what is inside.
    info: IndexMap<String, String>,
    report: Report,
}

impl Session<'_> {
    /// Runs the image in `choice.layout` to prove it, once the layers are there that were left in a registry. A run of all
    /// checks on all platforms without a failure is remembered, see [`verified`](Self::verified).
    ///
    /// # Errors
    /// When the image cannot be read or not be run; a failed check is part of the answer.
    pub async fn verify(&self, image: &ImageSpec, choice: &VerifyChoice<'_>) -> Result<Verification, Error> {
        let lock = self.current_lock(image)?;
        let root = self.root_of(image).map(|root| self.current_lock(root)).transpose()?;
        let layout = Layout::open(choice.layout).map_err(verify::Error::from)?;
        let mark = self.mark(image, choice.layout)?;
        if mark.is_some() {
            self.complete(image, &layout, choice.platforms).await?;
        }
        let equipment = Equipment {
            tests: self.tests_dir(),
            tools: self.settings.cache_dir.join("tools"),
            work: self.project.state_dir().join("run"),
            pictures: self.project.state_dir().join("pictures"),
            gpus: choice.gpus,
        };
        let request = verify::Request {
            image,
            layout: &layout,
            lock: &lock,
            root: root.as_ref(),
            is_root: self.is_root(image),
            platforms: choice.platforms,
            runtime: choice.runtime,
            work_dir: &self.project.state_dir().join("run"),
            keep_unpacked: choice.keep_unpacked,
            log_dir: &self.project.state_dir().join("verify").join(&image.name),
            keep_all_logs: choice.keep_all_logs,
            timeout: choice.timeout,
            jobs: self.settings.jobs,
            selection: choice.selection,
            equipment: &equipment,
            runner: None,
            podman: &self.settings.podman,
            docker: &self.settings.docker,
        };
        let verification = verify::verify(&request, self.progress).await?;
        if verification.verified.is_some() && choice.selection.skip.is_empty() {
            self.remember(image, &verification.report, choice.runtime)?;
        }
        Ok(verification)
    }

    /// The report of the last full run that `verify` passed for the image with this digest, with this runtime.
    pub fn verified(&self, image: &ImageSpec, digest: Digest, runtime: RuntimeKind) -> Option<Report> {
        // A stamp that cannot be read is no stamp: the image is verified again.
        let text = fs_err::read(self.stamp_path(image)).ok()?;
        let stamp: Stamp = serde_json::from_slice(&text).ok()?;
        let packages = Digest::of(&fs_err::read(image.packages_path()).ok()?);
        let same = stamp.esker == env!("CARGO_PKG_VERSION")
            && stamp.runtime == runtime
            && stamp.report.digest == digest
            && stamp.packages == packages
            && stamp.info == image.info
            && stamp.tests == verify::tests_digest(&self.tests_dir(), &image.name).ok()?;
        same.then_some(stamp.report)
    }

    fn remember(&self, image: &ImageSpec, report: &Report, runtime: RuntimeKind) -> Result<(), Error> {
        let packages = image.packages_path();
        let packages = fs_err::read(&packages)
            .map_err(|source| verify::Error::from(oci::Error::Read { path: packages, source }))?;
        // Logs make way for those of the next run.
        let mut report = report.clone();
        report.platforms.iter_mut().flat_map(|platform| &mut platform.checks).for_each(|check| check.log = None);
        let stamp = Stamp {
            esker: env!("CARGO_PKG_VERSION").to_owned(),
            runtime,
            packages: Digest::of(&packages),
            tests: verify::tests_digest(&self.tests_dir(), &image.name)?,
            info: image.info.clone(),
            report,
        };
        let path = self.stamp_path(image);
        let folder = path.parent().expect("a file in the state folder");
        let written = fs_err::create_dir_all(folder)
            .map_err(|source| oci::Error::Write { path: folder.to_owned(), source })
            .and_then(|()| layout::write_atomically(&path, &canonical_json(&stamp)));
        Ok(written.map_err(verify::Error::from)?)
    }

    /// The project's own tests of its images.
    fn tests_dir(&self) -> PathBuf {
        self.project.root.join("tests")
    }

    fn stamp_path(&self, image: &ImageSpec) -> PathBuf {
        self.project.state_dir().join("verified").join(format!("{}.json", image.name))
    }
}
