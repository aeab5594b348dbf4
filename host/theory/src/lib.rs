//! Experiments on the theory: core's rule on problems that show the exponents of Zhang and Lin 2026 (arXiv 2605.18528).
//!
//! With α = 1 − β, r = min(m, n) and noise that has a p-th moment, 1 < p ≤ 2:
//!
//! | experiment | prediction of the theory |
//! |---|---|
//! | [`Experiment::Lag`] | momentum error without noise: (ηβ/α)‖∇²F\[U\]‖, with transport (η²β/(2α²))‖∇³F\[U, U\]‖ |
//! | [`Experiment::Average`] | the noise of the average is of order α^((p−1)/p) and r^((p−1)/p), and only α/B matters |
//! | [`Experiment::Tracking`] | the least error over α is of order η^((p−1)/(2p−1)), with transport η^(2(p−1)/(3p−1)) |
//! | [`Experiment::Rate`] | error ~ N^−x with the theory's α and η, x = (p−1)/(3p−2), with transport (2p−2)/(5p−3) |
//! | [`Experiment::Tuned`] | the same with the best α and η against the worst noise |
//! | [`Experiment::Rank`] | N/r takes the place of N |
//!
//! N is the number of samples. All random numbers come from core's generator and a seed, so a run can be repeated bit
//! for bit with any number of threads. The limits of the intervals, of float32 and of these experiments are described
//! in `docs/theory.md`.

pub mod average;
pub mod fit;
pub mod implementation;
pub mod lag;
pub mod noise;
mod page;
pub mod problem;
pub mod rank;
pub mod rate;
pub mod table;
pub mod tracking;
pub mod tuned;

use fit::{Estimate, PowerLaw};
use graftage::error::{Error, Result};
use graftage::files::{self, Written};
use graftage::parallel;
use graftage_core::random::Generator;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use implementation::Subject;
pub use page::theory_page;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Experiment on one prediction of the theory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Experiment {
    /// Lag of the momentum behind the gradient.
    Lag,
    /// Noise of the momentum.
    Average,
    /// Lag and noise together.
    Tracking,
    /// Error over the number of samples, with the theory's α and η.
    Rate,
    /// Error over the number of samples, with the best α and η.
    Tuned,
    /// Error over the rank.
    Rank,
}

impl Experiment {
    /// All experiments, in an order in which each explains the next.
    pub const ALL: [Self; 6] = [Self::Lag, Self::Average, Self::Tracking, Self::Rate, Self::Tuned, Self::Rank];

    /// Experiments with promised ranges that finish within two minutes.
    pub const QUICK: [Self; 4] = [Self::Lag, Self::Average, Self::Rate, Self::Rank];

    /// Returns a short title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Lag => "lag of the momentum",
            Self::Average => "noise of the average",
            Self::Tracking => "tracking",
            Self::Rate => "rate with the theory's schedules",
            Self::Tuned => "rate when tuned",
            Self::Rank => "dependence on min(m, n)",
        }
    }
}

/// Extent of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// The experiments of [`Experiment::QUICK`], as far as their findings have promised ranges.
    Quick,
    /// All experiments.
    Full,
}

/// Settings of a run.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Extent of the run.
    pub extent: Extent,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of threads, at least 1.
    pub threads: usize,
    /// Progress callback, called with (runs done, runs in all).
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Settings<'_> {
    fn is_full(&self) -> bool {
        self.extent == Extent::Full
    }

    /// Returns the generator of a repetition. Everything that is compared gets the same noise.
    fn generator(&self, experiment: Experiment, repetition: usize) -> Generator {
        Generator::new(self.seed.wrapping_add(repetition as u64), experiment as u64)
    }

    /// Computes f for every run and returns the results in the runs' order.
    fn all<T: Sync, U: Send>(&self, runs: &[T], f: impl Fn(&T) -> Result<U> + Sync) -> Result<Vec<U>> {
        let done = AtomicUsize::new(0);
        parallel::map(self.threads, runs, |run| {
            let result = f(run);
            (self.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, runs.len());
            result
        })
    }
}

/// Scion, or Transported Scion as published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Gradients at X.
    Plain,
    /// Gradients at Y.
    Transported,
}

impl Method {
    /// Both methods.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Transported];

    /// Returns the name of the method, one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Transported => "transported",
        }
    }

    /// Returns the law of transport.
    pub fn transport(self) -> Transport {
        Transport::Fixed { theta: if self == Self::Transported { 1.0 } else { 0.0 } }
    }

    /// Returns x, where the error after N samples is of order N^−x.
    pub fn rate(self, p: f64) -> f64 {
        match self {
            Self::Plain => (p - 1.0) / (3.0 * p - 2.0),
            Self::Transported => (2.0 * p - 2.0) / (5.0 * p - 3.0),
        }
    }

    /// Returns the theory's rule for N samples. Its step size is halved, so that η/α stays small even for the fewest
    /// samples.
    fn rule(self, p: f64, rank: usize, samples: u64) -> Result<Rule> {
        let rule = Rule::theory(p as f32, rank as u32, samples as f32, self == Self::Transported)?;
        Ok(Rule { step_size: 0.5 * rule.step_size, ..rule })
    }
}

/// A measured number and the theory's value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Description of the measured number.
    pub what: String,
    /// Value according to the theory.
    pub theory: f64,
    /// Value found by an independent prototype in float64, if it measured this.
    pub prototype: Option<Estimate>,
    /// Measured value.
    pub measured: Estimate,
    /// Promised range (low, high), if there is one.
    pub promised: Option<(f64, f64)>,
}

impl Finding {
    fn new(what: impl Into<String>, theory: f64, measured: Estimate) -> Self {
        Self { what: what.into(), theory, prototype: None, measured, promised: None }
    }

    fn beside(self, prototype: Option<Estimate>) -> Self {
        Self { prototype, ..self }
    }

    fn promised(self, low: f64, high: f64) -> Self {
        Self { promised: Some((low, high)), ..self }
    }

    /// Returns `true` if the value lies in the promised range, or if nothing is promised.
    pub fn holds(&self) -> bool {
        self.promised.is_none_or(|(low, high)| (low..=high).contains(&self.measured.value))
    }

    /// Returns a sentence if the value is outside the promised range.
    fn complaint(&self) -> Option<String> {
        let (low, high) = self.promised.filter(|_| !self.holds())?;
        Some(format!("{}: {:.3} is not within {low:.3} to {high:.3}", self.what, self.measured.value))
    }
}

/// Points with the line fitted to them and the theory's line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Series {
    /// Name of the series.
    pub name: String,
    /// Measured points (x, y).
    pub points: Vec<(f64, f64)>,
    /// Fitted slope.
    pub slope: Option<Estimate>,
    /// Theory's line. If the theory gives no constants, it goes through the centre of the points.
    pub theory: Vec<(f64, f64)>,
}

impl Series {
    /// Creates a series with the theory's slope.
    fn sloped(name: impl Into<String>, points: Vec<(f64, f64)>, slope: Option<Estimate>, theory: f64) -> Self {
        let law = PowerLaw::through(&points, theory);
        let theory = points.iter().map(|point| (point.0, law.at(point.0))).collect();
        Self { name: name.into(), points, slope, theory }
    }
}

/// A plot with logarithmic axes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Panel {
    /// Title.
    pub title: String,
    /// Label of the abscissa.
    pub x: String,
    /// Label of the ordinate.
    pub y: String,
    /// Explanation of how to read the plot.
    pub caption: String,
    /// Series, at most six.
    pub series: Vec<Series>,
}

/// Result of an experiment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The experiment.
    pub experiment: Experiment,
    /// Findings, number by number.
    pub findings: Vec<Finding>,
    /// Plots.
    pub panels: Vec<Panel>,
    /// Duration in seconds.
    pub seconds: f64,
}

/// Results of a run so far.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Extent of the run.
    pub extent: Extent,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Outcomes of the finished experiments.
    pub outcomes: Vec<Outcome>,
    /// Table and page stored beside the results, if all experiments are finished.
    #[serde(default)]
    pub written: Written,
}

/// Verdict on the promised ranges of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Number of promised ranges.
    pub promised: usize,
    /// A sentence for each one that does not hold.
    pub complaints: Vec<String>,
}

impl Results {
    /// Creates results without any outcome.
    pub fn new(extent: Extent, seed: u64) -> Self {
        Self { extent, seed, outcomes: Vec::new(), written: Written::default() }
    }

    /// Reads the results of an earlier run to resume from.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or belongs to a run with another extent or seed.
    pub fn read(path: &Path, extent: Extent, seed: u64) -> Result<Self> {
        let found: Self = files::read_json(path)?;
        let mode = |extent| if extent == Extent::Quick { "quick" } else { "full" };
        if (found.extent, found.seed) != (extent, seed) {
            let what = format!(
                "holds a {} run with seed {}, but this run is {} with seed {seed}: name another output",
                mode(found.extent),
                found.seed,
                mode(extent),
            );
            return Err(Error::content(path, what));
        }
        Ok(found)
    }

    /// Returns the experiments still to be run.
    pub fn missing(&self) -> Vec<Experiment> {
        let all: &[Experiment] = if self.extent == Extent::Quick { &Experiment::QUICK } else { &Experiment::ALL };
        let done = |experiment: &Experiment| self.outcomes.iter().any(|outcome| outcome.experiment == *experiment);
        all.iter().copied().filter(|experiment| !done(experiment)).collect()
    }

    /// Inserts the outcome of an experiment in order.
    pub fn add(&mut self, outcome: Outcome) {
        let place = |outcome: &Outcome| Experiment::ALL.iter().position(|experiment| *experiment == outcome.experiment);
        self.outcomes.push(outcome);
        self.outcomes.sort_by_key(place);
    }

    /// Judges the promised ranges.
    pub fn verdict(&self) -> Verdict {
        let findings = || self.outcomes.iter().flat_map(|outcome| &outcome.findings);
        let promised = findings().filter(|finding| finding.promised.is_some()).count();
        Verdict { promised, complaints: findings().filter_map(Finding::complaint).collect() }
    }
}

/// Runs one experiment on an implementation of the rule.
///
/// # Errors
/// Returns an error if the implementation refuses a rule.
pub fn run<S: Subject>(experiment: Experiment, settings: &Settings) -> Result<Outcome> {
    let start = std::time::Instant::now();
    let (findings, panels) = match experiment {
        Experiment::Lag => lag::run::<S>(settings),
        Experiment::Average => average::run::<S>(settings),
        Experiment::Tracking => tracking::run::<S>(settings),
        Experiment::Rate => rate::run::<S>(settings),
        Experiment::Tuned => tuned::run::<S>(settings),
        Experiment::Rank => rank::run::<S>(settings),
    }?;
    Ok(Outcome { experiment, findings, panels, seconds: start.elapsed().as_secs_f64() })
}

/// Findings and plots of an experiment.
type Shown = (Vec<Finding>, Vec<Panel>);
