//! Tests of UF2 files, read by a reader that follows the format's specification.

use graftage_boards::elf::{Error, Firmware, Segment, segments};
use graftage_boards::uf2::{RP2350_ARM_SECURE, Uf2Error, encode};
use std::collections::BTreeMap;
use std::path::Path;

/// Returns the flash that a file writes, byte by byte, after checking every block against the specification.
fn read(file: &[u8], family: u32) -> BTreeMap<u32, u8> {
    assert!(file.len().is_multiple_of(512), "{} bytes", file.len());
    let blocks = file.len() / 512;
    let mut flash = BTreeMap::new();
    for (number, block) in file.chunks(512).enumerate() {
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
        assert_eq!((&block[..4], word(4), word(508)), (&b"UF2\n"[..], 0x9E5D5157, 0x0AB16F30));
        assert_eq!((word(8), word(28)), (0x2000, family), "the family is named, and nothing else is said");
        assert_eq!((word(20) as usize, word(24) as usize), (number, blocks));
        let (address, size) = (word(12), word(16));
        assert!(size == 256 && address.is_multiple_of(256), "{size} bytes at {address:#x}");
        for (place, byte) in (address..).zip(&block[32..][..256]) {
            assert_eq!(flash.insert(place, *byte), None, "{place:#x} is written twice");
        }
        assert!(block[32 + 256..508].iter().all(|byte| *byte == 0));
    }
    // Sectors are erased whole, so they must be written whole.
    assert!(flash.keys().filter(|place| place.is_multiple_of(4096)).all(|place| flash.contains_key(&(place + 4095))));
    assert!(flash.len().is_multiple_of(4096), "{} bytes", flash.len());
    flash
}

/// Builds an executable from segments: virtual address, load address and bytes of each.
fn executable(segments: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
    let word = |elf: &mut Vec<u8>, value: u32| elf.extend(value.to_le_bytes());
    [2, 40].iter().for_each(|value| half(&mut elf, *value));
    [1, 0x1000_0000, 52, 0, 0].iter().for_each(|value| word(&mut elf, *value));
    [52, 32, segments.len() as u16, 40, 0, 0].iter().for_each(|value| half(&mut elf, *value));
    let mut offset = 52 + 32 * segments.len() as u32;
    for (seen, loaded, bytes) in segments {
        let length = bytes.len() as u32;
        [1, offset, *seen, *loaded, length, length + 8, 5, 4].iter().for_each(|value| word(&mut elf, *value));
        offset += length;
    }
    segments.iter().for_each(|(_, _, bytes)| elf.extend(*bytes));
    elf
}

#[test]
fn a_file_writes_program_and_image_and_erases_what_lies_between_in_a_sector() {
    let (code, initial, image) = (vec![1; 5000], [2; 10], vec![3; 4097]);
    let elf = executable(&[
        (0x1000_0000, 0x1000_0000, &code),
        // Variables: seen in RAM, loaded after the code.
        (0x2000_0000, 0x1000_2000, &initial),
        (0x2000_1000, 0x2000_1000, &[]),
    ]);
    let mut all = segments(&elf).unwrap();
    let found = [Segment { address: 0x1000_0000, bytes: &code }, Segment { address: 0x1000_2000, bytes: &initial }];
    assert_eq!(all, found);
    all.insert(0, Segment { address: 0x1020_0000, bytes: &image });
    let flash = read(&encode(RP2350_ARM_SECURE, &all).unwrap(), 0xE48B_FF59);
    let mut expected = BTreeMap::new();
    let erased = |sector: u32| (sector..sector + 4096).map(|place| (place, 0xff));
    [0x1000_0000, 0x1000_1000, 0x1000_2000, 0x1020_0000, 0x1020_1000].into_iter().for_each(|sector| {
        expected.extend(erased(sector));
    });
    for Segment { address, bytes } in all {
        expected.extend((address as u32..).zip(bytes.iter().copied()));
    }
    assert!(flash == expected);
}

#[test]
fn segments_that_overlap_or_lie_outside_the_flash_are_refused() {
    let segment = |address, bytes| Segment { address, bytes };
    let encoded = |segments: &[Segment]| encode(RP2350_ARM_SECURE, segments).map(|file| file.len());
    assert_eq!(
        encoded(&[segment(0x1000_0000, &[1; 9]), segment(0x1000_0008, &[2])]),
        Err(Uf2Error::Twice(0x1000_0008))
    );
    assert_eq!(encoded(&[segment(0x1000_0008, &[2]), segment(0x1000_0000, &[1; 8])]), Ok(16 * 512));
    for range in [0x0fff_ffff..0x1000_0000, 0x10ff_ffff..0x1100_0001, 0x2000_0000..0x2000_0001, u64::MAX..u64::MAX] {
        let bytes = vec![0; (range.end - range.start).max(1) as usize];
        let error = encoded(&[Segment { address: range.start, bytes: &bytes }]).unwrap_err();
        assert!(error.to_string().contains("are not in the flash"), "{error}");
        assert_eq!(error, Uf2Error::Outside(range));
    }
}

#[test]
fn an_executable_that_is_cut_is_told() {
    let elf = executable(&[(0x1000_0000, 0x1000_0000, &[1; 100])]);
    for length in [0, 40, 60, elf.len() - 1] {
        assert!(matches!(segments(&elf[..length]), Err(Error::NotElf(_))), "{length}");
    }
}

#[test]
fn the_boot_rom_finds_what_a_firmware_for_the_pico_2_is() {
    let elf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/target/boards/pico2/adapt");
    let Ok(elf) = std::fs::read(elf) else {
        assert!(std::env::var_os("GRAFTAGE_REQUIRE_BOARD").is_none(), "the firmware for pico2 is not built");
        return;
    };
    // Image and program share no sector.
    assert!(Firmware::read(&elf).unwrap().image.start.is_multiple_of(4096));
    let flash = read(&encode(RP2350_ARM_SECURE, &segments(&elf).unwrap()).unwrap(), 0xE48B_FF59);
    let word = |address: u32| u32::from_le_bytes([0, 1, 2, 3].map(|byte| flash[&(address + byte)]));
    // Vector table: a stack in RAM, and an entry point in this flash, in Thumb code.
    assert!((0x2000_0001..=0x2008_2000).contains(&word(0x1000_0000)));
    assert!(flash.contains_key(&word(0x1000_0004)) && word(0x1000_0004) % 2 == 1);
    // The first 4 KiB hold one block for the boot ROM, whose first item is that of a program for an Arm core in secure
    // state.
    let starts = (0x1000_0000..0x1000_1000).step_by(4).filter(|place| word(*place) == 0xffff_ded3);
    assert_eq!(starts.map(|place| word(place + 4)).collect::<Vec<_>>(), [0x1021_0142]);
}
