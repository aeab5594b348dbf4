//! Files that several commands read.

use graftage::checkpoint::Checkpoint;
use graftage::data::Samples;
use graftage::error::{Error, Result};
use graftage::image::ImageFile;
use graftage::record::Record;
use graftage::rehearse::Unseen;
use std::path::{Path, PathBuf};

/// The image that a board started from whose record this is.
pub fn image_of(record: &Record, record_path: &Path, path: &Path) -> Result<ImageFile> {
    let image = ImageFile::read(path)?;
    if record.image != image.identity() {
        return Err(Error::content(path, format!("not the image that {} began with", record_path.display())));
    }
    Ok(image)
}

/// Samples that the network of an image can take.
pub fn samples_for(file: &ImageFile, path: &Path) -> Result<Samples> {
    let image = file.image()?;
    let inputs = image.header.layers.first().map_or(0, |first| first.shape().0 as usize);
    Ok(Samples::read(path, inputs, file.legend())?.divided(image.header.scale))
}

/// Files of the data that checkpoints were trained on.
pub fn data_of<'a>(checkpoints: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<PathBuf>> {
    let paths = checkpoints.into_iter().map(|path| Ok(Checkpoint::read(path)?.about.data.paths()));
    Ok(paths.collect::<Result<Vec<_>>>()?.concat())
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
