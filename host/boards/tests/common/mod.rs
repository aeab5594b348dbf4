//! ELF files for tests.
#![allow(dead_code, reason = "each test file uses its part")]

use graftage_boards::elf::STACK;
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// Builds an ELF file with these absolute symbols and sections, each section with name, flags and bytes.
pub fn elf(symbols: &[(&str, u64)], sections: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Arm, Endianness::Little);
    for (name, value) in symbols {
        object.add_symbol(Symbol {
            name: name.as_bytes().into(),
            value: *value,
            size: 0,
            kind: SymbolKind::Data,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Absolute,
            flags: SymbolFlags::None,
        });
    }
    for (name, flags, bytes) in sections {
        let section = object.add_section(vec![], name.as_bytes().into(), SectionKind::Data);
        object.append_section_data(section, bytes, 1);
        object.section_mut(section).flags = SectionFlags::Elf { sh_flags: u64::from(*flags) };
    }
    object.write().unwrap()
}

pub const SYMBOLS: [(&str, u64); 5] = [
    ("_board_nucleo_f446re", 0),
    ("_image_start", 0x0802_0000),
    ("_image_size", 2000),
    ("_flash_size", 100),
    ("_ram_size", STACK + 50),
];
/// Flags of a section: writable, allocated, executable.
pub const W: u32 = 1;
pub const A: u32 = 2;
pub const X: u32 = 4;

/// Returns sections that fill the flash of [`SYMBOLS`]: 60 + 30 + 10 bytes, the last 10 of them in RAM, too.
pub fn full(held: &[u8]) -> [(&'static str, u32, &[u8]); 7] {
    [
        (".text", A | X, &[1; 60]),
        (".rodata", A, &[1; 30]),
        (".data", A | W, &[1; 10]),
        (".stack", A | W, &[0; 999]),
        (".defmt", A, &[0; 999]),
        (".graftage", A, held),
        (".debug", 0, &[1; 999]),
    ]
}

/// Returns the little-endian bytes of `words`.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
