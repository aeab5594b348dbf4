//! What was measured, as numbers, in a sentence and as one HTML page.

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

/// JSON has no NaN: it is written as `null`, and read back from it.
fn number<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<f32, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or(f32::NAN))
}

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
    #[serde(deserialize_with = "number")]
    pub loss: f32,
    /// On the test part, at the end: the share of right answers.
    #[serde(deserialize_with = "number")]
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
    #[serde(deserialize_with = "number")]
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
    #[serde(deserialize_with = "number")]
    pub test_loss: f32,
    /// Share of right answers on the test part.
    #[serde(deserialize_with = "number")]
    pub accuracy: f32,
    /// Samples, images or tokens a second since the last measurement.
    pub rate: f32,
    /// Share of that time that the optimizer took.
    pub optimizer_share: f32,
}

/// What `graftage rehearse` measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Labelled aged samples in a stream.
    pub samples: usize,
    /// Drift seeds on which step sizes were chosen.
    pub tuned_on: Vec<u64>,
    /// Drift seeds that are reported.
    pub reported_on: Vec<u64>,
    /// Accuracy on the test samples as they are.
    pub clean: f32,
    /// On the aged test samples, before any adaptation.
    pub aged: Spread,
    /// Each method, the board's first.
    pub methods: Vec<Method>,
}

/// What `graftage rehearse --per-class` measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupRehearsal {
    /// Labelled samples a class of a stream.
    pub per_class: usize,
    /// Seeds of the streams; each accuracy of a group is the mean over them.
    pub streams: Vec<u64>,
    /// The groups.
    pub groups: Vec<String>,
    /// Of each, samples of a stream and those that test.
    pub samples: Vec<(usize, usize)>,
    /// Accuracy before any adaptation.
    pub before: Spread,
    /// Each method, the board's first.
    pub methods: Vec<GroupMethod>,
}

/// A method of adaptation to groups.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupMethod {
    /// Key, e.g. `transported_scion`.
    pub key: String,
    /// In words.
    pub name: String,
    /// The step size that is best for all groups, which a board would be given.
    pub step: f32,
    /// For each group the step size that is best for all the others.
    pub steps: Vec<f32>,
    /// Accuracy at the end, each group's with its own of [`GroupMethod::steps`].
    pub accuracy: Spread,
    /// (step size, accuracy at the end) of the whole grid.
    pub grid: Vec<(f32, Spread)>,
}

/// Mean and standard deviation over drift seeds, or over groups.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    #[serde(deserialize_with = "number")]
    pub mean: f32,
    /// Sample standard deviation.
    #[serde(deserialize_with = "number")]
    pub deviation: f32,
    /// One number for each of them.
    pub by_seed: Vec<f32>,
}

/// A method of adaptation, at its chosen step size.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Method {
    /// Key in the summary, e.g. `transported_scion`.
    pub key: String,
    /// In words.
    pub name: String,
    /// The chosen step size.
    pub step: f32,
    /// (step size, mean accuracy on the tuning seeds) of the whole grid.
    pub grid: Vec<(f32, f32)>,
    /// Accuracy on the aged test samples at the end.
    pub accuracy: Spread,
    /// (samples learnt, mean accuracy over the reported seeds).
    pub curve: Vec<(usize, f32)>,
}

/// What `graftage adapt` measured on a board.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Name of the board.
    pub board: String,
    /// Labelled samples that the board took.
    pub samples: usize,
    /// How its session ended.
    pub verdict: Verdict,
    /// Samples that the board refused.
    pub refused: usize,
    /// Steps taken.
    pub updates: u64,
    /// The board's accuracy on the test samples before the stream.
    #[serde(deserialize_with = "number")]
    pub before: f32,
    /// And after it.
    #[serde(deserialize_with = "number")]
    pub after: f32,
    /// (samples learnt, share of them that were predicted rightly before they were learnt).
    pub curve: Vec<(usize, f32)>,
    /// Test samples by class and the class that the board predicted, before the stream and after it, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<(Confusion, Confusion)>,
    /// Digest at the end, in hexadecimal.
    pub digest: String,
    /// Frames that the board dropped.
    pub dropped: u32,
    /// Wall-clock seconds of the session.
    pub seconds: f32,
}

/// What `graftage replay` found, a row for each target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verification {
    /// The machines and implementations, the one that was recorded first.
    pub targets: Vec<Target>,
}

/// One target of a verification.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// E.g. `x86_64`, `mps2-an386`, `libtorch-exact`.
    pub target: String,
    /// Updates that it computed.
    pub steps: u64,
    /// In how many places it differs from the record: updates that ended in another state, and whatever else is recorded.
    pub differing: u64,
    /// In words, where it first differs, and in what.
    pub first_difference: Option<String>,
    /// In words, the arrays that differ where the board was asked for them.
    #[serde(default)]
    pub arrays: Vec<String>,
    /// Digest after the last update, in hexadecimal.
    pub digest: String,
}

/// Memory of the firmware, in bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Flash: code and constants, and initial values of variables.
    pub flash: u64,
    /// Flash of the weights image.
    pub image: u64,
    /// RAM: variables, without the stack.
    pub ram: u64,
    /// (part, bytes) of the RAM, as the board says them.
    pub parts: Vec<(String, u64)>,
}

/// All that one folder holds of a network: how it was trained, rehearsed, adapted, verified, and what it takes.
#[derive(Clone, PartialEq, Debug)]
pub struct Story {
    /// `training/training.json`
    pub training: Training,
    /// `rehearsal.json`
    pub rehearsal: Rehearsal,
    /// `session.json`
    pub session: Session,
    /// `verification.json`
    pub verification: Verification,
    /// `memory.json`
    pub memory: Memory,
}

impl Story {
    /// Reads the five files of a folder.
    ///
    /// # Errors
    /// Where one of them is not there, or says something else.
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

/// A [`Story`] in numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// In words: the architecture.
    pub network: String,
    /// Samples that the board learnt.
    pub samples: usize,
    /// On the test samples as they are, after training.
    #[serde(deserialize_with = "number")]
    pub accuracy_clean: f32,
    /// On the aged test samples, measured on the board before it adapted.
    #[serde(deserialize_with = "number")]
    pub accuracy_aged: f32,
    /// And after.
    #[serde(deserialize_with = "number")]
    pub accuracy_adapted: f32,
    /// Share of what ageing cost that came back; none where it cost nothing.
    pub recovered: Option<f32>,
    /// Mean over the reported drift seeds of the accuracy by the board's rule, rehearsed.
    #[serde(deserialize_with = "number")]
    pub adapted_mean: f32,
    /// Its standard deviation.
    #[serde(deserialize_with = "number")]
    pub adapted_deviation: f32,
    /// The other methods, by key.
    pub controls: BTreeMap<String, Control>,
    /// Updates of the board.
    pub updates: u64,
    /// Machines and implementations that computed them.
    pub targets: Vec<String>,
    /// Of the updates, how many every target computed.
    pub compared_updates: u64,
    /// Updates that ended in another state than the recorded one, summed over the targets.
    pub differing_updates: u64,
    /// Flash of code, constants and initial values.
    pub flash_bytes: u64,
    /// Flash of the weights image.
    pub image_bytes: u64,
    /// RAM, without the stack.
    pub ram_bytes: u64,
    /// Of the RAM, by part.
    pub ram_parts: BTreeMap<String, u64>,
}

/// A method beside the board's rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Control {
    /// In words.
    pub name: String,
    /// The chosen step size.
    #[serde(deserialize_with = "number")]
    pub step_size: f32,
    /// Mean accuracy over the reported drift seeds.
    #[serde(deserialize_with = "number")]
    pub mean: f32,
    /// Its standard deviation.
    #[serde(deserialize_with = "number")]
    pub deviation: f32,
}

impl Control {
    /// How far it is above the board's rule.
    fn lead(&self, board: &Summary) -> f32 {
        self.mean - board.adapted_mean
    }

    /// ` (within one deviation)` where the larger of the two deviations covers the difference, else nothing.
    fn caution(&self, board: &Summary) -> &'static str {
        let within = |deviation: f32| self.lead(board).abs() <= deviation;
        if within(self.deviation) || within(board.adapted_deviation) { " (within one deviation)" } else { "" }
    }
}

impl Summary {
    /// The controls with a mean, best first.
    fn ranked(&self) -> Vec<&Control> {
        let mut controls: Vec<_> = self.controls.values().filter(|control| control.mean.is_finite()).collect();
        controls.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        controls
    }
}

/// A story in numbers.
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

/// A summary in words, on one line.
pub fn sentence(summary: &Summary) -> String {
    let Summary { network, samples, accuracy_clean, accuracy_aged, accuracy_adapted, .. } = summary;
    let fell = if accuracy_aged < accuracy_clean { "fell to" } else { "stood at" };
    let (clean, aged, adapted) = (percent(*accuracy_clean), percent(*accuracy_aged), percent(*accuracy_adapted));
    let board = percent(summary.adapted_mean);
    // What is shown as equal is not better.
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

/// Whether the same updates were computed everywhere, in words.
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

/// `a, b and c`
fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

/// `98.7 %`
fn percent(share: f32) -> String {
    let percent = share * 100.0;
    if percent.is_finite() { format!("{percent:.1} %") } else { "n/a".to_owned() }
}

/// `31.2 KB`, of 1024 bytes.
fn kilobytes(bytes: u64) -> String {
    format!("{:.1} KB", bytes as f64 / 1024.0)
}
