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

/// The checkpoint, and its data in its own split.
pub fn checkpoint_and_data(checkpoint: &Path, data: &Path) -> Result<(Checkpoint, Samples, Samples)> {
    let checkpoint = Checkpoint::read(checkpoint)?;
    let about = &checkpoint.about;
    let samples = Samples::read(data, about.scale)?;
    let (inputs, classes) = checkpoint.shape();
    samples.check(data, inputs, classes)?;
    let (train, test) = samples.split(about.train, about.split_seed)?;
    Ok((checkpoint, train, test))
}
