//! Tests of a board, emulated or absent: it learns what core computes, and errors on the line are reported or recovered
//! from.

use crate::common::{self, Emulated, Folder, SCALE, checkpoint, emulated, parse, samples};
use graftage::board::{self, Board, Log, Port};
use graftage::data::{Legend, Samples};
use graftage::delta::Delta;
use graftage::files;
use graftage::graft::{IMAGE, graft};
use graftage::image::identity;
use graftage::record::{Event, Lesson, Record};
use graftage::replay::{Replayed, with_core};
use graftage::session::Session;
use graftage_boards::DEFAULT;
use graftage_core::adapt::{HoldOut, Recipe};
use graftage_core::error::{ImageError, Refusal};
use graftage_core::network::{Kind, Prediction};
use graftage_core::random::Generator;
use graftage_link::{ANSWER, Answer, Array, BUSY, Hello, Numbered, Status, encode};
use object::{Object, ObjectSymbol};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Widths of the network that the firmware is built for.
const WIDTHS: [u32; 3] = [64, 32, 10];
const INPUTS: usize = 64;
const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 8, seed: 3, ..Recipe::DEFAULT };
/// Samples per session.
const SAMPLES: usize = 10;
const SEED: u64 = 11;

/// Writes the image of a network of these widths and returns its path.
fn image(folder: &Folder, name: &str, widths: &[u32]) -> PathBuf {
    image_with(folder, name, widths, RECIPE)
}

fn image_with(folder: &Folder, name: &str, widths: &[u32], recipe: Recipe) -> PathBuf {
    graft(&checkpoint(widths, 100), recipe, usize::MAX, &folder.path(name)).unwrap();
    folder.path(name).join(IMAGE)
}

/// Opens a file to write a log to, and to read it from.
fn log(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// Starts a board with the right image. Returns its folder, the image's path and the board.
fn start(emulated: &Emulated) -> (Folder, PathBuf, Board) {
    let folder = Folder::empty();
    let image = image(&folder, "model", &WIDTHS);
    let port = Port::emulator(emulated.firmware.clone());
    let board = Board::open(port, Some(&image), Some(&log(&folder.path("log")))).unwrap();
    (folder, image, board)
}

fn status(hello: &Hello) -> Status {
    hello.status.unwrap()
}

fn stream() -> Samples {
    samples(SAMPLES, INPUTS, 10)
}

/// Makes the board learn all of the stream that it has not learnt.
fn learn(board: &mut Board, lessons: &mut Vec<Lesson>) {
    learn_from(board, &stream(), lessons);
    assert!(lessons.iter().all(|lesson| lesson.reports.len() == RECIPE.steps as usize));
}

/// Like [`learn`], for another stream.
fn learn_from(board: &mut Board, stream: &Samples, lessons: &mut Vec<Lesson>) {
    for (number, (input, label)) in stream.iter().enumerate().skip(lessons.len()) {
        let learnt = board.learn(number as u64, input, label).unwrap().unwrap();
        assert_eq!(learnt.learnt, number as u64 + 1);
        lessons.push(Lesson { input: input.to_vec(), label, taken: learnt.taken, reports: learnt.reports.to_vec() });
    }
}

/// Compares a session with core on this machine. Returns the last digest.
fn core_agrees(image: &Path, start: u64, learnt: Vec<Lesson>) -> u64 {
    let bytes = std::fs::read(image).unwrap();
    let steps: usize = learnt.iter().map(|lesson| lesson.reports.len()).sum();
    let events = learnt.into_iter().map(Event::Sample).collect();
    let record = Record { board: String::new(), schema: 0, image: identity(&bytes), start, events };
    let target = with_core(&record, &parse(&bytes)).unwrap().target;
    assert_eq!((target.steps, target.differing, target.first_difference), (steps as u64, 0, None));
    let last = record.digest();
    assert_eq!(target.digest, format!("{last:016x}"));
    last
}

#[test]
fn a_board_learns_what_core_computes_on_this_machine() {
    for emulated in emulated() {
        let (folder, image, mut board) = start(&emulated);
        let hello = board.hello().unwrap();
        assert_eq!((hello.board.as_str(), hello.inputs, hello.classes, hello.dropped), (emulated.name, 64, 10, 0));
        assert_eq!(hello.schema, Kind::schema(&common::layers(&WIDTHS)));
        assert_eq!((hello.memory.weights, hello.memory.momenta), (9640, 9640));
        let before = status(&hello);
        assert_eq!((before.scale, before.steps, before.learnt, before.step), (SCALE, 2, 0, 0));
        let mut lessons = Vec::new();
        learn(&mut board, &mut lessons);
        let last = core_agrees(&image, before.digest, lessons);
        let after = status(&board.hello().unwrap());
        assert_eq!((after.learnt, after.step, after.digest), (10, 20, last));
        drop(board);
        let log = Log::open(&emulated.firmware, &log(&folder.path("log"))).unwrap().lines().unwrap();
        assert!(log.iter().any(|line| line.contains(&format!("{:016x}", before.digest))), "{log:#?}");
        assert!(log.last().unwrap().contains("step 20 loss"), "{log:#?}");
        assert!(log.last().unwrap().contains(&format!("digest {last:016x}")), "{log:#?}");
    }
}

#[test]
fn sessions_on_a_board_end_as_on_this_machine() {
    // These sessions are long: they take minutes on a board that emulates floating point as well.
    for Emulated { firmware, .. } in emulated().into_iter().take(1) {
        let folder = Folder::empty();
        let recipe = Recipe { hold_out: Some(HoldOut { every: 3, keep: 8 }), ..RECIPE };
        let image = image_with(&folder, "model", &WIDTHS, recipe);
        let mut board = Board::open(Port::emulator(firmware), Some(&image), None).unwrap();
        let start = status(&board.hello().unwrap()).digest;
        let (mut events, mut committed, mut number) = (Vec::new(), Vec::new(), 0);
        for session in 0..4 {
            // The second session learns wrong labels and is judged by right ones.
            let samples = samples(24, INPUTS, 10);
            for (input, label) in (0..4).flat_map(|_| samples.iter()) {
                let learnt = session == 1 && number % 3 != 2;
                let label = if learnt { (label + 1) % 10 } else { label };
                let learnt = board.learn(number, input, label).unwrap().unwrap();
                number += 1;
                let (taken, reports) = (learnt.taken, learnt.reports.to_vec());
                events.push(Event::Sample(Lesson { input: input.to_vec(), label, taken, reports }));
            }
            let ended = board.end(session).unwrap();
            committed.push(ended.verdict.committed);
            events.push(Event::End(ended));
        }
        println!("committed: {committed:?}");
        assert!(committed.contains(&true) && committed.contains(&false), "{committed:?}");
        let counts = status(&board.hello().unwrap()).counts;
        assert_eq!((counts.taken, counts.sessions()), (4 * 96, 4));
        let bytes = std::fs::read(&image).unwrap();
        let record = Record { board: String::new(), schema: 0, image: identity(&bytes), start, events };
        let Replayed { target, mut sessions } = with_core(&record, &parse(&bytes)).unwrap();
        assert_eq!((target.steps, target.differing, target.first_difference), (2 * 256, 0, None));
        assert_eq!(target.digest, format!("{:016x}", record.digest()));

        // The board's weights in use are, number by number, those that the record's delta makes of the image.
        let in_use = board.array(Array::InUse).unwrap();
        let delta = Delta::between(&parse(&bytes), identity(&bytes), sessions.in_use()).unwrap();
        let adapted = delta.apply(&parse(&bytes), identity(&bytes)).unwrap();
        let adapted: Vec<f32> = parse(&adapted).weights().collect();
        assert_eq!(common::bits(&adapted), common::bits(&in_use));
        assert_ne!(common::bits(&in_use), common::bits(&parse(&bytes).weights().collect::<Vec<_>>()));
    }
}

#[test]
fn a_board_predicts_what_core_predicts() {
    for emulated in emulated() {
        let (_folder, image, mut board) = start(&emulated);
        let bytes = std::fs::read(image).unwrap();
        let network = graftage::workstation::network(&parse(&bytes)).unwrap();
        let mut core = graftage::workstation::start(network, RECIPE, parse(&bytes).start()).unwrap();
        for (input, _) in stream().iter() {
            assert_eq!(board.predict(input).unwrap(), core.predict(input));
        }
    }
}

#[test]
fn a_board_that_is_reset_starts_from_its_image_again() {
    for emulated in emulated() {
        let (_folder, image, mut board) = start(&emulated);
        let status = |board: &mut Board| board.hello().unwrap().status.unwrap();
        let new = status(&mut board);
        let learn = |board: &mut Board| {
            for (number, (input, label)) in (0..).zip(stream().iter()) {
                board.learn(number, input, label).unwrap().unwrap();
            }
            board.end(0).unwrap().digest
        };
        let learnt = learn(&mut board);
        assert_ne!(learnt, new.digest);
        assert_eq!(board.reset().unwrap(), new.digest);
        let again = status(&mut board);
        assert_eq!((again.digest, again.counts, again.step), (new.digest, new.counts, 0));
        let factory: Vec<f32> = parse(&std::fs::read(image).unwrap()).weights().collect();
        assert_eq!(common::bits(&board.array(Array::InUse).unwrap()), common::bits(&factory));
        // It learns as it did before.
        assert_eq!(learn(&mut board), learnt);
    }
}

#[test]
fn a_bad_sample_is_refused_by_the_board_and_the_next_one_learnt() {
    for emulated in emulated() {
        let (_folder, image, mut board) = start(&emulated);
        let start = board.hello().unwrap();
        let mut lessons = Vec::new();
        let mut nan = [0.5; INPUTS];
        nan[17] = f32::NAN;
        let bad: [(&[f32], u32, Refusal); 3] = [
            (&nan, 1, Refusal::NotFinite { index: 17 }),
            (&[0.5; INPUTS], 10, Refusal::Label { label: 10, classes: 10 }),
            (&[0.5; 3], 1, Refusal::Length { expected: 64, found: 3 }),
        ];
        for (sample, label, refusal) in bad {
            assert_eq!(board.learn(0, sample, label).unwrap(), Err(refusal));
            assert_eq!(board.hello().unwrap(), start);
        }
        learn(&mut board, &mut lessons);
        core_agrees(&image, status(&start).digest, lessons);
        assert_eq!(board.predict(&nan).unwrap(), Err(bad[0].2));
    }
}

#[test]
fn a_sample_out_of_order_is_an_error_that_says_what_happened() {
    for emulated in emulated() {
        let (_folder, _, mut board) = start(&emulated);
        let message = board.learn(5, &[0.5; INPUTS], 1).unwrap_err().to_string();
        assert!(message.contains("expects number 0") && message.contains("reset"), "{message}");
    }
}

/// Emulated board on a TCP port, behind a line that the test controls.
struct Line {
    address: String,
    emulator: Child,
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// Effect of the line on a byte. The arguments are the number of its frame, from 0, a flag for the first byte of a
/// frame, and the byte.
trait Noise: FnMut(usize, bool, u8) -> Vec<u8> + Send + 'static {}

impl<N: FnMut(usize, bool, u8) -> Vec<u8> + Send + 'static> Noise for N {}

/// Forwards every byte as the noise changes it.
fn forward(mut from: impl Read, mut to: impl Write, mut noise: impl Noise) -> std::io::Result<()> {
    let (mut byte, mut zeros) = ([0], 0);
    while from.read(&mut byte)? > 0 {
        // A frame is a zero, bytes that are not zero, and a zero.
        let begins = byte[0] == 0 && zeros % 2 == 0;
        to.write_all(&noise(zeros / 2, begins, byte[0]))?;
        to.flush()?;
        zeros += usize::from(byte[0] == 0);
    }
    Ok(())
}

impl Line {
    fn to(firmware: &Path, image: &Path, to_board: impl Noise, from_board: impl Noise) -> Self {
        let said = board::firmware(firmware).unwrap();
        Self::of(to_board, from_board, |serial| {
            said.board.machine().unwrap().linked(&said, firmware, serial, Some(image), None)
        })
    }

    /// Starts an emulator and the line to its board. `emulator` gets the address of the board's link.
    fn of(to_board: impl Noise, from_board: impl Noise, emulator: impl FnOnce(&str) -> Command) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let (board, workstation) = (listen(), listen());
        let mut command = emulator(&format!("tcp:{},nodelay=on", address(&board)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let line = Self { address: address(&workstation), emulator: command.spawn().unwrap() };
        std::thread::spawn(move || {
            let [board, workstation] = [board, workstation].map(|end| end.accept().unwrap().0);
            // Sends bytes one by one.
            [&board, &workstation].into_iter().for_each(|end| end.set_nodelay(true).unwrap());
            let (answers, asked) = (board.try_clone().unwrap(), workstation.try_clone().unwrap());
            // Both directions end when one side hangs up.
            std::thread::spawn(move || forward(answers, workstation, from_board));
            let _ = forward(asked, board, to_board);
        });
        line
    }
}

fn clean(_: usize, _: bool, byte: u8) -> Vec<u8> {
    vec![byte]
}

/// Adds a byte of garbage before every fifth frame.
fn garbage(frame: usize, begins: bool, byte: u8) -> Vec<u8> {
    if begins && frame % 5 == 4 { vec![0xaa, byte] } else { vec![byte] }
}

#[test]
fn garbage_on_the_line_costs_no_sample_and_is_counted() {
    for emulated in emulated() {
        let Emulated { firmware, .. } = emulated;
        let folder = Folder::empty();
        let image = image(&folder, "model", &WIDTHS);
        let line = Line::to(&firmware, &image, garbage, garbage);
        let mut board = Board::open(Port::Tcp(line.address.clone()), None, None).unwrap();
        let start = status(&board.hello().unwrap()).digest;
        let mut lessons = Vec::new();
        learn(&mut board, &mut lessons);
        let last = core_agrees(&image, start, lessons);
        let hello = board.hello().unwrap();
        assert_eq!((status(&hello).learnt, status(&hello).digest), (SAMPLES as u64, last));
        // Every fifth frame is damaged: of the twelve requests and answers, and of those that report damage.
        assert!(hello.dropped >= 2 && board.damaged >= 2 && board.repeated >= 2, "{} {}", hello.dropped, board.damaged);
    }
}

#[test]
fn a_session_on_a_line_that_damages_one_byte_in_a_thousand_learns_the_same() {
    const LENGTH: usize = 250;
    let Some(Emulated { firmware, .. }) = emulated().into_iter().next() else { return };
    let folder = Folder::empty();
    let image = image_with(&folder, "model", &WIDTHS, Recipe { batch: 1, steps: 1, ..RECIPE });
    // One generator per direction, as each direction has a thread of its own.
    let damage = |seed: u64| {
        let mut generator = Generator::new(SEED, seed);
        move |_, _, byte| match generator.below(3000) {
            // Changed, lost and doubled bytes.
            0 => vec![byte ^ (1 << ((seed + u64::from(byte)) % 8))],
            1 => vec![],
            2 => vec![byte, byte],
            _ => vec![byte],
        }
    };
    let line = Line::to(&firmware, &image, damage(1), damage(2));
    let started = Instant::now();
    let mut board = Board::open(Port::Tcp(line.address.clone()), None, None).unwrap();
    let start = status(&board.hello().unwrap()).digest;
    let mut lessons = Vec::new();
    learn_from(&mut board, &samples(LENGTH, INPUTS, 10), &mut lessons);
    let last = core_agrees(&image, start, lessons);
    let hello = board.hello().unwrap();
    assert_eq!((status(&hello).learnt, status(&hello).digest), (LENGTH as u64, last));
    println!(
        "seed {SEED}: {LENGTH} samples in {} s; frames dropped: {} by the board, {} here; requests sent again: {}; digest {last:016x}",
        started.elapsed().as_secs(),
        hello.dropped,
        board.damaged,
        board.repeated
    );
    assert!(hello.dropped > 40 && board.damaged > 8);
}

#[test]
fn a_board_whose_saves_take_twelve_seconds_on_a_line_that_loses_bytes_learns_the_same() {
    const LENGTH: usize = 200;
    // A firmware outside of this project that uses our library.
    let root = crate::common::root();
    let (firmware, image) = (root.join("target/outside/slow"), root.join("tests/outside/image.grft"));
    if !firmware.is_file() {
        let line = format!("skipped: {} is no file; run `cargo xtask test`", firmware.display());
        assert!(std::env::var("GRAFTAGE_REQUIRE_BOARD").map_or(true, |required| required != "1"), "{line}");
        println!("{line}");
        return;
    }
    let lost = |seed: u64| {
        let mut generator = Generator::new(SEED, seed);
        move |_, _, byte| if generator.below(1000) == 0 { vec![] } else { vec![byte] }
    };
    let line = Line::of(lost(3), lost(4), |serial| {
        let mut command = DEFAULT.machine().unwrap().command(&firmware);
        command.args(["-serial", serial]);
        command
    });
    let mut board = Board::open(Port::Tcp(line.address.clone()), None, None).unwrap();
    let start = status(&board.hello().unwrap());
    let (mut lessons, mut slowest) = (Vec::new(), Duration::ZERO);
    for (number, (input, label)) in samples(LENGTH, 8, 4).iter().enumerate() {
        let asked = Instant::now();
        let learnt = board.learn(number as u64, input, label).unwrap().unwrap();
        slowest = slowest.max(asked.elapsed());
        lessons.push(Lesson::new(input, label, &learnt));
    }
    let last = core_agrees(&image, start.digest, lessons);
    let hello = board.hello().unwrap();
    assert_eq!(
        (status(&hello).counts.taken, status(&hello).digest, status(&hello).saved),
        (LENGTH as u64, last, Some(2))
    );
    println!("slowest answer {slowest:.1?}; frames dropped: {} there, {} here", hello.dropped, board.damaged);
    // The time can be measured because the emulator's clock is this machine's.
    assert!(slowest > Duration::from_secs(12), "{slowest:?}");
    assert!(hello.dropped + board.damaged > 5);
}

#[test]
fn a_lost_answer_is_asked_for_again_and_nothing_is_learnt_twice() {
    for emulated in emulated() {
        let Emulated { firmware, .. } = emulated;
        let folder = Folder::empty();
        let image = image(&folder, "model", &WIDTHS);
        let lost = |frame, _, byte| if frame == 4 { vec![] } else { vec![byte] };
        let line = Line::to(&firmware, &image, clean, lost);
        let mut board = Board::open(Port::Tcp(line.address.clone()), None, None).unwrap();
        let start = status(&board.hello().unwrap()).digest;
        let mut lessons = Vec::new();
        learn(&mut board, &mut lessons);
        core_agrees(&image, start, lessons);
        assert_eq!(status(&board.hello().unwrap()).learnt, SAMPLES as u64);
    }
}

#[test]
fn a_board_with_an_image_that_it_cannot_use_says_why() {
    for emulated in emulated() {
        let Emulated { firmware, .. } = emulated;
        let folder = Folder::empty();
        stream().write(&folder.path("stream.csv"), SCALE, &Legend::default()).unwrap();
        let mut damaged = std::fs::read(image(&folder, "model", &WIDTHS)).unwrap();
        damaged[1000] ^= 4;
        let schema = |widths: &[u32]| Kind::schema(&common::layers(widths));
        let (expected, found) = (schema(&WIDTHS), schema(&[64, 16, 10]));
        let other = image(&folder, "other", &[64, 16, 10]);
        for (image, why) in [
            (other, ImageError::Schema { expected, found }),
            (folder.file("damaged.grft", damaged), ImageError::Checksum),
            (folder.file("none.grft", "These are not the bytes of an image.\n"), ImageError::Magic),
        ] {
            let mut board = Board::open(Port::emulator(firmware.clone()), Some(&image), None).unwrap();
            assert_eq!(board.hello().unwrap().status, Err(why));
            for message in [
                board.predict(&[0.5; INPUTS]).unwrap_err().to_string(),
                board.learn(0, &[0.5; INPUTS], 1).unwrap_err().to_string(),
            ] {
                assert!(message.contains(&why.to_string()), "{message}");
            }
            let before = folder.files();
            let port = format!("--port=qemu:{}", firmware.display());
            let image = format!("--image={}", image.display());
            let run = folder.command(["adapt", &port, &image, "--stream=stream.csv", "--record=a", "--output=b"]);
            assert_eq!((run.errors.lines().count(), run.output.as_str()), (1, ""), "{}", run.errors);
            let message = run.failed();
            assert!(message.contains(&why.to_string()), "{message}");
            assert_eq!(folder.files(), before);
        }
    }
}

#[test]
fn adapt_writes_a_record_that_replay_agrees_with_and_a_readable_log() {
    for emulated in emulated() {
        let Emulated { name, firmware } = emulated;
        let folder = Folder::empty();
        image(&folder, "model", &WIDTHS);
        stream().write(&folder.path("stream.csv"), SCALE, &Legend::default()).unwrap();
        samples(20, INPUTS, 10).write(&folder.path("test.csv"), SCALE, &Legend::default()).unwrap();
        let port = format!("--port=qemu:{}", firmware.display());
        let adapt = ["adapt", &port, "--image=model/image.grft", "--stream=stream.csv", "--test=test.csv"];
        let writes = ["--record=a.record", "--log=a.log", "--output=a.json"];
        folder.command([&adapt[..], &writes].concat()).succeeded();
        let session: Session = files::read_json(&folder.path("a.json")).unwrap();
        assert_eq!((session.board.as_str(), session.samples, session.refused), (name, SAMPLES, 0));
        assert_eq!((session.updates, session.dropped, session.curve.len()), (20, 0, SAMPLES));
        let log = std::fs::read_to_string(folder.path("a.log")).unwrap();
        assert!(log.lines().last().unwrap().contains(&format!("digest {}", session.digest)), "{log}");
        let verified = folder.graftage("replay a.record --image model/image.grft").succeeded();
        let agrees = |line: &str| line.contains(&session.digest) && line.ends_with("none");
        assert_eq!(verified.lines().filter(|line| agrees(line)).count(), verified.lines().count() - 1, "{verified}");
    }
}

#[test]
fn a_boards_record_becomes_a_delta_and_a_page() {
    for Emulated { firmware, .. } in emulated() {
        let folder = Folder::empty();
        image(&folder, "model", &WIDTHS);
        stream().write(&folder.path("stream.csv"), SCALE, &Legend::default()).unwrap();
        samples(20, INPUTS, 10).write(&folder.path("test.csv"), SCALE, &Legend::default()).unwrap();
        let port = format!("--port=qemu:{}", firmware.display());
        let adapt = ["adapt", &port, "--image=model/image.grft", "--stream=stream.csv", "--test=test.csv"];
        folder.command([&adapt[..], &["--record=a.record", "--output=a.json"]].concat()).succeeded();
        let session: Session = files::read_json(&folder.path("a.json")).unwrap();
        let record = Record::read(&folder.path("a.record")).unwrap();
        let states = record.events.iter().filter(|event| matches!(event, Event::State(_)));
        assert_eq!((states.count(), record.lessons().count()), (1, SAMPLES));

        let image = "--image model/image.grft";
        let page = folder.graftage(&format!("replay a.record {image} --test test.csv --html a.html")).succeeded();
        let shares = [session.before, session.after].map(|share| format!("{:.1} % with", 100.0 * share));
        assert!(shares.iter().all(|share| page.contains(share)), "{page}");
        folder.graftage(&format!("delta make {image} --record a.record -o a.grfd")).succeeded();
        folder.graftage(&format!("delta apply {image} a.grfd -o adapted.grft")).succeeded();
        let measured = folder.graftage(&format!("delta eval {image} a.grfd --test test.csv")).succeeded();
        assert!(measured.contains(&format!("{:.1} % adapted", 100.0 * session.after)), "{measured}");
        // A board that starts with the adapted image answers like the one that has learnt.
        let board = Board::open(Port::emulator(firmware), Some(&folder.path("adapted.grft")), None);
        let in_use = board.unwrap().array(Array::InUse).unwrap();
        let Some(Event::State(state)) = record.events.iter().rev().nth(1) else { panic!("no state") };
        assert_eq!(common::bits(&in_use), common::bits(&state.x));
    }
}

#[test]
fn a_monitor_shows_what_an_emulated_board_does_in_plain_lines_where_there_is_no_terminal() {
    for Emulated { name, firmware } in emulated() {
        let folder = Folder::empty();
        image(&folder, "model", &WIDTHS);
        stream().write(&folder.path("stream.csv"), SCALE, &Legend::default()).unwrap();
        let port = format!("--port=qemu:{}", firmware.display());
        let watch = ["monitor", &port, "--image=model/image.grft", "--polls=3", "--every=0.5"];
        let said = folder.command(watch).succeeded();
        let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("log: ")).collect();
        // The board does nothing, so there is nothing new to print.
        assert_eq!(lines.len(), 1, "{said}");
        assert!(lines[0].starts_with(&format!("{name}: 0 samples, step 0, none correct, movement 0.000")), "{said}");
        assert!(said.lines().any(|line| line.starts_with("log: INFO ready: 2410 weights")), "{said}");
        let adapt = ["adapt", &port, "--image=model/image.grft", "--stream=stream.csv", "--monitor"];
        let said = folder.command(adapt).succeeded();
        assert!(said.contains(&format!("{name}: 10 samples, step 20, ")) && said.contains("1 committed"), "{said}");
        assert!(said.lines().any(|line| line.starts_with("log: INFO step ")), "{said}");
    }
}

#[test]
fn a_record_is_complete_when_the_line_to_the_board_is_lost() {
    for emulated in emulated() {
        let Emulated { firmware, .. } = emulated;
        let folder = Folder::empty();
        let image = image(&folder, "model", &WIDTHS);
        stream().write(&folder.path("stream.csv"), SCALE, &Legend::default()).unwrap();
        // Only the answers to hello and to five samples come back.
        let lost = |frame, _, byte| if frame < 6 { vec![byte] } else { vec![] };
        let line = Line::to(&firmware, &image, clean, lost);
        let port = format!("--port=tcp:{}", line.address);
        let adapt = ["adapt", &port, "--image=model/image.grft", "--stream=stream.csv", "--record=a.record"];
        let message = folder.command(adapt).failed();
        assert!(message.contains("no answer to ") && message.contains(" requests in "), "{message}");
        let found = Record::salvage(&folder.path("a.record")).unwrap();
        assert_eq!((found.record.lessons().count(), found.damage, found.finished), (5, None, false));
        folder.graftage("replay a.record --image model/image.grft").succeeded();
    }
}

#[test]
fn the_memory_of_a_firmware_is_that_of_its_board_and_little_more() {
    for emulated in emulated() {
        let (_folder, _, mut board) = start(&emulated);
        let memory = board.hello().unwrap().memory;
        let parts = [
            memory.weights,
            memory.query_points,
            memory.momenta,
            memory.in_use,
            memory.replay,
            memory.held_out,
            memory.scratch,
            memory.link,
        ];
        let said = board::firmware(&emulated.firmware).unwrap();
        let (flash, ram) = (said.flash.used(), said.ram.used());
        let device = u64::from(parts.iter().sum::<u32>());
        assert!((device..device + 1024).contains(&ram), "{ram} bytes of RAM, {device} of the device");
        assert_eq!(said.ram.parts[..8].iter().map(|(_, bytes)| *bytes as u32).collect::<Vec<_>>(), parts);
        // The sum is, to the byte, what the linker laid out for the device.
        let elf = files::read(&emulated.firmware).unwrap();
        let elf = object::File::parse(&elf[..]).unwrap();
        let of_device = |name: &str| name.contains("bare8SESSIONS") || name.contains("bare4LINK");
        let laid_out = elf.symbols().filter(|symbol| symbol.name().is_ok_and(of_device));
        assert_eq!(laid_out.map(|symbol| symbol.size()).sum::<u64>(), device);
        // A device is all zeros before it starts, so none of its initial values lie in flash. The flash of a board with
        // a floating-point unit, for the demo's network, is in the table of docs/adaptation.md.
        let most = if emulated.name == "mps2-an386" { 48 * 1024 } else { 80 * 1024 };
        assert!((10_000..=most).contains(&flash), "{flash} bytes of flash");
    }
}

/// Opens a connection to a TCP server that is no board.
fn impostor(answer: impl FnOnce(TcpStream) + Send + 'static) -> Board {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || answer(listener.accept().unwrap().0));
    Board::open(Port::Tcp(address), None, None).unwrap()
}

#[test]
fn a_board_that_does_not_answer_is_given_up_with_what_was_tried() {
    let (sender, heard) = std::sync::mpsc::channel();
    let mut board = impostor(move |mut socket| {
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all);
        let _ = sender.send(all);
    });
    let started = Instant::now();
    let message = board.hello().unwrap_err().to_string();
    assert!(started.elapsed() < Duration::from_secs(11), "{:?}", started.elapsed());
    for words in ["tcp:127.0.0.1:", "3 requests", " 9 s", "firmware"] {
        assert!(message.contains(words), "{message}");
    }
    drop(board);
    // The line is free for the next program.
    assert!(!heard.recv_timeout(Duration::from_secs(10)).unwrap().is_empty());
}

/// Encodes an answer as bytes on the wire.
fn wire(answer: Numbered<Answer>) -> Vec<u8> {
    let (mut plain, mut wire) = ([0; ANSWER], [0; ANSWER]);
    let used = encode(&answer, &mut plain, &mut wire).unwrap();
    wire[..used].to_vec()
}

/// Reads requests until the line is closed. Returns their number.
fn requests(mut socket: TcpStream) -> usize {
    let mut all = Vec::new();
    let _ = socket.read_to_end(&mut all);
    all.split(|byte| *byte == 0).filter(|frame| !frame.is_empty()).count()
}

#[test]
fn a_board_that_says_that_it_is_busy_is_waited_for_and_not_asked_again() {
    let (sender, heard) = std::sync::mpsc::channel();
    let board = impostor(move |mut socket| {
        let _ = socket.read(&mut [0; 100]);
        // This is longer than the workstation waits in silence.
        for _ in 0..8 {
            let _ = socket.write_all(&BUSY);
            std::thread::sleep(Duration::from_millis(300));
        }
        let prediction = Prediction { class: 3, probability: 1.0 };
        let _ = socket.write_all(&wire((1, Answer::Predicted(prediction))));
        let _ = sender.send(requests(socket));
    });
    let mut board = board.with_timeout(Duration::from_secs(1));
    assert_eq!(board.predict(&[0.5]).unwrap().unwrap().class, 3);
    assert_eq!((board.repeated, board.damaged), (0, 0));
    drop(board);
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), 0);
}

#[test]
fn a_board_that_falls_silent_is_not_asked_whether_it_is_one() {
    let board = impostor(|mut socket| {
        let _ = socket.read(&mut [0; 100]);
        let prediction = Prediction { class: 3, probability: 1.0 };
        let _ = socket.write_all(&wire((1, Answer::Predicted(prediction))));
        requests(socket);
    });
    let mut board = board.with_timeout(Duration::from_millis(700));
    board.predict(&[0.5]).unwrap().unwrap();
    let message = board.predict(&[0.5]).unwrap_err().to_string();
    assert!(message.contains("answered before") && message.contains("--timeout"), "{message}");
    assert!(!message.contains("firmware"), "{message}");
}

#[test]
fn a_line_that_is_no_boards_is_told_by_what_comes_and_causes_no_storm_of_requests() {
    type Answer = fn(&mut TcpStream, &[u8]) -> std::io::Result<()>;
    let cases: [(Answer, &str); 4] = [
        // RX and TX are joined.
        (|line, asked| line.write_all(asked), "only the bytes that were sent came back"),
        // A terminal that shows control characters.
        (
            |line, asked| line.write_all(&asked.iter().flat_map(|_| *b"^@").collect::<Vec<_>>()),
            "does the device run this project's firmware, at 115200 baud",
        ),
        // Another device, or another baud rate.
        (|line, _| line.write_all(b"\0$GPGGA,1\0"), "only damaged frames"),
        (|_, _| Ok(()), "does another program have the port open"),
    ];
    for (answer, words) in cases {
        let (sender, heard) = std::sync::mpsc::channel();
        let board = impostor(move |mut line| {
            let (mut count, mut bytes) = (0, [0; 100]);
            while let Ok(read @ 1..) = line.read(&mut bytes) {
                count += bytes[..read].split(|byte| *byte == 0).filter(|frame| !frame.is_empty()).count();
                if answer(&mut line, &bytes[..read]).is_err() {
                    break;
                }
            }
            let _ = sender.send(count);
        });
        let mut board = board.with_timeout(Duration::from_secs(2));
        let message = board.hello().unwrap_err().to_string();
        assert!(message.contains("no answer to ") && message.contains(words), "{message}");
        drop(board);
        let count = heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(count <= 20, "{words}: {count} requests");
    }
}

#[test]
fn an_address_at_which_nothing_listens_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = Board::open(Port::Tcp(free.to_string()), None, None).err().unwrap().to_string();
    assert!(message.contains(&format!("tcp:{free}: connection refused: is the board")), "{message}");
}

#[test]
fn a_port_is_read_as_it_is_written() {
    let store = |firmware: &str, store: &str| Port::Emulator { firmware: firmware.into(), store: Some(store.into()) };
    for (text, port) in [
        ("/dev/ttyACM0", Ok(Port::Serial("/dev/ttyACM0".into()))),
        ("tcp:a:1", Ok(Port::Tcp("a:1".into()))),
        ("qemu:a/b", Ok(Port::emulator("a/b"))),
        ("qemu:a,store=b", Ok(store("a", "b"))),
        ("qemu:a,b,store=c,d", Ok(store("a,b", "c,d"))),
        ("qemu:", Err("the firmware is missing")),
        ("qemu:,store=a", Err("the firmware is missing")),
        ("qemu:a,store=", Err("the file is missing")),
        ("tcp:a", Err("the port is missing")),
        ("", Err("the port is empty")),
    ] {
        match (text.parse::<Port>(), port) {
            (Ok(found), Ok(port)) => assert_eq!(found, port),
            (Err(message), Err(words)) => assert!(message.contains(words), "{text}: {message}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

#[test]
fn an_answer_that_comes_late_is_not_taken_for_that_to_the_next_question() {
    let mut board = impostor(|mut socket| {
        // A slow board answers twice if it is asked twice; some answers come when the next question is on its way.
        for request in [1, 1, 2, 2, 2, 3] {
            let prediction = Prediction { class: u32::from(request), probability: 1.0 };
            let _ = socket.write_all(&wire((request, Answer::Predicted(prediction))));
            std::thread::sleep(Duration::from_millis(300));
        }
        let _ = socket.read_to_end(&mut Vec::new());
    });
    for (request, pause) in [(1, 400), (2, 0), (3, 0)] {
        assert_eq!(board.predict(&[0.5]).unwrap().unwrap().class, request);
        std::thread::sleep(Duration::from_millis(pause));
    }
}

#[test]
fn a_line_that_is_closed_is_said_at_once() {
    let mut board = impostor(|mut socket| {
        let _ = socket.read(&mut [0; 100]);
    });
    let message = board.hello().unwrap_err().to_string();
    assert!(message.contains("tcp:127.0.0.1:") && message.contains("closed"), "{message}");
}

#[test]
fn a_board_of_another_version_is_told_from_a_silent_one() {
    let mut board = impostor(|mut socket| {
        let _ = socket.read(&mut [0; 100]);
        // A whole frame of version 9, with the CRC-32/ISO-HDLC of its two bytes behind them.
        let checksum = graftage_core::image::checksum(&[9, 0]).to_le_bytes();
        let _ = socket.write_all(&[&[0, 2, 9, 5][..], &checksum, &[0]].concat());
        let _ = socket.read(&mut [0; 100]);
    });
    let message = board.hello().unwrap_err().to_string();
    assert!(message.contains("link version 9"), "{message}");
}

#[test]
fn an_emulator_that_ends_says_why() {
    for Emulated { firmware, .. } in emulated() {
        // A folder is not an image that the emulator can load.
        let folder = Folder::empty();
        let outcome = Board::open(Port::emulator(firmware), Some(&folder.path(".")), None);
        let message = outcome.and_then(|mut board| board.hello()).unwrap_err().to_string();
        assert!(message.contains("the emulator ended"), "{message}");
    }
}

#[test]
fn a_file_that_is_no_firmware_of_an_emulated_board_is_refused() {
    let folder = Folder::empty();
    for (bytes, why) in [
        (b"not an ELF file, and no machine code that runs either".to_vec(), "not an ELF file"),
        (common::firmware("unknown"), "not a firmware of this project"),
        (common::firmware("nucleo_f446re"), "nucleo-f446re cannot be emulated"),
    ] {
        let file = folder.file("firmware", bytes);
        let message = Board::open(Port::emulator(file), None, None).err().unwrap().to_string();
        assert!(message.contains("firmware: ") && message.contains(why), "{message}");
    }
}
