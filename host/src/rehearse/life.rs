//! Rehearsal of a long life: a sensor that keeps ageing, and labels that are sometimes wrong.

use super::{METHODS, Mover, Run, Runs, Task, some};
use crate::checkpoint::Trained;
use crate::error::{Error, Result};
use crate::statistics::Spread;
use graftage_core::adapt::Recipe;
use serde::{Deserialize, Serialize};

/// Samples per session.
const SESSION: usize = 500;

/// Rehearsal of lives.
#[derive(Debug)]
pub struct Life<'a> {
    /// Trained network and its unaged samples. The training part comes again and again; the test part measures
    /// accuracy.
    pub trained: &'a Trained,
    /// Samples per life.
    pub samples: usize,
    /// Probability that a label is wrong.
    pub wrong_labels: f32,
    /// Recipe of the board.
    pub recipe: Recipe,
    /// Seeds of the lives.
    pub seeds: Vec<u64>,
}

/// Results of `graftage rehearse --life`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LifeRehearsal {
    /// Samples per life.
    pub samples: usize,
    /// Samples per session.
    pub session: usize,
    /// Probability that a label is wrong.
    pub wrong_labels: f32,
    /// Seeds of the lives.
    pub seeds: Vec<u64>,
    /// Accuracy without adaptation.
    pub unadapted: Quarters,
    /// Results of all methods, the board's first.
    pub methods: Vec<LifeMethod>,
}

/// Accuracy in each quarter of a life: the mean over the ends of its sessions.
pub type Quarters = [Spread; 4];

/// Result of a method.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LifeMethod {
    /// Key, e.g. `transported_scion`.
    pub key: String,
    /// Name of the method.
    pub name: String,
    /// Step size.
    pub step_size: f32,
    /// Accuracy per quarter.
    pub accuracy: Quarters,
    /// For each life, the accuracy at the end of each session.
    pub sessions: Vec<Vec<f32>>,
}

impl Life<'_> {
    /// Samples of the shortest life, in which each quarter contains the end of a session.
    pub const SHORTEST: usize = 4 * SESSION;

    /// Runs all lives with all methods, on all processors. `progress` receives (runs done, runs in all).
    ///
    /// # Errors
    /// Returns an error if there are no seeds or a life is too short, or if the checkpoint, the recipe or a sample is
    /// refused.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<LifeRehearsal> {
        let Self { trained, samples, wrong_labels, recipe, seeds } = self;
        some(seeds)?;
        if *samples < Self::SHORTEST {
            let what = format!(
                "a life of {samples} samples is too short: it must have at least {}, one session in each quarter",
                Self::SHORTEST
            );
            return Err(Error::Usage(what));
        }
        let life = |seed: &u64| Task::life(trained, (*samples, SESSION), *seed).mislabelled(*wrong_labels);
        let tasks: Vec<Task> = seeds.iter().map(life).collect();
        let runs: Vec<_> = Mover::ALL
            .iter()
            .flat_map(|mover| tasks.iter().map(|task| Run { mover: *mover, step_size: mover.usual(recipe), task }))
            .collect();
        let unadapted = tasks.iter().map(Task::before).collect::<Result<Vec<_>>>()?;
        let curves = Runs::new(*recipe, METHODS * tasks.len(), progress).curves(&runs, SESSION)?;
        let methods = runs.chunks(tasks.len()).zip(curves.chunks(tasks.len())).map(|(runs, curves)| {
            let (key, name) = runs[0].mover.names();
            // Skips the measurement before the first session, when nothing has aged.
            let sessions: Vec<_> = curves.iter().map(|curve| curve[1..].to_vec()).collect();
            let accuracy = quarters(*samples, &sessions);
            LifeMethod { key: key.into(), name: name.into(), step_size: runs[0].step_size, accuracy, sessions }
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

/// Computes for each life and quarter the mean over the sessions that end there.
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
