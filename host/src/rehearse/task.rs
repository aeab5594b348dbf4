//! What a network adapts to.

use crate::adaptation::{self, Sessions, start_sessions};
use crate::checkpoint::Checkpoint;
use crate::data::{AgedSensor, AgeingSensor, Samples};
use crate::error::Result;
use graftage_core::adapt::Recipe;
use graftage_core::arithmetic::Functions;
use graftage_core::error::Refusal;
use graftage_core::network::{Layer, predict, scratch_length};

/// Labelled samples as they come, and others that tell how well a network does.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// The trained network.
    pub checkpoint: &'a Checkpoint,
    /// Samples to learn.
    pub(super) stream: Samples,
    /// Samples of a session, 1 or more; the last one may be shorter.
    pub(super) session: usize,
    /// Samples that measure accuracy, a set for each session: as the sensor sees them at its end. The last set is that of all
    /// sessions after it, too; there is one at least.
    pub(super) tests: Vec<Samples>,
    /// Seed of wrong labels, and of random weights where a method starts from such.
    pub(super) seed: u64,
}

impl<'a> Task<'a> {
    /// One session, the same test throughout.
    pub fn new(checkpoint: &'a Checkpoint, stream: Samples, test: Samples, seed: u64) -> Self {
        Self { checkpoint, session: stream.len().max(1), stream, tests: vec![test], seed }
    }

    /// So many of the training samples through a sensor that has aged, as its device clips them, in one session.
    pub fn drift(checkpoint: &'a Checkpoint, train: &Samples, test: &Samples, samples: usize, seed: u64) -> Self {
        let sensor = AgedSensor::draw(train.inputs(), seed);
        let seen = |samples: &Samples| clipped(checkpoint, samples.aged(&sensor));
        Self::new(checkpoint, seen(&train.arrive(samples, seed)), seen(test), seed)
    }

    /// So many of the training samples, each as often as it takes, through a sensor that goes on ageing, in sessions of such a
    /// length; tested through the sensor of the moment.
    pub fn life(
        checkpoint: &'a Checkpoint,
        train: &Samples,
        test: &Samples,
        (samples, session): (usize, usize),
        seed: u64,
    ) -> Self {
        let (sensor, session) = (AgeingSensor::draw(train.inputs(), seed, samples), session.max(1));
        let stream = clipped(checkpoint, train.arrive(samples, seed).ageing(&sensor));
        let ends = (session..samples).step_by(session).chain([samples]);
        let tests = ends.map(|end| clipped(checkpoint, test.aged(&sensor.after(end)))).collect();
        Self { checkpoint, stream, session, tests, seed }
    }

    /// The same, each label of the stream with this probability one of the other classes: drawn anew for every place in the
    /// stream, whatever sample comes there ([`Samples::mislabel`]). Tests stay right.
    pub fn mislabelled(mut self, share: f32) -> Self {
        self.stream.mislabel(share, self.checkpoint.shape().1, self.seed);
        self
    }

    /// The accuracy of the checkpoint as it is on each set of tests.
    ///
    /// # Errors
    /// Where the checkpoint or a sample is refused.
    pub fn before(&self) -> Result<Vec<f32>> {
        let mut network = self.checkpoint.network()?;
        self.tests.iter().map(|test| accuracy(&mut network, test)).collect()
    }

    /// The accuracy of a network before it learns, and after every `probe` samples of the stream; the last one after the last
    /// session's end. A pull to the start is one to the checkpoint.
    ///
    /// # Errors
    /// Where the recipe or a sample is refused. What a drift budget refuses is not learnt, and no error.
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

/// Learns a sample, or not where a drift budget refuses it.
pub(super) fn take<N: Layer>(session: &mut Sessions<N>, (input, label): (&[f32], u32)) -> Result<()> {
    match session.learn(input, label, |_| ()) {
        Ok(_) | Err(Refusal::Budget) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// What a device clips of what its sensor reads, where its normalisation does.
pub(super) fn clipped(checkpoint: &Checkpoint, mut seen: Samples) -> Samples {
    checkpoint.about.normalisation.iter().for_each(|normalisation| normalisation.clip(&mut seen));
    seen
}

/// The share of samples whose class a network's weights X predict.
pub(super) fn accuracy<N: Layer>(network: &mut N, samples: &Samples) -> Result<f32> {
    let mut scratch = vec![0.0; scratch_length(network)];
    adaptation::accuracy(samples, |input| predict(network, Functions::Libm, input, &mut scratch))
}
