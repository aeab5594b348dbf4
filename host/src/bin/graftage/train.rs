//! `graftage train`.

use crate::arguments::RuleArguments;
use crate::console::{Progress, percent, say};
use clap::Args;
use graftage::data::Samples;
use graftage::error::{Error, Result};
use graftage::files;
use std::path::PathBuf;

#[derive(Args)]
pub struct Train {
    /// Samples as CSV (also .csv.gz): features, then the label.
    #[arg(long)]
    data: PathBuf,
    /// Every feature is divided by this.
    #[arg(long, default_value_t = 1.0)]
    scale: f32,
    /// Samples that train; the others test.
    #[arg(long, value_name = "SAMPLES")]
    train: usize,
    /// Seed of the split.
    #[arg(long, default_value_t = 1)]
    split_seed: u64,
    /// Widths of the hidden layers.
    #[arg(long, value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
    /// The optimizer; libtorch's own take step size, momentum and schedule from the options of the rule.
    #[arg(long, value_enum, default_value = "transported")]
    optimizer: graftage::optim::method::Method,
    #[command(flatten)]
    rule: RuleArguments,
    /// Steps.
    #[arg(long)]
    steps: Option<u64>,
    /// Samples a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of starting weights and batches.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How core's rule runs on tensors.
    #[arg(long, value_enum, default_value = "fast")]
    arithmetic: graftage::tensor::Arithmetic,
    /// The checkpoint to write.
    #[arg(long, short)]
    output: PathBuf,
    /// Also write the measurements as JSON.
    #[arg(long)]
    metrics: Option<PathBuf>,
}

impl Train {
    pub fn run(self) -> Result<()> {
        use graftage::train::{Options, train};
        files::check_folders([Some(&self.output), self.metrics.as_ref()].into_iter().flatten())?;
        let usual = Options::default();
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(Error::Usage("--scale must be finite and > 0".into()));
        }
        let samples = Samples::read(&self.data, self.scale)?;
        let options = Options {
            hidden: self.hidden.unwrap_or(usual.hidden),
            steps: self.steps.unwrap_or(usual.steps),
            batch: self.batch.unwrap_or(usual.batch),
            method: self.optimizer,
            rule: self.rule.rule(usual.rule.step, usual.rule.schedule)?,
            seed: self.seed,
            arithmetic: self.arithmetic,
            train: self.train,
            split_seed: self.split_seed,
            scale: self.scale,
        };
        let progress = Progress::new("training", options.steps);
        let (checkpoint, training) = train(&samples, &options, |point| {
            progress.at(point.step, || format!("loss {:.4}", point.loss));
        })?;
        drop(progress);
        checkpoint.write(&self.output)?;
        if let Some(path) = &self.metrics {
            files::write_json(path, &training)?;
        }
        let (path, accuracy) = (self.output.display(), percent(training.accuracy));
        say!("{path}: {} ({} parameters), {accuracy} of the test part", training.network, training.parameters);
        Ok(())
    }
}
