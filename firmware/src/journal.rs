//! What a learner consumed and what became of it, in a log behind the slots of a store.
//!
//! Entries ([`graftage_link::journal`]) are appended, each before it is answered, and nothing is erased until the learner starts
//! from another image. A start reads them all: what was learnt after the state that it resumes is learnt again. What a cut
//! may have touched is never written again before an erase, and the entry that a start takes for the last is written once
//! more before the next one, as it may read otherwise another time. `docs/persistence.md` says why no cut does harm.

use crate::store::{CHUNK, Keep, Program, Store, StoreError};
use core::num::NonZeroU32;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use graftage_core::adapt::STEPS;
use graftage_core::error::Refusal;
use graftage_core::image::{Sink, Source};
use graftage_link::Learnt;
use graftage_link::journal::{Entry, PIECE, Past, Piece, SHORT, largest, length, open, read, seal};
use heapless::Vec;

/// Bytes of memory for any entry about a sample of so many numbers, whatever the flash's sizes.
pub const fn entry(inputs: usize) -> usize {
    largest(inputs, STEPS).next_multiple_of(CHUNK)
}

/// What becomes of an adaptation whose journal is full or fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// It stops: a sample that there may be no room for is refused as [`Refusal::Unrecorded`].
    Stop,
    /// It goes on, and a gap is marked, the last entry.
    Gap,
}

/// What a learner does again after a start.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Again<'a> {
    /// It takes a labelled sample.
    Sample(&'a [f32], u32),
    /// It ends a session.
    End,
}

/// What notes what a learner consumes, or does not.
pub trait Note {
    /// A learner starts from the image with this checksum, in this life, and with this digest of its state. Says whether the
    /// journal that is there is of that start; where it is not, nothing is noted before one is [begun](Self::renew).
    fn begin(&mut self, image: u32, life: u32, digest: u64) -> bool {
        let _ = (image, life, digest);
        true
    }

    /// Begins a journal of such a start, in place of what is there.
    ///
    /// # Errors
    /// Where nothing can be noted.
    fn renew(&mut self, image: u32, life: u32, digest: u64) -> Result<(), StoreError> {
        let _ = (image, life, digest);
        Ok(())
    }

    /// Whether a labelled sample may be taken, whose learning takes so many steps.
    ///
    /// # Errors
    /// [`Refusal::Unrecorded`].
    fn ready(&mut self, steps: u32) -> Result<(), Refusal> {
        let _ = steps;
        Ok(())
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// Where there is no room for it, or the flash fails; then there is a gap, and what follows is not noted.
    fn note(&mut self, entry: &Entry<&[f32], &Learnt>) -> Result<(), StoreError> {
        let _ = entry;
        Ok(())
    }

    /// Tells, after [`begin`](Self::begin), what was noted after the first `known` samples and ends of sessions, in order;
    /// returns how many of them there were.
    ///
    /// # Errors
    /// [`StoreError::Gap`] where not all of it is there, or `again` does not take it; what follows is not noted.
    fn recall(&mut self, known: u64, again: &mut dyn FnMut(Again) -> bool) -> Result<u64, StoreError> {
        let _ = (known, again);
        Ok(0)
    }

    /// The bytes of the journal from one of them on.
    fn piece(&mut self, first: u32) -> Piece {
        let _ = first;
        Piece::default()
    }
}

/// Notes nothing.
impl Note for () {}

/// Notes nothing.
impl<F> Note for Option<Store<F>> {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// There is no room for a journal.
    Absent,
    /// It was begun in this run, or all of it was read.
    Open,
    /// It has a gap.
    Closed,
}

/// A store, and behind it in the same flash a journal of samples of up to I numbers.
///
/// N is [`entry`]`(I)` or more.
#[derive(Debug)]
pub struct Journal<F, const I: usize, const N: usize> {
    store: Store<F>,
    region: Range<u32>,
    full: Full,
    stage: Stage,
    /// Checksum of the image.
    image: u32,
    /// Where the next entry goes.
    at: u32,
    /// The newest entry, and its number.
    newest: Vec<u8, N>,
    number: u32,
    /// Whether it was written in this run.
    settled: bool,
}

impl<F: NorFlash, const I: usize, const N: usize> Journal<F, I, N> {
    /// Entries begin at multiples of it.
    const UNIT: u32 = {
        let least = if F::READ_SIZE > F::WRITE_SIZE { F::READ_SIZE } else { F::WRITE_SIZE };
        assert!(N >= entry(I), "the memory of an entry");
        assert!(CHUNK.is_multiple_of(PIECE) && PIECE.is_multiple_of(F::READ_SIZE) && F::ERASE_SIZE >= least);
        if least > 16 { least as u32 } else { 16 }
    };
    /// An entry may stand behind so many units that read erased.
    const QUIET: u32 = N as u32 / Self::UNIT + 8;

    /// A journal in a region of the store's flash, in bytes from its start, outside of the store's own. Writes nothing; where the
    /// region has no block, nothing is noted.
    ///
    /// # Errors
    /// [`StoreError::Region`] where it is not made of erase blocks of the flash.
    pub fn new(mut store: Store<F>, region: Range<u32>, full: Full) -> Result<Self, StoreError> {
        let block = F::ERASE_SIZE as u32;
        let aligned = region.start.is_multiple_of(block) && region.end.is_multiple_of(block);
        if !aligned || region.end as usize > store.flash().capacity() {
            return Err(StoreError::Region);
        }
        let (at, newest) = (region.start, Vec::new());
        Ok(Self { store, region, full, stage: Stage::Absent, image: 0, at, newest, number: 0, settled: false })
    }

    /// Samples that a region of so many bytes has room for, each of which brings so many steps at most. A start that goes on
    /// costs no more than a sample and two units.
    pub const fn capacity(region: usize, steps: usize) -> usize {
        let (short, unit) = (SHORT.next_multiple_of(Self::UNIT as usize), Self::UNIT as usize);
        region.saturating_sub(3 * short) / largest(I, steps).next_multiple_of(unit)
    }

    /// Bytes of the journal's region.
    pub fn room(&self) -> usize {
        self.region.len()
    }

    /// The store.
    pub fn store(&mut self) -> &mut Store<F> {
        &mut self.store
    }

    /// Finds the first whole entry of the image from `at` on, and where it ends. Where there is none: where the next may be
    /// written.
    fn seek(&mut self, from: u32, entry: &mut Vec<u8, N>) -> Result<u32, u32> {
        let (mut at, mut touched, mut quiet) = (from, from, 0);
        while quiet <= Self::QUIET && at < self.region.end {
            let mut unit = [0xff; CHUNK];
            let unit = unit.get_mut(..Self::UNIT as usize).unwrap_or_default();
            // What cannot be read has been written to.
            let erased = self.store.flash().read(at, unit).is_ok() && unit.iter().all(|byte| *byte == 0xff);
            if let Some(length) = length(self.image, unit).filter(|length| self.load(at, *length, entry)) {
                return Ok(at.saturating_add(Self::padded(length)));
            }
            at = at.saturating_add(Self::UNIT);
            (touched, quiet) = if erased { (touched, quiet.saturating_add(1)) } else { (at, 0) };
        }
        // The one unit more that a cut may have touched.
        Err(touched.saturating_add(Self::UNIT))
    }

    /// Reads a whole entry.
    fn load(&mut self, at: u32, length: usize, entry: &mut Vec<u8, N>) -> bool {
        let padded = Self::padded(length);
        let inside = at.saturating_add(padded) <= self.region.end && entry.resize(padded as usize, 0).is_ok();
        let whole = inside && self.store.flash().read(at, entry).is_ok() && open(self.image, entry).is_some();
        entry.truncate(length);
        whole
    }

    fn padded(length: usize) -> u32 {
        (length as u32).next_multiple_of(Self::UNIT)
    }

    /// Writes an entry into memory.
    fn seal(&self, number: u32, entry: &Entry<&[f32], &Learnt>, sealed: &mut Vec<u8, N>) -> Option<()> {
        // There is room for so many.
        let _ = sealed.resize(N, 0);
        let length = seal(self.image, number, entry, sealed)?;
        sealed.truncate(length);
        Some(())
    }

    /// Appends an entry and leaves room for so many short ones.
    fn append(&mut self, entry: &Entry<&[f32], &Learnt>, reserve: u32) -> Result<(), StoreError> {
        let number = if self.newest.is_empty() { 0 } else { self.number.wrapping_add(1) };
        let mut sealed = Vec::new();
        self.seal(number, entry, &mut sealed).ok_or(StoreError::Contents)?;
        self.check(sealed.len(), reserve)?;
        self.settle()?;
        self.write(&sealed)?;
        (self.newest, self.number) = (sealed, number);
        Ok(())
    }

    /// Writes the newest entry once more where an earlier run wrote it.
    fn settle(&mut self) -> Result<(), StoreError> {
        if !self.settled {
            let newest = core::mem::take(&mut self.newest);
            let written = self.write(&newest);
            self.newest = newest;
            written?;
            self.settled = true;
        }
        Ok(())
    }

    /// Whether there is room for an entry of so many bytes, for what is to be written before it, and for short ones behind it.
    fn check(&self, length: usize, reserve: u32) -> Result<(), StoreError> {
        let before = if self.settled { 0 } else { Self::padded(self.newest.len()) };
        let needed = before.saturating_add(Self::padded(length)).saturating_add(reserve * Self::padded(SHORT));
        let room = self.region.end.saturating_sub(self.at) as usize;
        if needed as usize > room { Err(StoreError::TooLarge { length, room }) } else { Ok(()) }
    }

    /// Writes a sealed entry and reads it back; where that fails, a unit further on.
    fn write(&mut self, sealed: &[u8]) -> Result<(), StoreError> {
        let length = Self::padded(sealed.len());
        for _ in 0..Self::QUIET {
            let (at, end) = (self.at, self.at.saturating_add(length));
            if end > self.region.end {
                return Err(StoreError::TooLarge { length: length as usize, room: 0 });
            }
            let mut program = Program::new(self.store.flash(), at, sealed.len());
            let written = program.put(sealed).and_then(|()| program.flush());
            let mut found = Vec::new();
            if written.is_some() && self.load(at, sealed.len(), &mut found) && found == sealed {
                self.at = end;
                return Ok(());
            }
            self.at = at.saturating_add(Self::UNIT);
        }
        Err(StoreError::Unverified)
    }

    /// Forgets what is known of it.
    fn clear(&mut self, image: u32, stage: Stage) {
        (self.image, self.stage, self.at) = (image, stage, self.region.start);
        (self.number, self.settled) = (0, false);
        self.newest.clear();
    }

    /// Marks that something is missing, where that can be; returns why.
    #[inline(never)]
    fn close(&mut self, why: StoreError) -> StoreError {
        self.stage = Stage::Closed;
        let _ = self.append(&Entry::Gap, 0);
        why
    }
}

impl<F: NorFlash, const I: usize, const N: usize> Note for Option<Journal<F, I, N>> {
    fn begin(&mut self, image: u32, life: u32, digest: u64) -> bool {
        let Some(journal) = self.as_mut().filter(|journal| !journal.region.is_empty()) else { return true };
        journal.clear(image, Stage::Closed);
        let (mut found, mut start) = (Vec::new(), Vec::new());
        let own = journal.seek(journal.at, &mut found).is_ok()
            && journal.seal(0, &Entry::Start { digest, life }, &mut start).is_some()
            && found == start;
        if own {
            // As it was read now: after a cut it may read otherwise when all is read.
            (journal.stage, journal.newest) = (Stage::Open, start);
        }
        own
    }

    fn renew(&mut self, image: u32, life: u32, digest: u64) -> Result<(), StoreError> {
        let Some(journal) = self.as_mut().filter(|journal| !journal.region.is_empty()) else { return Ok(()) };
        journal.clear(image, Stage::Open);
        journal.settled = true;
        let Range { start, end } = journal.region;
        let erased = journal.store.flash().erase(start, end).map_err(|_| StoreError::Flash);
        erased.and_then(|()| journal.append(&Entry::Start { digest, life }, 1)).map_err(|why| journal.close(why))
    }

    fn ready(&mut self, steps: u32) -> Result<(), Refusal> {
        match self {
            Some(Journal { full: Full::Stop, stage: Stage::Closed, .. }) => Err(Refusal::Unrecorded),
            Some(journal @ Journal { full: Full::Stop, stage: Stage::Open, .. }) => {
                journal.check(largest(I, steps as usize), 2).map_err(|_| Refusal::Unrecorded)
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, entry: &Entry<&[f32], &Learnt>) -> Result<(), StoreError> {
        let Some(journal @ Journal { stage: Stage::Open, .. }) = self else { return Ok(()) };
        let reserve = match entry {
            Entry::Sample { .. } | Entry::Refused { .. } => 2,
            _ => 1,
        };
        journal.append(entry, reserve).map_err(|why| journal.close(why))
    }

    fn recall(&mut self, known: u64, again: &mut dyn FnMut(Again) -> bool) -> Result<u64, StoreError> {
        let Some(journal @ Journal { stage: Stage::Open, .. }) = self else { return Ok(0) };
        if journal.settled {
            // It was begun anew.
            return if known == 0 { Ok(0) } else { Err(journal.close(StoreError::Gap)) };
        }
        let mut course = Course { known, ..Course::default() };
        let (mut entry, mut from) = (Vec::new(), journal.region.start);
        journal.at = loop {
            from = match journal.seek(from, &mut entry) {
                Ok(end) => end,
                Err(end) => break end,
            };
            let number = open(journal.image, &entry).map_or(0, |frame| frame.number);
            if number > journal.number {
                course.pass::<I>(journal.image, &journal.newest, again);
            }
            core::mem::swap(&mut journal.newest, &mut entry);
            journal.number = number;
        };
        course.pass::<I>(journal.image, &journal.newest, again);
        match course {
            Course { gap: true, .. } => journal.stage = Stage::Closed,
            Course { broken: false, past, .. } if past >= known => {}
            _ => return Err(journal.close(StoreError::Gap)),
        }
        Ok(course.past.saturating_sub(known))
    }

    fn piece(&mut self, first: u32) -> Piece {
        let mut piece = Piece::default();
        if let (Some(journal @ Journal { stage: Stage::Open, .. }), 0) = (self.as_mut(), first) {
            // What is handed out is what was learnt again; without room for that, what can be read.
            let _ = journal.settle();
        }
        let Some(Journal { store, region, at: end, stage: Stage::Open | Stage::Closed, .. }) = self else {
            return piece;
        };
        piece.unit = NonZeroU32::new(Journal::<F, I, N>::UNIT);
        let at = region.start.saturating_add(first);
        let length = end.min(&mut region.end).saturating_sub(at).min(PIECE as u32);
        // There is room for so many.
        let _ = piece.bytes.resize(length as usize, 0);
        let units = piece.bytes.chunks_mut(Journal::<F, I, N>::UNIT as usize);
        for (at, unit) in (at..).step_by(Journal::<F, I, N>::UNIT as usize).zip(units) {
            // What cannot be read is what a cut left: no entry.
            let _ = store.flash().read(at, unit);
        }
        piece
    }
}

/// What was noted, read from the start on.
#[derive(Default)]
struct Course {
    /// Samples and ends of sessions that need not be done again.
    known: u64,
    /// Those that have passed.
    past: u64,
    /// Entries that have passed.
    entries: u64,
    /// A gap is marked.
    gap: bool,
    /// An entry is missing, or cannot be done again.
    broken: bool,
}

impl Course {
    /// An entry counts now that one with a larger number, or none, follows. One that passed before is a copy.
    fn pass<const I: usize>(&mut self, image: u32, entry: &[u8], again: &mut dyn FnMut(Again) -> bool) {
        let Some(frame) = open(image, entry) else { return };
        if u64::from(frame.number) < self.entries || self.broken || self.gap {
            return;
        }
        self.broken = u64::from(frame.number) > self.entries;
        self.entries = self.entries.saturating_add(1);
        let entry = match read::<Past<Vec<f32, I>>>(frame.content) {
            Some(Past::Start | Past::Refused) => return,
            Some(Past::Gap) => return self.gap = true,
            None => return self.broken = true,
            Some(entry) => entry,
        };
        if self.past >= self.known && !self.broken {
            self.broken = !match &entry {
                Past::Sample { label, sample } => again(Again::Sample(sample, *label)),
                _ => again(Again::End),
            };
        }
        self.past = self.past.saturating_add(1);
    }
}

impl<F: NorFlash, const I: usize, const N: usize> Keep for Option<Journal<F, I, N>> {
    fn kept(&mut self) -> Option<(u64, impl Source)> {
        self.as_mut()?.store.newest()
    }
    fn slots(&mut self) -> [Option<u64>; 2] {
        self.as_mut().map_or([None; 2], |journal| journal.store.slots())
    }
    fn keep(&mut self, contents: &mut dyn FnMut(&mut dyn Sink) -> Option<()>) -> Option<Result<u64, StoreError>> {
        self.as_mut().map(|journal| journal.store.save(contents))
    }
}
