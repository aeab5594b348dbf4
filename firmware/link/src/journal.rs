//! Entries of a board's journal, as stored on the board and as read by a workstation.
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
//! An entry begins at a multiple of the storage's unit; the bytes between entries are remnants of power cuts. If two
//! entries share a number, the later one wins. An entry invalidates all earlier entries with larger numbers. An entry
//! left in doubt by a cut is therefore written again, or another in its place, and no written byte ever changes.

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

/// Size of the largest entry without a sample, in bytes.
pub const SHORT: usize = HEADER + 1 + 32 + 10 + CHECKSUM;

/// Maximum number of journal bytes in one answer.
pub const PIECE: usize = 256;

/// Returns the size of the largest entry, in bytes, for samples of `inputs` numbers with at most `steps` steps per
/// sample.
pub const fn largest(inputs: usize, steps: usize) -> usize {
    let steps = if steps < STEPS { steps } else { STEPS };
    HEADER + 1 + 5 + 5 + 4 * inputs + 10 + 20 + 1 + 29 * steps + CHECKSUM
}

/// Journal entry. S is a sample, L the result of learning it: references for writing, values for reading.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Entry<S, L> {
    /// The board started from its image.
    Start {
        /// Digest of the state before the first sample.
        digest: u64,
        /// Number of resets before this start.
        life: u32,
    },
    /// The board took a labelled sample.
    Sample {
        /// Class of the sample.
        label: u32,
        /// Values of the sample, scaled as they were learnt.
        sample: S,
        /// Result of taking it.
        learnt: L,
    },
    /// The board refused a sample; nothing changed.
    Refused {
        /// Class of the sample.
        label: u32,
        /// Values of the sample.
        sample: S,
        /// Reason for the refusal.
        why: Refusal,
    },
    /// A session ended.
    End(Ended),
    /// Later events are not recorded. Always the last entry.
    Gap,
}

/// Part of an [`Entry`] that is needed to replay it. The entry's remaining bytes are not read.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub enum Past<S> {
    /// [`Entry::Start`].
    Start,
    /// [`Entry::Sample`].
    Sample {
        /// Class of the sample.
        label: u32,
        /// Values of the sample.
        sample: S,
    },
    /// [`Entry::Refused`].
    Refused,
    /// [`Entry::End`].
    End,
    /// [`Entry::Gap`].
    Gap,
}

/// Consecutive bytes of a journal.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Piece {
    /// Spacing of the positions at which entries may begin, in bytes; `None` if the board keeps no journal.
    pub unit: Option<NonZeroU32>,
    /// [`PIECE`] bytes, or fewer at the end of the journal.
    pub bytes: Vec<u8, PIECE>,
}

/// Entry that is complete and has a correct checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Number of the entry.
    pub number: u32,
    /// Entry in postcard encoding.
    pub content: &'a [u8],
    /// Total length of the entry with header and checksum, in bytes.
    pub length: usize,
}

/// Writes an entry to the start of `memory` and returns its length in bytes; `None` if `memory` is too short (see
/// [`largest`]).
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

/// Returns the length in bytes of the entry that may begin at the start of `bytes`; `None` if its header does not name
/// this image.
pub fn length(image: u32, bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk()?;
    let own = rest.first_chunk() == Some(&image.to_le_bytes());
    own.then_some(usize::from(u16::from_le_bytes(*length)) + HEADER + CHECKSUM)
}

/// Returns the entry at the start of `bytes` if it is complete, intact and of a board with this image.
pub fn open(image: u32, bytes: &[u8]) -> Option<Frame<'_>> {
    let length = length(image, bytes)?;
    let (content, sum) = bytes.get(..length)?.split_last_chunk::<CHECKSUM>()?;
    let (header, entry) = content.split_first_chunk::<HEADER>()?;
    let number = u32::from_le_bytes(*header.last_chunk()?);
    (checksum(content) == u32::from_le_bytes(*sum)).then_some(Frame { number, content: entry, length })
}

/// Reads as much of an entry as the type `T` covers.
pub fn read<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Option<T> {
    message::decode(content).map(|(entry, _)| entry)
}
