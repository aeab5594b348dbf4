//! I²C EEPROMs of type 24xx512, combined into one NOR flash.
//!
//! An EEPROM needs no erase: every write programs a page of 128 bytes anew. This adapter keeps the rules of NOR flash
//! all the same, so that data is stored as in any flash. Erasing writes 0xff, and the write size is a page, as a power
//! cut may damage the whole page that is being written.

use embedded_hal::i2c::{Error, ErrorKind, I2c, Operation};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// Size of a page, in bytes.
const PAGE: usize = 128;
/// Size of one EEPROM, in bytes.
const SIZE: usize = 0x1_0000;
/// Bus address of the first EEPROM.
const FIRST: u8 = 0x50;
/// Maximum number of EEPROMs, one per address.
const MOST: u8 = 8;
/// Maximum number of attempts. An EEPROM does not answer while it programs a page, which takes at most 10 ms; at 400
/// kHz one attempt takes at least 25 µs.
const ASK: u32 = 1000;

/// EEPROMs of 64 KiB each at consecutive bus addresses from 0x50 on, forming one address space.
#[derive(Debug)]
pub struct Eeproms<B> {
    bus: B,
    count: u8,
}

/// Error of an EEPROM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EepromError<E> {
    /// The requested range does not consist of whole pages or lies outside the EEPROMs.
    Request(NorFlashErrorKind),
    /// The bus failed.
    Bus(E),
}

impl<E: core::fmt::Debug> NorFlashError for EepromError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            EepromError::Request(kind) => *kind,
            EepromError::Bus(_) => NorFlashErrorKind::Other,
        }
    }
}

impl<B: I2c> Eeproms<B> {
    /// Finds the EEPROMs that answer; if there are none, the flash has a capacity of 0 bytes.
    pub fn find(mut bus: B) -> Self {
        let answers = |address: &u8| patiently(|| bus.write(*address, &[0, 0])).is_ok();
        let count = (FIRST..FIRST + MOST).take_while(answers).count() as u8;
        Self { bus, count }
    }

    /// Programs a page.
    fn program(&mut self, offset: u32, page: &[u8]) -> Result<(), EepromError<B::Error>> {
        let (address, place) = locate(offset);
        let mut write = || self.bus.transaction(address, &mut [Operation::Write(&place), Operation::Write(page)]);
        patiently(&mut write).map_err(EepromError::Bus)
    }
}

/// Returns the bus address for an offset and the address within that EEPROM.
fn locate(offset: u32) -> (u8, [u8; 2]) {
    (FIRST.wrapping_add((offset / SIZE as u32) as u8), (offset as u16).to_be_bytes())
}

/// Repeats a transfer until the EEPROM answers, at most ASK times.
fn patiently<E: Error>(mut ask: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    let mut answer = ask();
    for _ in 1..ASK {
        match &answer {
            Err(error) if matches!(error.kind(), ErrorKind::NoAcknowledge(_)) => answer = ask(),
            _ => break,
        }
    }
    answer
}

impl<B: I2c> ErrorType for Eeproms<B> {
    type Error = EepromError<B::Error>;
}

impl<B: I2c> ReadNorFlash for Eeproms<B> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, mut offset: u32, mut bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len()).map_err(EepromError::Request)?;
        while !bytes.is_empty() {
            let left = SIZE.saturating_sub(offset as usize % SIZE);
            let length = bytes.len().min(left);
            let (now, later) = core::mem::take(&mut bytes).split_at_mut_checked(length).unwrap_or_default();
            let (address, place) = locate(offset);
            patiently(|| self.bus.write_read(address, &place, now)).map_err(EepromError::Bus)?;
            (offset, bytes) = (offset.wrapping_add(length as u32), later);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        SIZE * usize::from(self.count)
    }
}

impl<B: I2c> NorFlash for Eeproms<B> {
    const WRITE_SIZE: usize = PAGE;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to).map_err(EepromError::Request)?;
        (from..to).step_by(PAGE).try_for_each(|offset| self.program(offset, &[0xff; PAGE]))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len()).map_err(EepromError::Request)?;
        (offset..).step_by(PAGE).zip(bytes.chunks(PAGE)).try_for_each(|(offset, page)| self.program(offset, page))
    }
}
