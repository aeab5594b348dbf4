//! Bytes that survive a power cut at any moment, in two slots of a NOR flash.
//!
//! ```text
//! offset  bytes, little-endian
//! 0       header: "GRFSLOT" and the version of the format
//! 8       generation, u64               grows with every save
//! 16      length of the contents, u32
//! 20      CRC-32/ISO-HDLC of the contents
//! 24      padding, 0xff
//! 28      CRC-32/ISO-HDLC of the 28 bytes before it
//! U       the header once more, where U is 32, WRITE_SIZE or READ_SIZE, whichever is largest
//! 2U      contents
//! ```
//!
//! A save erases the blocks that it needs of the slot that is not kept, writes the contents and reads them back, writes the
//! first header and reads it back, then writes the second. A slot is whole with either header, and kept, once the second is
//! there: then nothing of it is being programmed any more, so it reads the same for ever, and the other slot may go.
//! `docs/persistence.md` says why no cut does harm.
//!
//! All that a store erases or writes lies in its region.

use core::fmt;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use graftage_core::image::{CRC, Digest, Sink, Source};
use heapless::Vec;

/// The version of the format that this software writes and reads.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 8] = [b'G', b'R', b'F', b'S', b'L', b'O', b'T', VERSION];
const HEADER: usize = 32;
/// Bytes that are read or written at a time; a multiple of the flash's own sizes.
pub(crate) const CHUNK: usize = 256;

/// Why something is not stored or not found. The state that was kept before still is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StoreError {
    /// The region does not consist of two erase blocks or more of the flash.
    Region,
    /// The contents are longer than what a slot has room for.
    TooLarge {
        /// Bytes of the contents.
        length: usize,
        /// Bytes that there is room for.
        room: usize,
    },
    /// There is nothing to save.
    Contents,
    /// What was written reads back otherwise: the flash is worn out or broken.
    Unverified,
    /// The flash did not read, erase or write.
    Flash,
    /// The journal does not hold all that was learnt.
    Gap,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            StoreError::Region => f.write_str("the region is not two erase blocks or more"),
            StoreError::TooLarge { length, room } => write!(f, "{length} bytes in a slot for {room}"),
            StoreError::Contents => f.write_str("there is nothing to save"),
            StoreError::Unverified => f.write_str("the flash reads back other bytes than were written"),
            StoreError::Flash => f.write_str("the flash does not read, erase or write"),
            StoreError::Gap => f.write_str("the journal does not hold all that was learnt"),
        }
    }
}

impl core::error::Error for StoreError {}

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    generation: u64,
    length: u32,
    checksum: u32,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0xff; HEADER];
        let mut rest = &mut bytes[..];
        let mut put = |field: &[u8]| rest.put(field);
        // There is room for all of them.
        let _ = put(&MAGIC);
        let _ = put(&self.generation.to_le_bytes());
        let _ = put(&self.length.to_le_bytes());
        let _ = put(&self.checksum.to_le_bytes());
        let _ = put(&[0xff; 4]);
        if let Some((content, sum)) = bytes.split_last_chunk_mut() {
            *sum = CRC.checksum(content).to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (generation, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let header = Self {
            generation: u64::from_le_bytes(*generation),
            length: u32::from_le_bytes(*length),
            checksum: u32::from_le_bytes(*rest.first_chunk()?),
        };
        bytes.starts_with(&header.to_bytes()).then_some(header)
    }
}

/// One of the two slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    First,
    Second,
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Slot::First => Slot::Second,
            Slot::Second => Slot::First,
        }
    }
}

/// A slot with a header.
#[derive(Clone, Copy, Debug)]
struct Found {
    slot: Slot,
    header: Header,
    /// Whether the second header is there.
    settled: bool,
}

/// Two slots in a region of a flash.
#[derive(Debug)]
pub struct Store<F> {
    flash: F,
    start: u32,
    /// Of a slot.
    size: u32,
    /// What is loaded.
    newest: Option<Found>,
    /// The slot that no save touches.
    kept: Option<Slot>,
}

impl<F: NorFlash> Store<F> {
    /// Bytes from one header to the next and to the contents.
    const UNIT: usize = {
        assert!(CHUNK.is_multiple_of(F::READ_SIZE) && CHUNK.is_multiple_of(F::WRITE_SIZE), "sizes of the flash");
        assert!(F::ERASE_SIZE.is_multiple_of(F::READ_SIZE) && F::ERASE_SIZE.is_multiple_of(F::WRITE_SIZE));
        // All of them are powers of two, as divisors of CHUNK.
        let size = if F::READ_SIZE > F::WRITE_SIZE { F::READ_SIZE } else { F::WRITE_SIZE };
        if size > HEADER { size } else { HEADER }
    };

    /// The store in a region of a flash, in bytes from its start: the first half of its blocks is one slot, the second the
    /// other; of an odd number one is left over. Reads what is there, and writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Region`].
    pub fn new(flash: F, region: Range<u32>) -> Result<Self, StoreError> {
        let block = F::ERASE_SIZE as u32;
        let length = region.end.checked_sub(region.start).ok_or(StoreError::Region)?;
        let aligned = region.start.is_multiple_of(block) && region.end.is_multiple_of(block);
        let size = length / block / 2 * block;
        if !aligned || (size as usize) <= 2 * Self::UNIT || region.end as usize > flash.capacity() {
            return Err(StoreError::Region);
        }
        let mut store = Self { flash, start: region.start, size, newest: None, kept: None };
        store.survey();
        Ok(store)
    }

    /// The generation that the header of each slot names, whether its contents are whole or not; none where it has none.
    pub fn slots(&mut self) -> [Option<u64>; 2] {
        [Slot::First, Slot::Second].map(|slot| self.found(slot).map(|found| found.header.generation))
    }

    /// Bytes of a region whose slots have room for contents of so many bytes.
    pub const fn region(contents: usize) -> usize {
        2 * (contents + 2 * Self::UNIT).next_multiple_of(F::ERASE_SIZE)
    }

    /// Bytes of contents that a slot has room for.
    pub fn room(&self) -> usize {
        (self.size as usize).saturating_sub(2 * Self::UNIT)
    }

    /// The flash, for what lies outside of the store's region.
    pub(crate) fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// The flash, to be used for something else.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// The newest contents that are whole, and their generation. `None` where nothing whole is stored.
    pub fn newest(&mut self) -> Option<(u64, Contents<'_, F>)> {
        let Found { slot, header, .. } = self.newest?;
        Some((header.generation, self.contents(slot, header.length as usize)))
    }

    /// Saves what `contents` puts into a sink, and returns its generation. `contents` is called twice, to measure and to
    /// write, and must put the same bytes both times; `None` from it means that there is nothing to save.
    ///
    /// # Errors
    /// Where it does not fit, there is nothing, or the flash fails; what was kept before is then still the newest.
    pub fn save(&mut self, mut contents: impl FnMut(&mut dyn Sink) -> Option<()>) -> Result<u64, StoreError> {
        let mut measure = Measure { length: 0, digest: CRC.digest() };
        contents(&mut measure).ok_or(StoreError::Contents)?;
        let (length, room) = (measure.length, self.room());
        if length > room {
            return Err(StoreError::TooLarge { length, room });
        }
        let slot = match (self.kept, self.newest) {
            (Some(kept), _) => kept.other(),
            (None, Some(newest)) => newest.slot.other(),
            (None, None) => Slot::First,
        };
        // 2^64 saves outlast every flash.
        let generation = self.newest.map_or(1, |newest| newest.header.generation.wrapping_add(1));
        let checksum = measure.digest.finalize();
        let header = Header { generation, length: length as u32, checksum };
        if self.newest.is_some_and(|newest| newest.slot == slot) {
            self.newest = None;
        }
        let written = self.write(slot, header, &mut contents);
        if written.is_ok() {
            self.newest = Some(Found { slot, header, settled: true });
            self.kept = Some(slot);
        } else {
            // Whatever is whole by now.
            self.survey();
        }
        written.map(|()| generation)
    }

    fn offset(&self, slot: Slot) -> u32 {
        match slot {
            Slot::First => self.start,
            Slot::Second => self.start.wrapping_add(self.size),
        }
    }

    /// Where the contents of a slot begin.
    fn body(&self, slot: Slot) -> u32 {
        self.offset(slot).wrapping_add(2 * Self::UNIT as u32)
    }

    fn contents(&mut self, slot: Slot, length: usize) -> Contents<'_, F> {
        let start = self.body(slot);
        Contents { flash: &mut self.flash, start, length, piece: [0; CHUNK], index: None }
    }

    /// Finds out what is there.
    fn survey(&mut self) {
        (self.newest, self.kept) = (None, None);
        let (first, second) = (self.found(Slot::First), self.found(Slot::Second));
        let generation = |found: Option<Found>| found.map(|found| found.header.generation);
        let newest_first = if generation(second) > generation(first) { [second, first] } else { [first, second] };
        for found in newest_first.into_iter().flatten() {
            if self.is_whole(found.slot, found.header) {
                self.newest.get_or_insert(found);
                if found.settled {
                    self.kept = Some(found.slot);
                    return;
                }
            }
        }
    }

    /// A slot's header. Where a flash cannot read what was being programmed when the power went, there is none.
    fn found(&mut self, slot: Slot) -> Option<Found> {
        let [first, second] = [0, Self::UNIT as u32].map(|offset| {
            let mut bytes = [0; CHUNK];
            let unit = bytes.get_mut(..Self::UNIT)?;
            self.flash.read(self.offset(slot).wrapping_add(offset), unit).ok()?;
            Header::from_bytes(unit)
        });
        Some(Found { slot, header: second.or(first)?, settled: second.is_some() })
    }

    /// Whether the contents are those that the header was written for.
    fn is_whole(&mut self, slot: Slot, header: Header) -> bool {
        let length = header.length as usize;
        if length > self.room() {
            return false;
        }
        let (mut contents, mut digest, mut at) = (self.contents(slot, length), CRC.digest(), 0);
        while at < length {
            let Some(piece) = contents.from(at) else { return false };
            digest.update(piece);
            at = at.saturating_add(piece.len());
        }
        digest.finalize() == header.checksum
    }

    /// Makes a slot hold these contents, the header last, and twice.
    fn write(
        &mut self,
        slot: Slot,
        header: Header,
        contents: &mut impl FnMut(&mut dyn Sink) -> Option<()>,
    ) -> Result<(), StoreError> {
        let (start, length) = (self.offset(slot), header.length as usize);
        let needed = length.saturating_add(2 * Self::UNIT).next_multiple_of(F::ERASE_SIZE) as u32;
        self.flash.erase(start, start.wrapping_add(needed)).map_err(|_| StoreError::Flash)?;
        let offset = self.body(slot);
        let mut program = Program::new(&mut self.flash, offset, length);
        let put = contents(&mut program).and_then(|()| program.flush());
        if program.failed {
            return Err(StoreError::Flash);
        }
        put.ok_or(StoreError::Contents)?;
        let mut bytes = [0xff; CHUNK];
        let unit = bytes.get_mut(..Self::UNIT).unwrap_or_default();
        let _ = (&mut *unit).put(&header.to_bytes());
        for offset in [0, Self::UNIT as u32] {
            // The contents before the first header, the first header before the second: what comes later says that what
            // came before is there to stay.
            let before = match offset {
                0 => self.is_whole(slot, header),
                _ => self.found(slot).is_some_and(|found| found.header == header),
            };
            if !before {
                return Err(StoreError::Unverified);
            }
            self.flash.write(start.wrapping_add(offset), unit).map_err(|_| StoreError::Flash)?;
        }
        match self.found(slot) {
            Some(Found { settled: true, header: found, .. }) if found == header => Ok(()),
            _ => Err(StoreError::Unverified),
        }
    }
}

/// Contents that are stored, read a piece at a time.
#[derive(Debug)]
pub struct Contents<'a, F> {
    flash: &'a mut F,
    start: u32,
    length: usize,
    piece: [u8; CHUNK],
    /// Which piece that is.
    index: Option<usize>,
}

impl<F: NorFlash> Contents<'_, F> {
    /// Bytes of them.
    pub fn length(&self) -> usize {
        self.length
    }

    /// What lies from byte `at` on to the end of its piece; `None` beyond the end, or where the flash does not read.
    fn from(&mut self, at: usize) -> Option<&[u8]> {
        let (index, within) = (at / CHUNK, at % CHUNK);
        let start = index.checked_mul(CHUNK)?;
        let length = self.length.checked_sub(start)?.min(CHUNK);
        if self.index != Some(index) {
            self.index = None;
            let piece = self.piece.get_mut(..length.next_multiple_of(F::READ_SIZE))?;
            self.flash.read(self.start.checked_add(start as u32)?, piece).ok()?;
            self.index = Some(index);
        }
        self.piece.get(within..length).filter(|found| !found.is_empty())
    }
}

impl<F: NorFlash> Source for Contents<'_, F> {
    fn read(&mut self, mut at: usize, mut bytes: &mut [u8]) -> Option<()> {
        while !bytes.is_empty() {
            let found = self.from(at)?;
            let (now, later) = bytes.split_at_mut_checked(found.len().min(bytes.len()))?;
            now.copy_from_slice(found.get(..now.len())?);
            at = at.checked_add(now.len())?;
            bytes = later;
        }
        Some(())
    }
}

/// What keeps something through a power cut, or does not.
pub trait Keep {
    /// As [`Store::newest`].
    fn kept(&mut self) -> Option<(u64, impl Source)>;
    /// As [`Store::slots`].
    fn slots(&mut self) -> [Option<u64>; 2] {
        [None; 2]
    }
    /// As [`Store::save`]; `None` where there is nothing to keep it in.
    fn keep(&mut self, contents: &mut dyn FnMut(&mut dyn Sink) -> Option<()>) -> Option<Result<u64, StoreError>>;
}

impl<F: NorFlash> Keep for Option<Store<F>> {
    fn kept(&mut self) -> Option<(u64, impl Source)> {
        self.as_mut()?.newest()
    }
    fn slots(&mut self) -> [Option<u64>; 2] {
        self.as_mut().map_or([None; 2], Store::slots)
    }
    fn keep(&mut self, contents: &mut dyn FnMut(&mut dyn Sink) -> Option<()>) -> Option<Result<u64, StoreError>> {
        self.as_mut().map(|store| store.save(contents))
    }
}

/// Keeps nothing.
impl Keep for () {
    fn kept(&mut self) -> Option<(u64, impl Source)> {
        None::<(_, &[u8])>
    }
    fn keep(&mut self, _: &mut dyn FnMut(&mut dyn Sink) -> Option<()>) -> Option<Result<u64, StoreError>> {
        None
    }
}

/// How many bytes there are, and their checksum.
struct Measure {
    length: usize,
    digest: Digest,
}

impl Sink for Measure {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.length = self.length.checked_add(bytes.len())?;
        self.digest.update(bytes);
        Some(())
    }
}

/// Programs a flash that was erased, a piece of up to CHUNK bytes at a time.
pub(crate) struct Program<'a, F: NorFlash> {
    flash: &'a mut F,
    /// Where the piece goes.
    offset: u32,
    /// Bytes that are still to come.
    left: usize,
    piece: Vec<u8, CHUNK>,
    failed: bool,
}

impl<'a, F: NorFlash> Program<'a, F> {
    /// So many bytes from there on.
    pub(crate) fn new(flash: &'a mut F, offset: u32, left: usize) -> Self {
        Self { flash, offset, left, piece: Vec::new(), failed: false }
    }

    /// Programs the piece, padded to what the flash writes at once.
    pub(crate) fn flush(&mut self) -> Option<()> {
        let length = self.piece.len().next_multiple_of(F::WRITE_SIZE);
        self.piece.resize(length, 0xff).ok()?;
        self.failed = self.flash.write(self.offset, &self.piece).is_err();
        self.offset = self.offset.wrapping_add(length as u32);
        self.piece.clear();
        (!self.failed).then_some(())
    }
}

impl<F: NorFlash> Sink for Program<'_, F> {
    fn put(&mut self, mut bytes: &[u8]) -> Option<()> {
        self.left = self.left.checked_sub(bytes.len())?;
        while !bytes.is_empty() {
            // Up to the next multiple of CHUNK, where pages of the flash end.
            let end = CHUNK - self.offset as usize % CHUNK;
            let (now, later) = bytes.split_at(bytes.len().min(end.saturating_sub(self.piece.len())));
            self.piece.extend_from_slice(now).ok()?;
            bytes = later;
            if self.piece.len() == end {
                self.flush()?;
            }
        }
        Some(())
    }
}
