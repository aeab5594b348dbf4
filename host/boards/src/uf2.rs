//! Files in the UF2 format (<https://github.com/microsoft/uf2>), which a boot ROM takes as a disk and writes to flash.
//!
//! No block with the family "absolute" comes first: it lets an RP2350 of revision A2 whose flash has a partition table
//! take the file (erratum RP2350-E10), and there erases the last sector of the flash. No partition table is written
//! here.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// The family of programs for the Arm cores of an RP2350 in secure state.
pub const RP2350_ARM_SECURE: u32 = 0xe48b_ff59;

/// The flash as an RP2350 sees it: the window of the first chip.
const FLASH: Range<u64> = 0x1000_0000..0x1100_0000;
/// Bytes that are erased at once.
const SECTOR: usize = 4096;
/// Bytes of a page, which a block holds.
const PAGE: usize = 256;
/// Bytes of a block that are data or padding.
const DATA: usize = 476;
const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;
/// The flag that says that a block names its family.
const FAMILY: u32 = 0x2000;

/// A reason why some bytes cannot be in one file.
#[derive(Clone, PartialEq, Debug)]
pub enum Uf2Error {
    /// They do not lie in the flash.
    Outside(Range<u64>),
    /// Bytes are given twice, from this address on.
    Twice(u64),
}

impl fmt::Display for Uf2Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Outside(Range { start, end }) => {
                let (first, last) = (FLASH.start, FLASH.end);
                write!(f, "bytes from {start:#x} to {end:#x} do not lie in the flash, {first:#x} to {last:#x}")
            }
            Self::Twice(address) => write!(f, "program and image overlap at {address:#x}"),
        }
    }
}

impl std::error::Error for Uf2Error {}

/// A file that writes these bytes to these addresses of a flash. It fills each sector that they touch with 0xff, as a
/// boot ROM erases whole sectors and may erase one again between two parts of it.
///
/// # Errors
/// Where bytes lie outside of the flash, or overlap.
pub fn encode(family: u32, pieces: &[(u64, &[u8])]) -> Result<Vec<u8>, Uf2Error> {
    let mut pieces = pieces.to_vec();
    pieces.sort_unstable_by_key(|(address, _)| *address);
    let (mut sectors, mut written) = (BTreeMap::new(), FLASH.start);
    for (address, bytes) in pieces {
        let range = address..address.saturating_add(bytes.len() as u64);
        if range.start < FLASH.start || range.end > FLASH.end {
            return Err(Uf2Error::Outside(range));
        }
        if range.start < written {
            return Err(Uf2Error::Twice(range.start));
        }
        written = range.end;
        for (place, byte) in range.zip(bytes) {
            let sector = sectors.entry(place / SECTOR as u64).or_insert([0xff; SECTOR]);
            sector[place as usize % SECTOR] = *byte;
        }
    }
    let pages = sectors.iter().flat_map(|(sector, bytes)| {
        let addresses = (sector * SECTOR as u64..).step_by(PAGE);
        addresses.zip(bytes.chunks(PAGE))
    });
    let count = (sectors.len() * (SECTOR / PAGE)) as u32;
    let mut file = Vec::new();
    for (number, (address, page)) in (0..).zip(pages) {
        // An address of the flash has 32 bits.
        let words = [MAGIC[0], MAGIC[1], FAMILY, address as u32, PAGE as u32, number, count, family];
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(page);
        file.extend([0; DATA - PAGE]);
        file.extend(MAGIC_END.to_le_bytes());
    }
    Ok(file)
}
