//! Transfer of the best step size across widths: a model is trained at several widths over a grid of step sizes.
//!
//! The rule's norms measure a layer by its effect on its inputs, independent of their number (from RMS to RMS, see
//! [`graftage_core::norm`]). A step of a given size then changes the outputs of a wide layer as much as those of a
//! narrow one, so the best step size should not depend on the width (Pethick et al. 2025, "Training deep learning
//! models with norm-constrained LMOs", §4; Yang et al. 2022, "Tensor Programs V"). The reported cost of relying on this
//! is, at each width, the loss at the step size that is best at the first width, minus the lowest loss of the grid.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limits;
use crate::tournament::trials::{Interruption, Ledger, Purpose, Trials, Work, distinct};
use graftage::data::Dataset;
use graftage::statistics::Moments;
use graftage_core::schedule::Momentum;
use serde::{Deserialize, Serialize};

/// Losses of an optimizer at one width.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// Name of the optimizer.
    pub name: String,
    /// Width.
    pub width: usize,
    /// Number of parameters of the model.
    pub parameters: usize,
    /// Step sizes in ascending order, with the final loss over the seeds; infinite if a training diverged.
    pub losses: Vec<(f32, Moments)>,
    /// Best step size at this width.
    pub best: f32,
    /// True if the best step size is the first or last of the grid, so that a better one may lie beyond.
    pub at_edge: bool,
    /// Loss at the step size that is best at the first width, minus the loss at this width's own best, seed by seed.
    pub cost: Moments,
}

/// Result of a transfer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// Description of the model at the first width.
    pub network: String,
    /// Number of steps of a training.
    pub steps: u64,
    /// Momentum β.
    pub momentum: f32,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// One curve per optimizer and width, grouped by optimizer.
    pub curves: Vec<Curve>,
}

/// Trains at these widths with all contestants and all their step sizes. `observe` receives the number of finished
/// trainings and the total. A transfer that was interrupted and resumed has the same result as an uninterrupted one.
///
/// # Errors
/// Returns an error if the model has no such width or does not fit the machine, if the options are inconsistent, or if
/// the transfer is interrupted. A training that diverges is not an error.
pub fn transfer(
    config: &Config,
    data: &Dataset,
    widths: &[usize],
    trials: &Trials,
    interruption: &Interruption,
    observe: impl Fn(usize, usize) + Sync,
) -> Result<Transfer> {
    let usage = |what: &str| Err(Error::usage(what));
    trials.check(config)?;
    distinct("--widths", widths)?;
    let Momentum::Constant(momentum) = config.optimizer.momentum else {
        return usage("[optimizer] momentum must be constant for a transfer");
    };
    let all = widths.iter().map(|width| Ok(Config { model: config.model.with_width(*width)?, ..config.clone() }));
    let configs = all.collect::<Result<Vec<_>>>()?;
    configs.iter().try_for_each(|config| limits::several(config, data, trials.jobs))?;
    let mut options = trials.options();
    options["widths"] = serde_json::json!(widths);
    let ledger = Ledger::open(&Purpose::new(config, data, options), interruption)?;
    let total: usize = trials.contestants.iter().map(|one| trials.step_sizes(one, config).len()).sum::<usize>()
        * widths.len()
        * trials.seeds.len();
    let mut curves: Vec<Curve> = Vec::new();
    let (mut before, mut steps) = (0, 0);
    for contestant in &trials.contestants {
        let mut grid = trials.step_sizes(contestant, config).to_vec();
        grid.sort_by(f32::total_cmp);
        let start = curves.len();
        for (width, config) in widths.iter().zip(&configs) {
            let (seeds, keeping) = (trials.seeds.iter().copied(), (&ledger, interruption.stop));
            let work = Work::new(config, data, trials, seeds, keeping, |done, _| observe(before + done, total))?;
            steps = work.steps();
            let seeds = &trials.seeds;
            let asked: Vec<_> = grid
                .iter()
                .flat_map(|step| seeds.iter().map(|seed| (contestant.clone(), (*step, momentum), *seed)))
                .collect();
            let runs = work.run(&asked)?;
            before += runs.len();
            let losses: Vec<Vec<f64>> =
                runs.chunks(seeds.len()).map(|runs| runs.iter().map(|run| f64::from(run.last)).collect()).collect();
            let mean = |at: usize| Moments::of(losses[at].iter().copied()).mean;
            let best = (0..grid.len()).fold(0, |best, at| if mean(at) < mean(best) { at } else { best });
            let first = curves.get(start).map_or(grid[best], |curve| curve.best);
            let believed = grid.iter().position(|step| *step == first).unwrap_or(best);
            let cost: Vec<_> = losses[believed].iter().zip(&losses[best]).map(|(a, b)| a - b).collect();
            let shape = graftage::model::Shape::of(data);
            curves.push(Curve {
                name: contestant.to_string(),
                width: *width,
                parameters: config.model.parameters(&shape)?.iter().map(|parameter| parameter.count()).sum(),
                losses: grid
                    .iter()
                    .copied()
                    .zip(losses.iter().map(|losses| Moments::of(losses.iter().copied())))
                    .collect(),
                best: grid[best],
                at_edge: best == 0 || best + 1 == grid.len(),
                cost: Moments::of(cost),
            });
        }
    }
    let (network, seeds) = (configs[0].model.to_string(), trials.seeds.clone());
    Ok(Transfer { network, steps, momentum, seeds, curves })
}

/// Formats the result as a table for a terminal or a Markdown file.
pub fn table(transfer: &Transfer) -> String {
    let Transfer { network, steps, momentum, seeds, curves } = transfer;
    let seeds = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut table = format!("{network} and wider; {steps} steps, β = {momentum}, seeds {seeds}; final loss\n");
    let mut name = "";
    for curve in curves {
        if curve.name != name {
            name = &curve.name;
            let steps = curve.losses.iter().map(|(step, _)| format!(" {step} |")).collect::<String>();
            let rule = "---|".repeat(curve.losses.len());
            table += &format!(
                "\n| {name}, width | parameters |{steps} best | cost of the first's best (s.e.) |\n|---|---|{rule}---|---|\n"
            );
        }
        let losses = curve.losses.iter().map(|(step, loss)| match (loss.mean.is_finite(), *step == curve.best) {
            (false, _) => " diverged |".to_owned(),
            (true, true) => format!(" **{:.3}** |", loss.mean),
            (true, false) => format!(" {:.3} |", loss.mean),
        });
        let losses: String = losses.collect();
        let edge = if curve.at_edge { " (edge)" } else { "" };
        let Curve { width, parameters, best, cost, .. } = curve;
        table += &format!("| {width} | {parameters} |{losses} {best}{edge} | {} |\n", cost.with_error(4));
    }
    table
}
