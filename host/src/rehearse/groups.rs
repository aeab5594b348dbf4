//! Rehearsal of groups: people, or other groups of samples, that a network has not seen. It adapts to each one from a
//! few labelled samples per class.
//!
//! The step size for a group is the one that is best for all other groups, so a group's own samples do not influence
//! it. The checkpoints of the others may have been trained on the group, which affects only the choice of this one
//! number.

use super::{Run, Runs, Task};
use crate::checkpoint::Checkpoint;
use crate::data::Samples;
use crate::error::{Error, Result};
use crate::statistics::Spread;
use graftage_core::adapt::Recipe;
use serde::{Deserialize, Serialize};

/// A trained network, and the groups that it has not seen, by name.
pub type Unseen = (Checkpoint, Vec<(String, Samples)>);

/// Rehearsal of groups.
#[derive(Debug)]
pub struct Groups<'a> {
    /// Networks with groups of one kind of data.
    pub unseen: &'a [Unseen],
    /// Labelled samples per class in a stream, if there are at least twice as many; otherwise half of the available
    /// ones.
    pub per_class: usize,
    /// Seeds of the streams, which determine the samples of a stream and their order. A group's accuracy is the mean
    /// over them.
    pub streams: Vec<u64>,
    /// Probability that a label of a stream is wrong.
    pub wrong_labels: f32,
    /// Recipe of the board. Its step size is replaced by each one of the grid.
    pub recipe: Recipe,
}

/// Results of `graftage rehearse --per-class`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupRehearsal {
    /// Labelled samples per class in a stream.
    pub per_class: usize,
    /// Seeds of the streams. Each accuracy of a group is the mean over them.
    pub streams: Vec<u64>,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// For each group, the numbers of samples in a stream and for the test.
    pub samples: Vec<(usize, usize)>,
    /// Accuracy before any adaptation.
    pub before: Spread,
    /// Results of all methods, the board's first.
    pub methods: Vec<GroupMethod>,
}

/// Result of a method that adapts to groups.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupMethod {
    /// Key, e.g. `transported_scion`.
    pub key: String,
    /// In words.
    pub name: String,
    /// Step size that is best over all groups, which a board would get.
    pub step_size: f32,
    /// For each group, the step size that is best over all other groups.
    pub step_sizes: Vec<f32>,
    /// Final accuracy, each group's with its own step size of [`GroupMethod::step_sizes`].
    pub accuracy: Spread,
    /// (step size, final accuracy) for the whole grid.
    pub grid: Vec<(f32, Spread)>,
}

impl Groups<'_> {
    /// Runs all methods with all step sizes on all groups, on all processors. `progress` receives (runs done, runs in
    /// all).
    ///
    /// # Errors
    /// Returns an error if there are fewer than two groups, if one of them has no class with two samples, or if the
    /// checkpoint, the recipe or a sample is refused.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<GroupRehearsal> {
        let (mut names, mut tasks) = (Vec::new(), Vec::new());
        for (checkpoint, groups) in self.unseen {
            for (name, samples) in groups {
                names.push(name.as_str());
                for seed in &self.streams {
                    let (stream, test) = samples.introduce(self.per_class, *seed);
                    if stream.is_empty() {
                        return Err(Error::Usage(format!(
                            "group {name:?}: no class has two samples, one to learn and one to test"
                        )));
                    }
                    tasks.push(Task::new(checkpoint, stream, test, *seed).mislabelled(self.wrong_labels));
                }
            }
        }
        if names.iter().all(|name| *name == names[0]) {
            return Err(Error::Usage(
                "a group's step size is chosen on other groups: name checkpoints with at least two groups".into(),
            ));
        }
        let streams = self.streams.len();
        let by_group = |accuracies: &[f32]| -> Vec<f32> {
            accuracies.chunks(streams).map(|group| group.iter().sum::<f32>() / streams as f32).collect()
        };
        let before = tasks.iter().map(Task::before).collect::<Result<Vec<_>>>()?.concat();
        let grids = Runs::new(self.recipe, Run::grids(&tasks).count(), progress).grids(&tasks)?;
        let methods = grids.iter().map(|grid| {
            let others = |name: &str| grid.best(|task| names[task / streams] != name);
            let step_sizes: Vec<_> = names.iter().map(|name| others(name)).collect();
            let of = |step: f32| grid.rows.iter().find(|row| row.0 == step).map_or(Vec::new(), |row| by_group(&row.1));
            let accuracy = step_sizes.iter().enumerate().filter_map(|(group, step)| of(*step).get(group).copied());
            let (key, name) = grid.mover.names();
            GroupMethod {
                key: key.into(),
                name: name.into(),
                step_size: grid.best(|_| true),
                accuracy: Spread::of(accuracy.collect()),
                grid: grid.rows.iter().map(|(step, row)| (*step, Spread::of(by_group(row)))).collect(),
                step_sizes,
            }
        });
        Ok(GroupRehearsal {
            per_class: self.per_class,
            streams: self.streams.clone(),
            samples: tasks.iter().step_by(streams).map(|task| (task.stream.len(), task.tests[0].len())).collect(),
            before: Spread::of(by_group(&before)),
            methods: methods.collect(),
            groups: names.iter().map(|name| (*name).into()).collect(),
        })
    }
}
