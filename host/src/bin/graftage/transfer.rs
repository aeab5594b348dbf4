//! `graftage transfer`.

use crate::console::{Progress, say};
use clap::Args;
use graftage::compare::{Choice, Contestant, Options, Target};
use graftage::config::Config;
use graftage::error::{Error, Result};
use graftage::files;
use graftage::report::transfer_page;
use graftage::transfer::{table, transfer};
use std::path::PathBuf;

#[derive(Args)]
pub struct Transfer {
    /// What to train, on what and for how long: a TOML file. Its momentum and schedule count.
    config: PathBuf,
    /// Widths, the first one that on which a step size is chosen.
    #[arg(long, value_delimiter = ',', default_value = "64,128,256,512")]
    widths: Vec<usize>,
    /// What trains, as for `compare`.
    #[arg(long, value_delimiter = ',', default_value = "theta=0.25,adamw")]
    optimizers: Vec<Contestant>,
    /// Seeds.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Step sizes for what the rule moves.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.0075,0.015,0.03,0.06,0.12")]
    step_sizes: Vec<f32>,
    /// Step sizes for AdamW.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.0015,0.003,0.006,0.012,0.024")]
    adamw_step_sizes: Vec<f32>,
    /// Step sizes for SGD.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.025,0.05,0.1,0.2,0.4")]
    sgd_step_sizes: Vec<f32>,
    /// The loss is the training part's, not the test part's.
    #[arg(long)]
    on_training: bool,
    /// Trainings at a time, each on one thread of the processor.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Write transfer.json and report.html into this folder.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Transfer {
    pub fn run(self) -> Result<()> {
        let config = Config::read(&self.config)?;
        let data = config.data.load(&config.split, &config.normalise)?;
        let options = Options {
            contestants: self.optimizers,
            step_sizes: self.step_sizes,
            torch_step_sizes: [self.adamw_step_sizes, self.sgd_step_sizes],
            momenta: Vec::new(),
            each_momentum: false,
            tuned_on: Vec::new(),
            reported_on: self.seeds,
            target: Target::Loss(f32::NEG_INFINITY),
            choice: Choice::Loss,
            on_training: self.on_training,
            jobs: self.jobs,
        };
        let progress = std::sync::Mutex::new(Progress::new("trainings", 0));
        let result = transfer(&config, &data, &self.widths, &options, |done, all| {
            if let Ok(progress) = progress.lock() {
                progress.total(all as u64);
                progress.at(done as u64, String::new);
            }
        })?;
        drop(progress);
        say!("{}", table(&result).trim_end());
        if let Some(folder) = self.output {
            std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
            files::write_json(&folder.join("transfer.json"), &result)?;
            files::write(&folder.join("report.html"), transfer_page(&result).as_bytes())?;
        }
        Ok(())
    }
}
