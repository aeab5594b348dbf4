//! A record that grows in its file while a board learns, and that a later run can continue.

use crate::board::{Board, Journal};
use crate::data::Samples;
use crate::error::{Error, Result};
use crate::files::Growing;
use crate::record::{Event, Found, Lesson, Record, Tail, Totals, begun, parse, prefix};
use crate::replay;
use graftage_core::image::Image;
use graftage_link::{Ended, Hello, Status};

/// Destination of a record: a new file, or one with a record to continue.
#[derive(Debug)]
pub struct Place {
    file: Growing,
    found: Option<Found>,
}

/// A record in its file. It is intact up to the last [pushed](Recorder::push) event, however the process ends.
#[derive(Debug)]
pub struct Recorder {
    file: Growing,
    record: Record,
    tail: Tail,
    /// `true` if an earlier run began the record.
    goes_on: bool,
    /// `true` if the file states the number of events.
    finished: bool,
    /// `true` if the file ends where the record does.
    level: bool,
}

/// State of a record relative to its board.
#[derive(Clone, PartialEq, Debug)]
pub enum Lag {
    /// The board has taken everything recorded. Holds the index in the stream at which its open session continues.
    None(usize),
    /// The session in which the board took the whole stream has ended.
    Ended(Ended),
}

impl Place {
    /// Reads the record in the file, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or holds no record or a damaged one.
    pub fn open(file: Growing) -> Result<Self> {
        let found = file.there()?.map(|bytes| parse(&bytes)).transpose();
        let wrong = |what: String| {
            let remedy = "use --force to replace it, or name another output";
            Error::content(file.path(), format!("already exists and cannot be continued: {what}; {remedy}"))
        };
        let found = found.map_err(wrong)?;
        match found.as_ref().and_then(|found| found.damage) {
            Some(damage) => Err(wrong(damage.to_string())),
            None => Ok(Self { file, found }),
        }
    }

    /// Opens the record for a board with this hello and status: begins a new record or continues the existing one.
    ///
    /// # Errors
    /// If the existing record belongs to another network or image, or the file cannot be written. In that case it is
    /// unchanged.
    pub fn recorder(mut self, hello: &Hello, status: &Status) -> Result<Recorder> {
        let Hello { board, schema, .. } = hello;
        let Status { image, digest, .. } = *status;
        let Some(Found { record, tail, finished, .. }) = self.found else {
            let record = Record { board: board.to_string(), schema: *schema, image, start: digest, events: Vec::new() };
            let (bytes, tail) = begun(&record, self.file.path())?;
            self.file.begin(&bytes)?;
            return Ok(Recorder { file: self.file, record, tail, goes_on: false, finished: false, level: true });
        };
        if (record.schema, record.image) != (*schema, image) {
            let what = match record.schema == *schema {
                false => "is the record of a board with another network".into(),
                true => format!(
                    "is the record of a board with another image: its checksum is {:08x}, the board's is {image:08x}",
                    record.image
                ),
            };
            return Err(Error::content(self.file.path(), format!("{what}; name another output")));
        }
        Ok(Recorder { file: self.file, record, tail, goes_on: true, finished, level: false })
    }
}

impl Recorder {
    /// Returns `true` if this continues the record of an earlier run.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// The record so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Appends an event.
    ///
    /// # Errors
    /// If the file cannot be written. Earlier events are intact.
    pub fn push(&mut self, event: Event) -> Result<()> {
        self.cut()?;
        let mut tail = self.tail.clone();
        let section = tail.section(&event).map_err(|error| Error::content(self.file.path(), error))?;
        self.file.append(&section)?;
        self.tail = tail;
        self.record.events.push(event);
        Ok(())
    }

    /// Truncates the file to the end of the record: what follows was cut short, or the board has lost it.
    fn cut(&mut self) -> Result<()> {
        if self.finished {
            self.file.replace(0, &prefix(None))?;
            self.finished = false;
        }
        if !self.level {
            self.file.go_on(self.tail.length)?;
            self.level = true;
        }
        Ok(())
    }

    /// Stores the number of events, so that a later truncation is detected, and makes the file survive a power failure.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.cut()?;
        self.file.replace(0, &prefix(Some(self.record.events.len() as u64)))?;
        self.finished = true;
        self.file.keep()
    }

    /// Brings a continued record into agreement with its board. Events that the board took but that were not recorded
    /// come from its journal. Without a journal, a single missing request is recovered by asking for its answer again.
    /// Recorded events that the board lost in a power failure are removed. `stream` is what the session learns,
    /// starting at `skip` if given.
    ///
    /// # Errors
    /// If the board's state does not match the record, or the session began with another stream. In that case the file
    /// is unchanged.
    pub fn catch_up(
        &mut self,
        board: &mut Board,
        image: &Image,
        status: &Status,
        stream: &Samples,
        skip: Option<usize>,
    ) -> Result<Lag> {
        let totals = Totals::from(status.counts);
        let mut whole = self.record.clone();
        let mut ended = !self.finished;
        if whole.totals() != totals {
            match self.record.until(totals, status.digest) {
                Some(kept) => {
                    ended = false;
                    whole.events.truncate(kept);
                }
                None => {
                    whole.events.extend(self.missing(board, totals, stream, skip)?);
                    // The answer to a repeated request says nothing about the sample that the board took.
                    if replay::with_core(&whole, image)?.target.first_difference.is_some() {
                        return Err(self.strange(status));
                    }
                }
            }
        }
        if (whole.totals(), whole.digest()) != (totals, status.digest) {
            return Err(self.strange(status));
        }
        let lag = match whole.ended_with(stream).filter(|_| ended && skip.is_none()) {
            Some(ended) => Lag::Ended(ended),
            None => Lag::None(
                position(whole.unended(), stream, skip).map_err(|what| Error::content(self.file.path(), what))?,
            ),
        };
        let missing = whole.events.split_off(self.record.events.len().min(whole.events.len()));
        if whole.events.len() < self.record.events.len() {
            let (_, mut tail) = begun(&whole, self.file.path())?;
            for event in &whole.events {
                tail.section(event).map_err(|error| Error::content(self.file.path(), error))?;
            }
            (self.record, self.tail, self.level) = (whole, tail, false);
        }
        missing.into_iter().try_for_each(|event| self.push(event))?;
        if let Lag::Ended(_) = lag {
            self.finish()?;
        }
        Ok(lag)
    }

    /// Returns unrecorded events of the board, as far as they can be recovered.
    fn missing(&self, board: &mut Board, totals: Totals, stream: &Samples, skip: Option<usize>) -> Result<Vec<Event>> {
        let Record { board: name, schema, image, .. } = &self.record;
        // A board's journal contains neither its whole state nor repeated refusals.
        let kept = |event: &Event| matches!(event, Event::Sample(_) | Event::End(_));
        if let Some(Journal { unit, bytes }) = board.journal()? {
            let Ok(journal) = Record::from_journal(name, *schema, *image, unit, &bytes) else { return Ok(Vec::new()) };
            let known = self.record.events.iter().filter(|event| kept(event)).count();
            return Ok(journal.events.into_iter().filter(kept).skip(known).collect());
        }
        let Totals { taken, sessions } = self.record.totals();
        let last = match skip {
            None => Some(sent(self.record.unended()).len()),
            // Either the session began at `skip`, or `skip` points behind the sample that it was sent last.
            Some(skip) => position(self.record.unended(), stream, Some(skip)).ok().map(|next| match next > skip {
                true => next,
                false => skip.saturating_sub(1),
            }),
        };
        // The board repeats its answer to its last request, unless it was reset since or learns from another client.
        if totals == (Totals { taken: taken + 1, sessions })
            && let Some((input, label)) = last.and_then(|last| stream.iter().nth(last))
            && let Ok(Ok(learnt)) = board.learn(taken, input, label)
        {
            return Ok(vec![Event::Sample(Lesson::new(input, label, &learnt))]);
        }
        if totals == (Totals { taken, sessions: sessions + 1 })
            && let Ok(ended) = board.end(sessions)
        {
            return Ok(vec![Event::End(ended)]);
        }
        Ok(Vec::new())
    }

    /// Error for a board whose state differs from the end of the record.
    fn strange(&self, status: &Status) -> Error {
        let (Totals { taken, sessions }, digest) = (self.record.totals(), self.record.digest());
        let board = Totals::from(status.counts);
        Error::content(
            self.file.path(),
            format!(
                "is not the record of this board: it ends with digest {digest:016x} after {taken} samples and {sessions} sessions, but the board is at {:016x} after {} and {}; fetch what the board kept with `graftage record`, or name another file",
                status.digest, board.taken, board.sessions
            ),
        )
    }
}

impl Record {
    /// Number of leading events after which the board has these totals and this digest, within the open session. A
    /// board that has taken no samples cannot be identified by its digest.
    fn until(&self, totals: Totals, digest: u64) -> Option<usize> {
        let ended = self.events.len() - self.unended().len();
        let mut part = self.clone();
        while part.events.len() > ended.max(1) {
            part.events.pop();
            if (part.totals(), part.digest()) == (totals, digest) {
                return Some(part.events.len());
            }
        }
        None
    }

    /// Returns how the last session ended, if the record ends with it and the session learnt this stream.
    fn ended_with(&self, stream: &Samples) -> Option<Ended> {
        let (last, before) = self.events.split_last()?;
        let Event::End(ended) = last else { return None };
        let session = before.iter().rposition(|event| matches!(event, Event::End(_))).map_or(0, |end| end + 1);
        let sent = sent(&before[session..]);
        (sent.len() == stream.len() && differing(&sent, stream, 0).is_none()).then_some(*ended)
    }
}

/// Returns the index in `stream` at which a session continues after it was sent the recorded samples. Without `skip`,
/// these must be the ones that the stream begins with. With `skip`, they are compared from there on; if they differ,
/// the session continues at `skip`.
///
/// # Errors
/// If the session was sent other samples and `skip` does not say where to continue.
pub fn position(session: &[Event], stream: &Samples, skip: Option<usize>) -> std::result::Result<usize, String> {
    let sent = sent(session);
    match (differing(&sent, stream, skip.unwrap_or(0)), skip) {
        (None, skip) => Ok(skip.unwrap_or(0) + sent.len()),
        (Some(_), Some(skip)) => Ok(skip),
        (Some(first), None) => {
            let what = match first > stream.len() {
                true => format!("{} samples were sent, but this stream has {}", sent.len(), stream.len()),
                false => format!("sample {first} differs"),
            };
            Err(format!(
                "its session began with another stream: {what}; use --skip N to continue after N samples of this stream"
            ))
        }
    }
}

/// Samples that were sent to a board.
fn sent(events: &[Event]) -> Vec<(&[f32], u32)> {
    let sample = |event| match event {
        &Event::Sample(Lesson { ref input, label, .. }) => Some((input.as_slice(), label)),
        Event::Refused(refused) => Some((refused.input.as_slice(), refused.label)),
        Event::State(_) | Event::End(_) | Event::Gap => None,
    };
    events.iter().filter_map(sample).collect()
}

/// Number, from 1, of the first sent sample that differs from the stream starting at `from`.
fn differing(sent: &[(&[f32], u32)], stream: &Samples, from: usize) -> Option<usize> {
    let same = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    let mut stream = stream.iter().skip(from);
    let other = |(input, label): &(&[f32], u32)| !stream.next().is_some_and(|s| s.1 == *label && same(s.0, input));
    sent.iter().position(other).map(|index| index + 1)
}
