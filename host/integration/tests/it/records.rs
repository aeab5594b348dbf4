//! Tests that a record is whole whatever ends `adapt`, and that the session continues in it.

use crate::common::{self, Emulator, Folder, SCALE, checkpoint, emulated, parse, samples};
use graftage::board::{Board, Port};
use graftage::data::Legend;
use graftage::graft::{IMAGE, graft};
use graftage::record::{Event, Found, Record, Totals};
use graftage::replay::with_core;
use graftage_core::adapt::{HoldOut, Recipe};
use graftage_core::random::Generator;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WIDTHS: [u32; 3] = [64, 32, 10];
const RECIPE: Recipe =
    Recipe { batch: 2, steps: 1, replay: 8, hold_out: Some(HoldOut { every: 5, keep: 4 }), ..Recipe::DEFAULT };
const SAMPLES: usize = 60;
const SEED: u64 = 17;

/// Image, stream, and the record of `adapt` if nothing disturbs it.
struct Undisturbed {
    folder: Folder,
    image: Vec<u8>,
    record: Record,
}

fn undisturbed(firmware: &Path) -> Undisturbed {
    let folder = Folder::empty();
    graft(&checkpoint(&WIDTHS, 100), RECIPE, usize::MAX, &folder.path("model")).unwrap();
    samples(SAMPLES, 64, 10).write(&folder.path("stream.csv"), SCALE, &Legend::numbered(10)).unwrap();
    let port = format!("qemu:{}", firmware.display());
    let adapt = "adapt --image model/image.grft --stream stream.csv --record whole.record --port";
    folder.graftage(&format!("{adapt} {port}")).succeeded();
    let record = Record::read(&folder.path("whole.record")).unwrap();
    let image = std::fs::read(folder.path("model").join(IMAGE)).unwrap();
    Undisturbed { folder, image, record }
}

/// Returns all events but states, which a board is asked for whenever it comes to an end.
fn done(record: &Record) -> Vec<&Event> {
    record.events.iter().filter(|event| !matches!(event, Event::State(_))).collect()
}

/// Returns how often a command is disturbed: `GRAFTAGE_KILLS` times, or a few.
fn kills() -> u64 {
    std::env::var("GRAFTAGE_KILLS").map_or(9, |kills| kills.parse().unwrap())
}

/// Starts a command and sends it a signal after a time. Returns its exit status; `None` if the signal killed it.
fn disturbed(folder: &Folder, line: &str, signal: &str, after: Duration) -> Option<i32> {
    let mut command = Command::new(&*crate::common::GRAFTAGE);
    command.args(line.split_whitespace()).current_dir(folder.path(".")).stdout(Stdio::null()).stderr(Stdio::null());
    let (mut child, started) = (command.spawn().unwrap(), Instant::now());
    while started.elapsed() < after {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
    child.wait().unwrap().code()
}

/// Counts the emulators whose command line names this folder.
fn emulators(folder: &Folder) -> usize {
    let root = folder.path("").display().to_string();
    let lines = std::fs::read_dir("/proc").unwrap();
    let lines = lines.filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains("qemu") && String::from_utf8_lossy(line).contains(&root))
        .count()
}

/// Waits until the system has ended all emulators.
fn none_is_left(folder: &Folder) {
    let started = Instant::now();
    while emulators(folder) > 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "an emulator goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Checks a record, if it has a name yet: it is whole, equal to what core computes, and the beginning of the
/// undisturbed one.
fn check(undisturbed: &Undisturbed, name: &str) -> Option<Found> {
    let path = undisturbed.folder.path(name);
    let found = path.exists().then(|| Record::salvage(&path).unwrap())?;
    assert_eq!(found.damage, None);
    let target = with_core(&found.record, &parse(&undisturbed.image)).unwrap().target;
    assert_eq!((target.differing, target.first_difference), (0, None));
    assert!(done(&undisturbed.record).starts_with(&done(&found.record)));
    Some(found)
}

#[test]
fn whatever_ends_adapt_its_record_is_whole_and_the_session_goes_on_into_it() {
    let Some(emulated) = emulated().into_iter().next() else { return };
    let whole = undisturbed(&emulated.firmware);
    let folder = &whole.folder;
    let (mut generator, mut sessions, mut longest) = (Generator::new(SEED, 0), 0, Duration::from_secs(2));
    for kill in 0..kills() {
        let name = format!("{sessions}.record");
        let store = folder.path(&format!("{sessions}.store")).display().to_string();
        let port = format!("qemu:{},store={store}", emulated.firmware.display());
        let line = format!("adapt --image {} --stream stream.csv --record {name} --port {port}", absolute(folder));
        let signal = ["-INT", "-TERM", "-KILL"][kill as usize % 3];
        let started = Instant::now();
        let status = disturbed(folder, &line, signal, longest.mul_f32(generator.uniform()));
        none_is_left(folder);
        let found = check(&whole, &name);
        if status == Some(0) {
            // The command was faster than the signal.
            longest = started.elapsed();
            assert!(found.is_some_and(|found| found.finished && done(&found.record) == done(&whole.record)));
            sessions += 1;
        }
    }
    // The last session ends like the undisturbed one.
    let name = format!("{sessions}.record");
    let store = folder.path(&format!("{sessions}.store")).display().to_string();
    let port = format!("qemu:{},store={store}", emulated.firmware.display());
    let before = check(&whole, &name).map_or(0, |found| found.record.lessons().count());
    folder
        .graftage(&format!("adapt --image {} --stream stream.csv --record {name} --port {port}", absolute(folder)))
        .succeeded();
    let found = check(&whole, &name).unwrap();
    assert!(found.finished && done(&found.record) == done(&whole.record));
    assert_eq!(found.record.digest(), whole.record.digest());
    println!(
        "seed {SEED}: {} kills, {sessions} sessions before the last, which went on after {before} samples",
        kills()
    );
    let replayed = folder.graftage(&format!("replay {name} --image model/image.grft")).succeeded();
    assert!(!replayed.contains("is unfinished"), "{replayed}");
}

/// Returns the image's path, by which an emulator is known.
fn absolute(folder: &Folder) -> String {
    folder.path("model/image.grft").display().to_string()
}

/// Starts an emulated board that keeps running when its line is closed.
fn alive(firmware: &Path, folder: &Folder) -> (Emulator, Board) {
    common::start(firmware, &folder.path("model/image.grft"), None, &[], &folder.path("log"))
}

#[test]
fn a_board_that_keeps_no_journal_goes_on_into_a_record_that_is_one_answer_behind() {
    let Some(emulated) = emulated().into_iter().next() else { return };
    let whole = undisturbed(&emulated.firmware);
    let folder = &whole.folder;
    let adapt = "adapt --image model/image.grft --stream stream.csv --record a.record";
    let (input, label) =
        (&whole.record.lessons().nth(20).unwrap().input, whole.record.lessons().nth(20).unwrap().label);
    for ended in [false, true] {
        let (board, mut line) = alive(&emulated.firmware, folder);
        let part: Vec<_> = match ended {
            false => whole.record.events[..20].to_vec(),
            true => whole.record.events[..whole.record.events.len() - 1].to_vec(),
        };
        // The state after a kill between an answer and its event.
        for (number, lesson) in whole.record.lessons().enumerate().take(if ended { SAMPLES } else { 21 }) {
            line.learn(number as u64, &lesson.input, lesson.label).unwrap().unwrap();
        }
        if ended {
            line.end(0).unwrap();
        }
        drop(line);
        let record = Record { events: part, ..whole.record.clone() };
        let mut bytes = record.bytes(&folder.path("a.record")).unwrap();
        // A record that has not ended has a count of events of all ones.
        bytes[6..14].copy_from_slice(&[0xff; 8]);
        let sum = graftage_core::image::checksum(&bytes[..14]).to_le_bytes();
        bytes[14..18].copy_from_slice(&sum);
        folder.file("a.record", bytes);
        let said = folder.graftage(&format!("{adapt} --port {}", board.1)).succeeded();
        let left_out = if ended { SAMPLES } else { 21 };
        assert!(said.contains(&format!("skipping {left_out} of the {SAMPLES} samples")), "{said}");
        let found = check(&whole, "a.record").unwrap();
        assert!(found.finished && done(&found.record) == done(&whole.record));
        std::fs::remove_file(folder.path("a.record")).unwrap();
    }
    // The last answer was to a sample that is not the stream's.
    let (board, mut line) = alive(&emulated.firmware, folder);
    line.learn(0, input, (label + 1) % 10).unwrap().unwrap();
    drop(line);
    let record = Record { events: Vec::new(), ..whole.record.clone() };
    record.write(&folder.path("a.record")).unwrap();
    let before = std::fs::read(folder.path("a.record")).unwrap();
    let message = folder.graftage(&format!("{adapt} --port {}", board.1)).failed();
    assert!(
        message.contains("a.record: is not the record of this board") && message.contains("graftage record"),
        "{message}"
    );
    assert_eq!(std::fs::read(folder.path("a.record")).unwrap(), before);
}

#[test]
fn a_record_goes_on_with_its_own_board_and_stream_alone() {
    let Some(emulated) = emulated().into_iter().next() else { return };
    let whole = undisturbed(&emulated.firmware);
    let folder = &whole.folder;
    let record = std::fs::read(folder.path("whole.record")).unwrap();
    let adapt = "adapt --image model/image.grft --record whole.record";
    let refused = |line: &str, words: &[&str]| {
        let run = folder.graftage(line);
        assert_eq!(run.errors.lines().count(), 1, "{}", run.errors);
        let message = run.failed();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(std::fs::read(folder.path("whole.record")).unwrap(), record);
    };
    // A board that begins anew.
    let anew = format!("qemu:{}", emulated.firmware.display());
    refused(
        &format!("{adapt} --stream stream.csv --port {anew}"),
        &["whole.record: is not the record of this board", "after 60 samples", "after 0", "graftage record"],
    );
    // Another image of the network.
    graft(&checkpoint(&WIDTHS, 100), Recipe { batch: 4, ..RECIPE }, usize::MAX, &folder.path("other")).unwrap();
    refused(
        &format!("adapt --image other/image.grft --record whole.record --stream stream.csv --port {anew}"),
        &["whole.record: is the record of a board with another image"],
    );
    let (board, line) = alive(&emulated.firmware, folder);
    // Only one program at a time can use the line.
    drop(line);
    let image = format!("--stream stream.csv --port {}", board.1);
    refused(
        &format!("adapt --image other/image.grft {image}"),
        &["other/image.grft: not the image that the board runs"],
    );
    refused(
        &format!("record --image other/image.grft --output b.record --port {}", board.1),
        &["other/image.grft: not the image that the board runs"],
    );
    refused(
        &format!("delta make --image other/image.grft --output b.grfd --port {}", board.1),
        &["other/image.grft: not the image that the board runs"],
    );
    refused(
        "replay whole.record --image other/image.grft",
        &["other/image.grft: not the image that whole.record started"],
    );

    // An interrupted session continues with its own stream, even without a record.
    let short = |name: &str, from: usize, to: usize| {
        let text = std::fs::read_to_string(folder.path("stream.csv")).unwrap();
        let lines: Vec<_> = text.lines().collect();
        folder.file(name, lines[from..to].join("\n"));
    };
    short("first.csv", 0, 10);
    short("rest.csv", 10, 60);
    let mut line = Board::open(board.1.parse::<Port>().unwrap(), None, None).unwrap();
    for (number, lesson) in whole.record.lessons().enumerate().take(10) {
        line.learn(number as u64, &lesson.input, lesson.label).unwrap().unwrap();
    }
    drop(line);
    let part = Record { events: whole.record.events[..10].to_vec(), ..whole.record.clone() };
    part.write(&folder.path("part.record")).unwrap();
    let other = format!("adapt --image model/image.grft --record part.record --port {}", board.1);
    refused(&format!("{other} --stream rest.csv"), &["part.record: its session began with another stream", "--skip"]);
    refused(
        &format!("adapt --stream first.csv --skip 11 --port {}", board.1),
        &["first.csv: it has only 10 samples", "--skip"],
    );
    folder.graftage(&format!("{other} --stream rest.csv --skip 0")).succeeded();
    let found = check(&whole, "part.record").unwrap();
    assert!(found.finished && done(&found.record) == done(&whole.record));
    let said = folder.graftage(&format!("adapt --stream first.csv --port {}", board.1)).succeeded();
    assert!(said.contains("10 samples,") && !said.contains("skipping"), "{said}");
    // Without a record, the board's counts say where to continue.
    let (second, mut line) = alive(&emulated.firmware, folder);
    for (number, lesson) in whole.record.lessons().enumerate().take(10) {
        line.learn(number as u64, &lesson.input, lesson.label).unwrap().unwrap();
    }
    drop(line);
    let said =
        folder.graftage(&format!("adapt --image model/image.grft --stream stream.csv --port {}", second.1)).succeeded();
    assert!(said.contains("skipping 10 of the 60 samples"), "{said}");
    assert!(said.contains(&format!("50 samples, 40 updates, digest {:016x}", whole.record.digest())), "{said}");
}

#[test]
fn samples_lost_with_the_power_are_learnt_again_and_another_image_begins_no_store_anew() {
    let Some(emulated) = emulated().into_iter().next() else { return };
    let whole = undisturbed(&emulated.firmware);
    let folder = &whole.folder;
    // Two EEPROMs have slots only: what comes after the last save is lost with the power.
    let store = common::eeproms(folder, 2);
    let port = format!("qemu:{},store={}", emulated.firmware.display(), store.display());
    let (board, mut line) =
        common::start(&emulated.firmware, &folder.path("model/image.grft"), Some(&store), &[], &folder.path("log"));
    for (number, lesson) in whole.record.lessons().enumerate().take(13) {
        line.learn(number as u64, &lesson.input, lesson.label).unwrap().unwrap();
    }
    drop((line, board));
    let mut events = whole.record.events[..13].to_vec();
    let record = Record { events: events.clone(), ..whole.record.clone() };
    record.write(&folder.path("a.record")).unwrap();

    let kept = (std::fs::read(&store).unwrap(), std::fs::read(folder.path("a.record")).unwrap());
    graft(&checkpoint(&WIDTHS, 100), Recipe { batch: 4, ..RECIPE }, usize::MAX, &folder.path("other")).unwrap();
    let named = folder.graftage(&format!("monitor --image model/image.grft --polls 1 --port {port}"));
    named.succeeded();
    for line in [
        "adapt --image other/image.grft --stream stream.csv --record a.record",
        "adapt --image other/image.grft --stream stream.csv",
        "delta make --image other/image.grft --output x.grfd",
        "record --image other/image.grft --output x.record",
        "monitor --image other/image.grft --polls 1",
    ] {
        let message = folder.graftage(&format!("{line} --port {port}")).failed();
        assert!(message.contains("holds what a board has learnt from another image"), "{line}: {message}");
    }
    let eeproms = |bytes: &[u8]| bytes[..kept.0.len()] == kept.0[..];
    assert!(eeproms(&std::fs::read(&store).unwrap()) && std::fs::read(folder.path("a.record")).unwrap() == kept.1);

    let adapt = format!("adapt --image model/image.grft --record a.record --port {port} --stream");
    // A damaged record is refused, and not cut.
    let mut damaged = kept.1.clone();
    damaged[kept.1.len() / 2] ^= 0x40;
    folder.file("a.record", &damaged);
    let message = folder.graftage(&format!("{adapt} stream.csv")).failed();
    assert!(
        message.contains("a.record: already exists and cannot be continued") && message.contains("--force"),
        "{message}"
    );
    assert_eq!(std::fs::read(folder.path("a.record")).unwrap(), damaged);
    folder.file("a.record", &kept.1);
    let said = folder.graftage(&format!("{adapt} stream.csv")).succeeded();
    assert!(said.contains("5 samples were lost when the board lost power") && said.contains("8 of the 60"), "{said}");
    let found = check(&whole, "a.record").unwrap();
    assert!(found.finished && done(&found.record) == done(&whole.record));

    // A record with anything that is not the board's stays refused.
    let Event::Sample(lesson) = &mut events[2] else { panic!("no sample") };
    lesson.reports[0].digest ^= 1;
    Record { events, ..whole.record.clone() }.write(&folder.path("b.record")).unwrap();
    let message = folder.graftage(&format!("{} stream.csv", adapt.replace("a.record", "b.record"))).failed();
    assert!(message.contains("b.record: is not the record of this board"), "{message}");
}

#[test]
fn a_journal_says_whether_a_stream_is_the_one_that_was_interrupted() {
    let Some(emulated) = emulated().into_iter().next() else { return };
    let whole = undisturbed(&emulated.firmware);
    let folder = &whole.folder;
    let store = common::eeproms(folder, 3);
    let (board, mut line) =
        common::start(&emulated.firmware, &folder.path("model/image.grft"), Some(&store), &[], &folder.path("log"));
    for (number, lesson) in whole.record.lessons().enumerate().take(8) {
        line.learn(number as u64, &lesson.input, lesson.label).unwrap().unwrap();
    }
    drop((line, board));
    let text = std::fs::read_to_string(folder.path("stream.csv")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    folder.file("others.csv", lines[20..28].join("\n"));
    folder.file("short.csv", lines[..5].join("\n"));
    folder.file("behind.csv", [&lines[30..33], &lines[..12]].concat().join("\n"));
    let port = format!("qemu:{},store={}", emulated.firmware.display(), store.display());
    let record =
        folder.graftage(&format!("record --image model/image.grft --output b.record --port {port}")).succeeded();
    assert!(record.contains("8 samples"), "{record}");
    for (stream, words) in [
        ("others.csv", "others.csv: the board's session began with another stream: sample 1 differs"),
        ("short.csv", "8 samples were sent, but this stream has 5"),
    ] {
        let message =
            folder.graftage(&format!("adapt --image model/image.grft --stream {stream} --port {port}")).failed();
        assert!(message.contains(words) && message.contains("--skip"), "{message}");
    }
    // The same `--skip` again continues after what was sent.
    let said = folder
        .graftage(&format!(
            "adapt --image model/image.grft --stream behind.csv --skip 3 --record b.record --port {port}"
        ))
        .succeeded();
    assert!(said.contains("skipping 11 of the 15 samples") && said.contains("4 samples,"), "{said}");
    let found = Record::read(&folder.path("b.record")).unwrap();
    assert!(
        found.lessons().zip(whole.record.lessons()).take(12).all(|(a, b)| a == b)
            && found.totals() == (Totals { taken: 12, sessions: 1 })
    );
}

#[test]
fn a_record_that_loses_its_name_or_cannot_be_written_is_told() {
    let Some(emulated) = emulated().into_iter().next() else { return };
    let whole = undisturbed(&emulated.firmware);
    let folder = &whole.folder;
    let adapt =
        format!("adapt --image model/image.grft --stream stream.csv --port qemu:{}", emulated.firmware.display());
    let mut command = Command::new(&*crate::common::GRAFTAGE);
    command.args(adapt.split(' ')).args(["--record", "gone.record"]).current_dir(folder.path("."));
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while std::fs::remove_file(folder.path("gone.record")).is_err() {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && said.contains("gone.record: was deleted or replaced"), "{said}");
    // A FIFO is no firmware, and reading it must not block.
    assert!(Command::new("mkfifo").arg(folder.path("fifo")).status().unwrap().success());
    let message = folder.graftage("monitor --port qemu:fifo --image model/image.grft").failed();
    assert!(message.contains("fifo: is not a file"), "{message}");
}

#[test]
fn a_spent_budget_is_told_from_a_failure() {
    let Some(emulated) = emulated().into_iter().next() else { return };
    let folder = Folder::empty();
    samples(SAMPLES, 64, 10).write(&folder.path("stream.csv"), SCALE, &Legend::numbered(10)).unwrap();
    let recipe = Recipe { budget: Some(0.05), ..RECIPE };
    graft(&checkpoint(&WIDTHS, 100), recipe, usize::MAX, &folder.path("model")).unwrap();
    let port = format!("qemu:{}", emulated.firmware.display());
    let run =
        folder.graftage(&format!("adapt --image model/image.grft --stream stream.csv --record a.record --port {port}"));
    assert_eq!(run.status, Some(3), "{}", run.errors);
    assert!(run.errors.contains("refused") && run.output.contains("committed"), "{} {}", run.output, run.errors);
    folder.graftage("replay a.record --image model/image.grft").succeeded();
    let other = folder.graftage(&format!("adapt --stream nowhere.csv --port {port} --image model/image.grft"));
    assert_eq!(other.status, Some(1));

    // If not one step is within the budget, nothing is committed.
    graft(&checkpoint(&WIDTHS, 100), Recipe { budget: Some(1e-6), ..RECIPE }, usize::MAX, &folder.path("none"))
        .unwrap();
    let run = folder.graftage(&format!("adapt --image none/image.grft --stream stream.csv --port {port}"));
    assert_eq!(run.status, Some(3), "{}", run.errors);
    let said = run.output;
    assert!(
        said.contains("0 samples") && said.contains("no sample was learnt") && !said.contains("committed"),
        "{said}"
    );
}
