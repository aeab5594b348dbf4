//! `graftage eval`.

use crate::console::say;
use crate::{Outcome, libtorch};
use clap::Args;
use graftage::checkpoint::{About, Checkpoint};
use graftage::confusion::Confusion;
use graftage::data::Role;
use graftage::workstation;
use graftage_core::adapt::Recipe;
use std::path::PathBuf;

#[derive(Args)]
pub struct Eval {
    /// Checkpoint to measure.
    checkpoint: PathBuf,
    /// File of samples in the units of the training data, to use instead of the checkpoint's own data.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Part of the samples, by the checkpoint's own split; by default all samples of a --data file, otherwise the test
    /// part.
    #[arg(long, value_enum)]
    part: Option<Part>,
}

/// Part of the samples.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Part {
    Train,
    Validate,
    Test,
    All,
}

impl Part {
    /// Returns the part of a split; `None` for all samples.
    fn role(self) -> Option<Role> {
        match self {
            Self::Train => Some(Role::Train),
            Self::Validate => Some(Role::Validate),
            Self::Test => Some(Role::Test),
            Self::All => None,
        }
    }
}

impl Eval {
    pub fn run(self) -> Outcome {
        let about = About::read(&self.checkpoint)?;
        let usual = if self.data.is_some() { Part::All } else { Part::Test };
        let role = self.part.unwrap_or(usual).role();
        if about.layers().is_err()
            && let Some(measured) = libtorch::evaluate(&self.checkpoint, self.data.as_deref(), role)
        {
            return measured;
        }
        let checkpoint = Checkpoint::read(&self.checkpoint)?;
        let samples = match role {
            None => about.all_samples(self.data.as_deref())?,
            Some(role) => {
                let labelled = about.samples(self.data.as_deref())?;
                labelled.part(role).ok_or_else(|| about.no_validation())?.clone()
            }
        };
        let mut network = workstation::start(checkpoint.network()?, Recipe::FREE, &[])?;
        let confusion = Confusion::of(&samples, about.legend.classes.clone(), |input| network.predict(input))?;
        if let Some(classes) = about.legend.classes_in_words() {
            say!("{classes}");
        }
        say!("{}", confusion.table());
        Ok(())
    }
}
