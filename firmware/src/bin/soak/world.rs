//! What a reset of the board does not reset: how far the asks have come, and its flash. It lies in the board's PSRAM, of
//! which no program knows otherwise.

use crate::life::Course;
use cortex_m::peripheral::SCB;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use graftage_core::random::Generator;

/// The PSRAM of the board (Arm DAI 0386, §3.3), 16 MiB.
const PSRAM: usize = 0x2100_0000;
/// So many samples and ends are remembered. A state that is taken up again is two saves old at most.
const PLACES: usize = 64;
const BYTES: usize = 1 << 15;
const BLOCK: usize = 2048;
/// So many operations of the flash go well at most before one is cut; a save takes some thirty.
const OPERATIONS: u32 = 8000;

/// All zeros at power-on but for what whoever starts the emulator puts there.
#[repr(C)]
pub struct World {
    pub given: Given,
    begun: u32,
    pub past: Past,
    pub chip: Chip,
}

/// What was asked for.
#[repr(C)]
pub struct Given {
    pub seed: u64,
    pub asks: u64,
}

/// What was.
pub struct Past {
    /// Of the asks after which a line is due, the last whose line was written.
    pub told: u64,
    /// Resets between two asks.
    pub resets: u64,
    /// Asks that came again after a reset.
    pub again: u64,
    /// How many samples and ends had been done, and where the course was before the next, oldest first.
    places: [(u64, Course); PLACES],
}

/// The memory of a flash.
pub struct Chip {
    /// Resets within an operation.
    pub cuts: u64,
    bytes: [u8; BYTES],
}

impl World {
    /// It, to be called once after a reset.
    pub fn enter() -> &'static mut Self {
        let world = PSRAM as *mut World;
        // SAFETY: memory of the board that lies outside of all that the linker gives to the program, aligned, valid whatever its
        // bits are; nothing else names it.
        let world = unsafe { &mut *world };
        if world.begun == 0 {
            world.begun = 1;
            world.chip.bytes.fill(0xff);
            // All but the last are never found.
            world.past.places.fill((u64::MAX, Course::default()));
            world.past.remember(0, Course::default());
        }
        world
    }
}

impl Past {
    /// After so many samples and ends the course has come here.
    pub fn remember(&mut self, done: u64, course: Course) {
        // Asks that are refused come to the place where the one before them was.
        if self.places.last().is_some_and(|(place, _)| *place != done) {
            self.places.rotate_left(1);
        }
        if let Some(last) = self.places.last_mut() {
            *last = (done, course);
        }
    }

    /// Where the course goes on of a board that has done so many samples and ends; `None` where no board can have that saved.
    pub fn recall(&mut self, done: u64) -> Option<Course> {
        let (last, mut newest) = *self.places.last()?;
        if done == last + 1 {
            // The power went after the save that this ask brought.
            newest.pass(None)?;
            self.remember(done, newest);
        }
        let index = self.places.iter().rposition(|(place, _)| *place == done)?;
        let (_, found) = *self.places.get(index)?;
        self.again += newest.asked - found.asked;
        self.places.rotate_right(PLACES - 1 - index);
        Some(found)
    }
}

/// A flash whose power goes now and then, and the board's with it.
pub struct Flash {
    chip: &'static mut Chip,
    /// Operations until then.
    left: u32,
}

impl Flash {
    /// On that chip.
    pub fn on(chip: &'static mut Chip, seed: u64, starts: u64) -> Self {
        let left = Generator::new(seed, u64::MAX - starts).below(OPERATIONS);
        Self { chip, left }
    }

    /// Does an operation byte by byte, or half of it.
    fn operate(&mut self, offset: u32, length: usize, mut byte: impl FnMut(usize, &mut u8)) {
        let cut = self.left == 0;
        let bytes = self.chip.bytes.iter_mut().skip(offset as usize).take(if cut { length / 2 } else { length });
        bytes.enumerate().for_each(|(at, old)| byte(at, old));
        if cut {
            self.chip.cuts += 1;
            SCB::sys_reset();
        }
        self.left -= 1;
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.iter_mut().zip(self.chip.bytes.iter().skip(offset as usize)).for_each(|(byte, found)| *byte = *found);
        Ok(())
    }

    fn capacity(&self) -> usize {
        BYTES
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for block in (from..to).step_by(BLOCK) {
            self.operate(block, BLOCK, |_, byte| *byte = 0xff);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        // Programming clears bits.
        self.operate(offset, bytes.len(), |at, byte| *byte &= bytes.get(at).copied().unwrap_or(0xff));
        Ok(())
    }
}
