//! Tests of records, and of their replay.

use crate::common::{self, Folder, bits, parse, samples};
use graftage::graft::{IMAGE, graft};
use graftage::image::identity;
use graftage::record::{Event, Found, Lesson, Record, Refused, State};
use graftage::replay::{recorded, with_core};
use graftage_core::adapt::{HoldOut, Recipe, Report, Ring};
use graftage_core::chain;
use graftage_core::error::Refusal;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Layer, Outcome, Relu};
use graftage_core::random::Generator;
use graftage_core::session::Session;
use graftage_link::Ended;
use std::path::Path;

/// Setting that holds out every tenth sample.
const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 10, keep: 6 });
const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 16, seed: 8, hold_out: HOLD_OUT, ..Recipe::DEFAULT };

/// Network in static memory, as a board holds it.
type Network = chain![Dense<5, 8>, Relu<8>, Dense<8, 3>];

/// Returns an image, and the record of a board that started from it, took 30 samples and ended its session.
fn session(folder: &Folder) -> (Vec<u8>, Record) {
    graft(&common::checkpoint(&[5, 8, 3], 20), RECIPE, usize::MAX, &folder.path("model")).unwrap();
    let bytes = std::fs::read(folder.path("model").join(IMAGE)).unwrap();
    let image = parse(&bytes);
    let mut network = Network::ZERO;
    image.load(Network::SCHEMA, &mut network).unwrap();
    let (scratch, in_use) = ([0.0; Network::SCRATCH], [0.0; Network::WEIGHTS]);
    let mut board = Session::new(network, Ring::<5, 16>::new(), scratch, in_use, Ring::<5, 6>::new());
    board.set_start(image.start());
    board.start(image.header.recipe).unwrap();
    let start = board.adaptation().digest();
    let mut events = Vec::new();
    for (input, label) in samples(30, 5, 3).iter() {
        let mut reports = Vec::new();
        let taken = board.learn(input, label, |report| reports.push(report)).unwrap();
        events.push(Event::Sample(Lesson { input: input.to_vec(), label, taken, reports }));
    }
    let mut state = State { x: vec![], y: vec![], m: vec![] };
    board.network_mut().parameters(&mut |parameter| {
        state.x.extend(parameter.state.x.elements());
        state.y.extend(parameter.state.y.elements());
        state.m.extend(parameter.state.m.elements());
    });
    events.push(Event::State(state));
    let verdict = board.end();
    events.push(Event::End(Ended { verdict, digest: board.adaptation().digest() }));
    let record =
        Record { board: "a board".into(), schema: parse(&bytes).header.schema, image: identity(&bytes), start, events };
    (bytes, record)
}

fn lesson(record: &mut Record, index: usize) -> &mut Lesson {
    match &mut record.events[index] {
        Event::Sample(lesson) => lesson,
        _ => panic!("event {index} is no sample"),
    }
}

#[test]
fn learning_in_static_memory_is_computed_again_to_the_bit() {
    let (bytes, record) = session(&Folder::empty());
    let target = with_core(&record, &parse(&bytes)).unwrap().target;
    let Some(Event::End(Ended { digest: last, .. })) = record.events.last() else { panic!("no end") };
    assert_eq!((target.steps, target.differing, target.first_difference), (54, 0, None));
    assert_eq!(target.digest, format!("{last:016x}"));
    let board = recorded(&record);
    assert_eq!((board.target.as_str(), board.steps, board.digest), ("a board", 54, target.digest));
}

/// Change of one event of a record.
type Alteration = fn(&mut Event);

/// Returns what replay finds in an altered record: the number of differences, and the first one.
fn found(record: &Record, image: &[u8]) -> (u64, String) {
    let target = with_core(record, &parse(image)).unwrap().target;
    assert_eq!(target.differing == 0, target.first_difference.is_none());
    (target.differing, target.first_difference.unwrap_or_default())
}

/// Alters a sample.
macro_rules! sample {
    ($lesson:ident, $alteration:expr) => {
        |event| {
            let Event::Sample($lesson) = event else { panic!("no sample") };
            $alteration;
        }
    };
}

/// Alters the end of a session.
macro_rules! end {
    ($ended:ident, $alteration:expr) => {
        |event| {
            let Event::End($ended) = event else { panic!("no end") };
            $alteration;
        }
    };
}

/// Alters the state.
macro_rules! state {
    ($state:ident, $alteration:expr) => {
        |event| {
            let Event::State($state) = event else { panic!("no state") };
            $alteration;
        }
    };
}

#[test]
fn the_first_difference_of_a_record_is_named_with_its_step_and_its_array() {
    let (bytes, record) = session(&Folder::empty());
    // Events 0 to 29 are samples, and every tenth is held out. Then come the state and the end.
    let alterations: [(usize, Alteration, &str); 20] = [
        (7, sample!(l, l.input[2] += 1e-5), "sample 8: its numbers"),
        (7, sample!(l, l.input[2] += 0.01), "sample 8: its numbers"),
        (9, sample!(l, l.input[2] += 0.01), "sample 10: its numbers"),
        (7, sample!(l, l.label = (l.label + 1) % 3), "step 15: loss and state: label or a last bit of sample 8"),
        (7, sample!(l, l.label = 3), "sample 8: no board accepts it: label 3"),
        (7, sample!(l, l.input[1] = f32::NAN), "sample 8: no board accepts it: number 1"),
        (7, sample!(l, l.taken.held_out = true), "sample 8: held out or not"),
        (7, sample!(l, l.taken.prediction.probability = 0.0), "sample 8: its numbers, or the prediction"),
        (7, sample!(l, l.reports[1].digest ^= 1 << 40), "step 16: only its record"),
        (28, sample!(l, l.reports[1].digest ^= 1), "step 54: only its record"),
        (7, sample!(l, l.reports[0].outcome.loss = l.reports[0].outcome.loss.next_up()), "step 15: only the loss"),
        (7, sample!(l, l.reports[0].outcome.admitted -= 1), "step 15: the number of its samples"),
        (7, sample!(l, l.reports.truncate(1)), "sample 8: more steps than recorded"),
        (7, sample!(l, l.reports.push(EXTRA)), "step 99: recorded, but not taken"),
        (30, state!(s, s.x[17] = s.x[17].next_up()), "X of parameter 1 (8×5): 1 of 40, first in row 4, column 3"),
        (30, state!(s, s.m[50] += 1.0), "M of parameter 3 (3×8): 1 of 24, first in row 1, column 3"),
        (30, state!(s, s.y.truncate(74)), "the arrays of the record do not belong to this network"),
        (31, end!(e, e.digest ^= 1), "session 1: X, Y or M at its end"),
        (31, end!(e, e.verdict.committed ^= true), "session 1: verdict"),
        (31, end!(e, e.verdict.newest.after += 1), "session 1: verdict"),
    ];
    for (event, alter, first) in alterations {
        let mut record = record.clone();
        alter(&mut record.events[event]);
        let (differing, message) = found(&record, &bytes);
        assert!(differing > 0 && message.starts_with(first), "{message}, not {first}");
    }
    let mut other = record.clone();
    other.start ^= 1;
    assert_eq!(found(&other, &bytes), (1, "before the first step: X, Y or M".into()));
}

const EXTRA: Report = Report { step: 99, outcome: Outcome { admitted: 4, loss: 1.0 }, digest: 0 };

#[test]
fn a_boards_deviation_is_told_from_an_alteration() {
    let (bytes, record) = session(&Folder::empty());
    // The board's update went wrong in step 15: no state after it agrees, and neither do the arrays at the end.
    let mut other = record.clone();
    for event in &mut other.events[7..] {
        match event {
            Event::Sample(lesson) => lesson.reports.iter_mut().for_each(|report| report.digest = !report.digest),
            Event::State(state) => state.m[3] += 1.0,
            Event::End(ended) => ended.digest = !ended.digest,
            Event::Refused(_) | Event::Gap => {}
        }
    }
    let target = with_core(&other, &parse(&bytes)).unwrap().target;
    assert_eq!(target.first_difference.unwrap(), "step 15: X, Y or M, though the loss agrees: the update");
    // Steps 15 to 54, the array, and the end.
    assert_eq!(target.differing, 40 + 2);
    assert_eq!(target.arrays, ["M of parameter 1 (8×5): 1 of 40, first in row 1, column 4"]);
}

#[test]
fn events_in_another_order_are_found() {
    let (bytes, record) = session(&Folder::empty());
    for (a, b, first) in [(6, 7, "sample 7: its steps begin with 15, expected 13"), (8, 9, "sample 9: "), (28, 31, "")]
    {
        let mut other = record.clone();
        other.events.swap(a, b);
        let (differing, message) = found(&other, &bytes);
        assert!(differing > 0 && message.starts_with(first), "{message}");
    }
    for missing in 0..30 {
        let mut other = record.clone();
        other.events.remove(missing);
        assert!(found(&other, &bytes).0 > 0, "without event {missing}");
        let mut other = record.clone();
        other.events.insert(missing, record.events[missing].clone());
        assert!(found(&other, &bytes).0 > 0, "event {missing} twice");
    }
}

#[test]
fn a_refused_sample_is_refused_again_and_for_the_same_reason() {
    let (bytes, record) = session(&Folder::empty());
    let refusal = |input: &[f32], label, why| Event::Refused(Refused { input: input.to_vec(), label, why });
    let nan = [0.5, f32::NAN, 0.5, 0.5, 0.5];
    let mut with = record.clone();
    with.events.insert(4, refusal(&nan, 1, Refusal::NotFinite { index: 1 }));
    with.events.insert(9, refusal(&[0.5; 3], 1, Refusal::Length { expected: 5, found: 3 }));
    assert_eq!(found(&with, &bytes), (0, String::new()));
    for (event, first) in [
        (refusal(&nan, 1, Refusal::Overflow), "refused sample 3: the reason is: number 1 of the sample is not finite"),
        (refusal(&[0.5; 5], 1, Refusal::Overflow), "refused sample 3: a board accepts it"),
    ] {
        let mut with = with.clone();
        with.events.insert(20, event);
        assert!(found(&with, &bytes).1.starts_with(first));
    }
}

#[test]
fn a_record_ends_with_a_gap_and_what_stands_after_one_is_found() {
    let folder = Folder::empty();
    let (bytes, mut record) = session(&folder);
    let rest = record.events.split_off(20);
    record.events.push(Event::Gap);
    assert!(record.has_gap());
    assert_eq!(found(&record, &bytes), (0, String::new()));
    let path = folder.path("record");
    record.write(&path).unwrap();
    let (image, output) = (folder.file("image.grft", &bytes), folder.path("found.json"));
    let mut command = std::process::Command::new(&*crate::common::GRAFTAGE);
    let said =
        command.arg("replay").args([path.as_path(), Path::new("--image"), &image, Path::new("-o"), &output]).output();
    let said = said.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let table = String::from_utf8(said.stdout).unwrap();
    assert!(table.contains("a gap after 20 samples: what the board learnt later is not recorded"), "{table}");
    // Somebody may try to skip altered samples in this way.
    record.events.extend(rest);
    assert_eq!(
        found(&record, &bytes),
        (1, "an event after the gap that follows sample 20: a record must end with its gap".into())
    );
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let folder = Folder::empty();
    let (_, mut record) = session(&folder);
    lesson(&mut record, 0).input[..2].copy_from_slice(&[f32::from_bits(1), -0.0]);
    let path = folder.path("record");
    record.write(&path).unwrap();
    let mut read = Record::read(&path).unwrap();
    assert_eq!(read, record);
    assert_eq!(bits(&lesson(&mut read, 0).input), bits(&lesson(&mut record, 0).input));
}

/// Returns a record with three samples, a refusal, the state and the end of a session, and its bytes.
fn short(folder: &Folder) -> (Record, Vec<u8>) {
    let (_, mut record) = session(folder);
    record.events.drain(2..29);
    let why = Refusal::NotFinite { index: 0 };
    record.events.insert(1, Event::Refused(Refused { input: vec![1.0; 5], label: 9, why }));
    let path = folder.path("record");
    record.write(&path).unwrap();
    (record, std::fs::read(&path).unwrap())
}

/// Returns the number of the event in which bytes are damaged, after checking that the events before it are as written.
fn damaged(folder: &Folder, record: &Record, bytes: &[u8]) -> Option<usize> {
    let path = folder.file("damaged", bytes);
    let error = Record::read(&path).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1);
    let Found { record: found, damage, .. } = Record::salvage(&path).ok()?;
    let damage = damage.expect("damage is seen");
    assert_eq!((found.board.as_str(), found.start), (record.board.as_str(), record.start));
    assert_eq!(found.events[..], record.events[..damage.event - 1]);
    assert!(error.contains(&format!("event {}", damage.event)), "{error}");
    Some(damage.event)
}

/// Returns the end of each section of a record. A section is a length, a checksum, that many bytes and a checksum.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![18];
    while let Some(length) = bytes.get(*ends.last().unwrap()..).and_then(|rest| rest.first_chunk()) {
        ends.push(ends.last().unwrap() + 12 + u32::from_le_bytes(*length) as usize);
    }
    ends.remove(0);
    ends
}

#[test]
fn the_event_with_a_flipped_bit_is_named_and_all_before_it_are_read() {
    let folder = Folder::empty();
    let (record, bytes) = short(&folder);
    let ends = ends(&bytes);
    assert_eq!((ends.len(), ends.last()), (1 + record.events.len(), Some(&bytes.len())));
    for bit in 0..8 * bytes.len() {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        // The head is not an event.
        let section = ends.iter().position(|end| bit / 8 < *end).unwrap();
        assert_eq!(damaged(&folder, &record, &other), (section > 0).then_some(section), "bit {bit}");
    }
}

#[test]
fn the_event_in_which_a_record_is_cut_is_named() {
    let folder = Folder::empty();
    let (record, bytes) = short(&folder);
    let ends = ends(&bytes);
    for length in 0..bytes.len() {
        let section = ends.iter().position(|end| length < *end).unwrap();
        assert_eq!(damaged(&folder, &record, &bytes[..length]), (section > 0).then_some(section), "{length} bytes");
    }
    assert_eq!(damaged(&folder, &record, &[&bytes[..], &[0]].concat()), Some(record.events.len() + 1));
}

#[test]
fn another_byte_at_200_places_is_named_and_all_before_it_is_computed_again() {
    let folder = Folder::empty();
    let (image, record) = session(&folder);
    let path = folder.path("record");
    record.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (ends, mut generator) = (ends(&bytes), Generator::new(4, 0));
    for _ in 0..200 {
        let (at, change) = (generator.below(bytes.len() as u32) as usize, 1 + generator.below(255) as u8);
        let mut other = bytes.clone();
        other[at] ^= change;
        let event = damaged(&folder, &record, &other);
        let section = ends.iter().position(|end| at < *end).unwrap();
        assert_eq!(event, (section > 0).then_some(section), "byte {at}");
        if let Some(event) = event {
            let whole = Record::salvage(&folder.path("damaged")).unwrap().record;
            assert_eq!((whole.events.len(), found(&whole, &image)), (event - 1, (0, String::new())));
        }
    }
}

#[test]
fn events_that_change_places_in_the_file_are_damage() {
    let folder = Folder::empty();
    let (record, bytes) = short(&folder);
    let ends = ends(&bytes);
    let [head, first, second] = ends[..3] else { panic!("three sections") };
    let swapped = [&bytes[..head], &bytes[first..second], &bytes[head..first], &bytes[second..]].concat();
    assert_eq!(damaged(&folder, &record, &swapped), Some(1));
}
