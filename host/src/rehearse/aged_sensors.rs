//! Rehearsal of sensors that have aged in different ways. Step sizes are chosen on other aged sensors than the
//! reported ones.

use super::task::accuracy;
use super::{METHODS, Run, Runs, Task, some};
use crate::checkpoint::Trained;
use crate::error::Result;
use crate::statistics::Spread;
use graftage_core::adapt::Recipe;
use serde::{Deserialize, Serialize};

/// Interval of the accuracy measurements in a reported run, in samples.
const PROBE: usize = 10;

/// Rehearsal of aged sensors.
#[derive(Debug)]
pub struct AgedSensors<'a> {
    /// Trained network and its unaged samples. Streams are made of the training part; the test part measures accuracy.
    pub trained: &'a Trained,
    /// Samples per stream.
    pub samples: usize,
    /// Probability that a label of a stream is wrong.
    pub wrong_labels: f32,
    /// Recipe of the board. Its step size is replaced by each one of the grid.
    pub recipe: Recipe,
    /// Seeds of the ageing for choosing step sizes.
    pub tune: Vec<u64>,
    /// Reported seeds of the ageing.
    pub report: Vec<u64>,
}

/// Results of `graftage rehearse`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Labelled samples per stream, seen through the aged sensor.
    pub samples: usize,
    /// Seeds of the ageing on which step sizes were chosen.
    pub tuned_on: Vec<u64>,
    /// Reported seeds of the ageing.
    pub reported_on: Vec<u64>,
    /// Accuracy on the unaged test samples.
    pub clean: f32,
    /// Accuracy on the aged test samples before any adaptation.
    pub aged: Spread,
    /// Results of all methods, the board's first.
    pub methods: Vec<Method>,
}

/// Result of a method of adaptation at its chosen step size.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Method {
    /// Key in the summary, e.g. `transported_scion`.
    pub key: String,
    /// In words.
    pub name: String,
    /// Chosen step size.
    pub step_size: f32,
    /// (step size, mean accuracy on the tuning seeds) for the whole grid.
    pub grid: Vec<(f32, f32)>,
    /// Final accuracy on the aged test samples.
    pub accuracy: Spread,
    /// (samples learnt, mean accuracy over the reported seeds).
    pub curve: Vec<(usize, f32)>,
}

impl AgedSensors<'_> {
    /// Runs all methods on all seeds, on all processors. `progress` receives (runs done, runs in all).
    ///
    /// # Errors
    /// Returns an error if there are no seeds to report, or if the checkpoint, the recipe or a sample is refused.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Rehearsal> {
        some(&self.report)?;
        let task = |seed: &u64| Task::aged(self.trained, self.samples, *seed).mislabelled(self.wrong_labels);
        let tasks = |seeds: &[u64]| -> Vec<Task> { seeds.iter().map(task).collect() };
        let (tuning, reporting) = (tasks(&self.tune), tasks(&self.report));
        let before = reporting.iter().map(Task::before).collect::<Result<Vec<_>>>()?.concat();
        let clean = accuracy(&mut self.trained.checkpoint.network()?, &self.trained.test)?;

        let total = Run::grids(&tuning).count() + METHODS * reporting.len();
        let runs = Runs::new(self.recipe, total, progress);
        let grids = runs.grids(&tuning)?;
        let chosen = grids.iter().map(|grid| (grid, grid.best(|_| true)));
        let finals: Vec<_> = chosen
            .flat_map(|(grid, step_size)| reporting.iter().map(move |task| Run { mover: grid.mover, step_size, task }))
            .collect();
        let curves = runs.curves(&finals, PROBE)?;
        let methods = grids.iter().zip(finals.chunks(reporting.len()).zip(curves.chunks(reporting.len())));
        let methods = methods.map(|(grid, (finals, curves))| {
            let at = |i: usize| curves.iter().map(|curve| curve[i]).sum::<f32>() / curves.len() as f32;
            let (key, name) = grid.mover.names();
            Method {
                key: key.into(),
                name: name.into(),
                step_size: finals.first().map_or(0.0, |run| run.step_size),
                grid: grid.means(|_| true).collect(),
                accuracy: Spread::of(curves.iter().filter_map(|curve| curve.last().copied()).collect()),
                curve: (0..curves[0].len()).map(|i| ((i * PROBE).min(self.samples), at(i))).collect(),
            }
        });
        Ok(Rehearsal {
            samples: self.samples,
            tuned_on: self.tune.clone(),
            reported_on: self.report.clone(),
            clean,
            aged: Spread::of(before),
            methods: methods.collect(),
        })
    }
}
