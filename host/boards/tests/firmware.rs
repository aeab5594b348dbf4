//! Tests that read back built firmware and its source, which must keep a real board reachable.

use object::{Object, ObjectSection};
use std::path::{Path, PathBuf};

fn firmware(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware").join(path)
}

/// Returns the constants that Thumb code stores to constant addresses, as (address, value). It reads instruction by
/// instruction, follows constants through the registers, and follows no branch. Only immediate-offset stores of words
/// are found.
fn stores(code: &[u8], start: u32) -> Vec<(u32, u32)> {
    let halves: Vec<u32> = code.chunks_exact(2).map(|half| u32::from(u16::from_le_bytes([half[0], half[1]]))).collect();
    let half = |at: usize| halves.get(at).copied().unwrap_or_default();
    // Word of the literals behind the code. Its offset counts from the instruction's address plus four, rounded down to
    // a word.
    let literal = |at: usize, offset: u32| {
        let place = ((start + 2 * at as u32 + 4) & !3) + offset - start;
        Some(half(place as usize / 2) | half(place as usize / 2 + 1) << 16)
    };
    let (mut registers, mut found, mut at) = ([None; 16], Vec::new(), 0);
    while at < halves.len() {
        let (first, second) = (half(at), half(at + 1));
        let low = |shift: u32| (first >> shift & 7) as usize;
        let (base, target) = ((first & 15) as usize, (second >> 12) as usize);
        let immediate = (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xff;
        let register = (second >> 8 & 15) as usize;
        let mut store = |registers: &[Option<u32>; 16], base: usize, offset: u32, value: usize| {
            if let (Some(base), Some(value)) = (registers[base], registers[value]) {
                found.push((base.wrapping_add(offset), value));
            }
        };
        match first {
            // LDR from a literal, MOVS, MOV, STR.
            0x4800..=0x4fff => registers[low(8)] = literal(at, 4 * (first & 0xff)),
            0x2000..=0x27ff => registers[low(8)] = Some(first & 0xff),
            0x4600..=0x46ff => registers[low(0) | (first >> 4 & 8) as usize] = registers[(first >> 3 & 15) as usize],
            0x6000..=0x67ff => store(&registers, low(3), 4 * (first >> 6 & 31), low(0)),
            // The same instructions in 32 bits, then MOVW and MOVT.
            0xf8df => registers[target] = literal(at, second & 0xfff),
            0xf8c0..=0xf8cf => store(&registers, base, second & 0xfff, target),
            0xf04f | 0xf44f if second >> 15 == 0 => {
                registers[register] = match immediate >> 8 {
                    0 => Some(immediate),
                    // Constants of repeated bytes are never looked for.
                    1..=3 => None,
                    _ => Some((0x80 | immediate & 0x7f).rotate_right(immediate >> 7)),
                }
            }
            0xf240..=0xf24f | 0xf640..=0xf64f => registers[register] = Some((base as u32) << 12 | immediate),
            0xf2c0..=0xf2cf | 0xf6c0..=0xf6cf => {
                registers[register] =
                    registers[register].map(|low: u32| low & 0xffff | ((base as u32) << 12 | immediate) << 16);
            }
            _ => {}
        }
        // An instruction has one or two halfwords.
        at += if first >> 11 > 0x1c { 2 } else { 1 };
    }
    found
}

#[test]
fn constants_are_followed_to_where_they_are_stored() {
    let code: [u16; 20] = [
        0x4904, // ldr r1, [pc, #16]
        0x205a, // movs r0, #90
        0x6008, // str r0, [r1]
        0x4682, // mov r10, r0
        0xf04f, 0x4280, // mov.w r2, #0x40000000
        0xf8c2, 0xa558, // str.w r10, [r2, #0x558]
        0xf241, 0x2308, // movw r3, #0x1208
        0x1208, 0x1000, // the literal
        0xf2c1, 0x0300, // movt r3, #0x1000
        0x6018, // str r0, [r3]
        0xf8c4, 0x0000, // str.w r0, [r4]; r4 is unknown
        0xbf00, 0xbf00, 0xbf00,
    ];
    let code: Vec<u8> = code.iter().flat_map(|half| half.to_le_bytes()).collect();
    assert_eq!(stores(&code, 0x400), [(0x1000_1208, 0x5a), (0x4000_0558, 0x5a), (0x1000_1208, 0x5a)]);
}

#[test]
fn the_firmware_of_the_nrf52840_keeps_its_debug_port_open() {
    let Ok(elf) = std::fs::read(firmware("target/boards/nrf52840-dk/adapt")) else {
        assert!(std::env::var_os("GRAFTAGE_REQUIRE_BOARD").is_none(), "the firmware for nrf52840-dk is not built");
        return;
    };
    let file = object::File::parse(&*elf).unwrap();
    let text = file.section_by_name(".text").unwrap();
    let stores = stores(text.data().unwrap(), text.address() as u32);
    // UICR.APPROTECT and APPROTECT.DISABLE.
    for register in [0x1000_1208, 0x4000_0558] {
        assert!(stores.contains(&(register, 0x5a)), "nothing opens {register:#x}");
    }
}

#[test]
fn no_log_waits_for_a_probe() {
    let manifest = std::fs::read_to_string(firmware("Cargo.toml")).unwrap();
    let loggers: Vec<_> = manifest.lines().filter(|line| line.starts_with("defmt-rtt = ")).collect();
    assert!(!loggers.is_empty());
    assert!(loggers.iter().all(|line| line.contains("\"disable-blocking-mode\"")), "{loggers:?}");
}

#[test]
fn the_serial_input_of_the_pico_2_is_pulled_up() {
    let source = std::fs::read_to_string(firmware("src/board/pico2.rs")).unwrap();
    // The type of the pin says how it is configured.
    assert!(source.contains("Pin<Gpio1, FunctionUart, PullUp>") && source.contains("pins.gpio1.reconfigure()"));
}
