//! Nordic's nRF52840-DK: an nRF52840, a Cortex-M4F at 64 MHz.
//!
//! UARTE 0 (P0.06, P0.08), which the debugger exposes as a serial port of the workstation, is the link at 115,200 baud.
//! Sensors are on TWIM 0 (P0.26, P0.27 of the Arduino header), the light is LED 1 (P0.13), and the log is written by
//! RTT.

use super::cycles::Cycles;
use super::debug_port::{self, Chip, OPEN};
use super::{Board, Parts};
use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};
use cortex_m::peripheral::SCB;
use defmt_rtt as _;
use embedded_hal::digital::{self, OutputPin};
use embedded_io::{ErrorType, Read, Write};
use nrf52840_hal::clocks::Clocks;
use nrf52840_hal::gpio::{Level, Output, Pin, PushPull, p0};
use nrf52840_hal::nvmc::Nvmc;
use nrf52840_hal::pac::{NVMC, Peripherals, TWIM0, UARTE0, UICR};
use nrf52840_hal::uarte::{self, Baudrate, Error, Parity, Uarte};
use nrf52840_hal::{Twim, twim};

/// nRF52840-DK board.
pub struct Nrf52840Dk;

impl Board for Nrf52840Dk {
    const NAME: &'static str = "nrf52840-dk";

    type Link = Link;
    type Clock = Cycles<64_000_000>;
    type Flash = Nvmc<NVMC>;
    type Sensors = Twim<TWIM0>;
    type Status = Led;

    fn take() -> Option<Parts<Self>> {
        unsafe extern "C" {
            static mut _store_start: u8;
            static _store_size: u8;
        }
        let core = cortex_m::Peripherals::take()?;
        let device = Peripherals::take()?;
        if debug_port::keep_open(&mut Registers { uicr: &device.UICR, nvmc: &device.NVMC }) {
            SCB::sys_reset();
        }
        // The serial port needs the accuracy of the crystal.
        let _ = Clocks::new(device.CLOCK).enable_ext_hfosc();
        let pins = p0::Parts::new(device.P0);
        let line = uarte::Pins {
            txd: pins.p0_06.into_push_pull_output(Level::High).degrade(),
            rxd: pins.p0_08.into_floating_input().degrade(),
            cts: None,
            rts: None,
        };
        let bus = twim::Pins {
            scl: pins.p0_27.into_floating_input().degrade(),
            sda: pins.p0_26.into_floating_input().degrade(),
        };
        // SAFETY: the linker sets these symbols to a region of the memory script that is flash and lies outside all
        // sections. Only this value accesses it, as the peripherals are taken once.
        let store = unsafe { core::slice::from_raw_parts_mut(&raw mut _store_start, (&raw const _store_size).addr()) };
        Some(Parts {
            link: Link(Uarte::new(device.UARTE0, line, Parity::EXCLUDED, Baudrate::BAUD115200)),
            clock: Cycles::start(core.DCB, core.DWT),
            flash: Nvmc::new(device.NVMC, store),
            sensors: Twim::new(device.TWIM0, bus, twim::Frequency::K100),
            status: Led(pins.p0_13.into_push_pull_output(Level::High).degrade()),
        })
    }

    fn end(_: bool) -> ! {
        loop {
            cortex_m::asm::wfi();
        }
    }
}

/// Registers that control the debug port.
struct Registers<'a> {
    uicr: &'a UICR,
    nvmc: &'a NVMC,
}

impl Chip for Registers<'_> {
    fn description(&self) -> [u32; 2] {
        // SAFETY: two words of the chip's read-only description (FICR), which the device crate does not define.
        [0x1000_0130, 0x1000_0134].map(|address| unsafe { read_volatile(address as *const u32) })
    }

    fn protection(&self) -> u32 {
        self.uicr.approtect.read().bits()
    }

    fn program(&mut self) {
        let ready = || while self.nvmc.ready.read().ready().is_busy() {};
        self.nvmc.config.write(|w| w.wen().wen());
        ready();
        // SAFETY: the register takes this value on the chips for which this is called.
        self.uicr.approtect.write(|w| unsafe { w.bits(OPEN) });
        ready();
        self.nvmc.config.write(|w| w.wen().ren());
        ready();
    }

    fn open(&mut self) {
        // SAFETY: APPROTECT.DISABLE, which the device crate does not define and nothing else uses.
        unsafe { write_volatile(0x4000_0558 as *mut u32, OPEN) };
    }
}

/// Serial port, read byte by byte because a transfer ends only with its last byte.
pub struct Link(Uarte<UARTE0>);

impl ErrorType for Link {
    type Error = Error;
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        while self.0.read(core::slice::from_mut(first)).is_err() {}
        Ok(1)
    }
}

impl Write for Link {
    fn write(&mut self, buffer: &[u8]) -> Result<usize, Error> {
        if !buffer.is_empty() {
            self.0.write(buffer)?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        // `write` returns only after all bytes have been sent.
        Ok(())
    }
}

/// Light that shines while its pin is low.
pub struct Led(Pin<Output<PushPull>>);

impl digital::ErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.set_high()
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set_low()
    }
}
