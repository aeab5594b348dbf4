//! Entries of a board's journal, as they lie in its storage and as a workstation reads them.
//!
//! ```text
//! offset  bytes, little-endian
//! 0       length of the content, u16
//! 2       checksum of the image that the board learns from, u32
//! 6       number of the entry, u32       the start has 0
//! 10      content                        an entry in postcard
//! end−4   CRC-32/ISO-HDLC of all bytes before it
//! ```
//!
//! An entry begins at a multiple of the storage's unit; what lies between entries is what a cut of the power left. Of entries
//! with the same number the last counts, and an entry makes void what comes before it under a larger number: so one that a
//! cut has left in doubt is written again, or another in its place, and no byte is ever changed.

use crate::Ended;
use core::num::NonZeroU32;
use graftage_core::adapt::STEPS;
use graftage_core::error::Refusal;
use graftage_core::image::checksum;
use graftage_core::message;
use heapless::Vec;
use serde::{Deserialize, Serialize};

const HEADER: usize = 10;
const CHECKSUM: usize = 4;

/// Bytes of the largest entry that is no sample.
pub const SHORT: usize = HEADER + 1 + 32 + 10 + CHECKSUM;

/// The most bytes of a journal in one answer.
pub const PIECE: usize = 256;

/// Bytes of the largest entry for samples of so many numbers, each of which brings so many steps at most.
pub const fn largest(inputs: usize, steps: usize) -> usize {
    let steps = if steps < STEPS { steps } else { STEPS };
    HEADER + 1 + 5 + 5 + 4 * inputs + 10 + 20 + 1 + 29 * steps + CHECKSUM
}

/// What a board notes. S is a sample, L what it brought: references to write, values to read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Entry<S, L> {
    /// It started from its image.
    Start {
        /// Digest of its state before the first sample.
        digest: u64,
        /// Number of resets before it.
        life: u32,
    },
    /// It took a labelled sample.
    Sample {
        /// Its class.
        label: u32,
        /// Its numbers, scaled as they were learnt.
        sample: S,
        /// What became of it.
        learnt: L,
    },
    /// It refused one, and nothing changed.
    Refused {
        /// Its class.
        label: u32,
        /// Its numbers.
        sample: S,
        /// Why.
        why: Refusal,
    },
    /// A session ended.
    End(Ended),
    /// What follows is not recorded.
    Gap,
}

/// As much of an [`Entry`] as is needed to do it again: what else it holds follows, and is not read.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub enum Past<S> {
    /// [`Entry::Start`].
    Start,
    /// [`Entry::Sample`].
    Sample {
        /// Its class.
        label: u32,
        /// Its numbers.
        sample: S,
    },
    /// [`Entry::Refused`].
    Refused,
    /// [`Entry::End`].
    End,
    /// [`Entry::Gap`].
    Gap,
}

/// Bytes of a journal.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Piece {
    /// An entry begins at a multiple of so many bytes; none where the board keeps no journal.
    pub unit: Option<NonZeroU32>,
    /// [`PIECE`] bytes or, at its end, fewer.
    pub bytes: Vec<u8, PIECE>,
}

/// A whole entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Its number.
    pub number: u32,
    /// The entry in postcard.
    pub content: &'a [u8],
    /// Bytes of all of it.
    pub length: usize,
}

/// Writes an entry to the start of the memory and returns its bytes; `None` where that is too short, see [`largest`].
pub fn seal<S: Serialize, L: Serialize>(
    image: u32,
    number: u32,
    entry: &Entry<S, L>,
    memory: &mut [u8],
) -> Option<usize> {
    let (header, rest) = memory.split_first_chunk_mut::<HEADER>()?;
    let length = message::encode(entry, rest)?;
    let [a, b] = u16::try_from(length).ok()?.to_le_bytes();
    let ([c, d, e, f], [g, h, i, j]) = (image.to_le_bytes(), number.to_le_bytes());
    *header = [a, b, c, d, e, f, g, h, i, j];
    let (content, rest) = memory.split_at_mut_checked(HEADER.checked_add(length)?)?;
    *rest.first_chunk_mut()? = checksum(content).to_le_bytes();
    content.len().checked_add(CHECKSUM)
}

/// Bytes of the entry of a board with that image that may begin here; `None` where none does.
pub fn length(image: u32, bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk()?;
    let own = rest.first_chunk() == Some(&image.to_le_bytes());
    own.then_some(usize::from(u16::from_le_bytes(*length)) + HEADER + CHECKSUM)
}

/// The entry at the start of these bytes, where it is whole and of a board with that image.
pub fn open(image: u32, bytes: &[u8]) -> Option<Frame<'_>> {
    let length = length(image, bytes)?;
    let (content, sum) = bytes.get(..length)?.split_last_chunk::<CHECKSUM>()?;
    let (header, entry) = content.split_first_chunk::<HEADER>()?;
    let number = u32::from_le_bytes(*header.last_chunk()?);
    (checksum(content) == u32::from_le_bytes(*sum)).then_some(Frame { number, content: entry, length })
}

/// Reads as much of an entry as the type asks for.
pub fn read<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Option<T> {
    message::decode(content).map(|(entry, _)| entry)
}
