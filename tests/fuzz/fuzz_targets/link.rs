//! Fuzz target for the link: frames are the bytes between zeros, and a received message is sent and received again
//! unchanged.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use graftage_core::adapt::Report;
use graftage_core::error::{ImageError, Refusal};
use graftage_core::image::checksum;
use graftage_core::network::{Outcome, Prediction};
use graftage_core::session::{Counts, Judged, Taken, Verdict};
use graftage_fuzz::Input;
use graftage_link::{
    ANSWER, Answer, Array, Ended, FrameError, Hello, Learnt, Memory, Numbered, Receiver, Request, Status, VERSION,
    Vec as Short, decode, encode, request,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

/// Number of values in the largest sample.
const INPUTS: usize = 8;

/// Size of the largest request, in bytes.
const REQUEST: usize = request(INPUTS);

/// Request as a board receives it.
type Received = Numbered<Request<Short<f32, INPUTS>>>;

/// Request as the workstation sends it.
type Sent<'a> = Numbered<Request<&'a [f32]>>;

/// Piece of the bytes on the line.
#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    /// Bytes without a frame around them.
    Line(Input<'a>),
    /// Frame around version and message.
    Framed {
        /// Index of the valid content to change.
        valid: u8,
        content: Input<'a>,
    },
}

/// Version and message of every kind.
static VALID: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let sample = [0.5, 0.0, -1.0, f32::MAX, f32::NAN, 0.1, 2.0, 1e-45];
    let sent: [Sent; 6] = [
        (1, Request::Hello),
        (2, Request::Predict { sample: &sample[..3] }),
        (3, Request::Learn { number: 300, label: 2, sample: &sample }),
        (4, Request::End { number: 300 }),
        (5, Request::Read { array: Array::InUse, first: 300 }),
        (6, Request::Reset),
    ];
    let memory =
        Memory { weights: 1, query_points: 2, momenta: 3, in_use: 4, replay: 5, held_out: 6, scratch: 7, link: 600 };
    let counts = Counts { taken: 300, committed: 1, rolled_back: 2, alarms: 3 };
    let status = Status {
        scale: 16.0,
        steps: 2,
        counts,
        learnt: 7,
        correct: 5,
        latest: Some(Taken { prediction: Prediction { class: 2, probability: 0.75 }, held_out: true }),
        loss: Some(0.25),
        step: 14,
        digest: u64::MAX,
        image: u32::MAX,
        movement: 0.5,
        budget: Some(1.0),
        saved: Some(300),
        slots: [Some(6), None],
    };
    let hello = |status| {
        let board = "board".try_into().expect("a short name");
        Answer::Hello(Hello { board, schema: 1, inputs: 8, classes: 3, dropped: 300, memory, status })
    };
    let newest = Judged { held_out: 9, before: 4, after: 300 };
    let verdict = Verdict { committed: true, alarm: true, newest, kept: Judged::default() };
    let prediction = Prediction { class: 2, probability: 0.75 };
    let report = Report { step: 300, outcome: Outcome { admitted: 8, loss: 0.25 }, digest: u64::MAX };
    let reports = [report; 2].into_iter().collect();
    let answered = [
        hello(Ok(status)),
        hello(Err(ImageError::Schema { expected: 1, found: 2 })),
        Answer::Predicted(prediction),
        Answer::Learnt(Learnt { taken: Taken { prediction, held_out: false }, learnt: 8, correct: 6, reports }),
        Answer::Ended(Ended { verdict, digest: 1 }),
        Answer::Reset { digest: u64::MAX },
        Answer::NotReset,
        Answer::Refused(Refusal::Label { label: 300, classes: 3 }),
        Answer::NoNetwork(ImageError::Version { expected: 4, found: 3 }),
        Answer::OutOfOrder { expected: 300 },
        Answer::OtherVersion,
        Answer::Damaged,
        Answer::Numbers([1.0, -0.0, f32::NAN].into_iter().collect()),
    ];
    let answered = answered.into_iter().map(|answer| content(&(9u8, answer)));
    sent.iter().map(content).chain(answered).collect()
});

fn content<T: Serialize>(message: &T) -> Vec<u8> {
    let message = postcard::to_allocvec(message).expect("there is memory for it");
    [&[VERSION], &message[..]].concat()
}

/// Returns a frame around `content`, with its enclosing zeros.
fn framed(content: &[u8]) -> Vec<u8> {
    let plain = [content, &checksum(content).to_le_bytes()].concat();
    [&[0], &cobs::encode_vec(&plain)[..], &[0]].concat()
}

impl Piece<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Piece::Line(input) => input.bytes(&VALID.iter().flat_map(|content| framed(content)).collect::<Vec<_>>()),
            Piece::Framed { valid, content } => framed(&content.bytes(&VALID[usize::from(*valid) % VALID.len()])),
        }
    }
}

fuzz_target!(|pieces: Vec<Piece>| {
    let pieces: Vec<_> = pieces.iter().map(Piece::bytes).collect();
    let line = pieces.concat();
    for bytes in pieces.iter().chain([&line]) {
        // Includes input that no receiver returns: frames that are too long or contain zeros.
        take(bytes);
    }
    for frame in receive::<ANSWER>(&line).iter().flatten() {
        take(frame);
    }
    receive::<REQUEST>(&line);
    receive::<7>(&line);
});

/// Returns the frames that a receiver of up to N bytes returns; checks that they are the bytes between the zeros.
fn receive<const N: usize>(line: &[u8]) -> Vec<Result<Vec<u8>, FrameError>> {
    let mut receiver = Receiver::<N>::new();
    let received = line.iter().filter_map(|byte| receiver.push(*byte).map(|frame| frame.map(|frame| frame.to_vec())));
    let received: Vec<_> = received.collect();
    let mut between: Vec<_> = line.split(|byte| *byte == 0).collect();
    // No zero has ended the last piece yet.
    between.pop();
    let expected = between.into_iter().filter(|frame| !frame.is_empty());
    let expected = expected.map(|frame| if frame.len() > N { Err(FrameError::TooLong) } else { Ok(frame.to_vec()) });
    assert_eq!(received, expected.collect::<Vec<_>>());
    received
}

/// Reads a frame as each kind of message.
fn take(frame: &[u8]) {
    again::<Received, REQUEST>(frame);
    again::<Numbered<Answer>, ANSWER>(frame);
}

/// Checks that a message, once read, fits the promised buffers and reads back the same. Compares bytes, as NaNs are not
/// equal.
fn again<T: Serialize + DeserializeOwned, const N: usize>(frame: &[u8]) {
    let Ok(message) = decode::<T>(&mut frame.to_vec()) else { return };
    let (mut plain, mut wire) = ([0; N], [0; N]);
    let used = encode(&message, &mut plain, &mut wire).expect("the promised memory suffices");
    let sent = &wire[..used];
    assert_eq!(sent, framed(&content(&message)), "the format as it is described");
    let received = receive::<N>(sent);
    let [Ok(frame)] = &received[..] else { panic!("{} frames", received.len()) };
    let message = decode::<T>(&mut frame.clone()).expect("what is sent is taken");
    assert_eq!(content(&message), plain[..content(&message).len()]);
    let (mut plain, mut wire) = ([0; N], [0; N]);
    let used = encode(&message, &mut plain, &mut wire).expect("as before");
    assert_eq!(&wire[..used], sent);
}
