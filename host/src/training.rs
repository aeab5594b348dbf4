//! Results of a training, as `training.json` holds them.

use crate::confusion::Confusion;
use crate::statistics::{nan_from_null, percent};
use graftage_core::scion::Rule;
use serde::{Deserialize, Serialize};

/// Results of `graftage train`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Training {
    /// Description of the architecture, e.g. `MLP with hidden layers of 32`.
    pub network: String,
    /// Number of parameters of the network.
    pub parameters: usize,
    /// Name of the optimizer.
    pub optimizer: String,
    /// Arithmetic: `fast` or `exact`.
    pub arithmetic: String,
    /// Number of steps taken.
    pub steps: u64,
    /// Samples per step; for a text, windows.
    pub batch: usize,
    /// Rule.
    pub rule: Rule,
    /// Words for a schedule of the step size that core does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Words for settings beside the rule: decay, limiter and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Seed of weights and batches.
    pub seed: u64,
    /// Numbers of training and test samples; for a text, of windows, which overlap.
    pub samples: (usize, usize),
    /// Number of samples that the steps drew, counted each time; for a text, the tokens of all windows. The training
    /// learnt from this amount, not from [`Training::samples`].
    #[serde(default)]
    pub drawn: u64,
    /// Best measurement, if its weights were kept.
    #[serde(default)]
    pub best: Option<Best>,
    /// True if the training ended before its last step, because many measurements in a row were not better.
    #[serde(default)]
    pub stopped_early: bool,
    /// Unit of the rate: `samples`, `images` or `tokens`.
    pub unit: String,
    /// Mean loss on the test part at the end, in nats.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f32,
    /// Share of correct answers on the test part at the end.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy: f32,
    /// Table of how each parameter was stepped, if the rule stepped them.
    pub groups: Option<String>,
    /// Measurements during the training.
    pub curve: Vec<TrainingPoint>,
    /// Counts of test samples by class and predicted class at the end, if they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
}

/// Measurement of a training whose weights are kept in addition to the last ones.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Best {
    /// Number of steps taken.
    pub step: u64,
    /// Part whose loss chose it: `validation`, or `test` if there is no validation part. In the latter case the
    /// accuracy on the test part is biased by the selection and too optimistic.
    pub chosen_on: String,
    /// Mean loss on that part, in nats.
    pub chosen_loss: f32,
    /// Mean loss on the test part.
    pub test_loss: f32,
    /// Share of correct answers on the test part.
    pub accuracy: f32,
}

/// Share by which the last test loss must exceed the lowest one to count as risen.
const RISEN: f32 = 0.1;
/// Difference by which the last test loss must also exceed the lowest one, in nats.
const RISEN_NATS: f32 = 0.01;
/// Number of measurements since the lowest one that must be exceeded, too.
const RISEN_SINCE: usize = 3;

impl Training {
    /// Returns sentences about the kept weights and the end of the training, for terminal and page.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.stopped_early {
            notes.push(format!(
                "it stopped at step {} because its last measurements brought no improvement",
                self.steps
            ));
        }
        match &self.best {
            Some(Best { step, chosen_on, chosen_loss, test_loss, accuracy }) => {
                let right = percent(*accuracy);
                let mut note = format!(
                    "the best weights are those of step {step}: {chosen_on} loss {chosen_loss:.4}, test loss {test_loss:.4} nats, accuracy {right}"
                );
                if chosen_on != "validation" {
                    note += "; they were chosen on the test part, so this accuracy is too optimistic: add a validation part with `validate` in [split.*]";
                }
                notes.push(note);
            }
            None if !self.stopped_early => notes.extend(self.risen()),
            None => {}
        }
        notes
    }

    /// Returns a note if the test loss has been rising for long.
    fn risen(&self) -> Option<String> {
        let losses = || self.curve.iter().map(|point| point.test_loss);
        let lowest = losses().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let last = losses().next_back()?;
        let far = last > lowest.1 * (1.0 + RISEN) && last > lowest.1 + RISEN_NATS;
        (far && self.curve.len() - 1 - lowest.0 > RISEN_SINCE).then(|| {
            format!(
                "test loss rose from {:.4} at step {} to {last:.4}: `keep = \"best\"` in [training], or fewer steps, would keep the lower one",
                lowest.1, self.curve[lowest.0].step
            )
        })
    }
}

/// A measurement of a training, taken at X except for [`TrainingPoint::loss`] and the averages.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrainingPoint {
    /// Number of steps taken.
    pub step: u64,
    /// Mean loss of the batches since the last measurement, at Y, in nats.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f32,
    /// Mean loss on the training part, if it is measured.
    pub train_loss: Option<f32>,
    /// Mean loss on the validation part, if there is one.
    #[serde(default)]
    pub validation_loss: Option<f32>,
    /// Share of correct answers on the validation part, if there is one.
    #[serde(default)]
    pub validation_accuracy: Option<f32>,
    /// Mean loss on the test part.
    #[serde(deserialize_with = "nan_from_null")]
    pub test_loss: f32,
    /// Share of correct answers on the test part.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy: f32,
    /// Mean loss on the test part at the averaged weights, if an average is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_loss: Option<f32>,
    /// Share of correct answers on the test part at the averaged weights, if an average is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_accuracy: Option<f32>,
    /// Samples, images or tokens per second since the last measurement.
    pub rate: f32,
    /// Share of that time taken by the optimizer.
    pub optimizer_share: f32,
    /// Numbers about the last step, by group of parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupPoint>,
}

/// Numbers about the last step of the parameters of one group. Norms are Frobenius norms over all of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupPoint {
    /// Pattern of the group with its roles, or the role of parameters that no group matches.
    pub group: String,
    /// Step size, times the step factor.
    pub step_size: f32,
    /// Norm of the gradient G.
    pub gradient: f32,
    /// Dual norm ⟨M, U⟩ of the momentum, times radius and factor, summed over the matrices; `None` beside the rule.
    pub dual: Option<f32>,
    /// Norm of the weights X.
    pub weights: f32,
    /// Distance of the query point Y from X.
    pub ahead: f32,
    /// Norm of the step over that of the weights, without pull and decay; `None` beside the rule.
    pub step_over_weights: Option<f32>,
    /// Number of gradients refused since the last measurement.
    pub refused: u64,
}
