//! The same device at a serial line, for `graftage adapt` at the other end: UART 0 of the emulated board `mps2-an386`.
//!
//! `SAVE_MILLISECONDS`, when this is built, is how long its flash takes for a save.
#![no_std]
#![no_main]

use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{Peripherals, SYST};
use embedded_io::{Read, Write};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use graftage_core::network::Fixed;
use graftage_firmware::device;
use graftage_firmware::store::Store;
use my_device::flash::{self, Flash};
use my_device::network::Network;
use my_device::{Device, IMAGE, SAVE_EVERY, SESSIONS};
use semihosting::process;
use static_cell::ConstStaticCell;

/// The link's end.
type Link = device::Device<{ Network::INPUTS }, { graftage_link::request(Network::INPUTS) }>;

static LINK: ConstStaticCell<Link> = ConstStaticCell::new(Link::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    let clock = Peripherals::take().map(|peripherals| peripherals.SYST);
    let flash = Flash::take().zip(clock).map(|(flash, clock)| Slow::new(flash, clock));
    let store = flash.and_then(|flash| Store::new(flash, 0..flash::SIZE as u32).ok());
    let mut device = Device::start(SESSIONS.take(), IMAGE, SAVE_EVERY, store, |_| ());
    if let Ok(device) = &mut device {
        // What cannot be used is left where it is; the factory's weights serve.
        let _ = device.resume();
    }
    let link = LINK.take();
    link.rename("my-device");
    let Ok(()) = link.serve(&mut Uart::start(), &mut device, |_| ());
    process::exit(0)
}

const SAVE_MILLISECONDS: u32 = match option_env!("SAVE_MILLISECONDS") {
    None => 0,
    Some(text) => match u32::from_str_radix(text, 10) {
        Ok(milliseconds) => milliseconds,
        Err(_) => panic!("SAVE_MILLISECONDS is no whole number"),
    },
};

/// A flash that is slow to erase, which a save does once.
struct Slow {
    flash: Flash,
    clock: SYST,
}

impl Slow {
    fn new(flash: Flash, mut clock: SYST) -> Self {
        // A millisecond of the board's 25 MHz.
        clock.set_clock_source(SystClkSource::Core);
        clock.set_reload(25_000 - 1);
        clock.clear_current();
        clock.enable_counter();
        Self { flash, clock }
    }
}

impl ErrorType for Slow {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Slow {
    const READ_SIZE: usize = Flash::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.flash.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl NorFlash for Slow {
    const WRITE_SIZE: usize = Flash::WRITE_SIZE;
    const ERASE_SIZE: usize = Flash::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        for _ in 0..SAVE_MILLISECONDS {
            while !self.clock.has_wrapped() {}
        }
        self.flash.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.flash.write(offset, bytes)
    }
}

/// CMSDK APB UART (Arm DDI 0479, §4.3).
struct Uart(*mut u32);

impl Uart {
    fn start() -> Self {
        let uart = Self(0x4000_4000 as *mut u32);
        // SAFETY: registers of the UART of this board, which nothing but this value uses: divider, transmit and receive enable.
        unsafe {
            write_volatile(uart.0.add(4), 16);
            write_volatile(uart.0.add(2), 3);
        }
        uart
    }

    /// Waits until that bit of its state is as wanted: 1 is full to transmit, 2 full to receive.
    fn wait(&self, bit: u32, wanted: bool) {
        // SAFETY: as above.
        while (unsafe { read_volatile(self.0.add(1)) } & bit != 0) != wanted {}
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        self.wait(2, true);
        // SAFETY: as above.
        *first = unsafe { read_volatile(self.0) } as u8;
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, buffer: &[u8]) -> Result<usize, Infallible> {
        for byte in buffer {
            self.wait(1, false);
            // SAFETY: as above.
            unsafe { write_volatile(self.0, u32::from(*byte)) };
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.wait(1, false);
        Ok(())
    }
}
