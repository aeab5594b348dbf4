//! Tests of the busy report: sent while the flash is slow, and never in the middle of an answer.

mod flash;

use embedded_io::{ErrorKind, ErrorType, Read, Write};
use embedded_storage::nor_flash::{self, NorFlash, ReadNorFlash};
use flash::Flash;
use graftage_core::adapt::{Recipe, Ring};
use graftage_core::image::{self, Header};
use graftage_core::network::{Dense, Fixed, Kind};
use graftage_core::scion::Geometry;
use graftage_core::session::Session;
use graftage_firmware::busy::{Clock, Line, Telling};
use graftage_firmware::device::Device;
use graftage_firmware::journal::{self, Full, Journal};
use graftage_firmware::learner::{Event, Learner};
use graftage_firmware::store::Store;
use graftage_link::{ANSWER, Answer, Numbered, Receiver, Request, Vec as Short, decode, encode, request};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Clock in milliseconds that operations of the flash advance.
#[derive(Clone, Default)]
struct Time(Rc<Cell<u32>>);

impl Time {
    fn pass(&self, milliseconds: u32) {
        self.0.set(self.0.get().wrapping_add(milliseconds));
    }
}

impl Clock for Time {
    const TICKS_PER_SECOND: u32 = 1000;
    fn now(&self) -> u32 {
        self.0.get()
    }
}

/// Port with incoming bytes, and sent bytes with their times.
#[derive(Clone, Default)]
struct Port {
    coming: Rc<RefCell<VecDeque<u8>>>,
    sent: Rc<RefCell<Vec<(u32, u8)>>>,
    time: Time,
}

impl ErrorType for Port {
    type Error = ErrorKind;
}

impl Read for Port {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let next = self.coming.borrow_mut().pop_front();
        Ok(next.map(|byte| bytes[0] = byte).map_or(0, |()| 1))
    }
}

impl Write for Port {
    /// Writes byte by byte, like a slow port.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.sent.borrow_mut().push((self.time.now(), bytes[0]));
        Ok(1)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// Flash whose operations take time.
struct Slow {
    flash: Flash<1, 8, 2048>,
    time: Time,
    /// Duration of erasing a block and of writing a word, in milliseconds.
    milliseconds: (u32, u32),
}

impl nor_flash::ErrorType for Slow {
    type Error = flash::Fault;
}

impl ReadNorFlash for Slow {
    const READ_SIZE: usize = 1;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), flash::Fault> {
        self.flash.read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl NorFlash for Slow {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 2048;
    fn erase(&mut self, from: u32, to: u32) -> Result<(), flash::Fault> {
        self.time.pass(self.milliseconds.0 * (to - from) / 2048);
        self.flash.erase(from, to)
    }
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), flash::Fault> {
        self.time.pass(self.milliseconds.1 * bytes.len() as u32 / 8);
        self.flash.write(offset, bytes)
    }
}

type Network = Dense<4, 3>;
type Sessions = Session<'static, Network, Ring<4, 8>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<4, 8>>;

fn image() -> Vec<u8> {
    let layers = [Kind::Dense { inputs: 4, outputs: 3 }];
    let (schema, layers) = (Kind::schema(&layers), Short::from_slice(&layers).unwrap());
    let geometries = Short::from_slice(&[Geometry::HEAD; 2]).unwrap();
    let recipe = Recipe { replay: 8, ..Recipe::DEFAULT };
    let header = Header { schema, layers, geometries, recipe, scale: 1.0, centred: false };
    image::write(&header, (0..Network::WEIGHTS).map(|i| i as f32 / 64.0), &mut [0; 1024]).unwrap().to_vec()
}

/// Lets a board answer `requests`, saving after each sample, on a flash with the given durations in milliseconds.
/// Returns the answers, each with the time at which its last byte was sent.
fn answers(requests: &[Request<&[f32]>], milliseconds: (u32, u32)) -> Vec<(u32, Answer)> {
    let port = Port::default();
    for (number, request) in (1u8..).zip(requests) {
        let (mut plain, mut wire) = ([0; ANSWER], [0; ANSWER]);
        let used = encode(&(number, request), &mut plain, &mut wire).unwrap();
        port.coming.borrow_mut().extend(&wire[..used]);
    }
    let time = port.time.clone();
    let line = Line::new(port.clone(), time.clone());
    let flash = Telling::new(Slow { flash: Flash::new(16), time, milliseconds }, &line);
    let store = Store::new(flash, 0..8 * 2048).unwrap();
    let journal: Journal<_, 4, { journal::entry(4) }> = Journal::new(store, 8 * 2048..16 * 2048, Full::Gap).unwrap();
    let (scratch, weights) = ([0.0; Network::SCRATCH], [0.0; Network::WEIGHTS]);
    let mut sessions = Sessions::new(Network::ZERO, Ring::new(), scratch, weights, Ring::new());
    let image = image();
    let mut learner = Learner::start(&mut sessions, &image, 1, Some(journal), |_: Event| ());
    Device::<4, { request(4) }>::new().serve(&mut &line, &mut learner, |_| ()).unwrap();
    let (mut receiver, mut found) = (Receiver::<ANSWER>::new(), Vec::new());
    for (time, byte) in &*port.sent.borrow() {
        if let Some(frame) = receiver.push(*byte) {
            // No frame is damaged, so none was sent into another.
            let (_, answer) = decode::<Numbered<Answer>>(frame.unwrap()).unwrap();
            found.push((*time, answer));
        }
    }
    found
}

const SAMPLE: [f32; 4] = [0.5, 0.25, 0.0, 1.0];

#[test]
fn while_its_flash_is_at_work_a_board_says_that_it_is_busy() {
    let learn = Request::Learn { number: 0, label: 1, sample: &SAMPLE[..] };
    // Erasing a block takes 700 ms, writing a word 20 ms.
    let found = answers(&[Request::Hello, learn, Request::Hello], (700, 20));
    // The start has erased the journal.
    assert_eq!(found[0].1, Answer::Busy);
    let busy = |(_, answer): &&(u32, Answer)| *answer == Answer::Busy;
    let others: Vec<_> = found.iter().filter(|found| !busy(found)).map(|(_, answer)| answer).collect();
    assert!(
        matches!(others[..], [Answer::Hello(_), Answer::Learnt(_), Answer::Hello(hello)] if hello.status.unwrap().saved == Some(1)),
        "{others:?}"
    );
    // At most half a second and one operation lie between two frames.
    let times: Vec<_> = found.iter().map(|(time, _)| *time).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 1200), "{found:?}");
    assert!(times.last().unwrap() > &5000 && found.iter().filter(busy).count() > 5, "{found:?}");
}

#[test]
fn a_quick_flash_is_not_worth_a_word() {
    let learn = |number| Request::Learn { number, label: 1, sample: &SAMPLE[..] };
    let found = answers(&[Request::Hello, learn(0), learn(1), Request::End { number: 0 }], (10, 0));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|(_, answer)| *answer != Answer::Busy));
}
