//! The difference between the weights of an image and adapted ones, as a small file.
//!
//! ```text
//! offset  bytes
//! 0       "GRFD"
//! 4       version, u16            little-endian, like all that follows
//! 6       header                  postcard: schema hash, identity of the image, identity of the adapted image, weights
//!         differences             raw deflate
//! end−4   CRC-32/ISO-HDLC of all bytes before it
//! ```
//!
//! The bit patterns of binary32 are renumbered in ascending order of their values, so that close weights have close
//! numbers. For each weight, the difference of the two numbers modulo 2^32 is stored with its sign in the lowest bit
//! (0, −1, 1, −2, … as 0, 1, 2, 3, …). The lowest bytes of all weights come first, then the next ones, and so on. The
//! high bytes are almost all 0, and weights that do not change cost almost nothing.
//!
//! If the rule pulls to the start ([`Pull::Start`]), the image of the adapted weights also contains the weights of the
//! original image. A device flashed with it then learns around the factory's weights, like the device that has learnt.

use crate::error::{Error, Result};
use crate::files;
use crate::image::identity;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use graftage_core::image::{self, Image, checksum, write};
use graftage_core::scion::Pull;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read, Write};
use std::path::Path;

const MAGIC: [u8; 4] = *b"GRFD";

/// Version of the format that this crate writes and reads.
pub const VERSION: u16 = 1;

/// Difference that turns an image into that of the adapted weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta {
    header: Header,
    /// Folded difference of each weight.
    differences: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Header {
    schema: u64,
    base: u32,
    adapted: u32,
    weights: u32,
}

/// Reason for refusing a delta.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeltaError {
    /// The first bytes are not those of a delta.
    Magic,
    /// The delta has another version than this crate reads.
    Version(u16),
    /// The checksum does not agree with the bytes.
    Checksum,
    /// The parts of the delta do not fit together.
    Malformed,
    /// The delta is for another network.
    Schema,
    /// The delta is for another image of this network.
    Base {
        /// [`identity`] of the expected image.
        expected: u32,
        /// [`identity`] of the given image.
        found: u32,
    },
    /// The number of weights differs.
    Weights,
    /// A weight is not finite.
    NotFinite,
    /// The result is not the adapted image.
    Result,
}

impl fmt::Display for DeltaError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DeltaError::Magic => f.write_str("this is not a delta (wrong first bytes)"),
            DeltaError::Version(found) => {
                write!(f, "the delta has version {found}, but this software reads version {VERSION}")
            }
            DeltaError::Checksum => f.write_str("the delta is truncated or damaged (wrong checksum)"),
            DeltaError::Malformed => f.write_str("the delta is malformed"),
            DeltaError::Schema => f.write_str("the delta is for another network"),
            DeltaError::Base { expected, found } => {
                write!(f, "the delta is for the image with checksum {expected:08x}, but this image has {found:08x}")
            }
            DeltaError::Weights => f.write_str("the number of weights differs from that of the image"),
            DeltaError::NotFinite => f.write_str("an adapted weight is not finite"),
            DeltaError::Result => f.write_str("the delta does not produce the image that it was made from"),
        }
    }
}

impl std::error::Error for DeltaError {}

/// Position of a binary32 number in the order of all such numbers.
fn place(number: f32) -> u32 {
    let bits = number.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn at(place: u32) -> f32 {
    f32::from_bits(if place >> 31 == 1 { place & !(1 << 31) } else { !place })
}

/// Moves the sign into the lowest bit.
fn folded(difference: u32) -> u32 {
    (difference << 1) ^ if difference >> 31 == 1 { u32::MAX } else { 0 }
}

fn unfolded(folded: u32) -> u32 {
    (folded >> 1) ^ if folded & 1 == 1 { u32::MAX } else { 0 }
}

/// Numbers of weights in a delta.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Number of weights that differ.
    pub differing: usize,
    /// Number of all weights.
    pub all: usize,
}

impl Delta {
    /// Computes the delta between an image and its adapted weights, which are given parameter by parameter, row by row.
    ///
    /// # Errors
    /// [`DeltaError::Weights`] if the number of weights differs, [`DeltaError::NotFinite`] if a weight is not finite,
    /// and [`DeltaError::Malformed`] if the adapted image cannot be written.
    pub fn between(image: &Image, base: u32, adapted: &[f32]) -> std::result::Result<Self, DeltaError> {
        if image.weights().count() != adapted.len() {
            return Err(DeltaError::Weights);
        }
        if adapted.iter().any(|weight| !weight.is_finite()) {
            return Err(DeltaError::NotFinite);
        }
        let pairs = image.weights().zip(adapted);
        let differences = pairs.map(|(from, to)| folded(place(*to).wrapping_sub(place(from)))).collect();
        let made = identity(&with_weights(image, adapted).ok_or(DeltaError::Malformed)?);
        let weights = u32::try_from(adapted.len()).map_err(|_| DeltaError::Weights)?;
        Ok(Self { header: Header { schema: image.header.schema, base, adapted: made, weights }, differences })
    }

    /// Counts the weights.
    pub fn count(&self) -> Count {
        let differing = self.differences.iter().filter(|difference| **difference != 0).count();
        Count { differing, all: self.differences.len() }
    }

    /// Returns the image of the adapted weights. `found` is the [`identity`] of `image`.
    ///
    /// # Errors
    /// If the delta is for another image, or the result is not the adapted image.
    pub fn apply(&self, image: &Image, found: u32) -> std::result::Result<Vec<u8>, DeltaError> {
        let Header { schema, base: expected, adapted, .. } = self.header;
        if image.header.schema != schema {
            return Err(DeltaError::Schema);
        }
        if expected != found {
            return Err(DeltaError::Base { expected, found });
        }
        if image.weights().count() != self.differences.len() {
            return Err(DeltaError::Weights);
        }
        let pairs = image.weights().zip(&self.differences);
        let weights: Vec<f32> = pairs.map(|(from, d)| at(place(from).wrapping_add(unfolded(*d)))).collect();
        if weights.iter().any(|weight| !weight.is_finite()) {
            return Err(DeltaError::NotFinite);
        }
        let made = with_weights(image, &weights).ok_or(DeltaError::Malformed)?;
        if identity(&made) == adapted { Ok(made) } else { Err(DeltaError::Result) }
    }

    /// Encodes the delta as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        // Writing to a vector cannot fail.
        let header = postcard::to_allocvec(&self.header).unwrap_or_default();
        bytes.extend(header);
        let planes: Vec<u8> =
            (0..4).flat_map(|byte| self.differences.iter().map(move |d| d.to_le_bytes()[byte])).collect();
        let mut encoder = DeflateEncoder::new(bytes, Compression::best());
        let _ = encoder.write_all(&planes);
        let mut bytes = encoder.finish().unwrap_or_default();
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Parses the bytes of a whole file.
    ///
    /// # Errors
    /// If a byte is wrong or missing.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, DeltaError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(DeltaError::Magic)?;
        let (version, rest) = rest.split_first_chunk().ok_or(DeltaError::Checksum)?;
        match u16::from_le_bytes(*version) {
            VERSION => {}
            found => return Err(DeltaError::Version(found)),
        }
        let (body, sum) = rest.split_last_chunk().ok_or(DeltaError::Checksum)?;
        if checksum(&bytes[..bytes.len() - sum.len()]) != u32::from_le_bytes(*sum) {
            return Err(DeltaError::Checksum);
        }
        let (header, packed) = postcard::take_from_bytes::<Header>(body).map_err(|_| DeltaError::Malformed)?;
        let (weights, mut planes) = (header.weights as usize, Vec::new());
        let mut decoder = DeflateDecoder::new(packed);
        // Reading one byte more than expected reveals surplus data.
        let read = decoder.by_ref().take(4 * u64::from(header.weights) + 1).read_to_end(&mut planes);
        if read.is_err()
            || planes.len() as u64 != 4 * u64::from(header.weights)
            || decoder.total_in() != packed.len() as u64
        {
            return Err(DeltaError::Malformed);
        }
        let byte = |plane: usize, weight: usize| planes[plane * weights + weight];
        let differences = (0..weights).map(|w| u32::from_le_bytes([byte(0, w), byte(1, w), byte(2, w), byte(3, w)]));
        Ok(Self { header, differences: differences.collect() })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or a byte is wrong or missing.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read(path)?).map_err(|e| Error::content(path, e))
    }
}

/// Returns an image with other weights around the same start.
fn with_weights(image: &Image, weights: &[f32]) -> Option<Vec<u8>> {
    let pulled = matches!(image.header.recipe.rule.pull, Pull::Start { .. });
    let centred = pulled && !weights.iter().zip(image.start()).all(|(weight, start)| weight.to_le_bytes() == *start);
    let header = image::Header { centred, ..image.header.clone() };
    let start = image.start().iter().filter(|_| centred).map(|weight| f32::from_le_bytes(*weight));
    let mut memory = vec![0; image.length() + size_of_val(weights)];
    let length = write(&header, weights.iter().copied().chain(start), &mut memory)?.len();
    memory.truncate(length);
    Some(memory)
}
