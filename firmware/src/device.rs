//! A board's behaviour on the link, without the board.

use crate::store::{Keep, StoreError};
use core::fmt;
use embedded_io::{Read, Write};
use embedded_storage::nor_flash::NorFlashErrorKind;
use graftage_core::adapt::{Replay, Ring};
use graftage_core::error::{ImageError, Refusal};
use graftage_core::image::Image;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Fixed, Parameter};
use graftage_core::session::{Counts, Session};
use graftage_core::snapshot;
use graftage_link::{
    ANSWER, Answer, Array, Ended, FrameError, Hello, Learnt, Memory, NUMBERS, Numbered, Receiver, Request, Status,
    decode, encode,
};
use heapless::{String, Vec};

/// What happened, for the board's log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event<'a> {
    /// A labelled sample was learnt or held out.
    Learnt(&'a Learnt),
    /// A session ended.
    Ended(&'a Ended),
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
    /// The state is saved whenever so many more labelled samples were taken and at the end of each session, before that is
    /// answered; 0: never.
    pub save_every: u64,
}

/// Why a device does not go on from what was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
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

/// A network that adapts in sessions L, behind a link for samples of up to I numbers in frames of up to F bytes.
///
/// F is [`graftage_link::request`]`(I)` or more.
#[derive(Debug)]
pub struct Device<L, const I: usize, const F: usize> {
    name: Option<&'static str>,
    save_every: u64,
    session: L,
    /// The scale of the image that is in use; 0 where there is none.
    scale: f32,
    /// Why there is none, where there is none: without any start, there were no bytes of an image.
    refused: ImageError,
    /// The checksum of the image that is in use, which tells it from others.
    image: u32,
    /// Generation of the newest state that is saved.
    saved: Option<u64>,
    receiver: Receiver<F>,
    dropped: u32,
    last: Last,
    plain: [u8; ANSWER],
    wire: [u8; ANSWER],
}

/// What the last labelled sample or the last end of a session brought: the answer, should it be asked for again.
#[derive(Clone, Debug)]
// Zero is nothing, so that a device that was not started is all zeros and lies in no flash.
#[repr(u8)]
#[allow(clippy::large_enum_variant, reason = "there is no heap to put the largest on")]
enum Last {
    Nothing,
    Learnt(Learnt),
    Ended(Ended),
}

impl<N: Fixed, const I: usize, const K: usize, const S: usize, const W: usize, const H: usize, const F: usize>
    Device<Session<N, Ring<I, K>, [f32; S], [f32; W], Ring<I, H>>, I, F>
{
    /// A device without an image, to be [started](Self::start). Constant and, around a session of zeros, all zeros: static
    /// memory that costs no flash.
    pub const fn new(session: Session<N, Ring<I, K>, [f32; S], [f32; W], Ring<I, H>>) -> Self {
        Self {
            name: None,
            save_every: 0,
            session,
            scale: 0.0,
            refused: ImageError::Magic,
            image: 0,
            saved: None,
            receiver: Receiver::new(),
            dropped: 0,
            last: Last::Nothing,
            plain: [0; ANSWER],
            wire: [0; ANSWER],
        }
    }
}

impl<N, R, S, W, H, const I: usize, const F: usize> Device<Session<N, R, S, W, H>, I, F>
where
    N: Fixed,
    R: Replay,
    S: AsMut<[f32]>,
    W: AsMut<[f32]>,
    H: Replay,
{
    /// What its RAM holds.
    pub const MEMORY: Memory = {
        let (array, in_use) = ((4 * N::WEIGHTS) as u32, size_of::<W>() as u32);
        let (replay, held_out, scratch) = (size_of::<R>() as u32, size_of::<H>() as u32, size_of::<S>() as u32);
        let link = size_of::<Self>() as u32 - 3 * array - in_use - replay - held_out - scratch;
        Memory { weights: array, query_points: array, momenta: array, in_use, replay, held_out, scratch, link }
    };

    /// Bytes that [`save`](Self::save) keeps at most, where replay buffer and held-out samples are up to `samples`.
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
        self.last = Last::Nothing;
        self.saved = None;
        self.scale = 0.0;
        let started = Image::parse(bytes).and_then(|image| {
            image.load(N::SCHEMA, self.session.network_mut())?;
            self.session.start(image.header.recipe).map_err(ImageError::Recipe)?;
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

    /// Goes on from what [`save`](Self::save) kept as this generation, after a start from the same image.
    ///
    /// # Errors
    /// Where the bytes are not from this network and image; then nothing has changed.
    pub fn resume(&mut self, generation: u64, bytes: &[u8]) -> Result<(), NotResumed> {
        self.status().map_err(NotResumed::Unusable)?;
        let (image, state) = bytes.split_first_chunk().ok_or(NotResumed::Unusable(ImageError::Truncated))?;
        if u32::from_le_bytes(*image) != self.image {
            return Err(NotResumed::OtherImage);
        }
        snapshot::restore(&mut self.session, N::SCHEMA, state).map_err(NotResumed::Unusable)?;
        self.last = Last::Nothing;
        self.saved = Some(generation);
        Ok(())
    }

    /// Saves the whole state: which image it was learnt from, and its snapshot.
    pub fn save(&mut self, keep: &mut impl Keep, observe: &mut impl FnMut(Event)) {
        let (image, session) = (self.image.to_le_bytes(), &mut self.session);
        let saved = keep.keep(&mut |sink| {
            sink.put(&image)?;
            snapshot::write_to(session, N::SCHEMA, sink)
        });
        match saved {
            Some(Ok(generation)) => {
                self.saved = Some(generation);
                observe(Event::Saved(generation));
            }
            Some(Err(error)) => observe(Event::NotSaved(error)),
            None => {}
        }
    }

    /// Whether an image is in use, or why not: a scale is positive.
    fn status(&self) -> Result<(), ImageError> {
        if self.scale > 0.0 { Ok(()) } else { Err(self.refused) }
    }

    /// The sessions that it holds.
    pub fn session(&self) -> &Session<N, R, S, W, H> {
        &self.session
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
                let (scale, counts, adaptation) = (self.scale, self.session.counts(), self.session.adaptation());
                let (learnt, correct) = adaptation.score();
                let (steps, step, digest) = (adaptation.recipe().steps, adaptation.step(), adaptation.digest());
                let (drift, budget) = (adaptation.drift(), adaptation.recipe().budget);
                let (image, saved) = (self.image, self.saved);
                let newest = if let Last::Learnt(learnt) = &self.last { Some(learnt) } else { None };
                let (latest, last) =
                    (newest.map(|learnt| learnt.taken), newest.and_then(|learnt| learnt.reports.last()));
                let loss = last.map(|report| report.outcome.loss);
                Status {
                    scale,
                    steps,
                    counts,
                    learnt,
                    correct,
                    latest,
                    loss,
                    step,
                    digest,
                    image,
                    drift,
                    budget,
                    saved,
                }
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
        if request != Request::Hello
            && let Err(error) = self.status()
        {
            return Answer::NoNetwork(error);
        }
        let before = self.session.counts();
        let answer = match request {
            Request::Hello => Ok(Answer::Hello(self.hello())),
            Request::Predict { sample } => self.session.predict(&sample).map(Answer::Predicted),
            Request::Learn { number, label, sample } => self.learn(number, &sample, label, observe),
            Request::End { number } => Ok(self.end(number, observe)),
            Request::Read { array, first } => Ok(Answer::Numbers(self.numbers(array, first as usize))),
        };
        if self.is_due(before) {
            self.save(keep, observe);
        }
        answer.unwrap_or_else(|refusal| {
            observe(Event::Refused(refusal));
            Answer::Refused(refusal)
        })
    }

    /// Whether the state is to be saved that stood there before: each end of a session is, and so many samples are.
    fn is_due(&self, before: Counts) -> bool {
        let now = self.session.counts();
        let sampled = now.taken != before.taken && now.taken.is_multiple_of(self.save_every);
        self.save_every > 0 && (sampled || now.sessions() != before.sessions())
    }

    fn learn(
        &mut self,
        number: u64,
        sample: &[f32],
        label: u32,
        observe: &mut impl FnMut(Event),
    ) -> Result<Answer, Refusal> {
        let expected = self.session.counts().taken;
        match &self.last {
            Last::Learnt(last) if number.checked_add(1) == Some(expected) => {
                return Ok(Answer::Learnt(last.clone()));
            }
            _ if number != expected => return Ok(Answer::OutOfOrder { expected }),
            _ => {}
        }
        let mut reports = Vec::new();
        let taken = self.session.learn(sample, label, |report| {
            // There is room: a recipe has no more steps.
            let _ = reports.push(report);
        })?;
        let (learnt, correct) = self.session.adaptation().score();
        let learnt = Learnt { taken, learnt, correct, reports };
        observe(Event::Learnt(&learnt));
        self.last = Last::Learnt(learnt.clone());
        Ok(Answer::Learnt(learnt))
    }

    fn end(&mut self, number: u64, observe: &mut impl FnMut(Event)) -> Answer {
        let expected = self.session.counts().sessions();
        match &self.last {
            Last::Ended(last) if number.checked_add(1) == Some(expected) => return Answer::Ended(*last),
            _ if number != expected => return Answer::OutOfOrder { expected },
            _ => {}
        }
        let verdict = self.session.end();
        let ended = Ended { verdict, digest: self.session.adaptation().digest() };
        observe(Event::Ended(&ended));
        self.last = Last::Ended(ended);
        Answer::Ended(ended)
    }

    /// Numbers of an array from the `first` on.
    fn numbers(&mut self, array: Array, first: usize) -> Vec<f32, NUMBERS> {
        let (mut numbers, mut skip) = (Vec::new(), first);
        let mut take = |elements: &[f32]| {
            let wanted = elements.get(skip..).unwrap_or_default();
            let taken = wanted.len().min(NUMBERS.saturating_sub(numbers.len()));
            skip = skip.saturating_sub(elements.len());
            // There is room for so many.
            let _ = numbers.extend_from_slice(wanted.get(..taken).unwrap_or_default());
        };
        if array == Array::InUse {
            take(self.session.in_use());
        } else {
            self.session.network_mut().parameters(&mut |Parameter { state, .. }| match array {
                Array::QueryPoints => take(state.y.elements()),
                Array::Momenta => take(state.m.elements()),
                Array::Weights | Array::InUse => take(state.x.elements()),
            });
        }
        numbers
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
