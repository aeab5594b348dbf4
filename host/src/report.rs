//! Reports of measurements: as numbers, as a sentence and as self-contained HTML pages.

pub mod chart;
mod confusion;
mod layout;
mod page;
mod replay_page;
mod style;
mod training;

pub use layout::{Column, document, table};
pub use page::page;
pub use replay_page::{Account, account_page};
pub use training::training_page;

use crate::error::Result;
use crate::files;
use crate::rehearse::{Method, Rehearsal};
use crate::replay::Verification;
use crate::session::{Memory, Session};
use crate::statistics::{nan_from_null, percent};
use crate::training::Training;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

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
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy_clean: f32,
    /// Accuracy on the aged test samples, measured on the board before it adapted.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy_aged: f32,
    /// Accuracy on the aged test samples, measured on the board after it adapted.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy_adapted: f32,
    /// Share of the accuracy lost to ageing that was recovered; `None` if none was lost.
    pub recovered: Option<f32>,
    /// Mean rehearsed accuracy of the board's rule over the reported seeds of the ageing.
    #[serde(deserialize_with = "nan_from_null")]
    pub adapted_mean: f32,
    /// Standard deviation of that accuracy.
    #[serde(deserialize_with = "nan_from_null")]
    pub adapted_deviation: f32,
    /// Other methods, by key.
    pub controls: BTreeMap<String, Control>,
    /// Number of updates on the board.
    pub updates: u64,
    /// Machines and implementations that computed the updates.
    pub targets: Vec<String>,
    /// Number of updates that every target computed.
    pub compared_updates: u64,
    /// Number of differences from the record, summed over the targets, see
    /// [`differing`](crate::replay::Target::differing).
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
    #[serde(deserialize_with = "nan_from_null")]
    pub step_size: f32,
    /// Mean accuracy over the reported seeds of the ageing.
    #[serde(deserialize_with = "nan_from_null")]
    pub mean: f32,
    /// Standard deviation of that accuracy.
    #[serde(deserialize_with = "nan_from_null")]
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
        step_size: method.step_size,
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
    let fell = if accuracy_aged < accuracy_clean { "fell to" } else { "became" };
    let (clean, aged, adapted) = (percent(*accuracy_clean), percent(*accuracy_aged), percent(*accuracy_adapted));
    let board = percent(summary.adapted_mean);
    // A method whose displayed accuracy is equal does not count as better.
    let leads = |control: &&Control| control.lead(summary) > 0.0 && percent(control.mean) != board;
    let better = summary.ranked().into_iter().find(leads).map(|control| {
        let (mean, caution) = (percent(control.mean), control.caution(summary));
        format!(" In rehearsal, {} did better than the board's rule: {mean} against {board}{caution}.", control.name)
    });
    format!(
        "The accuracy of a network ({network}) on the test samples was {clean} and {fell} {aged} when its sensor aged; after \
         {samples} labelled samples on the board it is {adapted}.{} {} Firmware: {} flash, {} weights image, \
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
            "The results are NOT bit-identical: {differing} of the updates computed by {everywhere} differ from the record."
        )
    } else if *updates == 0 {
        "The board made no updates.".to_owned()
    } else if targets.len() < 2 {
        format!("The {updates} updates were not computed anywhere else.")
    } else if compared < updates {
        format!("Only {compared} of {updates} updates were computed on all of {everywhere}; these are bit-identical.")
    } else {
        format!("All {updates} updates are bit-identical on {everywhere}.")
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

/// Formats bytes as `31.2 KB`, with 1 KB = 1024 bytes.
fn kilobytes(bytes: u64) -> String {
    format!("{:.1} KB", bytes as f64 / 1024.0)
}
