//! Options shared by `graftage compare` and `graftage transfer`.

use super::train::of_config;
use crate::console::Progress;
use crate::outputs::Force;
use clap::Args;
use graftage::data::Dataset;
use graftage::files::Folder;
use graftage::signals;
use graftage_train::config::Config;
use graftage_train::error::{Error, Result};
use graftage_train::trials::{Contestant, Interruption, TRAININGS, Trials};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Mutex;

#[derive(Args)]
pub struct TrialArguments {
    /// TOML file that configures model, data and duration; its optimizer's constants apply where no option overrides
    /// them.
    config: PathBuf,
    /// Seeds to report.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Step sizes for parameters that the rule updates.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.0075,0.015,0.03,0.06,0.12")]
    step_sizes: Vec<f32>,
    /// Step sizes for AdamW.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.0015,0.003,0.006,0.012,0.024")]
    adamw_step_sizes: Vec<f32>,
    /// Step sizes for SGD.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.025,0.05,0.1,0.2,0.4")]
    sgd_step_sizes: Vec<f32>,
    /// Use the training part's loss instead of the test part's.
    #[arg(long)]
    on_training: bool,
    /// Number of concurrent trainings, each on one processor thread.
    #[arg(long, default_value_t = graftage::parallel::processors())]
    jobs: usize,
    /// Folder to write the result into, as JSON and report.html.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    /// Continue an interrupted run whose trainings are in the output folder.
    #[arg(long)]
    resume: bool,
}

/// Requested trials, their data, and the destination of the result.
pub struct Asked {
    pub config: Config,
    pub data: Dataset,
    pub trials: Trials,
    folder: Option<Folder>,
    resume: bool,
}

/// Name of the result's HTML page.
const PAGE: &str = "report.html";

impl TrialArguments {
    /// Claims the result's files, including `file`, and reads configuration and data.
    pub fn read(self, contestants: Vec<Contestant>, file: &str) -> Result<Asked> {
        if self.resume && self.output.is_none() {
            return Err(Error::usage("--resume: name the folder that holds the trainings with --output"));
        }
        let config = Config::read(&self.config)?;
        let own = config.data.paths();
        let claims = self.force.claims([&self.config].into_iter().chain(&own));
        let folder = self.output.as_ref().map(|path| claims.folder(path, &[file, PAGE])).transpose()?;
        let data =
            config.data.load(&config.split, &config.normalise).map_err(|error| of_config(&self.config, error))?;
        let trials = Trials {
            contestants,
            step_sizes: self.step_sizes,
            torch_step_sizes: [self.adamw_step_sizes, self.sgd_step_sizes],
            seeds: self.seeds,
            on_training: self.on_training,
            jobs: self.jobs,
        };
        Ok(Asked { config, data, trials, folder, resume: self.resume })
    }
}

impl Asked {
    /// Interruption and continuation of the trials.
    pub fn interruption(&self) -> Interruption<'_> {
        Interruption { folder: self.folder.as_ref(), resume: self.resume, stop: signals::stop() }
    }

    /// Writes the result and its page, if an output folder was given.
    pub fn write(&self, file: &str, result: &impl Serialize, page: impl FnOnce() -> String) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut change = folder.change();
        change.add_json(file, result)?;
        change.add(PAGE, page().as_bytes())?;
        change.supersede(&[TRAININGS]);
        Ok(change.commit()?)
    }
}

/// Shows how many trainings have ended, and their total number.
pub fn progress() -> impl Fn(usize, usize) + Sync {
    let progress = Mutex::new(Progress::new("trainings", 0));
    move |done, all| {
        if let Ok(progress) = progress.lock() {
            progress.total(all as u64);
            progress.at(done as u64, String::new);
        }
    }
}
