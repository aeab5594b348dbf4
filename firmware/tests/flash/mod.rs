//! NOR flash for tests, whose power can be cut at every single operation.
#![allow(dead_code, reason = "each test file uses its part")]

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use std::ops::Range;

pub const SEED: u64 = 20_261_125;

/// Random numbers by Splitmix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Condition of a block or word after a cut inside its operation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Torn {
    /// Some bits have changed and others have not.
    Partly,
    /// All bits are random.
    Random,
    /// Every bit that was to change reads as 0 or 1 at random on each read.
    Unstable,
    /// The checksum is wrong, and the part refuses to read the word until it is erased.
    Unreadable,
    /// The first half of a block, or all of a word, has changed; the rest is unchanged.
    Half,
}

pub const TORN: [Torn; 5] = [Torn::Partly, Torn::Random, Torn::Unstable, Torn::Unreadable, Torn::Half];

/// Moment of a power cut, given by the number of operations before it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cut {
    Before(usize),
    Inside(usize, Torn),
    /// Power stays on, but from this operation on nothing is erased or programmed.
    Refused(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Kind(NorFlashErrorKind),
    /// A bit that is 0 cannot be programmed to 1.
    Unerased,
    /// The word was already written since it was erased.
    Twice,
    Unreadable,
    NoPower,
    /// The flash accepts no more operations.
    Refused,
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Fault::Kind(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// NOR flash with read size R, write size W and erase size E, in bytes. Programming a word or erasing a block is one
/// operation.
#[derive(Clone, Debug)]
pub struct Flash<const R: usize, const W: usize, const E: usize> {
    pub bytes: Vec<u8>,
    /// Bits that read at random, per byte.
    pub unstable: Vec<u8>,
    /// Words written or torn since they were erased, followed by the words that cannot be read.
    pub dirty: Vec<bool>,
    pub unreadable: Vec<bool>,
    /// Number of erases per block.
    pub erases: Vec<usize>,
    pub operations: usize,
    pub cut: Option<Cut>,
    pub powered: bool,
    pub random: Random,
}

impl<const R: usize, const W: usize, const E: usize> Flash<R, W, E> {
    /// Creates a flash full of random bytes, as after earlier use.
    pub fn new(blocks: usize) -> Self {
        let mut random = Random(SEED);
        let bytes = random.bytes(blocks * E);
        let words = bytes.len() / W;
        Self {
            unstable: vec![0; bytes.len()],
            dirty: vec![true; words],
            unreadable: vec![false; words],
            erases: vec![0; blocks],
            operations: 0,
            cut: None,
            powered: true,
            bytes,
            random,
        }
    }

    pub fn cut(&mut self, cut: Cut) {
        (self.operations, self.cut) = (0, Some(cut));
    }

    pub fn power(&mut self) {
        (self.cut, self.powered) = (None, true);
    }

    /// Counts an operation; returns how it is torn, if it is, or an error if it does not take place.
    pub fn operate(&mut self) -> Result<Option<Torn>, Fault> {
        if !self.powered {
            return Err(Fault::NoPower);
        }
        let now = self.operations;
        self.operations += 1;
        match self.cut {
            Some(Cut::Before(at)) if at == now => {
                self.powered = false;
                Err(Fault::NoPower)
            }
            Some(Cut::Inside(at, torn)) if at == now => {
                self.powered = false;
                Ok(Some(torn))
            }
            Some(Cut::Refused(at)) if at <= now => Err(Fault::Refused),
            _ => Ok(None),
        }
    }

    /// Changes bytes as an interrupted operation does.
    pub fn tear(&mut self, place: Range<usize>, target: &[u8], torn: Torn) {
        for word in place.start / W..place.end.div_ceil(W) {
            self.dirty[word] = true;
            self.unreadable[word] = torn == Torn::Unreadable;
        }
        let done = if target.len() == E { target.len() / 2 } else { target.len() };
        for (index, (at, target)) in place.zip(target).enumerate() {
            let (old, some) = (self.bytes[at], self.random.next() as u8);
            self.unstable[at] = if torn == Torn::Unstable { old ^ target } else { 0 };
            self.bytes[at] = match torn {
                Torn::Partly => (old & some) | (target & !some),
                Torn::Random => some,
                Torn::Half if index >= done => old,
                _ => *target,
            };
        }
    }
}

impl<const R: usize, const W: usize, const E: usize> ErrorType for Flash<R, W, E> {
    type Error = Fault;
}

impl<const R: usize, const W: usize, const E: usize> ReadNorFlash for Flash<R, W, E> {
    const READ_SIZE: usize = R;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        check_read(self, offset, bytes.len()).map_err(Fault::Kind)?;
        if !self.powered {
            return Err(Fault::NoPower);
        }
        for (at, byte) in (offset as usize..).zip(bytes) {
            if self.unreadable[at / W] {
                return Err(Fault::Unreadable);
            }
            *byte = self.bytes[at] ^ (self.unstable[at] & self.random.next() as u8);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const R: usize, const W: usize, const E: usize> NorFlash for Flash<R, W, E> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        check_erase(self, from, to).map_err(Fault::Kind)?;
        for block in from as usize / E..to as usize / E {
            let place = block * E..(block + 1) * E;
            let torn = self.operate()?;
            self.erases[block] += 1;
            if let Some(torn) = torn {
                self.tear(place, &vec![0xff; E], torn);
                return Err(Fault::NoPower);
            }
            self.bytes[place.clone()].fill(0xff);
            self.unstable[place.clone()].fill(0);
            self.dirty[place.start / W..place.end / W].fill(false);
            self.unreadable[place.start / W..place.end / W].fill(false);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        check_write(self, offset, bytes.len()).map_err(Fault::Kind)?;
        for (word, new) in (offset as usize / W..).zip(bytes.chunks(W)) {
            let place = word * W..(word + 1) * W;
            if self.dirty[word] {
                return Err(Fault::Twice);
            }
            if self.bytes[place.clone()].iter().zip(new).any(|(old, new)| !old & new != 0) {
                return Err(Fault::Unerased);
            }
            if let Some(torn) = self.operate()? {
                self.tear(place, new, torn);
                return Err(Fault::NoPower);
            }
            self.dirty[word] = true;
            self.bytes[place].copy_from_slice(new);
        }
        Ok(())
    }
}
