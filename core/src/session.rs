//! Adaptation in sessions, each a transaction.
//!
//! The weights in use answer until a session has proved its own: an [`Adaptation`] goes on beside them, and some
//! of the labelled samples are held out to judge it instead of being learnt ([`HoldOut`]). At the end of the session
//! ([`Session::end`]) the weights that it brought are committed where they predict no fewer of the held-out samples rightly
//! than those in use do; else they are rolled back, and the next session starts from the weights in use: Y = X, M = 0, what
//! the alignment law knew forgotten. Steps, generator, replay buffer and held-out samples go on over sessions; the drift
//! budget is each session's own.
//!
//! Learning can be cut into slices, between which the weights in use go on answering: [`Session::begin`] and
//! [`Session::advance`] do what [`Session::learn`] does at once.
//!
//! What became of each sample and of each session follows from the image and the stream alone, so that another machine
//! comes to the same verdicts.

use crate::adapt::{Adaptation, HoldOut, Position, Recipe, Replay, Report, Ring, Slice, push};
use crate::error::{Field, Refusal};
use crate::matrix::{RowMajor, elementwise};
use crate::network::{Class, Fixed, Goal, Layer, Parameter, Prediction, split_mut};
use serde::{Deserialize, Serialize};

/// A network that adapts in sessions: N its layers, R its replay buffer, S scratch memory, W memory for the weights in use, H
/// the held-out samples.
#[derive(Debug)]
pub struct Session<N, R, S, W, H> {
    adaptation: Adaptation<N, R, S>,
    /// X of every parameter, row by row, in the network's order.
    in_use: W,
    held_out: H,
    counts: Counts,
}

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Labelled samples that were taken, learnt or held out.
    pub taken: u64,
    /// Sessions that were committed.
    pub committed: u64,
    /// Sessions that were rolled back.
    pub rolled_back: u64,
}

impl Counts {
    /// Sessions that ended.
    pub fn sessions(&self) -> u64 {
        self.committed.wrapping_add(self.rolled_back)
    }
}

/// Whether a number is a multiple of another, which is at most 2⁶³; none is of 0. Bit by bit: on a processor of 32 bits the
/// remainder of u64 is ten times the code.
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

/// What became of a labelled sample.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// What the adapting weights predicted for it before.
    pub prediction: Prediction,
    /// Whether it is kept to judge the session; else it was learnt.
    pub held_out: bool,
}

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether its weights are in use now; else they were rolled back.
    pub committed: bool,
    /// Samples that judged it. Of none, every session is committed.
    pub held_out: u32,
    /// How many of them the weights predict rightly that were in use during the session.
    pub before: u32,
    /// How many of them the session's weights predict rightly.
    pub after: u32,
}

impl<N: Fixed, const I: usize, const K: usize, const S: usize, const W: usize, const H: usize>
    Session<N, Ring<I, K>, [f32; S], [f32; W], Ring<I, H>>
{
    /// A network with memory to learn in, to be [started](Self::start); all zeros around a network of zeros.
    ///
    /// That the memories fit the network is checked at compile time, as by [`Adaptation::new`]:
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

impl<N: Layer, R: Replay, S: AsMut<[f32]>, W: AsMut<[f32]>, H: Replay> Session<N, R, S, W, H> {
    /// The same around any memory; [`Session::start`] checks its length.
    pub const fn with(adaptation: Adaptation<N, R, S>, in_use: W, held_out: H) -> Self {
        Self { adaptation, in_use, held_out, counts: Counts { taken: 0, committed: 0, rolled_back: 0 } }
    }

    /// Starts from the network's weights, which then are those in use; see [`Adaptation::start`].
    ///
    /// # Errors
    /// As there, and where the memory for the weights in use is not as long as they are, or that for held-out samples is too
    /// short; then nothing has changed.
    pub fn start(&mut self, recipe: Recipe) -> Result<(), Refusal> {
        self.check(&recipe)?;
        self.adaptation.start(recipe)?;
        self.held_out.clear();
        self.counts = Counts::default();
        self.put_in_use();
        Ok(())
    }

    /// Says what of a recipe, or of the memory, does not fit.
    pub(crate) fn check(&mut self, recipe: &Recipe) -> Result<(), Refusal> {
        let mut weights = 0;
        self.adaptation.network_mut().parameters(&mut |parameter| weights += parameter.state.x.elements().len());
        let found = self.in_use.as_mut().len();
        if found != weights {
            return Err(Refusal::Scratch { expected: weights as u32, found: found as u32 });
        }
        recipe.check(self.adaptation.replay().capacity())?;
        match recipe.hold_out {
            Some(HoldOut { keep, .. }) if keep as usize > self.held_out.capacity() => {
                Err(Refusal::Recipe(Field::HoldOut))
            }
            _ => Ok(()),
        }
    }

    /// Goes on from a position of an earlier run, with the weights in use and the samples that `words` hold: as many in the
    /// replay buffer, as many held out, each oldest first. The network's parameters have been put back by the caller.
    pub(crate) fn resume(
        &mut self,
        position: Position,
        counts: Counts,
        (replay, held_out): (usize, usize),
        words: &mut impl Iterator<Item = [u8; 4]>,
    ) {
        self.in_use.as_mut().iter_mut().zip(words.by_ref()).for_each(|(used, word)| *used = f32::from_le_bytes(word));
        self.counts = counts;
        self.adaptation.resume(position, replay, words);
        let (keep, inputs) = (self.held_out.capacity(), self.adaptation.network().inputs());
        push(&mut self.held_out, keep, inputs, held_out, words);
    }

    /// Not started any more.
    pub(crate) fn stop(&mut self) {
        self.adaptation.stop();
    }

    /// Takes one labelled sample: learns it, or holds it out. `observe` is told of every step.
    ///
    /// # Errors
    /// As [`Session::begin`].
    pub fn learn(&mut self, input: &[f32], label: u32, observe: impl FnMut(Report)) -> Result<Taken, Refusal> {
        let taken = self.begin(input, label)?;
        self.finish(observe);
        Ok(taken)
    }

    /// Takes one labelled sample: begins to learn it, or holds it out. An earlier one is [finished](Self::finish) first.
    ///
    /// # Errors
    /// As [`Adaptation::begin`]; then nothing has changed, the count of samples included.
    pub fn begin(&mut self, input: &[f32], label: u32) -> Result<Taken, Refusal> {
        self.finish(|_| ());
        let taken = self.counts.taken.wrapping_add(1);
        let held_out =
            self.adaptation.recipe().hold_out.filter(|HoldOut { every, .. }| is_multiple(taken, (*every).into()));
        let prediction = if let Some(HoldOut { keep, .. }) = held_out {
            Class(label).check(self.adaptation.network().outputs())?;
            let prediction = self.adaptation.predict(input)?;
            self.held_out.push(keep as usize, input.iter().copied(), label);
            prediction
        } else {
            self.adaptation.begin(input, label)?
        };
        self.counts.taken = taken;
        Ok(Taken { prediction, held_out: held_out.is_some() })
    }

    /// The next slice of the sample that is being learnt: see [`Adaptation::advance`]. [`Session::predict`] may be asked
    /// between two of them, and answers as before: by the weights in use.
    pub fn advance(&mut self) -> Slice {
        self.adaptation.advance()
    }

    /// All slices that are left of the sample that is being learnt; `observe` is told of every step.
    pub fn finish(&mut self, observe: impl FnMut(Report)) {
        self.adaptation.finish(observe);
    }

    /// The class of a sample by the weights in use.
    ///
    /// # Errors
    /// Where the sample is refused.
    pub fn predict(&mut self, input: &[f32]) -> Result<Prediction, Refusal> {
        self.exchange();
        let prediction = self.adaptation.predict(input);
        self.exchange();
        prediction
    }

    /// Ends the session: [finishes](Self::finish) its last sample, commits its weights or rolls them back, says which, and
    /// begins the next one.
    pub fn end(&mut self) -> Verdict {
        self.finish(|_| ());
        let after = self.right();
        self.exchange();
        let before = self.right();
        let committed = after >= before;
        if committed {
            self.exchange();
            self.counts.committed = self.counts.committed.wrapping_add(1);
        } else {
            self.adaptation.network_mut().parameters(&mut |mut parameter| parameter.start());
            self.counts.rolled_back = self.counts.rolled_back.wrapping_add(1);
        }
        self.put_in_use();
        self.adaptation.renew();
        Verdict { committed, held_out: self.held_out.len() as u32, before, after }
    }

    /// How many held-out samples the network predicts rightly with the X that it holds.
    fn right(&mut self) -> u32 {
        let mut right = 0;
        for index in 0..self.held_out.len() {
            if let Some((input, label)) = self.held_out.get(index) {
                right += u32::from(self.adaptation.predict(input).is_ok_and(|prediction| prediction.class == label));
            }
        }
        right
    }

    /// The weights in use into the network, the network's X where they were.
    fn exchange(&mut self) {
        let mut in_use = self.in_use.as_mut();
        self.adaptation.network_mut().parameters(&mut |Parameter { mut state, .. }| {
            let x = state.x.elements_mut();
            let (used, rest) = split_mut(core::mem::take(&mut in_use), x.len());
            elementwise::exchange(x, used);
            in_use = rest;
        });
    }

    /// Uses the network's X from now on.
    fn put_in_use(&mut self) {
        let mut in_use = self.in_use.as_mut().iter_mut();
        self.adaptation.network_mut().parameters(&mut |Parameter { state, .. }| {
            state.x.elements().iter().zip(&mut in_use).for_each(|(x, used)| *used = *x);
        });
    }

    /// The adaptation that goes on beside the weights in use.
    pub fn adaptation(&self) -> &Adaptation<N, R, S> {
        &self.adaptation
    }

    /// The network, to be given other weights; [start](Self::start) again after that.
    pub fn network_mut(&mut self) -> &mut N {
        self.adaptation.network_mut()
    }

    /// The samples that judge a session, oldest first.
    pub fn held_out(&self) -> &H {
        &self.held_out
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The weights in use, parameter by parameter, row by row.
    pub fn in_use(&mut self) -> &[f32] {
        self.in_use.as_mut()
    }
}
