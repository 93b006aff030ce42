//! Loading images: only the layers that the engine lacks.
//!
//! An engine keeps a layer by all that is below it, and reads of an archive what it does not have: so the lowest layers
//! that any of its images has as well may be left out. That is no promise of the format. Engines that keep images in
//! containerd want every blob, and are sent all; so is every other that refuses what it got.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bollard::query_parameters::ListImagesOptionsBuilder;

use super::{Engine, Error};
use crate::oci::{self, Image, Layout, write_docker_archive};
use crate::progress::Silent;

/// What an engine that keeps images in containerd says of its storage.
const CONTAINERD: &str = "io.containerd.snapshotter";

/// An image that an engine took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its name, or its id.
    pub name: String,
    /// How many of its layers the engine had, the lowest first.
    pub present: usize,
}

/// Tells whether an archive has gone to the engine as a whole. From then on the engine loads it, whether anybody waits for
/// that or not; one that ends before is refused.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    whole: Arc<AtomicBool>,
}

impl Sent {
    /// Whether it has.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    fn set(&self, whole: bool) {
        self.whole.store(whole, Ordering::Release);
    }
}

impl Engine {
    /// Loads `image`, whose blobs are in `layout`, as `name`. The archive is handed over as it is made: nothing of it
    /// touches the disk.
    ///
    /// # Errors
    /// [`Error::Image`], [`Error::Refused`] and [`Error::NothingLoaded`].
    pub async fn load_image(&self, layout: &Layout, image: &Image, name: &str) -> Result<Loaded, Error> {
        self.load_image_telling(layout, image, name, &Sent::default()).await
    }

    /// The same, telling by `sent` how far it is.
    ///
    /// # Errors
    /// Those of [`load_image`](Self::load_image).
    pub async fn load_image_telling(
        &self,
        layout: &Layout,
        image: &Image,
        name: &str,
        sent: &Sent,
    ) -> Result<Loaded, Error> {
        // Whoever does not tell what is there is sent everything.
        let present = self.present(image).await.unwrap_or_default();
        let loaded = match self.send(layout, image, name, present, sent).await {
            Err(Error::Refused { .. } | Error::NothingLoaded { .. }) if present > 0 => None,
            answer => Some(answer?),
        };
        match loaded {
            Some(name) => Ok(Loaded { name, present }),
            None => Ok(Loaded { name: self.send(layout, image, name, 0, sent).await?, present: 0 }),
        }
    }

    async fn send(
        &self,
        layout: &Layout,
        image: &Image,
        name: &str,
        present: usize,
        sent: &Sent,
    ) -> Result<String, Error> {
        let (layout, image, name, sent) = (layout.clone(), image.clone(), name.to_owned(), sent.clone());
        sent.set(false);
        let write = move |sink| {
            let mut sink = std::io::BufWriter::with_capacity(1 << 20, sink);
            write_docker_archive(&layout, &image, &name, present, &mut sink, &Silent)?;
            std::io::Write::flush(&mut sink).map_err(|source| oci::Error::Sink { source })?;
            sent.set(true);
            Ok(())
        };
        match self.load_written(write).await? {
            // The writer only found the engine gone: what that says of it is worth more.
            (loaded, Ok(()) | Err(oci::Error::Sink { .. })) => loaded,
            (_, Err(unreadable)) => Err(Error::Image(unreadable)),
        }
    }

    /// How many of the lowest layers of `image` the engine has.
    async fn present(&self, image: &Image) -> Result<usize, bollard::errors::Error> {
        let info = self.docker.info().await?;
        if info.driver_status.into_iter().flatten().flatten().any(|word| word.contains(CONTAINERD)) {
            return Ok(0);
        }
        let wanted: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let all = ListImagesOptionsBuilder::new().all(true).build();
        let mut present = 0;
        for there in self.docker.list_images(Some(all)).await? {
            // One that has been removed since has none.
            let Ok(there) = self.docker.inspect_image(&there.id).await else { continue };
            let layers = there.root_fs.and_then(|layers| layers.layers).unwrap_or_default();
            present = present.max(layers.iter().zip(&wanted).take_while(|(there, wanted)| there == wanted).count());
        }
        Ok(present)
    }
}
