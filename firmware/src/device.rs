//! A board's behaviour on the link, without the board.

use embedded_io::{Read, Write};
use graftage_core::adapt::{Adaptation, Replay, Ring};
use graftage_core::error::{ImageError, Refusal};
use graftage_core::image::Image;
use graftage_core::network::Fixed;
use graftage_link::{
    ANSWER, Answer, FrameError, Hello, Learnt, Memory, Numbered, Receiver, Request, Status, decode, encode,
};
use heapless::{String, Vec};

/// What happened, for the board's log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event<'a> {
    /// A sample was learnt.
    Learnt(&'a Learnt),
    /// A sample was refused; nothing has changed.
    Refused(Refusal),
    /// A frame was dropped.
    Dropped(FrameError),
}

/// A network N that adapts, behind a link for samples of up to I numbers in frames of up to F bytes.
///
/// F is [`graftage_link::request`]`(I)` or more.
#[derive(Debug)]
pub struct Device<N, R, S, const I: usize, const F: usize> {
    name: Option<&'static str>,
    adaptation: Adaptation<N, R, S>,
    /// The scale of the image that is in use; 0 where there is none.
    scale: f32,
    /// Why there is none, where there is none: without any start, there were no bytes of an image.
    refused: ImageError,
    receiver: Receiver<F>,
    dropped: u32,
    last: Option<Learnt>,
    plain: [u8; ANSWER],
    wire: [u8; ANSWER],
}

impl<N: Fixed, const I: usize, const K: usize, const S: usize, const F: usize> Device<N, Ring<I, K>, [f32; S], I, F> {
    /// A device without an image, to be [started](Self::start). Constant and, around a network of zeros, all zeros: static
    /// memory that costs no flash.
    pub const fn new(network: N, replay: Ring<I, K>, scratch: [f32; S]) -> Self {
        Self {
            name: None,
            adaptation: Adaptation::new(network, replay, scratch),
            scale: 0.0,
            refused: ImageError::Magic,
            receiver: Receiver::new(),
            dropped: 0,
            last: None,
            plain: [0; ANSWER],
            wire: [0; ANSWER],
        }
    }
}

impl<N: Fixed, R: Replay, S: AsMut<[f32]>, const I: usize, const F: usize> Device<N, R, S, I, F> {
    /// What its RAM holds.
    pub const MEMORY: Memory = {
        let array = (4 * N::WEIGHTS) as u32;
        let (replay, scratch) = (size_of::<R>() as u32, size_of::<S>() as u32);
        let link = size_of::<Self>() as u32 - 3 * array - replay - scratch;
        Memory { weights: array, query_points: array, momenta: array, replay, scratch, link }
    };

    /// Starts from the image at the start of `bytes`, as a board of that name.
    ///
    /// # Errors
    /// Where the image cannot be used; then the device answers every request for the network with the reason.
    pub fn start(&mut self, name: &'static str, bytes: &[u8]) -> Result<(), ImageError> {
        self.name = Some(name);
        self.last = None;
        self.scale = 0.0;
        let started = Image::parse(bytes).and_then(|image| {
            image.load(N::SCHEMA, self.adaptation.network_mut())?;
            self.adaptation.start(image.header.recipe).map_err(ImageError::Recipe)?;
            self.scale = image.header.scale;
            Ok(())
        });
        if let Err(error) = started {
            self.refused = error;
        }
        started
    }

    /// Whether an image is in use, or why not: a scale is positive.
    fn status(&self) -> Result<(), ImageError> {
        if self.scale > 0.0 { Ok(()) } else { Err(self.refused) }
    }

    /// The network that it teaches.
    pub fn adaptation(&self) -> &Adaptation<N, R, S> {
        &self.adaptation
    }

    /// Where it stands, as [`Request::Hello`] is answered.
    pub fn hello(&self) -> Hello {
        let mut board = String::new();
        // A longer name is cut.
        for c in self.name.unwrap_or_default().chars() {
            let _ = board.push(c);
        }
        Hello {
            board,
            schema: N::SCHEMA,
            inputs: N::INPUTS as u32,
            classes: N::OUTPUTS as u32,
            dropped: self.dropped,
            memory: Self::MEMORY,
            status: self.status().map(|()| {
                let scale = self.scale;
                let (learnt, correct) = self.adaptation.score();
                let (step, digest) = (self.adaptation.step(), self.adaptation.digest());
                Status { scale, steps: self.adaptation.recipe().steps, learnt, correct, step, digest }
            }),
        }
    }

    /// Takes a byte of the line; returns what to send when it ended a request. `observe` is told what happened.
    pub fn receive(&mut self, byte: u8, observe: &mut impl FnMut(Event)) -> Option<&[u8]> {
        let request = self.receiver.push(byte)?.and_then(decode::<Numbered<Request<Vec<f32, I>>>>);
        let answer: Numbered<Answer> = match request {
            Ok((number, request)) => (number, self.answer(request, observe)),
            Err(error) => {
                self.dropped = self.dropped.wrapping_add(1);
                observe(Event::Dropped(error));
                match error {
                    FrameError::Version(_) => (0, Answer::OtherVersion),
                    _ => return None,
                }
            }
        };
        let used = encode(&answer, &mut self.plain, &mut self.wire).ok()?;
        self.wire.get(..used)
    }

    fn answer(&mut self, request: Request<Vec<f32, I>>, observe: &mut impl FnMut(Event)) -> Answer {
        if let (Err(error), Request::Predict { .. } | Request::Learn { .. }) = (self.status(), &request) {
            return Answer::NoNetwork(error);
        }
        let adaptation = &mut self.adaptation;
        let answer = match request {
            Request::Hello => Ok(Answer::Hello(self.hello())),
            Request::Predict { sample } => adaptation.predict(&sample).map(Answer::Predicted),
            Request::Learn { number, label, sample } => match (&self.last, adaptation.score().0) {
                (Some(last), learnt) if number.checked_add(1) == Some(learnt) => Ok(Answer::Learnt(last.clone())),
                (_, learnt) if number != learnt => Ok(Answer::OutOfOrder { expected: learnt }),
                _ => {
                    let mut reports = Vec::new();
                    let learnt = adaptation.learn(&sample, label, |report| {
                        // There is room: a recipe has no more steps.
                        let _ = reports.push(report);
                    });
                    learnt.map(|prediction| {
                        let (learnt, correct) = adaptation.score();
                        let learnt = Learnt { prediction, learnt, correct, reports };
                        observe(Event::Learnt(&learnt));
                        Answer::Learnt(self.last.insert(learnt).clone())
                    })
                }
            },
        };
        answer.unwrap_or_else(|refusal| {
            observe(Event::Refused(refusal));
            Answer::Refused(refusal)
        })
    }

    /// Answers requests for as long as the port works.
    ///
    /// # Errors
    /// The port's own, when it fails; `Ok` when it has come to its end.
    pub fn serve<P: Read + Write>(&mut self, port: &mut P, mut observe: impl FnMut(Event)) -> Result<(), P::Error> {
        let mut byte = [0];
        while port.read(&mut byte)? > 0 {
            let [received] = byte;
            if let Some(mut answer) = self.receive(received, &mut observe) {
                while !answer.is_empty() {
                    let sent = port.write(answer)?;
                    answer = answer.get(sent..).unwrap_or(&[]);
                }
                port.flush()?;
            }
        }
        Ok(())
    }
}
