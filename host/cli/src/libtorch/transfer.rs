//! `graftage transfer`.

use super::trials::{TrialArguments, progress};
use crate::console::say;
use clap::Args;
use graftage_train::error::Result;
use graftage_train::page::transfer_page;
use graftage_train::tournament::transfer::{table, transfer};
use graftage_train::tournament::trials::Contestant;

/// Result file in the output folder.
const FILE: &str = "transfer.json";

#[derive(Args)]
pub struct Transfer {
    #[command(flatten)]
    trials: TrialArguments,
    /// Widths; the first is the one on which a step size is chosen.
    #[arg(long, value_delimiter = ',', default_value = "64,128,256,512")]
    widths: Vec<usize>,
    /// Optimizers, as for `compare`.
    #[arg(long, value_delimiter = ',', default_value = "theta=0.25,adamw")]
    optimizers: Vec<Contestant>,
}

impl Transfer {
    pub fn run(self) -> Result<()> {
        let asked = self.trials.read(self.optimizers, FILE)?;
        let result =
            transfer(&asked.config, &asked.data, &self.widths, &asked.trials, &asked.interruption(), progress())?;
        say!("{}", table(&result).trim_end());
        asked.write(FILE, &result, || transfer_page(&result))
    }
}
