//! Boards, one file each, with the board's memory script beside it. The feature of the same name selects one.

pub use crate::busy::Clock;
use core::panic::PanicInfo;

pub mod absent;
#[cfg(any(feature = "nucleo-f446re", feature = "nrf52840-dk", feature = "pico2"))]
mod cycles;
mod memory;
#[cfg(any(feature = "nucleo-f446re", feature = "pico2"))]
mod serial;

#[cfg(feature = "mps2-an386")]
mod mps2_an386;
#[cfg(feature = "mps2-an386")]
pub use mps2_an386::Mps2An386 as Selected;

#[cfg(feature = "riscv32-virt")]
mod riscv32_virt;
#[cfg(feature = "riscv32-virt")]
pub use riscv32_virt::Riscv32Virt as Selected;

#[cfg(feature = "nucleo-f446re")]
mod nucleo_f446re;
#[cfg(feature = "nucleo-f446re")]
pub use nucleo_f446re::NucleoF446re as Selected;

#[cfg(feature = "nrf52840-dk")]
mod debug_port;
#[cfg(feature = "nrf52840-dk")]
mod nrf52840_dk;
#[cfg(feature = "nrf52840-dk")]
pub use nrf52840_dk::Nrf52840Dk as Selected;

#[cfg(feature = "pico2")]
mod pico2;
#[cfg(feature = "pico2")]
pub use pico2::Pico2 as Selected;

/// Interface of a board for the programs here. [`absent`] provides stand-ins for parts that a board lacks.
pub trait Board: Sized {
    /// Name of the board, which is the name of its feature.
    const NAME: &'static str;

    /// Line to the workstation. Bytes that arrive damaged are dropped; the frame's checksum then fails.
    type Link: embedded_io::Read + embedded_io::Write;
    /// Clock for measuring time.
    type Clock: Clock;
    /// Flash for data that must survive a power cut, excluding the program and the image.
    type Flash: embedded_storage::nor_flash::NorFlash;
    /// Bus of the sensors.
    type Sensors: embedded_hal::i2c::I2c;
    /// Status light, off until it is set high.
    type Status: embedded_hal::digital::OutputPin;

    /// Sets up clocks and peripherals; `None` if they were taken before or fail to start.
    fn take() -> Option<Parts<Self>>;

    /// Ends the program. An emulator exits with status 0 on success, else 1; a real board idles until its reset.
    fn end(success: bool) -> !;
}

/// Parts of a board, returned by [`Board::take`].
pub struct Parts<B: Board> {
    /// [`Board::Link`].
    pub link: B::Link,
    /// [`Board::Clock`].
    pub clock: B::Clock,
    /// [`Board::Flash`].
    pub flash: B::Flash,
    /// [`Board::Sensors`].
    pub sensors: B::Sensors,
    /// [`Board::Status`].
    pub status: B::Status,
}

/// Returns the whole flash region of the image; the image lies at its start.
pub fn image() -> &'static [u8] {
    unsafe extern "C" {
        static _image_start: u8;
        static _image_size: u8;
    }
    // SAFETY: the linker sets these symbols to a region of the memory script that is readable for its whole length,
    // lies outside all sections and is never written.
    unsafe { core::slice::from_raw_parts(&raw const _image_start, (&raw const _image_size).addr()) }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    defmt::error!("panic");
    Selected::end(false)
}
