//! What `graftage compare` and `graftage transfer` ask alike.

use crate::console::Progress;
use crate::train::{of_config, stop};
use clap::Args;
use graftage::config::Config;
use graftage::data::Dataset;
use graftage::error::{Error, Result};
use graftage::files;
use graftage::trials::{Contestant, Interruption, Trials, discard};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

#[derive(Args)]
pub struct TrialArguments {
    /// What to train, on what and for how long: a TOML file. Its optimizer's constants count where no option says otherwise.
    config: PathBuf,
    /// Seeds that are reported.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Step sizes for what the rule moves.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.0075,0.015,0.03,0.06,0.12")]
    step_sizes: Vec<f32>,
    /// The same for AdamW.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.0015,0.003,0.006,0.012,0.024")]
    adamw_step_sizes: Vec<f32>,
    /// The same for SGD.
    #[arg(long, value_delimiter = ',', value_name = "ETA", default_value = "0.025,0.05,0.1,0.2,0.4")]
    sgd_step_sizes: Vec<f32>,
    /// The loss is the training part's, not the test part's.
    #[arg(long)]
    on_training: bool,
    /// Trainings at a time, each on one thread of the processor.
    #[arg(long, default_value_t = graftage::limits::processors())]
    jobs: usize,
    /// Write the result as JSON and report.html into this folder.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Go on with what was interrupted and has left its trainings in the output folder.
    #[arg(long)]
    resume: bool,
}

/// What is asked, the data, and where the result goes.
pub struct Asked {
    pub config: Config,
    pub data: Dataset,
    pub trials: Trials,
    output: Option<PathBuf>,
    resume: bool,
    stop: Arc<AtomicBool>,
}

impl TrialArguments {
    pub fn read(self, contestants: Vec<Contestant>) -> Result<Asked> {
        if self.resume && self.output.is_none() {
            return Err(Error::Usage("--resume: name the folder that holds the trainings, with --output".into()));
        }
        let config = Config::read(&self.config)?;
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
        Ok(Asked { config, data, trials, output: self.output, resume: self.resume, stop: stop()? })
    }
}

impl Asked {
    /// Ways of being interrupted and of going on.
    pub fn interruption(&self) -> Interruption<'_> {
        Interruption { folder: self.output.as_deref(), resume: self.resume, stop: &self.stop }
    }

    /// Writes the result as a file of this name, and its page, where that is wanted.
    pub fn write(&self, file: &str, result: &impl Serialize, page: impl FnOnce() -> String) -> Result<()> {
        let Some(folder) = &self.output else { return Ok(()) };
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
        files::write_json(&folder.join(file), result)?;
        files::write(&folder.join("report.html"), page().as_bytes())?;
        discard(folder)
    }
}

/// Shows how many trainings have ended, of how many.
pub fn progress() -> impl Fn(usize, usize) + Sync {
    let progress = Mutex::new(Progress::new("trainings", 0));
    move |done, all| {
        if let Ok(progress) = progress.lock() {
            progress.total(all as u64);
            progress.at(done as u64, String::new);
        }
    }
}
