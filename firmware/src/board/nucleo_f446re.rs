//! ST's NUCLEO-F446RE: an STM32F446RE, a Cortex-M4F at 168 MHz.
//!
//! USART 2 (PA2, PA3), which the ST-LINK exposes as a serial port of the workstation, is the link at 115,200 baud.
//! Sensors are on I2C 1 (PB8, PB9: D15 and D14 of the Arduino header), the light is LD2 (PA5), and the log is written
//! by RTT.

use super::cycles::Cycles;
use super::serial::Serial;
use super::{Board, Parts};
use defmt_rtt as _;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use stm32f4xx_hal::flash::{FlashExt, LockedFlash};
use stm32f4xx_hal::gpio::{Output, PA5};
use stm32f4xx_hal::i2c::{I2c, Mode};
use stm32f4xx_hal::pac::{I2C1, Peripherals, USART2};
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::Config;
use stm32f4xx_hal::serial;

const CORE_HZ: u32 = 168_000_000;

/// NUCLEO-F446RE board.
pub struct NucleoF446re;

impl Board for NucleoF446re {
    const NAME: &'static str = "nucleo-f446re";

    type Link = Serial<serial::Serial<USART2>>;
    type Clock = Cycles<CORE_HZ>;
    type Flash = Store;
    type Sensors = I2c<I2C1>;
    type Status = PA5<Output>;

    fn take() -> Option<Parts<Self>> {
        let core = cortex_m::Peripherals::take()?;
        let device = Peripherals::take()?;
        // The internal oscillator suffices: at room temperature its error of 1 % is within what a serial port
        // tolerates.
        let clocks = Config::hsi().sysclk(CORE_HZ.Hz()).pclk1(42.MHz()).pclk2(84.MHz());
        let mut rcc = device.RCC.freeze(clocks);
        let a = device.GPIOA.split(&mut rcc);
        let b = device.GPIOB.split(&mut rcc);
        let rate = serial::Config::default().baudrate(115_200.bps());
        Some(Parts {
            link: Serial(serial::Serial::new(device.USART2, (a.pa2, a.pa3), rate, &mut rcc).ok()?),
            clock: Cycles::start(core.DCB, core.DWT),
            flash: Store(LockedFlash::new(device.FLASH)),
            sensors: I2c::new(device.I2C1, (b.pb8, b.pb9), Mode::standard(100.kHz()), &mut rcc),
            status: a.pa5.into_push_pull_output(),
        })
    }

    fn end(_: bool) -> ! {
        loop {
            cortex_m::asm::wfi();
        }
    }
}

/// Sectors 6 and 7 of the flash, locked except while they are erased or written.
pub struct Store(LockedFlash);

const SECTOR: usize = 128 * 1024;

impl Store {
    /// Returns the position of `length` bytes at `offset` in the whole flash; an error if they are not within the
    /// store.
    fn place(&self, offset: u32, length: usize) -> Result<u32, NorFlashErrorKind> {
        unsafe extern "C" {
            static _store_start: u8;
        }
        let end = (offset as usize).checked_add(length).filter(|end| *end <= self.capacity());
        end.ok_or(NorFlashErrorKind::OutOfBounds)?;
        let start = (&raw const _store_start).addr().wrapping_sub(self.0.address());
        Ok(offset.wrapping_add(start as u32))
    }
}

impl ErrorType for Store {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Store {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let place = self.place(offset, bytes.len())?;
        ReadNorFlash::read(&mut self.0, place, bytes).map_err(|_| NorFlashErrorKind::Other)
    }

    fn capacity(&self) -> usize {
        2 * SECTOR
    }
}

impl NorFlash for Store {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let length = to.checked_sub(from).ok_or(NorFlashErrorKind::OutOfBounds)? as usize;
        let place = self.place(from, length)?;
        if !(from as usize).is_multiple_of(SECTOR) || !length.is_multiple_of(SECTOR) {
            return Err(NorFlashErrorKind::NotAligned);
        }
        if length == 0 {
            // The driver would erase the sector even for an empty range.
            return Ok(());
        }
        let end = place.wrapping_add(length as u32);
        NorFlash::erase(&mut self.0.unlocked(), place, end).map_err(|_| NorFlashErrorKind::Other)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let place = self.place(offset, bytes.len())?;
        self.0.unlocked().write(place, bytes).map_err(|_| NorFlashErrorKind::Other)
    }
}
