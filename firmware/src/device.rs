//! A board's behaviour on the link, without the board.

use crate::store::{Keep, StoreError};
use core::fmt;
use embedded_io::{Read, Write};
use embedded_storage::nor_flash::NorFlashErrorKind;
use graftage_core::adapt::{Adaptation, Replay, Ring};
use graftage_core::error::{ImageError, Refusal};
use graftage_core::image::Image;
use graftage_core::network::Fixed;
use graftage_core::snapshot;
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
    /// The state was saved, as this generation.
    Saved(u64),
    /// The state could not be saved; what was saved before still is, and learning goes on.
    NotSaved(StoreError<NorFlashErrorKind>),
}

/// What a board decides about its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Configuration {
    /// What it calls itself.
    pub name: &'static str,
    /// The state is saved whenever so many more samples were learnt, before the last of them is answered; 0: never.
    pub save_every: u64,
}

/// Why a device does not go on from what was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotResumed {
    /// It was learnt from another image than the one that the device has started from.
    OtherImage,
    /// There is no image in use, or the snapshot cannot be used.
    Unusable(ImageError),
}

impl fmt::Display for NotResumed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            NotResumed::OtherImage => f.write_str("it was learnt from another image"),
            NotResumed::Unusable(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NotResumed {}

/// Bytes that say which image a state was learnt from.
const IDENTITY: usize = 4;

/// A network N that adapts, behind a link for samples of up to I numbers in frames of up to F bytes.
///
/// F is [`graftage_link::request`]`(I)` or more.
#[derive(Debug)]
pub struct Device<N, R, S, const I: usize, const F: usize> {
    name: Option<&'static str>,
    save_every: u64,
    adaptation: Adaptation<N, R, S>,
    /// The scale of the image that is in use; 0 where there is none.
    scale: f32,
    /// Why there is none, where there is none: without any start, there were no bytes of an image.
    refused: ImageError,
    /// The checksum of the image that is in use, which tells it from others.
    image: u32,
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
            save_every: 0,
            adaptation: Adaptation::new(network, replay, scratch),
            scale: 0.0,
            refused: ImageError::Magic,
            image: 0,
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

    /// Bytes that [`save`](Self::save) keeps at most, where the replay buffer holds up to `samples`.
    pub const fn saved(samples: usize) -> usize {
        IDENTITY + snapshot::length(N::WEIGHTS, N::INPUTS, samples)
    }

    /// Starts from the image at the start of `bytes`.
    ///
    /// # Errors
    /// Where the image cannot be used; then the device answers every request for the network with the reason.
    pub fn start(&mut self, configuration: Configuration, bytes: &[u8]) -> Result<(), ImageError> {
        self.name = Some(configuration.name);
        self.save_every = configuration.save_every;
        self.last = None;
        self.scale = 0.0;
        let started = Image::parse(bytes).and_then(|image| {
            image.load(N::SCHEMA, self.adaptation.network_mut())?;
            self.adaptation.start(image.header.recipe).map_err(ImageError::Recipe)?;
            let sum = bytes.get(..image.length()).and_then(<[u8]>::last_chunk);
            self.image = sum.map_or(0, |sum| u32::from_le_bytes(*sum));
            self.scale = image.header.scale;
            Ok(())
        });
        if let Err(error) = started {
            self.refused = error;
        }
        started
    }

    /// Goes on from what [`save`](Self::save) kept, after a start from the same image.
    ///
    /// # Errors
    /// Where the bytes are not from this network and image; then nothing has changed.
    pub fn resume(&mut self, bytes: &[u8]) -> Result<(), NotResumed> {
        self.status().map_err(NotResumed::Unusable)?;
        let (image, state) = bytes.split_first_chunk().ok_or(NotResumed::Unusable(ImageError::Truncated))?;
        if u32::from_le_bytes(*image) != self.image {
            return Err(NotResumed::OtherImage);
        }
        snapshot::restore(&mut self.adaptation, N::SCHEMA, state).map_err(NotResumed::Unusable)?;
        self.last = None;
        Ok(())
    }

    /// Saves the whole state: which image it was learnt from, and its snapshot.
    pub fn save(&mut self, keep: &mut impl Keep, observe: &mut impl FnMut(Event)) {
        let (image, adaptation) = (self.image.to_le_bytes(), &mut self.adaptation);
        let saved = keep.keep(&mut |sink| {
            sink.put(&image)?;
            snapshot::write_to(adaptation, N::SCHEMA, sink)
        });
        match saved {
            Some(Ok(generation)) => observe(Event::Saved(generation)),
            Some(Err(error)) => observe(Event::NotSaved(error)),
            None => {}
        }
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

    /// Takes a byte of the line; returns what to send when it ended a request. What is to be saved goes to `keep`; `observe`
    /// is told what happened.
    pub fn receive(&mut self, byte: u8, keep: &mut impl Keep, observe: &mut impl FnMut(Event)) -> Option<&[u8]> {
        let request = self.receiver.push(byte)?.and_then(decode::<Numbered<Request<Vec<f32, I>>>>);
        let answer: Numbered<Answer> = match request {
            Ok((number, request)) => (number, self.answer(request, keep, observe)),
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

    fn answer(
        &mut self,
        request: Request<Vec<f32, I>>,
        keep: &mut impl Keep,
        observe: &mut impl FnMut(Event),
    ) -> Answer {
        if let (Err(error), Request::Predict { .. } | Request::Learn { .. }) = (self.status(), &request) {
            return Answer::NoNetwork(error);
        }
        let (adaptation, mut due) = (&mut self.adaptation, false);
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
                        due = learnt.learnt.is_multiple_of(self.save_every);
                        Answer::Learnt(self.last.insert(learnt).clone())
                    })
                }
            },
        };
        if due {
            self.save(keep, observe);
        }
        answer.unwrap_or_else(|refusal| {
            observe(Event::Refused(refusal));
            Answer::Refused(refusal)
        })
    }

    /// Answers requests for as long as the port works.
    ///
    /// # Errors
    /// The port's own, when it fails; `Ok` when it has come to its end.
    pub fn serve<P: Read + Write>(
        &mut self,
        port: &mut P,
        keep: &mut impl Keep,
        mut observe: impl FnMut(Event),
    ) -> Result<(), P::Error> {
        let mut byte = [0];
        while port.read(&mut byte)? > 0 {
            let [received] = byte;
            if let Some(mut answer) = self.receive(received, keep, &mut observe) {
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
