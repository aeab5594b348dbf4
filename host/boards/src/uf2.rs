//! Files in the UF2 format (<https://github.com/microsoft/uf2>). A boot ROM appears as a disk, takes such a file and
//! writes it to flash.
//!
//! No block with the family "absolute" comes first. It would let an RP2350 of revision A2 whose flash has a partition
//! table take the file (erratum RP2350-E10), but would also erase the last sector of that flash. This module writes no
//! partition table.

use crate::elf::Segment;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// Family of programs for the Arm cores of an RP2350 in secure state.
pub const RP2350_ARM_SECURE: u32 = 0xe48b_ff59;

/// Addresses of the flash of an RP2350: the window of the first chip.
const FLASH: Range<u64> = 0x1000_0000..0x1100_0000;
/// Size of a sector, which is erased as a whole, in bytes.
const SECTOR: usize = 4096;
/// Size of a page, in bytes. A block holds one page.
const PAGE: usize = 256;
/// Bytes of a block for data and padding.
const DATA: usize = 476;
const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;
/// Flag of a block that names its family.
const FAMILY: u32 = 0x2000;

/// Reason why some bytes cannot be in one file.
#[derive(Clone, PartialEq, Debug)]
pub enum Uf2Error {
    /// The bytes do not lie in the flash.
    Outside(Range<u64>),
    /// Two segments overlap, from this address on.
    Twice(u64),
}

impl fmt::Display for Uf2Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Outside(Range { start, end }) => {
                let (first, last) = (FLASH.start, FLASH.end);
                write!(f, "bytes from {start:#x} to {end:#x} are not in the flash, which is {first:#x} to {last:#x}")
            }
            Self::Twice(address) => write!(f, "program and image overlap at {address:#x}"),
        }
    }
}

impl std::error::Error for Uf2Error {}

/// Encodes a file that writes segments to flash. The rest of each sector that they touch is filled with 0xff: a boot
/// ROM erases whole sectors, and may erase one again between two parts of it.
///
/// # Errors
/// If segments lie outside the flash or overlap.
pub fn encode(family: u32, segments: &[Segment]) -> Result<Vec<u8>, Uf2Error> {
    let mut segments = segments.to_vec();
    segments.sort_unstable_by_key(|segment| segment.address);
    let (mut sectors, mut written) = (BTreeMap::new(), FLASH.start);
    for Segment { address, bytes } in segments {
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
        // Addresses of the flash have 32 bits.
        let words = [MAGIC[0], MAGIC[1], FAMILY, address as u32, PAGE as u32, number, count, family];
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(page);
        file.extend([0; DATA - PAGE]);
        file.extend(MAGIC_END.to_le_bytes());
    }
    Ok(file)
}
