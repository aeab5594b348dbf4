//! Device on a serial line, for `graftage adapt` at the other end: UART 0 of the emulated board `mps2-an386`.
//!
//! The flash shares the line to report that the device is busy. Two variables apply at build time: `ERASE_MILLISECONDS`
//! is the time to erase a block, and `SAVE_EVERY` the number of samples between two saves.
#![no_std]
#![no_main]

use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};

use cortex_m::Peripherals;
use cortex_m::asm::wfi;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use embedded_io::{Read, Write};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use graftage_core::network::Fixed;
use graftage_firmware::busy::{Clock, Line, Telling};
use graftage_firmware::device;
use graftage_firmware::store::Store;
use my_device::flash::{self, Flash};
use my_device::network::Network;
use my_device::{Device, IMAGE, SESSIONS};
use semihosting::process;
use static_cell::ConstStaticCell;

/// Device's end of the link.
type Link = device::Device<{ Network::INPUTS }, { graftage_link::request(Network::INPUTS) }>;

static LINK: ConstStaticCell<Link> = ConstStaticCell::new(Link::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    let line = Line::new(Uart::start(), Timer::start());
    let flash = Flash::take().zip(Peripherals::take());
    let flash = flash.map(|(flash, own)| Telling::new(Slow::new(flash, own.SYST), &line));
    let store = flash.and_then(|flash| Store::new(flash, 0..flash::SIZE as u32).ok());
    let mut device = Device::start(SESSIONS.take(), IMAGE, SAVE_EVERY, store, |_| ());
    if let Ok(device) = &mut device {
        // An unusable state is left where it is, and the factory weights serve.
        let _ = device.resume();
    }
    let link = LINK.take();
    link.rename("my-device");
    let Ok(()) = link.serve(&mut &line, &mut device, |_| ());
    process::exit(0)
}

const ERASE_MILLISECONDS: u32 = number(option_env!("ERASE_MILLISECONDS"), 0);
const SAVE_EVERY: u64 = number(option_env!("SAVE_EVERY"), my_device::SAVE_EVERY as u32) as u64;

const fn number(text: Option<&str>, otherwise: u32) -> u32 {
    match text {
        None => otherwise,
        Some(text) => match u32::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => panic!("that is no whole number"),
        },
    }
}

/// Flash that is slow to erase, with the timer that wakes the processor meanwhile.
struct Slow(Flash);

impl Slow {
    fn new(flash: Flash, mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(Timer::TICKS_PER_SECOND / 100);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        Self(flash)
    }
}

/// Ends a sleep; nothing else remains to be done.
#[cortex_m_rt::exception]
fn SysTick() {}

impl ErrorType for Slow {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Slow {
    const READ_SIZE: usize = Flash::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl NorFlash for Slow {
    const WRITE_SIZE: usize = Flash::WRITE_SIZE;
    const ERASE_SIZE: usize = Flash::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let blocks = (to - from) / Self::ERASE_SIZE as u32;
        let (started, ticks) = (TIMER.now(), ERASE_MILLISECONDS * blocks * (Timer::TICKS_PER_SECOND / 1000));
        while TIMER.now().wrapping_sub(started) < ticks {
            wfi();
        }
        self.0.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.0.write(offset, bytes)
    }
}

/// CMSDK APB timer 0 (Arm DDI 0479, §4.4), which counts down from 2^32 − 1.
struct Timer;

const TIMER: Timer = Timer;
const COUNTER: *mut u32 = 0x4000_0000 as *mut u32;

impl Timer {
    fn start() -> Self {
        // SAFETY: registers of the timer of this board, which nothing else writes: reload, value, enable.
        unsafe {
            write_volatile(COUNTER.add(2), u32::MAX);
            write_volatile(COUNTER.add(1), u32::MAX);
            write_volatile(COUNTER, 1);
        }
        Self
    }
}

impl Clock for Timer {
    const TICKS_PER_SECOND: u32 = 25_000_000;

    fn now(&self) -> u32 {
        // SAFETY: a register of the timer, which can be read at any time.
        !unsafe { read_volatile(COUNTER.add(1)) }
    }
}

/// CMSDK APB UART (Arm DDI 0479, §4.3).
struct Uart(*mut u32);

impl Uart {
    fn start() -> Self {
        let uart = Self(0x4000_4000 as *mut u32);
        // SAFETY: registers of the UART of this board, which nothing but this value uses: divider, transmit and receive
        // enable.
        unsafe {
            write_volatile(uart.0.add(4), 16);
            write_volatile(uart.0.add(2), 3);
        }
        uart
    }

    /// Waits until a bit of the state register has the given value: bit 1 is transmit full, bit 2 receive full.
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
