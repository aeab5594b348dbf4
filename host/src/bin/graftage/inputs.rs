//! Files that several commands read.

use graftage::checkpoint::Checkpoint;
use graftage::data::Samples;
use graftage::error::{Error, Result};
use graftage::files;
use graftage_core::image::Image;
use std::path::Path;

/// The bytes of a whole image.
pub fn read_image(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path)?;
    let image = Image::parse(&bytes).map_err(|error| Error::Image { path: path.to_owned(), error })?;
    if image.length() != bytes.len() {
        return Err(Error::content(path, "bytes follow the image"));
    }
    Ok(bytes)
}

/// The checkpoint, and its data in its own split: training part and test part.
pub fn checkpoint_and_data(checkpoint: &Path, data: Option<&Path>) -> Result<(Checkpoint, Samples, Samples)> {
    let checkpoint = Checkpoint::read(checkpoint)?;
    let labelled = checkpoint.about.samples(data)?;
    Ok((checkpoint, labelled.train, labelled.test))
}
