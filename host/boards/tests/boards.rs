//! Tests of the table of boards, and of the reader of firmware's ELF files.

mod common;

use common::{A, SYMBOLS, W, X, elf, full, words};
use graftage_boards::elf::{Error, Firmware, Region, STACK};
use graftage_boards::{BOARDS, Board, DEFAULT, Runs};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_board_has_a_feature_a_file_and_a_memory_script_of_the_firmware() {
    let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware");
    let manifest = std::fs::read_to_string(firmware.join("Cargo.toml")).unwrap();
    let names: BTreeSet<_> = BOARDS.iter().map(|board| board.name.replace('-', "_")).collect();
    assert_eq!(names.len(), BOARDS.len());
    for board in &BOARDS {
        let file = firmware.join("src/board").join(board.name.replace('-', "_"));
        let code = std::fs::read_to_string(file.with_extension("rs")).unwrap();
        assert!(code.contains(&format!("const NAME: &'static str = {:?};", board.name)), "{}", board.name);
        assert!(manifest.contains(&format!("\n{} = [", board.name)), "{}", board.name);
    }
    // No other board has a memory script.
    let scripts = std::fs::read_dir(firmware.join("src/board")).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".x").map(str::to_owned)
    });
    assert_eq!(scripts.collect::<BTreeSet<_>>(), names);
}

#[test]
fn boards_are_found_by_name_and_an_unknown_one_is_told_the_known() {
    for board in &BOARDS {
        assert_eq!(Board::find(board.name), Ok(board));
    }
    assert_eq!(DEFAULT.name, "mps2-an386");
    let message = Board::find("nucleo").unwrap_err().to_string();
    assert!(message.contains("\"nucleo\""), "{message}");
    assert!(BOARDS.iter().all(|board| message.contains(board.name)), "{message}");
}

#[test]
fn an_emulated_board_gets_its_program_link_and_image_as_qemu_takes_them() {
    let firmware = Firmware::read(&elf(&SYMBOLS, &full(&[]))).unwrap();
    let machine = Board::find("riscv32-virt").unwrap().machine().unwrap();
    let qemu = machine.linked(&firmware, Path::new("f"), "tcp:h:1", Some(Path::new("a,b")), None);
    let arguments: Vec<_> = qemu.get_args().map(|argument| argument.to_str().unwrap()).collect();
    assert_eq!(qemu.get_program(), "qemu-system-riscv32");
    for pair in [
        ["-machine", "virt"],
        ["-bios", "none"],
        ["-kernel", "f"],
        ["-serial", "tcp:h:1"],
        ["-device", "loader,file=a,,b,addr=0x8020000,force-raw=on"],
    ] {
        assert!(arguments.windows(2).any(|two| two == pair), "{pair:?} in {arguments:?}");
    }
    assert!(matches!(firmware.board.runs, Runs::Probed { .. }) && firmware.board.machine().is_none());
}

#[test]
fn an_elf_file_says_what_it_takes_by_part() {
    let firmware = Firmware::read(&elf(&SYMBOLS, &full(&words(&[1, 2, 3, 0, 0, 0, 0, 1])))).unwrap();
    assert_eq!((firmware.board.name, firmware.image), ("nucleo-f446re", Region { start: 0x0802_0000, size: 2000 }));
    assert_eq!(firmware.flash.parts, [("code", 60), ("constants", 30), ("initial values", 10)]);
    assert_eq!((firmware.flash.used(), firmware.flash.size, firmware.ram.used()), (100, 100, 10));
    assert_eq!(firmware.ram.parts[..3], [("weights", 1), ("query points", 2), ("momenta", 3)]);
    assert_eq!(firmware.ram.parts[7..], [("link", 1), ("other variables", 3)]);
    assert_eq!(firmware.state(), 6);
    let shown = firmware.to_string();
    for words in
        ["100 of 100 bytes on nucleo-f446re", "10 of 16434 bytes", "code", "momenta", "2000 bytes at 0x8020000"]
    {
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn a_firmware_that_does_not_fit_is_refused_with_its_numbers() {
    let firmware = Firmware::read(&elf(&SYMBOLS, &full(&[]))).unwrap();
    assert_eq!(firmware.fits(2000), Ok(()));
    assert_eq!(firmware.fits(2001), Err(Error::TooLarge { what: "image", needs: 2001, has: 2000 }));
    for (symbol, what, needs, has) in [("_flash_size", "flash", 100, 99), ("_ram_size", "RAM", STACK + 10, STACK + 9)] {
        let symbols = SYMBOLS.map(|(name, value)| (name, if name == symbol { has } else { value }));
        let sections: [(&str, u32, &[u8]); 2] = [(".text", A | X, &[1; 90]), (".data", A | W, &[1; 10])];
        let error = Firmware::read(&elf(&symbols, &sections)).unwrap().fits(0).unwrap_err();
        let message = error.to_string();
        for words in [what.to_owned(), needs.to_string(), has.to_string(), " 1 more".to_owned()] {
            assert!(message.contains(&words), "{message}");
        }
    }
}

#[test]
fn another_elf_file_is_told_from_a_file_that_is_none() {
    assert!(matches!(Firmware::read(b"not an ELF file"), Err(Error::NotElf(_))));
    assert_eq!(Firmware::read(&elf(&[], &[])), Err(Error::NoFirmware));
    for lacking in 0..SYMBOLS.len() {
        let symbols: Vec<_> = SYMBOLS.into_iter().enumerate().filter(|(i, _)| *i != lacking).map(|(_, s)| s).collect();
        assert_eq!(Firmware::read(&elf(&symbols, &[])), Err(Error::NoFirmware), "{lacking}");
    }
}
