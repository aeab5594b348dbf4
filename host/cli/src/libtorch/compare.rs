//! `graftage compare`.

use super::trials::{TrialArguments, progress};
use crate::console::say;
use clap::Args;
use graftage_train::compare::{Choice, Options, Target, compare, table};
use graftage_train::error::Result;
use graftage_train::page::comparison_page;
use graftage_train::trials::Contestant;

/// The result, in its folder.
const FILE: &str = "comparison.json";

#[derive(Args)]
pub struct Compare {
    #[command(flatten)]
    trials: TrialArguments,
    /// What is compared with the first of them: scion, muon, adamw, sgd, nesterov, theta=SHARE, lag=MEMORY, alignment=DAMPING.
    #[arg(long, value_delimiter = ',', default_value = "scion,theta=0.25,nesterov,muon,adamw,sgd")]
    optimizers: Vec<Contestant>,
    /// Seeds on which step size and momentum are chosen; the grid of step sizes grows where the best one is at its edge.
    #[arg(long, value_delimiter = ',', default_value = "11")]
    tuning_seeds: Vec<u64>,
    /// Choose and report each momentum by itself.
    #[arg(long)]
    each_momentum: bool,
    /// Momenta of the grid.
    #[arg(long, value_delimiter = ',', value_name = "BETA", default_value = "0.8,0.9,0.95")]
    momenta: Vec<f32>,
    /// Steps are counted to this loss, a number, or to the final loss of one of the optimizers.
    #[arg(long, value_name = "LOSS")]
    target: Target,
    /// By what step size and momentum are chosen: the lowest final loss, or the fewest steps to the target.
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
