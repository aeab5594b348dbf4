//! Learner with a sensor beside it.

use crate::learner::{Learn, Slice};
use crate::store::StoreError;
use graftage_core::error::Refusal;
use graftage_core::network::Prediction;
use graftage_core::session::{Counts, Taken};
use graftage_link::journal::Piece;
use graftage_link::{Array, Ended, Memory, NUMBERS, Status};
use heapless::Vec;

/// Learner L that knows the newest sample of a sensor, I numbers.
///
/// An empty sample stands for the newest one; before there is one it is refused ([`Refusal::Length`]).
#[derive(Debug)]
pub struct Sensing<L, const I: usize> {
    learner: L,
    newest: Option<[f32; I]>,
}

impl<L: Learn, const I: usize> Sensing<L, I> {
    /// Creates a learner without a newest sample.
    pub const fn new(learner: L) -> Self {
        const { assert!(I == L::INPUTS as usize, "the sensor's samples are not what the network takes") }
        Self { learner, newest: None }
    }

    /// Takes a sample in the sensor's units and predicts its class.
    ///
    /// # Errors
    /// If the sample is refused. It becomes the newest sample all the same, so its label is refused too.
    pub fn sense(&mut self, sample: [f32; I]) -> Result<Prediction, Refusal> {
        let scale = self.learner.status().scale;
        let sample = sample.map(|feature| feature / scale);
        self.newest = Some(sample);
        self.learner.predict(&sample)
    }
}

/// Returns the newest sample for an empty one, else the sample itself.
fn meant<'a, const I: usize>(sample: &'a [f32], newest: &'a Option<[f32; I]>) -> &'a [f32] {
    match newest {
        Some(newest) if sample.is_empty() => newest,
        _ => sample,
    }
}

impl<L: Learn, const I: usize> Learn for Sensing<L, I> {
    const SCHEMA: u64 = L::SCHEMA;
    const INPUTS: u32 = L::INPUTS;
    const CLASSES: u32 = L::CLASSES;
    const MEMORY: Memory = L::MEMORY;

    fn predict(&mut self, sample: &[f32]) -> Result<Prediction, Refusal> {
        self.learner.predict(meant(sample, &self.newest))
    }

    fn begin(&mut self, sample: &[f32], label: u32) -> Result<Taken, Refusal> {
        self.learner.begin(meant(sample, &self.newest), label)
    }

    fn advance(&mut self) -> Slice {
        self.learner.advance()
    }

    fn end(&mut self) -> Ended {
        self.learner.end()
    }

    fn reset(&mut self) -> Result<u64, StoreError> {
        self.learner.reset()
    }

    fn counts(&self) -> Counts {
        self.learner.counts()
    }

    fn status(&mut self) -> Status {
        self.learner.status()
    }

    fn numbers(&mut self, array: Array, first: usize) -> Vec<f32, NUMBERS> {
        self.learner.numbers(array, first)
    }
    fn journal(&mut self, first: u32) -> Piece {
        self.learner.journal(first)
    }
}
