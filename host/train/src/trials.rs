//! Trainings for comparison: by several optimizers, from the same weights and with the same batches.
//!
//! A contestant is a [`Method`], of Transported Scion also a law of transport. Seeds draw weights, batches and wrong labels
//! alike for all, so that differences can be taken seed by seed.

mod ledger;

pub use ledger::TRAININGS;
pub(crate) use ledger::{Ledger, Purpose};

use crate::config::Config;
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

/// A way to train that is compared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Contestant {
    /// The optimizer.
    pub method: Method,
    /// The law of transport, of Transported Scion.
    pub transport: Transport,
}

impl FromStr for Contestant {
    type Err = String;

    /// Reads `scion`, `muon`, `adamw`, `sgd`, `nesterov`, or a law of transport: `theta=0.25`, `lag=0.6`, `alignment=1.5`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let scion = Transport::Fixed { theta: 0.0 };
        match Method::ALL.into_iter().find(|method| method.key() == text) {
            Some(Method::Transported) | None => match rule::transport(text) {
                Ok(transport) => Ok(Self { method: Method::Transported, transport }),
                Err(_) => Err(format!(
                    "{text:?} is no optimizer: scion, muon, adamw, sgd, nesterov, theta=SHARE, lag=MEMORY or alignment=DAMPING"
                )),
            },
            Some(method) => Ok(Self { method, transport: scion }),
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.method {
            Method::Transported => f.write_str(&rule::transport_argument(self.transport)),
            method => f.write_str(&method.to_string()),
        }
    }
}

/// Who trains, with which step sizes, and what is measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Trials {
    /// The optimizers.
    pub contestants: Vec<Contestant>,
    /// Step sizes of the rule's optimizers.
    pub step_sizes: Vec<f32>,
    /// Step sizes of AdamW and of SGD.
    pub torch_step_sizes: [Vec<f32>; 2],
    /// Seeds that are reported.
    pub seeds: Vec<u64>,
    /// Whether the loss is the training part's; else the test part's.
    pub on_training: bool,
    /// Trainings at a time, each on one thread.
    pub jobs: usize,
}

impl Trials {
    /// The step sizes of a contestant's grid.
    pub fn step_sizes(&self, contestant: &Contestant) -> &[f32] {
        match contestant.method {
            Method::AdamW => &self.torch_step_sizes[0],
            Method::Sgd => &self.torch_step_sizes[1],
            _ => &self.step_sizes,
        }
    }

    /// The options by their names.
    pub(crate) fn options(&self) -> serde_json::Value {
        let contestants: Vec<_> = self.contestants.iter().map(Contestant::to_string).collect();
        let [adamw, sgd] = &self.torch_step_sizes;
        serde_json::json!({
            "optimizers": listed(&contestants), "step-sizes": listed(&self.step_sizes), "adamw-step-sizes": listed(adamw),
            "sgd-step-sizes": listed(sgd), "seeds": listed(&self.seeds), "on-training": self.on_training,
        })
    }

    /// Refuses what cannot be run.
    ///
    /// # Errors
    /// Where optimizers, seeds or step sizes are missing or given twice, a step size is not finite and above 0, or there are more
    /// trainings at a time than this machine has threads for.
    pub(crate) fn check(&self) -> Result<()> {
        distinct("--optimizers", &self.contestants)?;
        distinct("--seeds", &self.seeds)?;
        for contestant in &self.contestants {
            let (option, steps) = match contestant.method {
                Method::AdamW => ("--adamw-step-sizes", &self.torch_step_sizes[0]),
                Method::Sgd => ("--sgd-step-sizes", &self.torch_step_sizes[1]),
                _ => ("--step-sizes", &self.step_sizes),
            };
            distinct(option, steps)?;
            if let Some(step) = steps.iter().find(|step| !(step.is_finite() && **step > 0.0)) {
                return Err(Error::usage(format!("{option}: {step} is not finite and above 0")));
            }
        }
        Ok(parallel::check("--jobs", self.jobs)?)
    }
}

/// The text in which an option takes them.
pub(crate) fn listed(list: &[impl fmt::Display]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Refuses an option that names nothing, or one thing twice.
pub(crate) fn distinct<T: PartialEq + fmt::Display>(option: &str, list: &[T]) -> Result<()> {
    if list.is_empty() {
        return Err(Error::usage(format!("{option}: at least one is needed")));
    }
    match list.iter().enumerate().find(|(at, one)| list[..*at].contains(one)) {
        Some((_, twice)) => Err(Error::usage(format!("{option}: {twice} is named twice, which tells nothing more"))),
        None => Ok(()),
    }
}

/// Ways of being interrupted and of going on.
#[derive(Clone, Copy, Debug)]
pub struct Interruption<'a> {
    /// The folder for [`TRAININGS`] while the result is not there; `None` keeps nothing.
    pub folder: Option<&'a Folder>,
    /// Go on from what it holds.
    pub resume: bool,
    /// Once it is set, each training ends with its step, and [`Error::TrialsInterrupted`] is the outcome.
    pub stop: &'a AtomicBool,
}

/// One training.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Step size.
    pub step: f32,
    /// β.
    pub momentum: f32,
    /// Seed.
    pub seed: u64,
    /// (step, loss) of the part that counts; empty where it diverged at once.
    pub curve: Vec<(u64, f32)>,
    /// The last loss; infinite where it diverged.
    #[serde(deserialize_with = "or_infinite")]
    pub last: f32,
    /// Loss and accuracy on the test part at the end.
    #[serde(deserialize_with = "first_or_infinite")]
    pub test: (f32, f32),
}

/// JSON has no infinity: it is written as `null`, and read back from it.
fn or_infinite<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<f32, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or(f32::INFINITY))
}

fn first_or_infinite<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<(f32, f32), D::Error> {
    let (loss, accuracy) = <(Option<f32>, f32)>::deserialize(source)?;
    Ok((loss.unwrap_or(f32::INFINITY), accuracy))
}

impl Run {
    /// The first measured step whose loss is at or below a target.
    pub fn reached(&self, target: f32) -> Option<f64> {
        self.curve.iter().find(|(_, loss)| *loss <= target).map(|(step, _)| *step as f64)
    }
}

/// Mean and sample standard deviation; NaN of none.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Deviation; one number has none.
    pub deviation: Option<f64>,
    /// How many.
    pub count: usize,
}

impl Spread {
    /// Of these numbers.
    pub fn of(numbers: &[f64]) -> Self {
        let n = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / n;
        let square = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
        let deviation = (numbers.len() > 1).then(|| (square / (n - 1.0)).sqrt());
        Self { mean, deviation, count: numbers.len() }
    }

    /// The standard error of the mean; one number has none.
    pub fn error(&self) -> Option<f64> {
        self.deviation.map(|deviation| deviation / (self.count as f64).sqrt())
    }

    /// Mean ± deviation, with so many digits; a dash where there is no deviation.
    pub fn with_deviation(&self, digits: usize) -> String {
        format!("{:.digits$} ± {}", self.mean, number(self.deviation, digits))
    }

    /// Mean (standard error), with so many digits; a dash where there is none.
    pub fn with_error(&self, digits: usize) -> String {
        format!("{:.digits$} ({})", self.mean, number(self.error(), digits))
    }
}

fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or("–".into(), |number| format!("{number:.digits$}"))
}

/// One training that is asked for.
pub(crate) type Asked = (Contestant, (f32, f32), u64);

/// Trainings share data: by seed where seeds draw wrong labels, else one for all.
fn key(config: &Config, seed: u64) -> u64 {
    if config.training.wrong_labels > 0.0 { seed } else { 0 }
}

/// Trainings, several at a time.
pub(crate) struct Work<'a, F> {
    config: &'a Config,
    trials: &'a Trials,
    /// By [`key`]; behind locks, as libtorch's tensors may move between threads, but not be used by two at once.
    feeds: BTreeMap<u64, Mutex<Feed>>,
    steps: u64,
    device: tch::Device,
    done: AtomicUsize,
    asked: AtomicUsize,
    /// Its name where trainings are kept.
    network: String,
    ledger: &'a Ledger,
    stop: &'a AtomicBool,
    observe: F,
}

impl<'a, F: Fn(usize, usize) + Sync> Work<'a, F> {
    /// Of these seeds; `observe` is told how many trainings have ended, and how many were asked for so far.
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

    /// Steps of a training.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Runs trainings but those that have ended already, and gives their results in the same order.
    pub(crate) fn run(&self, asked: &[Asked]) -> Result<Vec<Run>> {
        self.asked.fetch_add(asked.len(), Ordering::Relaxed);
        let next = AtomicUsize::new(0);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.trials.jobs.clamp(1, asked.len().max(1)) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(result) = asked.get(at).and_then(|one| self.result(one).transpose()) else { break };
                        // The receiver lives as long as this.
                        let _ = sender.send((at, result));
                        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                        (self.observe)(done, self.asked.load(Ordering::Relaxed));
                    }
                });
            }
        });
        drop(sender);
        let mut results: Vec<_> = receiver.into_iter().collect();
        results.sort_by_key(|(at, _)| *at);
        let runs: Vec<_> = results.into_iter().map(|(_, result)| result).collect::<Result<_>>()?;
        if runs.len() < asked.len() { Err(self.ledger.interrupted()) } else { Ok(runs) }
    }

    /// The result of a training that has ended already, or that ends now; `None` where it is interrupted.
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

    /// A training that diverges is a result, too.
    fn one(&self, (contestant, (step, momentum), seed): &Asked) -> Result<Option<Run>> {
        let mut config = self.config.clone();
        config.seed = *seed;
        config.training.evaluate_training = self.trials.on_training;
        config.optimizer.method = contestant.method;
        config.optimizer.transport = contestant.transport;
        config.optimizer.step_size = *step;
        config.optimizer.momentum = Momentum::Constant(*momentum);
        let feed = match self.feeds.get(&key(self.config, *seed)) {
            Some(feed) => feed.lock().unwrap_or_else(PoisonError::into_inner).share(),
            None => return Err(Error::usage(format!("no data for seed {seed}"))),
        };
        let mut trainer = Trainer::new(&config, &feed, self.device)?;
        let mut run = Run {
            step: *step,
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

    /// True of a training that came to its end, and was not interrupted.
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
