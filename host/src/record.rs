//! What a board consumed and answered: enough to compute its adaptation again.
//!
//! A [`Record`] is one in memory; [`file`] holds its format, and [`crate::recorder`] writes one event by event.

mod file;

pub use file::{Damage, Flaw, Found, VERSION};
pub(crate) use file::{Tail, begun, parse, prefix};

use crate::verdict;
use graftage_core::adapt::Report;
use graftage_core::error::Refusal;
use graftage_core::session::Taken;
use graftage_link::journal::{self, Entry, Frame};
use graftage_link::{Ended, Learnt};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;

/// What a board consumed, in order, and the digest of its state after each step.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Name of the board.
    pub board: String,
    /// Hash of its network's schema.
    pub schema: u64,
    /// The [`identity`](crate::image::identity) of the image that it started from.
    pub image: u32,
    /// Digest of its state before the first sample.
    pub start: u64,
    /// What came.
    pub events: Vec<Event>,
}

/// What happened on a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// It took a labelled sample.
    Sample(Lesson),
    /// It refused one, and nothing changed.
    Refused(Refused),
    /// It was asked for its whole state.
    State(State),
    /// A session ended.
    End(Ended),
    /// What follows is not recorded.
    Gap,
}

/// A labelled sample that a board took.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lesson {
    /// Its numbers, scaled as they were sent.
    pub input: Vec<f32>,
    /// Its class.
    pub label: u32,
    /// What the board predicted before, and whether it held the sample out; else it was learnt.
    pub taken: Taken,
    /// The steps that it brought.
    pub reports: Vec<Report>,
}

impl Lesson {
    /// A sample, and the board's answer to it.
    pub fn new(input: &[f32], label: u32, answer: &Learnt) -> Self {
        Self { input: input.to_vec(), label, taken: answer.taken, reports: answer.reports.to_vec() }
    }
}

/// A labelled sample that a board refused.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// Its numbers, scaled as they were sent.
    pub input: Vec<f32>,
    /// Its class.
    pub label: u32,
    /// Why.
    pub why: Refusal,
}

/// X, Y and M of a board, each parameter by parameter, row by row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// The weights X that learn.
    pub x: Vec<f32>,
    /// The query points Y.
    pub y: Vec<f32>,
    /// The momenta M.
    pub m: Vec<f32>,
}

/// The journal of a board does not say from what it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("its journal has lost the start: nothing in it can be computed again")
    }
}

impl Record {
    /// What a board's journal holds: its bytes, in which entries begin at multiples of `unit`, kept since it started from that
    /// image. Where an entry is missing there is a gap.
    ///
    /// # Errors
    /// Where the start is missing.
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

    /// Whether what came last is missing.
    pub fn has_gap(&self) -> bool {
        self.events.contains(&Event::Gap)
    }

    /// Its labelled samples.
    pub fn lessons(&self) -> impl DoubleEndedIterator<Item = &Lesson> {
        self.events.iter().filter_map(|event| match event {
            Event::Sample(lesson) => Some(lesson),
            _ => None,
        })
    }

    /// Digest of the board's state at the end.
    pub fn digest(&self) -> u64 {
        let digest = |event: &Event| match event {
            Event::Sample(lesson) => lesson.reports.last().map(|report| report.digest),
            Event::End(ended) => Some(ended.digest),
            Event::Refused(_) | Event::State(_) | Event::Gap => None,
        };
        self.events.iter().rev().find_map(digest).unwrap_or(self.start)
    }

    /// Samples and ends of sessions that the board took.
    pub fn counts(&self) -> (u64, u32) {
        let ends = self.events.iter().filter(|event| matches!(event, Event::End(_))).count();
        (self.lessons().count() as u64, ends as u32)
    }

    /// The [alarms](verdict::alarm) of its sessions, a line each.
    pub fn alarms(&self) -> impl Iterator<Item = String> {
        let verdicts = self.events.iter().filter_map(|event| match event {
            Event::End(ended) => Some(&ended.verdict),
            _ => None,
        });
        (1..).zip(verdicts).filter_map(|(session, ended)| verdict::alarm(session, ended))
    }

    /// Events of the session that has not ended.
    pub fn unended(&self) -> &[Event] {
        let ended = self.events.iter().rposition(|event| matches!(event, Event::End(_)));
        &self.events[ended.map_or(0, |end| end + 1)..]
    }
}
