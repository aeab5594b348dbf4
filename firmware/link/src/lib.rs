//! What board and workstation say to each other over a serial line.
//!
//! The workstation asks, the board answers; nobody speaks unasked, except that a board whose flash is at work says that it is
//! busy ([`Answer::Busy`]). A message travels in a frame:
//!
//! ```text
//! 0x00                                    ends whatever garbage came before
//! COBS( version u8 · postcard message · CRC-32/ISO-HDLC of both, little-endian )
//! 0x00
//! ```
//!
//! The message is [`Numbered`]: an answer carries the number of its request, so that a late answer is not taken for one
//! to the next question. A frame that is cut, damaged or too long is dropped and counted; the next one is taken. A
//! request that brought no answer may be sent again, under its number: [`Request::Learn`] also carries the number of the
//! sample and [`Request::End`] that of the session, so a board that has done it already answers as before and does nothing
//! twice.

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

/// The version of frames and messages.
pub const VERSION: u8 = 6;

const CHECKSUM: usize = 4;

/// [`Answer::Busy`] on the wire.
pub const BUSY: [u8; 10] = [0, 2, VERSION, 6, 0xb, 0x28, 0x7c, 0x1e, 0x6c, 0];

/// What travels in a frame: the number of the request, and the request or its answer. [`Answer::OtherVersion`] and [`Answer::Damaged`], whose
/// request could not be read, has number 0.
pub type Numbered<T> = (u8, T);

/// Bytes of the largest answer on the wire, and of any request without a sample.
pub const ANSWER: usize = 512;

/// Bytes of the longest name of a board.
pub const BOARD: usize = 32;

/// The most numbers of an array in one answer.
pub const NUMBERS: usize = 96;

/// Bytes of the largest request on the wire, for samples of that many numbers.
pub const fn request(inputs: usize) -> usize {
    let plain = 4 * inputs + 32;
    plain + plain / 254 + 3
}

/// What the workstation asks. `S` holds a sample: `&[f32]` to send, `heapless::Vec<f32, N>` to receive.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Request<S> {
    /// Who are you, and where do you stand?
    Hello,
    /// Which class is this?
    Predict {
        /// One number for each input of the network.
        sample: S,
    },
    /// Learn that this is of that class, or hold it out.
    Learn {
        /// How many labelled samples were taken before this one.
        number: u64,
        /// The class.
        label: u32,
        /// One number for each input of the network.
        sample: S,
    },
    /// End the session: commit its weights, or roll them back.
    End {
        /// How many sessions ended before this one.
        number: u32,
    },
    /// What are the numbers of an array, from one of them on?
    Read {
        /// The array.
        array: Array,
        /// Index of the first number that is wanted.
        first: u32,
    },
    /// What are the bytes of the journal, from one of them on?
    Journal {
        /// Index of the first byte that is wanted, a multiple of [`journal::PIECE`].
        first: u32,
    },
    /// Forget what was learnt: start again from the image, as it is when the board is new. Twice is as once.
    Reset,
}

/// What a board holds a number of for each weight: parameter by parameter, row by row, in the network's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Array {
    /// The weights X that learn.
    Weights,
    /// The query points Y.
    QueryPoints,
    /// The momenta M.
    Momenta,
    /// The weights in use.
    InUse,
}

/// What the board answers.
#[allow(clippy::large_enum_variant, reason = "there is no heap to put the largest on")]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// To [`Request::Predict`].
    Predicted(Prediction),
    /// To [`Request::Learn`].
    Learnt(Learnt),
    /// The sample was refused; nothing has changed.
    Refused(Refusal),
    /// The board has no image that it can use.
    NoNetwork(ImageError),
    /// [`Request::Learn`] or [`Request::End`] came out of order; nothing has changed.
    OutOfOrder {
        /// The number of the sample, or of the session, that the board waits for.
        expected: u64,
    },
    /// The request has another version than the board speaks ([`VERSION`] of its frame).
    OtherVersion,
    /// To [`Request::End`].
    Ended(Ended),
    /// To [`Request::Read`]: [`NUMBERS`] of them or, at the end of the array, fewer.
    Numbers(Vec<f32, NUMBERS>),
    /// To [`Request::Journal`].
    Journal(journal::Piece),
    /// A frame was dropped that may have been a request.
    Damaged,
    /// The board is at work on its flash: it answers later. To no request, so with number 0.
    Busy,
    /// To [`Request::Reset`]: the board has started again, and does so after a power cut, too.
    Reset {
        /// Digest of the state in which it starts.
        digest: u64,
    },
    /// To [`Request::Reset`]: its flash has refused, and the board is where a restart would have brought it.
    NotReset,
}

/// Who a board is and where it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Its name.
    pub board: String<BOARD>,
    /// Schema hash of the network that its firmware is built for.
    pub schema: u64,
    /// Numbers of a sample.
    pub inputs: u32,
    /// Classes.
    pub classes: u32,
    /// Frames dropped since it started.
    pub dropped: u32,
    /// What its RAM holds.
    pub memory: Memory,
    /// Where it stands, or why it cannot use its image.
    pub status: Result<Status, ImageError>,
}

/// RAM of a device by part, in bytes, known when it is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// The weights X.
    pub weights: u32,
    /// The query points Y.
    pub query_points: u32,
    /// The momenta M.
    pub momenta: u32,
    /// The weights in use.
    pub in_use: u32,
    /// The replay buffer.
    pub replay: u32,
    /// The held-out samples.
    pub held_out: u32,
    /// Activations and errors of a sample, or the workspace of a step.
    pub scratch: u32,
    /// Frames, the last answer, and all that is small.
    pub link: u32,
}

/// Where an adaptation stands.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// What raw features are divided by before they are sent.
    pub scale: f32,
    /// Steps a sample, as the image says.
    pub steps: u32,
    /// Labelled samples taken, and sessions ended.
    pub counts: Counts,
    /// Samples learnt.
    pub learnt: u64,
    /// Of these, how many were predicted rightly before they were learnt.
    pub correct: u64,
    /// What became of the newest labelled sample; none after a start or the end of a session.
    pub latest: Option<Taken>,
    /// Loss of its last step, where it was learnt.
    pub loss: Option<f32>,
    /// Steps taken.
    pub step: u64,
    /// Digest of the state.
    pub digest: u64,
    /// Checksum at the end of the image that it started from.
    pub image: u32,
    /// The most that a matrix can have moved in this session, in radii of its norm.
    pub drift: f32,
    /// The drift that a session may not exceed, where the image names one.
    pub budget: Option<f32>,
    /// Generation of the newest state that is saved; none where nothing was.
    pub saved: Option<u64>,
    /// Generation that the header of each slot of the store names; none where it has none.
    pub slots: [Option<u64>; 2],
}

/// What a labelled sample brought.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Learnt {
    /// What became of it.
    pub taken: Taken,
    /// Samples learnt, this one included where it was.
    pub learnt: u64,
    /// Of these, how many were predicted rightly before they were learnt.
    pub correct: u64,
    /// Its steps; none where it is held out.
    pub reports: Vec<Report, STEPS>,
}

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Whether its weights are in use now, and what judged them.
    pub verdict: Verdict,
    /// Digest of the state from which the next one starts.
    pub digest: u64,
}

/// Why a frame is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameError {
    /// Longer than the receiver's memory.
    TooLong,
    /// The byte stuffing or the checksum is wrong: cut or damaged on the way.
    Damaged,
    /// Whole, but of another version.
    Version(u8),
    /// Whole and of this version, but no message that is known.
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

/// Writes a message as a frame, its zeros included, and returns how many bytes of `wire` it takes.
///
/// # Errors
/// [`FrameError::TooLong`] where one of the two buffers is too short; [`request`] and [`ANSWER`] say what suffices.
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

/// Reads the message of a frame without its zeros; the frame is overwritten.
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

/// Collects bytes of the line into frames of up to N bytes.
#[derive(Clone, Debug, Default)]
pub struct Receiver<const N: usize> {
    frame: Vec<u8, N>,
    complete: bool,
    overlong: bool,
}

impl<const N: usize> Receiver<N> {
    /// With nothing received.
    pub const fn new() -> Self {
        Self { frame: Vec::new(), complete: false, overlong: false }
    }

    /// Takes a byte. When it ends a frame, the frame (to be [`decode`]d) or [`FrameError::TooLong`]; empty frames count
    /// as nothing.
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
