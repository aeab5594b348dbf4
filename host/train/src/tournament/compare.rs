//! Comparison of optimizers: all use the same data and the same initial weights. Step size and momentum of each are
//! tuned on a stated grid, on other seeds than the reported ones.
//!
//! First, every pair of a contestant's grid runs on the tuning seeds, and the pair with the lowest mean final loss is
//! chosen. While that pair lies at the edge of the step sizes, the grid grows beyond it by a factor of two, up to three
//! times. Then the pair runs on the reported seeds. Differences are taken seed by seed.
//!
//! There are two kinds of warnings about a chosen pair. One reports that the pair does worse on a reported seed than in
//! tuning: it diverges, or its final loss is more than twice its largest final loss on a tuning seed and more than
//! twice the lowest mean of all rows. The other reports that the pair lies at the edge of the tried values, so a better
//! one may lie beyond.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limits;
use crate::tournament::trials::{Contestant, Interruption, Ledger, Purpose, Run, Trials, Work, distinct, listed};
use graftage::data::Dataset;
use graftage::statistics::Moments;
use graftage_core::schedule::Momentum;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Options of a comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Trials. The first contestant is the reference for the others.
    pub trials: Trials,
    /// Values of β in the grid.
    pub momenta: Vec<f32>,
    /// True if each β is tuned and reported separately.
    pub each_momentum: bool,
    /// Seeds for tuning. May be empty if the grid has only one pair.
    pub tuned_on: Vec<u64>,
    /// Target loss. The first step at or below it is reported.
    pub target: Target,
    /// Criterion by which a pair of the grid is chosen.
    pub choice: Choice,
}

impl Options {
    fn check(&self, config: &Config) -> Result<()> {
        let usage = |what: String| Err(Error::usage(what));
        let Trials { contestants, seeds, .. } = &self.trials;
        self.trials.check(config)?;
        distinct("--momenta", &self.momenta)?;
        if let Some(beta) = self.momenta.iter().find(|beta| Momentum::Constant(**beta).check().is_err()) {
            return usage(format!("--momenta: {beta} is not in [0, 1)"));
        }
        if !self.tuned_on.is_empty() {
            distinct("--tuning-seeds", &self.tuned_on)?;
        }
        if let Target::Loss(loss) = self.target
            && !(loss.is_finite() && loss > 0.0)
        {
            return usage(format!("--target: a loss of {loss} cannot be reached: name a finite one above 0"));
        }
        if let Target::Final(contestant) = &self.target
            && !contestants.contains(contestant)
        {
            return usage(format!("--target: {contestant} is not among the optimizers"));
        }
        if self.choice == Choice::Steps && !matches!(self.target, Target::Loss(_)) {
            return usage("--choose steps: the target must be a number".into());
        }
        if let Some(seed) = seeds.iter().find(|seed| self.tuned_on.contains(seed)) {
            return usage(format!("seed {seed} is a reported seed, so it cannot be a tuning seed"));
        }
        let pairs = if self.each_momentum { 1 } else { self.momenta.len() };
        if self.tuned_on.is_empty()
            && contestants.iter().any(|one| self.trials.step_sizes(one, config).len() * pairs > 1)
        {
            return usage("there are several step sizes or momenta, but no seeds to choose among them: name seeds with --tuning-seeds".into());
        }
        Ok(())
    }
}

impl Options {
    /// Returns the options by name.
    fn by_name(&self) -> serde_json::Value {
        let mut options = self.trials.options();
        options["momenta"] = listed(&self.momenta).into();
        options["each-momentum"] = self.each_momentum.into();
        options["tuning-seeds"] = listed(&self.tuned_on).into();
        options["target"] = match &self.target {
            Target::Loss(loss) => loss.to_string().into(),
            Target::Final(contestant) => contestant.to_string().into(),
        };
        options["choose"] = format!("{:?}", self.choice).to_lowercase().into();
        options
    }
}

/// Criterion for step size and momentum: the lowest mean over the tuning seeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Choice {
    /// Final loss.
    #[default]
    Loss,
    /// Steps to the target.
    Steps,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "loss" => Ok(Self::Loss),
            "steps" => Ok(Self::Steps),
            _ => Err("must be loss or steps".into()),
        }
    }
}

/// Target loss.
#[derive(Clone, PartialEq, Debug)]
pub enum Target {
    /// This loss.
    Loss(f32),
    /// Mean final loss of a contestant, at its best momentum if each is reported.
    Final(Contestant),
}

impl FromStr for Target {
    type Err = String;

    /// Parses a number or a contestant.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(loss) => Ok(Self::Loss(loss)),
            Err(_) => text.parse().map(Self::Final).map_err(|error| format!("not a loss; {error}")),
        }
    }
}

/// (step size, β, score) of all pairs tried; lower scores are better.
pub type Grid = Vec<(f32, f32, f32)>;

/// Result of a contestant with one pair of step size and momentum.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Name of the contestant.
    pub name: String,
    /// Step size.
    pub step_size: f32,
    /// Momentum β.
    pub momentum: f32,
    /// (step size, β, mean final loss or mean steps to the target on the tuning seeds) for the whole grid.
    pub grid: Grid,
    /// Trainings on the reported seeds.
    pub runs: Vec<Run>,
    /// Final losses.
    pub last: Moments,
    /// Losses on the test part at the end.
    pub test: Moments,
    /// Accuracies on the test part at the end.
    pub accuracy: Moments,
    /// Steps to the target, if every seed reached it.
    pub reached: Option<Moments>,
    /// Final loss minus that of the first contestant, seed by seed. With [`Options::each_momentum`], the first
    /// contestant's row with the same momentum is used.
    pub difference: Option<Moments>,
    /// Steps to the target divided by those of the first contestant, seed by seed, if both always reached it.
    pub ratio: Option<Moments>,
}

/// Result of a comparison.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Description of the model.
    pub network: String,
    /// Number of steps of a training.
    pub steps: u64,
    /// Target loss.
    pub target: f32,
    /// Part on which the loss is measured: `training` or `test`.
    pub part: String,
    /// Tuning seeds.
    pub tuned_on: Vec<u64>,
    /// Reported seeds.
    pub reported_on: Vec<u64>,
    /// One row per contestant; with [`Options::each_momentum`], one per contestant and momentum.
    pub rows: Vec<Row>,
    /// One sentence for each reason to distrust a chosen pair, see the [module](self).
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Largest number of times that a grid grows.
const GROWTH: usize = 3;

/// Compares optimizers. `observe` receives the numbers of finished and of requested trainings so far. A comparison that
/// was interrupted and resumed has the same result as an uninterrupted one.
///
/// # Errors
/// Returns an error if the configuration does not fit the data or the machine, if the options are inconsistent, or if
/// the comparison is interrupted. A training that diverges is a result, not an error.
pub fn compare(
    config: &Config,
    data: &Dataset,
    options: &Options,
    interruption: &Interruption,
    observe: impl Fn(usize, usize) + Sync,
) -> Result<Comparison> {
    options.check(config)?;
    let Options { trials: Trials { contestants, seeds, on_training, .. }, tuned_on, .. } = options;
    limits::several(config, data, options.trials.jobs)?;
    let ledger = Ledger::open(&Purpose::new(config, data, options.by_name()), interruption)?;
    let keeping = (&ledger, interruption.stop);
    let work = Work::new(config, data, &options.trials, tuned_on.iter().chain(seeds).copied(), keeping, observe)?;
    let tunings: Vec<&[f32]> = match options.each_momentum {
        true => options.momenta.chunks(1).collect(),
        false => vec![&options.momenta],
    };
    let (mut trained, mut promises) = (Vec::new(), Vec::new());
    for contestant in contestants {
        for momenta in &tunings {
            let (pair, grid, promised) = tune(&work, options, contestant, momenta)?;
            promises.push(promised);
            let asked: Vec<_> = seeds.iter().map(|seed| (contestant.clone(), pair, *seed)).collect();
            trained.push((contestant, pair, grid, work.run(&asked)?));
        }
    }
    let last = |runs: &[Run]| runs.iter().map(|run| run.last).sum::<f32>() / runs.len() as f32;
    let target = match &options.target {
        Target::Loss(loss) => *loss,
        Target::Final(contestant) => {
            let theirs = trained.iter().filter(|(found, ..)| *found == contestant);
            theirs.map(|(.., runs)| last(runs)).fold(f32::INFINITY, |a, b| if b < a { b } else { a })
        }
    };
    let mut rows: Vec<Row> = Vec::new();
    for (contestant, pair, grid, runs) in trained {
        let first = rows.iter().take(tunings.len()).find(|row| !options.each_momentum || row.momentum == pair.1);
        let row = row(contestant, pair, grid, runs, first, target);
        rows.push(row);
    }
    let lowest = rows.iter().map(|row| row.last.mean).fold(f64::INFINITY, f64::min) as f32;
    let warnings = rows.iter().zip(promises).flat_map(|(row, promised)| warnings(row, promised, lowest)).collect();
    Ok(Comparison {
        network: config.model.to_string(),
        steps: work.steps(),
        target,
        part: if *on_training { "training" } else { "test" }.to_owned(),
        tuned_on: tuned_on.clone(),
        reported_on: seeds.clone(),
        rows,
        warnings,
    })
}

/// Returns the warnings about a chosen pair. `promised` is its largest final loss on a tuning seed.
fn warnings(row: &Row, promised: Option<f32>, lowest: f32) -> Vec<String> {
    /// Factor from which on a loss counts as far above another.
    const FAR: f32 = 2.0;
    let Row { name, step_size: step, momentum, grid, runs, .. } = row;
    let pair = format!("{name}, η = {step}, β = {momentum}");
    let mut warnings = Vec::new();
    if let Some(promised) = promised {
        for Run { seed, last, .. } in runs {
            if !last.is_finite() {
                warnings.push(format!("{pair}: diverged on seed {seed}, after a loss of {promised:.4} in tuning"));
            } else if *last > FAR * promised && *last > FAR * lowest {
                let what = format!("ends at {last:.4} on seed {seed}, after at most {promised:.4} in tuning");
                warnings.push(format!("{pair}: {what}; more tuning seeds would make the choice more reliable"));
            }
        }
    }
    let edge = |of: fn(&(f32, f32, f32)) -> f32, chosen: f32| {
        let tried = || grid.iter().map(of);
        let several = tried().any(|one| one != chosen);
        (several && (tried().all(|one| one <= chosen) || tried().all(|one| one >= chosen))).then_some(chosen)
    };
    let (steps, momenta) = (edge(|pair| pair.0, *step), edge(|pair| pair.1, *momentum));
    for (what, edge) in [("step size", steps), ("momentum", momenta)] {
        if let Some(edge) = edge {
            let last = format!("the {what} {edge} is at the edge of those tried");
            warnings.push(format!("{pair}: {last}, and a better one may lie beyond"));
        }
    }
    warnings
}

/// Returns the best pair with one of these β, the (step size, β, score) of all pairs tried, and the largest final loss
/// of the best pair on a tuning seed.
fn tune<F: Fn(usize, usize) + Sync>(
    work: &Work<F>,
    options: &Options,
    contestant: &Contestant,
    momenta: &[f32],
) -> Result<((f32, f32), Grid, Option<f32>)> {
    let steps = options.trials.step_sizes(contestant, work.config());
    let mut pairs: Vec<_> = steps.iter().flat_map(|step| momenta.iter().map(|beta| (*step, *beta))).collect();
    let seeds = &options.tuned_on;
    if seeds.is_empty() {
        return Ok((pairs[0], Vec::new(), None));
    }
    let (mut tried, mut worst) = (Grid::new(), Vec::new());
    let mut best = (0.0, 0.0, f32::INFINITY);
    for _ in 0..=GROWTH {
        let asked: Vec<_> =
            pairs.iter().flat_map(|pair| seeds.iter().map(|seed| (contestant.clone(), *pair, *seed))).collect();
        let runs = work.run(&asked)?;
        for (pair, runs) in pairs.iter().zip(runs.chunks(seeds.len())) {
            worst.push(runs.iter().map(|run| run.last).fold(f32::NEG_INFINITY, f32::max));
            tried.push((pair.0, pair.1, runs.iter().map(|run| score(options, run)).sum::<f32>() / seeds.len() as f32));
        }
        best = tried.iter().copied().fold((f32::NAN, f32::NAN, f32::INFINITY), |a, b| if b.2 < a.2 { b } else { a });
        // Step sizes beyond the edge, for this momentum.
        let edge = |beyond: fn(f32, f32) -> bool| {
            !tried.iter().any(|(step, beta, _)| *beta == best.1 && beyond(*step, best.0))
        };
        pairs = match (edge(|step, best| step > best), edge(|step, best| step < best)) {
            (true, _) => vec![(best.0 * 2.0, best.1)],
            (_, true) => vec![(best.0 / 2.0, best.1)],
            _ => break,
        };
    }
    if best.2.is_infinite() {
        return Err(Error::usage(format!(
            "{contestant}: no training of its grid finished, or reached the target; other step sizes may help"
        )));
    }
    let promised = tried.iter().position(|pair| *pair == best).map(|at| worst[at]);
    Ok(((best.0, best.1), tried, promised))
}

/// Returns the score of a training; lower is better.
fn score(options: &Options, run: &Run) -> f32 {
    match (options.choice, &options.target) {
        (Choice::Steps, Target::Loss(target)) => run.reached(*target).map_or(f32::INFINITY, |steps| steps as f32),
        _ => run.last,
    }
}

fn row(
    contestant: &Contestant,
    (step, momentum): (f32, f32),
    grid: Grid,
    runs: Vec<Run>,
    first: Option<&Row>,
    target: f32,
) -> Row {
    let of = |number: fn(&Run) -> f32| Moments::of(runs.iter().map(|run| f64::from(number(run))));
    let reached: Option<Vec<f64>> = runs.iter().map(|run| run.reached(target)).collect();
    let paired = |f: &dyn Fn(&Run, &Run) -> Option<f64>| {
        let pairs: Option<Vec<_>> = first?.runs.iter().zip(&runs).map(|(first, run)| f(first, run)).collect();
        pairs.map(Moments::of)
    };
    Row {
        name: contestant.to_string(),
        step_size: step,
        momentum,
        grid,
        last: of(|run| run.last),
        test: of(|run| run.test.0),
        accuracy: of(|run| run.test.1),
        reached: reached.map(Moments::of),
        difference: paired(&|first, run| Some(f64::from(run.last) - f64::from(first.last))),
        ratio: paired(&|first, run| Some(run.reached(target)? / first.reached(target)?)),
        runs,
    }
}

/// Formats the result as a table for a terminal or a Markdown file.
pub fn table(comparison: &Comparison) -> String {
    let Comparison { network, steps, target, part, rows, .. } = comparison;
    let seeds = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut table = format!(
        "{network}; {steps} steps; seeds {}, tuned on {}; loss on the {part} part; target {target:.4}\n\n",
        seeds(&comparison.reported_on),
        if comparison.tuned_on.is_empty() { "none".to_owned() } else { seeds(&comparison.tuned_on) }
    );
    table += "| optimizer | η | β | final loss | − first (s.e.) | steps to target | / first (s.e.) | test loss | test accuracy |\n";
    table += "|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let Row { name, step_size: step, momentum, last, test, accuracy, reached, difference, ratio, .. } = row;
        let with_error = |spread: &Option<Moments>, digits: usize| match spread {
            Some(spread) if spread.mean >= 0.0 => format!("+{}", spread.with_error(digits)),
            Some(spread) => spread.with_error(digits),
            None => "–".to_owned(),
        };
        let reached = match reached {
            Some(steps) => steps.with_deviation(0),
            None => {
                let count = row.runs.iter().filter(|run| run.reached(*target).is_some()).count();
                format!("{count} of {} reach it", row.runs.len())
            }
        };
        table += &format!(
            "| {name} | {step} | {momentum} | {} | {} | {reached} | {} | {:.4} | {:.2} % |\n",
            last.with_deviation(4),
            with_error(difference, 4),
            with_error(ratio, 2).replace('+', ""),
            test.mean,
            100.0 * accuracy.mean
        );
    }
    for (at, warning) in comparison.warnings.iter().enumerate() {
        table += &format!("{}{warning}\n", if at == 0 { "\n" } else { "" });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a row with one β, a grid with scores for step sizes 1, 2 and 4, and runs with these final losses.
    fn row(step: f32, last: &[f32]) -> Row {
        let run = |(seed, last): (usize, &f32)| Run {
            step_size: step,
            momentum: 0.9,
            seed: seed as u64,
            curve: Vec::new(),
            last: *last,
            test: (*last, 0.5),
        };
        let runs: Vec<_> = last.iter().enumerate().map(run).collect();
        let grid = [1.0, 2.0, 4.0].map(|tried| (tried, 0.9, (tried - step).abs())).to_vec();
        super::row(&"scion".parse().unwrap(), (step, 0.9), grid, runs, None, 0.1)
    }

    #[test]
    fn a_pair_that_does_not_keep_its_promise_is_warned_of() {
        assert_eq!(warnings(&row(2.0, &[0.10, 0.19]), Some(0.1), 0.05), [""; 0]);
        assert_eq!(warnings(&row(2.0, &[0.10, 0.19]), None, 0.05), [""; 0], "nothing was tuned");
        let [far] = &warnings(&row(2.0, &[0.10, 0.21]), Some(0.1), 0.05)[..] else { panic!() };
        assert!(far.contains("ends at 0.2100 on seed 1, after at most 0.1000 in tuning"), "{far}");
        assert_eq!(warnings(&row(2.0, &[0.10, 0.21]), Some(0.1), 0.11), [""; 0], "all are no better");
        let [diverged] = &warnings(&row(2.0, &[f32::INFINITY, 0.1]), Some(0.1), 0.05)[..] else { panic!() };
        assert!(diverged.contains("η = 2, β = 0.9: diverged on seed 0"), "{diverged}");
    }

    #[test]
    fn a_pair_at_the_edge_of_its_grid_is_warned_of() {
        for step in [1.0, 4.0] {
            let [edge] = &warnings(&row(step, &[0.1]), Some(0.1), 0.1)[..] else { panic!() };
            assert!(edge.contains(&format!("the step size {step} is at the edge of those tried")), "{edge}");
        }
    }
}
