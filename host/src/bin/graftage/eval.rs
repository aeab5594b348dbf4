//! `graftage eval`.

use crate::console::{percent, say};
use clap::Args;
use graftage::adaptation;
use graftage::checkpoint::Checkpoint;
use graftage::data::{Role, Samples};
use graftage::error::Result;
use graftage_core::adapt::Recipe;
use std::path::PathBuf;

#[derive(Args)]
pub struct Eval {
    /// The checkpoint.
    checkpoint: PathBuf,
    /// Samples in the units that trained, instead of those that did.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Which samples: the checkpoint's own split, or all of the file.
    #[arg(long, value_enum, default_value = "test")]
    part: Part,
}

/// Which samples.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Part {
    Train,
    Validate,
    Test,
    All,
}

impl Part {
    /// The part of a split that is meant; `None` of all samples.
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
    pub fn run(self) -> Result<()> {
        #[cfg(feature = "torch")]
        if let (Ok(checkpoint), Some(role)) = (Checkpoint::read(&self.checkpoint), self.part.role())
            && checkpoint.about.layers().is_err()
        {
            let (measured, count) = graftage::train::evaluate(&checkpoint, self.data.as_deref(), role)?;
            say!("loss {:.4} nats, {} right, of {count}", measured.loss, percent(measured.accuracy));
            return Ok(());
        }
        let checkpoint = Checkpoint::read(&self.checkpoint)?;
        let samples = match self.part.role() {
            None => {
                let path = self.data.as_deref().unwrap_or(checkpoint.about.data.path());
                let samples = Samples::read(path, checkpoint.about.scale()?)?;
                let (inputs, classes) = checkpoint.shape();
                samples.check(path, inputs, classes)?;
                samples
            }
            Some(role) => {
                let labelled = checkpoint.about.samples(self.data.as_deref())?;
                labelled.part(role).ok_or_else(|| checkpoint.about.no_validation())?.clone()
            }
        };
        let (_, classes) = checkpoint.shape();
        let mut network = adaptation::start(checkpoint.network()?, Recipe::DEFAULT)?;
        let mut counts = vec![(0, 0); classes];
        for (input, label) in samples.iter() {
            let right = network.predict(input)?.class == label;
            let count = &mut counts[label as usize];
            *count = (count.0 + u32::from(right), count.1 + 1);
        }
        say!("class  samples  right");
        for (class, (right, all)) in counts.iter().enumerate().filter(|(_, (_, all))| *all > 0) {
            say!("{class:>5}  {all:>7}  {}", percent(*right as f32 / *all as f32));
        }
        let right: u32 = counts.iter().map(|(right, _)| right).sum();
        say!("  all  {:>7}  {}", samples.len(), percent(right as f32 / samples.len() as f32));
        Ok(())
    }
}
