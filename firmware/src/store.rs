//! Storage in two slots of a NOR flash that survives a power cut at any moment.
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
//! A save uses the slot that is not kept. It erases the blocks that it needs, writes the contents and reads them back,
//! writes the first header and reads it back, then writes the second. A slot is whole if either header is valid. It is
//! kept once the second header is there: nothing in it is being programmed any more, so it always reads the same, and
//! the other slot may be erased. `docs/persistence.md` explains why no cut does harm.
//!
//! A store erases and writes only within its region.

use core::fmt;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use graftage_core::image::{CRC, Digest, Sink, Source};
use heapless::Vec;

/// Version of the format that this software writes and reads.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 8] = [b'G', b'R', b'F', b'S', b'L', b'O', b'T', VERSION];
const HEADER: usize = 32;
/// Number of bytes read or written at a time, a multiple of the flash's own sizes.
pub(crate) const CHUNK: usize = 256;

/// Reason why something is not stored or not found. The previously kept state remains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StoreError {
    /// The region does not consist of two or more erase blocks of the flash.
    Region,
    /// The contents do not fit into a slot.
    TooLarge {
        /// Length of the contents, in bytes.
        length: usize,
        /// Room in a slot, in bytes.
        room: usize,
    },
    /// There is nothing to save.
    Contents,
    /// The flash reads back other bytes than were written: it is worn out or broken.
    Unverified,
    /// The flash failed to read, erase or write.
    Flash,
    /// The journal does not hold everything that was learnt.
    Gap,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            StoreError::Region => f.write_str("the region is smaller than two erase blocks"),
            StoreError::TooLarge { length, room } => write!(f, "{length} bytes do not fit a slot of {room}"),
            StoreError::Contents => f.write_str("there is nothing to save"),
            StoreError::Unverified => f.write_str("the flash reads back other bytes than written"),
            StoreError::Flash => f.write_str("the flash cannot read, erase or write"),
            StoreError::Gap => f.write_str("the journal lacks part of what was learnt"),
        }
    }
}

impl core::error::Error for StoreError {}

/// Content of a slot's header.
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
        // There is room for all fields.
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

/// Slot with a valid header.
#[derive(Clone, Copy, Debug)]
struct Found {
    slot: Slot,
    header: Header,
    /// True if the second header is there.
    settled: bool,
}

/// Two slots in a region of a flash.
#[derive(Debug)]
pub struct Store<F> {
    flash: F,
    start: u32,
    /// Size of one slot, in bytes.
    size: u32,
    /// Slot whose contents a start loads.
    newest: Option<Found>,
    /// Slot that the next save leaves untouched.
    kept: Option<Slot>,
}

impl<F: NorFlash> Store<F> {
    /// Distance from one header to the next and to the contents, in bytes.
    const UNIT: usize = {
        assert!(CHUNK.is_multiple_of(F::READ_SIZE) && CHUNK.is_multiple_of(F::WRITE_SIZE), "sizes of the flash");
        assert!(F::ERASE_SIZE.is_multiple_of(F::READ_SIZE) && F::ERASE_SIZE.is_multiple_of(F::WRITE_SIZE));
        // The sizes are powers of two, as they divide CHUNK.
        let size = if F::READ_SIZE > F::WRITE_SIZE { F::READ_SIZE } else { F::WRITE_SIZE };
        if size > HEADER { size } else { HEADER }
    };

    /// Opens the store in a region of a flash, given in bytes from the start of the flash. The first half of the
    /// region's blocks is one slot, the second half the other; with an odd number of blocks the last one is unused.
    /// Reads what is there and writes nothing.
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

    /// Returns the generation named by the header of each slot, whether its contents are whole or not; `None` for a
    /// slot without a header.
    pub fn slots(&mut self) -> [Option<u64>; 2] {
        [Slot::First, Slot::Second].map(|slot| self.found(slot).map(|found| found.header.generation))
    }

    /// Returns the size of a region whose slots have room for `contents` bytes each, in bytes.
    pub const fn region(contents: usize) -> usize {
        2 * (contents + 2 * Self::UNIT).next_multiple_of(F::ERASE_SIZE)
    }

    /// Returns the room for contents in a slot, in bytes.
    pub fn room(&self) -> usize {
        (self.size as usize).saturating_sub(2 * Self::UNIT)
    }

    /// Returns the flash, for bytes outside the store's region.
    pub(crate) fn flash(&mut self) -> &mut F {
        &mut self.flash
    }

    /// Returns the flash for other uses.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Returns the generation of the newest whole contents and the contents; `None` if nothing whole is stored.
    pub fn newest(&mut self) -> Option<(u64, Contents<'_, F>)> {
        let Found { slot, header, .. } = self.newest?;
        Some((header.generation, self.contents(slot, header.length as usize)))
    }

    /// Saves what `contents` puts into a sink, and returns its generation. `contents` is called twice, to measure and
    /// to write, and must put the same bytes both times; if it returns `None`, there is nothing to save.
    ///
    /// # Errors
    /// If the contents do not fit, if there are none, or if the flash fails; what was kept before is then still the
    /// newest.
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
        // 2^64 saves outlast any flash.
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
            // Finds out which slots are still whole.
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

    /// Returns the offset of a slot's contents in the flash, in bytes.
    fn body(&self, slot: Slot) -> u32 {
        self.offset(slot).wrapping_add(2 * Self::UNIT as u32)
    }

    fn contents(&mut self, slot: Slot, length: usize) -> Contents<'_, F> {
        let start = self.body(slot);
        Contents { flash: &mut self.flash, start, length, piece: [0; CHUNK], index: None }
    }

    /// Searches the slots for the newest whole contents and for the slot to keep.
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

    /// Returns a slot with its header; `None` if it has none, or if the flash cannot read a word whose programming was
    /// cut.
    fn found(&mut self, slot: Slot) -> Option<Found> {
        let [first, second] = [0, Self::UNIT as u32].map(|offset| {
            let mut bytes = [0; CHUNK];
            let unit = bytes.get_mut(..Self::UNIT)?;
            self.flash.read(self.offset(slot).wrapping_add(offset), unit).ok()?;
            Header::from_bytes(unit)
        });
        Some(Found { slot, header: second.or(first)?, settled: second.is_some() })
    }

    /// Returns whether the contents of a slot match its header.
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

    /// Writes contents to a slot, followed by both copies of the header.
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
            // The contents must be in place before the first header, and the first header before the second: each
            // confirms that what was written before it is permanent.
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

/// Stored contents, read one piece at a time.
#[derive(Debug)]
pub struct Contents<'a, F> {
    flash: &'a mut F,
    start: u32,
    length: usize,
    piece: [u8; CHUNK],
    /// Index of the piece that is loaded.
    index: Option<usize>,
}

impl<F: NorFlash> Contents<'_, F> {
    /// Returns the length of the contents, in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the bytes from `at` to the end of its piece; `None` if `at` is beyond the end or the flash fails to
    /// read.
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

/// Storage that keeps a state through power cuts, or keeps nothing.
pub trait Keep {
    /// Returns the newest state, like [`Store::newest`].
    fn kept(&mut self) -> Option<(u64, impl Source)>;
    /// Returns the generations in the slots, like [`Store::slots`].
    fn slots(&mut self) -> [Option<u64>; 2] {
        [None; 2]
    }
    /// Saves a state, like [`Store::save`]; `None` if there is no storage.
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

/// Sink that counts bytes and computes their checksum.
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

/// Sink that programs an erased flash in pieces of up to CHUNK bytes.
pub(crate) struct Program<'a, F: NorFlash> {
    flash: &'a mut F,
    /// Offset in the flash at which the piece is programmed.
    offset: u32,
    /// Number of bytes still expected.
    left: usize,
    piece: Vec<u8, CHUNK>,
    failed: bool,
}

impl<'a, F: NorFlash> Program<'a, F> {
    /// Creates a sink for `left` bytes from `offset` on.
    pub(crate) fn new(flash: &'a mut F, offset: u32, left: usize) -> Self {
        Self { flash, offset, left, piece: Vec::new(), failed: false }
    }

    /// Programs the piece, padded to a multiple of the flash's write size.
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
            // A piece ends at the next multiple of CHUNK, where pages of the flash end.
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
