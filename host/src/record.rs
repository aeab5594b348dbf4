//! What a board consumed and answered: enough to compute its adaptation again.
//!
//! ```text
//! offset  bytes
//! 0       "GRFR"
//! 4       version, u16        little-endian, like all that follows
//! 6       sections            the head, then one for each event
//! ```
//!
//! A section is the length of its content, u32; the content in postcard; and CRC-32/ISO-HDLC of all bytes of the file before
//! that are no checksum themselves: over bytes and their checksum it would be the same for all. So the first event that is damaged, missing, out of place or cut is known, and what stands before it is whole.

use crate::error::{Error, Result};
use crate::files;
use flate2::Crc;
use graftage_core::adapt::Report;
use graftage_core::error::Refusal;
use graftage_core::session::Taken;
use graftage_link::journal::{self, Entry, Frame};
use graftage_link::{Ended, Learnt};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

/// What a board consumed, in order, and the digest of its state after each step.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Name of the board.
    pub board: String,
    /// The [`identity`](crate::image::identity) of the image that it started from.
    pub image: u32,
    /// Digest of its state before the first sample.
    pub start: u64,
    /// What came.
    pub events: Vec<Event>,
}

/// What stands before the events.
#[derive(Serialize, Deserialize)]
struct Head {
    board: String,
    image: u32,
    start: u64,
    events: u64,
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

/// Where the bytes of a record are wrong; all events before that are whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Which event, from 1.
    pub event: usize,
    /// What is wrong with it.
    pub what: Flaw,
}

/// What is wrong with the bytes of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The file ends in it.
    Cut,
    /// Its checksum does not agree.
    Checksum,
    /// It cannot be decoded.
    Malformed,
    /// It is one more than there are.
    Surplus,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { event, what } = self;
        match what {
            Flaw::Cut => write!(f, "the record ends in event {event}: it is cut short, or that length is damaged"),
            Flaw::Checksum => write!(f, "the record is damaged in event {event} (wrong checksum)"),
            Flaw::Malformed => write!(f, "event {event} of the record cannot be decoded"),
            Flaw::Surplus => write!(f, "bytes follow the last event of the record, which would be event {event}"),
        }
    }
}

/// The journal of a board does not say from what it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("its journal has lost the start: nothing in it can be computed again")
    }
}

const MAGIC: [u8; 4] = *b"GRFR";

/// The version of the format that this software writes and reads.
pub const VERSION: u16 = 3;

impl Record {
    /// What a board's journal holds: its bytes, in which entries begin at multiples of `unit`, kept since it started from that
    /// image. Where an entry is missing there is a gap.
    ///
    /// # Errors
    /// Where the start is missing.
    pub fn from_journal(board: &str, image: u32, unit: NonZeroU32, bytes: &[u8]) -> std::result::Result<Self, Missing> {
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
        let Some(Entry::Start { digest: start }) = entries.next() else { return Err(Missing) };
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
        Ok(Self { board: board.into(), image, start, events })
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

    /// A record as its file holds it.
    ///
    /// # Errors
    /// Names the file, where the record cannot be written.
    pub fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let Self { board, image, start, events } = self;
        let mut sections = Writer::new();
        let head = Head { board: board.clone(), image: *image, start: *start, events: events.len() as u64 };
        let written = sections.section(&head);
        let written = events.iter().fold(written, |written, event| written.and_then(|()| sections.section(event)));
        written.map_err(|e| Error::content(path, e))?;
        Ok(sections.bytes)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &self.bytes(path)?)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Where the file is none, or a byte is wrong or missing: then it names the first event of which that is true.
    pub fn read(path: &Path) -> Result<Self> {
        match Self::salvage(path)? {
            (record, None) => Ok(record),
            (_, Some(damage)) => Err(Error::content(path, damage)),
        }
    }

    /// Reads the events of a record before the first whose bytes are wrong or missing.
    ///
    /// # Errors
    /// Where the file is none, or its head is damaged.
    pub fn salvage(path: &Path) -> Result<(Self, Option<Damage>)> {
        let bytes = files::read(path)?;
        let version = match bytes.split_first_chunk::<4>() {
            Some((&MAGIC, rest)) => rest.first_chunk().map(|version| u16::from_le_bytes(*version)),
            Some(_) => return Err(Error::content(path, "no record of a board")),
            None => None,
        };
        match version {
            None => return Err(Error::content(path, "no record of a board: too short")),
            Some(VERSION) => {}
            Some(found) => {
                return Err(Error::content(
                    path,
                    format!("a record of version {found}, this software reads version {VERSION}"),
                ));
            }
        }
        let mut sections = Reader::new(&bytes);
        let head = sections.section::<Head>().map_err(|_| Error::content(path, "the head of the record is damaged"))?;
        let (mut events, mut damage) = (Vec::new(), None);
        while damage.is_none() && (events.len() as u64) < head.events {
            match sections.section() {
                Ok(event) => events.push(event),
                Err(what) => damage = Some(what),
            }
        }
        if damage.is_none() && !sections.rest.is_empty() {
            damage = Some(Flaw::Surplus);
        }
        let damage = damage.map(|what| Damage { event: events.len() + 1, what });
        Ok((Self { board: head.board, image: head.image, start: head.start, events }, damage))
    }
}

struct Writer {
    bytes: Vec<u8>,
    checksum: Crc,
}

impl Writer {
    fn new() -> Self {
        let mut new = Self { bytes: Vec::new(), checksum: Crc::new() };
        new.put(&MAGIC);
        new.put(&VERSION.to_le_bytes());
        new
    }

    fn put(&mut self, bytes: &[u8]) {
        self.checksum.update(bytes);
        self.bytes.extend_from_slice(bytes);
    }

    fn section(&mut self, content: &impl Serialize) -> postcard::Result<()> {
        let content = postcard::to_allocvec(content)?;
        let length = u32::try_from(content.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
        self.put(&length.to_le_bytes());
        self.put(&content);
        self.bytes.extend_from_slice(&self.checksum.sum().to_le_bytes());
        Ok(())
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    checksum: Crc,
}

impl<'a> Reader<'a> {
    /// Over the bytes of a file with magic and version.
    fn new(bytes: &'a [u8]) -> Self {
        let mut new = Self { rest: bytes, checksum: Crc::new() };
        // They were looked at.
        let _ = new.take(MAGIC.len() + size_of_val(&VERSION));
        new
    }

    /// Some bytes that count for the checksums.
    fn take(&mut self, count: usize) -> std::result::Result<&'a [u8], Flaw> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Flaw::Cut)?;
        self.checksum.update(taken);
        self.rest = rest;
        Ok(taken)
    }

    fn section<T: Deserialize<'a>>(&mut self) -> std::result::Result<T, Flaw> {
        let length = self.take(size_of::<u32>())?.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let content = self.take(length as usize)?;
        let (sum, rest) = self.rest.split_first_chunk().ok_or(Flaw::Cut)?;
        self.rest = rest;
        if u32::from_le_bytes(*sum) != self.checksum.sum() {
            return Err(Flaw::Checksum);
        }
        match postcard::take_from_bytes(content) {
            Ok((content, [])) => Ok(content),
            _ => Err(Flaw::Malformed),
        }
    }
}
