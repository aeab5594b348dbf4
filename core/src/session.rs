//! Adaptation in sessions, each of which is a transaction.
//!
//! The weights in use answer until a session has proved its own. An [`Adaptation`] continues beside them, and some of
//! the labelled samples are held out to judge it instead of being learnt ([`HoldOut`]). The held-out samples have two
//! halves: the newest ones of this session, and those kept from committed sessions. At the end of the session
//! ([`Session::end`]),
//!
//! - its weights are **committed** if in neither half they predict fewer samples correctly than the weights in use. Its
//!   held-out samples are kept to judge later sessions: up to half of all, in place of the oldest of those kept before;
//! - otherwise they are **rolled back**: the next session starts from the weights in use, with Y = X, M = 0 and an
//!   empty alignment state. The session's samples leave the replay buffer and the held-out samples, so that harmful
//!   ones are not learnt again;
//! - after two rollbacks in a row, the session's own half decides alone, so that the weights follow a change of the
//!   world itself. This does not apply if the weights in use predict that half no better than chance does. Whenever
//!   that happens, even without rollbacks before it, the labels are in doubt and the verdict is an **alarm**
//!   ([`Verdict::alarm`]).
//!
//! A session whose labels are all wrong also brings wrong held-out samples; only those kept from other sessions reveal
//! it.
//!
//! Steps and generator continue over sessions, and so do the replay buffer and the held-out samples of committed
//! sessions. Each session has its own movement budget.
//!
//! Learning can be split into slices, between which the weights in use continue to answer: [`Session::begin`] and
//! [`Session::advance`] do what [`Session::learn`] does at once.
//!
//! The fate of each sample and of each session follows from the image and the stream alone, so another machine comes to
//! the same verdicts.

use crate::adapt::{Adaptation, HoldOut, Position, Recipe, Replay, Report, Ring, Slice, push};
use crate::error::{Field, Refusal};
use crate::matrix::{RowMajor, elementwise};
use crate::network::{Class, Fixed, Goal, Layer, Parameter, Prediction, count, split_mut};
use serde::{Deserialize, Serialize};

/// Network that adapts in sessions: N are its layers, R the replay buffer, S the scratch memory, W the memory for the
/// weights in use, H the held-out samples.
// The order of the fields is explained at `Adaptation`.
#[repr(C)]
#[derive(Debug)]
pub struct Session<'i, N, R, S, W, H> {
    counts: Counts,
    adaptation: Adaptation<'i, N, R, S>,
    open: Open,
    /// Weights in use: X of every parameter, row by row, in the network's order.
    in_use: W,
    /// Held-out samples: first those kept from committed sessions, oldest first, then those of the open session.
    held_out: H,
}

/// State of the open session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Open {
    /// Number of samples learnt.
    pub learnt: u32,
    /// Number of samples held out, including those that later ones have replaced.
    pub held_out: u32,
    /// Number of sessions rolled back since the last commit.
    pub rolled_back: u32,
}

impl Open {
    const NEW: Self = Self { learnt: 0, held_out: 0, rolled_back: 0 };

    /// Number of the session's own held-out samples, if `keep` are kept in all.
    pub fn newest(&self, keep: u32) -> u32 {
        let most = newest_half(keep);
        if self.held_out < most { self.held_out } else { most }
    }
}

/// Largest number of held-out samples of the open session; the others are from earlier sessions.
pub(crate) fn newest_half(keep: u32) -> u32 {
    keep - keep / 2
}

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Number of labelled samples taken, learnt or held out.
    pub taken: u64,
    /// Number of committed sessions.
    pub committed: u32,
    /// Number of sessions rolled back.
    pub rolled_back: u32,
    /// Number of sessions that raised an [alarm](Verdict::alarm), committed or rolled back.
    pub alarms: u32,
}

impl Counts {
    /// Number of sessions that ended.
    pub fn sessions(&self) -> u32 {
        self.committed.wrapping_add(self.rolled_back)
    }
}

/// Returns whether a number is a multiple of `of`, which is at most 2⁶³; false if `of` is 0. It works bit by bit,
/// because on a processor of 32 bits the remainder of `u64` takes ten times the code.
pub fn is_multiple(mut number: u64, of: u64) -> bool {
    let mut rest = 0u64;
    for _ in 0..u64::BITS {
        rest = rest << 1 | number >> 63;
        number <<= 1;
        if rest >= of {
            rest -= of;
        }
    }
    rest == 0 && of > 0
}

/// Result of taking a labelled sample.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// Prediction by the adapting weights, before they learnt the sample.
    pub prediction: Prediction,
    /// True if the sample is kept to judge the session; otherwise it was learnt.
    pub held_out: bool,
}

/// Verdict at the end of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// True if the session's weights are now in use; otherwise they were rolled back.
    pub committed: bool,
    /// True if the weights that were in use during the session predict its own held-out samples no better than chance
    /// does: the labels are wrong, or the world has changed.
    pub alarm: bool,
    /// Counts over the session's own held-out samples. If there are no held-out samples at all, every session is
    /// committed.
    pub newest: Judged,
    /// Counts over the samples kept from earlier sessions.
    pub kept: Judged,
}

impl Verdict {
    /// Counts over all held-out samples.
    pub fn all(&self) -> Judged {
        let Self { newest, kept, .. } = self;
        let held_out = newest.held_out.wrapping_add(kept.held_out);
        let (before, after) = (newest.before.wrapping_add(kept.before), newest.after.wrapping_add(kept.after));
        Judged { held_out, before, after }
    }
}

/// Counts of held-out samples that the weights before and after a session predict correctly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Judged {
    /// Number of held-out samples.
    pub held_out: u32,
    /// Number predicted correctly by the weights that were in use during the session.
    pub before: u32,
    /// Number predicted correctly by the session's weights.
    pub after: u32,
}

impl Judged {
    /// Returns whether the session's weights predict no fewer samples correctly.
    fn is_no_worse(&self) -> bool {
        self.after >= self.before
    }

    /// Returns whether the weights in use predict no more samples correctly than chance does with `classes` classes.
    fn is_at_chance(&self, classes: u32) -> bool {
        u64::from(self.before) * u64::from(classes) <= u64::from(self.held_out)
    }
}

/// Number of rollbacks in a row after which the newest half decides alone.
const PATIENCE: u32 = 2;

impl<N: Fixed, const I: usize, const K: usize, const S: usize, const W: usize, const H: usize>
    Session<'_, N, Ring<I, K>, [f32; S], [f32; W], Ring<I, H>>
{
    /// Creates a session of a network with memory to learn in, to be [started](Self::start); all zeros around a network
    /// of zeros.
    ///
    /// The compiler checks that the memories fit the network, as for [`Adaptation::new`]:
    ///
    /// ```compile_fail
    /// use graftage_core::{adapt::Ring, network::{Dense, Fixed}, session::Session};
    /// type Layers = Dense<4, 3>;
    /// let scratch = [0.0; Layers::SCRATCH];
    /// let device = Session::new(Layers::ZERO, Ring::<4, 8>::new(), scratch, [0.0; 3], Ring::<4, 8>::new());
    /// ```
    pub const fn new(
        network: N,
        replay: Ring<I, K>,
        scratch: [f32; S],
        in_use: [f32; W],
        held_out: Ring<I, H>,
    ) -> Self {
        const { assert!(W == N::WEIGHTS, "the memory for the weights in use has another length than the network") }
        Self::with(Adaptation::new(network, replay, scratch), in_use, held_out)
    }
}

impl<'i, N: Layer, R: Replay, S: AsMut<[f32]>, W: AsMut<[f32]>, H: Replay> Session<'i, N, R, S, W, H> {
    /// Like [`Session::new`], but with any memory; [`Session::start`] checks its length.
    pub const fn with(adaptation: Adaptation<'i, N, R, S>, in_use: W, held_out: H) -> Self {
        let counts = Counts { taken: 0, committed: 0, rolled_back: 0, alarms: 0 };
        Self { adaptation, in_use, held_out, counts, open: Open::NEW }
    }

    /// Sets the weights X₀ of the network's image; see [`Adaptation::set_start`].
    pub fn set_start(&mut self, weights: &'i [[u8; 4]]) {
        self.adaptation.set_start(weights);
    }

    /// Starts from the network's weights, which become those in use; see [`Adaptation::start`].
    ///
    /// # Errors
    /// The errors of [`Adaptation::start`]. Also [`Refusal::Scratch`] if the memory for the weights in use does not
    /// have their length, and [`Refusal::Recipe`] if the memory for held-out samples is too short. Then nothing has
    /// changed.
    pub fn start(&mut self, recipe: Recipe) -> Result<(), Refusal> {
        self.check(&recipe)?;
        self.adaptation.start(recipe)?;
        self.held_out.clear();
        (self.counts, self.open) = (Counts::default(), Open::NEW);
        self.put_in_use();
        Ok(())
    }

    /// Checks that a recipe is valid and that the memory fits it and the network.
    pub(crate) fn check(&mut self, recipe: &Recipe) -> Result<(), Refusal> {
        let (_, weights) = count(self.adaptation.network_mut());
        let found = self.in_use.as_mut().len();
        if found != weights {
            return Err(Refusal::Scratch { expected: weights as u32, found: found as u32 });
        }
        self.adaptation.check(recipe)?;
        match recipe.hold_out {
            Some(HoldOut { keep, .. }) if keep as usize > self.held_out.capacity() => {
                Err(Refusal::Recipe(Field::HoldOut))
            }
            _ => Ok(()),
        }
    }

    /// Continues from a position of an earlier run. `words` hold the weights in use, then the samples of the replay
    /// buffer and the held-out samples, each oldest first; the pair holds their numbers. The caller has restored the
    /// network's parameters.
    pub(crate) fn resume(
        &mut self,
        position: Position,
        (counts, open): (Counts, Open),
        (replay, held_out): (usize, usize),
        words: &mut impl Iterator<Item = [u8; 4]>,
    ) {
        self.in_use.as_mut().iter_mut().zip(words.by_ref()).for_each(|(used, word)| *used = f32::from_le_bytes(word));
        (self.counts, self.open) = (counts, open);
        self.adaptation.resume(position, replay, words);
        let (keep, inputs) = (self.held_out.capacity(), self.adaptation.network().inputs());
        push(&mut self.held_out, keep, inputs, held_out, words);
    }

    /// Marks the session as not started.
    pub(crate) fn stop(&mut self) {
        self.adaptation.stop();
    }

    /// Takes one labelled sample: learns it, or holds it out. `observe` is called after every step.
    ///
    /// # Errors
    /// The errors of [`Session::begin`].
    pub fn learn(&mut self, input: &[f32], label: u32, observe: impl FnMut(Report)) -> Result<Taken, Refusal> {
        let taken = self.begin(input, label)?;
        self.finish(observe);
        Ok(taken)
    }

    /// Takes one labelled sample: begins to learn it, or holds it out. An earlier one is [finished](Self::finish)
    /// first.
    ///
    /// # Errors
    /// The errors of [`Adaptation::begin`]. Then nothing has changed, including the count of samples.
    pub fn begin(&mut self, input: &[f32], label: u32) -> Result<Taken, Refusal> {
        self.settle();
        let taken = self.counts.taken.wrapping_add(1);
        let held_out =
            self.adaptation.recipe().hold_out.filter(|HoldOut { every, .. }| is_multiple(taken, (*every).into()));
        let prediction = if let Some(HoldOut { keep, .. }) = held_out {
            Class(label).check(self.adaptation.network().outputs())?;
            let prediction = self.adaptation.predict(input)?;
            let half = newest_half(keep);
            if self.open.held_out < half {
                self.held_out.push(keep as usize, input.iter().copied(), label);
            } else {
                // Replaces the oldest one of this session; those of earlier sessions stay.
                self.held_out.replace(self.newest_held_out(self.open.held_out), input, label);
            }
            self.open.held_out = self.open.held_out.saturating_add(1);
            prediction
        } else {
            let prediction = self.adaptation.begin(input, label)?;
            self.open.learnt = self.open.learnt.saturating_add(1);
            prediction
        };
        self.counts.taken = taken;
        Ok(Taken { prediction, held_out: held_out.is_some() })
    }

    /// Runs the next slice of the sample that is being learnt; see [`Adaptation::advance`]. [`Session::predict`] may be
    /// called between two slices, and still answers with the weights in use.
    pub fn advance(&mut self) -> Slice {
        self.adaptation.advance()
    }

    /// Runs all remaining slices of the sample that is being learnt. `observe` is called after every step.
    pub fn finish(&mut self, observe: impl FnMut(Report)) {
        self.adaptation.finish(observe);
    }

    /// Like [`Session::finish`], without an observer.
    pub(crate) fn settle(&mut self) {
        self.adaptation.settle();
    }

    /// Predicts the class of a sample with the weights in use.
    ///
    /// # Errors
    /// A [`Refusal`] if the sample is refused.
    pub fn predict(&mut self, input: &[f32]) -> Result<Prediction, Refusal> {
        self.exchange();
        let prediction = self.adaptation.predict(input);
        self.exchange();
        prediction
    }

    /// Ends the session: [finishes](Self::finish) its last sample, commits its weights or rolls them back, and begins
    /// the next session. Returns the verdict.
    pub fn end(&mut self) -> Verdict {
        self.settle();
        let of_before = self.kept();
        let after = self.right(of_before);
        self.exchange();
        let before = self.right(of_before);
        let judged = |held_out, before, after| Judged { held_out, before, after };
        let kept = judged(of_before as u32, before.0, after.0);
        let newest = judged((self.held_out.len() - of_before) as u32, before.1, after.1);
        let at_chance = newest.is_at_chance(self.adaptation.network().outputs() as u32);
        let alone = self.open.rolled_back >= PATIENCE && !at_chance;
        let committed = newest.is_no_worse() && (alone || kept.is_no_worse());
        let rolled_back = if committed {
            self.exchange();
            self.counts.committed = self.counts.committed.wrapping_add(1);
            self.held_out
                .keep_newest(self.adaptation.recipe().hold_out.map_or(0, |HoldOut { keep, .. }| keep / 2) as usize);
            0
        } else {
            self.adaptation.network_mut().parameters(&mut |mut parameter| parameter.start());
            self.counts.rolled_back = self.counts.rolled_back.wrapping_add(1);
            self.adaptation.forget(self.open.learnt as usize);
            self.held_out.keep_oldest(of_before);
            self.open.rolled_back.saturating_add(1)
        };
        self.open = Open { rolled_back, ..Open::NEW };
        self.put_in_use();
        self.adaptation.renew();
        let alarm = newest.held_out > 0 && at_chance;
        self.counts.alarms = self.counts.alarms.wrapping_add(alarm.into());
        Verdict { committed, alarm, newest, kept }
    }

    /// Number of held-out samples from sessions before the open one.
    fn kept(&self) -> usize {
        let keep = self.adaptation.recipe().hold_out.map_or(0, |HoldOut { keep, .. }| keep);
        self.held_out.len().saturating_sub(self.open.newest(keep) as usize)
    }

    /// Index of the held-out sample of the open session that was taken after `before` others.
    fn newest_held_out(&self, before: u32) -> usize {
        let half = self.adaptation.recipe().hold_out.map_or(1, |HoldOut { keep, .. }| newest_half(keep));
        self.kept().wrapping_add(before.checked_rem(half).unwrap_or(0) as usize)
    }

    /// Counts the held-out samples that the network predicts correctly with its present X: among the first `first`, and
    /// among the others.
    #[inline(never)]
    fn right(&mut self, first: usize) -> (u32, u32) {
        let mut right = (0, 0);
        for index in 0..self.held_out.len() {
            let Some((input, label)) = self.held_out.get(index) else { continue };
            if self.adaptation.predict(input).is_ok_and(|prediction| prediction.class == label) {
                *if index < first { &mut right.0 } else { &mut right.1 } += 1;
            }
        }
        right
    }

    /// Exchanges the weights in use and the network's X.
    fn exchange(&mut self) {
        let mut in_use = self.in_use.as_mut();
        self.adaptation.network_mut().parameters(&mut |Parameter { mut state, .. }| {
            let x = state.x.elements_mut();
            let (used, rest) = split_mut(core::mem::take(&mut in_use), x.len());
            elementwise::exchange(x, used);
            in_use = rest;
        });
    }

    /// Copies the network's X to the weights in use.
    fn put_in_use(&mut self) {
        let mut in_use = self.in_use.as_mut().iter_mut();
        self.adaptation.network_mut().parameters(&mut |Parameter { state, .. }| {
            state.x.elements().iter().zip(&mut in_use).for_each(|(x, used)| *used = *x);
        });
    }

    /// The adaptation that continues beside the weights in use.
    pub fn adaptation(&self) -> &Adaptation<'i, N, R, S> {
        &self.adaptation
    }

    /// The network, for changing its weights; call [`start`](Self::start) again after that.
    pub fn network_mut(&mut self) -> &mut N {
        self.adaptation.network_mut()
    }

    /// The samples that judge a session: first those kept from earlier sessions, then its own.
    pub fn held_out(&self) -> &H {
        &self.held_out
    }

    /// Newest sample that was held out, or else learnt, with its label; `None` if the open session has none.
    pub fn newest(&self, held_out: bool) -> Option<(&[f32], u32)> {
        let replay = self.adaptation.replay();
        match self.open {
            Open { held_out: taken @ 1.., .. } if held_out => self.held_out.get(self.newest_held_out(taken - 1)),
            Open { learnt: 1.., .. } if !held_out => replay.get(replay.len().wrapping_sub(1)),
            _ => None,
        }
    }

    /// State of the open session.
    pub(crate) fn open(&self) -> Open {
        self.open
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The weights in use, parameter by parameter, row by row.
    pub fn in_use(&mut self) -> &[f32] {
        self.in_use.as_mut()
    }
}
