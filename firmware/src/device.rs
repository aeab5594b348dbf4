//! Behaviour of a board on the link, independent of the board.

use crate::busy::send;
use crate::learner::Learn;
use embedded_io::{Read, ReadReady, Write};
use graftage_core::error::ImageError;
use graftage_link::{
    ANSWER, Answer, BOARD, Ended, FrameError, Hello, Learnt, Memory, Numbered, Receiver, Request, decode, encode,
};
use heapless::{String, Vec};

/// Board's end of the link, for samples of up to I numbers in frames of up to F bytes. If the image cannot be used, the
/// learner passed to its methods is the error that says why.
///
/// F is at least [`graftage_link::request`]`(I)`.
#[derive(Debug)]
pub struct Device<const I: usize, const F: usize> {
    name: Option<&'static str>,
    receiver: Receiver<F>,
    dropped: u32,
    last: Last,
    plain: [u8; ANSWER],
    wire: [u8; ANSWER],
}

/// Result of the last labelled sample or the last end of a session, kept to repeat the answer.
#[derive(Clone, Debug)]
// The first variant is zero, so a device that was not started is all zeros and occupies no flash.
#[repr(u8)]
#[allow(clippy::large_enum_variant, reason = "there is no heap to put the largest on")]
enum Last {
    Nothing,
    /// Carries the number of its request: others than the link may learn between two requests.
    Learnt(u64, Learnt),
    Ended(u32, Ended),
}

impl<const I: usize, const F: usize> Device<I, F> {
    /// Creates a device without a name. Constant and all zeros, so a static costs no flash.
    pub const fn new() -> Self {
        Self {
            name: None,
            receiver: Receiver::new(),
            dropped: 0,
            last: Last::Nothing,
            plain: [0; ANSWER],
            wire: [0; ANSWER],
        }
    }

    /// Sets the name that the board reports.
    pub fn rename(&mut self, name: &'static str) {
        self.name = Some(name);
    }

    /// Returns the RAM usage of a learner and of its link.
    pub const fn memory<L: Learn>() -> Memory {
        let session = L::MEMORY;
        Memory { link: session.link + size_of::<Self>() as u32, ..session }
    }

    /// Returns the board's identity and state, the answer to [`Request::Hello`].
    pub fn hello<L: Learn>(&self, learner: &mut Result<L, ImageError>) -> Hello {
        let name = self.name.unwrap_or_default();
        // Longer names are truncated.
        let name = name.get(..name.floor_char_boundary(BOARD)).unwrap_or_default();
        Hello {
            board: String::try_from(name).unwrap_or_default(),
            schema: L::SCHEMA,
            inputs: L::INPUTS,
            classes: L::CLASSES,
            dropped: self.dropped,
            memory: Self::memory::<L>(),
            status: learner.as_mut().map(L::status).map_err(|error| *error),
        }
    }

    /// Takes one byte from the line; if it ends a frame, returns the answer to send. `dropped` is called with the error
    /// of each dropped frame.
    pub fn receive<L: Learn>(
        &mut self,
        byte: u8,
        learner: &mut Result<L, ImageError>,
        dropped: &mut impl FnMut(FrameError),
    ) -> Option<&[u8]> {
        let request = self.receiver.push(byte)?.and_then(decode::<Numbered<Request<Vec<f32, I>>>>);
        let answer: Numbered<Answer> = match request {
            Ok((number, request)) => (number, self.answer(request, learner)),
            Err(error) => {
                self.dropped = self.dropped.wrapping_add(1);
                dropped(error);
                match error {
                    FrameError::Version(_) => (0, Answer::OtherVersion),
                    _ => (0, Answer::Damaged),
                }
            }
        };
        let used = encode(&answer, &mut self.plain, &mut self.wire).ok()?;
        self.wire.get(..used)
    }

    #[inline(never)]
    fn answer<L: Learn>(&mut self, request: Request<Vec<f32, I>>, learner: &mut Result<L, ImageError>) -> Answer {
        match (request, learner) {
            (Request::Hello, learner) => Answer::Hello(self.hello(learner)),
            (_, Err(error)) => Answer::NoNetwork(*error),
            (Request::Predict { sample }, Ok(learner)) => match learner.predict(&sample) {
                Ok(prediction) => Answer::Predicted(prediction),
                Err(refusal) => Answer::Refused(refusal),
            },
            (Request::Learn { number, label, sample }, Ok(learner)) => self.learn(number, &sample, label, learner),
            (Request::End { number }, Ok(learner)) => self.end(number, learner),
            (Request::Read { array, first }, Ok(learner)) => Answer::Numbers(learner.numbers(array, first as usize)),
            (Request::Journal { first }, Ok(learner)) => Answer::Journal(learner.journal(first)),
            (Request::Reset, Ok(learner)) => self.reset(learner),
        }
    }

    #[inline(never)]
    fn learn(&mut self, number: u64, sample: &[f32], label: u32, learner: &mut impl Learn) -> Answer {
        if number == learner.counts().taken {
            match learner.learn(sample, label) {
                Ok(learnt) => self.last = Last::Learnt(number, learnt),
                Err(refusal) => return Answer::Refused(refusal),
            }
        }
        let expected = learner.counts().taken;
        match &self.last {
            Last::Learnt(last, learnt) if *last == number && number.wrapping_add(1) == expected => {
                Answer::Learnt(learnt.clone())
            }
            _ => Answer::OutOfOrder { expected },
        }
    }

    #[inline(never)]
    fn end(&mut self, number: u32, learner: &mut impl Learn) -> Answer {
        if number == learner.counts().sessions() {
            self.last = Last::Ended(number, learner.end());
        }
        let expected = learner.counts().sessions();
        match &self.last {
            Last::Ended(last, ended) if *last == number && number.wrapping_add(1) == expected => Answer::Ended(*ended),
            _ => Answer::OutOfOrder { expected: expected.into() },
        }
    }

    #[inline(never)]
    fn reset(&mut self, learner: &mut impl Learn) -> Answer {
        // Numbers start anew or go back, so the last answer must not be repeated under its number.
        self.last = Last::Nothing;
        match learner.reset() {
            Ok(digest) => Answer::Reset { digest },
            Err(_) => Answer::NotReset,
        }
    }

    /// Answers requests for as long as the port works. Returns `Ok` when the port reaches its end.
    ///
    /// # Errors
    /// The port's error.
    pub fn serve<P: Read + Write, L: Learn>(
        &mut self,
        port: &mut P,
        learner: &mut Result<L, ImageError>,
        mut dropped: impl FnMut(FrameError),
    ) -> Result<(), P::Error> {
        while self.turn(port, learner, &mut dropped)? {}
        Ok(())
    }

    /// Answers the requests that have arrived without waiting for more, for a program that has other work to do.
    ///
    /// # Errors
    /// The port's error.
    pub fn poll<P: Read + Write + ReadReady, L: Learn>(
        &mut self,
        port: &mut P,
        learner: &mut Result<L, ImageError>,
        mut dropped: impl FnMut(FrameError),
    ) -> Result<(), P::Error> {
        while port.read_ready()? && self.turn(port, learner, &mut dropped)? {}
        Ok(())
    }

    /// Takes the next byte and answers the request that it ends. Returns `false` if there was no byte.
    fn turn<P: Read + Write, L: Learn>(
        &mut self,
        port: &mut P,
        learner: &mut Result<L, ImageError>,
        dropped: &mut impl FnMut(FrameError),
    ) -> Result<bool, P::Error> {
        let mut byte = [0];
        if port.read(&mut byte)? == 0 {
            return Ok(false);
        }
        let [received] = byte;
        if let Some(answer) = self.receive(received, learner, dropped) {
            send(port, answer)?;
        }
        Ok(true)
    }
}

impl<const I: usize, const F: usize> Default for Device<I, F> {
    fn default() -> Self {
        Self::new()
    }
}
