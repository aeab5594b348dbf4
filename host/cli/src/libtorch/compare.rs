//! `graftage compare`.

use super::trials::{TrialArguments, progress};
use crate::console::say;
use clap::Args;
use graftage_train::error::Result;
use graftage_train::page::comparison_page;
use graftage_train::tournament::compare::{Choice, Options, Target, compare, table};
use graftage_train::tournament::trials::Contestant;

/// Result file in the output folder.
const FILE: &str = "comparison.json";

#[derive(Args)]
pub struct Compare {
    #[command(flatten)]
    trials: TrialArguments,
    /// Optimizers; all others are compared with the first: scion, muon, adamw, sgd, nesterov, theta=SHARE, lag=MEMORY,
    /// alignment=DAMPING, or variant=NAME for a table [variants.NAME] of the configuration.
    #[arg(long, value_delimiter = ',', default_value = "scion,theta=0.25,nesterov,muon,adamw,sgd")]
    optimizers: Vec<Contestant>,
    /// Seeds for choosing step size and momentum. The grid of step sizes grows if the best one is at its edge.
    #[arg(long, value_delimiter = ',', default_value = "11")]
    tuning_seeds: Vec<u64>,
    /// Choose and report a step size for each momentum separately.
    #[arg(long)]
    each_momentum: bool,
    /// Momenta in the grid.
    #[arg(long, value_delimiter = ',', value_name = "BETA", default_value = "0.8,0.9,0.95")]
    momenta: Vec<f32>,
    /// Loss up to which steps are counted: a number, or an optimizer, whose final loss is used.
    #[arg(long, value_name = "LOSS")]
    target: Target,
    /// Criterion for choosing step size and momentum: the lowest final loss, or the fewest steps to the target.
    #[arg(long, value_name = "loss|steps", default_value = "loss")]
    choose: Choice,
}

impl Compare {
    pub fn run(self) -> Result<()> {
        let asked = self.trials.read(self.optimizers, FILE)?;
        let options = Options {
            trials: asked.trials.clone(),
            momenta: self.momenta,
            each_momentum: self.each_momentum,
            tuned_on: self.tuning_seeds,
            target: self.target,
            choice: self.choose,
        };
        let comparison = compare(&asked.config, &asked.data, &options, &asked.interruption(), progress())?;
        say!("{}", table(&comparison).trim_end());
        asked.write(FILE, &comparison, || comparison_page(&comparison))
    }
}
