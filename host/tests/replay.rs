//! Records, and what computes them again.

mod common;

use common::{Folder, bits, parse, samples};
use graftage::graft::{IMAGE, graft};
use graftage::record::{Lesson, Record, identity};
use graftage::replay::{recorded, with_core};
use graftage_core::adapt::{Adaptation, Recipe, Report, Ring};
use graftage_core::chain;
use graftage_core::network::{Dense, Fixed, Outcome, Relu};

const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 16, seed: 8, ..Recipe::DEFAULT };

/// The network in static memory, as a board holds it.
type Network = chain![Dense<5, 8>, Relu<8>, Dense<8, 3>];

/// An image, and the record of a board that learnt 30 samples from it.
fn session(folder: &Folder) -> (Vec<u8>, Record) {
    graft(&common::checkpoint(&[5, 8, 3], 20), RECIPE, usize::MAX, &folder.path("model")).unwrap();
    let bytes = std::fs::read(folder.path("model").join(IMAGE)).unwrap();
    let image = parse(&bytes);
    let mut network = Network::ZERO;
    image.load(Network::SCHEMA, &mut network).unwrap();
    let mut board = Adaptation::new(network, Ring::<5, 16>::new(), [0.0; Network::SCRATCH]);
    board.start(image.header.recipe).unwrap();
    let start = board.digest();
    let mut learnt = Vec::new();
    for (input, label) in samples(30, 5, 3).iter() {
        let mut reports = Vec::new();
        board.learn(input, label, |report| reports.push(report)).unwrap();
        learnt.push(Lesson { input: input.to_vec(), label, reports });
    }
    let record = Record { board: "a board".into(), image: identity(&bytes), start, learnt };
    (bytes, record)
}

#[test]
fn what_static_memory_learnt_is_computed_again_to_the_bit() {
    let (bytes, record) = session(&Folder::new());
    let target = with_core(&record, &parse(&bytes)).unwrap();
    let last = record.learnt.last().unwrap().reports.last().unwrap().digest;
    assert_eq!((target.steps, target.differing, target.first_difference), (60, 0, None));
    assert_eq!(target.digest, format!("{last:016x}"));
    let board = recorded(&record);
    assert_eq!((board.target.as_str(), board.steps, board.digest), ("a board", 60, target.digest));
}

/// Something that goes wrong with one sample of a record.
type Alteration = fn(&mut Lesson);

#[test]
fn the_first_difference_of_a_record_is_named() {
    let (bytes, record) = session(&Folder::new());
    let alterations: [(Alteration, u64, &str); 7] = [
        (|lesson| lesson.reports[1].digest ^= 1 << 40, 1, "step 16: state"),
        (|lesson| lesson.reports[0].outcome.loss = lesson.reports[0].outcome.loss.next_up(), 1, "step 15: loss"),
        (|lesson| lesson.reports[0].outcome.admitted -= 1, 1, "step 15: loss"),
        (|lesson| lesson.reports.truncate(1), 1, "sample 8: more steps than recorded"),
        (|lesson| lesson.reports.push(EXTRA), 1, "step 99: not taken"),
        // Another sample, and every step from there on is another.
        (|lesson| lesson.input[2] += 0.01, 46, "step 15: state"),
        (|lesson| lesson.label = (lesson.label + 1) % 3, 46, "step 15: state"),
    ];
    for (index, (alter, differing, first)) in alterations.into_iter().enumerate() {
        let mut record = record.clone();
        alter(&mut record.learnt[7]);
        let target = with_core(&record, &parse(&bytes)).unwrap();
        assert_eq!((target.differing, target.first_difference.as_deref()), (differing, Some(first)), "{index}");
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
    record.learnt[4].label = 3;
    let message = with_core(&record, &parse(&bytes)).unwrap_err().to_string();
    assert!(message.contains("sample 5 of the record") && message.contains("label 3"), "{message}");
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let folder = Folder::new();
    let (_, mut record) = session(&folder);
    record.learnt[0].input[0] = f32::from_bits(1);
    record.learnt[0].input[1] = -0.0;
    let path = folder.path("record");
    record.write(&path).unwrap();
    let read = Record::read(&path).unwrap();
    assert_eq!(read, record);
    assert_eq!(bits(&read.learnt[0].input), bits(&record.learnt[0].input));
}

#[test]
fn no_record_with_a_flipped_bit_or_a_missing_byte_is_read() {
    let folder = Folder::new();
    let (_, mut record) = session(&folder);
    record.learnt.truncate(2);
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
