//! QEMU's generic 32-bit RISC-V machine (`qemu-system-riscv32 -machine virt -bios none`), which does not exist in
//! hardware.
//!
//! Its 16550 UART is the link; the log is written by semihosting.

use super::absent::{NoBus, NoFlash, NoPin};
use super::{Board, Clock, Parts};
use core::ptr::{NonNull, read_volatile, write_volatile};
use defmt_semihosting as _;
// Provides the critical section for a single hart.
use riscv as _;
use uart_16550::backend::MmioBackend;
use uart_16550::{Config, Uart16550};

/// Emulated machine.
pub struct Riscv32Virt;

impl Board for Riscv32Virt {
    const NAME: &'static str = "riscv32-virt";

    type Link = Uart16550<MmioBackend>;
    type Clock = Mtime;
    type Flash = NoFlash;
    type Sensors = NoBus;
    type Status = NoPin;

    fn take() -> Option<Parts<Self>> {
        // SAFETY: the registers of the machine's only UART, one byte apart, which nothing else uses.
        let mut link = unsafe { Uart16550::new_mmio(NonNull::new(0x1000_0000 as *mut u8)?, 1) }.ok()?;
        link.init(Config::DEFAULT).ok()?;
        Some(Parts { link, clock: Mtime, flash: NoFlash, sensors: NoBus, status: NoPin })
    }

    fn end(success: bool) -> ! {
        // Codes of the test device: pass, or fail with status 1.
        let word = if success { 0x5555 } else { 0x1_3333 };
        // SAFETY: the device's only register; writing to it ends the emulation.
        unsafe { write_volatile(0x10_0000 as *mut u32, word) };
        loop {
            core::hint::spin_loop();
        }
    }
}

/// Machine timer of the core-local interruptor.
pub struct Mtime;

impl Clock for Mtime {
    const TICKS_PER_SECOND: u32 = 10_000_000;

    fn now(&self) -> u32 {
        // SAFETY: the lower half of mtime, which may be read at any time.
        unsafe { read_volatile(0x0200_bff8 as *const u32) }
    }
}
