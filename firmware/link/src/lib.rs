//! Messages between board and workstation over a serial line.
//!
//! The workstation sends requests and the board answers them. The only unsolicited message is [`Answer::Busy`], which a
//! board sends while its flash is working. Each message travels in a frame:
//!
//! ```text
//! 0x00                                    ends whatever garbage came before
//! COBS( version u8 · postcard message · CRC-32/ISO-HDLC of both, little-endian )
//! 0x00
//! ```
//!
//! The message is [`Numbered`]: an answer carries the number of its request, so a late answer is not mistaken for the
//! answer to the next request. A frame that is cut short, damaged or too long is dropped and counted; the receiver
//! continues with the next one. An unanswered request may be sent again under the same number. [`Request::Learn`] also
//! carries the number of the sample and [`Request::End`] that of the session, so a board that has already carried out
//! the request repeats its answer and does nothing twice.

#![no_std]
#![forbid(unsafe_code)]

pub mod journal;

use cobs::{CobsEncoder, decode_in_place};
use core::fmt;
use graftage_core::adapt::{Report, STEPS};
use graftage_core::error::{ImageError, Refusal};
use graftage_core::image::checksum;
use graftage_core::message;
use graftage_core::network::Prediction;
use graftage_core::session::{Counts, Taken, Verdict};
pub use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Version of frames and messages.
pub const VERSION: u8 = 6;

const CHECKSUM: usize = 4;

/// [`Answer::Busy`] as it appears on the wire.
pub const BUSY: [u8; 10] = [0, 2, VERSION, 6, 0xb, 0x28, 0x7c, 0x1e, 0x6c, 0];

/// Content of a frame: the number of the request, and the request or its answer. [`Answer::Busy`],
/// [`Answer::OtherVersion`] and [`Answer::Damaged`] belong to no request that could be read and have number 0.
pub type Numbered<T> = (u8, T);

/// Size of the largest answer on the wire, in bytes; requests without a sample also fit.
pub const ANSWER: usize = 512;

/// Maximum length of a board's name, in bytes.
pub const BOARD: usize = 32;

/// Maximum number of array elements in one answer.
pub const NUMBERS: usize = 96;

/// Returns the size of the largest request on the wire, in bytes, for samples of `inputs` numbers.
pub const fn request(inputs: usize) -> usize {
    let plain = 4 * inputs + 32;
    plain + plain / 254 + 3
}

/// Request from the workstation. `S` holds a sample: `&[f32]` to send, `heapless::Vec<f32, N>` to receive.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Request<S> {
    /// Asks for the board's identity and state.
    Hello,
    /// Asks for the class of a sample.
    Predict {
        /// One number for each input of the network.
        sample: S,
    },
    /// Passes a labelled sample to be learnt or held out.
    Learn {
        /// Number of labelled samples taken before this one.
        number: u64,
        /// Class of the sample.
        label: u32,
        /// One number for each input of the network.
        sample: S,
    },
    /// Ends the session: commits its weights or rolls them back.
    End {
        /// Number of sessions that ended before this one.
        number: u32,
    },
    /// Asks for elements of an array, starting at `first`.
    Read {
        /// Array to read.
        array: Array,
        /// Index of the first element to read.
        first: u32,
    },
    /// Asks for bytes of the journal, starting at `first`.
    Journal {
        /// Index of the first byte to read, a multiple of [`journal::PIECE`].
        first: u32,
    },
    /// Discards everything learnt and restarts from the image, as when the board was new. Repeating it has no further
    /// effect.
    Reset,
}

/// Array with one element per weight: parameter by parameter, row by row, in the network's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Array {
    /// Adapting weights X.
    Weights,
    /// Query points Y.
    QueryPoints,
    /// Momentum M.
    Momenta,
    /// Weights in use.
    InUse,
}

/// Answer from the board.
#[allow(clippy::large_enum_variant, reason = "there is no heap to put the largest on")]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Answer to [`Request::Hello`].
    Hello(Hello),
    /// Answer to [`Request::Predict`].
    Predicted(Prediction),
    /// Answer to [`Request::Learn`].
    Learnt(Learnt),
    /// The sample was refused; nothing has changed.
    Refused(Refusal),
    /// The board has no image that it can use.
    NoNetwork(ImageError),
    /// [`Request::Learn`] or [`Request::End`] came out of order; nothing has changed.
    OutOfOrder {
        /// Number of the sample or session that the board expects next.
        expected: u64,
    },
    /// The request's frame has a version other than the board's [`VERSION`].
    OtherVersion,
    /// Answer to [`Request::End`].
    Ended(Ended),
    /// Answer to [`Request::Read`]: [`NUMBERS`] elements, or fewer at the end of the array.
    Numbers(Vec<f32, NUMBERS>),
    /// Answer to [`Request::Journal`].
    Journal(journal::Piece),
    /// A frame that may have been a request was dropped.
    Damaged,
    /// The board is working on its flash and will answer later. Belongs to no request, so its number is 0.
    Busy,
    /// Answer to [`Request::Reset`]: the board has started again. The reset also survives a power cut.
    Reset {
        /// Digest of the state from which the board starts.
        digest: u64,
    },
    /// Answer to [`Request::Reset`]: the flash failed, and the board is in the same state as after a restart.
    NotReset,
}

/// Identity and state of a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Name of the board.
    pub board: String<BOARD>,
    /// Schema hash of the network for which the firmware is built.
    pub schema: u64,
    /// Number of values in a sample.
    pub inputs: u32,
    /// Number of classes.
    pub classes: u32,
    /// Number of frames dropped since the start.
    pub dropped: u32,
    /// RAM usage.
    pub memory: Memory,
    /// State of the adaptation, or the reason why the image cannot be used.
    pub status: Result<Status, ImageError>,
}

/// RAM of a device by part, in bytes, known at build time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Adapting weights X.
    pub weights: u32,
    /// Query points Y.
    pub query_points: u32,
    /// Momentum M.
    pub momenta: u32,
    /// Weights in use.
    pub in_use: u32,
    /// Replay buffer.
    pub replay: u32,
    /// Held-out samples.
    pub held_out: u32,
    /// Scratch memory: activations and errors of one sample, or the workspace of a step.
    pub scratch: u32,
    /// Frames, the last answer and everything small.
    pub link: u32,
}

impl Memory {
    /// Returns the sizes of all parts, in the order of the fields.
    pub const fn sizes(&self) -> [u32; 8] {
        let Self { weights, query_points, momenta, in_use, replay, held_out, scratch, link } = *self;
        [weights, query_points, momenta, in_use, replay, held_out, scratch, link]
    }
}

/// State of an adaptation.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Divisor of raw features: they are divided by it before they are sent.
    pub scale: f32,
    /// Number of steps per sample, from the image.
    pub steps: u32,
    /// Number of labelled samples taken and of sessions ended.
    pub counts: Counts,
    /// Number of samples learnt.
    pub learnt: u64,
    /// Number of learnt samples that were predicted correctly before they were learnt.
    pub correct: u64,
    /// Outcome of the newest labelled sample; `None` after a start or the end of a session.
    pub latest: Option<Taken>,
    /// Loss of the newest sample's last step, if the sample was learnt.
    pub loss: Option<f32>,
    /// Number of steps taken.
    pub step: u64,
    /// Digest of the state.
    pub digest: u64,
    /// Checksum at the end of the image from which the board started.
    pub image: u32,
    /// Upper bound on how far a matrix has moved in this session, in radii of its norm.
    pub movement: f32,
    /// Movement that a session must not exceed, if the image sets a budget.
    pub budget: Option<f32>,
    /// Generation of the newest saved state; `None` if nothing was saved.
    pub saved: Option<u64>,
    /// Generation named by the header of each slot of the store; `None` for a slot without a header.
    pub slots: [Option<u64>; 2],
}

/// Result of taking a labelled sample.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Learnt {
    /// Outcome of the sample.
    pub taken: Taken,
    /// Number of samples learnt, including this one if it was learnt.
    pub learnt: u64,
    /// Number of learnt samples that were predicted correctly before they were learnt.
    pub correct: u64,
    /// Reports of the sample's steps; empty if the sample is held out.
    pub reports: Vec<Report, STEPS>,
}

/// Result of ending a session.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Verdict on the session: whether its weights are in use now, and the counts behind the decision.
    pub verdict: Verdict,
    /// Digest of the state from which the next session starts.
    pub digest: u64,
}

/// Reason why a frame is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameError {
    /// The frame is longer than the buffer.
    TooLong,
    /// The byte stuffing or the checksum is wrong: the frame was cut short or damaged in transit.
    Damaged,
    /// The frame is intact but has another version.
    Version(u8),
    /// The frame is intact and has this version, but its message is unknown.
    Unknown,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            FrameError::TooLong => f.write_str("frame too long"),
            FrameError::Damaged => f.write_str("frame damaged"),
            FrameError::Version(found) => write!(f, "the other side speaks link version {found}, this one {VERSION}"),
            FrameError::Unknown => f.write_str("unknown message"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Writes a message as a frame with its enclosing zeros, and returns the number of bytes used in `wire`.
///
/// # Errors
/// [`FrameError::TooLong`] if one of the two buffers is too short; [`request`] and [`ANSWER`] are sufficient sizes.
#[inline(never)]
pub fn encode<T: Serialize>(content: &T, plain: &mut [u8], wire: &mut [u8]) -> Result<usize, FrameError> {
    let (version, rest) = plain.split_first_mut().ok_or(FrameError::TooLong)?;
    *version = VERSION;
    let used = 1 + message::encode(content, rest).ok_or(FrameError::TooLong)?;
    let content = plain.get(..used).ok_or(FrameError::TooLong)?;
    let sum = checksum(content).to_le_bytes();
    let (first, rest) = wire.split_first_mut().ok_or(FrameError::TooLong)?;
    *first = 0;
    let mut encoder = CobsEncoder::new(rest);
    encoder.push(content).map_err(|_| FrameError::TooLong)?;
    encoder.push(&sum).map_err(|_| FrameError::TooLong)?;
    let used = encoder.finalize();
    *rest.get_mut(used).ok_or(FrameError::TooLong)? = 0;
    Ok(used + 2)
}

/// Reads the message from a frame without its enclosing zeros. The frame is overwritten.
///
/// # Errors
/// See [`FrameError`].
#[inline(never)]
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a mut [u8]) -> Result<T, FrameError> {
    let used = decode_in_place(frame).map_err(|_| FrameError::Damaged)?;
    let plain = frame.get(..used).ok_or(FrameError::Damaged)?;
    let (content, sum) = plain.split_last_chunk::<CHECKSUM>().ok_or(FrameError::Damaged)?;
    if checksum(content) != u32::from_le_bytes(*sum) {
        return Err(FrameError::Damaged);
    }
    match content.split_first() {
        Some((&VERSION, rest)) => match message::decode(rest) {
            Some((message, [])) => Ok(message),
            _ => Err(FrameError::Unknown),
        },
        Some((&version, _)) => Err(FrameError::Version(version)),
        None => Err(FrameError::Damaged),
    }
}

/// Collects bytes from the line into frames of up to N bytes.
#[derive(Clone, Debug, Default)]
pub struct Receiver<const N: usize> {
    frame: Vec<u8, N>,
    complete: bool,
    overlong: bool,
}

impl<const N: usize> Receiver<N> {
    /// Creates a receiver without any received bytes.
    pub const fn new() -> Self {
        Self { frame: Vec::new(), complete: false, overlong: false }
    }

    /// Takes one byte. If it ends a frame, returns the frame, to be passed to [`decode`], or [`FrameError::TooLong`].
    /// Empty frames are ignored.
    pub fn push(&mut self, byte: u8) -> Option<Result<&mut [u8], FrameError>> {
        if self.complete {
            self.frame.clear();
            self.complete = false;
            self.overlong = false;
        }
        if byte != 0 {
            self.overlong |= self.frame.push(byte).is_err();
            return None;
        }
        self.complete = true;
        match (self.overlong, self.frame.is_empty()) {
            (true, _) => Some(Err(FrameError::TooLong)),
            (false, true) => None,
            (false, false) => Some(Ok(&mut self.frame)),
        }
    }
}
