//! Input files that several commands read.

use graftage::checkpoint::{About, Checkpoint};
use graftage::data::Samples;
use graftage::error::{Error, Result};
use graftage::image::ImageFile;
use graftage::record::Record;
use graftage::rehearse::Unseen;
use graftage_link::Status;
use std::path::{Path, PathBuf};

/// Reads the image at `path` and checks that it is the one from which the record's board started.
pub fn image_of(record: &Record, record_path: &Path, path: &Path) -> Result<ImageFile> {
    let image = ImageFile::read(path)?;
    same(&image, path, (record.schema, record.image), &format!("that {} started with", record_path.display()))?;
    Ok(image)
}

/// Checks that an image is the one from which a board started, whose firmware has a network of this schema.
pub fn image_on(image: &ImageFile, path: &Path, schema: u64, status: &Status) -> Result<()> {
    same(image, path, (schema, status.image), "that the board runs")
}

fn same(image: &ImageFile, path: &Path, (schema, checksum): (u64, u32), whose: &str) -> Result<()> {
    let (own, found) = (image.image()?.header.schema, image.identity());
    let what = if own != schema {
        format!("not the image {whose}: its network differs, with schema {own:016x} instead of {schema:016x}")
    } else if found != checksum {
        format!("not the image {whose}: its checksum is {found:08x} instead of {checksum:08x}")
    } else {
        return Ok(());
    };
    Err(Error::content(path, what))
}

/// Reads samples for the network of an image.
pub fn samples_for(file: &ImageFile, path: &Path) -> Result<Samples> {
    let image = file.image()?;
    let inputs = image.header.layers.first().map_or(0, |first| first.shape().inputs as usize);
    Ok(Samples::read(path, inputs, file.legend())?.divided(image.header.scale))
}

/// Paths of the data that checkpoints were trained on.
pub fn data_of<'a>(checkpoints: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<PathBuf>> {
    let paths = checkpoints.into_iter().map(|path| Ok(About::read(path)?.data.paths()));
    Ok(paths.collect::<Result<Vec<_>>>()?.concat())
}

/// Reads a checkpoint and the groups that its training left out.
pub fn checkpoint_and_unseen(path: &Path, data: Option<&Path>) -> Result<Unseen> {
    let checkpoint = Checkpoint::read(path)?;
    let groups = checkpoint.about.unseen(data).map_err(|error| match error {
        Error::Usage(what) => Error::content(path, what),
        other => other,
    })?;
    Ok((checkpoint, groups))
}
