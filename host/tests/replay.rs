//! Records, and what computes them again.

mod common;

use common::{Folder, bits, parse, samples};
use graftage::graft::{IMAGE, graft};
use graftage::record::{Event, Lesson, Record, identity};
use graftage::replay::{recorded, with_core};
use graftage_core::adapt::{HoldOut, Recipe, Report, Ring};
use graftage_core::chain;
use graftage_core::network::{Dense, Fixed, Outcome, Relu};
use graftage_core::session::Session;
use graftage_link::Ended;

/// Every tenth sample judges.
const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 10, keep: 3 });
const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 16, seed: 8, hold_out: HOLD_OUT, ..Recipe::DEFAULT };

/// The network in static memory, as a board holds it.
type Network = chain![Dense<5, 8>, Relu<8>, Dense<8, 3>];

/// An image, and the record of a board that took 30 samples from it and ended its session.
fn session(folder: &Folder) -> (Vec<u8>, Record) {
    graft(&common::checkpoint(&[5, 8, 3], 20), RECIPE, usize::MAX, &folder.path("model")).unwrap();
    let bytes = std::fs::read(folder.path("model").join(IMAGE)).unwrap();
    let image = parse(&bytes);
    let mut network = Network::ZERO;
    image.load(Network::SCHEMA, &mut network).unwrap();
    let (scratch, in_use) = ([0.0; Network::SCRATCH], [0.0; Network::WEIGHTS]);
    let mut board = Session::new(network, Ring::<5, 16>::new(), scratch, in_use, Ring::<5, 4>::new());
    board.start(image.header.recipe).unwrap();
    let start = board.adaptation().digest();
    let mut events = Vec::new();
    for (input, label) in samples(30, 5, 3).iter() {
        let mut reports = Vec::new();
        let taken = board.learn(input, label, |report| reports.push(report)).unwrap();
        events.push(Event::Sample(Lesson { input: input.to_vec(), label, held_out: taken.held_out, reports }));
    }
    let verdict = board.end();
    events.push(Event::End(Ended { verdict, digest: board.adaptation().digest() }));
    let record = Record { board: "a board".into(), image: identity(&bytes), start, events };
    (bytes, record)
}

fn lesson(record: &mut Record, index: usize) -> &mut Lesson {
    match &mut record.events[index] {
        Event::Sample(lesson) => lesson,
        Event::End(_) => panic!("event {index} is no sample"),
    }
}

#[test]
fn what_static_memory_learnt_is_computed_again_to_the_bit() {
    let (bytes, record) = session(&Folder::new());
    let target = with_core(&record, &parse(&bytes)).unwrap();
    let Some(Event::End(Ended { digest: last, .. })) = record.events.last() else { panic!("no end") };
    assert_eq!((target.steps, target.differing, target.first_difference), (54, 0, None));
    assert_eq!(target.digest, format!("{last:016x}"));
    let board = recorded(&record);
    assert_eq!((board.target.as_str(), board.steps, board.digest), ("a board", 54, target.digest));
}

/// Something that goes wrong with one sample of a record.
type Alteration = fn(&mut Lesson);

/// Something that goes wrong with its end.
type OtherEnd = fn(&mut Ended);

/// Of the 54 steps all from the 15th on, and the end.
const DIFFERING: u64 = 41;

#[test]
fn the_first_difference_of_a_record_is_named() {
    let (bytes, record) = session(&Folder::new());
    let alterations: [(Alteration, u64, &str); 8] = [
        (|lesson| lesson.reports[1].digest ^= 1 << 40, 1, "step 16: state"),
        (|lesson| lesson.reports[0].outcome.loss = lesson.reports[0].outcome.loss.next_up(), 1, "step 15: loss"),
        (|lesson| lesson.reports[0].outcome.admitted -= 1, 1, "step 15: loss"),
        (|lesson| lesson.reports.truncate(1), 1, "sample 8: more steps than recorded"),
        (|lesson| lesson.reports.push(EXTRA), 1, "step 99: not taken"),
        (|lesson| lesson.held_out = true, 1, "sample 8: held out or not"),
        // Another sample, and every step from there on is another.
        (|lesson| lesson.input[2] += 0.01, DIFFERING, "step 15: state"),
        (|lesson| lesson.label = (lesson.label + 1) % 3, DIFFERING, "step 15: state"),
    ];
    for (index, (alter, differing, first)) in alterations.into_iter().enumerate() {
        let mut record = record.clone();
        alter(lesson(&mut record, 7));
        let target = with_core(&record, &parse(&bytes)).unwrap();
        assert_eq!((target.differing, target.first_difference.as_deref()), (differing, Some(first)), "{index}");
    }
    let ends: [(OtherEnd, &str); 3] = [
        (|ended| ended.digest ^= 1, "session 1: state"),
        (|ended| ended.verdict.committed ^= true, "session 1: verdict"),
        (|ended| ended.verdict.after += 1, "session 1: verdict"),
    ];
    for (alter, first) in ends {
        let mut record = record.clone();
        let Some(Event::End(ended)) = record.events.last_mut() else { panic!("no end") };
        alter(ended);
        let target = with_core(&record, &parse(&bytes)).unwrap();
        assert_eq!((target.differing, target.first_difference.as_deref()), (1, Some(first)));
    }
    let mut other = record.clone();
    other.start ^= 1;
    let target = with_core(&other, &parse(&bytes)).unwrap();
    assert_eq!((target.differing, target.first_difference.as_deref()), (1, Some("before the first step")));
}

const EXTRA: Report = Report { step: 99, outcome: Outcome { admitted: 4, loss: 1.0 }, digest: 0 };

#[test]
fn a_sample_that_no_board_can_have_learnt_is_named() {
    let (bytes, mut record) = session(&Folder::new());
    lesson(&mut record, 4).label = 3;
    let message = with_core(&record, &parse(&bytes)).unwrap_err().to_string();
    assert!(message.contains("sample 5 of the record") && message.contains("label 3"), "{message}");
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let folder = Folder::new();
    let (_, mut record) = session(&folder);
    lesson(&mut record, 0).input[..2].copy_from_slice(&[f32::from_bits(1), -0.0]);
    let path = folder.path("record");
    record.write(&path).unwrap();
    let mut read = Record::read(&path).unwrap();
    assert_eq!(read, record);
    assert_eq!(bits(&lesson(&mut read, 0).input), bits(&lesson(&mut record, 0).input));
}

#[test]
fn no_record_with_a_flipped_bit_or_a_missing_byte_is_read() {
    let folder = Folder::new();
    let (_, mut record) = session(&folder);
    record.events.drain(2..30);
    let path = folder.path("record");
    record.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::read(&folder.file("damaged", &damaged)).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Record::read(&folder.file("damaged", &bytes[..length])).is_err(), "{length} bytes");
    }
    assert!(Record::read(&folder.file("damaged", [&bytes[..], &[0]].concat())).is_err(), "a byte more");
}
