//! A weights image as a file: core's image, followed by the names of the network's columns and classes.
//!
//! ```text
//! offset  bytes
//! 0       core's image, L bytes long: see [`graftage_core::image`]
//! L       "GRFN"
//! L+4     version, u16              little-endian, like all that follows
//! L+6     length of the names, u32
//! L+10    the names                 JSON: a [`Legend`]
//! end−4   CRC-32/ISO-HDLC of all bytes from L on
//! ```
//!
//! A device reads only core's image. The names take up flash, but neither RAM nor code, and older firmware accepts
//! them.

use crate::data::Legend;
use crate::error::{Error, Result};
use crate::files;
use graftage_core::image::{Image, checksum};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"GRFN";

/// Version of the names' format that this crate writes and reads.
pub const VERSION: u16 = 1;

/// Number of bytes before the names: magic, version and length.
const PREFIX: usize = 10;

/// An image with its names, read from a file.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageFile {
    path: PathBuf,
    image: Vec<u8>,
    legend: Legend,
}

impl ImageFile {
    /// Reads a file. If it contains no names, classes are named by their numbers.
    ///
    /// # Errors
    /// If the file cannot be read, its image is refused, or its names are damaged or do not fit the image.
    pub fn read(path: &Path) -> Result<Self> {
        let mut image = files::read(path)?;
        let parsed = Image::parse(&image).map_err(|error| Error::Image { path: path.to_owned(), error })?;
        let (inputs, classes) = shape(&parsed);
        let length = parsed.length();
        let names = image.split_off(length);
        let legend = match names.is_empty() {
            true => Legend::numbered(classes),
            false => read(&names).map_err(|what| Error::content(path, what))?,
        };
        if legend.classes.len() != classes || ![0, inputs].contains(&legend.features.len()) {
            let (features, named) = (legend.features.len(), legend.classes.len());
            let what =
                format!("it names {features} features and {named} classes, but the network has {inputs} and {classes}");
            return Err(Error::content(path, what));
        }
        Ok(Self { path: path.to_owned(), image, legend })
    }

    /// Core's image without the names: the part that a device reads.
    pub fn bytes(&self) -> &[u8] {
        &self.image
    }

    /// Parses the image.
    ///
    /// # Errors
    /// None after [`ImageFile::read`], which has already parsed it.
    pub fn image(&self) -> Result<Image<'_>> {
        Image::parse(&self.image).map_err(|error| Error::Image { path: self.path.clone(), error })
    }

    /// Names of columns and classes.
    pub fn legend(&self) -> &Legend {
        &self.legend
    }

    /// Checksum that identifies the image.
    pub fn identity(&self) -> u32 {
        identity(&self.image)
    }
}

/// Numbers of inputs and classes of an image's network.
fn shape(image: &Image) -> (usize, usize) {
    let ends = image.header.layers.first().zip(image.header.layers.last());
    ends.map_or((0, 0), |(first, last)| (first.shape().inputs as usize, last.shape().outputs as usize))
}

/// Checksum of the image at the start of these bytes, which identifies it; 0 if there is no image.
pub fn identity(bytes: &[u8]) -> u32 {
    graftage_boards::identity(bytes).unwrap_or(0)
}

/// Appends names to an image, as stored in a file.
pub fn with_names(image: &[u8], legend: &Legend) -> Vec<u8> {
    // A legend consists of strings, so its serialization cannot fail.
    let names = serde_json::to_vec(legend).unwrap_or_default();
    let length = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let part = [&MAGIC[..], &VERSION.to_le_bytes(), &length.to_le_bytes(), &names].concat();
    [image, &part, &checksum(&part).to_le_bytes()].concat()
}

/// Parses the names after an image.
fn read(bytes: &[u8]) -> std::result::Result<Legend, String> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>().filter(|(prefix, _)| prefix.starts_with(&MAGIC))
    else {
        return Err(match MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC) {
            true => "the names after the image are cut short".into(),
            false => "the bytes after the image are not names".into(),
        });
    };
    let [_, _, _, _, v0, v1, l0, l1, l2, l3] = *prefix;
    match u16::from_le_bytes([v0, v1]) {
        VERSION => {}
        found => {
            return Err(format!(
                "the names after the image have version {found}, but this software reads version {VERSION}"
            ));
        }
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let (names, sum) = rest.split_at_checked(length).ok_or("the names after the image are cut short")?;
    let (sum, after) = sum.split_first_chunk::<4>().ok_or("the names after the image are cut short")?;
    if checksum(&bytes[..PREFIX + length]) != u32::from_le_bytes(*sum) {
        return Err("the names after the image are damaged (wrong checksum)".into());
    }
    if !after.is_empty() {
        return Err("bytes follow the image and its names".into());
    }
    serde_json::from_slice(names).map_err(|error| format!("the names after the image cannot be read: {error}"))
}
