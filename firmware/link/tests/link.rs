//! Tests of the link: its bytes do not movement, nothing damaged is taken for a message, and what follows damage is
//! received.

use graftage_core::adapt::{Report, STEPS};
use graftage_core::error::{Field, ImageError, Refusal};
use graftage_core::network::{Outcome, Prediction};
use graftage_core::session::{Counts, Judged, Taken, Verdict};
use graftage_link::journal::{self, Entry, PIECE, Past, Piece, SHORT, largest};
use graftage_link::{
    ANSWER, Answer, Array, BUSY, Ended, FrameError, Hello, Learnt, Memory, NUMBERS, Numbered, Receiver, Request,
    Status, VERSION, Vec as Short, decode, encode, request,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::num::NonZeroU32;

/// Number of values in the largest sample here.
const INPUTS: usize = 64;

/// Request as a board receives it.
type Received = Request<Short<f32, INPUTS>>;

/// Request as the workstation sends it.
type Sent<'a> = Request<&'a [f32]>;

/// Returns the bytes of a message on the wire.
fn wire<T: serde::Serialize>(message: &T, room: usize) -> Vec<u8> {
    let (mut plain, mut wire) = (vec![0; room], vec![0; room]);
    let used = encode(message, &mut plain, &mut wire).unwrap();
    wire[..used].to_vec()
}

/// Returns a frame around `content`, which must be shorter than 250 bytes.
///
/// The checksum is computed bit by bit as ISO 3309 defines it. The bytes are stuffed as Cheshire and Baker do: each run
/// without a zero begins with one more than its length.
fn frame(content: &[u8]) -> Vec<u8> {
    let mut remainder = u32::MAX;
    for byte in content {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            remainder = (remainder >> 1) ^ (0xedb8_8320 * (remainder & 1));
        }
    }
    let plain = [content, &(!remainder).to_le_bytes()].concat();
    let mut bytes = vec![0];
    for run in plain.split(|byte| *byte == 0) {
        bytes.push(run.len() as u8 + 1);
        bytes.extend(run);
    }
    bytes.push(0);
    bytes
}

/// Feeds `bytes` to a receiver of frames up to N bytes; returns messages and errors in order.
fn receive<T: serde::de::DeserializeOwned, const N: usize>(bytes: &[u8]) -> Vec<Result<T, FrameError>> {
    let mut receiver = Receiver::<N>::new();
    let taken = |byte: &u8| receiver.push(*byte).map(|frame| frame.and_then(|frame| decode(frame)));
    bytes.iter().filter_map(taken).collect()
}

/// Returns the messages that a receiver takes from `bytes`, whatever else they contain.
fn messages<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Vec<T> {
    receive::<T, 1024>(bytes).into_iter().flatten().collect()
}

const PREDICTION: Prediction = Prediction { class: 7, probability: 0.75 };

fn hello(status: Result<Status, ImageError>) -> Answer {
    let memory =
        Memory { weights: 1, query_points: 2, momenta: 3, in_use: 4, replay: 5, held_out: 6, scratch: 7, link: 600 };
    let board = "b1".try_into().unwrap();
    Answer::Hello(Hello { board, schema: 0x0123_4567_89ab_cdef, inputs: 64, classes: 10, dropped: 3, memory, status })
}

fn learnt(reports: &[Report]) -> Answer {
    let taken = Taken { prediction: Prediction { class: 3, probability: 0.5 }, held_out: false };
    Answer::Learnt(Learnt { taken, learnt: 21, correct: 20, reports: Short::from_slice(reports).unwrap() })
}

fn array(numbers: &[f32]) -> Answer {
    Answer::Numbers(Short::from_slice(numbers).unwrap())
}

fn piece(unit: Option<u32>, bytes: &[u8]) -> Answer {
    Answer::Journal(Piece { unit: unit.and_then(NonZeroU32::new), bytes: Short::from_slice(bytes).unwrap() })
}

fn report(step: u64) -> Report {
    Report { step, outcome: Outcome { admitted: 8, loss: 0.25 }, digest: 0x1122_3344_5566_7788 }
}

/// Returns the largest answer: sixteen reports in which no number can be stored in fewer bytes.
fn largest_answer() -> Answer {
    let outcome = Outcome { admitted: u32::MAX, loss: f32::MIN };
    let report = Report { step: u64::MAX, outcome, digest: u64::MAX };
    Answer::Learnt(Learnt {
        taken: Taken { prediction: Prediction { class: u32::MAX, probability: 1.1 }, held_out: true },
        learnt: u64::MAX,
        correct: u64::MAX,
        reports: Short::from_slice(&[report; STEPS]).unwrap(),
    })
}

const STATUS: Status = Status {
    scale: 16.0,
    steps: 2,
    counts: Counts { taken: 9, committed: 1, rolled_back: 300, alarms: 2 },
    learnt: 7,
    correct: 5,
    latest: Some(Taken { prediction: Prediction { class: 3, probability: 0.75 }, held_out: true }),
    loss: Some(0.25),
    step: 14,
    digest: 0xfedc_ba98_7654_3210,
    image: 0xdead_beef,
    movement: 0.5,
    budget: Some(2.0),
    saved: Some(300),
    slots: [Some(299), Some(300)],
};

const NEWEST: Judged = Judged { held_out: 9, before: 4, after: 300 };
const KEPT: Judged = Judged { held_out: 5, before: 2, after: 1 };
const ENDED: Ended = Ended {
    verdict: Verdict { committed: true, alarm: false, newest: NEWEST, kept: KEPT },
    digest: 0x1122_3344_5566_7788,
};

fn refusals() -> Vec<Refusal> {
    let fields = [
        Field::Step,
        Field::Pull,
        Field::Start,
        Field::Cap,
        Field::Momentum,
        Field::Theta,
        Field::Batch,
        Field::Steps,
        Field::HoldOut,
        Field::Replay,
        Field::Radius,
        Field::Taps,
    ];
    let others = [
        Refusal::Length { expected: 64, found: 3 },
        Refusal::NotFinite { index: 3 },
        Refusal::Label { label: u32::MAX, classes: 10 },
        Refusal::Overflow,
        Refusal::NotStarted,
        Refusal::Scratch { expected: 300, found: 1 },
        Refusal::Unrecorded,
    ];
    others.into_iter().chain(fields.map(Refusal::Recipe)).collect()
}

fn image_errors() -> Vec<ImageError> {
    let plain = [ImageError::Magic, ImageError::Truncated, ImageError::Checksum, ImageError::Malformed];
    let rest = [
        ImageError::Version { expected: 4, found: 3 },
        ImageError::Schema { expected: 1, found: u64::MAX },
        ImageError::NotFinite,
    ];
    plain.into_iter().chain(rest).chain(refusals().into_iter().map(ImageError::Recipe)).collect()
}

fn answers() -> Vec<Answer> {
    let mut all = vec![
        hello(Ok(STATUS)),
        Answer::Predicted(PREDICTION),
        learnt(&[]),
        learnt(&[report(1), report(2)]),
        largest_answer(),
        Answer::OutOfOrder { expected: u64::MAX },
        Answer::OtherVersion,
        Answer::Damaged,
        Answer::Ended(ENDED),
        Answer::Reset { digest: u64::MAX },
        Answer::NotReset,
        array(&[]),
        array(&[f32::MIN; NUMBERS]),
        piece(None, &[]),
        piece(Some(256), &[0; PIECE]),
    ];
    all.extend(refusals().into_iter().map(Answer::Refused));
    for error in image_errors() {
        all.extend([Answer::NoNetwork(error), hello(Err(error))]);
    }
    all
}

/// Returns 64 numbers with all kinds of bytes, including zeros.
fn sample() -> [f32; INPUTS] {
    core::array::from_fn(|i| if i % 5 == 0 { 0.0 } else { (i as f32 - 20.0) / 7.0 })
}

#[test]
fn every_request_arrives_as_it_was_sent() {
    let sample = sample();
    for length in [0, 1, INPUTS] {
        let sample = &sample[..length];
        let received = || Short::from_slice(sample).unwrap();
        let (number, session, label) = (u64::MAX - length as u64, u32::MAX - length as u32, u32::MAX);
        let pairs: [(Sent, Received); 7] = [
            (Request::Hello, Request::Hello),
            (Request::Predict { sample }, Request::Predict { sample: received() }),
            (Request::Learn { number, label, sample }, Request::Learn { number, label, sample: received() }),
            (Request::End { number: session }, Request::End { number: session }),
            (
                Request::Read { array: Array::Momenta, first: u32::MAX },
                Request::Read { array: Array::Momenta, first: u32::MAX },
            ),
            (Request::Journal { first: u32::MAX }, Request::Journal { first: u32::MAX }),
            (Request::Reset, Request::Reset),
        ];
        for (sent, expected) in pairs {
            let bytes = wire(&sent, request(INPUTS));
            assert_eq!(receive::<Received, { request(INPUTS) }>(&bytes), [Ok(expected)]);
        }
    }
}

#[test]
fn every_answer_arrives_as_it_was_sent() {
    for answer in answers() {
        let bytes = wire(&answer, ANSWER);
        assert_eq!(receive::<Answer, ANSWER>(&bytes), [Ok(answer)]);
    }
}

#[test]
fn numbers_that_are_not_finite_arrive_bit_by_bit() {
    let sample = [f32::from_bits(0x7fc0_1234), f32::NEG_INFINITY, -0.0, f32::from_bits(1)];
    let bytes = wire(&Request::Predict { sample: &sample[..] }, request(4));
    let [Ok(Request::Predict { sample: found })] = &receive::<Received, { request(4) }>(&bytes)[..] else {
        panic!("no request");
    };
    assert_eq!(found.as_slice().map_bits(), sample.map_bits());
}

trait Bits {
    fn map_bits(&self) -> Vec<u32>;
}

impl Bits for [f32] {
    fn map_bits(&self) -> Vec<u32> {
        self.iter().map(|e| e.to_bits()).collect()
    }
}

/// Bytes written down from the description of the format, not by this software. A change of any byte requires a change
/// of [`VERSION`].
#[test]
fn the_bytes_on_the_wire_are_those_of_version_6() {
    let numbers = [0.1, 0.0, 2.0];
    let requests: [(Sent, &str); 7] = [
        (Request::Hello, "00 02 06 05 79 b5 83 17 00"),
        (Request::Predict { sample: &[1.0, -0.5] }, "00 04 06 01 02 01 03 80 3f 01 01 06 bf 85 ad 19 24 00"),
        (
            Request::Learn { number: 300, label: 9, sample: &numbers },
            "00 0b 06 02 ac 02 09 03 cd cc cc 3d 01 01 01 01 01 01 06 40 22 6b 38 44 00",
        ),
        (Request::End { number: 300 }, "00 09 06 03 ac 02 50 ac d5 ea 00"),
        (Request::Read { array: Array::InUse, first: 300 }, "00 0a 06 04 03 ac 02 7a b9 fa 28 00"),
        (Request::Journal { first: 256 }, "00 09 06 05 80 02 4c bb 69 d7 00"),
        (Request::Reset, "00 07 06 06 4c 10 e0 fe 00"),
    ];
    let answers = [
        (
            hello(Ok(STATUS)),
            "00 02 06 19 02 62 31 ef 9b af cd f8 ac d1 91 01 40 0a 03 01 02 03 04 05 06 07 d8 04 01 01 0d 80 \
             41 02 09 01 ac 02 02 07 05 01 03 01 05 40 3f 01 01 01 13 80 3e 0e 90 e4 d0 b2 87 d3 ae ee fe 01 \
             ef fd b6 f5 0d 01 01 03 3f 01 01 01 0f 40 01 ac 02 01 ab 02 01 ac 02 1e b1 f8 77 00",
        ),
        (Answer::Predicted(PREDICTION), "00 04 06 01 07 01 07 40 3f c9 87 df c1 00"),
        (
            learnt(&[report(42)]),
            "00 04 06 02 03 01 01 02 3f 06 15 14 01 2a 08 01 10 80 3e 88 ef 99 ab c5 e8 8c 91 11 e6 9f c2 \
             55 00",
        ),
        (Answer::Refused(Refusal::NotFinite { index: 3 }), "00 09 06 03 01 03 62 5e 7b 86 00"),
        (Answer::NoNetwork(ImageError::Schema { expected: 1, found: 2 }), "00 0a 06 04 05 01 02 6c 07 de 37 00"),
        (Answer::OutOfOrder { expected: 128 }, "00 09 06 05 80 01 f6 ea 60 4e 00"),
        (Answer::Damaged, "00 07 06 0a 67 5c 56 f7 00"),
        (Answer::Busy, "00 07 06 0b f1 6c 51 80 00"),
        (Answer::OtherVersion, "00 07 06 06 4c 10 e0 fe 00"),
        (Answer::Ended(ENDED), "00 04 06 07 01 15 09 04 ac 02 05 02 01 88 ef 99 ab c5 e8 8c 91 11 95 76 23 04 00"),
        (Answer::Reset { digest: ENDED.digest }, "00 10 06 0c 88 ef 99 ab c5 e8 8c 91 11 48 ab 03 cf 00"),
        (Answer::NotReset, "00 07 06 0d c4 c9 32 69 00"),
        (piece(Some(16), &[1, 0, 255]), "00 07 06 09 01 10 03 01 06 ff 4e fd 1c a3 00"),
        (array(&[1.0, -0.5]), "00 04 06 08 02 01 03 80 3f 01 01 06 bf 4f 86 0c d8 00"),
    ];
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    assert_eq!(VERSION, 6);
    let page = include_str!("../../../docs/link.md");
    let shown = page.lines().filter_map(|line| line.split("| `00 ").nth(1)?.strip_suffix("` |"));
    let known: Vec<_> =
        requests.iter().map(|(_, bytes)| *bytes).chain(answers.iter().map(|(_, bytes)| *bytes)).collect();
    let shown: Vec<_> = shown.map(|rest| format!("00 {rest}")).collect();
    assert!(shown.len() == 18 && shown.iter().all(|bytes| known.contains(&bytes.as_str())), "{shown:#?}");
    for (request, bytes) in requests {
        assert_eq!(hex(wire(&request, ANSWER)), bytes, "{request:?}");
    }
    for (answer, bytes) in answers {
        assert_eq!(hex(wire(&answer, ANSWER)), bytes, "{answer:?}");
    }
}

#[test]
fn the_frame_that_says_busy_is_that_of_the_answer() {
    let (mut plain, mut wire) = ([0; ANSWER], [0; ANSWER]);
    let used = encode(&(0u8, Answer::Busy), &mut plain, &mut wire).unwrap();
    assert_eq!(wire[..used], BUSY);
}

/// Returns frames to be damaged in every way: small and large, requests and answers.
fn victims() -> Vec<Vec<u8>> {
    let sample = sample();
    let requests: [Sent; 3] = [
        Request::Hello,
        Request::Predict { sample: &sample[..3] },
        Request::Learn { number: 300, label: 9, sample: &sample },
    ];
    let answers = [hello(Ok(STATUS)), learnt(&[report(41), report(42)]), largest_answer(), Answer::OtherVersion];
    let requests = requests.iter().map(|message| wire(message, ANSWER));
    requests.chain(answers.iter().map(|message| wire(message, ANSWER))).collect()
}

/// Checks that the message after the damage is the first and only one taken, both as a request and as an answer.
fn only_the_next_is_taken(damaged: &[u8], why: impl Fn() -> String) {
    let asked = [damaged, &wire(&Sent::Predict { sample: &[1.5] }, ANSWER)].concat();
    let next = Request::Predict { sample: Short::from_slice(&[1.5]).unwrap() };
    assert_eq!(messages::<Received>(&asked), [next], "{}", why());
    let answered = [damaged, &wire(&Answer::Predicted(PREDICTION), ANSWER)].concat();
    assert_eq!(messages::<Answer>(&answered), [Answer::Predicted(PREDICTION)], "{}", why());
}

#[test]
fn no_frame_with_a_flipped_bit_is_taken() {
    for bytes in victims() {
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            only_the_next_is_taken(&damaged, || format!("bit {bit} of {bytes:02x?}"));
        }
    }
}

#[test]
fn no_cut_frame_is_taken() {
    for bytes in victims() {
        // A missing last zero does no harm, as the next frame brings one. Nor does a missing first zero on a line
        // without garbage.
        for length in 0..bytes.len() - 1 {
            only_the_next_is_taken(&bytes[..length], || format!("the first {length} bytes of {bytes:02x?}"));
        }
        for start in 2..bytes.len() {
            only_the_next_is_taken(&bytes[start..], || format!("from byte {start} of {bytes:02x?}"));
        }
        for lost in 1..bytes.len() - 1 {
            let damaged = [&bytes[..lost], &bytes[lost + 1..]].concat();
            only_the_next_is_taken(&damaged, || format!("without byte {lost} of {bytes:02x?}"));
        }
    }
}

#[test]
fn garbage_before_a_frame_is_dropped_and_the_frame_taken() {
    for garbage in [&b"\xff"[..], b"boot: hello\r\n", &[0xaa; 2000], &[0; 9], &[3, 0, 7, 7, 0, 1]] {
        only_the_next_is_taken(garbage, || format!("{garbage:02x?}"));
    }
}

#[test]
fn a_frame_that_comes_twice_is_taken_twice() {
    let bytes = wire(&Sent::Hello, ANSWER);
    assert_eq!(messages::<Received>(&[&bytes[..], &bytes].concat()), [Request::Hello, Request::Hello]);
    // Frames may share the zero between them, and there may be many zeros around them.
    let shared = [&[0; 3], &bytes[..], &bytes[1..], &[0; 3]].concat();
    assert_eq!(receive::<Received, ANSWER>(&shared), [Ok(Request::Hello), Ok(Request::Hello)]);
}

#[test]
fn an_overlong_frame_is_reported_once_and_the_next_one_taken() {
    for excess in [1, 2, 1000] {
        let bytes = [&[7; 16][..], &vec![7; excess], &wire(&Sent::Hello, ANSWER)].concat();
        assert_eq!(receive::<Received, 16>(&bytes), [Err(FrameError::TooLong), Ok(Request::Hello)]);
    }
    // A frame that just fits is not overlong.
    let fits = wire(&Sent::Hello, ANSWER);
    assert_eq!(receive::<Received, 7>(&fits), [Ok(Request::Hello)]);
    assert_eq!(receive::<Received, 6>(&fits), [Err(FrameError::TooLong)]);
}

#[test]
fn another_version_is_told_from_damage() {
    for version in [0, 1, 2, VERSION - 1, VERSION + 1, 255] {
        assert_eq!(receive::<Received, 64>(&frame(&[version, 0])), [Err(FrameError::Version(version))]);
        // The content is irrelevant, as another version may interpret it differently.
        assert_eq!(receive::<Received, 64>(&frame(&[version, 99, 1, 2])), [Err(FrameError::Version(version))]);
    }
}

#[test]
fn a_whole_frame_with_no_known_message_is_told_from_damage() {
    for content in [&[VERSION][..], &[VERSION, 9], &[VERSION, 0, 0], &[VERSION, 1, 2, 0, 0, 0], &[VERSION, 2, 0x80]] {
        assert_eq!(receive::<Received, 64>(&frame(content)), [Err(FrameError::Unknown)], "{content:02x?}");
    }
    // A sample with more numbers than the board has memory for is an unknown message.
    let long = wire(&Sent::Predict { sample: &[1.0; INPUTS + 1] }, ANSWER);
    assert_eq!(receive::<Received, ANSWER>(&long), [Err(FrameError::Unknown)]);
    // A checksum alone is not a frame.
    assert_eq!(receive::<Received, 64>(&frame(&[])), [Err(FrameError::Damaged)]);
}

#[test]
fn the_promised_sizes_suffice() {
    let largest: Numbered<Answer> = (u8::MAX, largest_answer());
    assert_eq!(messages::<Numbered<Answer>>(&wire(&largest, ANSWER)), [largest]);
    let longest = hello(Err(ImageError::Schema { expected: u64::MAX, found: u64::MAX }));
    let Answer::Hello(mut longest) = longest else { unreachable!() };
    longest.board = "01234567890123456789012345678901".try_into().unwrap();
    longest.memory.link = u32::MAX;
    assert!(wire(&Answer::Hello(longest), ANSWER).len() < ANSWER);
    assert!(wire(&array(&[f32::MIN; NUMBERS]), ANSWER).len() < ANSWER);
    // Numbers with and without a zero byte: byte stuffing costs most without.
    for number in [f32::from_bits(u32::MAX), 0.0, 1.0] {
        for inputs in 0..700 {
            let sample = vec![number; inputs];
            let learn: Numbered<Sent> =
                (u8::MAX, Request::Learn { number: u64::MAX, label: u32::MAX, sample: &sample });
            assert!(wire(&learn, request(inputs)).len() <= request(inputs));
        }
    }
}

#[test]
fn memory_that_is_too_short_is_an_error_and_never_overrun() {
    let bytes = wire(&largest_answer(), ANSWER);
    for room in 0..bytes.len() {
        let (mut plain, mut wire) = ([0; ANSWER], vec![0; room]);
        assert_eq!(encode(&largest_answer(), &mut plain, &mut wire), Err(FrameError::TooLong), "{room} bytes");
        let (mut plain, mut wire) = (vec![0; room.min(400)], [0; ANSWER]);
        assert_eq!(encode(&largest_answer(), &mut plain, &mut wire), Err(FrameError::TooLong), "{room} bytes");
    }
}

/// Uses a fixed seed, so every run tests the same cases.
fn cases() -> ProptestConfig {
    ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn random_bytes_never_panic_and_never_hide_what_follows(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        only_the_next_is_taken(&bytes, || format!("{bytes:02x?}"));
        let _ = receive::<Received, 32>(&bytes);
        let _ = decode::<Answer>(&mut bytes.clone());
    }

    /// Passes the checksum, so that postcard reads arbitrary bytes.
    #[test]
    fn random_contents_of_whole_frames_never_panic(content in proptest::collection::vec(any::<u8>(), 0..240)) {
        let bytes = frame(&[&[VERSION], &content[..]].concat());
        let _ = receive::<Received, 512>(&bytes);
        let _ = receive::<Answer, 512>(&bytes);
    }

    #[test]
    fn any_sample_arrives_bit_by_bit(bits in proptest::collection::vec(any::<u32>(), 0..=INPUTS), label: u32, number: u64) {
        let sample: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).collect();
        let bytes = wire(&Sent::Learn { number, label, sample: &sample }, request(INPUTS));
        let [Request::Learn { number: n, label: l, sample: s }] = &messages::<Received>(&bytes)[..] else {
            panic!("no request");
        };
        prop_assert_eq!((*n, *l, s.map_bits()), (number, label, bits));
    }
}

/// Tests the largest entries and the part of each that a board reads.
#[test]
fn entries_of_a_journal_are_read_as_they_were_written_or_not_at_all() {
    let Answer::Learnt(brought) = largest_answer() else { panic!("the largest answer is another") };
    let (sample, image) = (sample(), 0xa1b2_c3d4);
    let why = Refusal::Scratch { expected: u32::MAX, found: u32::MAX };
    let judged = Judged { held_out: u32::MAX, before: u32::MAX, after: u32::MAX };
    let verdict = Verdict { committed: true, alarm: true, newest: judged, kept: judged };
    let ended = Ended { verdict, digest: u64::MAX };
    let label = u32::MAX;
    type Noted<'a> = (Entry<&'a [f32], &'a Learnt>, Past<Short<f32, INPUTS>>, usize);
    let entries: [Noted; 5] = [
        (Entry::Start { digest: u64::MAX, life: u32::MAX }, Past::Start, SHORT),
        (
            Entry::Sample { label, sample: &sample, learnt: &brought },
            Past::Sample { label, sample: Short::from_slice(&sample).unwrap() },
            largest(INPUTS, STEPS),
        ),
        (Entry::Refused { label, sample: &sample, why }, Past::Refused, largest(INPUTS, 1)),
        (Entry::End(ended), Past::End, SHORT),
        (Entry::Gap, Past::Gap, SHORT),
    ];
    for (number, (entry, past, room)) in (u32::MAX - 4..=u32::MAX).zip(entries) {
        let mut memory = vec![0xff; room];
        let used = journal::seal(image, number, &entry, &mut memory).unwrap();
        let frame = journal::open(image, &memory).unwrap();
        assert_eq!((frame.number, frame.length), (number, used));
        assert_eq!(journal::read::<Past<Short<f32, INPUTS>>>(frame.content), Some(past));
        let whole = journal::read::<Entry<Short<f32, INPUTS>, Learnt>>(frame.content).unwrap();
        assert_eq!(format!("{whole:?}"), format!("{entry:?}"));
        assert_eq!(journal::open(image + 1, &memory), None);
        assert_eq!(journal::open(image, &memory[..used - 1]), None);
        assert_eq!(journal::seal(image, number, &entry, &mut vec![0; used - 1]), None);
        for bit in 0..8 * used {
            let mut damaged = memory.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(journal::open(image, &damaged), None, "bit {bit} of {entry:?}");
        }
    }
}
