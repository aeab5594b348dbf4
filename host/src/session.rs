//! Results of `graftage adapt`: the session on the board and the memory of its firmware.

use crate::confusion::Confusion;
use crate::statistics::nan_from_null;
use graftage_core::session::Verdict;
use serde::{Deserialize, Serialize};

/// What `graftage adapt` measured on a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Name of the board.
    pub board: String,
    /// Labelled samples that the board took.
    pub samples: usize,
    /// How its session ended.
    pub verdict: Verdict,
    /// Samples that the board refused.
    pub refused: usize,
    /// Steps taken.
    pub updates: u64,
    /// The board's accuracy on the test samples before the stream.
    #[serde(deserialize_with = "nan_from_null")]
    pub before: f32,
    /// And after it.
    #[serde(deserialize_with = "nan_from_null")]
    pub after: f32,
    /// (samples learnt, share of them that were predicted rightly before they were learnt).
    pub curve: Vec<(usize, f32)>,
    /// Test samples by class and the class that the board predicted, before the stream and after it, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<(Confusion, Confusion)>,
    /// Digest at the end, in hexadecimal.
    pub digest: String,
    /// Frames that the board dropped.
    pub dropped: u32,
    /// Wall-clock seconds of the session.
    pub seconds: f32,
}

/// Memory of the firmware, in bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Flash: code and constants, and initial values of variables.
    pub flash: u64,
    /// Flash of the weights image.
    pub image: u64,
    /// RAM: variables, without the stack.
    pub ram: u64,
    /// (part, bytes) of the RAM, as the board says them.
    pub parts: Vec<(String, u64)>,
}
