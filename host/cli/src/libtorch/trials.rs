//! What `graftage compare` and `graftage transfer` ask alike.

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
    #[arg(long, default_value_t = graftage::parallel::processors())]
    jobs: usize,
    /// Write the result as JSON and report.html into this folder.
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    /// Go on with what was interrupted and has left its trainings in the output folder.
    #[arg(long)]
    resume: bool,
}

/// What is asked, the data, and where the result goes.
pub struct Asked {
    pub config: Config,
    pub data: Dataset,
    pub trials: Trials,
    folder: Option<Folder>,
    resume: bool,
}

/// The page of a result.
const PAGE: &str = "report.html";

impl TrialArguments {
    /// Claims the files of the result, `file` among them, and reads what is asked.
    pub fn read(self, contestants: Vec<Contestant>, file: &str) -> Result<Asked> {
        if self.resume && self.output.is_none() {
            return Err(Error::usage("--resume: name the folder that holds the trainings, with --output"));
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
    /// Ways of being interrupted and of going on.
    pub fn interruption(&self) -> Interruption<'_> {
        Interruption { folder: self.folder.as_ref(), resume: self.resume, stop: signals::stop() }
    }

    /// Writes the result as a file of this name, and its page, where that is wanted.
    pub fn write(&self, file: &str, result: &impl Serialize, page: impl FnOnce() -> String) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut change = folder.change();
        change.add_json(file, result)?;
        change.add(PAGE, page().as_bytes())?;
        change.supersede(&[TRAININGS]);
        Ok(change.commit()?)
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
