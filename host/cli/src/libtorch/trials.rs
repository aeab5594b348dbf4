//! Options shared by `graftage compare` and `graftage transfer`.

use super::train::of_config;
use crate::console::Progress;
use crate::outputs::Force;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use graftage::data::Dataset;
use graftage::files::Folder;
use graftage::signals;
use graftage_optim::baselines::{self, Baseline};
use graftage_train::config::Config;
use graftage_train::error::{Error, Result};
use graftage_train::tournament::trials::{Contestant, Interruption, TRAININGS, Trials};
use serde::Serialize;
use std::collections::BTreeMap;
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
    #[command(flatten)]
    baselines: BaselineArguments,
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

/// Step sizes for the baselines, in an option for each.
pub struct BaselineArguments {
    step_sizes: BTreeMap<&'static str, Vec<f32>>,
}

impl BaselineArguments {
    fn option(baseline: &Baseline) -> String {
        format!("{}-step-sizes", baseline.key)
    }
}

impl FromArgMatches for BaselineArguments {
    fn from_arg_matches(matches: &ArgMatches) -> clap::error::Result<Self> {
        let of = |baseline: &&'static Baseline| {
            let given = matches.get_many::<f32>(&Self::option(baseline)).into_iter().flatten();
            (baseline.key, given.copied().collect())
        };
        Ok(Self { step_sizes: baselines::ALL.iter().map(of).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> clap::error::Result<()> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for BaselineArguments {
    fn augment_args(command: Command) -> Command {
        baselines::ALL.iter().fold(command, |command, baseline| {
            let usual: Vec<_> = baseline.step_sizes.iter().map(f32::to_string).collect();
            let option = Arg::new(Self::option(baseline)).long(Self::option(baseline)).value_name("ETA");
            let option = option.value_delimiter(',').value_parser(clap::value_parser!(f32)).action(ArgAction::Append);
            command.arg(option.default_value(usual.join(",")).help(format!("Step sizes for {}", baseline.name)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
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
            baseline_step_sizes: self.baselines.step_sizes,
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
