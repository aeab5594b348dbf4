//! Tests of a device without a board: bytes in, bytes out, and exactly core's adaptation behind them.

use embedded_io::{ErrorKind, ErrorType, Read, Write};
use graftage_core::adapt::{HoldOut, Recipe, Ring, Score};
use graftage_core::chain;
use graftage_core::error::{Field, ImageError, Refusal};
use graftage_core::image::{self, Header, Image, Sink, Source};
use graftage_core::network::{Dense, Fixed, Kind, Layer, Relu, initialise};
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Rule};
use graftage_core::session::{Counts, Session};
use graftage_firmware::device::Device;
use graftage_firmware::journal::Note;
use graftage_firmware::learner::{Event, Learn, Learner, NotResumed};
use graftage_firmware::store::{Keep, StoreError};
use graftage_link::{
    ANSWER, Answer, Array, Ended, FrameError, Hello, Learnt, NUMBERS, Numbered, Receiver, Request, Status, decode,
    encode, request,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

const INPUTS: usize = 4;
const CLASSES: u32 = 3;
/// Number of samples for which the device's replay buffer has room.
const REPLAY: usize = 16;
/// Number of held-out samples for which the device has room.
const HELD_OUT: usize = 5;

type Network = chain![Dense<INPUTS, 6>, Relu<6>, Dense<6, 3>];
type Scratch = [f32; Network::SCRATCH];
type Core<'i> = Session<'i, Network, Ring<INPUTS, REPLAY>, Scratch, [f32; Network::WEIGHTS], Ring<INPUTS, HELD_OUT>>;
type Observe = Box<dyn FnMut(Event)>;
type Adaptive = Learner<'static, 'static, Core<'static>, Memory, Observe>;
type Link = Device<INPUTS, { request(INPUTS) }>;

/// Every tenth sample is held out.
const HOLD_OUT: HoldOut = HoldOut { every: 10, keep: 4 };
const RULE: Rule = Rule { step_size: 0.02, ..Recipe::DEFAULT.rule };
const RECIPE: Recipe =
    Recipe { rule: RULE, batch: 4, steps: 3, replay: 8, seed: 5, hold_out: Some(HOLD_OUT), ..Recipe::DEFAULT };
const SCALE: f32 = 16.0;
const NAME: &str = "a test";
const SAVE_EVERY: u64 = 4;

/// Returns the network in the image.
fn network() -> Network {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(7, 0), &mut [0.0; Network::SCRATCH]);
    network
}

/// Returns core's session at the start of the network's adaptation.
fn core() -> Core<'static> {
    let mut core = around(network());
    core.set_start(Image::parse(image().leak()).unwrap().start());
    core.start(RECIPE).unwrap();
    core
}

fn around<'i>(network: Network) -> Core<'i> {
    Core::new(network, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new())
}

/// Returns the image of the network, with its header modified by `change`.
fn image_with(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let layers = [
        Kind::Dense { inputs: INPUTS as u32, outputs: 6 },
        Kind::Relu { width: 6 },
        Kind::Dense { inputs: 6, outputs: CLASSES },
    ];
    let (mut geometries, mut weights) = (graftage_link::Vec::new(), Vec::new());
    network().parameters(&mut |parameter| {
        geometries.push(*parameter.geometry).unwrap();
        weights.extend_from_slice(graftage_core::matrix::RowMajor::elements(&parameter.state.x));
    });
    let schema = Kind::schema(&layers);
    let layers = graftage_link::Vec::from_slice(&layers).unwrap();
    let mut header = Header { schema, layers, geometries, recipe: RECIPE, scale: SCALE, centred: false };
    change(&mut header);
    image::write(&header, weights, &mut [0; 4096]).unwrap().to_vec()
}

fn image() -> Vec<u8> {
    image_with(|_| ())
}

/// Device: a learner with the link in front of it.
struct Board {
    link: Link,
    learner: Result<Adaptive, ImageError>,
    memory: Memory,
    events: Rc<RefCell<Vec<String>>>,
}

impl Board {
    /// Starts from the image in `flash`, with the state that `memory` kept in an earlier run.
    fn start(flash: &[u8], save_every: u64, memory: Memory) -> Self {
        let (mut link, events) = (Link::new(), Rc::<RefCell<Vec<String>>>::default());
        link.rename(NAME);
        let told = Rc::clone(&events);
        let observe: Observe = Box::new(move |event| told.borrow_mut().push(format!("{event:?}")));
        let (sessions, flash) = (Box::leak(Box::new(around(Network::ZERO))), flash.to_vec().leak());
        let learner = Adaptive::start(sessions, flash, save_every, memory.clone(), observe);
        Self { link, learner, memory, events }
    }

    fn serve(&mut self, line: &mut Line) -> Result<(), ErrorKind> {
        let events = Rc::clone(&self.events);
        self.link.serve(line, &mut self.learner, |error| events.borrow_mut().push(format!("{error:?}")))
    }

    fn learner(&mut self) -> &mut Adaptive {
        self.learner.as_mut().unwrap()
    }
}

/// Returns a device started from the image in `flash`.
fn started(flash: &[u8]) -> Board {
    let board = Board::start(flash, SAVE_EVERY, Memory::of(0));
    assert_eq!(board.learner.as_ref().err(), None);
    board
}

/// Returns the n-th sample of a learnable stream, and its class.
fn sample(n: u64) -> ([f32; INPUTS], u32) {
    let mut generator = Generator::new(100 + n, 0);
    let class = (n % u64::from(CLASSES)) as u32;
    (core::array::from_fn(|i| generator.uniform() + if i as u32 == class { 1.0 } else { 0.0 }), class)
}

/// Line whose other end has sent some bytes and hung up.
struct Line {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    /// Numbers of bytes taken by successive writes, used cyclically.
    takes: Vec<usize>,
    writes: usize,
    /// True if the line ends with an error.
    broken: bool,
}

impl Line {
    fn with(bytes: &[u8]) -> Self {
        let incoming = bytes.iter().copied().collect();
        Self { incoming, outgoing: Vec::new(), takes: vec![usize::MAX], writes: 0, broken: false }
    }
}

impl ErrorType for Line {
    type Error = ErrorKind;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.incoming.is_empty() && self.broken {
            return Err(ErrorKind::BrokenPipe);
        }
        let count = buffer.len().min(self.incoming.len());
        buffer.iter_mut().zip(self.incoming.drain(..count)).for_each(|(place, byte)| *place = byte);
        Ok(count)
    }
}

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> Result<usize, ErrorKind> {
        let count = buffer.len().min(self.takes[self.writes % self.takes.len()]);
        self.writes += 1;
        self.outgoing.extend(&buffer[..count]);
        Ok(count)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Number of every request here.
const NUMBER: u8 = 0xa5;

/// Returns a request as bytes on the wire.
fn wire(request: &Request<&[f32]>) -> Vec<u8> {
    let (mut plain, mut wire) = ([0; ANSWER], [0; ANSWER]);
    let used = encode(&(NUMBER, request), &mut plain, &mut wire).unwrap();
    wire[..used].to_vec()
}

fn learn(number: u64) -> Vec<u8> {
    let (sample, label) = sample(number);
    wire(&Request::Learn { number, label, sample: &sample })
}

/// Decodes the answers that a device sent, and checks that all frames are intact and carry the number of their request.
fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut receiver = Receiver::<ANSWER>::new();
    let answer = |byte: &u8| receiver.push(*byte).map(|frame| decode::<Numbered<Answer>>(frame.unwrap()).unwrap());
    let numbered = bytes.iter().filter_map(answer);
    let right = |answer: &Answer| if matches!(answer, Answer::OtherVersion | Answer::Damaged) { 0 } else { NUMBER };
    numbered.inspect(|(number, answer)| assert_eq!(*number, right(answer), "{answer:?}")).map(|(_, a)| a).collect()
}

/// Returns a device's answers to `bytes`, and the events that it logs.
fn observe(device: &mut Board, bytes: &[u8]) -> (Vec<Answer>, Vec<String>) {
    let mut line = Line::with(bytes);
    device.serve(&mut line).unwrap();
    (answers(&line.outgoing), device.events.take())
}

fn ask(device: &mut Board, bytes: &[u8]) -> Vec<Answer> {
    observe(device, bytes).0
}

fn hello(device: &mut Board) -> Hello {
    match &ask(device, &wire(&Request::Hello))[..] {
        [Answer::Hello(hello)] => hello.clone(),
        other => panic!("{other:?}"),
    }
}

/// Returns core's answer to the n-th sample.
fn expected(core: &mut Core, n: u64) -> Answer {
    let (sample, label) = sample(n);
    let mut reports = graftage_link::Vec::new();
    let taken = core.learn(&sample, label, |report| reports.push(report).unwrap()).unwrap();
    let Score { learnt, correct } = core.adaptation().score();
    Answer::Learnt(Learnt { taken, learnt, correct, reports })
}

#[test]
fn a_device_says_who_it_is_and_where_it_stands() {
    let status = Ok(Status {
        scale: SCALE,
        steps: RECIPE.steps,
        counts: Counts::default(),
        learnt: 0,
        correct: 0,
        latest: None,
        loss: None,
        step: 0,
        digest: core().adaptation().digest(),
        image: u32::from_le_bytes(*image().last_chunk().unwrap()),
        movement: 0.0,
        budget: None,
        saved: None,
        slots: [None; 2],
    });
    let expected = Hello {
        board: NAME.try_into().unwrap(),
        schema: Network::SCHEMA,
        inputs: INPUTS as u32,
        classes: CLASSES,
        dropped: 0,
        memory: Link::memory::<Adaptive>(),
        status,
    };
    assert_eq!(hello(&mut started(&image())), expected);
    // The image may lie in a larger flash.
    assert_eq!(hello(&mut started(&[&image()[..], &[0xff; 500]].concat())), expected);
}

#[test]
fn a_name_that_is_too_long_is_cut() {
    let mut device = started(&image());
    device.link.rename("0123456789012345678901234567890123456789");
    assert_eq!(hello(&mut device).board, "01234567890123456789012345678901");
}

#[test]
fn a_device_learns_and_predicts_as_core_does() {
    let (mut device, mut core) = (started(&image()), core());
    for n in 0..60 {
        let (input, _) = sample(1000 + n);
        let predicted = Answer::Predicted(core.predict(&input).unwrap());
        assert_eq!(ask(&mut device, &wire(&Request::Predict { sample: &input })), [predicted]);
        let expected = expected(&mut core, n);
        let Answer::Learnt(learnt) = &expected else { unreachable!() };
        assert_eq!(learnt.taken.held_out, n % 10 == 9);
        assert_eq!(learnt.reports.len(), if learnt.taken.held_out { 0 } else { 3 }, "a digest for every step");
        let (found, events) = observe(&mut device, &learn(n));
        assert_eq!(events, [format!("{:?}", Event::Learnt(learnt))]);
        assert_eq!(found, [expected], "sample {n}");
    }
    let status = hello(&mut device).status.unwrap();
    let Score { learnt, correct } = core.adaptation().score();
    assert_eq!((status.counts.taken, status.learnt, status.correct), (60, learnt, correct));
    assert_eq!((status.step, status.digest), (core.adaptation().step(), core.adaptation().digest()));
    assert!(correct > 40, "it learns: {correct} of 54 right before they were learnt");
}

fn end(number: u32) -> Vec<u8> {
    wire(&Request::End { number })
}

#[test]
fn a_session_ends_as_in_core_and_only_once() {
    let (mut device, mut core) = (started(&image()), core());
    let mut committed = [0, 0];
    for session in 0..8u32 {
        for n in (20 * u64::from(session)..).take(20) {
            // Every other session learns wrong labels and is judged by correct ones.
            let (sample, label) = sample(n);
            let label = if session % 2 == 1 && n % 10 != 9 { (label + 1) % CLASSES } else { label };
            ask(&mut device, &wire(&Request::Learn { number: n, label, sample: &sample }));
            core.learn(&sample, label, |_| ()).unwrap();
        }
        assert_eq!(ask(&mut device, &end(session + 1)), [Answer::OutOfOrder { expected: session.into() }]);
        let verdict = core.end();
        committed[usize::from(verdict.committed)] += 1;
        let ended = Ended { verdict, digest: core.adaptation().digest() };
        let (found, events) = observe(&mut device, &[end(session), end(session)].concat());
        assert_eq!(found, [Answer::Ended(ended), Answer::Ended(ended)], "session {session}");
        assert_eq!(events, [format!("{:?}", Event::Ended(&ended))], "it ended once");
        let (input, _) = sample(1000 + u64::from(session));
        let predicted = Answer::Predicted(core.predict(&input).unwrap());
        assert_eq!(ask(&mut device, &wire(&Request::Predict { sample: &input })), [predicted]);
    }
    println!("{} rolled back, {} committed", committed[0], committed[1]);
    assert!(committed.iter().all(|count| *count > 0), "{committed:?}");
    assert_eq!(hello(&mut device).status.unwrap().counts, core.counts());
}

#[test]
fn a_bad_sample_is_refused_and_changes_nothing() {
    let (mut device, mut core) = (started(&image()), core());
    let nan = [0.5, 0.5, f32::NAN, 0.5];
    let infinite = [f32::NEG_INFINITY, 0.0, 0.0, 0.0];
    let good = [0.5; INPUTS];
    let bad: [(&[f32], u32, Refusal); 5] = [
        (&nan, 1, Refusal::NotFinite { index: 2 }),
        (&infinite, 1, Refusal::NotFinite { index: 0 }),
        (&good, CLASSES, Refusal::Label { label: CLASSES, classes: CLASSES }),
        (&good[..3], 1, Refusal::Length { expected: 4, found: 3 }),
        (&[3e38; INPUTS], 1, Refusal::Overflow),
    ];
    for n in 0..10 {
        for (sample, label, refusal) in &bad {
            let before = hello(&mut device);
            let found = observe(&mut device, &wire(&Request::Learn { number: n, label: *label, sample }));
            assert_eq!(found, (vec![Answer::Refused(*refusal)], vec![format!("{:?}", Event::Refused(*refusal))]));
            assert_eq!(hello(&mut device), before);
        }
        for (sample, refusal) in [(&nan[..], bad[0].2), (&good[..3], bad[3].2)] {
            assert_eq!(ask(&mut device, &wire(&Request::Predict { sample })), [Answer::Refused(refusal)]);
        }
        assert_eq!(ask(&mut device, &learn(n)), [expected(&mut core, n)], "sample {n}");
    }
}

#[test]
fn a_sample_longer_than_the_network_takes_is_dropped_and_counted() {
    let (mut device, mut core) = (started(&image()), core());
    for (length, error) in [(INPUTS + 1, FrameError::Unknown), (100, FrameError::TooLong)] {
        let long = wire(&Request::Learn { number: 0, label: 1, sample: &vec![0.5; length] });
        assert_eq!(observe(&mut device, &long), (vec![Answer::Damaged], vec![format!("{error:?}")]));
    }
    assert_eq!(hello(&mut device).dropped, 2);
    assert_eq!(ask(&mut device, &learn(0)), [expected(&mut core, 0)]);
}

#[test]
fn garbage_between_frames_is_dropped_and_counted_and_the_next_frame_taken() {
    let (mut device, mut core) = (started(&image()), core());
    let garbage: [&[u8]; 5] = [&[0xaa], b"\r\n", &[7; 1000], &learn(3)[..9], &[2, 0xfe, 0, 9]];
    let mut dropped = 0;
    for n in 0..20 {
        let garbage = garbage[n as usize % garbage.len()];
        // Every run without a zero counts as a frame.
        let frames = garbage.split(|byte| *byte == 0).filter(|run| !run.is_empty()).count();
        dropped += frames as u32;
        let answers = [vec![Answer::Damaged; frames], vec![expected(&mut core, n)]].concat();
        assert_eq!(ask(&mut device, &[garbage, &learn(n)].concat()), answers, "sample {n}");
    }
    assert_eq!(hello(&mut device).dropped, dropped);
}

#[test]
fn a_request_that_is_repeated_is_answered_as_before_and_learns_nothing_twice() {
    let (mut device, mut core) = (started(&image()), core());
    for n in 0..10 {
        let expected = expected(&mut core, n);
        assert_eq!(ask(&mut device, &learn(n)), std::slice::from_ref(&expected));
        let before = hello(&mut device);
        // Refusals and predictions in between do not matter.
        ask(&mut device, &wire(&Request::Learn { number: n + 1, label: 99, sample: &[0.0; INPUTS] }));
        ask(&mut device, &wire(&Request::Predict { sample: &[1.0; INPUTS] }));
        let (answers, events) = observe(&mut device, &[learn(n), learn(n)].concat());
        assert_eq!(answers, [expected.clone(), expected]);
        assert_eq!(events, [""; 0], "nothing was learnt");
        assert_eq!(hello(&mut device), before);
    }
}

#[test]
fn a_sample_out_of_order_is_told_which_is_expected_and_changes_nothing() {
    let (mut device, mut core) = (started(&image()), core());
    for n in 0..5 {
        let before = hello(&mut device);
        for number in [n + 1, n + 1000, u64::MAX, n.wrapping_sub(2)] {
            let wrong = wire(&Request::Learn { number, label: 0, sample: &[0.5; INPUTS] });
            assert_eq!(ask(&mut device, &wrong), [Answer::OutOfOrder { expected: n }], "{number} instead of {n}");
        }
        assert_eq!(hello(&mut device), before);
        assert_eq!(ask(&mut device, &learn(n)), [expected(&mut core, n)]);
    }
}

/// Checks every answer of a device without a usable image.
fn has_no_network(device: &mut Board, why: ImageError) {
    let requests =
        [wire(&Request::Predict { sample: &[0.5; INPUTS] }), learn(0), learn(7), end(0), wire(&Request::Reset)];
    for request in requests {
        assert_eq!(ask(device, &request), [Answer::NoNetwork(why)]);
    }
    let hello = hello(device);
    assert_eq!((hello.schema, hello.status), (Network::SCHEMA, Err(why)));
}

#[test]
fn a_device_without_a_usable_image_says_why() {
    let version = [&b"GRFT\x05\x00"[..], &image()[6..]].concat();
    let elsewhere = [Kind::Dense { inputs: 4, outputs: 3 }];
    let schema = Kind::schema(&elsewhere);
    let other = image_with(|header| {
        (header.schema, header.layers) = (schema, graftage_link::Vec::from_slice(&elsewhere).unwrap());
    });
    let other_schema = ImageError::Schema { expected: Network::SCHEMA, found: schema };
    let large = image_with(|header| header.recipe.replay = REPLAY as u32 + 1);
    let held = image_with(|header| header.recipe.hold_out = Some(HoldOut { keep: HELD_OUT as u32 + 1, ..HOLD_OUT }));
    let flat = image_with(|header| header.geometries[2] = Geometry { radius: -1.0, ..Geometry::HEAD });
    let still = image_with(|header| header.recipe.rule.step_size = 0.0);
    let unscaled = image_with(|header| header.scale = 0.0);
    let layerless = image_with(|header| header.geometries.truncate(1));
    let flashes: [(&[u8], ImageError); 13] = [
        (&[0xff; 1000], ImageError::Magic),
        (&[0; 1000], ImageError::Magic),
        (&[], ImageError::Truncated),
        (&image()[..9], ImageError::Truncated),
        (&version, ImageError::Version { expected: 4, found: 5 }),
        (&other, other_schema),
        (&large, ImageError::Recipe(Refusal::Recipe(Field::Replay))),
        (&held, ImageError::Recipe(Refusal::Recipe(Field::HoldOut))),
        (&flat, ImageError::Recipe(Refusal::Recipe(Field::Radius))),
        (&still, ImageError::Recipe(Refusal::Recipe(Field::Step))),
        (&unscaled, ImageError::NotFinite),
        (&layerless, ImageError::Malformed),
        (&image()[..100], ImageError::Truncated),
    ];
    for (flash, why) in flashes {
        let mut device = Board::start(flash, SAVE_EVERY, Memory::of(0));
        assert_eq!(device.learner.as_ref().err(), Some(&why));
        has_no_network(&mut device, why);
    }
}

#[test]
fn sessions_start_anew_from_every_image_that_can_be_used() {
    fn start<'i>(sessions: &mut Core<'i>, flash: &'i [u8], n: u64) -> Result<Answer, ImageError> {
        let (sample, label) = sample(n);
        let mut learner = Learner::start(sessions, flash, 0, (), |_| ())?;
        Ok(Answer::Learnt(learner.learn(&sample, label).unwrap()))
    }
    let (image, none, mut sessions) = (image(), [0xff; 1000], around(Network::ZERO));
    for n in 0..3 {
        assert_eq!(start(&mut sessions, &image, n), Ok(expected(&mut core(), n)));
        assert_eq!(start(&mut sessions, &none, n), Err(ImageError::Magic));
    }
}

#[test]
fn no_image_with_a_flipped_bit_or_a_missing_byte_is_used() {
    let image = image();
    for bit in 0..8 * image.len() {
        let mut damaged = image.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut sessions = around(Network::ZERO);
        assert!(Learner::start(&mut sessions, &damaged, 0, (), |_| ()).is_err(), "bit {bit}");
    }
    let mut sessions = around(Network::ZERO);
    for length in 0..image.len() {
        let started = Learner::start(&mut sessions, &image[..length], 0, (), |_| ());
        assert_eq!(started.err(), Some(ImageError::Truncated), "{length} bytes");
    }
}

#[test]
fn a_request_of_another_version_is_answered_and_counted() {
    let mut device = started(&image());
    // Version 9, a message of the single byte 0 and its CRC-32/ISO-HDLC, stuffed by hand.
    let checksum = image::checksum(&[9, 0]).to_le_bytes();
    assert!(!checksum.contains(&0));
    let bytes = [&[0, 2, 9, 5][..], &checksum, &[0]].concat();
    let dropped = format!("{:?}", FrameError::Version(9));
    assert_eq!(observe(&mut device, &bytes), (vec![Answer::OtherVersion], vec![dropped]));
    assert_eq!(hello(&mut device).dropped, 1);
}

#[test]
fn answers_are_whole_on_a_line_that_takes_few_bytes_at_a_time() {
    let requests: Vec<u8> = [wire(&Request::Hello), learn(0), learn(1), learn(5)].concat();
    let mut whole = Line::with(&requests);
    started(&image()).serve(&mut whole).unwrap();
    assert_eq!(answers(&whole.outgoing).len(), 4);
    for takes in [vec![1], vec![3, 1, 2]] {
        let mut line = Line { takes, ..Line::with(&requests) };
        started(&image()).serve(&mut line).unwrap();
        assert_eq!(line.outgoing, whole.outgoing);
    }
}

#[test]
fn serving_ends_with_the_line() {
    assert_eq!(started(&image()).serve(&mut Line::with(&[])), Ok(()));
    let mut broken = Line { broken: true, ..Line::with(&wire(&Request::Hello)) };
    assert_eq!(started(&image()).serve(&mut broken), Err(ErrorKind::BrokenPipe));
    assert_eq!(answers(&broken.outgoing).len(), 1, "what came before is answered");
}

#[test]
fn the_parts_of_its_memory_add_up() {
    let memory = Link::memory::<Adaptive>();
    let arrays = memory.weights + memory.query_points + memory.momenta + memory.in_use;
    let samples = memory.replay + memory.held_out;
    assert_eq!(
        (arrays + samples + memory.scratch + memory.link) as usize,
        size_of::<Core<'static>>() + size_of::<Link>()
    );
    // 4·6 + 6 + 6·3 + 3 numbers of four bytes each; sixteen samples of four numbers and a label.
    assert_eq!([memory.weights, memory.query_points, memory.momenta, memory.in_use], [204; 4]);
    assert!(memory.replay >= 16 * 20 && memory.held_out >= 5 * 20 && memory.scratch as usize == size_of::<Scratch>());
    assert!(memory.link as usize >= 2 * ANSWER + request(INPUTS));
}

/// Storage that keeps every saved state until it is full.
#[derive(Clone)]
struct Memory {
    saved: Rc<RefCell<Vec<Vec<u8>>>>,
    room: usize,
    /// State kept in an earlier run, with its generation.
    kept: Option<(u64, Stored)>,
}

impl Memory {
    fn of(room: usize) -> Self {
        Self { saved: Rc::default(), room, kept: None }
    }

    /// Creates a storage with this state and without room for another.
    fn with(generation: u64, state: &[u8]) -> Self {
        let stored = Stored { bytes: state.to_vec(), weak: 0, reads: 0, steady: u32::MAX };
        Self { kept: Some((generation, stored)), ..Self::of(0) }
    }
}

/// Bytes of which one, `weak`, reads differently after it has been read `steady` times.
#[derive(Clone)]
struct Stored {
    bytes: Vec<u8>,
    weak: usize,
    reads: u32,
    steady: u32,
}

impl Source for Stored {
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()> {
        bytes.copy_from_slice(self.bytes.get(at..at + bytes.len())?);
        if (at..at + bytes.len()).contains(&self.weak) {
            self.reads += 1;
            bytes[self.weak - at] ^= u8::from(self.reads > self.steady);
        }
        Some(())
    }
}

/// Starts a device and resumes from the state in `memory`; returns the device and the result.
fn resumed(image: &[u8], memory: Memory) -> (Board, Result<Option<u64>, NotResumed>) {
    let mut device = Board::start(image, SAVE_EVERY, memory);
    let resumed = device.learner().resume();
    (device, resumed)
}

impl Note for Memory {}

impl Keep for Memory {
    fn kept(&mut self) -> Option<(u64, impl Source)> {
        self.kept.clone()
    }

    fn keep(&mut self, contents: &mut dyn FnMut(&mut dyn Sink) -> Option<()>) -> Option<Result<u64, StoreError>> {
        struct Bytes(Vec<u8>);
        impl Sink for Bytes {
            fn put(&mut self, bytes: &[u8]) -> Option<()> {
                self.0.extend(bytes);
                Some(())
            }
        }
        if self.room == 0 {
            return None;
        }
        let mut bytes = Bytes(Vec::new());
        contents(&mut bytes).unwrap();
        let mut saved = self.saved.borrow_mut();
        if saved.len() == self.room {
            return Some(Err(StoreError::Unverified));
        }
        saved.push(bytes.0);
        Some(Ok(saved.len() as u64))
    }
}

#[test]
fn a_device_saves_as_told_and_goes_on_from_what_it_saved() {
    let mut device = Board::start(&image(), SAVE_EVERY, Memory::of(2));
    let mut states = Vec::new();
    for n in 0..14 {
        // The repeated request is only answered again.
        let (_, events) = observe(&mut device, &[learn(n), learn(n)].concat());
        let saved = match n + 1 {
            4 | 8 => vec![format!("Saved({})", (n + 1) / 4)],
            12 => vec!["NotSaved(Unverified)".to_owned()],
            _ => vec![],
        };
        assert_eq!(events[1..], saved, "sample {n}");
        states.push(hello(&mut device));
    }
    let expected = predicted(&mut device);
    for ((generation, saved), learnt) in (1..).zip(device.memory.saved.take()).zip([4, 8]) {
        assert!(saved.len() <= Adaptive::saved(REPLAY));
        let (mut resumed, done) = resumed(&image(), Memory::with(generation, &[&saved[..], &[0xff; 9]].concat()));
        assert_eq!(done, Ok(Some(generation)));
        // A resumed device does not know the outcome of its newest sample.
        let mut saved = states[learnt as usize - 1].clone();
        saved.status = saved.status.map(|status| Status { latest: None, loss: None, ..status });
        assert_eq!(hello(&mut resumed), saved);
        assert_eq!(ask(&mut resumed, &learn(learnt - 1)), [Answer::OutOfOrder { expected: learnt }]);
        (learnt..14).for_each(|n| drop(ask(&mut resumed, &learn(n))));
        // The resumed device has no room to save, so its saved generation stays the same.
        let mut last = states[13].clone();
        last.status = last.status.map(|status| Status { saved: Some(generation), ..status });
        assert_eq!((hello(&mut resumed), predicted(&mut resumed)), (last, expected.clone()));
    }
    let mut never = Board::start(&image(), 0, Memory::of(100));
    (0..9).for_each(|n| drop(ask(&mut never, &learn(n))));
    ask(&mut never, &end(0));
    assert_eq!(never.memory.saved.borrow().len(), 0);
    // The end of a session is saved, whatever its number of samples.
    let mut always = Board::start(&image(), SAVE_EVERY, Memory::of(100));
    let (_, events) = observe(&mut always, &[learn(0), end(0)].concat());
    assert_eq!((&events[2][..], events.len()), ("Saved(1)", 3));
}

#[test]
fn the_status_says_what_the_newest_sample_brought_how_far_it_moved_and_what_is_saved() {
    let budget = Some(100.0);
    let image = image_with(|header| header.recipe.budget = budget);
    let (mut device, mut core) = (Board::start(&image, SAVE_EVERY, Memory::of(9)), core());
    for n in 0..8 {
        ask(&mut device, &learn(n));
        let (input, label) = sample(n);
        let mut loss = None;
        let taken = core.learn(&input, label, |report| loss = Some(report.outcome.loss)).unwrap();
        let status = hello(&mut device).status.unwrap();
        assert_eq!((status.latest, status.loss), (Some(taken), loss));
        assert_eq!((status.movement, status.budget), (core.adaptation().movement(), budget));
        assert_eq!(status.saved, [None, Some(1), Some(2)][(n as usize + 1) / 4], "sample {n}");
    }
    assert!(core.adaptation().movement() > 0.0);
    ask(&mut device, &end(0));
    let status = hello(&mut device).status.unwrap();
    assert_eq!((status.movement, status.saved, status.latest, status.loss), (0.0, Some(3), None, None));
}

/// Returns an array of a device, read piece by piece over the link.
fn read(device: &mut Board, array: Array) -> Vec<f32> {
    let mut all = Vec::new();
    loop {
        match &ask(device, &wire(&Request::Read { array, first: all.len() as u32 }))[..] {
            [Answer::Numbers(numbers)] if numbers.is_empty() => return all,
            [Answer::Numbers(numbers)] => all.extend_from_slice(numbers),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_numbers_of_every_array_are_read_bit_for_bit_from_any_place_on() {
    let (mut device, mut core) = (started(&image()), core());
    for n in 0..6 {
        ask(&mut device, &learn(n));
        let (input, label) = sample(n);
        core.learn(&input, label, |_| ()).unwrap();
    }
    let mut arrays = [vec![], vec![], vec![]];
    core.network_mut().parameters(&mut |parameter| {
        let state = &parameter.state;
        for (array, matrix) in arrays.iter_mut().zip([&state.x, &state.y, &state.m]) {
            array.extend_from_slice(graftage_core::matrix::RowMajor::elements(matrix));
        }
    });
    let [weights, query_points, momenta] = arrays;
    let in_use = core.in_use().to_vec();
    assert!(weights != in_use && weights != query_points);
    for (array, expected) in [
        (Array::Weights, weights),
        (Array::QueryPoints, query_points),
        (Array::Momenta, momenta),
        (Array::InUse, in_use),
    ] {
        assert_eq!(bits(&read(&mut device, array)), bits(&expected), "{array:?}");
        // Within a parameter, across the border of two, at the end and beyond it.
        for first in [0, 1, 23, 24, 29, 30, expected.len() - 1, expected.len(), expected.len() + 7, u32::MAX as usize] {
            let wanted: Vec<f32> = expected.iter().skip(first).take(NUMBERS).copied().collect();
            let [Answer::Numbers(found)] = &ask(&mut device, &wire(&Request::Read { array, first: first as u32 }))[..]
            else {
                panic!("no numbers")
            };
            assert_eq!(bits(found), bits(&wanted), "{array:?} from {first}");
        }
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|e| e.to_bits()).collect()
}

/// Returns the device's prediction for a fixed sample.
fn predicted(device: &mut Board) -> Vec<Answer> {
    ask(device, &wire(&Request::Predict { sample: &sample(77).0 }))
}

#[test]
fn a_device_does_not_go_on_from_what_is_not_its_own() {
    let mut device = Board::start(&image(), SAVE_EVERY, Memory::of(1));
    (0..4).for_each(|n| drop(ask(&mut device, &learn(n))));
    let good = &device.memory.saved.borrow()[0];
    let other = image_with(|header| header.recipe.seed += 1);
    let truncated = NotResumed::Unusable(ImageError::Truncated);
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    for (image, bytes, why) in [
        (&other, &good[..], NotResumed::OtherImage),
        (&image(), &good[..3], truncated),
        (&image(), &good[..good.len() - 1], truncated),
        (&image(), &damaged, NotResumed::Unusable(ImageError::Checksum)),
    ] {
        let (mut device, found) = resumed(image, Memory::with(1, bytes));
        assert_eq!(found, Err(why));
        assert_eq!(hello(&mut device), hello(&mut started(image)));
    }
    assert_eq!(resumed(&image(), Memory::of(0)).1, Ok(None));
}

#[test]
fn a_device_whose_flash_reads_otherwise_each_time_starts_from_its_image() {
    let mut device = Board::start(&image(), SAVE_EVERY, Memory::of(1));
    (0..4).for_each(|n| drop(ask(&mut device, &learn(n))));
    let good = device.memory.saved.borrow()[0].clone();
    // A byte of the newest sample. It is read three times: for the checksum, for the check and for the restore.
    let weak = good.len() - 5;
    for steady in 0..4 {
        let mut memory = Memory::with(1, &good);
        memory.kept = memory.kept.map(|(generation, stored)| (generation, Stored { weak, steady, ..stored }));
        let (mut device, found) = resumed(&image(), memory);
        if steady < 3 {
            assert_eq!(found, Err(NotResumed::Unusable(ImageError::Checksum)), "{steady}");
            let mut fresh = started(&image());
            assert_eq!(hello(&mut device), hello(&mut fresh));
            assert_eq!(ask(&mut device, &learn(0)), ask(&mut fresh, &learn(0)));
        } else {
            assert_eq!(found, Ok(Some(1)));
        }
    }
}

#[test]
fn an_application_and_the_link_learn_in_turn() {
    let (mut device, mut core) = (started(&image()), core());
    for n in 0..12 {
        if n % 3 == 1 {
            // Learn from a sensor, without the link.
            let (sample, label) = sample(n);
            assert_eq!(device.learner().predict(&sample), core.predict(&sample));
            assert_eq!(device.learner().learn(&sample, label).map(Answer::Learnt), Ok(expected(&mut core, n)));
            // The link's own sample under this number was not learnt, so it must not be answered as if it were.
            for number in [n - 1, n] {
                assert_eq!(ask(&mut device, &learn(number)), [Answer::OutOfOrder { expected: n + 1 }]);
            }
        } else {
            assert_eq!(ask(&mut device, &learn(n)), [expected(&mut core, n)]);
        }
    }
    let verdict = core.end();
    assert_eq!(device.learner().end(), Ended { verdict, digest: core.adaptation().digest() });
    assert_eq!(ask(&mut device, &end(0)), [Answer::OutOfOrder { expected: 1 }]);
    assert_eq!(device.learner().status(), hello(&mut device).status.unwrap());
}

#[test]
fn a_device_that_is_reset_is_as_when_it_was_new_and_says_so_twice() {
    let (image, mut core) = (image(), core());
    let mut device = Board::start(&image, SAVE_EVERY, Memory::of(100));
    let fresh = hello(&mut device).status.unwrap();
    for n in 0..6 {
        ask(&mut device, &learn(n));
    }
    ask(&mut device, &end(0));
    let reset = wire(&Request::Reset);
    let answer = Answer::Reset { digest: fresh.digest };
    let (found, events) = observe(&mut device, &[reset.clone(), reset].concat());
    assert_eq!(found, [answer.clone(), answer]);
    assert_eq!(events, ["Saved(3)", "Saved(4)", "Reset", "Saved(5)", "Saved(6)", "Reset"]);
    assert_eq!(hello(&mut device).status, Ok(Status { saved: Some(6), ..fresh }));
    // Samples learnt and sessions ended under these numbers before the reset are not answers to them now.
    let (first, label) = sample(0);
    device.learner().learn(&first, label).unwrap();
    device.learner().end();
    for request in [learn(0), end(0)] {
        assert_eq!(ask(&mut device, &request), [Answer::OutOfOrder { expected: 1 }]);
    }
    ask(&mut device, &wire(&Request::Reset));
    for n in 0..12 {
        assert_eq!(ask(&mut device, &learn(n)), [expected(&mut core, n)], "sample {n}");
    }
    // After a reset the storage holds the fact that nothing was learnt, and no state.
    let mut last = Board::start(&image, SAVE_EVERY, Memory::of(100));
    ask(&mut last, &wire(&Request::Reset));
    let kept = last.memory.saved.borrow().last().unwrap().clone();
    let (mut resumed, found) = resumed(&image, Memory::with(7, &kept));
    assert_eq!(found, Ok(Some(7)));
    assert_eq!(hello(&mut resumed).status, Ok(Status { saved: Some(7), ..fresh }));
    let other = image_with(|header| header.recipe.seed += 1);
    assert_eq!(self::resumed(&other, Memory::with(7, &kept)).1, Err(NotResumed::OtherImage));
}

#[test]
fn a_device_whose_flash_refuses_a_reset_says_so_and_stands_where_a_restart_would_have() {
    let image = image();
    let mut device = Board::start(&image, SAVE_EVERY, Memory::of(1));
    (0..4).for_each(|n| drop(ask(&mut device, &learn(n))));
    let state = device.memory.saved.borrow()[0].clone();
    let memory = || Memory { saved: Rc::new(RefCell::new(vec![vec![]])), room: 1, ..Memory::with(1, &state) };
    let (mut expected, _) = resumed(&image, memory());
    let (mut device, _) = resumed(&image, memory());
    ask(&mut device, &learn(4));
    let (found, events) = observe(&mut device, &wire(&Request::Reset));
    assert_eq!(found, [Answer::NotReset]);
    assert_eq!(events, ["NotSaved(Unverified)", "NotReset(Unverified)"]);
    assert_eq!(hello(&mut device), hello(&mut expected));
    assert_eq!(ask(&mut device, &learn(4)), ask(&mut expected, &learn(4)));
}
