//! Files that several commands read.

use graftage::checkpoint::Checkpoint;
use graftage::data::Samples;
use graftage::error::{Error, Result};
use graftage::image::ImageFile;
use graftage::record::Record;
use graftage::rehearse::Unseen;
use graftage_link::Status;
use std::path::{Path, PathBuf};

/// The image that a board started from whose record this is.
pub fn image_of(record: &Record, record_path: &Path, path: &Path) -> Result<ImageFile> {
    let image = ImageFile::read(path)?;
    same(&image, path, (record.schema, record.image), &format!("that {} began with", record_path.display()))?;
    Ok(image)
}

/// Refuses an image that is not the one that a board has started from, whose firmware has a network of that schema.
pub fn image_on(image: &ImageFile, path: &Path, schema: u64, status: &Status) -> Result<()> {
    same(image, path, (schema, status.image), "that the board runs")
}

fn same(image: &ImageFile, path: &Path, (schema, checksum): (u64, u32), whose: &str) -> Result<()> {
    let (own, found) = (image.image()?.header.schema, image.identity());
    let what = if own != schema {
        format!("not the image {whose}: its network is another one, with schema {own:016x} in place of {schema:016x}")
    } else if found != checksum {
        format!("not the image {whose}: its checksum is {found:08x} in place of {checksum:08x}")
    } else {
        return Ok(());
    };
    Err(Error::content(path, what))
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
