//! What this machine and the project lend to checks.

use std::path::PathBuf;

/// What checks may use besides the image.
#[derive(Clone, Debug, Default)]
pub struct Equipment {
    /// The project's folder of tests: those of all images in `common`, an image's own in a folder of its name.
    pub tests: PathBuf,
    /// Where programs are kept that are lent to images, such as pytest.
    pub tools: PathBuf,
    /// Where files are laid out for containers to see, for as long as they run.
    pub work: PathBuf,
    /// Where pictures of pages are put.
    pub pictures: PathBuf,
    /// Whether this machine's GPUs are used.
    pub gpus: bool,
}
