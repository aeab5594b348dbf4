//! What a board consumed and answered: enough to compute its adaptation again.

use crate::error::{Error, Result};
use crate::files;
use graftage_core::adapt::Report;
use graftage_core::image::checksum;
use graftage_link::Ended;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a board consumed, in order, and the digest of its state after each step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Name of the board.
    pub board: String,
    /// The [`identity`] of the image that it started from.
    pub image: u32,
    /// Digest of its state before the first sample.
    pub start: u64,
    /// What came.
    pub events: Vec<Event>,
}

/// What changes a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A labelled sample.
    Sample(Lesson),
    /// The end of a session.
    End(Ended),
}

/// A labelled sample that a board took.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lesson {
    /// Its numbers, scaled as they were sent.
    pub input: Vec<f32>,
    /// Its class.
    pub label: u32,
    /// Whether it was held out; else it was learnt.
    pub held_out: bool,
    /// The steps that it brought.
    pub reports: Vec<Report>,
}

/// What tells images apart: the checksum at the end of one.
///
/// Over a whole image, its own checksum included, the checksum is the same for all of them.
pub fn identity(image: &[u8]) -> u32 {
    image.last_chunk().map_or(0, |sum| u32::from_le_bytes(*sum))
}

/// First bytes of a record: a name and the version of the format.
const MAGIC: [u8; 6] = *b"GRFR\x02\x00";

impl Record {
    /// Its labelled samples.
    pub fn lessons(&self) -> impl DoubleEndedIterator<Item = &Lesson> {
        self.events.iter().filter_map(|event| match event {
            Event::Sample(lesson) => Some(lesson),
            Event::End(_) => None,
        })
    }

    /// Digest of the board's state at the end.
    pub fn digest(&self) -> u64 {
        let digest = |event: &Event| match event {
            Event::Sample(lesson) => lesson.reports.last().map(|report| report.digest),
            Event::End(ended) => Some(ended.digest),
        };
        self.events.iter().rev().find_map(digest).unwrap_or(self.start)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(postcard::to_allocvec(self).map_err(|e| Error::content(path, e))?);
        bytes.extend(checksum(&bytes).to_le_bytes());
        files::write(path, &bytes)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Where the file is none, or a byte is wrong or missing.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        let (content, sum) = bytes.split_last_chunk().ok_or_else(|| Error::content(path, "no record: too short"))?;
        let body = content.strip_prefix(&MAGIC).ok_or_else(|| Error::content(path, "no record of this version"))?;
        if checksum(content) != u32::from_le_bytes(*sum) {
            return Err(Error::content(path, "the record is damaged (wrong checksum)"));
        }
        postcard::from_bytes(body).map_err(|e| Error::content(path, e))
    }
}
