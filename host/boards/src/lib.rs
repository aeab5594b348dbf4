//! Boards of the firmware, as a workstation sees them: the compiler's target for each, how it runs, and what a
//! firmware's ELF file says about itself.

pub mod elf;
pub mod files;
mod option;
pub mod qemu;
pub mod store;
pub mod uf2;

use qemu::Machine;
use std::fmt;

/// Board that the firmware supports.
#[derive(Debug, PartialEq)]
pub struct Board {
    /// Name, which is also the firmware's cargo feature.
    pub name: &'static str,
    /// Target triple of the compiler.
    pub target: &'static str,
    /// Way in which the board runs.
    pub runs: Runs,
}

/// Way in which a board runs.
#[derive(Debug, PartialEq)]
pub enum Runs {
    /// Emulated in QEMU.
    Emulated(Machine),
    /// Real hardware, flashed with probe-rs.
    Probed {
        /// Name of the chip in probe-rs.
        chip: &'static str,
        /// Family of the UF2 files that the boot ROM takes, if it takes any.
        uf2: Option<u32>,
    },
}

/// All supported boards.
pub const BOARDS: [Board; 5] = [
    // This machine calls all four I²C buses `i2c`; QEMU picks the one that it created last, at 0x4002A000.
    emulated(
        "mps2-an386",
        "thumbv7em-none-eabihf",
        Machine { program: "qemu-system-arm", machine: "mps2-an386", bus: Some("i2c") },
    ),
    emulated(
        "riscv32-virt",
        "riscv32imac-unknown-none-elf",
        Machine { program: "qemu-system-riscv32", machine: "virt -bios none", bus: None },
    ),
    probed("nucleo-f446re", "thumbv7em-none-eabihf", "STM32F446RETx", None),
    probed("nrf52840-dk", "thumbv7em-none-eabihf", "nRF52840_xxAA", None),
    probed("pico2", "thumbv8m.main-none-eabihf", "RP235x", Some(uf2::RP2350_ARM_SECURE)),
];

/// Board that is used if none is named.
pub const DEFAULT: &Board = &BOARDS[0];

const fn emulated(name: &'static str, target: &'static str, machine: Machine) -> Board {
    Board { name, target, runs: Runs::Emulated(machine) }
}

const fn probed(name: &'static str, target: &'static str, chip: &'static str, uf2: Option<u32>) -> Board {
    Board { name, target, runs: Runs::Probed { chip, uf2 } }
}

impl Board {
    /// Returns the board with this name.
    ///
    /// # Errors
    /// If there is no such board. The error lists the known names.
    pub fn find(name: &str) -> Result<&'static Self, Unknown> {
        BOARDS.iter().find(|board| board.name == name).ok_or_else(|| Unknown(name.to_owned()))
    }

    /// Returns the QEMU machine of an emulated board; `None` for other boards.
    pub fn machine(&self) -> Option<&Machine> {
        match &self.runs {
            Runs::Emulated(machine) => Some(machine),
            Runs::Probed { .. } => None,
        }
    }
}

/// A name that no board has.
#[derive(Clone, PartialEq, Debug)]
pub struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let known = BOARDS.map(|board| board.name).join(", ");
        write!(f, "unknown board {:?}; the boards are {known}", self.0)
    }
}

impl std::error::Error for Unknown {}

/// Returns the checksum stored at the end of the weights image at the start of `bytes`, which tells images apart;
/// `None` if the image is cut short.
///
/// A checksum over a whole image, its stored checksum included, would be the same for all images.
pub fn identity(bytes: &[u8]) -> Option<u32> {
    let length = u32::from_le_bytes(*bytes.get(6..10)?.first_chunk()?);
    bytes.get(..length as usize)?.last_chunk().map(|sum| u32::from_le_bytes(*sum))
}
