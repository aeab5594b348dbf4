//! Network that goes on learning on the device, independent of who calls it.
//!
//! The link is one caller, a loop that reads a sensor is another. The example runs on any machine, without a board:
//!
//! ```
//! use graftage_core::adapt::Ring;
//! use graftage_core::network::{Dense, Fixed, Relu};
//! use graftage_core::session::Session;
//! use graftage_firmware::learner::{Event, Learn, Learner, Slice};
//!
//! type Network = graftage_core::chain![Dense<4, 6>, Relu<6>, Dense<6, 3>];
//! type Sessions<'i> = Session<'i, Network, Ring<4, 8>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<4, 8>>;
//!
//! /// All zeros, so it costs no flash: put it into a static.
//! const SESSIONS: Sessions<'static> =
//!     Session::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new());
//!
//! fn log(event: Event) {
//!     println!("{event:?}");
//! }
//!
//! # fn image() -> Vec<u8> {
//! #     use graftage_core::{adapt::Recipe, image, network::Kind, scion::Geometry};
//! #     let dense = |inputs, outputs| Kind::Dense { inputs, outputs };
//! #     let layers = [dense(4, 6), Kind::Relu { width: 6 }, dense(6, 3)];
//! #     let (schema, layers) = (Kind::schema(&layers), layers.into_iter().collect());
//! #     let geometries = [Geometry::HEAD; 4].into_iter().collect();
//! #     let recipe = Recipe { replay: 8, ..Recipe::DEFAULT };
//! #     let header = image::Header { schema, layers, geometries, recipe, scale: 1.0, centred: false };
//! #     image::write(&header, (0..Network::WEIGHTS).map(|i| i as f32 / 64.0), &mut [0; 1024]).unwrap().to_vec()
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // On a device this lies in flash: each step reads the image's weights from there.
//! let image = image();
//! let mut sessions = SESSIONS;
//! // `()` keeps nothing; use a `Store` in flash to keep the state.
//! let mut learner = Learner::start(&mut sessions, &image, 0, (), log)?;
//! let (sample, label) = ([0.1, 0.9, 0.2, 0.0], 1);
//! let before = learner.predict(&sample)?;
//! let learnt = learner.learn(&sample, label)?;
//! assert_eq!((learnt.learnt, learnt.taken.prediction), (1, before));
//! // The same in slices, so that a control loop can run between them.
//! learner.begin(&sample, label)?;
//! while let Slice::Part = learner.advance() {}
//! // A refused sample changes nothing.
//! assert!(learner.learn(&[f32::NAN; 4], label).is_err());
//! assert_eq!(learner.status().learnt, 2);
//! # Ok(())
//! # }
//! ```

use crate::journal::{Again, Note};
use crate::store::{Keep, StoreError};
use core::fmt;
use graftage_core::adapt::{self, Replay, Score};
use graftage_core::error::{ImageError, Refusal};
use graftage_core::image::{Image, Source};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Fixed, Layer, Parameter, Prediction};
use graftage_core::session::{Counts, Session, Taken, is_multiple};
use graftage_core::snapshot;
use graftage_link::journal::{Entry, Piece};
use graftage_link::{Array, Ended, Learnt, Memory, NUMBERS, Status};
use heapless::Vec;

/// Event for the board's log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event<'a> {
    /// A labelled sample was learnt or held out.
    Learnt(&'a Learnt),
    /// A session ended.
    Ended(&'a Ended),
    /// A sample was refused; nothing has changed.
    Refused(Refusal),
    /// The state was saved as this generation.
    Saved(u64),
    /// The state could not be saved. The previously saved state remains, and learning goes on.
    NotSaved(StoreError),
    /// An entry could not be noted, or the journal is incomplete. Nothing more will be noted.
    NotNoted(StoreError),
    /// The learner has forgotten what was learnt and starts from its image.
    Reset,
    /// The reset failed; the learner is in the same state as after a restart.
    NotReset(StoreError),
}

/// Result of one slice of learning a sample.
#[expect(clippy::large_enum_variant, reason = "there is no heap to put it on")]
#[derive(Clone, PartialEq, Debug)]
pub enum Slice {
    /// One part was done; more remains.
    Part,
    /// The last part was done: the sample is noted and, if a save is due, the state is saved.
    Learnt(Learnt),
    /// Nothing was done: no sample is being learnt.
    Idle,
}

/// Reason why a learner does not resume from the saved state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotResumed {
    /// The state was learnt from an image other than the one from which the learner has started.
    OtherImage,
    /// The snapshot cannot be used.
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

#[cfg(feature = "defmt")]
impl defmt::Format for NotResumed {
    fn format(&self, f: defmt::Formatter) {
        match self {
            NotResumed::OtherImage => defmt::write!(f, "it was learnt from another image"),
            NotResumed::Unusable(error) => error.format(f),
        }
    }
}

impl core::error::Error for NotResumed {}

/// Length in bytes of the identity in front of a saved state: which image it was learnt from, and in which life. The
/// identity consists of the checksum of the image, followed by the number of resets so far. If nothing was learnt, the
/// complement of the checksum takes its place and no snapshot follows. A journal also belongs to one life, so what was
/// noted before a reset is never learnt again after it.
const IDENTITY: usize = 8;

/// Returns the newest kept state: its generation, its identity if readable, and all of its bytes.
#[inline(never)]
fn newest<K: Keep>(keep: &mut K) -> Option<(u64, Option<u64>, impl Source)> {
    let (generation, mut state) = keep.kept()?;
    let mut identity = [0; IDENTITY];
    let read = state.read(0, &mut identity);
    Some((generation, read.map(|()| u64::from_le_bytes(identity)), state))
}

/// Bytes of a source from a given offset on.
struct From<S>(usize, S);

impl<S: Source> Source for From<S> {
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()> {
        let Self(start, source) = self;
        source.read(start.checked_add(at)?, bytes)
    }
}

/// Interface of a learning network for applications.
///
/// A sample has one number for each input, divided by the scale that [`status`](Self::status) names.
pub trait Learn {
    /// Hash of the network's schema.
    const SCHEMA: u64;
    /// Number of values in a sample.
    const INPUTS: u32;
    /// Number of classes.
    const CLASSES: u32;
    /// RAM usage; `link` counts everything that belongs to no other part.
    const MEMORY: Memory;

    /// Predicts the class of a sample with the weights in use.
    ///
    /// # Errors
    /// If the sample is refused.
    fn predict(&mut self, sample: &[f32]) -> Result<Prediction, Refusal>;

    /// Takes a labelled sample: begins to learn it, or holds it out. Meant for a loop with a deadline, which runs
    /// between two slices and may also predict then. An earlier sample that is still being learnt is finished first,
    /// here and in every other call that depends on it.
    ///
    /// # Errors
    /// If the sample or its label is refused; then nothing has changed.
    fn begin(&mut self, sample: &[f32], label: u32) -> Result<Taken, Refusal>;

    /// Runs the next slice of the sample that is being learnt: one sample of a batch, forward and backward, or the move
    /// of one parameter together with its part of the digest. Noting and saving form a slice of their own.
    fn advance(&mut self) -> Slice;

    /// Takes a labelled sample: learns it, or holds it out. Equivalent to [`begin`](Self::begin) and all slices, bit
    /// for bit.
    ///
    /// # Errors
    /// If the sample or its label is refused; then nothing has changed.
    fn learn(&mut self, sample: &[f32], label: u32) -> Result<Learnt, Refusal> {
        self.begin(sample, label)?;
        loop {
            match self.advance() {
                Slice::Part => {}
                Slice::Learnt(learnt) => return Ok(learnt),
                // Unreachable: a sample that has begun is always completed.
                Slice::Idle => return Err(Refusal::NotStarted),
            }
        }
    }

    /// Ends the session: commits its weights or rolls them back.
    fn end(&mut self) -> Ended;

    /// Forgets everything learnt, including what is kept and noted of it, and starts again from the image, as when the
    /// device was new. A sample that is being learnt is dropped. Repeating a reset has no further effect. A power cut
    /// during a reset leaves everything either as it was or reset. Returns the digest of the new state.
    ///
    /// # Errors
    /// If the storage fails; then the learner is in the same state as after a restart.
    fn reset(&mut self) -> Result<u64, StoreError>;

    /// Returns the counts since the start.
    fn counts(&self) -> Counts;

    /// Returns the state of the adaptation.
    fn status(&mut self) -> Status;

    /// Returns elements of an array, starting at `first`; at the end of the array fewer than there is room for.
    fn numbers(&mut self, array: Array, first: usize) -> Vec<f32, NUMBERS>;

    /// Returns bytes of the journal, starting at `first`.
    fn journal(&mut self, first: u32) -> Piece;
}

/// A [`Session`] of any network, in any memory; no other type implements it.
pub trait Sessions<'i>: sealed::Sealed {
    /// Network that learns.
    type Network: Fixed;
    /// Replay buffer.
    type Replay: Replay;
    /// Scratch memory of a step.
    type Scratch: AsMut<[f32]>;
    /// Weights in use.
    type InUse: AsMut<[f32]>;
    /// Held-out samples.
    type HeldOut: Replay;

    /// Returns the session by its own type.
    fn session(&mut self) -> &mut SessionOf<'i, Self>;
}

/// The session that S is.
pub type SessionOf<'i, S> = Session<
    'i,
    <S as Sessions<'i>>::Network,
    <S as Sessions<'i>>::Replay,
    <S as Sessions<'i>>::Scratch,
    <S as Sessions<'i>>::InUse,
    <S as Sessions<'i>>::HeldOut,
>;

mod sealed {
    pub trait Sealed {}
}

impl<N, R, S, W, H> sealed::Sealed for Session<'_, N, R, S, W, H> {}

impl<'i, N: Fixed, R: Replay, S: AsMut<[f32]>, W: AsMut<[f32]>, H: Replay> Sessions<'i> for Session<'i, N, R, S, W, H> {
    type Network = N;
    type Replay = R;
    type Scratch = S;
    type InUse = W;
    type HeldOut = H;

    fn session(&mut self) -> &mut SessionOf<'i, Self> {
        self
    }
}

/// Network that adapts in sessions.
///
/// S is the session, in memory that the caller provides; the image may lie in any memory that lives for `'i`. K keeps
/// what was learnt and notes what was taken. O receives an [`Event`] for everything that happens.
pub struct Learner<'a, 'i, S: Sessions<'i>, K, O> {
    session: &'a mut SessionOf<'i, S>,
    keep: K,
    observe: O,
    /// Number of labelled samples between two saves; 0 disables saving.
    save_every: u64,
    /// Image from which the learner started.
    image: &'i [u8],
    /// Checksum of the image, which identifies it.
    checksum: u32,
    /// Number of resets so far.
    life: u32,
    /// Divisor of raw features.
    scale: f32,
    /// Generation of the newest saved state.
    saved: Option<u64>,
    /// Outcome of the newest labelled sample of this session, and the loss of its last step.
    latest: Option<(Taken, Option<f32>)>,
    /// Labelled sample that is being learnt, with its results so far.
    begun: Option<Learnt>,
}

impl<'a, 'i, S: Sessions<'i>, K: Keep + Note, O: FnMut(Event)> Learner<'a, 'i, S, K, O> {
    /// Returns the maximum size of a state kept by [`save`](Self::save), in bytes, if replay buffer and held-out
    /// samples together have at most `samples` samples.
    pub const fn saved(samples: usize) -> usize {
        IDENTITY + snapshot::length(<S::Network>::WEIGHTS, <S::Network>::INPUTS, samples)
    }

    /// Starts from the image at the start of `image`. The state is saved after every `save_every` labelled samples and
    /// at the end of each session, before the call returns; 0 disables saving.
    ///
    /// # Errors
    /// If the image cannot be used; then the session must be started again before it is used.
    #[inline(never)]
    pub fn start(
        session: &'a mut S,
        image: &'i [u8],
        save_every: u64,
        keep: K,
        observe: O,
    ) -> Result<Self, ImageError> {
        let session = session.session();
        let (checksum, scale) = Self::load(session, image)?;
        let (saved, latest, begun) = (None, None, None);
        let mut new =
            Self { session, keep, observe, save_every, image, checksum, life: 0, scale, saved, latest, begun };
        if !new.open() {
            // `reset` reports its own failure.
            let _ = new.reset();
        }
        Ok(new)
    }

    /// Starts sessions from the image at the start of `bytes`; a rule that pulls also pulls to the image's weights.
    /// Returns the image's checksum and the divisor of raw features.
    fn load(session: &mut SessionOf<'i, S>, bytes: &'i [u8]) -> Result<(u32, f32), ImageError> {
        let image = Image::parse(bytes)?;
        image.load(<S::Network>::SCHEMA, session.network_mut())?;
        session.set_start(image.start());
        session.start(image.header.recipe).map_err(ImageError::Recipe)?;
        let sum = bytes.get(..image.length()).and_then(<[u8]>::last_chunk);
        Ok((sum.map_or(0, |sum| u32::from_le_bytes(*sum)), image.header.scale))
    }

    /// Opens the journal of the life in which the kept state was learnt, and begins one if there is none. If a power
    /// cut interrupted a reset, does nothing and returns `false`.
    fn open(&mut self) -> bool {
        let identity = newest(&mut self.keep).and_then(|(_, identity, _)| identity).unwrap_or(0);
        let (learnt, forgotten) = (identity as u32 == self.checksum, identity as u32 == !self.checksum);
        self.life = if learnt || forgotten { (identity >> 32) as u32 } else { 0 };
        let own = self.keep.begin(self.checksum, self.life, self.session.adaptation().digest());
        if !own && !forgotten {
            let begun = self.begin();
            self.noted(begun);
        }
        own || !forgotten
    }

    /// Begins a new journal.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.keep.renew(self.checksum, self.life, self.session.adaptation().digest())
    }

    /// Resumes from the newest kept state after a start and returns its generation; `None` if nothing is kept.
    ///
    /// # Errors
    /// If that state belongs to another network or image, or cannot be read; then the learner remains as it started.
    #[inline(never)]
    pub fn resume(&mut self) -> Result<Option<u64>, NotResumed> {
        let Some((generation, identity, state)) = newest(&mut self.keep) else { return Ok(None) };
        let image = identity.ok_or(NotResumed::Unusable(ImageError::Truncated))? as u32;
        if image == self.checksum {
            let restored = snapshot::restore(self.session, <S::Network>::SCHEMA, From(IDENTITY, state));
            if let Err(why) = restored {
                // The state may be half restored, from a flash that returns different bytes on each read.
                let _ = Self::load(self.session, self.image);
                return Err(NotResumed::Unusable(why));
            }
        } else if image != !self.checksum {
            return Err(NotResumed::OtherImage);
        }
        (self.saved, self.latest) = (Some(generation), None);
        Ok(self.saved)
    }

    /// Learns again what was noted after the state from which the learner resumes, and returns the number of samples
    /// and ends of sessions repeated. Call it once after [`resume`](Self::resume), or if there is nothing to resume,
    /// before anything is learnt.
    #[inline(never)]
    pub fn recall(&mut self) -> u64 {
        let (counts, session) = (self.session.counts(), &mut *self.session);
        let recalled =
            self.keep.recall(counts.taken.wrapping_add(counts.sessions().into()), &mut |again| match again {
                Again::Sample(sample, label) => session.learn(sample, label, |_| ()).is_ok(),
                Again::End => {
                    session.end();
                    true
                }
            });
        self.noted(recalled.map(|_| ()));
        recalled.unwrap_or_default()
    }

    /// Reports an entry that could not be noted.
    #[inline(never)]
    fn noted(&mut self, noted: Result<(), StoreError>) {
        if let Err(error) = noted {
            (self.observe)(Event::NotNoted(error));
        }
    }

    /// Finishes the sample that is being learnt.
    fn finish(&mut self) {
        while matches!(self.advance(), Slice::Part) {}
    }

    /// Completes the sample that was begun: notes it, reports it and, if a save is due, saves the state.
    fn complete(&mut self, learnt: &Learnt) {
        self.latest = Some((learnt.taken, learnt.reports.last().map(|report| report.outcome.loss)));
        // Always `Some`: each half of the memory keeps at least its newest sample.
        if let Some((sample, label)) = self.session.newest(learnt.taken.held_out) {
            let noted = self.keep.note(&Entry::Sample { label, sample, learnt });
            self.noted(noted);
        }
        (self.observe)(Event::Learnt(learnt));
        if is_multiple(self.session.counts().taken, self.save_every) {
            self.save();
        }
    }

    /// Saves the whole state: the image and the life in which it was learnt, and its snapshot.
    pub fn save(&mut self) {
        self.finish();
        // `put` reports its own failure.
        let _ = self.put(true);
    }

    /// Keeps the whole state, or the fact that nothing was learnt, if there is storage for it; reports the result.
    fn put(&mut self, learnt: bool) -> Result<(), StoreError> {
        let image = if learnt { self.checksum } else { !self.checksum };
        let identity = u64::from(self.life) << 32 | u64::from(image);
        let session = &mut *self.session;
        let saved = self.keep.keep(&mut |sink| {
            sink.put(&identity.to_le_bytes())?;
            if learnt { snapshot::write_to(session, <S::Network>::SCHEMA, sink) } else { Some(()) }
        });
        match saved {
            Some(Ok(generation)) => {
                self.saved = Some(generation);
                (self.observe)(Event::Saved(generation));
            }
            Some(Err(error)) => {
                (self.observe)(Event::NotSaved(error));
                return Err(error);
            }
            None => {}
        }
        Ok(())
    }

    /// Forgets what was learnt.
    fn forget(&mut self) -> Result<(), StoreError> {
        self.life = self.life.wrapping_add(1);
        // After this save, a restart completes the reset.
        self.put(false)?;
        // Cannot fail: the same image was loaded before.
        let _ = Self::load(self.session, self.image);
        self.begin()?;
        // Overwrites the slot that still holds what was learnt.
        self.put(false)
    }

    /// Returns the sessions in which the learner adapts.
    pub fn session(&self) -> &SessionOf<'i, S> {
        self.session
    }

    /// Returns the storage of the learner's state.
    pub fn keep(&mut self) -> &mut K {
        &mut self.keep
    }

    /// Reports a refusal.
    fn refused<T>(&mut self, taken: Result<T, Refusal>) -> Result<T, Refusal> {
        taken.inspect_err(|refusal| (self.observe)(Event::Refused(*refusal)))
    }
}

impl<'i, S: Sessions<'i>, K: Keep + Note, O: FnMut(Event)> Learn for Learner<'_, 'i, S, K, O> {
    const SCHEMA: u64 = <S::Network>::SCHEMA;
    const INPUTS: u32 = <S::Network>::INPUTS as u32;
    const CLASSES: u32 = <S::Network>::OUTPUTS as u32;

    const MEMORY: Memory = {
        let (array, in_use) = ((4 * <S::Network>::WEIGHTS) as u32, size_of::<S::InUse>() as u32);
        let (replay, held_out, scratch) =
            (size_of::<S::Replay>() as u32, size_of::<S::HeldOut>() as u32, size_of::<S::Scratch>() as u32);
        let all = size_of::<SessionOf<'i, S>>() as u32;
        let link = all - 3 * array - in_use - replay - held_out - scratch;
        Memory { weights: array, query_points: array, momenta: array, in_use, replay, held_out, scratch, link }
    };

    fn predict(&mut self, sample: &[f32]) -> Result<Prediction, Refusal> {
        let predicted = self.session.predict(sample);
        self.refused(predicted)
    }

    fn begin(&mut self, sample: &[f32], label: u32) -> Result<Taken, Refusal> {
        self.finish();
        let ready = self.keep.ready(self.session.adaptation().recipe().steps);
        self.refused(ready)?;
        let taken = self.session.begin(sample, label);
        if let Err(why) = taken {
            let noted = self.keep.note(&Entry::Refused { label, sample, why });
            self.noted(noted);
        }
        let taken = self.refused(taken)?;
        let Score { learnt, correct } = self.session.adaptation().score();
        self.begun = Some(Learnt { taken, learnt, correct, reports: Vec::new() });
        Ok(taken)
    }

    fn advance(&mut self) -> Slice {
        let Some(begun) = &mut self.begun else { return Slice::Idle };
        match self.session.advance() {
            adapt::Slice::Part => return Slice::Part,
            adapt::Slice::Step(report) => {
                // There is room: no recipe has more steps.
                let _ = begun.reports.push(report);
                return Slice::Part;
            }
            adapt::Slice::Idle => {}
        }
        let Some(learnt) = self.begun.take() else { return Slice::Idle };
        self.complete(&learnt);
        Slice::Learnt(learnt)
    }

    fn end(&mut self) -> Ended {
        self.finish();
        let verdict = self.session.end();
        self.latest = None;
        let ended = Ended { verdict, digest: self.session.adaptation().digest() };
        let noted = self.keep.note(&Entry::End(ended));
        self.noted(noted);
        (self.observe)(Event::Ended(&ended));
        if self.save_every > 0 {
            self.save();
        }
        ended
    }

    fn reset(&mut self) -> Result<u64, StoreError> {
        (self.begun, self.latest) = (None, None);
        if let Err(why) = self.forget() {
            // Does what a restart does, except for another attempt to reset.
            self.saved = None;
            let _ = Self::load(self.session, self.image);
            self.open();
            let _ = self.resume();
            self.recall();
            (self.observe)(Event::NotReset(why));
            return Err(why);
        }
        (self.observe)(Event::Reset);
        Ok(self.session.adaptation().digest())
    }

    fn counts(&self) -> Counts {
        self.session.counts()
    }

    fn status(&mut self) -> Status {
        let slots = self.keep.slots();
        let (counts, adaptation) = (self.session.counts(), self.session.adaptation());
        let Score { learnt, correct } = adaptation.score();
        let (steps, step, digest) = (adaptation.recipe().steps, adaptation.step(), adaptation.digest());
        let (movement, budget) = (adaptation.movement(), adaptation.recipe().budget);
        let (latest, loss) = self.latest.unzip();
        Status {
            scale: self.scale,
            steps,
            counts,
            learnt,
            correct,
            latest,
            loss: loss.flatten(),
            step,
            digest,
            image: self.checksum,
            movement,
            budget,
            saved: self.saved,
            slots,
        }
    }

    fn numbers(&mut self, array: Array, first: usize) -> Vec<f32, NUMBERS> {
        let (mut numbers, mut skip) = (Vec::new(), first);
        let mut take = |elements: &[f32]| {
            let wanted = elements.get(skip..).unwrap_or_default();
            let taken = wanted.len().min(NUMBERS.saturating_sub(numbers.len()));
            skip = skip.saturating_sub(elements.len());
            // There is room for all of them.
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
    fn journal(&mut self, first: u32) -> Piece {
        self.keep.piece(first)
    }
}
