//! `graftage compare`.

use crate::console::{Progress, say};
use clap::Args;
use graftage::compare::{Choice, Contestant, Options, Target, compare, table};
use graftage::config::Config;
use graftage::error::Result;
use graftage::files;
use graftage::report::comparison_page;
use std::path::PathBuf;

#[derive(Args)]
pub struct Compare {
    /// What to train, on what and for how long: a TOML file. Its optimizer's constants count where no option says otherwise.
    config: PathBuf,
    /// What is compared with the first of them: scion, muon, adamw, sgd, nesterov, theta=SHARE, lag=MEMORY, alignment=DAMPING.
    #[arg(long, value_delimiter = ',', default_value = "scion,theta=0.25,nesterov,muon,adamw,sgd")]
    optimizers: Vec<Contestant>,
    /// Seeds that are reported.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Seeds on which step size and momentum are chosen.
    #[arg(long, value_delimiter = ',', default_value = "11")]
    tuning_seeds: Vec<u64>,
    /// Choose and report each momentum by itself.
    #[arg(long)]
    each_momentum: bool,
    /// Step sizes of the grid for what the rule moves; it grows where the best one is at its edge.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.0075,0.015,0.03,0.06")]
    step_sizes: Vec<f32>,
    /// The same for AdamW.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.003,0.006,0.012,0.024")]
    adamw_step_sizes: Vec<f32>,
    /// The same for SGD.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.05,0.1,0.2,0.4")]
    sgd_step_sizes: Vec<f32>,
    /// Momenta of the grid.
    #[arg(long, value_delimiter = ',', value_name = "BETA", default_value = "0.8,0.9,0.95")]
    momenta: Vec<f32>,
    /// Steps are counted to this loss, a number, or to the final loss of one of the optimizers.
    #[arg(long, value_name = "LOSS")]
    target: Target,
    /// By what step size and momentum are chosen: the lowest final loss, or the fewest steps to the target.
    #[arg(long, value_enum, default_value = "loss")]
    choose: Choice,
    /// The loss is the training part's, not the test part's.
    #[arg(long)]
    on_training: bool,
    /// Trainings at a time, each on one thread of the processor.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Write comparison.json and report.html into this folder.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Compare {
    pub fn run(self) -> Result<()> {
        let config = Config::read(&self.config)?;
        let data = config.data.load(&config.split, &config.normalise)?;
        let options = Options {
            contestants: self.optimizers,
            step_sizes: self.step_sizes,
            torch_step_sizes: [self.adamw_step_sizes, self.sgd_step_sizes],
            momenta: self.momenta,
            each_momentum: self.each_momentum,
            tuned_on: self.tuning_seeds,
            reported_on: self.seeds,
            target: self.target,
            choice: self.choose,
            on_training: self.on_training,
            jobs: self.jobs,
        };
        let progress = std::sync::Mutex::new(Progress::new("trainings", 0));
        let comparison = compare(&config, &data, &options, |done, all| {
            if let Ok(progress) = progress.lock() {
                progress.total(all as u64);
                progress.at(done as u64, String::new);
            }
        })?;
        drop(progress);
        say!("{}", table(&comparison).trim_end());
        if let Some(folder) = self.output {
            std::fs::create_dir_all(&folder).map_err(graftage::error::Error::file(&folder))?;
            files::write_json(&folder.join("comparison.json"), &comparison)?;
            files::write(&folder.join("report.html"), comparison_page(&comparison).as_bytes())?;
        }
        Ok(())
    }
}
