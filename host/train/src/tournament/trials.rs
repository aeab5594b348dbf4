//! Trainings for comparison: several optimizers, from the same weights and with the same batches.
//!
//! A contestant is a [`Method`], with a law of transport for Transported Scion, or a variant that the configuration
//! defines. A seed draws the same weights, batches
//! and wrong labels for all contestants, so differences can be taken seed by seed.

mod ledger;

pub use ledger::TRAININGS;
pub(crate) use ledger::{Ledger, Purpose};

use crate::config::{Config, Optimizer};
use crate::error::{Error, Result};
use crate::trainer::{Feed, Trainer};
use graftage::data::Dataset;
use graftage::files::Folder;
use graftage::parallel;
use graftage::rule;
use graftage_core::schedule::Momentum;
use graftage_core::transport::Transport;
use graftage_optim::method::Method;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// An optimizer to compare.
#[derive(Clone, PartialEq, Debug)]
pub enum Contestant {
    /// Transported Scion with this law of transport.
    Law(Transport),
    /// Another method.
    Method(Method),
    /// The optimizer in the configuration's table `[variants.NAME]`.
    Variant(String),
}

impl FromStr for Contestant {
    type Err = String;

    /// Parses `scion`, `muon`, `adamw`, `sgd`, `nesterov`, a law of transport (`theta=0.25`, `lag=0.6`,
    /// `alignment=1.5`) or `variant=NAME`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(name) = text.strip_prefix("variant=") {
            return Ok(Self::Variant(name.to_owned()));
        }
        match Method::find(text) {
            Some(Method::Transported) | None => rule::transport(text).map(Self::Law).map_err(|_| {
                let keys: Vec<_> = Method::all().skip(1).map(Method::key).collect();
                format!(
                    "{text:?} is not an optimizer: use {}, nesterov, theta=SHARE, lag=MEMORY, alignment=DAMPING or \
                     variant=NAME",
                    keys.join(", ")
                )
            }),
            Some(method) => Ok(Self::Method(method)),
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Law(transport) => f.write_str(&rule::transport_argument(*transport)),
            Self::Method(method) => method.fmt(f),
            Self::Variant(name) => f.write_str(name),
        }
    }
}

impl Contestant {
    /// Returns the optimizer's settings, with the configuration's own where the contestant names none.
    ///
    /// # Errors
    /// Returns an error if the configuration has no such variant.
    fn optimizer(&self, config: &Config) -> Result<Optimizer> {
        match self {
            Self::Law(transport) => {
                Ok(Optimizer { method: Method::Transported, transport: *transport, ..config.optimizer.clone() })
            }
            Self::Method(method) => {
                let transport = Transport::Fixed { theta: 0.0 };
                Ok(Optimizer { method: *method, transport, ..config.optimizer.clone() })
            }
            Self::Variant(name) => config.variants.get(name).cloned().ok_or_else(|| {
                let known: Vec<_> = config.variants.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Error::usage(format!(
                    "variant={name}: the configuration has no table [variants.{name}]; it has {known}"
                ))
            }),
        }
    }
}

/// Optimizers, step sizes, seeds and measured loss of a comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Trials {
    /// Optimizers.
    pub contestants: Vec<Contestant>,
    /// Step sizes for the rule's optimizers.
    pub step_sizes: Vec<f32>,
    /// Step sizes for each baseline, by its key.
    pub baseline_step_sizes: BTreeMap<&'static str, Vec<f32>>,
    /// Reported seeds.
    pub seeds: Vec<u64>,
    /// True if the loss is measured on the training part, otherwise on the test part.
    pub on_training: bool,
    /// Number of simultaneous trainings, each on one thread.
    pub jobs: usize,
}

impl Trials {
    /// Returns the grid of step sizes of a contestant.
    pub fn step_sizes(&self, contestant: &Contestant, config: &Config) -> &[f32] {
        match contestant.optimizer(config).ok().and_then(|optimizer| optimizer.method.baseline()) {
            Some(baseline) => self.baseline_step_sizes.get(baseline.key).map_or(&[], Vec::as_slice),
            None => &self.step_sizes,
        }
    }

    /// Returns the options by name.
    pub(crate) fn options(&self) -> serde_json::Value {
        let contestants: Vec<_> = self.contestants.iter().map(Contestant::to_string).collect();
        let mut options = serde_json::json!({
            "optimizers": listed(&contestants), "step-sizes": listed(&self.step_sizes), "seeds": listed(&self.seeds),
            "on-training": self.on_training,
        });
        for (key, step_sizes) in &self.baseline_step_sizes {
            options[format!("{key}-step-sizes")] = listed(step_sizes).into();
        }
        options
    }

    /// Checks that the trials can be run.
    ///
    /// # Errors
    /// Returns an error if optimizers, seeds or step sizes are missing or duplicated, if the configuration lacks a
    /// variant, if a step size is not finite and above 0, or if there are more simultaneous trainings than this machine
    /// has threads for.
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        distinct("--optimizers", &self.contestants)?;
        distinct("--seeds", &self.seeds)?;
        for contestant in &self.contestants {
            let baseline = contestant.optimizer(config)?.method.baseline();
            let of = baseline.map_or_else(String::new, |baseline| format!("{}-", baseline.key));
            let (option, steps) = (format!("--{of}step-sizes"), self.step_sizes(contestant, config));
            distinct(&option, steps)?;
            if let Some(step) = steps.iter().find(|step| !(step.is_finite() && **step > 0.0)) {
                return Err(Error::usage(format!("{option}: a step size must be finite and > 0, found {step}")));
            }
        }
        Ok(parallel::check("--jobs", self.jobs)?)
    }
}

/// Formats a list in the form that an option accepts.
pub(crate) fn listed(list: &[impl fmt::Display]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Checks that an option names at least one value and none twice.
pub(crate) fn distinct<T: PartialEq + fmt::Display>(option: &str, list: &[T]) -> Result<()> {
    if list.is_empty() {
        return Err(Error::usage(format!("{option}: at least one value is required")));
    }
    match list.iter().enumerate().find(|(at, one)| list[..*at].contains(one)) {
        Some((_, twice)) => Err(Error::usage(format!("{option}: {twice} is named twice"))),
        None => Ok(()),
    }
}

/// Settings for interruption and resumption.
#[derive(Clone, Copy, Debug)]
pub struct Interruption<'a> {
    /// Folder for [`TRAININGS`] until the result exists. With `None`, nothing is kept.
    pub folder: Option<&'a Folder>,
    /// True to resume from the contents of the folder.
    pub resume: bool,
    /// Stop flag. When it is set, each training ends after its current step, and the outcome is
    /// [`Error::TrialsInterrupted`].
    pub stop: &'a AtomicBool,
}

/// Result of one training.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Step size.
    pub step_size: f32,
    /// Momentum β.
    pub momentum: f32,
    /// Seed.
    pub seed: u64,
    /// (step, loss) on the measured part; empty if the training diverged before the first measurement.
    pub curve: Vec<(u64, f32)>,
    /// Final loss; infinite if the training diverged.
    #[serde(deserialize_with = "or_infinite")]
    pub last: f32,
    /// Loss and accuracy on the test part at the end.
    #[serde(deserialize_with = "first_or_infinite")]
    pub test: (f32, f32),
}

/// Deserializes a number that JSON stores as `null` if it is infinite.
fn or_infinite<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<f32, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or(f32::INFINITY))
}

fn first_or_infinite<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<(f32, f32), D::Error> {
    let (loss, accuracy) = <(Option<f32>, f32)>::deserialize(source)?;
    Ok((loss.unwrap_or(f32::INFINITY), accuracy))
}

impl Run {
    /// Returns the first measured step whose loss is at or below a target.
    pub fn reached(&self, target: f32) -> Option<f64> {
        self.curve.iter().find(|(_, loss)| *loss <= target).map(|(step, _)| *step as f64)
    }
}

/// A requested training: contestant, (step size, β) and seed.
pub(crate) type Asked = (Contestant, (f32, f32), u64);

/// Returns the key of the data that a seed's trainings share: the seed if seeds draw wrong labels, otherwise one key
/// for all.
fn key(config: &Config, seed: u64) -> u64 {
    if config.training.wrong_labels > 0.0 { seed } else { 0 }
}

/// Runner of several simultaneous trainings.
pub(crate) struct Work<'a, F> {
    config: &'a Config,
    trials: &'a Trials,
    /// Data by [`key`]. The locks are needed because libtorch's tensors may move between threads, but not be used by
    /// two at once.
    feeds: BTreeMap<u64, Mutex<Feed>>,
    steps: u64,
    device: tch::Device,
    done: AtomicUsize,
    asked: AtomicUsize,
    /// Name of the network under which the ledger keeps the trainings.
    network: String,
    ledger: &'a Ledger,
    stop: &'a AtomicBool,
    observe: F,
}

impl<'a, F: Fn(usize, usize) + Sync> Work<'a, F> {
    /// Creates a runner for these seeds. `observe` receives the numbers of finished and of requested trainings so far.
    pub(crate) fn new(
        config: &'a Config,
        data: &Dataset,
        trials: &'a Trials,
        seeds: impl IntoIterator<Item = u64>,
        (ledger, stop): (&'a Ledger, &'a AtomicBool),
        observe: F,
    ) -> Result<Self> {
        let device = config.device()?;
        tch::set_num_threads(1);
        let wrong = config.training.wrong_labels;
        let (mut feeds, mut steps) = (BTreeMap::new(), 0);
        for seed in seeds {
            let key = key(config, seed);
            if let Entry::Vacant(place) = feeds.entry(key) {
                let feed = Feed::new(data, &config.model, wrong, key, device)?;
                steps = crate::trainer::steps(config, &feed);
                place.insert(Mutex::new(feed));
            }
        }
        Ok(Self {
            config,
            trials,
            feeds,
            steps,
            device,
            done: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            network: config.model.to_string(),
            ledger,
            stop,
            observe,
        })
    }

    /// Returns the configuration.
    pub(crate) fn config(&self) -> &Config {
        self.config
    }

    /// Returns the number of steps of a training.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Runs the trainings that have not ended yet, and returns all results in the order of `asked`.
    pub(crate) fn run(&self, asked: &[Asked]) -> Result<Vec<Run>> {
        self.asked.fetch_add(asked.len(), Ordering::Relaxed);
        let runs = parallel::map(self.trials.jobs.clamp(1, asked.len().max(1)), asked, |one| {
            let result = self.result(one);
            if !matches!(result, Ok(None)) {
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.observe)(done, self.asked.load(Ordering::Relaxed));
            }
            result
        })?;
        let runs: Vec<_> = runs.into_iter().flatten().collect();
        if runs.len() < asked.len() { Err(self.ledger.interrupted()) } else { Ok(runs) }
    }

    /// Returns the result of a training, from the ledger or by running it; `None` if it is interrupted.
    fn result(&self, asked: &Asked) -> Result<Option<Run>> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Some(run) = self.ledger.find(&self.network, asked) {
            return Ok(Some(run));
        }
        let run = self.one(asked)?;
        if let Some(run) = &run {
            self.ledger.add(&self.network, asked, run)?;
        }
        Ok(run)
    }

    /// Runs one training. Divergence is a result, too; `None` if it is interrupted.
    fn one(&self, (contestant, (step, momentum), seed): &Asked) -> Result<Option<Run>> {
        let mut config = self.config.clone();
        config.seed = *seed;
        config.training.evaluate_training = self.trials.on_training;
        config.optimizer = contestant.optimizer(self.config)?;
        config.optimizer.step_size = *step;
        config.optimizer.momentum = Momentum::Constant(*momentum);
        let feed = match self.feeds.get(&key(self.config, *seed)) {
            Some(feed) => feed.lock().unwrap_or_else(PoisonError::into_inner).share(),
            None => return Err(Error::usage(format!("no data for seed {seed}"))),
        };
        let mut trainer = Trainer::new(&config, &feed, self.device)?;
        let mut run = Run {
            step_size: *step,
            momentum: *momentum,
            seed: *seed,
            curve: Vec::new(),
            last: f32::INFINITY,
            test: (f32::INFINITY, 0.0),
        };
        match self.train(&mut trainer, &feed, &mut run) {
            Err(Error::Diverged { .. }) => {
                run.last = f32::INFINITY;
                Ok(Some(run))
            }
            Err(error) => Err(error),
            Ok(whole) => Ok(whole.then_some(run)),
        }
    }

    /// Trains to the end. Returns `false` if it was interrupted.
    fn train(&self, trainer: &mut Trainer, feed: &Feed, run: &mut Run) -> Result<bool> {
        let steps = trainer.steps();
        let every = self.config.training.evaluate_every.unwrap_or((steps / 60).max(1));
        while trainer.step() < steps {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            trainer.advance()?;
            let step = trainer.step();
            if !step.is_multiple_of(every) && step != steps {
                continue;
            }
            trainer.read()?;
            let part = if self.trials.on_training { &feed.train } else { &feed.test };
            let measured = trainer.measure(part)?;
            run.curve.push((step, measured.loss));
            if step == steps {
                run.last = measured.loss;
                let test = if self.trials.on_training { trainer.measure(&feed.test)? } else { measured };
                run.test = (test.loss, test.accuracy);
            }
        }
        Ok(true)
    }
}
