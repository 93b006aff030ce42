//! Which images in registries a build may take from.

use super::Session;
use crate::build::native::published::{CacheFrom, Published};

impl Session<'_> {
    /// The images of `from`, if there are any and they may be asked.
    pub(super) fn published<'b>(&'b self, from: &'b CacheFrom) -> Option<Published<'b>> {
        if self.settings.offline {
            if !from.named.is_empty() {
                self.progress.warning("nothing is taken from published images: `--offline` fetches nothing");
            }
            return None;
        }
        (!from.is_empty()).then(|| Published::new(from, &self.registry))
    }
}
