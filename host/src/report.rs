//! Reports of measurements: as numbers, as a sentence and as self-contained HTML pages.

mod account;
mod chart;
#[cfg(feature = "torch")]
mod comparison;
mod confusion;
mod page;
mod style;
mod theory;
mod training;
#[cfg(feature = "torch")]
mod transfer;

pub use account::{Account, account_page};
#[cfg(feature = "torch")]
pub use comparison::comparison_page;
pub use page::page;
pub use theory::theory_page;
pub use training::training_page;
#[cfg(feature = "torch")]
pub use transfer::transfer_page;

use crate::confusion::Confusion;
use crate::error::Result;
use crate::files;
use graftage_core::scion::Rule;
use graftage_core::session::Verdict;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Deserializes a number that JSON stores as `null` if it is NaN.
fn number<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<f32, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or(f32::NAN))
}

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
    #[serde(deserialize_with = "number")]
    pub loss: f32,
    /// Share of correct answers on the test part at the end.
    #[serde(deserialize_with = "number")]
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

    /// Returns a note if the test loss has been rising for long.
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

/// A measurement of a training, taken at X except for [`TrainingPoint::loss`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrainingPoint {
    /// Number of steps taken.
    pub step: u64,
    /// Mean loss of the batches since the last measurement, at Y, in nats.
    #[serde(deserialize_with = "number")]
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
    #[serde(deserialize_with = "number")]
    pub test_loss: f32,
    /// Share of correct answers on the test part.
    #[serde(deserialize_with = "number")]
    pub accuracy: f32,
    /// Samples, images or tokens per second since the last measurement.
    pub rate: f32,
    /// Share of that time taken by the optimizer.
    pub optimizer_share: f32,
}

/// Results of `graftage rehearse`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Labelled samples per stream, seen through the aged sensor.
    pub samples: usize,
    /// Drift seeds on which step sizes were chosen.
    pub tuned_on: Vec<u64>,
    /// Reported drift seeds.
    pub reported_on: Vec<u64>,
    /// Accuracy on the unaged test samples.
    pub clean: f32,
    /// Accuracy on the aged test samples before any adaptation.
    pub aged: Spread,
    /// Results of all methods, the board's first.
    pub methods: Vec<Method>,
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
    /// Name of the method.
    pub name: String,
    /// Step size that is best over all groups, which a board would get.
    pub step: f32,
    /// For each group, the step size that is best over all other groups.
    pub steps: Vec<f32>,
    /// Final accuracy, each group's with its own step size of [`GroupMethod::steps`].
    pub accuracy: Spread,
    /// (step size, final accuracy) for the whole grid.
    pub grid: Vec<(f32, Spread)>,
}

/// Mean and standard deviation over drift seeds or groups.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    #[serde(deserialize_with = "number")]
    pub mean: f32,
    /// Sample standard deviation.
    #[serde(deserialize_with = "number")]
    pub deviation: f32,
    /// Values, one per seed or group.
    pub by_seed: Vec<f32>,
}

/// Result of a method of adaptation at its chosen step size.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Method {
    /// Key in the summary, e.g. `transported_scion`.
    pub key: String,
    /// Name of the method.
    pub name: String,
    /// Chosen step size.
    pub step: f32,
    /// (step size, mean accuracy on the tuning seeds) for the whole grid.
    pub grid: Vec<(f32, f32)>,
    /// Final accuracy on the aged test samples.
    pub accuracy: Spread,
    /// (samples learnt, mean accuracy over the reported seeds).
    pub curve: Vec<(usize, f32)>,
}

/// Results of `graftage adapt` on a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Name of the board.
    pub board: String,
    /// Number of labelled samples that the board accepted.
    pub samples: usize,
    /// Verdict at the end of the session.
    pub verdict: Verdict,
    /// Number of samples that the board refused.
    pub refused: usize,
    /// Number of steps taken.
    pub updates: u64,
    /// Accuracy of the board on the test samples before the stream.
    #[serde(deserialize_with = "number")]
    pub before: f32,
    /// Accuracy of the board on the test samples after the stream.
    #[serde(deserialize_with = "number")]
    pub after: f32,
    /// (samples learnt, share of them that were predicted correctly before they were learnt).
    pub curve: Vec<(usize, f32)>,
    /// Counts of test samples by class and by the class that the board predicted, before and after the stream, if they
    /// were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<(Confusion, Confusion)>,
    /// Digest at the end, in hexadecimal.
    pub digest: String,
    /// Number of frames that the board dropped.
    pub dropped: u32,
    /// Duration of the session in seconds of wall-clock time.
    pub seconds: f32,
}

/// Results of `graftage replay`, one row per target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verification {
    /// Machines and implementations; the recorded one comes first.
    pub targets: Vec<Target>,
}

/// Result of one target of a verification.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Name, e.g. `x86_64`, `mps2-an386`, `libtorch-exact`.
    pub target: String,
    /// Number of updates that it computed.
    pub steps: u64,
    /// Number of differences from the record: updates that ended in another state, and any other recorded values.
    pub differing: u64,
    /// Description of the first difference and its place.
    pub first_difference: Option<String>,
    /// Descriptions of the arrays that differ, if the board was asked for them.
    #[serde(default)]
    pub arrays: Vec<String>,
    /// Digest after the last update, in hexadecimal.
    pub digest: String,
}

/// Memory that the firmware takes, in bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Flash for code, constants and initial values of variables.
    pub flash: u64,
    /// Flash for the weights image.
    pub image: u64,
    /// RAM for variables, without the stack.
    pub ram: u64,
    /// (part, bytes) of the RAM, as the board reports them.
    pub parts: Vec<(String, u64)>,
}

/// Contents of a folder about one network: training, rehearsal, adaptation, verification and memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Story {
    /// Contents of `training/training.json`.
    pub training: Training,
    /// Contents of `rehearsal.json`.
    pub rehearsal: Rehearsal,
    /// Contents of `session.json`.
    pub session: Session,
    /// Contents of `verification.json`.
    pub verification: Verification,
    /// Contents of `memory.json`.
    pub memory: Memory,
}

impl Story {
    /// Reads the five files of a folder.
    ///
    /// # Errors
    /// Returns an error if one of them is missing or has other contents.
    pub fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            training: files::read_json(&folder.join("training/training.json"))?,
            rehearsal: files::read_json(&folder.join("rehearsal.json"))?,
            session: files::read_json(&folder.join("session.json"))?,
            verification: files::read_json(&folder.join("verification.json"))?,
            memory: files::read_json(&folder.join("memory.json"))?,
        })
    }
}

/// Key numbers of a [`Story`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Description of the architecture.
    pub network: String,
    /// Number of samples that the board learnt.
    pub samples: usize,
    /// Accuracy on the unaged test samples after training.
    #[serde(deserialize_with = "number")]
    pub accuracy_clean: f32,
    /// Accuracy on the aged test samples, measured on the board before it adapted.
    #[serde(deserialize_with = "number")]
    pub accuracy_aged: f32,
    /// Accuracy on the aged test samples, measured on the board after it adapted.
    #[serde(deserialize_with = "number")]
    pub accuracy_adapted: f32,
    /// Share of the accuracy lost to ageing that was recovered; `None` if none was lost.
    pub recovered: Option<f32>,
    /// Mean rehearsed accuracy of the board's rule over the reported drift seeds.
    #[serde(deserialize_with = "number")]
    pub adapted_mean: f32,
    /// Standard deviation of that accuracy.
    #[serde(deserialize_with = "number")]
    pub adapted_deviation: f32,
    /// Other methods, by key.
    pub controls: BTreeMap<String, Control>,
    /// Number of updates on the board.
    pub updates: u64,
    /// Machines and implementations that computed the updates.
    pub targets: Vec<String>,
    /// Number of updates that every target computed.
    pub compared_updates: u64,
    /// Number of differences from the record, summed over the targets, see [`Target::differing`].
    pub differing_updates: u64,
    /// Flash for code, constants and initial values, in bytes.
    pub flash_bytes: u64,
    /// Flash for the weights image, in bytes.
    pub image_bytes: u64,
    /// RAM without the stack, in bytes.
    pub ram_bytes: u64,
    /// RAM by part, in bytes.
    pub ram_parts: BTreeMap<String, u64>,
}

/// A method to compare with the board's rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Control {
    /// Name of the method.
    pub name: String,
    /// Chosen step size.
    #[serde(deserialize_with = "number")]
    pub step_size: f32,
    /// Mean accuracy over the reported drift seeds.
    #[serde(deserialize_with = "number")]
    pub mean: f32,
    /// Standard deviation of that accuracy.
    #[serde(deserialize_with = "number")]
    pub deviation: f32,
}

impl Control {
    /// Returns its lead in accuracy over the board's rule.
    fn lead(&self, board: &Summary) -> f32 {
        self.mean - board.adapted_mean
    }

    /// Returns ` (within one deviation)` if the larger of the two deviations covers the difference, otherwise an empty
    /// text.
    fn caution(&self, board: &Summary) -> &'static str {
        let within = |deviation: f32| self.lead(board).abs() <= deviation;
        if within(self.deviation) || within(board.adapted_deviation) { " (within one deviation)" } else { "" }
    }
}

impl Summary {
    /// Returns the controls with a finite mean, best first.
    fn ranked(&self) -> Vec<&Control> {
        let mut controls: Vec<_> = self.controls.values().filter(|control| control.mean.is_finite()).collect();
        controls.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        controls
    }
}

/// Computes the key numbers of a story.
pub fn summary(story: &Story) -> Summary {
    let Story { training, rehearsal, session, verification, memory } = story;
    let (clean, aged, adapted) = (training.accuracy, session.before, session.after);
    let recovered = Some((adapted - aged) / (clean - aged)).filter(|share| clean > aged && share.is_finite());
    let board = rehearsal.methods.first().map(|method| &method.accuracy);
    let control = |method: &Method| Control {
        name: method.name.clone(),
        step_size: method.step,
        mean: method.accuracy.mean,
        deviation: method.accuracy.deviation,
    };
    let targets = &verification.targets;
    Summary {
        network: training.network.clone(),
        samples: session.samples,
        accuracy_clean: clean,
        accuracy_aged: aged,
        accuracy_adapted: adapted,
        recovered,
        adapted_mean: board.map_or(f32::NAN, |board| board.mean),
        adapted_deviation: board.map_or(f32::NAN, |board| board.deviation),
        controls: rehearsal.methods.iter().skip(1).map(|method| (method.key.clone(), control(method))).collect(),
        updates: session.updates,
        targets: targets.iter().map(|target| target.target.clone()).collect(),
        compared_updates: targets.iter().map(|target| target.steps).min().unwrap_or(0).min(session.updates),
        differing_updates: targets.iter().fold(0, |sum, target| sum.saturating_add(target.differing)),
        flash_bytes: memory.flash,
        image_bytes: memory.image,
        ram_bytes: memory.ram,
        ram_parts: memory.parts.iter().cloned().collect(),
    }
}

/// Describes a summary in words, on one line.
pub fn sentence(summary: &Summary) -> String {
    let Summary { network, samples, accuracy_clean, accuracy_aged, accuracy_adapted, .. } = summary;
    let fell = if accuracy_aged < accuracy_clean { "fell to" } else { "stood at" };
    let (clean, aged, adapted) = (percent(*accuracy_clean), percent(*accuracy_aged), percent(*accuracy_adapted));
    let board = percent(summary.adapted_mean);
    // A method whose displayed accuracy is equal does not count as better.
    let leads = |control: &&Control| control.lead(summary) > 0.0 && percent(control.mean) != board;
    let better = summary.ranked().into_iter().find(leads).map(|control| {
        let (mean, caution) = (percent(control.mean), control.caution(summary));
        format!(" In rehearsal {} did better than the board's rule: {mean} against {board}{caution}.", control.name)
    });
    format!(
        "A network ({network}) that knew {clean} of the test samples {fell} {aged} when its sensor aged; after \
         {samples} labelled samples on the board it knows {adapted}.{} {} Firmware: {} flash, {} weights image, \
         {} RAM.",
        better.unwrap_or_default(),
        same_bits(summary),
        kilobytes(summary.flash_bytes),
        kilobytes(summary.image_bytes),
        kilobytes(summary.ram_bytes),
    )
}

/// Describes whether all targets computed the same updates.
fn same_bits(summary: &Summary) -> String {
    let Summary { updates, targets, compared_updates: compared, differing_updates: differing, .. } = summary;
    let everywhere = listed(targets);
    if *differing > 0 {
        format!(
            "The bits are NOT the same: {differing} of the updates that {everywhere} computed differ from the record."
        )
    } else if *updates == 0 {
        "The board made no update.".to_owned()
    } else if targets.len() < 2 {
        format!("The {updates} updates were not computed anywhere else.")
    } else if compared < updates {
        format!("Of {updates} updates only {compared} were computed on all of {everywhere}; these are the same bits.")
    } else {
        format!("All {updates} updates are the same bits on {everywhere}.")
    }
}

/// Formats names as `a, b and c`.
fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

/// Formats a share as `98.7 %`.
fn percent(share: f32) -> String {
    let percent = share * 100.0;
    if percent.is_finite() { format!("{percent:.1} %") } else { "n/a".to_owned() }
}

/// Formats bytes as `31.2 KB`, with 1 KB = 1024 bytes.
fn kilobytes(bytes: u64) -> String {
    format!("{:.1} KB", bytes as f64 / 1024.0)
}
