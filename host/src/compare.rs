//! Optimizers side by side: the same data and the same initial weights for all, each one's step size and momentum tuned on
//! a stated grid, on other seeds than those that are reported.
//!
//! A contestant is a [`Method`], of Transported Scion also a law of transport. First every pair of its grid is run on the
//! tuning seeds, and the pair with the lowest mean of the final loss is taken; while that one lies at the edge of the step
//! sizes, the grid grows by a factor of two beyond it. Then the pair is run on the reported seeds. Seeds draw weights,
//! batches and wrong labels alike for all, so that differences are taken seed by seed.

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

/// What is compared, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The first one is what the others are compared with.
    pub contestants: Vec<Contestant>,
    /// Step sizes of the rule's optimizers.
    pub step_sizes: Vec<f32>,
    /// Step sizes of AdamW and of SGD.
    pub torch_step_sizes: [Vec<f32>; 2],
    /// β of the grid.
    pub momenta: Vec<f32>,
    /// Whether each β is tuned and reported by itself.
    pub each_momentum: bool,
    /// Seeds for tuning; none where the grid has but one pair.
    pub tuned_on: Vec<u64>,
    /// Seeds that are reported.
    pub reported_on: Vec<u64>,
    /// The loss of which the first step at or below it is looked for.
    pub target: Target,
    /// By what a pair of the grid is chosen.
    pub choice: Choice,
    /// Whether the loss is the training part's; else the test part's.
    pub on_training: bool,
    /// Trainings at a time, each on one thread.
    pub jobs: usize,
}

impl Options {
    /// The step sizes of a contestant's grid.
    pub fn step_sizes(&self, contestant: &Contestant) -> &[f32] {
        match contestant.method {
            Method::AdamW => &self.torch_step_sizes[0],
            Method::Sgd => &self.torch_step_sizes[1],
            _ => &self.step_sizes,
        }
    }

    fn check(&self) -> Result<()> {
        let usage = |what: String| Err(Error::Usage(what));
        let grids = [&self.step_sizes, &self.torch_step_sizes[0], &self.torch_step_sizes[1]];
        if self.contestants.is_empty() || self.reported_on.is_empty() || self.momenta.is_empty() {
            return usage("a comparison needs optimizers, momenta and seeds".into());
        }
        if let Target::Final(contestant) = &self.target
            && !self.contestants.contains(contestant)
        {
            return usage(format!("the target is the final loss of {contestant}, which is not among the optimizers"));
        }
        if self.choice == Choice::Steps && !matches!(self.target, Target::Loss(_)) {
            return usage("by steps to a target can be chosen only where the target is a number".into());
        }
        if let Some(seed) = self.reported_on.iter().find(|seed| self.tuned_on.contains(seed)) {
            return usage(format!("seed {seed} is reported and must not tune"));
        }
        if grids.iter().any(|grid| grid.is_empty()) {
            return usage("a grid of step sizes has none".into());
        }
        let pairs = if self.each_momentum { 1 } else { self.momenta.len() };
        if self.tuned_on.is_empty() && grids.iter().any(|grid| grid.len() * pairs > 1) {
            return usage("several step sizes or momenta and no seeds to choose one by: name seeds to tune on".into());
        }
        Ok(())
    }
}

/// By what step size and momentum are chosen: the lowest mean over the tuning seeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Choice {
    /// Of the final loss.
    #[default]
    Loss,
    /// Of the steps to the target.
    Steps,
}

/// The loss that is to be reached.
#[derive(Clone, PartialEq, Debug)]
pub enum Target {
    /// This one.
    Loss(f32),
    /// The mean final loss of a contestant; of its best momentum where each is reported.
    Final(Contestant),
}

impl FromStr for Target {
    type Err = String;

    /// Reads a number, or a contestant.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(loss) => Ok(Self::Loss(loss)),
            Err(_) => text.parse().map(Self::Final).map_err(|error| format!("no loss; {error}")),
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

/// (step size, β, score) of what was tried; a low score is good.
pub type Grid = Vec<(f32, f32, f32)>;

/// What a contestant did, with one pair of step size and momentum.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The contestant.
    pub name: String,
    /// Step size.
    pub step: f32,
    /// β.
    pub momentum: f32,
    /// (step size, β, mean final loss or steps to the target on the tuning seeds) of its whole grid.
    pub grid: Grid,
    /// On the reported seeds.
    pub runs: Vec<Run>,
    /// Final losses.
    pub last: Spread,
    /// Losses of the test part at the end.
    pub test: Spread,
    /// Accuracies of the test part at the end.
    pub accuracy: Spread,
    /// Steps to the target, where every seed reached it.
    pub reached: Option<Spread>,
    /// Final loss minus that of the first contestant with the same momentum or, tuned, of the first: seed by seed.
    pub difference: Option<Spread>,
    /// Steps to the target over those of the first, seed by seed, where both always reached it.
    pub ratio: Option<Spread>,
}

/// The result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// In words: the model.
    pub network: String,
    /// Steps.
    pub steps: u64,
    /// The target loss.
    pub target: f32,
    /// Of which part the loss is: `training` or `test`.
    pub part: String,
    /// Seeds that tuned.
    pub tuned_on: Vec<u64>,
    /// Seeds that are reported.
    pub reported_on: Vec<u64>,
    /// A row for each contestant, or for each of its pairs where nothing was tuned.
    pub rows: Vec<Row>,
}

/// The most often that a grid grows.
const GROWTH: usize = 3;

/// Compares; `observe` is told how many trainings have ended, and how many there are so far.
///
/// # Errors
/// Where the configuration does not fit the data, or the options do not go together; a training that diverges is no error
/// but a result.
pub fn compare(
    config: &Config,
    data: &Dataset,
    options: &Options,
    observe: impl Fn(usize, usize) + Sync,
) -> Result<Comparison> {
    options.check()?;
    let work = Work::new(config, data, options, observe)?;
    let tunings: Vec<&[f32]> = match options.each_momentum {
        true => options.momenta.chunks(1).collect(),
        false => vec![&options.momenta],
    };
    let mut trained = Vec::new();
    for contestant in &options.contestants {
        for momenta in &tunings {
            let (pair, grid) = work.tune(contestant, momenta)?;
            let asked: Vec<_> = options.reported_on.iter().map(|seed| (*contestant, pair, *seed)).collect();
            trained.push((contestant, pair, grid, work.run(&asked)?));
        }
    }
    let last = |runs: &[Run]| runs.iter().map(|run| run.last).sum::<f32>() / runs.len() as f32;
    let target = match &options.target {
        Target::Loss(loss) => *loss,
        Target::Final(contestant) => {
            let theirs = trained.iter().filter(|(found, ..)| *found == contestant);
            theirs.map(|(.., runs)| last(runs)).fold(f32::INFINITY, |a, b| if b < a { b } else { a })
        }
    };
    let mut rows: Vec<Row> = Vec::new();
    for (contestant, pair, grid, runs) in trained {
        let first = rows.iter().take(tunings.len()).find(|row| !options.each_momentum || row.momentum == pair.1);
        let row = row(contestant, pair, grid, runs, first, target);
        rows.push(row);
    }
    Ok(Comparison {
        network: config.model.to_string(),
        steps: work.steps,
        target,
        part: if options.on_training { "training" } else { "test" }.to_owned(),
        tuned_on: options.tuned_on.clone(),
        reported_on: options.reported_on.clone(),
        rows,
    })
}

fn row(
    contestant: &Contestant,
    (step, momentum): (f32, f32),
    grid: Grid,
    runs: Vec<Run>,
    first: Option<&Row>,
    target: f32,
) -> Row {
    let of = |number: fn(&Run) -> f32| Spread::of(&runs.iter().map(|run| f64::from(number(run))).collect::<Vec<_>>());
    let reached: Option<Vec<f64>> = runs.iter().map(|run| run.reached(target)).collect();
    let paired = |f: &dyn Fn(&Run, &Run) -> Option<f64>| {
        let pairs: Option<Vec<_>> = first?.runs.iter().zip(&runs).map(|(first, run)| f(first, run)).collect();
        pairs.map(|pairs| Spread::of(&pairs))
    };
    Row {
        name: contestant.to_string(),
        step,
        momentum,
        grid,
        last: of(|run| run.last),
        test: of(|run| run.test.0),
        accuracy: of(|run| run.test.1),
        reached: reached.map(|steps| Spread::of(&steps)),
        difference: paired(&|first, run| Some(f64::from(run.last) - f64::from(first.last))),
        ratio: paired(&|first, run| Some(run.reached(target)? / first.reached(target)?)),
        runs,
    }
}

/// One training that is asked for.
pub(crate) type Asked = (Contestant, (f32, f32), u64);

/// Trainings share data: by seed where seeds draw wrong labels, else one for all.
fn key(config: &Config, seed: u64) -> u64 {
    if config.training.wrong_labels > 0.0 { seed } else { 0 }
}

/// The trainings of a comparison, several at a time.
pub(crate) struct Work<'a, F> {
    config: &'a Config,
    options: &'a Options,
    /// By [`key`]; behind locks, as libtorch's tensors may move between threads, but not be used by two at once.
    feeds: BTreeMap<u64, Mutex<Feed>>,
    steps: u64,
    device: tch::Device,
    done: AtomicUsize,
    asked: AtomicUsize,
    observe: F,
}

impl<'a, F: Fn(usize, usize) + Sync> Work<'a, F> {
    pub(crate) fn new(config: &'a Config, data: &Dataset, options: &'a Options, observe: F) -> Result<Self> {
        let device = crate::train::device(config)?;
        tch::set_num_threads(1);
        let wrong = config.training.wrong_labels;
        let (mut feeds, mut steps) = (BTreeMap::new(), 0);
        for seed in options.tuned_on.iter().chain(&options.reported_on) {
            let key = key(config, *seed);
            if let Entry::Vacant(place) = feeds.entry(key) {
                let feed = Feed::new(data, &config.model, wrong, key, device)?;
                steps = crate::train::steps(config, &feed);
                place.insert(Mutex::new(feed));
            }
        }
        Ok(Self {
            config,
            options,
            feeds,
            steps,
            device,
            done: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            observe,
        })
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// The best pair with one of these β, and (step size, β, score) of all that were tried.
    fn tune(&self, contestant: &Contestant, momenta: &[f32]) -> Result<((f32, f32), Grid)> {
        let steps = self.options.step_sizes(contestant);
        let mut pairs: Vec<_> = steps.iter().flat_map(|step| momenta.iter().map(|beta| (*step, *beta))).collect();
        let seeds = &self.options.tuned_on;
        if seeds.is_empty() {
            return Ok((pairs[0], Vec::new()));
        }
        let mut tried = Grid::new();
        let mut best = (0.0, 0.0, f32::INFINITY);
        for _ in 0..=GROWTH {
            let asked: Vec<_> =
                pairs.iter().flat_map(|pair| seeds.iter().map(|seed| (*contestant, *pair, *seed))).collect();
            let runs = self.run(&asked)?;
            for (pair, runs) in pairs.iter().zip(runs.chunks(seeds.len())) {
                tried.push((pair.0, pair.1, runs.iter().map(|run| self.score(run)).sum::<f32>() / seeds.len() as f32));
            }
            best =
                tried.iter().copied().fold((f32::NAN, f32::NAN, f32::INFINITY), |a, b| if b.2 < a.2 { b } else { a });
            // Beyond the edge, for this momentum.
            let edge = |beyond: fn(f32, f32) -> bool| {
                !tried.iter().any(|(step, beta, _)| *beta == best.1 && beyond(*step, best.0))
            };
            pairs = match (edge(|step, best| step > best), edge(|step, best| step < best)) {
                (true, _) => vec![(best.0 * 2.0, best.1)],
                (_, true) => vec![(best.0 / 2.0, best.1)],
                _ => break,
            };
        }
        if best.2.is_infinite() {
            return Err(Error::Usage(format!(
                "{contestant}: no training of its grid came to an end, or to the target; other step sizes may help"
            )));
        }
        Ok(((best.0, best.1), tried))
    }

    /// What is to be low.
    fn score(&self, run: &Run) -> f32 {
        match (self.options.choice, &self.options.target) {
            (Choice::Steps, Target::Loss(target)) => run.reached(*target).map_or(f32::INFINITY, |steps| steps as f32),
            _ => run.last,
        }
    }

    /// Runs trainings, and gives their results in the same order.
    pub(crate) fn run(&self, asked: &[Asked]) -> Result<Vec<Run>> {
        self.asked.fetch_add(asked.len(), Ordering::Relaxed);
        let next = AtomicUsize::new(0);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.clamp(1, asked.len().max(1)) {
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

    fn one(&self, (contestant, (step, momentum), seed): &Asked) -> Result<Run> {
        let mut config = self.config.clone();
        config.seed = *seed;
        config.training.evaluate_training = self.options.on_training;
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
            let part = if self.options.on_training { &feed.train } else { &feed.test };
            let measured = trainer.measure(part)?;
            if !measured.loss.is_finite() {
                return Err(Error::Diverged { step, what: "the measured loss is not finite".into() });
            }
            run.curve.push((step, measured.loss));
            if step == steps {
                run.last = measured.loss;
                let test = if self.options.on_training { trainer.measure(&feed.test)? } else { measured };
                run.test = (test.loss, test.accuracy);
            }
        }
        Ok(())
    }
}

/// The result as a table for a terminal or a Markdown file.
pub fn table(comparison: &Comparison) -> String {
    let Comparison { network, steps, target, part, rows, .. } = comparison;
    let seeds = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut table = format!(
        "{network}; {steps} steps; seeds {}, tuned on {}; loss on the {part} part; target {target:.4}\n\n",
        seeds(&comparison.reported_on),
        if comparison.tuned_on.is_empty() { "none".to_owned() } else { seeds(&comparison.tuned_on) }
    );
    table += "| optimizer | η | β | final loss | − first (s.e.) | steps to target | / first (s.e.) | test loss | test accuracy |\n";
    table += "|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let Row { name, step, momentum, last, test, accuracy, reached, difference, ratio, .. } = row;
        let with_error = |spread: &Option<Spread>, digits: usize| match spread {
            Some(spread) => format!("{:+.digits$} ({:.digits$})", spread.mean, spread.error()),
            None => "–".to_owned(),
        };
        let reached = match reached {
            Some(steps) => format!("{:.0} ± {:.0}", steps.mean, steps.deviation),
            None => {
                let count = row.runs.iter().filter(|run| run.reached(*target).is_some()).count();
                format!("{count} of {} reach it", row.runs.len())
            }
        };
        table += &format!(
            "| {name} | {step} | {momentum} | {:.4} ± {:.4} | {} | {reached} | {} | {:.4} | {:.2} % |\n",
            last.mean,
            last.deviation,
            with_error(difference, 4),
            with_error(ratio, 2).replace('+', ""),
            test.mean,
            100.0 * accuracy.mean
        );
    }
    table
}
