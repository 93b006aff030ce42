//! Runs what was built, to prove it.
//!
//! ```text
//! layout + lock ─► Subject (one a platform, from the layers) ─┬► layer checks ─────────────┬► Report ─► Verified
//!                                                             └► a runtime ─► running checks ┘       └► packages.txt
//!                                                                              └► logs
//! ```
//!
//! Layer checks run for every platform; running checks where the machine can run the platform, and are *not run*
//! elsewhere, which never counts as passed. [`checks`] holds the table of checks, [`runtime`] what runs containers.

mod bench;
pub mod checks;
pub mod documents;
mod equipment;
mod error;
mod installed;
mod logs;
mod packages;
mod platform;
mod report;
pub mod runtime;
mod selection;
mod subject;
mod tree;
mod verified;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use tokio::runtime::{Handle, RuntimeFlavor};

pub use checks::tests_digest;
pub use equipment::Equipment;
pub use error::Error;
pub use installed::{Installed, Prefix};
pub use logs::folder_name;
pub use packages::packages_txt;
pub use report::{CheckReport, Outcome, PlatformReport, Report, Reports, SCHEMA};
pub use runtime::RuntimeKind;
pub use selection::Selection;
pub use subject::{Asked, Subject};
pub use tree::{Node, Tree, Wanted};
pub use verified::Verified;

use self::platform::Examined;
use crate::lock::Lock;
use crate::oci::{Image, Layout, Platform};
use crate::progress::Progress;
use crate::project::ImageSpec;

/// How long a single check may take unless told otherwise: hubs give a server 300 s to come up.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// What to verify, and how.
pub struct Request<'a> {
    /// The image in the project.
    pub image: &'a ImageSpec,
    /// The layout that holds it.
    pub layout: &'a Layout,
    /// The lock it was built from.
    pub lock: &'a Lock,
    /// The lock of its root prefix, if it has one.
    pub root: Option<&'a Lock>,
    /// Whether its own environment is the root prefix.
    pub is_root: bool,
    /// The platforms to look at; all of the layout's if empty.
    pub platforms: &'a [Platform],
    /// What runs it.
    pub runtime: RuntimeKind,
    /// Where it is unpacked; made if missing.
    pub work_dir: &'a Path,
    /// Whether it stays unpacked for the next run, instead of what was unpacked of it before.
    pub keep_unpacked: bool,
    /// Where outputs of containers are kept, a folder a platform.
    pub log_dir: &'a Path,
    /// Whether they are kept of checks that passed, too.
    pub keep_all_logs: bool,
    /// How long any one program may take; see [`TIMEOUT`].
    pub timeout: Duration,
    /// How many containers run at once.
    pub jobs: usize,
    /// Which checks run.
    pub selection: &'a Selection,
    /// What this machine and the project lend to checks.
    pub equipment: &'a Equipment,
    /// The `esker` program that the embedded runner starts; this process's own if `None`.
    pub runner: Option<&'a Path>,
    /// The program `podman`, by name or path.
    pub podman: &'a Path,
    /// Where the Docker engine is.
    pub docker: &'a crate::docker::Setting,
}

/// What came of it.
pub struct Verification {
    /// Every check on every platform.
    pub report: Report,
    /// The leave to publish: no check failed, none was left out by [`Selection::only`], and no platform either.
    pub verified: Option<Verified>,
    /// `packages.txt`, if it was written because it had changed.
    pub packages_written: Option<PathBuf>,
}

/// Verifies an image and, when nothing failed, writes its `packages.txt`.
///
/// # Errors
/// When the image cannot be read or this machine cannot run what it should be able to. A check that fails is part of
/// the report.
pub async fn verify(request: &Request<'_>, progress: &dyn Progress) -> Result<Verification, Error> {
    request.selection.check()?;
    let all = request.layout.images()?;
    let first = all.first().map(|image| image.platform);
    let is_whole = request.platforms.is_empty() || all.iter().all(|image| request.platforms.contains(&image.platform));
    let images = match request.platforms {
        [] => all,
        some => some.iter().map(|platform| request.layout.image(*platform)).collect::<Result<_, _>>()?,
    };
    let digest = request.layout.image_index_digest()?;
    let mut examined = examine(request, &images, progress).await?;
    let ran = bench::run(request, &examined, progress).await;
    blocking(|| examined.iter_mut().for_each(|platform| drop(platform.prepared.take())));
    for (platform, reports) in examined.iter_mut().zip(ran?) {
        reports.into_iter().for_each(|(index, report)| platform.reports[index] = Some(report));
    }
    // Upstream's file is that of its first platform, whichever were chosen this time.
    let packages = examined.iter().find(|platform| Some(platform.subject.platform()) == first);
    let packages = packages.map(|platform| packages_txt(&platform.subject.installed, platform.subject.platform()));
    let platforms = examined.into_iter().map(|platform| platform.report(request.runtime)).collect();
    let report = Report { schema: SCHEMA, image: request.image.name.clone(), digest, platforms };
    let complete = report.passed() && !report.platforms.is_empty() && request.selection.only.is_empty();
    let packages = packages.filter(|_| complete);
    let path = request.image.packages_path();
    let written = packages.map(|text| packages::write_if_changed(&path, &text)).transpose()?;
    Ok(Verification {
        verified: (complete && is_whole).then(|| Verified::checked(report.digest)),
        report,
        packages_written: (written == Some(true)).then_some(path),
    })
}

/// Reads all of `images`, side by side, and gets them ready to run.
async fn examine<'a>(
    request: &'a Request<'a>,
    images: &[Image],
    progress: &dyn Progress,
) -> Result<Vec<Examined<'a>>, Error> {
    let read = || images.par_iter().map(|image| Examined::read(request, image, progress)).collect();
    let mut examined: Vec<_> = blocking::<Result<_, Error>>(read)?;
    for platform in &mut examined {
        platform.load(progress).await?;
    }
    Ok(examined)
}

/// Runs long work that waits for disks, out of the way of other tasks where there are threads for that.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
