//! A network that goes on learning where it is used: what a device does, whoever asks it to.
//!
//! The link is one caller, a loop over a sensor another. On any machine, and without a board:
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
//! #     let layers = [Kind::Dense { inputs: 4, outputs: 6 }, Kind::Relu { width: 6 }, Kind::Dense { inputs: 6, outputs: 3 }];
//! #     let (schema, layers) = (Kind::schema(&layers), layers.into_iter().collect());
//! #     let geometries = [Geometry::HEAD; 4].into_iter().collect();
//! #     let header = image::Header { schema, layers, geometries, recipe: Recipe { replay: 8, ..Recipe::DEFAULT }, scale: 1.0, centred: false };
//! #     image::write(&header, (0..Network::WEIGHTS).map(|i| i as f32 / 64.0), &mut [0; 1024]).unwrap().to_vec()
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Of a device this lies in flash: each step reads the weights in it.
//! let image = image();
//! let mut sessions = SESSIONS;
//! // `()` keeps nothing; a `Store` in a flash does.
//! let mut learner = Learner::start(&mut sessions, &image, 0, (), log)?;
//! let (sample, label) = ([0.1, 0.9, 0.2, 0.0], 1);
//! let before = learner.predict(&sample)?;
//! let learnt = learner.learn(&sample, label)?;
//! assert_eq!((learnt.learnt, learnt.taken.prediction), (1, before));
//! // The same in slices, between which a control loop goes on.
//! learner.begin(&sample, label)?;
//! while let Slice::Part = learner.advance() {}
//! // What is refused has changed nothing.
//! assert!(learner.learn(&[f32::NAN; 4], label).is_err());
//! assert_eq!(learner.status().learnt, 2);
//! # Ok(())
//! # }
//! ```

use crate::journal::{Again, Note};
use crate::store::{Keep, StoreError};
use core::fmt;
use graftage_core::adapt::{self, Replay};
use graftage_core::error::{ImageError, Refusal};
use graftage_core::image::{Image, Source};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Fixed, Parameter, Prediction};
use graftage_core::session::{Counts, Session, Taken, is_multiple};
use graftage_core::snapshot;
use graftage_link::journal::{Entry, Piece};
use graftage_link::{Array, Ended, Learnt, Memory, NUMBERS, Status};
use heapless::Vec;

/// What happened, for the board's log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event<'a> {
    /// A labelled sample was learnt or held out.
    Learnt(&'a Learnt),
    /// A session ended.
    Ended(&'a Ended),
    /// A sample was refused; nothing has changed.
    Refused(Refusal),
    /// The state was saved, as this generation.
    Saved(u64),
    /// The state could not be saved; what was saved before still is, and learning goes on.
    NotSaved(StoreError),
    /// This could not be noted, or what was noted is not whole; nothing more will be.
    NotNoted(StoreError),
    /// It has forgotten what was learnt, and starts from its image.
    Reset,
    /// It could not make sure of that; it stands where a restart would have brought it.
    NotReset(StoreError),
}

/// What one slice of learning a sample did.
#[expect(clippy::large_enum_variant, reason = "there is no heap to put it on")]
#[derive(Clone, PartialEq, Debug)]
pub enum Slice {
    /// A part; there is more to do.
    Part,
    /// The last part: the sample is noted, and where that is due the state is saved.
    Learnt(Learnt),
    /// Nothing: no sample is being learnt.
    Idle,
}

/// Why a learner does not go on from what was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotResumed {
    /// It was learnt from another image than the one that the learner has started from.
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

/// Bytes that say which image a state was learnt from, and in which life: the checksum of the image, or its complement where
/// nothing was learnt and no snapshot follows, then how often the learner was reset before. A journal is of one life, too, so
/// that what was noted before a reset is never learnt again after it.
const IDENTITY: usize = 8;

/// The newest state that is kept: its generation, its identity where that can be read, and all of its bytes.
#[inline(never)]
fn newest<K: Keep>(keep: &mut K) -> Option<(u64, Option<u64>, impl Source)> {
    let (generation, mut state) = keep.kept()?;
    let mut identity = [0; IDENTITY];
    let read = state.read(0, &mut identity);
    Some((generation, read.map(|()| u64::from_le_bytes(identity)), state))
}

/// What of a source lies from a byte on.
struct From<S>(usize, S);

impl<S: Source> Source for From<S> {
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()> {
        let Self(start, source) = self;
        source.read(start.checked_add(at)?, bytes)
    }
}

/// What an application asks of a network that goes on learning.
///
/// A sample is a number for each input, divided by the scale that [`status`](Self::status) names.
pub trait Learn {
    /// Hash of the network's schema.
    const SCHEMA: u64;
    /// Numbers of a sample.
    const INPUTS: u32;
    /// Classes.
    const CLASSES: u32;
    /// What its RAM holds; as `link`, what is none of the other parts.
    const MEMORY: Memory;

    /// The class of a sample, by the weights in use.
    ///
    /// # Errors
    /// Where the sample is refused.
    fn predict(&mut self, sample: &[f32]) -> Result<Prediction, Refusal>;

    /// Takes a labelled sample: begins to learn it, or holds it out. For a loop with a deadline, which goes on between two
    /// slices; it may predict then, too. An earlier sample is learnt to its end first, as before anything else that needs it.
    ///
    /// # Errors
    /// Where the sample or its label is refused; then nothing has changed.
    fn begin(&mut self, sample: &[f32], label: u32) -> Result<Taken, Refusal>;

    /// The next slice of the sample that is being learnt: one sample of a batch, forward and backward, or the move of one
    /// parameter with its part of the digest; what is noted and saved is a slice of its own.
    fn advance(&mut self) -> Slice;

    /// Takes a labelled sample: learns it, or holds it out. The same as [`begin`](Self::begin) and all slices, in the same bits.
    ///
    /// # Errors
    /// Where the sample or its label is refused; then nothing has changed.
    fn learn(&mut self, sample: &[f32], label: u32) -> Result<Learnt, Refusal> {
        self.begin(sample, label)?;
        loop {
            match self.advance() {
                Slice::Part => {}
                Slice::Learnt(learnt) => return Ok(learnt),
                // A sample that has begun comes to its end.
                Slice::Idle => return Err(Refusal::NotStarted),
            }
        }
    }

    /// Ends the session: commits its weights or rolls them back.
    fn end(&mut self) -> Ended;

    /// Forgets what was learnt, what is kept and noted of it included, and starts again from the image, as when it was new; a
    /// sample that is being learnt is dropped. Twice is as once. A power cut during it leaves all as it was, or reset. Returns
    /// the digest of its state.
    ///
    /// # Errors
    /// Where what keeps the state has refused; then the learner is where a restart would have brought it.
    fn reset(&mut self) -> Result<u64, StoreError>;

    /// What was counted since the start.
    fn counts(&self) -> Counts;

    /// Where it stands.
    fn status(&mut self) -> Status;

    /// Numbers of an array from the `first` on; at its end fewer than there is room for.
    fn numbers(&mut self, array: Array, first: usize) -> Vec<f32, NUMBERS>;

    /// Bytes of its journal from the `first` on.
    fn journal(&mut self, first: u32) -> Piece;
}

/// A network that adapts in sessions S, in memory that somebody else has, from an image that lies wherever `'i` says; K keeps
/// what was learnt and notes what came, O is told what happened.
#[derive(Debug)]
pub struct Learner<'a, 'i, S, K, O> {
    session: &'a mut S,
    keep: K,
    observe: O,
    /// The state is saved whenever so many more labelled samples were taken; 0: never.
    save_every: u64,
    /// The image from which it started.
    image: &'i [u8],
    /// The checksum of the image, which tells it from others.
    checksum: u32,
    /// Number of resets so far.
    life: u32,
    /// What raw features are divided by.
    scale: f32,
    /// Generation of the newest state that is saved.
    saved: Option<u64>,
    /// What became of the newest labelled sample of this session, and the loss of its last step.
    latest: Option<(Taken, Option<f32>)>,
    /// The labelled sample that is being learnt, and what it has brought so far.
    begun: Option<Learnt>,
}

impl<'a, 'i, N, R, S, W, H, K, O> Learner<'a, 'i, Session<'i, N, R, S, W, H>, K, O>
where
    N: Fixed,
    R: Replay,
    S: AsMut<[f32]>,
    W: AsMut<[f32]>,
    H: Replay,
    K: Keep + Note,
    O: FnMut(Event),
{
    /// Bytes that [`save`](Self::save) keeps at most, where replay buffer and held-out samples are up to `samples`.
    pub const fn saved(samples: usize) -> usize {
        IDENTITY + snapshot::length(N::WEIGHTS, N::INPUTS, samples)
    }

    /// Starts from the image at the start of some bytes. The state is saved whenever `save_every` more labelled samples were
    /// taken and at the end of each session, before that returns; 0: never.
    ///
    /// # Errors
    /// Where the image cannot be used; the session then is not to be used either, before another start.
    #[inline(never)]
    pub fn start(
        session: &'a mut Session<'i, N, R, S, W, H>,
        image: &'i [u8],
        save_every: u64,
        keep: K,
        observe: O,
    ) -> Result<Self, ImageError> {
        let (checksum, scale) = Self::load(session, image)?;
        let (saved, latest, begun) = (None, None, None);
        let mut new =
            Self { session, keep, observe, save_every, image, checksum, life: 0, scale, saved, latest, begun };
        if !new.open() {
            // It tells of what fails.
            let _ = new.reset();
        }
        Ok(new)
    }

    /// Starts sessions from the image at the start of some bytes, whose weights are also those to which a rule may pull;
    /// returns its checksum, and what raw features are divided by.
    fn load(session: &mut Session<'i, N, R, S, W, H>, bytes: &'i [u8]) -> Result<(u32, f32), ImageError> {
        let image = Image::parse(bytes)?;
        image.load(N::SCHEMA, session.network_mut())?;
        session.set_start(image.start());
        session.start(image.header.recipe).map_err(ImageError::Recipe)?;
        let sum = bytes.get(..image.length()).and_then(<[u8]>::last_chunk);
        Ok((sum.map_or(0, |sum| u32::from_le_bytes(*sum)), image.header.scale))
    }

    /// Opens the journal of the life in which what is kept was learnt. Where there is none, one is begun; but after a reset
    /// that a power cut has ended, nothing is done, and the answer is `false`.
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

    /// Begins a journal.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.keep.renew(self.checksum, self.life, self.session.adaptation().digest())
    }

    /// Goes on, after a start, from the newest state that was kept, and returns its generation; `None` where there is none.
    ///
    /// # Errors
    /// Where that is not from this network and image, or cannot be read; then the learner is where it started.
    #[inline(never)]
    pub fn resume(&mut self) -> Result<Option<u64>, NotResumed> {
        let Some((generation, identity, state)) = newest(&mut self.keep) else { return Ok(None) };
        let image = identity.ok_or(NotResumed::Unusable(ImageError::Truncated))? as u32;
        if image == self.checksum {
            let restored = snapshot::restore(self.session, N::SCHEMA, From(IDENTITY, state));
            if let Err(why) = restored {
                // It may have been taken halfway, from a flash that reads otherwise each time.
                let _ = Self::load(self.session, self.image);
                return Err(NotResumed::Unusable(why));
            }
        } else if image != !self.checksum {
            return Err(NotResumed::OtherImage);
        }
        (self.saved, self.latest) = (Some(generation), None);
        Ok(self.saved)
    }

    /// Does again what was noted after the state from which it goes on, and returns how many samples and ends of sessions that
    /// were. To be called once, after [`resume`](Self::resume) or where there is nothing to resume, before anything is learnt.
    #[inline(never)]
    pub fn recall(&mut self) -> u64 {
        let (counts, session) = (self.session.counts(), &mut *self.session);
        let recalled = self.keep.recall(counts.taken.wrapping_add(counts.sessions().into()), &mut |again| match again {
            Again::Sample(sample, label) => session.learn(sample, label, |_| ()).is_ok(),
            Again::End => {
                session.end();
                true
            }
        });
        self.noted(recalled.map(|_| ()));
        recalled.unwrap_or_default()
    }

    /// Tells of what could not be noted.
    #[inline(never)]
    fn noted(&mut self, noted: Result<(), StoreError>) {
        if let Err(error) = noted {
            (self.observe)(Event::NotNoted(error));
        }
    }

    /// Learns the sample that has begun to its end.
    fn finish(&mut self) {
        while matches!(self.advance(), Slice::Part) {}
    }

    /// What the sample that has begun has brought: noted, told, and saved where that is due.
    fn complete(&mut self, learnt: &Learnt) {
        self.latest = Some((learnt.taken, learnt.reports.last().map(|report| report.outcome.loss)));
        // There is one: each half of the memory keeps at least the newest.
        if let Some((sample, label)) = self.session.newest(learnt.taken.held_out) {
            let noted = self.keep.note(&Entry::Sample { label, sample, learnt });
            self.noted(noted);
        }
        (self.observe)(Event::Learnt(learnt));
        if is_multiple(self.session.counts().taken, self.save_every) {
            self.save();
        }
    }

    /// Saves the whole state: which image it was learnt from, in which life, and its snapshot.
    pub fn save(&mut self) {
        self.finish();
        // It tells of what fails.
        let _ = self.put(true);
    }

    /// Keeps the whole state, or that nothing was learnt, where there is something to keep it in; tells of it.
    fn put(&mut self, learnt: bool) -> Result<(), StoreError> {
        let image = if learnt { self.checksum } else { !self.checksum };
        let identity = u64::from(self.life) << 32 | u64::from(image);
        let session = &mut *self.session;
        let saved = self.keep.keep(&mut |sink| {
            sink.put(&identity.to_le_bytes())?;
            if learnt { snapshot::write_to(session, N::SCHEMA, sink) } else { Some(()) }
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
        // From here on a restart does the rest.
        self.put(false)?;
        // It was loaded before.
        let _ = Self::load(self.session, self.image);
        self.begin()?;
        // Over what was kept before the first.
        self.put(false)
    }

    /// The sessions in which it learns.
    pub fn session(&self) -> &Session<'i, N, R, S, W, H> {
        self.session
    }

    /// What keeps its state.
    pub fn keep(&mut self) -> &mut K {
        &mut self.keep
    }

    /// Tells of a refusal.
    fn refused<T>(&mut self, taken: Result<T, Refusal>) -> Result<T, Refusal> {
        taken.inspect_err(|refusal| (self.observe)(Event::Refused(*refusal)))
    }
}

impl<'i, N, R, S, W, H, K, O> Learn for Learner<'_, 'i, Session<'i, N, R, S, W, H>, K, O>
where
    N: Fixed,
    R: Replay,
    S: AsMut<[f32]>,
    W: AsMut<[f32]>,
    H: Replay,
    K: Keep + Note,
    O: FnMut(Event),
{
    const SCHEMA: u64 = N::SCHEMA;
    const INPUTS: u32 = N::INPUTS as u32;
    const CLASSES: u32 = N::OUTPUTS as u32;

    const MEMORY: Memory = {
        let (array, in_use) = ((4 * N::WEIGHTS) as u32, size_of::<W>() as u32);
        let (replay, held_out, scratch) = (size_of::<R>() as u32, size_of::<H>() as u32, size_of::<S>() as u32);
        let all = size_of::<Session<'i, N, R, S, W, H>>() as u32;
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
        let (learnt, correct) = self.session.adaptation().score();
        self.begun = Some(Learnt { taken, learnt, correct, reports: Vec::new() });
        Ok(taken)
    }

    fn advance(&mut self) -> Slice {
        let Some(begun) = &mut self.begun else { return Slice::Idle };
        match self.session.advance() {
            adapt::Slice::Part => return Slice::Part,
            adapt::Slice::Step(report) => {
                // There is room: a recipe has no more steps.
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
            // What a restart does, but for another attempt.
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
        let (learnt, correct) = adaptation.score();
        let (steps, step, digest) = (adaptation.recipe().steps, adaptation.step(), adaptation.digest());
        let (drift, budget) = (adaptation.drift(), adaptation.recipe().budget);
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
            drift,
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
    fn journal(&mut self, first: u32) -> Piece {
        self.keep.piece(first)
    }
}
