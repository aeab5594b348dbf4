//! Results of a training, as `training.json` holds them.

use crate::confusion::Confusion;
use crate::statistics::{nan_from_null, percent};
use graftage_core::scion::Rule;
use serde::{Deserialize, Serialize};

/// What `graftage train` measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Training {
    /// In words: the architecture, e.g. `64-32-10`.
    pub network: String,
    /// Parameters of the network.
    pub parameters: usize,
    /// In words: the optimizer.
    pub optimizer: String,
    /// `fast` or `exact`.
    pub arithmetic: String,
    /// Steps taken.
    pub steps: u64,
    /// Samples a step; of a text, windows.
    pub batch: usize,
    /// The rule.
    pub rule: Rule,
    /// Seed of weights and batches.
    pub seed: u64,
    /// Samples that train and that test; of a text, windows, which overlap.
    pub samples: (usize, usize),
    /// Samples that the steps drew, each as often as it was drawn; of a text the tokens of all windows. This, and not
    /// [`Training::samples`], is what was learnt from.
    #[serde(default)]
    pub drawn: u64,
    /// The best measurement, where its weights were kept.
    #[serde(default)]
    pub best: Option<Best>,
    /// True of a training that ended before its last step, as many measurements had brought nothing better.
    #[serde(default)]
    pub stopped_early: bool,
    /// What is counted in a second: `samples`, `images` or `tokens`.
    pub unit: String,
    /// On the test part, at the end: mean loss in nats.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f32,
    /// On the test part, at the end: the share of right answers.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy: f32,
    /// How each parameter was stepped, in lines, where the rule stepped them.
    pub groups: Option<String>,
    /// What was measured on the way.
    pub curve: Vec<TrainingPoint>,
    /// Samples of the test part by class and predicted class, at the end, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
}

/// The measurement of a training whose weights are kept beside the last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Best {
    /// Steps taken.
    pub step: u64,
    /// By the loss of which part it was chosen: `validation`, or `test` where there is no third part. Its accuracy on the test
    /// part was selected on that part then, and promises too much.
    pub chosen_on: String,
    /// Mean loss on that part, in nats.
    pub chosen_loss: f32,
    /// Mean loss on the test part.
    pub test_loss: f32,
    /// Share of right answers on the test part.
    pub accuracy: f32,
}

/// The loss on the test part has risen where the last one is above the lowest by this share,
const RISEN: f32 = 0.1;
/// and by these nats,
const RISEN_NATS: f32 = 0.01;
/// and was measured more often than this since.
const RISEN_SINCE: usize = 3;

impl Training {
    /// Sentences on which weights there are and whether it ended well, for terminal and page.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.stopped_early {
            notes.push(format!("it stopped at step {}: its last measurements brought nothing better", self.steps));
        }
        match &self.best {
            Some(Best { step, chosen_on, chosen_loss, test_loss, accuracy }) => {
                let right = percent(*accuracy);
                let mut note = format!(
                    "the best weights are of step {step}: {chosen_on} loss {chosen_loss:.4}, test loss {test_loss:.4} nats, {right} right"
                );
                if chosen_on != "validation" {
                    note += "; they were selected on the test part, so this accuracy promises too much: `validate` in [split.*] makes a part for that";
                }
                notes.push(note);
            }
            None if !self.stopped_early => notes.extend(self.risen()),
            None => {}
        }
        notes
    }

    /// A word where the test loss has risen for long.
    fn risen(&self) -> Option<String> {
        let losses = || self.curve.iter().map(|point| point.test_loss);
        let lowest = losses().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let last = losses().next_back()?;
        let far = last > lowest.1 * (1.0 + RISEN) && last > lowest.1 + RISEN_NATS;
        (far && self.curve.len() - 1 - lowest.0 > RISEN_SINCE).then(|| {
            format!(
                "test loss rose from {:.4} at step {} to {last:.4}: `keep = \"best\"` in [training], or fewer steps, would keep the former",
                lowest.1, self.curve[lowest.0].step
            )
        })
    }
}

/// A measurement of a training; what was measured was X.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrainingPoint {
    /// Steps taken.
    pub step: u64,
    /// Mean loss of the batches since the last measurement, at Y, in nats.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f32,
    /// Mean loss on the training part, where that is measured.
    pub train_loss: Option<f32>,
    /// Mean loss on the validation part, where there is one.
    #[serde(default)]
    pub validation_loss: Option<f32>,
    /// Share of right answers on the validation part.
    #[serde(default)]
    pub validation_accuracy: Option<f32>,
    /// Mean loss on the test part.
    #[serde(deserialize_with = "nan_from_null")]
    pub test_loss: f32,
    /// Share of right answers on the test part.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy: f32,
    /// Samples, images or tokens a second since the last measurement.
    pub rate: f32,
    /// Share of that time that the optimizer took.
    pub optimizer_share: f32,
}
