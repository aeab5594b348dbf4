//! A record that grows in its file while a board learns, and goes on in a later session.

use crate::board::Board;
use crate::data::Samples;
use crate::error::{Error, Result};
use crate::files::Growing;
use crate::record::{Event, Found, Lesson, Record, Tail, begun, parse, prefix};
use crate::replay;
use graftage_core::image::Image;
use graftage_link::{Ended, Hello, Status};

/// The place of a record: a new file, or one with a record that can go on.
#[derive(Debug)]
pub struct Place {
    file: Growing,
    found: Option<Found>,
}

/// A record in its file: whole up to the last event that was [pushed](Recorder::push), whatever ends the process.
#[derive(Debug)]
pub struct Recorder {
    file: Growing,
    record: Record,
    tail: Tail,
    /// Whether an earlier run began it.
    goes_on: bool,
    /// Whether the file says how many events there are.
    finished: bool,
    /// Whether the file ends where the record does.
    level: bool,
}

/// How a record stands beside the board that it is of.
#[derive(Clone, PartialEq, Debug)]
pub enum Lag {
    /// The board has taken what is recorded; so many samples of the stream came in its session, which has not ended.
    None(usize),
    /// The session in which the board took all of the stream has ended.
    Ended(Ended),
}

impl Place {
    /// Looks at what is there.
    ///
    /// # Errors
    /// Where the file cannot be read, or is no record or a damaged one.
    pub fn open(file: Growing) -> Result<Self> {
        let found = file.there()?.map(|bytes| parse(&bytes)).transpose();
        let wrong = |what: String| {
            let remedy = "--force replaces it, or name another output";
            Error::content(file.path(), format!("it is there already, and cannot go on: {what}; {remedy}"))
        };
        let found = found.map_err(wrong)?;
        match found.as_ref().and_then(|found| found.damage) {
            Some(damage) => Err(wrong(damage.to_string())),
            None => Ok(Self { file, found }),
        }
    }

    /// A record there of the board that says this of itself.
    ///
    /// # Errors
    /// Where a record that is there is of another network or image, or the file cannot be written. It is as it was then.
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
                false => "the record of a board with another network".into(),
                true => format!(
                    "the record of a board with another image: its checksum is {:08x}, the board's {image:08x}",
                    record.image
                ),
            };
            return Err(Error::content(self.file.path(), format!("{what}; name another output")));
        }
        Ok(Recorder { file: self.file, record, tail, goes_on: true, finished, level: false })
    }
}

impl Recorder {
    /// Whether it goes on with what an earlier run has recorded.
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
    /// Where the file cannot be written. What came before is whole.
    pub fn push(&mut self, event: Event) -> Result<()> {
        self.cut()?;
        let mut tail = self.tail.clone();
        let section = tail.section(&event).map_err(|error| Error::content(self.file.path(), error))?;
        self.file.append(&section)?;
        self.tail = tail;
        self.record.events.push(event);
        Ok(())
    }

    /// Lets the file end where the record does: what follows was cut short, or is not the board's any more.
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

    /// Says in the file that this is all, so that one that is cut later is found out, and lets it survive a power cut.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.cut()?;
        self.file.replace(0, &prefix(Some(self.record.events.len() as u64)))?;
        self.finished = true;
        self.file.keep()
    }

    /// Brings a record that goes on level with its board. What the board did and could not be recorded any more comes
    /// from its journal or, one request behind, by asking for the last answer once more. What is recorded and the board
    /// has lost, with its power, is not recorded any more. `stream` is what the session learns; with `skip`, from there on.
    ///
    /// # Errors
    /// Where the board's state is none of the record's, or the session began with another stream. The file is as it was
    /// then.
    pub fn catch_up(
        &mut self,
        board: &mut Board,
        image: &Image,
        status: &Status,
        stream: &Samples,
        skip: Option<usize>,
    ) -> Result<Lag> {
        let counts = (status.counts.taken, status.counts.sessions());
        let mut whole = self.record.clone();
        let mut ended = !self.finished;
        if whole.counts() != counts {
            match self.record.until(counts, status.digest) {
                Some(kept) => {
                    ended = false;
                    whole.events.truncate(kept);
                }
                None => {
                    whole.events.extend(self.missing(board, counts, stream, skip)?);
                    // The answer to a request that is asked again says nothing of the sample that it was for.
                    if replay::with_core(&whole, image)?.target.first_difference.is_some() {
                        return Err(self.strange(status));
                    }
                }
            }
        }
        if (whole.counts(), whole.digest()) != (counts, status.digest) {
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

    /// Events of the board that are not recorded, where they can be had.
    fn missing(
        &self,
        board: &mut Board,
        counts: (u64, u32),
        stream: &Samples,
        skip: Option<usize>,
    ) -> Result<Vec<Event>> {
        let Record { board: name, schema, image, .. } = &self.record;
        // A board keeps neither its whole state nor, twice, what it refused.
        let kept = |event: &Event| matches!(event, Event::Sample(_) | Event::End(_));
        if let Some((unit, bytes)) = board.journal()? {
            let Ok(journal) = Record::from_journal(name, *schema, *image, unit, &bytes) else { return Ok(Vec::new()) };
            let known = self.record.events.iter().filter(|event| kept(event)).count();
            return Ok(journal.events.into_iter().filter(kept).skip(known).collect());
        }
        let (taken, sessions) = self.record.counts();
        let last = match skip {
            None => Some(sent(self.record.unended()).len()),
            // Where the session began there, or behind what it was sent last.
            Some(skip) => position(self.record.unended(), stream, Some(skip)).ok().map(|next| match next > skip {
                true => next,
                false => skip.saturating_sub(1),
            }),
        };
        // To the request that it had last it answers as it did, unless it was reset since or learns from somebody else.
        if counts == (taken + 1, sessions)
            && let Some((input, label)) = last.and_then(|last| stream.iter().nth(last))
            && let Ok(Ok(learnt)) = board.learn(taken, input, label)
        {
            return Ok(vec![Event::Sample(Lesson::new(input, label, &learnt))]);
        }
        if counts == (taken, sessions + 1)
            && let Ok(ended) = board.end(sessions)
        {
            return Ok(vec![Event::End(ended)]);
        }
        Ok(Vec::new())
    }

    /// The board is not where the record ends.
    fn strange(&self, status: &Status) -> Error {
        let ((taken, sessions), digest) = (self.record.counts(), self.record.digest());
        let counts = status.counts;
        Error::content(
            self.file.path(),
            format!(
                "not the record of this board: it ends with digest {digest:016x} after {taken} samples and {sessions} sessions, the board stands at {:016x} after {} and {}; `graftage record` fetches what the board kept, or name another file",
                status.digest,
                counts.taken,
                counts.sessions()
            ),
        )
    }
}

impl Record {
    /// Number of its first events after which its board has taken so many samples and has that digest, in the session that
    /// has not ended. A board that has taken none is not known by its digest.
    fn until(&self, counts: (u64, u32), digest: u64) -> Option<usize> {
        let ended = self.events.len() - self.unended().len();
        let mut part = self.clone();
        while part.events.len() > ended.max(1) {
            part.events.pop();
            if (part.counts(), part.digest()) == (counts, digest) {
                return Some(part.events.len());
            }
        }
        None
    }

    /// How its last session has ended, where that is all that follows, and where it learnt this stream.
    fn ended_with(&self, stream: &Samples) -> Option<Ended> {
        let (last, before) = self.events.split_last()?;
        let Event::End(ended) = last else { return None };
        let session = before.iter().rposition(|event| matches!(event, Event::End(_))).map_or(0, |end| end + 1);
        let sent = sent(&before[session..]);
        (sent.len() == stream.len() && differing(&sent, stream, 0).is_none()).then_some(*ended)
    }
}

/// Samples of a stream behind which a session goes on that was sent these: behind those, which it begins with. With `skip`,
/// the stream begins there.
///
/// # Errors
/// Where the session was sent others, and `skip` does not say where to go on.
pub fn position(session: &[Event], stream: &Samples, skip: Option<usize>) -> std::result::Result<usize, String> {
    let sent = sent(session);
    match (differing(&sent, stream, skip.unwrap_or(0)), skip) {
        (None, skip) => Ok(skip.unwrap_or(0) + sent.len()),
        (Some(_), Some(skip)) => Ok(skip),
        (Some(first), None) => {
            let what = match first > stream.len() {
                true => format!("it was sent {} samples, this stream has {}", sent.len(), stream.len()),
                false => format!("sample {first} is another one"),
            };
            Err(format!(
                "its session began with another stream: {what}; --skip N says after how many samples of this stream to go on"
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

/// The first sample, from 1, in which what was sent is not what a stream has from a sample on.
fn differing(sent: &[(&[f32], u32)], stream: &Samples, from: usize) -> Option<usize> {
    let same = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    let mut stream = stream.iter().skip(from);
    let other = |(input, label): &(&[f32], u32)| !stream.next().is_some_and(|s| s.1 == *label && same(s.0, input));
    sent.iter().position(other).map(|index| index + 1)
}
