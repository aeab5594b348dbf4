//! Trainings for comparison: by several optimizers, from the same weights and with the same batches.
//!
//! A contestant is a [`Method`], of Transported Scion also a law of transport. Seeds draw weights, batches and wrong labels
//! alike for all, so that differences can be taken seed by seed.

use crate::config::Config;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::optim::method::Method;
use crate::rule;
use crate::train::{Feed, Trainer};
use graftage_core::schedule::Momentum;
use graftage_core::transport::Transport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        match <Method as clap::ValueEnum>::from_str(text, false) {
            Ok(Method::Transported) | Err(_) => match rule::transport(text) {
                Ok(transport) => Ok(Self { method: Method::Transported, transport }),
                Err(_) => Err(format!(
                    "{text:?} is no optimizer: scion, muon, adamw, sgd, nesterov, theta=SHARE, lag=MEMORY or alignment=DAMPING"
                )),
            },
            Ok(method) => Ok(Self { method, transport: scion }),
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

    /// Refuses what cannot be run.
    ///
    /// # Errors
    /// Where optimizers, seeds or step sizes are missing.
    pub(crate) fn check(&self) -> Result<()> {
        if self.contestants.is_empty() || self.seeds.is_empty() {
            return Err(Error::Usage("there is nothing to train: name optimizers and seeds".into()));
        }
        match self.contestants.iter().find(|one| self.step_sizes(one).is_empty()) {
            Some(one) => Err(Error::Usage(format!("the grid of {one} has no step size"))),
            None => Ok(()),
        }
    }
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
    pub last: f32,
    /// Loss and accuracy on the test part at the end.
    pub test: (f32, f32),
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
    /// Deviation: 0 of one number.
    pub deviation: f64,
    /// How many.
    pub count: usize,
}

impl Spread {
    /// Of these numbers.
    pub fn of(numbers: &[f64]) -> Self {
        let n = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / n;
        let square = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
        Self {
            mean,
            deviation: if numbers.len() > 1 { (square / (n - 1.0)).sqrt() } else { 0.0 },
            count: numbers.len(),
        }
    }

    /// The standard error of the mean.
    pub fn error(&self) -> f64 {
        self.deviation / (self.count as f64).sqrt()
    }
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
    observe: F,
}

impl<'a, F: Fn(usize, usize) + Sync> Work<'a, F> {
    /// Of these seeds; `observe` is told how many trainings have ended, and how many were asked for so far.
    pub(crate) fn new(
        config: &'a Config,
        data: &Dataset,
        trials: &'a Trials,
        seeds: impl IntoIterator<Item = u64>,
        observe: F,
    ) -> Result<Self> {
        let device = crate::train::device(config)?;
        tch::set_num_threads(1);
        let wrong = config.training.wrong_labels;
        let (mut feeds, mut steps) = (BTreeMap::new(), 0);
        for seed in seeds {
            let key = key(config, seed);
            if let Entry::Vacant(place) = feeds.entry(key) {
                let feed = Feed::new(data, &config.model, wrong, key, device)?;
                steps = crate::train::steps(config, &feed);
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
            observe,
        })
    }

    /// Steps of a training.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Runs trainings, and gives their results in the same order.
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
                        let Some(one) = asked.get(at) else { break };
                        // The receiver lives as long as this.
                        let _ = sender.send((at, self.one(one)));
                        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                        (self.observe)(done, self.asked.load(Ordering::Relaxed));
                    }
                });
            }
        });
        drop(sender);
        let mut results: Vec<_> = receiver.into_iter().collect();
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// A training that diverges is a result, too.
    fn one(&self, (contestant, (step, momentum), seed): &Asked) -> Result<Run> {
        let mut config = self.config.clone();
        config.seed = *seed;
        config.training.evaluate_training = self.trials.on_training;
        config.optimizer.method = contestant.method;
        config.optimizer.transport = contestant.transport;
        config.optimizer.step_size = *step;
        config.optimizer.momentum = Momentum::Constant(*momentum);
        let feed = match self.feeds.get(&key(self.config, *seed)) {
            Some(feed) => feed.lock().unwrap_or_else(PoisonError::into_inner).share(),
            None => return Err(Error::Usage(format!("no data for seed {seed}"))),
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
                Ok(run)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(run),
        }
    }

    fn train(&self, trainer: &mut Trainer, feed: &Feed, run: &mut Run) -> Result<()> {
        let steps = trainer.steps();
        let every = self.config.training.evaluate_every.unwrap_or((steps / 60).max(1));
        while trainer.step() < steps {
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
        Ok(())
    }
}
