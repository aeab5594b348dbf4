//! A long life: a sensor that goes on ageing, and somebody who sometimes labels wrongly.

use super::{METHODS, Mover, Run, Runs, Task};
use crate::checkpoint::Checkpoint;
use crate::data::Samples;
use crate::error::{Error, Result};
use crate::statistics::Spread;
use graftage_core::adapt::Recipe;
use serde::{Deserialize, Serialize};

/// Samples of a session.
const SESSION: usize = 500;

/// A rehearsal of lives.
#[derive(Debug)]
pub struct Life<'a> {
    /// The trained network.
    pub checkpoint: &'a Checkpoint,
    /// Samples that come again and again, as they are.
    pub train: &'a Samples,
    /// Samples that measure accuracy, as they are.
    pub test: &'a Samples,
    /// Samples of a life.
    pub samples: usize,
    /// The probability that a label is wrong.
    pub wrong_labels: f32,
    /// How the board adapts.
    pub recipe: Recipe,
    /// Seeds of lives.
    pub seeds: Vec<u64>,
}

/// What `graftage rehearse --life` measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LifeRehearsal {
    /// Samples of a life.
    pub samples: usize,
    /// Samples of a session.
    pub session: usize,
    /// The probability that a label is wrong.
    pub wrong_labels: f32,
    /// Seeds of the lives.
    pub seeds: Vec<u64>,
    /// Without adapting.
    pub unadapted: Quarters,
    /// Each method, the board's first.
    pub methods: Vec<LifeMethod>,
}

/// Accuracy in each quarter of a life, the mean over the ends of its sessions.
pub type Quarters = [Spread; 4];

/// How a method lived.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LifeMethod {
    /// Key, e.g. `transported_scion`.
    pub key: String,
    /// In words.
    pub name: String,
    /// Its step size.
    pub step: f32,
    /// Accuracy by quarters.
    pub accuracy: Quarters,
    /// Of each life, the accuracy at the end of each session.
    pub sessions: Vec<Vec<f32>>,
}

impl Life<'_> {
    /// Samples of the shortest life: each quarter has the end of a session.
    pub const SHORTEST: usize = 4 * SESSION;

    /// Lives all lives with all methods, on all processors; `progress` is told (runs done, runs in all).
    ///
    /// # Errors
    /// Where a life is too short, there is none, or the checkpoint, the recipe or a sample is refused.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<LifeRehearsal> {
        let Self { checkpoint, train, test, samples, wrong_labels, recipe, seeds } = self;
        if *samples < Self::SHORTEST {
            let what = format!(
                "a life of {samples} samples is too short: it has {} or more, a session a quarter",
                Self::SHORTEST
            );
            return Err(Error::Usage(what));
        }
        let life =
            |seed: &u64| Task::life(checkpoint, train, test, (*samples, SESSION), *seed).mislabelled(*wrong_labels);
        let tasks: Vec<Task> = seeds.iter().map(life).collect();
        let runs: Vec<_> = Mover::ALL
            .iter()
            .flat_map(|mover| tasks.iter().map(|task| Run { mover: *mover, step: mover.usual(recipe), task }))
            .collect();
        let unadapted = tasks.iter().map(Task::before).collect::<Result<Vec<_>>>()?;
        let curves = Runs::new(*recipe, METHODS * tasks.len(), progress).curves(&runs, SESSION)?;
        let methods = runs.chunks(tasks.len()).zip(curves.chunks(tasks.len())).map(|(runs, curves)| {
            let (key, name) = runs[0].mover.names();
            // Before the first session nothing has aged.
            let sessions: Vec<_> = curves.iter().map(|curve| curve[1..].to_vec()).collect();
            let accuracy = quarters(*samples, &sessions);
            LifeMethod { key: key.into(), name: name.into(), step: runs[0].step, accuracy, sessions }
        });
        Ok(LifeRehearsal {
            samples: *samples,
            session: SESSION,
            wrong_labels: *wrong_labels,
            seeds: seeds.clone(),
            unadapted: quarters(*samples, &unadapted),
            methods: methods.collect(),
        })
    }
}

/// Of each life the mean in each quarter over the sessions that end there.
fn quarters(samples: usize, lives: &[Vec<f32>]) -> Quarters {
    [0, 1, 2, 3].map(|quarter| {
        let mean = |sessions: &Vec<f32>| {
            let ends = (1..).map(|session| (session * SESSION).min(samples));
            let here = sessions.iter().zip(ends).filter(|(_, end)| 4 * (end - 1) / samples == quarter);
            let (sum, count) = here.fold((0.0, 0.0), |(sum, count), (accuracy, _)| (sum + accuracy, count + 1.0));
            sum / count
        };
        Spread::of(lives.iter().map(mean).collect())
    })
}
