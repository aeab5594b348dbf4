//! Adaptation from a stream of labelled samples.
//!
//! Every sample brings [`Recipe::steps`] steps over a batch of [`Recipe::batch`] samples each: the new one, then others
//! drawn with replacement from the last [`Recipe::replay`] samples, which include the new one. The draws come from one
//! [`Generator`], as indices of 32 bits counted from the oldest sample, so every machine draws the same. Another
//! machine computes the same state from the image and the stream alone, and the digest after each step shows where two
//! machines diverge.
//!
//! Learning a sample can be split into slices, so that other work with a deadline runs between them:
//! [`Adaptation::begin`] is the first slice, each [`Adaptation::advance`] is one more, and [`Adaptation::learn`] is all
//! of them.

use crate::arithmetic::{self, Functions};
use crate::digest::Digest;
use crate::error::{Field, Refusal};
use crate::matrix::RowMajor;
use crate::network::{Class, Fixed, Goal, Layer, Outcome, Parameter, Prediction, Step, count, predict, scratch_length};
use crate::polar::Quintics;
use crate::random::{self, Generator};
use crate::schedule::{Momentum, Schedule};
use crate::scion::{Pull, Rule};
use crate::transport::Transport;
use heapless::Deque;
use heapless::deque::DequeView;
use serde::{Deserialize, Serialize};

/// Largest number of steps per sample.
pub const STEPS: usize = 16;

/// Settings by which a device adapts; part of its image.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recipe {
    /// Constants of the update rule.
    pub rule: Rule,
    /// Number of samples per step: the new one and `batch` − 1 from the replay buffer.
    pub batch: u32,
    /// Number of steps per sample, from 1 to [`STEPS`].
    pub steps: u32,
    /// Number of samples that the replay buffer keeps.
    pub replay: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Movement budget: the largest distance that a session may move each matrix, in radii ρ of its norm, see
    /// [`Adaptation::movement`]; `None` if there is no limit.
    pub budget: Option<f32>,
    /// Selection of the labelled samples that judge a [session](crate::session) instead of being learnt; `None` if no
    /// samples are held out.
    pub hold_out: Option<HoldOut>,
    /// Cap c on a sample's output error ([`loss`](crate::network::loss)), > 0; √2 or more has no effect.
    pub cap: Option<f32>,
    /// Implementation of exp and ln that the loss uses.
    pub functions: Functions,
}

/// Selection of held-out samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HoldOut {
    /// Interval of held-out samples: each `every`-th labelled sample is held out; 2 or more.
    pub every: u32,
    /// Number of samples kept: half of them, rounded up, from the open session, the others from committed sessions.
    pub keep: u32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Recipe {
    /// All zeros, the initial state of static memory; never used by an adaptation that was started.
    const ZERO: Self = Self {
        rule: Rule {
            step_size: 0.0,
            schedule: Schedule::Constant,
            momentum: Momentum::Constant(0.0),
            transport: Transport::Fixed { theta: 0.0 },
            pull: Pull::None,
            quintics: Quintics::Jordan,
        },
        batch: 0,
        steps: 0,
        replay: 0,
        seed: 0,
        budget: None,
        hold_out: None,
        cap: None,
        functions: Functions::Libm,
    };

    /// Two steps of eight samples from the last 128, with full transport, a step size of 0.015, a cap of 0.35 and a
    /// pull of λ = 1 to the start. The weights stay within one radius of those of the image, whatever the labels are.
    /// This was measured to serve aged sensors and new people, long and short streams, right and wrong labels
    /// (`docs/evidence.md`). No samples are held out.
    pub const DEFAULT: Self = Self {
        rule: Rule { step_size: 0.015, pull: Pull::Start { strength: 1.0 }, ..Self::FREE.rule },
        cap: Some(0.35),
        ..Self::FREE
    };

    /// Like [`Recipe::DEFAULT`], without pull and cap and with half the step size: for tasks that need weights further
    /// away, if labels are not wrong for long.
    pub const FREE: Self = Self {
        rule: Rule { step_size: 0.007_5, transport: Transport::Fixed { theta: 1.0 }, ..Rule::PLAIN },
        batch: 8,
        steps: 2,
        replay: 128,
        ..Self::ZERO
    };

    /// Checks that every number is in range, for a replay buffer that holds up to `capacity` samples.
    ///
    /// # Errors
    /// [`Refusal::Recipe`] with the first field that is out of range.
    #[inline]
    pub fn check(&self, capacity: usize) -> Result<(), Refusal> {
        self.rule.check()?;
        let field = if self.batch == 0 || self.batch > 65536 {
            Field::Batch
        } else if self.steps == 0 || self.steps as usize > STEPS {
            Field::Steps
        } else if self.replay == 0 || self.replay as usize > capacity {
            Field::Replay
        } else if !self.budget.is_none_or(|budget| budget > 0.0) {
            Field::Budget
        } else if self.hold_out.is_some_and(|HoldOut { every, keep }| every < 2 || keep == 0) {
            Field::HoldOut
        } else if !self.cap.is_none_or(|cap| cap > 0.0) {
            Field::Cap
        } else {
            return Ok(());
        };
        Err(Refusal::Recipe(field))
    }
}

/// Buffer of the last labelled samples, oldest first.
pub trait Replay {
    /// Number of samples that the buffer can hold.
    fn capacity(&self) -> usize;
    /// Number of samples that the buffer holds.
    fn len(&self) -> usize;
    /// Returns whether the buffer holds no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Drops all samples.
    fn clear(&mut self);
    /// Adds a sample, and drops the oldest ones so that at most `keep` remain.
    fn push(&mut self, keep: usize, input: impl IntoIterator<Item = f32>, label: u32);
    /// Drops the oldest samples so that at most `keep` remain.
    fn keep_newest(&mut self, keep: usize);
    /// Drops the newest samples so that at most `keep` remain.
    fn keep_oldest(&mut self, keep: usize);
    /// Replaces the sample at an index; does nothing if there is none.
    fn replace(&mut self, index: usize, input: &[f32], label: u32);
    /// Returns the sample at an index, 0 being the oldest.
    fn get(&self, index: usize) -> Option<(&[f32], u32)>;
}

/// A replay buffer of up to N samples of I numbers, in static memory.
#[derive(Debug)]
pub struct Ring<const I: usize, const N: usize>(Deque<([f32; I], u32), N>);

impl<const I: usize, const N: usize> Ring<I, N> {
    /// Creates an empty buffer.
    pub const fn new() -> Self {
        Self(Deque::new())
    }
}

impl<const I: usize, const N: usize> Default for Ring<I, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Drops samples, the newest first or the oldest, so that at most `keep` remain. One copy serves rings of every size.
#[inline(never)]
fn shorten<const I: usize>(samples: &mut DequeView<([f32; I], u32)>, keep: usize, newest_first: bool) {
    while samples.storage_len() > keep {
        if newest_first {
            samples.pop_back()
        } else {
            samples.pop_front()
        };
    }
}

impl<const I: usize, const N: usize> Replay for Ring<I, N> {
    fn capacity(&self) -> usize {
        N
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn clear(&mut self) {
        self.0.clear();
    }
    fn push(&mut self, keep: usize, input: impl IntoIterator<Item = f32>, label: u32) {
        put(self.0.as_mut_view(), keep, &mut input.into_iter(), label);
    }
    fn keep_newest(&mut self, keep: usize) {
        shorten(self.0.as_mut_view(), keep, false);
    }
    fn keep_oldest(&mut self, keep: usize) {
        shorten(self.0.as_mut_view(), keep, true);
    }
    fn replace(&mut self, index: usize, input: &[f32], label: u32) {
        if let Some((kept, of)) = self.0.get_mut(index) {
            kept.iter_mut().zip(input).for_each(|(kept, number)| *kept = *number);
            *of = label;
        }
    }
    fn get(&self, index: usize) -> Option<(&[f32], u32)> {
        self.0.get(index).map(|(input, label)| (input.as_slice(), *label))
    }
}

/// Adds a sample; one copy serves rings of every capacity and every source of numbers.
fn put<const I: usize>(
    samples: &mut DequeView<([f32; I], u32)>,
    keep: usize,
    input: &mut dyn Iterator<Item = f32>,
    label: u32,
) {
    shorten(samples, keep.saturating_sub(1), false);
    let mut sample = ([0.0; I], label);
    for (s, e) in sample.0.iter_mut().zip(input) {
        *s = e;
    }
    // There is room, because `keep` is at most the capacity.
    let _ = samples.push_back(sample);
}

/// Score of an adaptation on the samples that it has learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Score {
    /// Number of samples learnt.
    pub learnt: u64,
    /// Number of those that were predicted correctly before they were learnt.
    pub correct: u64,
}

impl Score {
    /// Score before the first sample.
    const ZERO: Self = Self { learnt: 0, correct: 0 };
}

/// Counters and generator state of an adaptation.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Number of steps taken: the t of the schedules.
    pub step: u64,
    /// Movement: [`Adaptation::movement`].
    pub movement: f32,
    /// State of the generator: [`Generator::state`].
    pub generator: random::State,
    /// Score: [`Adaptation::score`].
    pub score: Score,
}

/// Network that continues to learn: its weights, optimizer state, replay buffer and generator. The weights X₀ of its
/// image, to which [`Pull::Start`] pulls, are borrowed for `'i`: on a device, they lie in flash.
// The order of the fields puts small ones first, where instructions reach them from the start of the struct.
#[repr(C)]
#[derive(Debug)]
pub struct Adaptation<'i, N, R, S> {
    recipe: Recipe,
    /// Weights X₀ of all parameters, if they were set.
    start: Option<&'i [[u8; 4]]>,
    /// Generator; `None` until the adaptation is started.
    generator: Option<Generator>,
    step: u64,
    score: Score,
    digest: u64,
    work: Work,
    movement: f32,
    network: N,
    replay: R,
    scratch: S,
}

/// Report of one step.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Number of steps taken so far, including this one.
    pub step: u64,
    /// Number of samples in the step, and their mean loss at the query point.
    pub outcome: Outcome,
    /// [`Adaptation::digest`] after the step.
    pub digest: u64,
}

/// Result of one slice of learning a sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Slice {
    /// A part of a step: a sample of its batch, or the move of a parameter.
    Part,
    /// The last part of a step.
    Step(Report),
    /// No work: no sample is being learnt.
    Idle,
}

/// Step that is being taken.
#[derive(Debug)]
struct Round {
    /// Number of steps that the sample brought before this one.
    before: u32,
    /// The step, with the samples that it has taken so far.
    step: Step,
    /// [`Adaptation::movement`] after the step.
    movement: f32,
    /// Number of samples of the batch taken so far.
    samples: u32,
    /// Number of parameters that have moved and are in the digest.
    parameters: usize,
    digest: Digest,
}

/// Work in progress between two slices. `repr(u8)` keeps the tag out of a niche, so that `Nothing` is all zeros.
#[repr(u8)]
#[derive(Debug)]
enum Work {
    Nothing,
    Round(Round),
}

/// Memory of an adaptation in static memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// The weights X.
    pub weights: u32,
    /// The query points Y.
    pub query_points: u32,
    /// The momenta M.
    pub momenta: u32,
    /// The replay buffer.
    pub replay: u32,
    /// Scratch memory: activations and their errors while a gradient is taken, then the workspace of the oracles.
    pub scratch: u32,
    /// Part of the scratch memory that activations and their errors use.
    pub activations: u32,
    /// Part of the scratch memory that the oracles use: the polar iteration of the largest parameter, if any has one.
    pub workspace: u32,
    /// Everything else: geometries, recipe, counters.
    pub rest: u32,
}

impl<N: Fixed, const I: usize, const K: usize, const S: usize> Adaptation<'_, N, Ring<I, K>, [f32; S]> {
    /// Memory of an adaptation of this type. All fields except `activations` and `workspace`, which share `scratch`,
    /// add up to its size.
    pub const MEMORY: Memory = {
        let array = (4 * N::WEIGHTS) as u32;
        let (replay, scratch) = (size_of::<Ring<I, K>>() as u32, (4 * S) as u32);
        Memory {
            weights: array,
            query_points: array,
            momenta: array,
            replay,
            scratch,
            activations: (8 * N::TRACE) as u32,
            workspace: (4 * N::WORKSPACE) as u32,
            rest: size_of::<Self>() as u32 - 3 * array - replay - scratch,
        }
    };

    /// Creates an adaptation of a network with memory to learn in, to be [started](Self::start). It is constant and,
    /// with a network of zeros, all zeros: static memory that costs no flash.
    ///
    /// The compiler checks that the replay buffer takes the network's samples, and that the scratch memory holds
    /// [`Fixed::SCRATCH`] numbers:
    ///
    /// ```compile_fail
    /// use graftage_core::{adapt::{Adaptation, Ring}, network::{Dense, Fixed}};
    /// let device = Adaptation::new(Dense::<4, 3>::ZERO, Ring::<4, 8>::new(), [0.0; 3]);
    /// ```
    pub const fn new(network: N, replay: Ring<I, K>, scratch: [f32; S]) -> Self {
        const {
            assert!(I == N::INPUTS, "the replay buffer keeps samples of another length than the network takes");
            assert!(S >= N::SCRATCH, "the scratch memory is shorter than Fixed::SCRATCH");
        }
        Self::with(network, replay, scratch)
    }
}

impl<'i, N, R, S> Adaptation<'i, N, R, S> {
    /// Like [`Adaptation::new`], but with any memory; [`Adaptation::start`] checks its length.
    pub const fn with(network: N, replay: R, scratch: S) -> Self {
        let recipe = Recipe::ZERO;
        let (start, generator) = (None, None);
        let (movement, digest, work) = (0.0, 0, Work::Nothing);
        Self { recipe, start, generator, step: 0, score: Score::ZERO, digest, work, movement, network, replay, scratch }
    }

    /// Sets the weights X₀ to which [`Pull::Start`] pulls: an [image's](crate::image::Image::start), parameter by
    /// parameter, row by row. They are read in every step and never copied. [`start`](Self::start) and restoring an
    /// earlier state leave them as they are. Call this before [`start`](Self::start).
    pub fn set_start(&mut self, weights: &'i [[u8; 4]]) {
        self.start = Some(weights);
    }
}

impl<N: Layer, R: Replay, S: AsMut<[f32]>> Adaptation<'_, N, R, S> {
    /// Starts from the network's weights: Y = X, M = 0, an empty replay buffer, the generator at its seed. A sample
    /// that is still being learnt is dropped.
    ///
    /// # Errors
    /// A [`Refusal`] if this machine's arithmetic is not the promised one, the recipe is out of range or pulls to a
    /// start that [was not set](Self::set_start), or the scratch memory is too short. Then nothing has changed.
    pub fn start(&mut self, recipe: Recipe) -> Result<(), Refusal> {
        arithmetic::check()?;
        self.check(&recipe)?;
        let expected = scratch_length(&mut self.network);
        let found = self.scratch.as_mut().len();
        if found < expected {
            return Err(Refusal::Scratch { expected: expected as u32, found: found as u32 });
        }
        self.recipe = recipe;
        self.generator = Some(Generator::new(recipe.seed, 0));
        (self.step, self.movement, self.score) = (0, 0.0, Score::ZERO);
        self.work = Work::Nothing;
        self.replay.clear();
        self.network.parameters(&mut |mut parameter| parameter.start());
        self.take_digest();
        Ok(())
    }

    /// Checks that a recipe is in range, and that the weights to which it pulls are set.
    pub(crate) fn check(&mut self, recipe: &Recipe) -> Result<(), Refusal> {
        recipe.check(self.replay.capacity())?;
        if let Pull::Start { .. } = recipe.rule.pull {
            let (_, weights) = count(&mut self.network);
            if self.start.is_none_or(|start| start.len() != weights) {
                return Err(Refusal::Recipe(Field::Start));
            }
        }
        Ok(())
    }

    /// Learns from one labelled sample: [begins](Self::begin) and [finishes](Self::finish) it. `observe` is called
    /// after every step.
    ///
    /// Returns the network's prediction for the sample before it was learnt.
    ///
    /// # Errors
    /// The errors of [`Adaptation::begin`].
    pub fn learn(&mut self, input: &[f32], label: u32, observe: impl FnMut(Report)) -> Result<Prediction, Refusal> {
        let prediction = self.begin(input, label)?;
        self.finish(observe);
        Ok(prediction)
    }

    /// Begins to learn from one labelled sample: predicts it, and takes it into its first step and the replay buffer.
    /// After that, no part of it can be refused. An earlier sample is [finished](Self::finish) first.
    ///
    /// Returns the network's prediction for the sample before it was learnt.
    ///
    /// # Errors
    /// A [`Refusal`] if the adaptation was not [started](Self::start) or the sample is refused: wrong length, a
    /// non-finite number, no such class, an overflow of its outputs or its first gradient, or a first step beyond the
    /// movement budget. Then the sample has changed no bit of weights, momentum, generator or replay buffer. If the
    /// budget ends between the steps of a sample, the later steps are not taken.
    pub fn begin(&mut self, input: &[f32], label: u32) -> Result<Prediction, Refusal> {
        self.settle();
        self.generator.as_ref().ok_or(Refusal::NotStarted)?;
        let target = Class(label);
        target.check(self.network.outputs())?;
        let prediction = predict(&self.network, self.recipe.functions, input, self.scratch.as_mut())?;
        self.round(0);
        let Work::Round(round) = &mut self.work else { return Err(Refusal::Budget) };
        round.samples = 1;
        let added = round.step.add(&mut self.network, input, target, self.scratch.as_mut());
        added.inspect_err(|_| self.work = Work::Nothing)?;
        self.replay.push(self.recipe.replay as usize, input.iter().copied(), label);
        self.score.learnt = self.score.learnt.wrapping_add(1);
        self.score.correct = self.score.correct.wrapping_add(u64::from(prediction.class == label));
        Ok(prediction)
    }

    /// Runs the next slice of the sample that is being learnt: one sample of a batch, forward and backward, or the move
    /// of one parameter with its part of the digest.
    ///
    /// Queries between two slices change no bit. Weights and generator are then those after the last slice; digest,
    /// step and movement are those after the last whole step; the score is that of the last sample that began.
    pub fn advance(&mut self) -> Slice {
        let Recipe { rule, batch, .. } = &self.recipe;
        let (Work::Round(round), Some(generator)) = (&mut self.work, &mut self.generator) else { return Slice::Idle };
        let scratch = self.scratch.as_mut();
        if round.samples < *batch {
            let kept = self.replay.len() as u32;
            // The new sample is the last one in the buffer.
            let index = if round.samples == 0 { kept.wrapping_sub(1) } else { generator.below(kept) };
            round.samples += 1;
            if let Some((input, label)) = self.replay.get(index as usize) {
                // A sample that overflows with the present weights is left out; the outcome counts the admitted ones.
                let _ = round.step.add(&mut self.network, input, Class(label), scratch);
            }
            return Slice::Part;
        }
        let (outcome, t) = (round.step.outcome(), self.step.wrapping_add(1));
        let (digest, moved) = (&mut round.digest, round.parameters);
        round.parameters += 1;
        let next = moved..round.parameters;
        if outcome.is_some() {
            self.network.advance(next.clone(), rule, t, self.start.unwrap_or_default(), scratch);
        }
        if round.parameters < self.network.parameters_at(next, &mut |parameter| take(digest, &parameter)) {
            return Slice::Part;
        }
        if outcome.is_some() {
            (self.step, self.movement) = (t, round.movement);
        }
        self.digest = close(digest, self.step, generator);
        let taken = round.before.wrapping_add(1);
        self.round(taken);
        outcome.map_or(Slice::Part, |outcome| Slice::Step(Report { step: t, outcome, digest: self.digest }))
    }

    /// Runs all remaining slices of the sample that is being learnt. `observe` is called after every step.
    pub fn finish(&mut self, mut observe: impl FnMut(Report)) {
        loop {
            match self.advance() {
                Slice::Part => {}
                Slice::Step(report) => observe(report),
                Slice::Idle => return,
            }
        }
    }

    /// Like [`Adaptation::finish`], without an observer.
    #[inline(never)]
    pub(crate) fn settle(&mut self) {
        self.finish(|_| ());
    }

    /// Begins the next step of a sample that has brought `before` steps; begins none if the recipe or the movement
    /// budget allows no more.
    fn round(&mut self, before: u32) {
        let Recipe { rule, batch, steps, budget, functions, cap, .. } = &self.recipe;
        let t = self.step.wrapping_add(1);
        let (sum, reach) = (self.movement + rule.movement(t), rule.reach());
        let movement = if sum < reach { sum } else { reach };
        self.work = if before < *steps && budget.is_none_or(|budget| movement <= budget) {
            let (step, digest) = (Step::begin(rule, *functions, *cap, t, *batch), Digest::default());
            Work::Round(Round { before, step, movement, samples: 0, parameters: 0, digest })
        } else {
            Work::Nothing
        };
    }

    /// Predicts the class of a sample with the weights X.
    ///
    /// # Errors
    /// A [`Refusal`] if the sample is refused.
    pub fn predict(&mut self, input: &[f32]) -> Result<Prediction, Refusal> {
        predict(&self.network, self.recipe.functions, input, self.scratch.as_mut())
    }

    /// xxHash64 over X, Y, M and the alignment state, if there is one, of every parameter, then the step and the
    /// generator's state, all as little-endian bytes.
    ///
    /// It detects accidents, not forgery.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Counters and generator state; `None` if the adaptation was not started.
    pub fn position(&self) -> Option<Position> {
        let generator = self.generator.as_ref()?.state();
        Some(Position { step: self.step, movement: self.movement, generator, score: self.score })
    }

    /// Continues from a position of an earlier run. `words` hold the `samples` samples of the replay buffer, oldest
    /// first. The caller has restored the network's parameters.
    pub(crate) fn resume(&mut self, position: Position, samples: usize, words: &mut impl Iterator<Item = [u8; 4]>) {
        (self.step, self.movement, self.score) = (position.step, position.movement, position.score);
        self.generator = Some(Generator::at(position.generator));
        self.take_digest();
        push(&mut self.replay, self.recipe.replay as usize, self.network.inputs(), samples, words);
    }

    /// Marks the adaptation as not started.
    pub(crate) fn stop(&mut self) {
        self.generator = None;
    }

    /// Begins a new session from the present state, which the caller may have rolled back, with its whole movement
    /// budget.
    pub(crate) fn renew(&mut self) {
        self.movement = 0.0;
        self.take_digest();
    }

    /// Computes the digest of the present state.
    #[inline(never)]
    fn take_digest(&mut self) {
        if let Some(generator) = &self.generator {
            let mut digest = Digest::default();
            self.network.parameters(&mut |parameter| take(&mut digest, &parameter));
            self.digest = close(&mut digest, self.step, generator);
        }
    }

    /// The replay buffer.
    pub fn replay(&self) -> &R {
        &self.replay
    }

    /// Drops the `samples` newest samples from the replay buffer.
    pub(crate) fn forget(&mut self, samples: usize) {
        self.replay.keep_oldest(self.replay.len().saturating_sub(samples));
    }

    /// Number of steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Used part of the movement budget: the largest distance that a matrix can have moved in this session, in radii of
    /// its norm. It is the sum of [`Rule::movement`] over the session's steps, and never more than [`Rule::reach`].
    pub fn movement(&self) -> f32 {
        self.movement
    }

    /// Score on the samples learnt so far.
    pub fn score(&self) -> Score {
        self.score
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// The network, for changing its weights; call [`start`](Self::start) again after that.
    pub fn network_mut(&mut self) -> &mut N {
        &mut self.network
    }
}

/// Adds `samples` samples to a buffer that keeps `keep` samples of `inputs` numbers. In `words`, the label of a sample
/// comes first, then its numbers.
pub(crate) fn push(
    replay: &mut impl Replay,
    keep: usize,
    inputs: usize,
    samples: usize,
    words: &mut impl Iterator<Item = [u8; 4]>,
) {
    for _ in 0..samples {
        let label = words.next().map_or(0, u32::from_le_bytes);
        replay.push(keep, words.take(inputs).map(f32::from_le_bytes), label);
    }
}

/// Adds a parameter's part to an [`Adaptation::digest`].
fn take(digest: &mut Digest, Parameter { state, alignment, .. }: &Parameter) {
    for matrix in [&state.x, &state.y, &state.m] {
        digest.numbers(matrix.elements());
    }
    if let Some(mean) = alignment.mean {
        digest.numbers(&[mean, alignment.weight]);
    }
}

/// Adds what follows all parameters, and returns the digest.
fn close(digest: &mut Digest, step: u64, generator: &Generator) -> u64 {
    let random::State { seed, stream, draws } = generator.state();
    digest.doubles(&[step, seed, stream, draws]);
    digest.finish()
}

/// xxHash64 of numbers as little-endian bytes: equal if all bits are.
pub fn fingerprint(elements: &[f32]) -> u64 {
    let mut hash = Digest::default();
    hash.numbers(elements);
    hash.finish()
}
