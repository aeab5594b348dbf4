//! Tests of an emulated board's store: which files are accepted, and which options QEMU gets.

mod common;

use common::{SYMBOLS, elf, full, words};
use graftage_boards::Board;
use graftage_boards::elf::Firmware;
use graftage_boards::store::{Store, StoreError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Returns a firmware for the board with EEPROMs, with a state of `state` bytes.
fn firmware(state: u32) -> Firmware {
    let symbols = SYMBOLS.map(|(name, value)| (name.replace("nucleo_f446re", "mps2_an386"), value));
    let symbols: Vec<_> = symbols.iter().map(|(name, value)| (&**name, *value)).collect();
    // Weights, query points, momenta, weights in use, replay buffer, held-out samples; the last two are not saved.
    let held = [state - 5, 1, 1, 1, 1, 1, 99_000, 99_000];
    Firmware::read(&elf(&symbols, &full(&words(&held)))).unwrap()
}

/// Returns the arguments that QEMU gets with a store.
fn arguments(store: &Store) -> Vec<String> {
    let machine = Board::find("mps2-an386").unwrap().machine().unwrap();
    let qemu = machine.linked(&firmware(1000), Path::new("f"), "null", None, Some(store));
    qemu.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_store_is_made_once_with_as_many_eeproms_as_the_firmware_needs_and_then_kept() {
    let folder = tempfile::tempdir().unwrap();
    // Two states and 32 KiB take three EEPROMs for the demo, and at most eight.
    for (state, count) in [(1000, 1), (80_184, 3), (139_000, 5), (10_000_000, 8)] {
        let path = folder.path().join(state.to_string());
        drop(Store::open(&path, &firmware(state), None).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() == count * 0x1_0000 && bytes.iter().all(|byte| *byte == 0xff), "{} bytes", bytes.len());
        bytes[5] = 1;
        std::fs::write(&path, &bytes).unwrap();
        // An existing store may have another size than a new one for this firmware.
        drop(Store::open(&path, &firmware(1000), None).unwrap());
        assert!(std::fs::read(&path).unwrap() == bytes);
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
}

#[test]
fn each_eeprom_is_its_part_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a,b");
    std::fs::write(&path, vec![0xff; 2 * 0x1_0000]).unwrap();
    let store = Store::open(&path, &firmware(1000), None).unwrap();
    let arguments = arguments(&store);
    let file = format!("driver=file,node-name=store,filename={}/a,,b,locking=off", folder.path().display());
    let expected = [
        ["-blockdev", &file],
        ["-blockdev", "driver=raw,node-name=eeprom0,file=store,offset=0,size=65536"],
        ["-device", "at24c-eeprom,bus=i2c,address=0x50,rom-size=65536,drive=eeprom0"],
        ["-blockdev", "driver=raw,node-name=eeprom1,file=store,offset=65536,size=65536"],
        ["-device", "at24c-eeprom,bus=i2c,address=0x51,rom-size=65536,drive=eeprom1"],
    ];
    assert_eq!(arguments[arguments.len() - 10..], expected.concat());
}

#[test]
fn an_impossible_store_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for size in [0, 1, 0xffff, 0x1_0001, 9 * 0x1_0000] {
        std::fs::write(path("file"), vec![7; size]).unwrap();
        let error = Store::open(&path("file"), &firmware(1000), None).unwrap_err();
        assert_eq!(error, StoreError::Size(path("file"), size as u64));
        assert!(error.to_string().contains(&format!("{size} bytes")) && !error.to_string().contains('\n'), "{error}");
        assert_eq!(std::fs::read(path("file")).unwrap(), vec![7; size]);
    }
    assert_eq!(
        Store::open(folder.path(), &firmware(1000), None).unwrap_err(),
        StoreError::NotAFile(folder.path().into())
    );
    let device = PathBuf::from("/dev/null");
    assert_eq!(Store::open(&device, &firmware(1000), None).unwrap_err(), StoreError::NotAFile(device));
    let nowhere = path("none/store");
    assert_eq!(Store::open(&nowhere, &firmware(1000), None).unwrap_err(), StoreError::NoFolder(nowhere));
    // Boards with flash of their own, or without a bus.
    for board in ["nucleo_f446re", "riscv32_virt"] {
        let symbols = SYMBOLS.map(|(name, value)| (name.replace("nucleo_f446re", board), value));
        let symbols: Vec<_> = symbols.iter().map(|(name, value)| (&**name, *value)).collect();
        let firmware = Firmware::read(&elf(&symbols, &[])).unwrap();
        let error = Store::open(&path("new"), &firmware, None).unwrap_err();
        assert_eq!(error, StoreError::NoBus(firmware.board.name));
        assert!(!path("new").exists());
    }
}

#[test]
fn nobody_else_opens_a_store_while_it_or_its_emulator_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path, &firmware(1000), None).unwrap();
    let refused =
        || assert_eq!(Store::open(&path, &firmware(1000), None).unwrap_err(), StoreError::InUse(path.clone()));
    refused();
    let sleep = |held: Option<&Store>| {
        let mut command = Command::new("sleep");
        held.into_iter().for_each(|store| store.hold(&mut command));
        command.arg("20").stdout(Stdio::null()).spawn().unwrap()
    };
    // The first child stands for an emulator; the other one does not hold the store.
    let (mut emulator, mut other) = (sleep(Some(&store)), sleep(None));
    drop(store);
    refused();
    emulator.kill().unwrap();
    emulator.wait().unwrap();
    // A child that another test starts meanwhile holds all open files of this process until it runs its own program.
    let until = Instant::now() + Duration::from_secs(10);
    while let Err(error) = Store::open(&path, &firmware(1000), None) {
        assert!(error == StoreError::InUse(path.clone()) && Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_released_store_opens_again_even_while_a_child_has_a_copy_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path, &firmware(1000), None).unwrap();
    let mut command = Command::new("sleep");
    store.hold(&mut command);
    let mut child = command.arg("20").stdout(Stdio::null()).spawn().unwrap();
    store.release();
    Store::open(&path, &firmware(1000), None).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Returns the emulator commands that the pages show, as (page, words).
fn commands() -> Vec<(String, Vec<String>)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut commands = Vec::new();
    for page in std::fs::read_dir(docs).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&page).unwrap().replace("\\\n", " ");
        let page = page.file_name().unwrap().to_str().unwrap();
        let lines = text.lines().filter(|line| line.starts_with("qemu-system"));
        commands.extend(lines.map(|line| (page.to_owned(), line.split_whitespace().map(str::to_owned).collect())));
    }
    commands
}

#[test]
fn the_page_shows_the_whole_command_that_runs_the_emulated_board() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.bin");
    let store = Store::open(&path, &firmware(80_184), None).unwrap();
    let machine = Board::find("mps2-an386").unwrap().machine().unwrap();
    let symbols = SYMBOLS.map(|(name, value)| match name {
        "_board_nucleo_f446re" => ("_board_mps2_an386", value),
        // Address in the board's memory script.
        "_image_start" => (name, 0x20_0000),
        _ => (name, value),
    });
    let firmware = Firmware::read(&elf(&symbols, &[])).unwrap();
    let (program, serial) =
        (Path::new("firmware/target/boards/mps2-an386/adapt"), "tcp:127.0.0.1:7310,server=on,wait=off");
    let qemu = machine.linked(&firmware, program, serial, Some(Path::new("model/image.grft")), Some(&store));
    let mut expected = vec![qemu.get_program().to_str().unwrap().to_owned()];
    let folder = format!("{}/", folder.path().display());
    expected.extend(qemu.get_args().map(|argument| argument.to_str().unwrap().replace(&folder, "")));
    let shown = commands().into_iter().find(|(page, _)| page == "persistence.md").unwrap();
    assert_eq!(shown.1, expected);
}

#[test]
fn no_page_leaves_a_part_of_a_command_of_the_emulator_out() {
    let commands = commands();
    assert!(commands.len() > 1);
    for (page, words) in commands {
        assert!(!words.iter().any(|word| word.contains('…')), "{page}: {words:?}");
    }
}
