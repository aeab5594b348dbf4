//! `graftage eval`.

use crate::console::{percent, say};
use crate::inputs::checkpoint_and_data;
use clap::Args;
use graftage::adaptation;
use graftage::checkpoint::Checkpoint;
use graftage::data::Samples;
use graftage::error::Result;
use graftage_core::adapt::Recipe;
use std::path::PathBuf;

#[derive(Args)]
pub struct Eval {
    /// The checkpoint.
    checkpoint: PathBuf,
    /// Samples as CSV, in the units that trained.
    #[arg(long)]
    data: PathBuf,
    /// Which samples: the checkpoint's own split, or all of the file.
    #[arg(long, value_enum, default_value = "test")]
    part: Part,
}

/// Which samples.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Part {
    Train,
    Test,
    All,
}

impl Eval {
    pub fn run(self) -> Result<()> {
        let (checkpoint, samples) = match self.part {
            Part::All => {
                let checkpoint = Checkpoint::read(&self.checkpoint)?;
                let samples = Samples::read(&self.data, checkpoint.about.scale)?;
                (checkpoint, samples)
            }
            part => {
                let (checkpoint, train, test) = checkpoint_and_data(&self.checkpoint, &self.data)?;
                (checkpoint, if matches!(part, Part::Train) { train } else { test })
            }
        };
        let (inputs, classes) = checkpoint.shape();
        samples.check(&self.data, inputs, classes)?;
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
