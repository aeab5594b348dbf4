//! `graftage rehearse`.

use crate::arguments::RecipeArguments;
use crate::console::{Progress, say};
use crate::inputs::checkpoint_and_data;
use clap::Args;
use graftage::error::{Error, Result};
use graftage::files;
use std::path::PathBuf;

#[derive(Args)]
pub struct Rehearse {
    /// The checkpoint.
    checkpoint: PathBuf,
    /// Samples in the units that trained, instead of those that did.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Samples of a stream.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Drift seeds on which step sizes are chosen.
    #[arg(long, value_parser = seeds, default_value = "11..15")]
    tune: Seeds,
    /// Drift seeds that are reported.
    #[arg(long, value_parser = seeds, default_value = "1..10")]
    report: Seeds,
    /// The measurements to write, as JSON.
    #[arg(long, short)]
    output: PathBuf,
}

/// Seeds, written `1..10` (both ends counted) or `7`.
#[derive(Clone)]
pub struct Seeds(Vec<u64>);

pub fn seeds(text: &str) -> std::result::Result<Seeds, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no whole number; e.g. 1..10 or 7"));
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let seeds: Vec<u64> = (number(first)?..=number(last)?).take(1000).collect();
    if seeds.is_empty() { Err("the range is empty; e.g. 1..10".into()) } else { Ok(Seeds(seeds)) }
}

impl Rehearse {
    pub fn run(self) -> Result<()> {
        files::check_folders([&self.output])?;
        let (checkpoint, train, test) = checkpoint_and_data(&self.checkpoint, self.data.as_deref())?;
        if self.samples == 0 || self.samples > train.len() {
            return Err(Error::Usage(format!("--samples {}: the training part has {}", self.samples, train.len())));
        }
        let (checkpoint, train, test) = (&checkpoint, &train, &test);
        let (samples, recipe) = (self.samples, self.recipe.recipe()?);
        let rehearse = graftage::rehearse::Rehearse {
            checkpoint,
            train,
            test,
            samples,
            recipe,
            tune: self.tune.0,
            report: self.report.0,
        };
        let progress = Progress::new("rehearsing", 0);
        let rehearsal = rehearse.run(&|done, total| {
            progress.total(total as u64);
            progress.at(done as u64, String::new);
        })?;
        drop(progress);
        files::write_json(&self.output, &rehearsal)?;
        say!("accuracy of {} test samples after {samples} labelled aged ones:", test.len());
        let aged = &rehearsal.aged;
        say!("{:<32} {:>9}  {:>16}", "method", "step size", "accuracy");
        say!("{:<32} {:>9}  {:.3} ± {:.3}", "none", "", aged.mean, aged.deviation);
        for method in &rehearsal.methods {
            let (name, step, accuracy) = (&method.name, method.step, &method.accuracy);
            say!("{name:<32} {step:>9}  {:.3} ± {:.3}", accuracy.mean, accuracy.deviation);
        }
        Ok(())
    }
}
