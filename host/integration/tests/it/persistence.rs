//! Tests that what the emulated board has learnt outlives its emulator, which is killed at any moment of a session.

use crate::common::{self, Emulator, Folder, checkpoint, eeproms, emulated, parse, samples};
use graftage::board::{Board, Log, Port};
use graftage::graft::{IMAGE, graft};
use graftage::network::Layers;
use graftage::record::{Event, Record};
use graftage::workstation::{self, Sessions};
use graftage_boards::elf::STACK;
use graftage_boards::store::EEPROM;
use graftage_core::adapt::{HoldOut, Recipe, Score};
use graftage_core::error::Refusal;
use graftage_core::random::Generator;
use graftage_core::session::Counts;
use graftage_link::{Ended, Learnt};
use object::{Object, ObjectSymbol};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 8, seed: 3, ..Recipe::DEFAULT };
/// Number of samples that the device learns between two saves of its state.
const SAVE_EVERY: u64 = 8;
const SAMPLES: u64 = 48;
const SEED: u64 = 20_261_125;

/// Returns the firmware of the board that has EEPROMs.
fn firmware() -> Option<PathBuf> {
    emulated().into_iter().find(|board| board.name == "mps2-an386").map(|board| board.firmware)
}

/// Starts the board with this store, and connects to it.
fn start(firmware: &Path, image: &Path, store: Option<&Path>, log: &Path) -> (Emulator, Board) {
    common::start(firmware, image, store, &[], log)
}

fn image(folder: &Folder) -> PathBuf {
    graft(&checkpoint(&[64, 32, 10], 100), RECIPE, usize::MAX, &folder.path("model")).unwrap();
    folder.path("model").join(IMAGE)
}

/// Returns the digest that core computes on this machine after each number of samples of the stream.
fn digests(image: &Path) -> Vec<u64> {
    let bytes = std::fs::read(image).unwrap();
    let mut core =
        workstation::start(workstation::network(&parse(&bytes)).unwrap(), RECIPE, parse(&bytes).start()).unwrap();
    let mut digests = vec![core.digest()];
    for (input, label) in samples(SAMPLES as usize, 64, 10).iter() {
        core.learn(input, label, |_| ()).unwrap();
        digests.push(core.digest());
    }
    digests
}

/// Returns how many samples the board has learnt, after comparing its digest with core's.
fn learnt(board: &mut Board, digests: &[u64]) -> u64 {
    let status = board.hello().unwrap().status.unwrap();
    assert_eq!(status.digest, digests[status.learnt as usize], "after {} samples", status.learnt);
    status.learnt
}

/// Makes the board learn the samples from number `from` to before `to`.
fn learn(board: &mut Board, from: u64, to: u64) {
    for (number, (input, label)) in (0..).zip(samples(SAMPLES as usize, 64, 10).iter()) {
        if (from..to).contains(&number) {
            board.learn(number, input, label).unwrap().unwrap();
        }
    }
}

#[test]
fn a_session_that_is_killed_again_and_again_ends_in_the_bits_of_one_that_was_not() {
    let Some(firmware) = firmware() else { return };
    let kills: u64 = std::env::var("GRAFTAGE_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let (folder, mut random) = (Folder::empty(), SEED);
    let (image, log) = (image(&folder), folder.path("log"));
    let digests = digests(&image);
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let started = Instant::now();
    let (mut killed, mut sessions, mut lost, mut idle) = (0, 0, 0, 0);
    while killed < kills || sessions == 0 {
        let eeproms = eeproms(&folder, 2);
        // Number of samples learnt by the last answer. At the next start, all but those after the last save are there.
        let mut told = 0;
        loop {
            let (mut emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
            let at = learnt(&mut board, &digests);
            assert!(at.is_multiple_of(SAVE_EVERY) && at >= told / SAVE_EVERY * SAVE_EVERY, "{at} of {told} samples");
            lost += told.saturating_sub(at);
            told = at;
            if killed >= kills {
                learn(&mut board, at, SAMPLES);
                assert_eq!(learnt(&mut board, &digests), SAMPLES);
                break;
            }
            // Kills the emulator at a moment within 1.5 seconds. Meanwhile it learns up to the next save, or to the one
            // after that.
            let last = (at + SAVE_EVERY * (1 + below(2))).min(SAMPLES);
            let moment = Duration::from_millis(below(1500));
            let killer = std::thread::spawn(move || {
                std::thread::sleep(moment);
                let _ = emulator.0.kill();
                emulator
            });
            for (number, (input, label)) in (0..).zip(samples(SAMPLES as usize, 64, 10).iter()) {
                if (at..last).contains(&number) {
                    match board.learn(number, input, label) {
                        Ok(answer) => told = answer.unwrap().learnt,
                        Err(_) => break,
                    }
                }
            }
            idle += u64::from(told == last);
            drop(killer.join().unwrap());
            killed += 1;
            if told == SAMPLES {
                break;
            }
        }
        sessions += 1;
        let (_emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
        assert_eq!(learnt(&mut board, &digests), SAMPLES);
    }
    println!(
        "seed {SEED}: {killed} kills in {sessions} sessions of {SAMPLES} samples, {idle} of them while the board waited, \
         {lost} answered samples learnt again, {} s; digest {:016x}",
        started.elapsed().as_secs(),
        digests[SAMPLES as usize]
    );
}

/// Returns the bytes of the stack that a program has written to. Nothing else is written between its variables and the
/// top.
fn stack(firmware: &Path, folder: &Folder, control: &Path) -> u64 {
    let elf = std::fs::read(firmware).unwrap();
    let elf = object::File::parse(&elf[..]).unwrap();
    let symbol = |name: &str| elf.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap().address();
    let (end, top, file) = (symbol("__sheap"), symbol("_stack_start"), folder.path("free"));
    // QEMU's machine protocol has one line each way.
    let line = UnixStream::connect(control).unwrap();
    let mut answers = BufReader::new(line.try_clone().unwrap()).lines();
    let what = json!({ "val": end, "size": top - end, "filename": file });
    for command in [json!({ "execute": "qmp_capabilities" }), json!({ "execute": "pmemsave", "arguments": what })] {
        writeln!(&line, "{command}").unwrap();
        let answer =
            answers.by_ref().map(Result::unwrap).find(|answer| answer.contains("return") || answer.contains("error"));
        assert!(answer.as_ref().is_some_and(|answer| answer.contains("return")), "{answer:?}");
    }
    let bytes = std::fs::read(file).unwrap();
    (bytes.len() - bytes.iter().position(|byte| *byte != 0).unwrap()) as u64
}

#[test]
fn the_stack_stays_within_what_is_kept_for_it() {
    let Some(firmware) = firmware() else { return };
    let folder = Folder::empty();
    let (image, log, control) = (image(&folder), folder.path("log"), folder.path("control"));
    let eeproms = eeproms(&folder, 3);
    // The second start loads a state, and learns again what the journal has noted since.
    for (from, to) in [(0, SAVE_EVERY + 2), (SAVE_EVERY + 2, 2 * SAVE_EVERY)] {
        let arguments = ["-qmp".into(), format!("unix:{},server=on,wait=off", control.display())];
        let (_emulator, mut board) = common::start(&firmware, &image, Some(&eeproms), &arguments, &log);
        learn(&mut board, from, to);
        board.predict(&[0.5; 64]).unwrap().unwrap();
        board.state().unwrap();
        board.journal().unwrap();
        if from > 0 {
            board.end(0).unwrap();
        }
        let stack = stack(&firmware, &folder, &control);
        println!("{stack} bytes of stack");
        assert!((4 * 1024..=STACK).contains(&stack), "{stack} bytes of stack");
    }
}

#[test]
fn a_board_says_what_it_goes_on_from() {
    let Some(firmware) = firmware() else { return };
    let folder = Folder::empty();
    let (image, log) = (image(&folder), folder.path("log"));
    let digests = digests(&image);
    let said = |words: &str| {
        let lines = Log::open(&firmware, &std::fs::File::open(&log).unwrap()).unwrap().lines().unwrap();
        assert!(lines.iter().any(|line| line.contains(words)), "no {words:?} in {lines:#?}");
    };
    // Without a store on the bus, the board works as before.
    let (emulator, mut board) = start(&firmware, &image, None, &log);
    learn(&mut board, 0, SAVE_EVERY);
    assert_eq!(learnt(&mut board, &digests), SAVE_EVERY);
    drop(emulator);
    said("no store");
    let (emulator, mut board) = start(&firmware, &image, None, &log);
    assert_eq!(learnt(&mut board, &digests), 0);
    drop(emulator);
    // Two EEPROMs have a slot each.
    let eeproms = eeproms(&folder, 2);
    let (emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
    assert_eq!(learnt(&mut board, &digests), 0);
    learn(&mut board, 0, 2 * SAVE_EVERY + 1);
    drop(emulator);
    said("nothing stored");
    said("saved as generation 2");
    let (emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
    assert_eq!(learnt(&mut board, &digests), 2 * SAVE_EVERY);
    drop(emulator);
    said("using stored generation 2");
    // If the newest state is damaged, the one before is used; if both are, the image.
    for (slot, expected) in [(1, SAVE_EVERY), (0, 0)] {
        let mut bytes = std::fs::read(&eeproms).unwrap();
        bytes[slot * EEPROM as usize + 20_000] ^= 1;
        std::fs::write(&eeproms, bytes).unwrap();
        let (_emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
        assert_eq!(learnt(&mut board, &digests), expected);
    }
    // When another image was flashed, what was learnt from the first one is not used.
    let recipe = Recipe { seed: 4, ..RECIPE };
    let (_emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
    learn(&mut board, 0, SAVE_EVERY);
    drop((_emulator, board));
    graft(&checkpoint(&[64, 32, 10], 100), recipe, usize::MAX, &folder.path("other")).unwrap();
    let (emulator, mut board) = start(&firmware, &folder.path("other").join(IMAGE), Some(&eeproms), &log);
    assert_eq!(board.hello().unwrap().status.unwrap().learnt, 0);
    drop(emulator);
    said("learnt from another image");
}

#[test]
fn a_monitor_shows_the_alarms_of_a_board_that_was_started_again() {
    let Some(firmware) = firmware() else { return };
    let folder = Folder::empty();
    let recipe = Recipe { hold_out: Some(HoldOut { every: 2, keep: 10 }), ..RECIPE };
    graft(&checkpoint(&[64, 32, 10], 100), recipe, usize::MAX, &folder.path("model")).unwrap();
    let (image, store) = (folder.path("model").join(IMAGE), folder.path("store.bin"));
    let shown = |expected: &str| {
        let port = format!("--port=qemu:{},store={}", firmware.display(), store.display());
        let said = folder.command(["monitor", &port, "--image=model/image.grft", "--polls=1"]).succeeded();
        assert!(said.contains(&format!("{expected}, generation")), "no {expected:?} in {said}");
    };
    let session = |shift: u32| {
        let port: Port = format!("qemu:{},store={}", firmware.display(), store.display()).parse().unwrap();
        let mut board = Board::open(port, Some(&image), None).unwrap();
        let counts = board.hello().unwrap().status.unwrap().counts;
        for (number, (input, _)) in (counts.taken..).zip(samples(20, 64, 10).iter()) {
            let label = (board.predict(input).unwrap().unwrap().class + shift) % 10;
            board.learn(number, input, label).unwrap().unwrap();
        }
        board.end(counts.sessions()).unwrap().verdict
    };
    let verdict = session(0);
    assert!(!verdict.alarm && !verdict.committed, "{verdict:?}");
    shown("0 committed, 1 rolled back");
    // Each label is another class than the weights in use predict.
    let verdict = session(1);
    assert!(verdict.alarm && verdict.committed, "{verdict:?}");
    shown("1 committed, 1 rolled back, 1 alarm");
}

#[test]
fn a_killed_boards_own_record_is_computed_again() {
    let Some(firmware) = firmware() else { return };
    let folder = Folder::empty();
    let (image, log) = (image(&folder), folder.path("log"));
    let digests = digests(&image);
    // A third EEPROM has room for a journal behind the slots.
    let eeproms = eeproms(&folder, 3);
    let mut learnt_before = 0;
    for (killed_at, ends) in [(SAVE_EVERY + 5, false), (2 * SAVE_EVERY + 7, false), (SAMPLES - 10, true)] {
        let (emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
        // No sample is lost that was answered, saved or not.
        assert_eq!(learnt(&mut board, &digests), learnt_before);
        learn(&mut board, learnt_before, killed_at);
        assert!(board.learn(killed_at, &[f32::NAN; 64], 0).unwrap().is_err());
        assert_eq!(learnt(&mut board, &digests), killed_at);
        learnt_before = killed_at;
        if ends {
            board.end(0).unwrap();
        }
        drop((emulator, board));
    }
    let (emulator, board) = start(&firmware, &image, Some(&eeproms), &log);
    drop(board);
    let record = folder.path("board.record");
    let run = folder.command(["record", "--port", &emulator.1, "--output", "board.record"]);
    assert_eq!(run.status, Some(0), "{}", run.errors);
    let found = Record::read(&record).unwrap();
    let stream = samples(SAMPLES as usize, 64, 10);
    let expected = stream.iter().take(learnt_before as usize);
    assert!(found.lessons().map(|lesson| (&lesson.input[..], lesson.label)).eq(expected));
    assert_eq!(found.events.iter().filter(|event| matches!(event, Event::Refused(_))).count(), 3);
    assert!(matches!(found.events.last(), Some(Event::End(_))) && !found.has_gap());
    let run = folder.command(["replay", "board.record", "--image", image.to_str().unwrap()]);
    assert_eq!(run.status, Some(0), "{}{}", run.output, run.errors);
    println!(
        "{} of {} events in {} bytes",
        found.lessons().count(),
        found.events.len(),
        std::fs::read(&record).unwrap().len()
    );
}

/// Request to a board in a long life, with core's result.
enum Done {
    Learnt(Vec<f32>, u32, Box<Learnt>),
    Ended(Ended),
}

impl Done {
    /// Sends the request to the board, which has done `counts` so far. The result must be core's. An error means that
    /// the board has ended.
    fn ask(&self, board: &mut Board, counts: &mut Counts) -> graftage::error::Result<()> {
        match self {
            Done::Learnt(sample, label, learnt) => {
                assert_eq!(board.learn(counts.taken, sample, *label)?.as_ref(), Ok(&**learnt), "after {counts:?}");
                counts.taken += 1;
            }
            Done::Ended(ended) => {
                assert_eq!(board.end(counts.sessions())?, *ended, "after {counts:?}");
                let outcomes = [&mut counts.rolled_back, &mut counts.committed];
                *outcomes[usize::from(ended.verdict.committed)] += 1;
            }
        }
        Ok(())
    }
}

/// Long life, computed by core alone.
struct Life<'i> {
    core: Sessions<'i, Layers>,
    draw: Generator,
    done: Vec<Done>,
    /// Digests after each number of samples and ends.
    digests: Vec<u64>,
}

impl Life<'_> {
    /// Continues by a sample or by the end of a session. One sample in 25 has something wrong. Returns it if it is
    /// refused.
    fn go_on(&mut self) -> Option<(Vec<f32>, u32, Refusal)> {
        let Self { core, draw, done, digests } = self;
        if draw.below(200) == 0 {
            let verdict = core.end();
            done.push(Done::Ended(Ended { verdict, digest: core.adaptation().digest() }));
        } else {
            let mut label = draw.below(10);
            let mut sample: Vec<_> = (0..64).map(|i| draw.uniform() + f32::from(u8::from(i % 10 == label))).collect();
            let place = draw.below(64) as usize;
            match draw.below(100) {
                0 => sample[place] = f32::NAN,
                1 => label += 10,
                2 => sample[place] = f32::MAX,
                // A wrong label, which is learnt.
                3 => label = draw.below(10),
                _ => {}
            }
            let mut reports = Vec::new();
            match core.learn(&sample, label, |report| reports.push(report)) {
                Ok(taken) => {
                    let Score { learnt, correct } = core.adaptation().score();
                    let reports = reports.into_iter().collect();
                    done.push(Done::Learnt(sample, label, Box::new(Learnt { taken, learnt, correct, reports })));
                }
                Err(refusal) => return Some((sample, label, refusal)),
            }
        }
        digests.push(core.adaptation().digest());
        None
    }
}

#[test]
fn a_long_life_on_the_link_with_faults_and_kills_is_the_one_that_core_computes() {
    let Some(firmware) = firmware() else { return };
    let asks: u64 = std::env::var("GRAFTAGE_LINKED").map_or(60, |asks| asks.parse().unwrap());
    let hold_out = Some(HoldOut { every: 8, keep: 16 });
    let recipe = Recipe { steps: 1, replay: 32, hold_out, ..RECIPE };
    let folder = Folder::empty();
    graft(&checkpoint(&[64, 32, 10], 100), recipe, usize::MAX, &folder.path("model")).unwrap();
    let (image, log) = (folder.path("model").join(IMAGE), folder.path("log"));
    let eeproms = eeproms(&folder, 3);
    let bytes = std::fs::read(&image).unwrap();
    let network = workstation::network(&parse(&bytes)).unwrap();
    let core = workstation::start_sessions(network, recipe, parse(&bytes).start()).unwrap();
    let digests = vec![core.adaptation().digest()];
    let mut life = Life { core, draw: Generator::new(SEED, 1), done: Vec::new(), digests };
    let (mut moments, started, mut slowest) = (Generator::new(SEED, 2), Instant::now(), Duration::ZERO);
    let (mut asked, mut kills, mut again, mut refused) = (0, 0, 0, BTreeMap::<String, u32>::new());
    loop {
        let (mut emulator, mut board) = start(&firmware, &image, Some(&eeproms), &log);
        let begun = Instant::now();
        let status = loop {
            match board.hello() {
                Ok(hello) => break hello.status.unwrap(),
                // Reading and learning again take long if the emulator gets little processor time.
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "start {kills}: {error}"),
            }
        };
        slowest = slowest.max(begun.elapsed());
        let (mut counts, mut at) =
            (status.counts, (status.counts.taken + u64::from(status.counts.sessions())) as usize);
        assert_eq!(status.digest, life.digests[at], "after {at} samples and ends");
        // Once its journal is full, a board forgets what came after the last save.
        assert!(life.done.len() - at <= SAVE_EVERY as usize, "{} of {} are there", at, life.done.len());
        again += life.done.len() - at;
        let moment = Duration::from_millis(moments.below(15_000).into());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            let _ = emulator.0.kill();
        });
        let mut lived = Ok(());
        while lived.is_ok() && (asked < asks || at < life.done.len()) {
            lived = if let Some(done) = life.done.get(at) {
                at += 1;
                done.ask(&mut board, &mut counts)
            } else {
                asked += 1;
                life.go_on().map_or(Ok(()), |(sample, label, refusal)| {
                    let kind = format!("{refusal:?}");
                    *refused.entry(kind.split([' ', '(']).next().unwrap_or_default().to_owned()).or_default() += 1;
                    board.learn(counts.taken, &sample, label).map(|answer| assert_eq!(answer, Err(refusal)))
                })
            };
        }
        killer.join().unwrap();
        if lived.is_ok() {
            break;
        }
        kills += 1;
    }
    let Counts { taken, committed, rolled_back, .. } = life.core.counts();
    println!(
        "seed {SEED}: {asked} asked, {taken} taken, refused {refused:?}; {committed} sessions committed, {rolled_back} \
         rolled back; {kills} kills, {again} samples and ends came again, the slowest start {} ms; {} s; digest {:016x}",
        slowest.as_millis(),
        started.elapsed().as_secs(),
        life.core.adaptation().digest()
    );
}
