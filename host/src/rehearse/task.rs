//! Adaptation task of a network.

use crate::checkpoint::{Checkpoint, Trained};
use crate::data::{AgedSensor, AgeingSensor, Samples};
use crate::error::Result;
use crate::workstation::{self, Sessions, start_sessions};
use graftage_core::adapt::Recipe;
use graftage_core::arithmetic::Functions;
use graftage_core::error::Refusal;
use graftage_core::network::{Layer, predict, scratch_length};

/// Labelled samples in the order of their arrival, and others that measure accuracy.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Trained network.
    pub checkpoint: &'a Checkpoint,
    /// Samples to learn.
    pub(super) stream: Samples,
    /// Samples per session, 1 or more; the last session may be shorter.
    pub(super) session: usize,
    /// Samples that measure accuracy: one set per session, as the sensor sees them at its end. The last set also serves
    /// all later sessions. There is at least one.
    pub(super) tests: Vec<Samples>,
    /// Seed of the wrong labels, and of the weights if a method starts from random ones.
    pub(super) seed: u64,
}

impl<'a> Task<'a> {
    /// Creates a task with one session and the same test throughout.
    pub fn new(checkpoint: &'a Checkpoint, stream: Samples, test: Samples, seed: u64) -> Self {
        Self { checkpoint, session: stream.len().max(1), stream, tests: vec![test], seed }
    }

    /// Creates a task of `samples` training samples through an aged sensor, clipped as on the device, in one session.
    pub fn aged(trained: &'a Trained, samples: usize, seed: u64) -> Self {
        let Trained { checkpoint, train, test } = trained;
        let sensor = AgedSensor::draw(train.inputs(), seed);
        let seen = |samples: &Samples| clipped(checkpoint, samples.aged(&sensor));
        Self::new(checkpoint, seen(&train.arrive(samples, seed)), seen(test), seed)
    }

    /// Creates a task of `samples` training samples, repeated as often as necessary, through a sensor that keeps
    /// ageing, in sessions of this length. It is tested through the sensor in its current state.
    pub fn life(trained: &'a Trained, (samples, session): (usize, usize), seed: u64) -> Self {
        let Trained { checkpoint, train, test } = trained;
        let (sensor, session) = (AgeingSensor::draw(train.inputs(), seed, samples), session.max(1));
        let stream = clipped(checkpoint, train.arrive(samples, seed).ageing(&sensor));
        let ends = (session..samples).step_by(session).chain([samples]);
        let tests = ends.map(|end| clipped(checkpoint, test.aged(&sensor.after(end)))).collect();
        Self { checkpoint, stream, session, tests, seed }
    }

    /// Replaces each label of the stream, with this probability, by one of the other classes.
    ///
    /// This is drawn anew for every place in the stream, whichever sample comes there ([`Samples::mislabel`]). The
    /// tests keep their labels.
    pub fn mislabelled(mut self, share: f32) -> Self {
        self.stream.mislabel(share, self.checkpoint.numbers().outputs, self.seed);
        self
    }

    /// Returns the accuracy of the unchanged checkpoint on each set of tests.
    ///
    /// # Errors
    /// Returns an error if the checkpoint or a sample is refused.
    pub fn before(&self) -> Result<Vec<f32>> {
        let mut network = self.checkpoint.network()?;
        self.tests.iter().map(|test| accuracy(&mut network, test)).collect()
    }

    /// Returns the accuracy of a network before it learns, and after every `probe` samples of the stream. The last one
    /// is measured after the end of the last session. A pull to the start pulls to the checkpoint.
    ///
    /// # Errors
    /// Returns an error if the recipe or a sample is refused. A refusal by a movement budget is not an error; the
    /// sample is then not learnt.
    pub fn learn<N: Layer>(&self, network: N, recipe: Recipe, probe: usize) -> Result<Vec<f32>> {
        let start = self.checkpoint.words();
        let mut session = start_sessions(network, recipe, &start)?;
        let mut test = &self.tests[0];
        let mut curve = vec![accuracy(session.network_mut(), test)?];
        for (index, sample) in self.stream.iter().enumerate() {
            test = self.tests.get(index / self.session).unwrap_or(test);
            take(&mut session, sample)?;
            let (learnt, last) = (index + 1, index + 1 == self.stream.len());
            if last || learnt.is_multiple_of(self.session) {
                session.end();
            }
            if last || learnt.is_multiple_of(probe) {
                curve.push(accuracy(session.network_mut(), test)?);
            }
        }
        Ok(curve)
    }
}

/// Learns a sample, unless a movement budget refuses it.
pub(super) fn take<N: Layer>(session: &mut Sessions<N>, (input, label): (&[f32], u32)) -> Result<()> {
    match session.learn(input, label, |_| ()) {
        Ok(_) | Err(Refusal::Budget) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Clips the sensor's readings as the device does, if the normalisation clips.
pub(super) fn clipped(checkpoint: &Checkpoint, mut seen: Samples) -> Samples {
    checkpoint.about.normalisation.iter().for_each(|normalisation| normalisation.clip(&mut seen));
    seen
}

/// Returns the share of samples whose class the network predicts correctly with the weights X.
pub(super) fn accuracy<N: Layer>(network: &mut N, samples: &Samples) -> Result<f32> {
    let mut scratch = vec![0.0; scratch_length(network)];
    workstation::accuracy(samples, |input| predict(network, Functions::Libm, input, &mut scratch))
}
