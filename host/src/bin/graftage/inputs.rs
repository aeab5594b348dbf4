//! Files that several commands read.

use graftage::checkpoint::Checkpoint;
use graftage::data::{Legend, Samples};
use graftage::error::{Error, Result};
use graftage::files;
use graftage::record::{Record, identity};
use graftage::rehearse::Unseen;
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

/// The bytes of the image that a board started from whose record this is.
pub fn image_of(record: &Record, record_path: &Path, path: &Path) -> Result<Vec<u8>> {
    let bytes = read_image(path)?;
    if record.image != identity(&bytes) {
        return Err(Error::content(path, format!("not the image that {} began with", record_path.display())));
    }
    Ok(bytes)
}

/// Samples that the network of an image can take.
pub fn samples_for(image: &Image, path: &Path) -> Result<Samples> {
    let ends = image.header.layers.first().zip(image.header.layers.last());
    let (inputs, classes) = ends.map_or((0, 0), |(first, last)| (first.shape().0 as usize, last.shape().1 as usize));
    Ok(Samples::read(path, inputs, &Legend::numbered(classes))?.divided(image.header.scale))
}

/// The checkpoint, and its data in its own split: training part and test part.
pub fn checkpoint_and_data(checkpoint: &Path, data: Option<&Path>) -> Result<(Checkpoint, Samples, Samples)> {
    let checkpoint = Checkpoint::read(checkpoint)?;
    let labelled = checkpoint.about.samples(data)?;
    Ok((checkpoint, labelled.train, labelled.test))
}

/// The checkpoint, and the groups that its training left out.
pub fn checkpoint_and_unseen(path: &Path, data: Option<&Path>) -> Result<Unseen> {
    let checkpoint = Checkpoint::read(path)?;
    let groups = checkpoint.about.unseen(data).map_err(|error| match error {
        Error::Usage(what) => Error::content(path, what),
        other => other,
    })?;
    Ok((checkpoint, groups))
}
