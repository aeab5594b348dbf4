//! File format of a record.
//!
//! ```text
//! offset  bytes
//! 0       "GRFR"
//! 4       version, u16        little-endian, like all that follows
//! 6       events, u64         2⁶⁴ − 1 while more may come: what is recorded may have been cut short
//! 14      CRC-32/ISO-HDLC of the 14 bytes before it
//! 18      sections            the head, then one for each event
//! ```
//!
//! A section consists of the length of its content (u32), a checksum, the content in postcard, and a checksum. Each
//! checksum is the CRC-32/ISO-HDLC of all lengths and contents up to it. It does not cover earlier checksums, because
//! the CRC of data followed by its own CRC is the same for all data. The first event that is damaged, missing, out of
//! place or cut is thus detected, and everything before it is known to be intact.
//!
//! A record grows at its end, and no byte of an event ever changes. While it grows, its last section may be cut: that
//! request was not recorded, but all earlier ones are. The checksum after the length distinguishes a cut from a damaged
//! length.

use super::Record;
use crate::error::{Error, Result};
use crate::files;
use graftage_core::image::{CRC, Digest, checksum};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

const MAGIC: [u8; 4] = *b"GRFR";

/// Version of the format that this crate writes and reads.
pub const VERSION: u16 = 5;

/// Length of the part before the sections, in bytes.
const PREFIX: usize = 18;

/// Event count of a record that still grows.
const GROWING: u64 = u64::MAX;

/// Head of a record, stored before the events.
#[derive(Serialize, Deserialize)]
struct Head {
    board: String,
    schema: u64,
    image: u32,
    start: u64,
}

/// A record read from a file.
#[derive(Clone, Debug)]
pub struct Found {
    /// Events before the first damaged or missing one.
    pub record: Record,
    /// Location of the first damaged or missing event.
    pub damage: Option<Damage>,
    /// `true` if the record was finished. Otherwise it was cut short, by a signal or a lost line, or still grows.
    pub finished: bool,
    /// End of the intact sections, and their checksum.
    pub(crate) tail: Tail,
}

/// End of a file's intact sections, where the next section is appended.
#[derive(Clone)]
pub(crate) struct Tail {
    /// Length of the file up to here, in bytes.
    pub length: u64,
    /// Checksum of the sections so far.
    digest: Digest,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Tail({} bytes)", self.length)
    }
}

/// Location of damage in a record. All earlier events are intact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Number of the event, from 1.
    pub event: usize,
    /// Kind of damage.
    pub what: Flaw,
}

/// Kind of damage to an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The file ends within the event.
    Cut,
    /// The checksum of the event does not match.
    Checksum,
    /// The event cannot be decoded.
    Malformed,
    /// The event exceeds the number of events in the record.
    Surplus,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { event, what } = self;
        match what {
            Flaw::Cut => write!(f, "the record is truncated in event {event}"),
            Flaw::Checksum => write!(f, "the record is damaged in event {event} (wrong checksum)"),
            Flaw::Malformed => write!(f, "event {event} of the record cannot be decoded"),
            Flaw::Surplus => {
                write!(f, "unexpected bytes after the last event of the record, where event {event} would be")
            }
        }
    }
}

impl Record {
    /// Writes a finished record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &self.bytes(path)?)
    }

    /// Encodes a finished record as a file.
    ///
    /// # Errors
    /// Names the file if the record cannot be written.
    pub fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let (mut bytes, mut tail) = begun(self, path)?;
        for event in &self.events {
            bytes.extend(tail.section(event).map_err(|e| Error::content(path, e))?);
        }
        bytes[..PREFIX].copy_from_slice(&prefix(Some(self.events.len() as u64)));
        Ok(bytes)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If the file is not a record, or a byte is wrong or missing; the message then names the first affected event.
    pub fn read(path: &Path) -> Result<Self> {
        match Self::salvage(path)? {
            Found { damage: None, record, .. } => Ok(record),
            Found { damage: Some(damage), .. } => Err(Error::content(path, damage)),
        }
    }

    /// Reads the events of a record up to the first damaged or missing one.
    ///
    /// # Errors
    /// If the file is not a record, or its head is damaged.
    pub fn salvage(path: &Path) -> Result<Found> {
        parse(&files::read(path)?).map_err(|what| Error::content(path, what))
    }
}

/// Parses the bytes of a record's file up to the first damaged event.
pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Found, String> {
    let short = || "not a record of a board: too short".to_owned();
    let magic = bytes.first_chunk::<4>().ok_or_else(short)?;
    if *magic != MAGIC {
        return Err("not a record of a board".into());
    }
    let version = bytes.get(4..).and_then(<[u8]>::first_chunk).map(|version| u16::from_le_bytes(*version));
    match version.ok_or_else(short)? {
        VERSION => {}
        found => {
            return Err(format!(
                "the record has version {found}, but this software reads version {VERSION}: replay it with the release that wrote it, or record again"
            ));
        }
    }
    let damaged = || "the head of the record is damaged".to_owned();
    let prefix = bytes.first_chunk::<PREFIX>().ok_or_else(damaged)?;
    let (counted, sum) = prefix.split_last_chunk::<4>().ok_or_else(damaged)?;
    if checksum(counted) != u32::from_le_bytes(*sum) {
        return Err(damaged());
    }
    let count = counted.last_chunk().map_or(0, |count| u64::from_le_bytes(*count));
    let mut sections = Reader { rest: &bytes[PREFIX..], tail: Tail::new() };
    let Head { board, schema, image, start } = sections.section().map_err(|_| damaged())?;
    let (mut events, mut flaw) = (Vec::new(), None);
    while flaw.is_none() && (events.len() as u64) < count && !(count == GROWING && sections.rest.is_empty()) {
        match sections.section() {
            Ok(event) => events.push(event),
            Err(what) => flaw = Some(what),
        }
    }
    let damage = match flaw {
        // The writer was stopped in the middle of a section.
        Some(Flaw::Cut) if count == GROWING => None,
        None if !sections.rest.is_empty() => Some(Flaw::Surplus),
        flaw => flaw,
    };
    let damage = damage.map(|what| Damage { event: events.len() + 1, what });
    let record = Record { board, schema, image, start, events };
    Ok(Found { record, damage, finished: count != GROWING, tail: sections.tail })
}

/// Encodes the part of a record's file before its events.
pub(crate) fn begun(record: &Record, path: &Path) -> Result<(Vec<u8>, Tail)> {
    let Record { board, schema, image, start, events: _ } = record;
    let mut tail = Tail::new();
    let head = Head { board: board.clone(), schema: *schema, image: *image, start: *start };
    let head = tail.section(&head).map_err(|e| Error::content(path, e))?;
    Ok(([&prefix(None)[..], &head].concat(), tail))
}

/// Encodes the part before the sections, for a finished record with this many events, or for a growing one if `None`.
pub(crate) fn prefix(events: Option<u64>) -> [u8; PREFIX] {
    let mut bytes = [0; PREFIX];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[6..14].copy_from_slice(&events.unwrap_or(GROWING).to_le_bytes());
    let sum = checksum(&bytes[..14]);
    bytes[14..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

impl Tail {
    fn new() -> Self {
        Self { length: PREFIX as u64, digest: CRC.digest() }
    }

    /// Encodes the next section and advances this end past it.
    pub fn section(&mut self, content: &impl Serialize) -> postcard::Result<Vec<u8>> {
        let content = postcard::to_allocvec(content)?;
        let length = u32::try_from(content.len()).map_err(|_| postcard::Error::SerializeBufferFull)?.to_le_bytes();
        let sums = [&length[..], &content].map(|part| {
            self.digest.update(part);
            self.digest.clone().finalize().to_le_bytes()
        });
        let bytes = [&length[..], &sums[0], &content, &sums[1]].concat();
        self.length += bytes.len() as u64;
        Ok(bytes)
    }

    /// Adds bytes to the checksum and compares it with `sum`.
    fn check(&mut self, bytes: &[u8], sum: [u8; 4]) -> std::result::Result<(), Flaw> {
        self.digest.update(bytes);
        match self.digest.clone().finalize() == u32::from_le_bytes(sum) {
            true => Ok(()),
            false => Err(Flaw::Checksum),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    tail: Tail,
}

impl Reader<'_> {
    fn section<T: for<'a> Deserialize<'a>>(&mut self) -> std::result::Result<T, Flaw> {
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or(Flaw::Cut)?;
        let (sum, rest) = rest.split_first_chunk::<4>().ok_or(Flaw::Cut)?;
        let mut tail = self.tail.clone();
        tail.check(length, *sum)?;
        let (content, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(Flaw::Cut)?;
        let (sum, rest) = rest.split_first_chunk::<4>().ok_or(Flaw::Cut)?;
        tail.check(content, *sum)?;
        let Ok((value, [])) = postcard::take_from_bytes(content) else { return Err(Flaw::Malformed) };
        tail.length += (12 + content.len()) as u64;
        (self.tail, self.rest) = (tail, rest);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::*;

    #[test]
    fn a_record_that_grows_may_be_cut_and_one_that_has_ended_may_not() {
        let events = vec![Event::Gap, Event::Gap];
        let record = Record { board: "b".into(), schema: 1, image: 2, start: 3, events };
        let whole = record.bytes(Path::new("a")).unwrap();
        let (mut growing, mut tail) = begun(&record, Path::new("a")).unwrap();
        let head = growing.len();
        record.events.iter().for_each(|event| growing.extend(tail.section(event).unwrap()));
        assert_eq!((growing.len(), tail.length), (whole.len(), whole.len() as u64));
        let event = (whole.len() - head) / 2;
        for length in head..=whole.len() {
            let found = parse(&growing[..length]).unwrap();
            let events = (length - head) / event;
            assert_eq!((found.record.events.len(), found.damage, found.finished), (events, None, false), "{length}");
            assert_eq!(found.tail.length as usize, head + events * event);
            let damage = (events < 2).then_some(Damage { event: events + 1, what: Flaw::Cut });
            assert_eq!(parse(&whole[..length]).unwrap().damage, damage, "{length}");
        }
        // Corruption, unlike truncation, is damage in both: of a length, of a content, or surplus bytes.
        for (at, event) in [(head, 1), (head + 9, 1), (head + event + 1, 2)] {
            let mut wrong = growing.clone();
            wrong[at] ^= 1;
            assert_eq!(parse(&wrong).unwrap().damage, Some(Damage { event, what: Flaw::Checksum }), "{at}");
        }
        growing.extend([7; 8]);
        assert_eq!(parse(&growing).unwrap().damage, Some(Damage { event: 3, what: Flaw::Checksum }));
    }
}
