//! A SIF file, which Apptainer and Singularity run, made by them from an archive. It names its maker and carries an
//! identifier of its own, so two of the same image differ.

use std::ffi::OsStr;
use std::path::Path;

use super::program::run;
use super::{Error, folder};
use crate::build::Built;
use crate::oci::{Layout, Platform, archive};
use crate::progress::Progress;

/// Who makes SIF files, the newer name first.
const PROGRAMS: [&str; 2] = ["apptainer", "singularity"];

pub fn write(built: &Built, file: &Path, platform: Platform, progress: &dyn Progress) -> Result<(), Error> {
    let failed = |source| Error::Write { path: file.to_owned(), source };
    let layout = Layout::open(&built.layout)?;
    let image = layout.image(platform)?;
    let scratch = tempfile::Builder::new().prefix(".esker-").tempdir_in(folder(file)).map_err(failed)?;
    let scratch_path = scratch.path().canonicalize().map_err(failed)?;
    let (from, to) = (scratch_path.join("image.tar"), scratch_path.join("image.sif"));
    let sink = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&from).map_err(failed)?);
    archive::write_docker_archive(&layout, &image, &format!("{}:latest", built.image), 0, sink, progress)?;
    let mut source = std::ffi::OsString::from("docker-archive:");
    source.push(&from);
    run("sif", &PROGRAMS, &[OsStr::new("build"), to.as_os_str(), &source], None, &[])?;
    fs_err::rename(&to, file).map_err(failed)
}
