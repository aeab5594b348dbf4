//! Journal of what a learner took and of the results, stored as a log behind the slots of a store.
//!
//! Entries ([`graftage_link::journal`]) are appended, each before its request is answered. Nothing is erased until the
//! learner starts from another image or is reset. A start reads all entries and learns again what was learnt after the
//! state that it resumes. Flash that a cut may have touched is never written again before an erase. The last entry that
//! a start finds may read differently another time, so it is written once more before the next one.
//! `docs/persistence.md` explains why no cut does harm.

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

/// Returns the size of a buffer, in bytes, for any entry with a sample of `inputs` numbers, whatever the sizes of the
/// flash.
pub const fn entry(inputs: usize) -> usize {
    largest(inputs, STEPS).next_multiple_of(CHUNK)
}

/// Policy for an adaptation whose journal is full or fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// Adaptation stops: a sample for which there may be no room is refused as [`Refusal::Unrecorded`].
    Stop,
    /// Adaptation goes on, and a gap is marked as the last entry.
    Gap,
}

/// Event that a learner repeats after a start.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Again<'a> {
    /// Taking of a labelled sample, with its label.
    Sample(&'a [f32], u32),
    /// End of a session.
    End,
}

/// Record of what a learner takes, or a stand-in that records nothing.
pub trait Note {
    /// Opens the journal after a learner has started from the image with checksum `image`, in life `life`, in a state
    /// with digest `digest`. Returns whether the existing journal belongs to that start. If not, nothing is noted until
    /// a journal is [begun](Self::renew).
    fn begin(&mut self, image: u32, life: u32, digest: u64) -> bool {
        let _ = (image, life, digest);
        true
    }

    /// Replaces the existing journal by a new one for such a start.
    ///
    /// # Errors
    /// If nothing can be noted.
    fn renew(&mut self, image: u32, life: u32, digest: u64) -> Result<(), StoreError> {
        let _ = (image, life, digest);
        Ok(())
    }

    /// Checks that a labelled sample with `steps` steps may be taken.
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
    /// If there is no room for the entry, or the flash fails; then there is a gap, and what follows is not noted.
    fn note(&mut self, entry: &Entry<&[f32], &Learnt>) -> Result<(), StoreError> {
        let _ = entry;
        Ok(())
    }

    /// Passes to `again`, after [`begin`](Self::begin), everything noted after the first `known` samples and ends of
    /// sessions, in order. Returns the number of samples and ends passed.
    ///
    /// # Errors
    /// [`StoreError::Gap`] if the journal is incomplete or `again` returns `false`; what follows is not noted.
    fn recall(&mut self, known: u64, again: &mut dyn FnMut(Again) -> bool) -> Result<u64, StoreError> {
        let _ = (known, again);
        Ok(0)
    }

    /// Returns bytes of the journal, starting at `first`.
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
    /// The journal was begun in this run, or was read completely.
    Open,
    /// The journal has a gap.
    Closed,
}

/// Store with a journal behind it in the same flash, for samples of up to I numbers.
///
/// N is at least [`entry`]`(I)`.
#[derive(Debug)]
pub struct Journal<F, const I: usize, const N: usize> {
    store: Store<F>,
    region: Range<u32>,
    full: Full,
    stage: Stage,
    /// Checksum of the image.
    image: u32,
    /// Offset of the next entry in the flash, in bytes.
    at: u32,
    /// Newest entry, sealed, followed by its number.
    newest: Vec<u8, N>,
    number: u32,
    /// True if the newest entry was written in this run.
    settled: bool,
}

impl<F: NorFlash, const I: usize, const N: usize> Journal<F, I, N> {
    /// Spacing of the positions at which entries may begin, in bytes.
    const UNIT: u32 = {
        let least = if F::READ_SIZE > F::WRITE_SIZE { F::READ_SIZE } else { F::WRITE_SIZE };
        assert!(N >= entry(I), "the memory of an entry");
        assert!(CHUNK.is_multiple_of(PIECE) && PIECE.is_multiple_of(F::READ_SIZE) && F::ERASE_SIZE >= least);
        if least > 16 { least as u32 } else { 16 }
    };
    /// Maximum number of erased units before an entry; a search gives up after more.
    const QUIET: u32 = N as u32 / Self::UNIT + 8;

    /// Creates a journal in a region of the store's flash, given in bytes from the start of the flash and outside the
    /// store's own region. Writes nothing. If the region has no block, nothing is noted.
    ///
    /// # Errors
    /// [`StoreError::Region`] if the region is not made of erase blocks of the flash.
    pub fn new(mut store: Store<F>, region: Range<u32>, full: Full) -> Result<Self, StoreError> {
        let block = F::ERASE_SIZE as u32;
        let aligned = region.start.is_multiple_of(block) && region.end.is_multiple_of(block);
        if !aligned || region.end as usize > store.flash().capacity() {
            return Err(StoreError::Region);
        }
        let (at, newest) = (region.start, Vec::new());
        Ok(Self { store, region, full, stage: Stage::Absent, image: 0, at, newest, number: 0, settled: false })
    }

    /// Returns the number of samples, with at most `steps` steps each, that a region of `region` bytes has room for.
    /// Each start that resumes takes at most the space of one sample and two units.
    pub const fn capacity(region: usize, steps: usize) -> usize {
        let (short, unit) = (SHORT.next_multiple_of(Self::UNIT as usize), Self::UNIT as usize);
        region.saturating_sub(3 * short) / largest(I, steps).next_multiple_of(unit)
    }

    /// Returns the size of the journal's region, in bytes.
    pub fn room(&self) -> usize {
        self.region.len()
    }

    /// Returns the store.
    pub fn store(&mut self) -> &mut Store<F> {
        &mut self.store
    }

    /// Finds the first intact entry of the image from `from` on, loads it into `entry` and returns the offset behind
    /// it. If there is none, returns the offset at which the next entry may be written as the error.
    fn seek(&mut self, from: u32, entry: &mut Vec<u8, N>) -> Result<u32, u32> {
        let (mut at, mut touched, mut quiet) = (from, from, 0);
        while quiet <= Self::QUIET && at < self.region.end {
            let mut unit = [0xff; CHUNK];
            let unit = unit.get_mut(..Self::UNIT as usize).unwrap_or_default();
            // A unit that cannot be read has been written to.
            let erased = self.store.flash().read(at, unit).is_ok() && unit.iter().all(|byte| *byte == 0xff);
            if let Some(length) = length(self.image, unit).filter(|length| self.load(at, *length, entry)) {
                return Ok(at.saturating_add(Self::padded(length)));
            }
            at = at.saturating_add(Self::UNIT);
            (touched, quiet) = if erased { (touched, quiet.saturating_add(1)) } else { (at, 0) };
        }
        // A cut may have touched one more unit.
        Err(touched.saturating_add(Self::UNIT))
    }

    /// Reads an entry of `length` bytes at `at`; returns whether it is complete and intact.
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

    /// Encodes an entry into `sealed`.
    fn seal(&self, number: u32, entry: &Entry<&[f32], &Learnt>, sealed: &mut Vec<u8, N>) -> Option<()> {
        // There is room for N bytes.
        let _ = sealed.resize(N, 0);
        let length = seal(self.image, number, entry, sealed)?;
        sealed.truncate(length);
        Some(())
    }

    /// Appends an entry and leaves room for `reserve` short ones.
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

    /// Writes the newest entry once more if an earlier run wrote it.
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

    /// Checks that there is room for an entry of `length` bytes, for the entry to be rewritten before it, and for
    /// `reserve` short ones behind it.
    fn check(&self, length: usize, reserve: u32) -> Result<(), StoreError> {
        let before = if self.settled { 0 } else { Self::padded(self.newest.len()) };
        let needed = before.saturating_add(Self::padded(length)).saturating_add(reserve * Self::padded(SHORT));
        let room = self.region.end.saturating_sub(self.at) as usize;
        if needed as usize > room { Err(StoreError::TooLarge { length, room }) } else { Ok(()) }
    }

    /// Writes a sealed entry and reads it back; if that fails, tries again one unit further on.
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

    /// Resets the journal's state in RAM.
    fn clear(&mut self, image: u32, stage: Stage) {
        (self.image, self.stage, self.at) = (image, stage, self.region.start);
        (self.number, self.settled) = (0, false);
        self.newest.clear();
    }

    /// Closes the journal, marks the gap if possible, and returns `why`.
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
            // Keep the entry as it reads now: after a cut it may read differently when the whole journal is read.
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
            // The journal was begun anew in this run.
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
            // Settle the newest entry, so that the bytes handed out are those that were learnt again. If there is no
            // room for that, hand out what can be read.
            let _ = journal.settle();
        }
        let Some(Journal { store, region, at: end, stage: Stage::Open | Stage::Closed, .. }) = self else {
            return piece;
        };
        piece.unit = NonZeroU32::new(Journal::<F, I, N>::UNIT);
        let at = region.start.saturating_add(first);
        let length = end.min(&mut region.end).saturating_sub(at).min(PIECE as u32);
        // There is room for PIECE bytes.
        let _ = piece.bytes.resize(length as usize, 0);
        let units = piece.bytes.chunks_mut(Journal::<F, I, N>::UNIT as usize);
        for (at, unit) in (at..).step_by(Journal::<F, I, N>::UNIT as usize).zip(units) {
            // A unit that cannot be read is the remnant of a cut and holds no entry.
            let _ = store.flash().read(at, unit);
        }
        piece
    }
}

/// Progress of replaying a journal from its start.
#[derive(Default)]
struct Course {
    /// Number of samples and ends of sessions that need not be repeated.
    known: u64,
    /// Number of samples and ends of sessions passed so far.
    past: u64,
    /// Number of entries passed so far.
    entries: u64,
    /// True if a gap is marked.
    gap: bool,
    /// True if an entry is missing or cannot be repeated.
    broken: bool,
}

impl Course {
    /// Processes an entry, once an entry with a larger number, or none, follows it. An entry whose number has passed
    /// before is a copy and is skipped.
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
