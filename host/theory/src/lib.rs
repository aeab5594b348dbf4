//! The theory, made visible: core's rule on problems where the exponents of Zhang and Lin 2026 (arXiv 2605.18528) show.
//!
//! With α = 1 − β, r = min(m, n) and noise that has a p-th moment, 1 < p ≤ 2:
//!
//! | experiment | what the theory says |
//! |---|---|
//! | [`Experiment::Drift`] | without noise the momentum is off by (ηβ/α)‖∇²F\[U\]‖, and with transport by (η²β/(2α²))‖∇³F\[U, U\]‖ |
//! | [`Experiment::Average`] | the noise of the average is of order α^((p−1)/p) and r^((p−1)/p), and only α/B matters |
//! | [`Experiment::Tracking`] | the least error over α is of order η^((p−1)/(2p−1)), and with transport η^(2(p−1)/(3p−1)) |
//! | [`Experiment::Rate`] | with the theory's α and η the error after N samples is of order N^−x, x = (p−1)/(3p−2), with transport (2p−2)/(5p−3) |
//! | [`Experiment::Tuned`] | so it is with the best α and η against the worst noise |
//! | [`Experiment::Rank`] | N/r takes the place of N |
//!
//! Every number is drawn from core's generator, seeded, so that a run can be repeated in every bit, whatever the number of
//! threads. What the intervals leave out, what float32 resolves and what none of this says is in `docs/theory.md`.

pub mod average;
pub mod drift;
pub mod fit;
pub mod noise;
mod page;
pub mod problem;
pub mod rank;
pub mod rate;
pub mod subject;
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
pub use page::theory_page;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use subject::Subject;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Experiment {
    /// How far the momentum lags behind the gradient.
    Drift,
    /// The noise of the momentum.
    Average,
    /// Both at once.
    Tracking,
    /// The error over the number of samples, with the theory's α and η.
    Rate,
    /// The same with the best α and η.
    Tuned,
    /// The error over the rank.
    Rank,
}

impl Experiment {
    /// In the order in which each explains the next.
    pub const ALL: [Self; 6] = [Self::Drift, Self::Average, Self::Tracking, Self::Rate, Self::Tuned, Self::Rank];

    /// Those of which something is promised within two minutes.
    pub const QUICK: [Self; 4] = [Self::Drift, Self::Average, Self::Rate, Self::Rank];

    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Drift => "drift of the momentum",
            Self::Average => "noise of the average",
            Self::Tracking => "tracking",
            Self::Rate => "rate with the theory's schedules",
            Self::Tuned => "rate when tuned",
            Self::Rank => "dependence on min(m, n)",
        }
    }
}

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// The experiments of [`Experiment::QUICK`], as far as something is promised of them.
    Quick,
    /// All.
    Full,
}

/// How a run is made.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// How much is run.
    pub extent: Extent,
    /// Of all that is random.
    pub seed: u64,
    /// Threads, at least 1.
    pub threads: usize,
    /// Is told (runs done, runs in all).
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Settings<'_> {
    fn is_full(&self) -> bool {
        self.extent == Extent::Full
    }

    /// The generator of a repetition: the same noise for all that is compared.
    fn generator(&self, experiment: Experiment, repetition: usize) -> Generator {
        Generator::new(self.seed.wrapping_add(repetition as u64), experiment as u64)
    }

    /// f of every run, in their order.
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
    /// Both.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Transported];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Transported => "transported",
        }
    }

    /// The law of transport.
    pub fn transport(self) -> Transport {
        Transport::Fixed { theta: if self == Self::Transported { 1.0 } else { 0.0 } }
    }

    /// x, where N^−x is the error after N samples.
    pub fn rate(self, p: f64) -> f64 {
        match self {
            Self::Plain => (p - 1.0) / (3.0 * p - 2.0),
            Self::Transported => (2.0 * p - 2.0) / (5.0 * p - 3.0),
        }
    }

    /// The theory's rule for N samples, its step halved so that η/α stays small where the experiments begin.
    fn rule(self, p: f64, rank: usize, samples: u64) -> Result<Rule> {
        let rule = Rule::theory(p as f32, rank as u32, samples as f32, self == Self::Transported)?;
        Ok(Rule { step: 0.5 * rule.step, ..rule })
    }
}

/// One number beside what the theory says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What was measured.
    pub what: String,
    /// The theory's value.
    pub theory: f64,
    /// What an independent prototype in float64 found, where it looked.
    pub prototype: Option<Estimate>,
    /// What was found.
    pub measured: Estimate,
    /// The range that is promised, where one is.
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

    /// Whether what is promised holds.
    pub fn holds(&self) -> bool {
        self.promised.is_none_or(|(low, high)| (low..=high).contains(&self.measured.value))
    }

    /// In a sentence, where what is promised does not hold.
    fn complaint(&self) -> Option<String> {
        let (low, high) = self.promised.filter(|_| !self.holds())?;
        Some(format!("{}: {:.3} is outside {low:.3} to {high:.3}", self.what, self.measured.value))
    }
}

/// Points with the line that fits them, and what the theory says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// (x, y), measured.
    pub points: Vec<(f64, f64)>,
    /// The fitted slope.
    pub slope: Option<Estimate>,
    /// The theory's line. Where the theory has no constants, through the middle of the points.
    pub theory: Vec<(f64, f64)>,
}

impl Series {
    /// Points beside the theory's slope.
    fn sloped(name: impl Into<String>, points: Vec<(f64, f64)>, slope: Option<Estimate>, theory: f64) -> Self {
        let law = PowerLaw::through(&points, theory);
        let theory = points.iter().map(|point| (point.0, law.at(point.0))).collect();
        Self { name: name.into(), points, slope, theory }
    }
}

/// A plot in double logarithmic scale.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// The abscissa.
    pub x: String,
    /// The ordinate.
    pub y: String,
    /// How it is to be read.
    pub caption: String,
    /// At most six.
    pub series: Vec<Series>,
}

/// What an experiment came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Which one.
    pub experiment: Experiment,
    /// Number by number.
    pub findings: Vec<Finding>,
    /// As pictures.
    pub panels: Vec<Panel>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What a run came to so far.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Results {
    /// How much is run.
    pub extent: Extent,
    /// Of all that is random.
    pub seed: u64,
    /// Of the experiments that are finished.
    pub outcomes: Vec<Outcome>,
    /// The table and the page that lie beside it, where all are finished.
    #[serde(default)]
    pub written: Written,
}

impl Results {
    /// Nothing yet.
    pub fn new(extent: Extent, seed: u64) -> Self {
        Self { extent, seed, outcomes: Vec::new(), written: Written::default() }
    }

    /// Those of an earlier run, to go on from.
    ///
    /// # Errors
    /// Where the file cannot be read, or is of a run with another extent or seed.
    pub fn read(path: &Path, extent: Extent, seed: u64) -> Result<Self> {
        let found: Self = files::read_json(path)?;
        let mode = |extent| if extent == Extent::Quick { "quick" } else { "full" };
        if (found.extent, found.seed) != (extent, seed) {
            let what = format!(
                "holds a {} run with seed {}; this one is {} with seed {seed}: name another output",
                mode(found.extent),
                found.seed,
                mode(extent),
            );
            return Err(Error::content(path, what));
        }
        Ok(found)
    }

    /// The experiments that are still to be run.
    pub fn missing(&self) -> Vec<Experiment> {
        let all: &[Experiment] = if self.extent == Extent::Quick { &Experiment::QUICK } else { &Experiment::ALL };
        let done = |experiment: &Experiment| self.outcomes.iter().any(|outcome| outcome.experiment == *experiment);
        all.iter().copied().filter(|experiment| !done(experiment)).collect()
    }

    /// Takes the outcome of an experiment to its place among the others.
    pub fn add(&mut self, outcome: Outcome) {
        let place = |outcome: &Outcome| Experiment::ALL.iter().position(|experiment| *experiment == outcome.experiment);
        self.outcomes.push(outcome);
        self.outcomes.sort_by_key(place);
    }

    /// How many things are promised, and a sentence for each that does not hold.
    pub fn verdict(&self) -> (usize, Vec<String>) {
        let findings = || self.outcomes.iter().flat_map(|outcome| &outcome.findings);
        let promised = findings().filter(|finding| finding.promised.is_some()).count();
        (promised, findings().filter_map(Finding::complaint).collect())
    }
}

/// Runs one experiment on an implementation of the rule.
///
/// # Errors
/// Where the implementation refuses a rule.
pub fn run<S: Subject>(experiment: Experiment, settings: &Settings) -> Result<Outcome> {
    let start = std::time::Instant::now();
    let (findings, panels) = match experiment {
        Experiment::Drift => drift::run::<S>(settings),
        Experiment::Average => average::run::<S>(settings),
        Experiment::Tracking => tracking::run::<S>(settings),
        Experiment::Rate => rate::run::<S>(settings),
        Experiment::Tuned => tuned::run::<S>(settings),
        Experiment::Rank => rank::run::<S>(settings),
    }?;
    Ok(Outcome { experiment, findings, panels, seconds: start.elapsed().as_secs_f64() })
}

/// What an experiment gives: its findings and plots.
type Shown = (Vec<Finding>, Vec<Panel>);
