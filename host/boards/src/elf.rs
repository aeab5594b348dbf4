//! Reader of a firmware's ELF file: its board, the place of its image, and its use of flash and RAM.
//!
//! The firmware's build script defines symbols for the board and its memory. The program puts the sizes of what its RAM
//! holds into a section that is not loaded.

use crate::{BOARDS, Board};
use object::elf::{PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE};
use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Endianness, File, Object, ObjectSection, ObjectSymbol, SectionFlags};
use std::fmt;

/// Minimum RAM left for the stack, in bytes. A test on the emulated board checks that it is enough.
pub const STACK: u64 = 16 * 1024;

/// Section that says what the RAM holds: a little-endian u32, in bytes, for each of [`HELD`].
const SECTION: &str = ".graftage";
const HELD: [&str; 8] = [
    "weights",
    "query points",
    "momenta",
    "weights in use",
    "replay buffer",
    "held-out samples",
    "scratch memory",
    "link",
];

/// Parts of [`HELD`] that the device saves.
const SAVED: &[&str] = HELD.split_at(6).0;

/// Description of a firmware, read from its ELF file.
#[derive(Debug, PartialEq)]
pub struct Firmware {
    /// Board that the firmware is built for.
    pub board: &'static Board,
    /// Region of the flash for the image.
    pub image: Region,
    /// Flash without the image.
    pub flash: Memory,
    /// RAM without the stack.
    pub ram: Memory,
}

/// Range of addresses.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Size in bytes.
    pub size: u64,
}

/// Name and size in bytes of each part of a memory.
pub type Parts = Vec<(&'static str, u64)>;

/// Size of a memory and the parts of it that are in use.
#[derive(Clone, PartialEq, Debug)]
pub struct Memory {
    /// Size of the whole memory, in bytes.
    pub size: u64,
    /// Parts in use.
    pub parts: Parts,
}

impl Memory {
    /// Returns the number of bytes in use.
    pub fn used(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Reason why a file is not a firmware, or a firmware does not fit.
#[derive(Clone, PartialEq, Debug)]
pub enum Error {
    /// The file is not an ELF file.
    NotElf(String),
    /// The ELF file is not a firmware of this project.
    NoFirmware,
    /// Something does not fit into its memory.
    TooLarge {
        /// Name of what does not fit.
        what: &'static str,
        /// Bytes needed.
        needs: u64,
        /// Bytes available.
        has: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NotElf(why) => write!(f, "not an ELF file ({why})"),
            Self::NoFirmware => f.write_str("not a firmware of this project"),
            Self::TooLarge { what, needs, has } => {
                write!(f, "{what}: {needs} bytes, {} more than the board's {has}", needs - has)
            }
        }
    }
}

impl std::error::Error for Error {}

impl Firmware {
    /// Reads a firmware from the bytes of its ELF file.
    ///
    /// # Errors
    /// If `bytes` is not an ELF file, or not that of a firmware.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let file = File::parse(bytes).map_err(|error| Error::NotElf(error.to_string()))?;
        let symbol = |name: &str| {
            let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
            found.map(|symbol| symbol.address()).ok_or(Error::NoFirmware)
        };
        let named = |board: &&Board| symbol(&format!("_board_{}", board.name.replace('-', "_"))).is_ok();
        let board = BOARDS.iter().find(named).ok_or(Error::NoFirmware)?;
        let image = Region { start: symbol("_image_start")?, size: symbol("_image_size")? };
        let (flash, ram) = parts(&file);
        Ok(Self {
            board,
            image,
            flash: Memory { size: symbol("_flash_size")?, parts: flash },
            ram: Memory { size: symbol("_ram_size")?, parts: ram },
        })
    }

    /// Returns the size of the state that the device saves, arrays and samples, in bytes without a header.
    pub fn state(&self) -> u64 {
        self.ram.parts.iter().filter(|(part, _)| SAVED.contains(part)).map(|(_, bytes)| bytes).sum()
    }

    /// Checks that the firmware fits its board with [`STACK`] to spare, and that an image of `image` bytes fits, too.
    ///
    /// # Errors
    /// [`Error::TooLarge`], with the numbers.
    pub fn fits(&self, image: u64) -> Result<(), Error> {
        let needs = [
            ("flash", self.flash.used(), self.flash.size),
            ("RAM with the minimum stack", self.ram.used() + STACK, self.ram.size),
            ("image", image, self.image.size),
        ];
        let exceeding = needs.into_iter().find(|(_, needs, has)| needs > has);
        exceeding.map_or(Ok(()), |(what, needs, has)| Err(Error::TooLarge { what, needs, has }))
    }
}

/// Bytes to load to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Load address.
    pub address: u64,
    /// Bytes.
    pub bytes: &'a [u8],
}

/// Returns the segments that a program is loaded with. Initial values lie in flash.
///
/// # Errors
/// [`Error::NotElf`].
pub fn segments(elf: &[u8]) -> Result<Vec<Segment<'_>>, Error> {
    let failed = |error: object::Error| Error::NotElf(error.to_string());
    let file = ElfFile32::<Endianness>::parse(elf).map_err(failed)?;
    let endian = file.endian();
    let loaded = file.elf_program_headers().iter().filter(|header| header.p_type(endian) == PT_LOAD);
    let segments = loaded.map(|header| {
        let bytes = header.data(endian, elf).map_err(|()| Error::NotElf("a segment is outside the file".into()))?;
        Ok(Segment { address: header.p_paddr(endian).into(), bytes })
    });
    segments.filter(|segment| !matches!(segment, Ok(Segment { bytes: [], .. }))).collect()
}

/// Memory that a program takes, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    /// Flash.
    pub flash: u64,
    /// RAM without the stack.
    pub ram: u64,
}

/// Returns the memory that the program in any ELF file takes.
///
/// # Errors
/// [`Error::NotElf`].
pub fn footprint(bytes: &[u8]) -> Result<Footprint, Error> {
    let file = File::parse(bytes).map_err(|error| Error::NotElf(error.to_string()))?;
    let (flash, ram) = parts(&file);
    let sum = |parts: Parts| parts.iter().map(|(_, bytes)| bytes).sum();
    Ok(Footprint { flash: sum(flash), ram: sum(ram) })
}

/// Returns the parts of flash and RAM. It counts the sections that are loaded or hold variables, except for the stack
/// and the heap of riscv-rt, which take all remaining RAM.
fn parts(file: &File) -> (Parts, Parts) {
    let [mut code, mut constants, mut initial, mut variables] = [0; 4];
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        let has = |flag: u32| sh_flags & u64::from(flag) != 0;
        let left = section.name().is_ok_and(|name| [".stack", ".heap", ".defmt", SECTION].contains(&name));
        if left || !has(SHF_ALLOC) {
            continue;
        }
        let size = section.size();
        match (has(SHF_EXECINSTR), has(SHF_WRITE)) {
            (true, _) => code += size,
            (false, false) => constants += size,
            (false, true) => {
                variables += size;
                initial += section.file_range().map_or(0, |(_, size)| size);
            }
        }
    }
    let held = file.section_by_name(SECTION).and_then(|section| section.data().ok()).unwrap_or_default();
    let words = held.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_le_bytes(*word)));
    let mut ram: Parts = HELD.into_iter().zip(words).collect();
    let rest = variables.saturating_sub(ram.iter().map(|(_, bytes)| bytes).sum());
    ram.push(("other variables", rest));
    (vec![("code", code), ("constants", constants), ("initial values", initial)], ram)
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (name, memory) in [("flash without weights", &self.flash), ("RAM without the stack", &self.ram)] {
            writeln!(f, "{name:<24}{:>9} of {} bytes on {}", memory.used(), memory.size, self.board.name)?;
            for (part, bytes) in &memory.parts {
                writeln!(f, "  {part:<22}{bytes:>9}")?;
            }
        }
        write!(f, "room for an image       {:>9} bytes at {:#x}", self.image.size, self.image.start)
    }
}
