//! `graftage rehearse`.

use crate::arguments::{RecipeArguments, Seeds, seeds};
use crate::console::{Progress, say};
use crate::inputs::{checkpoint_and_data, checkpoint_and_unseen, data_of};
use crate::outputs::Force;
use clap::Args;
use graftage::error::{Error, Result};
use graftage::files::Output;
use graftage::rehearse::{Drifts, Groups};
use graftage::report::Spread;
use graftage_core::adapt::Recipe;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Rehearse {
    /// The checkpoint; with --per-class there may be more, each with the groups that it has not seen.
    #[arg(required = true)]
    checkpoints: Vec<PathBuf>,
    /// Samples in the units that trained, instead of those that did.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Adapt to the groups (people, places) that training left out, from so many labelled samples a class, instead of to drifts.
    #[arg(long, value_name = "SAMPLES", conflicts_with_all = ["samples", "tune", "report"])]
    per_class: Option<usize>,
    /// Seeds of a group's streams, over which its accuracy is averaged.
    #[arg(long, value_parser = seeds, default_value = "1..3", requires = "per_class")]
    streams: Seeds,
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
    #[command(flatten)]
    force: Force,
}

impl Rehearse {
    pub fn run(self) -> Result<()> {
        let own = data_of(&self.checkpoints)?;
        let output = self.force.claims(self.checkpoints.iter().chain(&self.data).chain(&own)).file(&self.output)?;
        let recipe = self.recipe.recipe()?;
        match (self.per_class, &self.checkpoints[..]) {
            (Some(per_class), _) => self.groups(recipe, per_class, output),
            (None, [checkpoint]) => self.drifts(recipe, checkpoint, output),
            (None, _) => {
                Err(Error::Usage("drifts are rehearsed with one checkpoint; --per-class takes several".into()))
            }
        }
    }

    fn drifts(&self, recipe: Recipe, checkpoint: &Path, output: Output) -> Result<()> {
        let (checkpoint, train, test) = checkpoint_and_data(checkpoint, self.data.as_deref())?;
        let samples = self.samples;
        if samples == 0 || samples > train.len() {
            return Err(Error::Usage(format!("--samples {samples}: the training part has {}", train.len())));
        }
        let (checkpoint, train, test) = (&checkpoint, &train, &test);
        let (tune, report) = (self.tune.0.clone(), self.report.0.clone());
        let rehearsal =
            shown(|progress| Drifts { checkpoint, train, test, samples, recipe, tune, report }.run(progress))?;
        output.write_json(&rehearsal)?;
        say!("accuracy of {} test samples after {samples} labelled aged ones:", test.len());
        let methods = rehearsal.methods.iter();
        table(&rehearsal.aged, methods.map(|method| (method.name.as_str(), method.step, &method.accuracy)));
        Ok(())
    }

    fn groups(&self, recipe: Recipe, per_class: usize, output: Output) -> Result<()> {
        if per_class == 0 {
            return Err(Error::Usage("--per-class 0: there is nothing to learn from".into()));
        }
        let read = |path: &PathBuf| checkpoint_and_unseen(path, self.data.as_deref());
        let unseen = &self.checkpoints.iter().map(read).collect::<Result<Vec<_>>>()?[..];
        let streams = self.streams.0.clone();
        let rehearsal = shown(|progress| Groups { unseen, per_class, streams, recipe }.run(progress))?;
        output.write_json(&rehearsal)?;
        let (groups, streams) = (rehearsal.groups.len(), rehearsal.streams.len());
        say!(
            "accuracy on {groups} unseen groups after up to {per_class} labelled samples a class, mean of {streams} streams; each \
             group's step size is chosen on the others, shown is the best for all:"
        );
        let methods = rehearsal.methods.iter();
        table(&rehearsal.before, methods.map(|method| (method.name.as_str(), method.step, &method.accuracy)));
        Ok(())
    }
}

/// Runs with a bar.
fn shown<T>(run: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> Result<T>) -> Result<T> {
    let progress = Progress::new("rehearsing", 0);
    run(&|done, total| {
        progress.total(total as u64);
        progress.at(done as u64, String::new);
    })
}

fn table<'a>(before: &Spread, methods: impl Iterator<Item = (&'a str, f32, &'a Spread)>) {
    say!("{:<32} {:>9}  {:>16}", "method", "step size", "accuracy");
    say!("{:<32} {:>9}  {:.3} ± {:.3}", "none", "", before.mean, before.deviation);
    for (name, step, accuracy) in methods {
        say!("{name:<32} {step:>9}  {:.3} ± {:.3}", accuracy.mean, accuracy.deviation);
    }
}
