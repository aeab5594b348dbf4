//! Arm's MPS2 board with the Cortex-M4F image AN386, as QEMU emulates it (`-machine mps2-an386`).
//!
//! UART 0 is the link; the log is written by semihosting.

mod sbcon;

use super::{Board, Clock, Parts};
use crate::eeprom::Eeproms;
use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};
use cortex_m::asm::wfi;
use cortex_m::interrupt;
use cortex_m::peripheral::NVIC;
use defmt_semihosting as _;
use embedded_hal::digital::{self, OutputPin};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use sbcon::Sbcon;

/// MPS2 board with AN386.
pub struct Mps2An386;

unsafe extern "C" {
    fn DefaultHandler();
}

/// Interrupt vectors of the board, placed where the processor looks for them.
// SAFETY: the start-up code expects this name in this section if no device crate defines it.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 32] = {
    let mut handlers = [DefaultHandler as unsafe extern "C" fn(); 32];
    handlers[0] = received;
    handlers
};

/// Handles the receive interrupt of UART 0, which wakes the processor.
extern "C" fn received() {
    // SAFETY: a write to this register clears interrupts, and has no other effect.
    unsafe { write_volatile(UART0.add(INTERRUPT), RECEIVED) };
}

impl Board for Mps2An386 {
    const NAME: &'static str = "mps2-an386";

    type Link = Uart;
    type Clock = Timer;
    type Flash = Eeproms<Sbcon>;
    type Sensors = Sbcon;
    type Status = Led;

    fn take() -> Option<Parts<Self>> {
        let core = cortex_m::Peripherals::take()?;
        // The emulator can attach a device only to this one of the board's four buses, so store and sensors share it.
        // SAFETY: the I²C bus of the second shield, which nothing else uses.
        let sensors = unsafe { Sbcon::at(0x4002_a000) };
        let flash = Eeproms::find(sensors.clone());
        Some(Parts { link: Uart::start(&core.NVIC), clock: Timer::start(), flash, sensors, status: Led })
    }

    fn end(success: bool) -> ! {
        semihosting::process::exit(i32::from(!success))
    }
}

/// CMSDK APB UART (Arm DDI 0479, §4.3).
pub struct Uart(*mut u32);

const UART0: *mut u32 = 0x4000_4000 as *mut u32;
const STATE: usize = 1;
const CONTROL: usize = 2;
const INTERRUPT: usize = 3;
const DIVIDER: usize = 4;
const RECEIVED: u32 = 2;
const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;

impl Uart {
    /// Enables UART 0 and its receive interrupt.
    fn start(interrupts: &NVIC) -> Self {
        let uart = Self(UART0);
        // SAFETY: enables the first of the board's interrupts, which has a handler.
        unsafe { interrupts.iser[0].write(1) };
        // Smallest divider that the hardware accepts.
        uart.write_register(DIVIDER, 16);
        // Enables transmitter, receiver and receive interrupt.
        uart.write_register(CONTROL, 1 | 2 | 8);
        uart
    }

    fn read_register(&self, index: usize) -> u32 {
        // SAFETY: registers of the UART of this board, which nothing but this value uses.
        unsafe { read_volatile(self.0.add(index)) }
    }

    fn write_register(&self, index: usize, value: u32) {
        // SAFETY: as above.
        unsafe { write_volatile(self.0.add(index), value) }
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        while !self.read_ready()? {
            // A spinning processor would occupy a whole core of the emulator's host. With interrupts held back, a byte
            // that arrives between the check and the wait still ends the wait.
            interrupt::free(|_| {
                self.read_ready().map(|ready| {
                    if !ready {
                        wfi()
                    }
                })
            })?;
        }
        *first = self.read_register(0) as u8;
        Ok(1)
    }
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.read_register(STATE) & RECEIVE_FULL != 0)
    }
}

impl Write for Uart {
    fn write(&mut self, buffer: &[u8]) -> Result<usize, Infallible> {
        for byte in buffer {
            while self.read_register(STATE) & TRANSMIT_FULL != 0 {}
            self.write_register(0, u32::from(*byte));
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while self.read_register(STATE) & TRANSMIT_FULL != 0 {}
        Ok(())
    }
}

/// CMSDK APB timer 0 (Arm DDI 0479, §4.4), which counts down from 2^32 − 1.
pub struct Timer(*mut u32);

impl Timer {
    /// Starts timer 0.
    fn start() -> Self {
        let timer = Self(0x4000_0000 as *mut u32);
        // SAFETY: registers of the timer of this board, which nothing but this value uses: reload, value, enable.
        unsafe {
            write_volatile(timer.0.add(2), u32::MAX);
            write_volatile(timer.0.add(1), u32::MAX);
            write_volatile(timer.0, 1);
        }
        timer
    }
}

impl Clock for Timer {
    const TICKS_PER_SECOND: u32 = 25_000_000;

    fn now(&self) -> u32 {
        // SAFETY: as above.
        !unsafe { read_volatile(self.0.add(1)) }
    }
}

/// First of the two lights of the FPGA's system registers (Arm DAI 0386, §4.4).
pub struct Led;

impl Led {
    fn set(&self, on: bool) {
        // SAFETY: the register of the lights, which nothing but this value uses.
        unsafe { write_volatile(0x4002_8000 as *mut u32, u32::from(on)) }
    }
}

impl digital::ErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }
}
