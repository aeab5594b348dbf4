//! Best measurement of a training so far: the lowest loss on the validation part or, without one, on the test part.

use super::Trainer;
use crate::config;
use crate::error::{Error, Result};
use graftage::training::{Best, TrainingPoint};
use graftage_optim::Tensors;
use serde::{Deserialize, Serialize};

/// Prefix of a best weight's name in a state, before the name of the parameter.
const PREFIX: &str = "best/";

/// The best measurement, and the number of later ones that were not better.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Best measurement; `None` before the first.
    pub best: Option<Best>,
    /// Number of measurements since.
    pub since: u64,
}

impl Standing {
    /// Returns `true` if the training should end because `stop_after` measurements in a row were not better.
    pub fn exhausted(&self, training: &config::Training) -> bool {
        training.stop_after.is_some_and(|most| self.since >= most)
    }

    /// Adds a measurement and returns `true` if it is the best so far.
    fn judge(&mut self, point: &TrainingPoint) -> bool {
        let (chosen_on, chosen_loss) = match point.validation_loss {
            Some(loss) => ("validation", loss),
            None => ("test", point.test_loss),
        };
        let better = self.best.as_ref().is_none_or(|best| chosen_loss < best.chosen_loss);
        self.since = if better { 0 } else { self.since + 1 };
        if better {
            let TrainingPoint { step, test_loss, accuracy, .. } = *point;
            self.best = Some(Best { step, chosen_on: chosen_on.to_owned(), chosen_loss, test_loss, accuracy });
        }
        better
    }
}

/// The best measurement, and its weights if they are kept.
#[derive(Default)]
pub(super) struct Search {
    pub standing: Standing,
    /// X of each parameter.
    pub weights: Option<Tensors>,
}

impl Search {
    /// Takes the best weights out of a state.
    ///
    /// # Errors
    /// Returns an error if the weights are to be kept and the state lacks some of them.
    pub fn restore(standing: Standing, state: &mut Tensors, trainer: &Trainer) -> Result<Self> {
        let (best, rest): (Tensors, Tensors) =
            std::mem::take(state).into_iter().partition(|(name, _)| name.starts_with(PREFIX));
        *state = rest;
        if trainer.config.training.keep != config::Keep::Best || standing.best.is_none() {
            return Ok(Self { standing, weights: None });
        }
        let weights = trainer.optimizer.x()?.into_iter().map(|(name, x)| {
            let found = best.iter().find(|(found, _)| found.strip_prefix(PREFIX) == Some(name.as_str()));
            match found {
                Some((_, weights)) if weights.size() == x.size() => Ok((name, weights.shallow_clone())),
                _ => Err(Error::usage(format!("the best weights of parameter {name} are missing from the state"))),
            }
        });
        Ok(Self { weights: Some(weights.collect::<Result<_>>()?), standing })
    }

    /// Adds a measurement of the trainer's current weights.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn judge(&mut self, point: &TrainingPoint, trainer: &Trainer) -> Result<()> {
        if self.standing.judge(point) && trainer.config.training.keep == config::Keep::Best {
            self.weights = Some(trainer.optimizer.x()?);
        }
        Ok(())
    }

    /// Returns the tensors that store the best weights in a state.
    pub fn tensors(&self) -> impl Iterator<Item = (String, tch::Tensor)> {
        let weights = self.weights.iter().flatten();
        weights.map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.shallow_clone()))
    }
}
