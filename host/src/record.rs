//! Record of a board's inputs and answers, sufficient to compute its adaptation again.
//!
//! A [`Record`] is one in memory; [`file`] holds its format, and [`crate::recorder`] writes one event by event.

mod file;

pub use file::{Damage, Flaw, Found, VERSION};
pub(crate) use file::{Tail, begun, parse, prefix};

use crate::verdict;
use graftage_core::adapt::Report;
use graftage_core::error::Refusal;
use graftage_core::session::{Counts, Taken};
use graftage_link::journal::{self, Entry, Frame};
use graftage_link::{Ended, Learnt};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;

/// Inputs of a board, in order, with the digest of its state after each step.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Name of the board.
    pub board: String,
    /// Hash of the schema of its network.
    pub schema: u64,
    /// [`identity`](crate::image::identity) of the image from which the board started.
    pub image: u32,
    /// Digest of the board's state before the first sample.
    pub start: u64,
    /// Recorded events, in order.
    pub events: Vec<Event>,
}

/// An event on a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The board took a labelled sample.
    Sample(Lesson),
    /// The board refused a labelled sample; its state is unchanged.
    Refused(Refused),
    /// The board reported its whole state.
    State(State),
    /// A session ended.
    End(Ended),
    /// Later events are not recorded.
    Gap,
}

/// A labelled sample that a board accepted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lesson {
    /// Features, scaled as sent to the board.
    pub input: Vec<f32>,
    /// Class of the sample.
    pub label: u32,
    /// The board's prediction before learning, and whether the sample was held out or learnt.
    pub taken: Taken,
    /// Reports of the steps taken on this sample.
    pub reports: Vec<Report>,
}

impl Lesson {
    /// Creates a lesson from a sample and the board's answer to it.
    pub fn new(input: &[f32], label: u32, answer: &Learnt) -> Self {
        Self { input: input.to_vec(), label, taken: answer.taken, reports: answer.reports.to_vec() }
    }
}

/// A labelled sample that a board refused.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// Features, scaled as sent to the board.
    pub input: Vec<f32>,
    /// Class of the sample.
    pub label: u32,
    /// Reason for the refusal.
    pub why: Refusal,
}

/// Arrays X, Y and M of a board, each parameter by parameter, row by row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Weights X that learn.
    pub x: Vec<f32>,
    /// Query points Y.
    pub y: Vec<f32>,
    /// Momenta M.
    pub m: Vec<f32>,
}

/// Numbers of samples and sessions since a board's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Number of samples that the board took.
    pub taken: u64,
    /// Number of sessions that ended.
    pub sessions: u32,
}

impl From<Counts> for Totals {
    fn from(counts: Counts) -> Self {
        Self { taken: counts.taken, sessions: counts.sessions() }
    }
}

/// The journal of a board has lost its first entry, which holds the start state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the start of its journal is lost, so none of it can be recomputed")
    }
}

impl Record {
    /// Builds a record from the bytes of a board's journal. Entries begin at multiples of `unit`, and the board started
    /// from the image with identity `image`. A missing entry becomes a gap, which ends the record.
    ///
    /// # Errors
    /// If the entry of the start is missing.
    pub fn from_journal(board: &str, schema: u64, image: u32, unit: NonZeroU32, bytes: &[u8]) -> Result<Self, Missing> {
        let (unit, mut at) = (unit.get() as usize, 0);
        let mut frames: Vec<Frame> = Vec::new();
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            at += match journal::open(image, rest) {
                Some(frame) => {
                    while frames.pop_if(|before| before.number >= frame.number).is_some() {}
                    frames.push(frame);
                    frame.length.next_multiple_of(unit)
                }
                None => unit,
            };
        }
        let mut entries = (0..).zip(&frames).map(|(due, frame)| {
            let entry = journal::read::<Entry<Vec<f32>, Learnt>>(frame.content);
            entry.filter(|_| frame.number == due).unwrap_or(Entry::Gap)
        });
        let Some(Entry::Start { digest: start, .. }) = entries.next() else { return Err(Missing) };
        let mut events = Vec::new();
        for entry in entries {
            events.push(match entry {
                Entry::Sample { label, sample: input, learnt: Learnt { taken, reports, .. } } => {
                    Event::Sample(Lesson { input, label, taken, reports: reports.to_vec() })
                }
                Entry::Refused { label, sample: input, why } => Event::Refused(Refused { input, label, why }),
                Entry::End(ended) => Event::End(ended),
                Entry::Start { .. } | Entry::Gap => {
                    events.push(Event::Gap);
                    break;
                }
            });
        }
        Ok(Self { board: board.into(), schema, image, start, events })
    }

    /// Returns `true` if later events are missing.
    pub fn has_gap(&self) -> bool {
        self.events.contains(&Event::Gap)
    }

    /// Iterates over the labelled samples that the board accepted.
    pub fn lessons(&self) -> impl DoubleEndedIterator<Item = &Lesson> {
        self.events.iter().filter_map(|event| match event {
            Event::Sample(lesson) => Some(lesson),
            _ => None,
        })
    }

    /// Digest of the board's state at the end of the record.
    pub fn digest(&self) -> u64 {
        let digest = |event: &Event| match event {
            Event::Sample(lesson) => lesson.reports.last().map(|report| report.digest),
            Event::End(ended) => Some(ended.digest),
            Event::Refused(_) | Event::State(_) | Event::Gap => None,
        };
        self.events.iter().rev().find_map(digest).unwrap_or(self.start)
    }

    /// Numbers of samples and sessions that the record holds.
    pub fn totals(&self) -> Totals {
        let ends = self.events.iter().filter(|event| matches!(event, Event::End(_))).count();
        Totals { taken: self.lessons().count() as u64, sessions: ends as u32 }
    }

    /// [Alarms](verdict::alarm) of the recorded sessions, one line each.
    pub fn alarms(&self) -> impl Iterator<Item = String> {
        let verdicts = self.events.iter().filter_map(|event| match event {
            Event::End(ended) => Some(&ended.verdict),
            _ => None,
        });
        (1..).zip(verdicts).filter_map(|(session, ended)| verdict::alarm(session, ended))
    }

    /// Events of the open session.
    pub fn unended(&self) -> &[Event] {
        let ended = self.events.iter().rposition(|event| matches!(event, Event::End(_)));
        &self.events[ended.map_or(0, |end| end + 1)..]
    }
}
