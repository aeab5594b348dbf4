//! `graftage rehearse`.

use crate::arguments::{RecipeArguments, Seeds, seeds, share};
use crate::console::{Progress, say};
use crate::files::{checkpoint_and_unseen, data_of};
use crate::outputs::Force;
use clap::Args;
use clap::builder::ArgPredicate;
use graftage::checkpoint::Trained;
use graftage::error::{Error, Result};
use graftage::files::Output;
use graftage::rehearse::{
    AgedSensors, Attack, AttackRehearsal, Attacked, Change, Groups, Life, LifeRehearsal, Quarters,
};
use graftage::statistics::Spread;
use graftage_core::adapt::Recipe;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Rehearse {
    /// Checkpoint to adapt; with --per-class there may be several, each with its own unseen groups.
    #[arg(required = true)]
    checkpoints: Vec<PathBuf>,
    /// Samples in the units of the training data, to use instead of the checkpoint's own data.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Adapt to the groups (people, places) that training left out, with this many labelled samples per class, instead
    /// of to aged sensors.
    #[arg(long, value_name = "SAMPLES", conflicts_with_all = ["life", "attack", "samples", "tune", "report"])]
    per_class: Option<usize>,
    /// Simulate a life of this many samples with a sensor that keeps ageing, in sessions of 500 samples, instead of
    /// adapting to aged sensors; no step size is chosen.
    #[arg(long, value_name = "SAMPLES", conflicts_with_all = ["attack", "samples", "tune"])]
    life: Option<usize>,
    /// Test whether held-out samples (--hold-out) tell sessions with only wrong labels from a world that has changed.
    #[arg(long, conflicts_with_all = ["wrong_labels", "tune"])]
    attack: bool,
    /// Probability that a label is wrong, for learnt and held-out samples; test labels stay correct [default: 0, for
    /// lives 0.05].
    #[arg(long, value_name = "SHARE", value_parser = share, allow_negative_numbers = true)]
    wrong_labels: Option<f32>,
    /// Seeds of each group's streams, over which accuracy is averaged.
    #[arg(long, value_parser = seeds, default_value = "1..3", requires = "per_class")]
    streams: Seeds,
    /// Number of samples in a stream; with --attack, in a session.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Seeds of the ageing for choosing step sizes.
    #[arg(long, value_parser = seeds, default_value = "11..15")]
    tune: Seeds,
    /// Seeds of the ageing to report; with --life, the seeds of the lives [default: 1..10, for lives 1..4].
    #[arg(long, value_parser = seeds, default_value_if("life", ArgPredicate::IsPresent, "1..4"), default_value = "1..10", hide_default_value = true)]
    report: Seeds,
    /// File to write the measurements to, as JSON.
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
            (None, [checkpoint]) => match self.life {
                Some(samples) => self.life(recipe, samples, checkpoint, output),
                None if self.attack => self.attack(recipe, checkpoint, output),
                None => self.aged_sensors(recipe, checkpoint, output),
            },
            (None, _) => {
                Err(Error::Usage("ageing is rehearsed with a single checkpoint; only --per-class takes several".into()))
            }
        }
    }

    fn aged_sensors(&self, recipe: Recipe, checkpoint: &Path, output: Output) -> Result<()> {
        let trained = &Trained::read(checkpoint, self.data.as_deref())?;
        let (samples, train) = (self.samples, &trained.train);
        if samples == 0 || samples > train.len() {
            return Err(Error::Usage(format!("--samples {samples}: the training part has only {}", train.len())));
        }
        let (tune, report) = (self.tune.0.clone(), self.report.0.clone());
        let wrong_labels = self.wrong_labels.unwrap_or(0.0);
        let sensors = AgedSensors { trained, samples, wrong_labels, recipe, tune, report };
        let rehearsal = shown(|progress| sensors.run(progress))?;
        output.write_json(&rehearsal)?;
        say!("accuracy on {} test samples after {samples} labelled samples from the aged sensor:", trained.test.len());
        let methods = rehearsal.methods.iter();
        table(&rehearsal.aged, methods.map(|method| (method.name.as_str(), method.step_size, &method.accuracy)));
        Ok(())
    }

    fn life(&self, recipe: Recipe, samples: usize, checkpoint: &Path, output: Output) -> Result<()> {
        let trained = &Trained::read(checkpoint, self.data.as_deref())?;
        let (wrong_labels, seeds) = (self.wrong_labels.unwrap_or(0.05), self.report.0.clone());
        let life = Life { trained, samples, wrong_labels, recipe, seeds };
        let rehearsal = shown(|progress| life.run(progress))?;
        output.write_json(&rehearsal)?;
        let LifeRehearsal { session, seeds, unadapted, methods, .. } = &rehearsal;
        say!(
            "accuracy in each quarter of {} {} of {samples} samples with a share of {wrong_labels} wrong labels, at the ends of \
             sessions of {session}:",
            seeds.len(),
            if seeds.len() == 1 { "life" } else { "lives" }
        );
        say!("{:<32} {:>10}  {:<13}  {:<13}  {:<13}  {}", "method", "step size", "first", "second", "third", "fourth");
        let line = |name: &str, step: &str, quarters: &Quarters| {
            say!("{name:<32} {step:>10}  {}", quarters.each_ref().map(spread).join("  "));
        };
        line("none", "", unadapted);
        for method in methods {
            line(&method.name, &method.step_size.to_string(), &method.accuracy);
        }
        Ok(())
    }

    fn attack(&self, recipe: Recipe, checkpoint: &Path, output: Output) -> Result<()> {
        let trained = &Trained::read(checkpoint, self.data.as_deref())?;
        let (samples, seeds) = (self.samples, self.report.0.clone());
        let attack = Attack { trained, samples, recipe, seeds };
        let rehearsal = shown(|progress| attack.run(progress))?;
        output.write_json(&rehearsal)?;
        let AttackRehearsal { seeds, attacked, after, recovery, changes, .. } = &rehearsal;
        let all = seeds.len();
        let count = |counts: fn(&Attacked) -> bool| attacked.iter().filter(|attacked| counts(attacked)).count();
        say!(
            "sessions of {samples} samples on {all} aged sensors: correct labels, then only wrong labels, then correct labels"
        );
        say!(
            "sessions with correct labels committed: {} of {all} before the attack, {} of {all} after it",
            count(|a| a.before.committed),
            count(|a| a.after.committed)
        );
        say!("attacks rolled back: {} of {all}", count(|a| !a.attack.committed));
        say!("accuracy after the attack: {}", spread(after));
        for (labels, accuracy) in recovery {
            say!("{labels} correct labels after an attack that was rolled back: {}", spread(accuracy));
        }
        for Change { name, committed } in changes {
            let followed = committed.iter().flatten().count();
            say!("{name}, committed within {} sessions with correct labels: {followed} of {all}", Attack::PATIENCE);
        }
        Ok(())
    }

    fn groups(&self, recipe: Recipe, per_class: usize, output: Output) -> Result<()> {
        if per_class == 0 {
            return Err(Error::Usage("--per-class 0: there is nothing to learn from".into()));
        }
        let read = |path: &PathBuf| checkpoint_and_unseen(path, self.data.as_deref());
        let unseen = &self.checkpoints.iter().map(read).collect::<Result<Vec<_>>>()?[..];
        let (streams, wrong_labels) = (self.streams.0.clone(), self.wrong_labels.unwrap_or(0.0));
        let groups = Groups { unseen, per_class, streams, wrong_labels, recipe };
        let rehearsal = shown(|progress| groups.run(progress))?;
        output.write_json(&rehearsal)?;
        let (groups, streams) = (rehearsal.groups.len(), rehearsal.streams.len());
        say!(
            "accuracy on {groups} unseen groups after up to {per_class} labelled samples per class, mean of {streams} streams; each \
             group's step size is chosen on the others; the one shown is the best for all:"
        );
        let methods = rehearsal.methods.iter();
        table(&rehearsal.before, methods.map(|method| (method.name.as_str(), method.step_size, &method.accuracy)));
        Ok(())
    }
}

/// Runs a rehearsal with a progress bar.
fn shown<T>(run: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> Result<T>) -> Result<T> {
    let progress = Progress::new("rehearsing", 0);
    run(&|done, total| {
        progress.total(total as u64);
        progress.at(done as u64, String::new);
    })
}

fn table<'a>(before: &Spread, methods: impl Iterator<Item = (&'a str, f32, &'a Spread)>) {
    say!("{:<32} {:>10}  {:>13}", "method", "step size", "accuracy");
    say!("{:<32} {:>10}  {}", "none", "", spread(before));
    for (name, step, accuracy) in methods {
        say!("{name:<32} {step:>10}  {}", spread(accuracy));
    }
}

/// Formats mean and deviation.
fn spread(Spread { mean, deviation, .. }: &Spread) -> String {
    format!("{mean:.3} ± {deviation:.3}")
}
