//! Arm's MPS2 board with the Cortex-M4F image AN386, as QEMU emulates it (`-machine mps2-an386`).
//!
//! Memory as in `memory.x`; the weights image lies in the upper half of the flash. UART 0 is the link; the log leaves by
//! semihosting.

use super::sbcon::Sbcon;
use crate::eeprom::Eeproms;
use crate::store::Store;
use core::convert::Infallible;
use core::ptr::{read_volatile, write_volatile};
use cortex_m_semihosting::debug;
use defmt_semihosting as _;
use embedded_io::{ErrorType, Read, Write};
use embedded_storage::nor_flash::ReadNorFlash;

/// What the board calls itself.
pub const NAME: &str = "mps2-an386";

/// Where the image lies, and how much room it has.
const IMAGE: (usize, usize) = (0x0020_0000, 0x0020_0000);

/// The flash in which the image lies.
pub fn image() -> &'static [u8] {
    // SAFETY: the region is flash of this board, readable for its whole length, outside all sections of `memory.x`, and
    // nothing writes to it.
    unsafe { core::slice::from_raw_parts(IMAGE.0 as *const u8, IMAGE.1) }
}

/// The store in the EEPROMs on the I²C bus of the second shield; `None` where there are none.
pub fn store() -> Option<Store<Eeproms<Sbcon>>> {
    // SAFETY: an SBCon of this board, which nothing else uses.
    let eeproms = Eeproms::find(unsafe { Sbcon::at(0x4002_a000) })?;
    let end = eeproms.capacity() as u32;
    Store::new(eeproms, 0..end).ok()
}

/// CMSDK APB UART (Arm DDI 0479, §4.3).
pub struct Uart(*mut u32);

const STATE: usize = 1;
const CONTROL: usize = 2;
const DIVIDER: usize = 4;
const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;

impl Uart {
    /// UART 0, enabled.
    pub fn link() -> Self {
        let uart = Self(0x4000_4000 as *mut u32);
        // The least divider that the hardware takes.
        uart.write_register(DIVIDER, 16);
        // Transmit and receive enable.
        uart.write_register(CONTROL, 3);
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
        while self.read_register(STATE) & RECEIVE_FULL == 0 {}
        *first = self.read_register(0) as u8;
        Ok(1)
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

/// CMSDK APB timer 0 (Arm DDI 0479, §4.4), which counts down from 2^32 at 25 MHz.
pub struct Timer(*mut u32);

impl Timer {
    /// Timer 0, running.
    pub fn start() -> Self {
        let timer = Self(0x4000_0000 as *mut u32);
        // SAFETY: registers of the timer of this board, which nothing but this value uses: reload, value, enable.
        unsafe {
            write_volatile(timer.0.add(2), u32::MAX);
            write_volatile(timer.0.add(1), u32::MAX);
            write_volatile(timer.0, 1);
        }
        timer
    }

    /// Ticks left.
    pub fn now(&self) -> u32 {
        // SAFETY: as above.
        unsafe { read_volatile(self.0.add(1)) }
    }

    /// Instructions since then, where the emulator gives each 32 ns (`-icount shift=5`) and a tick is 40 ns; at most two
    /// off.
    pub fn instructions_since(&self, then: u32) -> u64 {
        u64::from(then.wrapping_sub(self.now())) * 40 / 32
    }
}

/// Ends the emulation: status 0 when all went well, else 1.
pub fn exit(success: bool) -> ! {
    debug::exit(if success { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    defmt::error!("panic");
    exit(false)
}
