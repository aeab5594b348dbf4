//! The boards of the firmware, as a workstation sees them: for which target each is built, how it runs, and what a
//! firmware's ELF file says of its own.

pub mod elf;
pub mod files;
pub mod qemu;
pub mod store;
pub mod uf2;

use qemu::Machine;
use std::fmt;

/// A board.
#[derive(Debug, PartialEq)]
pub struct Board {
    /// What it is called: the feature of the firmware, too.
    pub name: &'static str,
    /// Its target in the compiler's words.
    pub target: &'static str,
    /// How it runs.
    pub runs: Runs,
}

/// How a board runs.
#[derive(Debug, PartialEq)]
pub enum Runs {
    /// In QEMU.
    Emulated(Machine),
    /// On somebody's table, flashed by probe-rs.
    Probed {
        /// Its chip, as probe-rs calls it.
        chip: &'static str,
        /// The family of UF2 files that its boot ROM takes, where it takes any.
        uf2: Option<u32>,
    },
}

/// All of them.
pub const BOARDS: [Board; 5] = [
    // All four of its buses are called `i2c`: QEMU takes the last that it made, at 0x4002A000.
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

/// The one that is meant where none is named.
pub const DEFAULT: &Board = &BOARDS[0];

const fn emulated(name: &'static str, target: &'static str, machine: Machine) -> Board {
    Board { name, target, runs: Runs::Emulated(machine) }
}

const fn probed(name: &'static str, target: &'static str, chip: &'static str, uf2: Option<u32>) -> Board {
    Board { name, target, runs: Runs::Probed { chip, uf2 } }
}

impl Board {
    /// The board of that name.
    ///
    /// # Errors
    /// Where there is none; the error names those that there are.
    pub fn find(name: &str) -> Result<&'static Self, Unknown> {
        BOARDS.iter().find(|board| board.name == name).ok_or_else(|| Unknown(name.to_owned()))
    }

    /// Its machine, where it is emulated.
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
        write!(f, "there is no board {:?}, only {known}", self.0)
    }
}

impl std::error::Error for Unknown {}

/// Checksum at the end of the weights image at the start of these bytes, which tells images apart; `None` where it is cut short.
///
/// Over a whole image, its own checksum included, the checksum is the same for all of them.
pub fn identity(bytes: &[u8]) -> Option<u32> {
    let length = u32::from_le_bytes(*bytes.get(6..10)?.first_chunk()?);
    bytes.get(..length as usize)?.last_chunk().map(|sum| u32::from_le_bytes(*sum))
}
