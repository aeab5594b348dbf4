//! Results of `graftage adapt`: the session on the board and the memory of its firmware.

use crate::confusion::Confusion;
use crate::statistics::nan_from_null;
use graftage_core::session::Verdict;
use serde::{Deserialize, Serialize};

/// Results of `graftage adapt` on a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Name of the board.
    pub board: String,
    /// Number of labelled samples that the board accepted.
    pub samples: usize,
    /// Verdict at the end of the session.
    pub verdict: Verdict,
    /// Number of samples that the board refused.
    pub refused: usize,
    /// Number of steps taken.
    pub updates: u64,
    /// Accuracy of the board on the test samples before the stream.
    #[serde(deserialize_with = "nan_from_null")]
    pub before: f32,
    /// Accuracy of the board on the test samples after the stream.
    #[serde(deserialize_with = "nan_from_null")]
    pub after: f32,
    /// (samples learnt, share of them that were predicted correctly before they were learnt).
    pub curve: Vec<(usize, f32)>,
    /// Counts of test samples by class and by the class that the board predicted, before and after the stream, if they
    /// were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<(Confusion, Confusion)>,
    /// Digest at the end, in hexadecimal.
    pub digest: String,
    /// Number of frames that the board dropped.
    pub dropped: u32,
    /// Duration of the session in seconds of wall-clock time.
    pub seconds: f32,
}

/// Memory that the firmware takes, in bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Flash for code, constants and initial values of variables.
    pub flash: u64,
    /// Flash for the weights image.
    pub image: u64,
    /// RAM for variables, without the stack.
    pub ram: u64,
    /// (part, bytes) of the RAM, as the firmware says.
    pub parts: Vec<(String, u64)>,
}
