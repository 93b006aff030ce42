//! `esker sbom`: the software bill of materials of an image.

use std::collections::BTreeSet;
use std::process::ExitCode;

use super::args::{SbomArgs, SbomFormat};
use super::failure::Failure;
use super::source::{self, Chosen};
use super::ui::Ui;
use crate::installed::Reader;
use crate::oci::Image;
use crate::settings::Settings;
use crate::supply::Format;

pub async fn run(args: &SbomArgs, settings: &Settings, ui: &Ui) -> Result<ExitCode, Failure> {
    let chosen = Chosen::find(&args.image, settings)?;
    let client = source::client(settings);
    let mut reader = source::reader(&client, &[&chosen.source], settings, ui);
    let (digest, images) = reader.images(&chosen.source).await?;
    let has: Vec<_> = images.iter().map(|image| image.platform).collect();
    let platform = source::platform(args.platform, &has)?;
    let format = Format::from(args.format);
    let image = images.iter().find(|image| image.platform == platform).filter(|_| digest.is_some() && !args.scan);
    let kept = match image {
        Some(image) => kept(&reader, &chosen, image, format).await?,
        None => None,
    };
    let document = match kept {
        Some(document) => document,
        None => {
            let contents = reader.contents(&chosen.source, Some(platform)).await?;
            contents.iter().map(|contents| contents.inventory(&chosen.name).sbom(format)).next().unwrap_or_default()
        }
    };
    ui.out(&format!("{}\n", String::from_utf8_lossy(&document)))?;
    Ok(ExitCode::SUCCESS)
}

/// The document that is kept beside `image`, if there is one of this format.
async fn kept(reader: &Reader<'_>, chosen: &Chosen, image: &Image, format: Format) -> Result<Option<Vec<u8>>, Failure> {
    let attached = reader.attached(&chosen.source, &BTreeSet::from([image.digest])).await?;
    match attached.iter().find(|attached| attached.kind() == format.media_type()) {
        Some(attached) => Ok(Some(reader.document(&chosen.source, attached).await?)),
        None => Ok(None),
    }
}

impl From<SbomFormat> for Format {
    fn from(format: SbomFormat) -> Self {
        match format {
            SbomFormat::Spdx => Self::Spdx,
            SbomFormat::Cyclonedx => Self::CycloneDx,
        }
    }
}
