//! Flash in which the device keeps what it has learnt. Here it is RAM that a reset leaves unchanged; on a chip it is
//! the driver of the HAL.

use core::cell::Cell;
use critical_section::Mutex;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// Size of the flash in bytes, as in `memory.x`.
pub const SIZE: usize = 16 * 1024;

unsafe extern "C" {
    static mut _store: [u8; SIZE];
}

/// Flash in RAM.
pub struct Flash(&'static mut [u8; SIZE]);

impl Flash {
    /// Returns the flash; `None` after the first call.
    pub fn take() -> Option<Self> {
        static TAKEN: Mutex<Cell<bool>> = Mutex::new(Cell::new(false));
        let taken = critical_section::with(|section| TAKEN.borrow(section).replace(true));
        if taken {
            return None;
        }
        // SAFETY: memory that `memory.x` reserves for this, valid for any bits; nothing else accesses it.
        unsafe { (&raw mut _store).as_mut() }.map(Self)
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 1024;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        // Programming clears bits.
        self.0[offset as usize..].iter_mut().zip(bytes).for_each(|(old, new)| *old &= new);
        Ok(())
    }
}
