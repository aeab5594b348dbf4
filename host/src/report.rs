//! What was measured, as numbers, in a sentence and as one HTML page.

mod account;
pub mod chart;
mod confusion;
mod page;
mod style;
mod training;

pub use account::{Account, account_page};
pub use page::{Column, document, page, table};
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
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy_clean: f32,
    /// On the aged test samples, measured on the board before it adapted.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy_aged: f32,
    /// And after.
    #[serde(deserialize_with = "nan_from_null")]
    pub accuracy_adapted: f32,
    /// Share of what ageing cost that came back; none where it cost nothing.
    pub recovered: Option<f32>,
    /// Mean over the reported drift seeds of the accuracy by the board's rule, rehearsed.
    #[serde(deserialize_with = "nan_from_null")]
    pub adapted_mean: f32,
    /// Its standard deviation.
    #[serde(deserialize_with = "nan_from_null")]
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
    #[serde(deserialize_with = "nan_from_null")]
    pub step_size: f32,
    /// Mean accuracy over the reported drift seeds.
    #[serde(deserialize_with = "nan_from_null")]
    pub mean: f32,
    /// Its standard deviation.
    #[serde(deserialize_with = "nan_from_null")]
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

/// `31.2 KB`, of 1024 bytes.
fn kilobytes(bytes: u64) -> String {
    format!("{:.1} KB", bytes as f64 / 1024.0)
}
