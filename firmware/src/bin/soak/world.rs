//! State that outlasts a reset of the board: the progress of the requests, and the board's flash. It lies in the
//! board's PSRAM, which the program does not use otherwise.

use crate::life::Course;
use cortex_m::peripheral::SCB;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use graftage_core::random::Generator;

/// Address of the board's PSRAM (Arm DAI 0386, §3.3), 16 MiB.
const PSRAM: usize = 0x2100_0000;
/// Number of places remembered, one per sample or end of a session. A resumed state is at most two saves old.
const PLACES: usize = 64;
const BYTES: usize = 1 << 15;
const BLOCK: usize = 2048;
/// Upper bound on the number of flash operations before one is cut; a save takes about thirty.
const OPERATIONS: u32 = 8000;

/// Everything that outlasts a reset. All zeros at power-on, except for values set when the emulator is started.
#[repr(C)]
pub struct World {
    pub given: Given,
    begun: u32,
    pub past: Past,
    pub chip: Chip,
}

/// Parameters of the run.
#[repr(C)]
pub struct Given {
    pub seed: u64,
    pub asks: u64,
}

/// Progress so far.
pub struct Past {
    /// Number of requests after which the last line was written.
    pub told: u64,
    /// Number of resets between two requests.
    pub resets: u64,
    /// Number of requests repeated after a reset.
    pub again: u64,
    /// Number of samples and ends of sessions completed, with the course before the next one, oldest first.
    places: [(u64, Course); PLACES],
}

/// Memory of a flash.
pub struct Chip {
    /// Number of resets within an operation.
    pub cuts: u64,
    bytes: [u8; BYTES],
}

impl World {
    /// Returns the world; to be called once after a reset.
    pub fn enter() -> &'static mut Self {
        let world = PSRAM as *mut World;
        // SAFETY: memory of the board outside everything that the linker assigns to the program, aligned and valid for
        // any bits; nothing else names it.
        let world = unsafe { &mut *world };
        if world.begun == 0 {
            world.begun = 1;
            world.chip.bytes.fill(0xff);
            // A number that is never looked up; `remember` replaces the last one.
            world.past.places.fill((u64::MAX, Course::default()));
            world.past.remember(0, Course::default());
        }
        world
    }
}

impl Past {
    /// Remembers the course after `done` samples and ends of sessions.
    pub fn remember(&mut self, done: u64, course: Course) {
        // A refused request leaves `done` unchanged, so its course replaces the one before.
        if self.places.last().is_some_and(|(place, _)| *place != done) {
            self.places.rotate_left(1);
        }
        if let Some(last) = self.places.last_mut() {
            *last = (done, course);
        }
    }

    /// Returns the course from which a board that has completed `done` samples and ends of sessions goes on; `None` if
    /// no board can have saved that state.
    pub fn recall(&mut self, done: u64) -> Option<Course> {
        let (last, mut newest) = *self.places.last()?;
        if done == last + 1 {
            // The power was cut after the save that this request brought.
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

/// Flash whose power is cut now and then, together with the board's.
pub struct Flash {
    chip: &'static mut Chip,
    /// Number of operations until the cut.
    left: u32,
}

impl Flash {
    /// Creates a flash on `chip`; `seed` and the number of starts determine the cut.
    pub fn on(chip: &'static mut Chip, seed: u64, starts: u64) -> Self {
        let left = Generator::new(seed, u64::MAX - starts).below(OPERATIONS);
        Self { chip, left }
    }

    /// Carries out an operation byte by byte, or half of it before a cut.
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
