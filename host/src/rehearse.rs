//! Adaptation on the workstation, beside its controls: which rule and which step size serve a stream of aged samples.
//!
//! Every method sees the same streams with the same draws from the replay buffer, by the very adaptation of core; only
//! what moves the parameters differs. A method's step size is the one of its grid with the best mean accuracy on the
//! tuning seeds; what is reported comes from other seeds.

use crate::adaptation::{accuracy, start, trained};
use crate::checkpoint::Checkpoint;
use crate::data::{AgedSensor, Samples, Stream};
use crate::error::{Error, Result};
use crate::network::View;
use crate::network::{Layers, MovedBy, Update};
use crate::report::{Method, Rehearsal, Spread};
use graftage_core::adapt::Recipe;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Layer, Parameter, initialise, scratch_length};
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the accuracy of a reported run is measured, in samples.
const PROBE: usize = 10;

/// What moves the parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mover {
    /// Core's rule with the recipe's θ.
    Transported,
    /// Core's rule with θ = 0.
    Scion,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
    /// Adam with β₁ = 0.9, β₂ = 0.999.
    Adam,
    /// Core's rule with the recipe's θ, from random weights.
    Scratch,
}

impl Mover {
    const ALL: [Self; 5] = [Self::Transported, Self::Scion, Self::Sgd, Self::Adam, Self::Scratch];

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Transported => ("transported_scion", "Transported Scion"),
            Self::Scion => ("scion", "Scion (θ = 0)"),
            Self::Sgd => ("sgd_momentum", "SGD with momentum"),
            Self::Adam => ("adam", "Adam"),
            Self::Scratch => ("from_scratch", "Transported Scion from scratch"),
        }
    }

    /// Step sizes by factors of two around what is usual.
    fn grid(self) -> impl Iterator<Item = f32> {
        let (first, count) = match self {
            Self::Transported | Self::Scion => (0.000_312_5, 7),
            Self::Scratch => (0.002_5, 6),
            Self::Sgd => (0.001_562_5, 7),
            Self::Adam => (0.000_125, 8),
        };
        (0..count).map(move |e| first * (1 << e) as f32)
    }
}

/// Stochastic gradient descent: V ← μV + G, X ← X − ηV (Polyak 1964).
#[derive(Debug)]
pub struct Sgd {
    velocity: Vec<Vec<f32>>,
}

impl Sgd {
    /// At rest, for a network of this shape.
    pub fn new(network: &mut Layers) -> Self {
        Self { velocity: zeros(network, 0.0) }
    }
}

impl Update for Sgd {
    fn advance(&mut self, network: &mut Layers, rule: &Rule, _t: u64) {
        let mut velocities = self.velocity.iter_mut();
        network.parameters(&mut |Parameter { mut state, .. }| {
            let velocity = velocities.next().into_iter().flatten();
            for ((x, g), v) in state.x.elements_mut().iter_mut().zip(state.m.elements()).zip(velocity) {
                *v = 0.9 * *v + g;
                *x -= rule.step * *v;
            }
            query_at_iterate(&mut state);
        });
    }
}

/// Adam (Kingma and Ba 2015, Algorithm 1).
#[derive(Debug)]
pub struct Adam {
    moments: Vec<Vec<(f32, f32)>>,
    step: i32,
}

impl Adam {
    /// Before its first step, for a network of this shape.
    pub fn new(network: &mut Layers) -> Self {
        Self { moments: zeros(network, (0.0, 0.0)), step: 0 }
    }
}

impl Update for Adam {
    fn advance(&mut self, network: &mut Layers, rule: &Rule, _t: u64) {
        self.step += 1;
        let (first, second) = (1.0 - 0.9f32.powi(self.step), 1.0 - 0.999f32.powi(self.step));
        let mut moments = self.moments.iter_mut();
        network.parameters(&mut |Parameter { mut state, .. }| {
            let moments = moments.next().into_iter().flatten();
            for ((x, g), (m, v)) in state.x.elements_mut().iter_mut().zip(state.m.elements()).zip(moments) {
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                *x -= rule.step * (*m / first) / ((*v / second).sqrt() + 1e-8);
            }
            query_at_iterate(&mut state);
        });
    }
}

/// The controls take their gradients at X.
fn query_at_iterate(state: &mut View) {
    for (y, x) in state.y.elements_mut().iter_mut().zip(state.x.elements()) {
        *y = *x;
    }
}

fn zeros<T: Clone>(network: &mut Layers, zero: T) -> Vec<Vec<T>> {
    let mut all = Vec::new();
    network.parameters(&mut |parameter| all.push(vec![zero.clone(); parameter.state.x.elements().len()]));
    all
}

/// What a rehearsal is made of.
#[derive(Debug)]
pub struct Rehearse<'a> {
    /// The trained network.
    pub checkpoint: &'a Checkpoint,
    /// Samples of which a stream is made, as they are.
    pub train: &'a Samples,
    /// Samples that measure accuracy, as they are.
    pub test: &'a Samples,
    /// Samples of a stream.
    pub samples: usize,
    /// How the board adapts; its step size is replaced by each of the grid.
    pub recipe: Recipe,
    /// Drift seeds on which step sizes are chosen.
    pub tune: Vec<u64>,
    /// Drift seeds that are reported.
    pub report: Vec<u64>,
}

impl Rehearse<'_> {
    /// Runs all methods on all seeds, on all processors; `progress` is told (runs done, runs in all).
    ///
    /// # Errors
    /// Where the checkpoint, the recipe or a sample is refused.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Rehearsal> {
        let mut trained = start(trained(self.checkpoint)?, self.recipe)?;
        let aged = |seed: &u64| accuracy(&self.test.aged(&self.sensor(*seed)), |input| trained.predict(input));
        let aged = Spread::of(self.report.iter().map(aged).collect::<Result<_>>()?);
        let clean = accuracy(self.test, |input| trained.predict(input))?;

        let tuning: Vec<_> = Mover::ALL
            .into_iter()
            .flat_map(|mover| mover.grid().flat_map(move |step| self.tune.iter().map(move |seed| (mover, step, *seed))))
            .collect();
        let total = tuning.len() + Mover::ALL.len() * self.report.len();
        let done = AtomicUsize::new(0);
        let finished = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let tuned = in_parallel(threads, &tuning, |(mover, step, seed)| {
            let curve = self.adapt(*mover, *step, *seed, self.samples);
            finished();
            curve
        })?;
        let grid = |mover: Mover| -> Vec<(f32, f32)> {
            mover
                .grid()
                .map(|step| {
                    let runs = tuning.iter().zip(&tuned).filter(|((m, s, _), _)| *m == mover && *s == step);
                    let ends: Vec<f32> = runs.filter_map(|(_, curve)| curve.last().copied()).collect();
                    (step, ends.iter().sum::<f32>() / ends.len() as f32)
                })
                .collect()
        };
        let chosen: Vec<_> = Mover::ALL.map(|mover| (mover, grid(mover))).into();
        let best = |grid: &[(f32, f32)]| grid.iter().fold((0.0, -1.0), |b, g| if g.1 > b.1 { *g } else { b }).0;
        let reporting: Vec<_> = chosen
            .iter()
            .flat_map(|(mover, grid)| self.report.iter().map(move |seed| (*mover, best(grid), *seed)))
            .collect();
        let reported = in_parallel(threads, &reporting, |(mover, step, seed)| {
            let curve = self.adapt(*mover, *step, *seed, PROBE);
            finished();
            curve
        })?;
        let methods = chosen.into_iter().zip(reported.chunks(self.report.len())).map(|((mover, grid), curves)| {
            let at = |i: usize| curves.iter().map(|curve| curve[i]).sum::<f32>() / curves.len() as f32;
            Method {
                key: mover.names().0.into(),
                name: mover.names().1.into(),
                step: best(&grid),
                grid,
                accuracy: Spread::of(curves.iter().filter_map(|curve| curve.last().copied()).collect()),
                curve: (0..curves[0].len()).map(|i| ((i * PROBE).min(self.samples), at(i))).collect(),
            }
        });
        let (tuned_on, reported_on) = (self.tune.clone(), self.report.clone());
        Ok(Rehearsal { samples: self.samples, tuned_on, reported_on, clean, aged, methods: methods.collect() })
    }

    fn sensor(&self, seed: u64) -> AgedSensor {
        AgedSensor::draw(self.train.inputs(), seed)
    }

    /// One run: the accuracy before, and after every `probe` samples.
    fn adapt(&self, mover: Mover, step: f32, seed: u64, probe: usize) -> Result<Vec<f32>> {
        let mut recipe = self.recipe;
        recipe.rule.step = step;
        let mut network = trained(self.checkpoint)?;
        match mover {
            Mover::Transported => self.learn(network, recipe, seed, probe),
            Mover::Scion => {
                recipe.rule.transport = Transport::Fixed { theta: 0.0 };
                self.learn(network, recipe, seed, probe)
            }
            Mover::Sgd => {
                // Without momentum of the rule, M is the gradient.
                recipe.rule.momentum = Momentum::Constant(0.0);
                let sgd = Sgd::new(&mut network);
                self.learn(MovedBy::new(network, sgd), recipe, seed, probe)
            }
            Mover::Adam => {
                recipe.rule.momentum = Momentum::Constant(0.0);
                let adam = Adam::new(&mut network);
                self.learn(MovedBy::new(network, adam), recipe, seed, probe)
            }
            Mover::Scratch => {
                let mut scratch = vec![0.0; scratch_length(&mut network)];
                initialise(&mut network, &mut Stream::Weights.generator(seed), &mut scratch);
                self.learn(network, recipe, seed, probe)
            }
        }
    }

    fn learn<N: Layer>(&self, network: N, recipe: Recipe, seed: u64, probe: usize) -> Result<Vec<f32>> {
        let sensor = self.sensor(seed);
        let (stream, test) = (self.train.arrive(self.samples, seed).aged(&sensor), self.test.aged(&sensor));
        let mut adaptation = start(network, recipe)?;
        let mut curve = vec![accuracy(&test, |input| adaptation.predict(input))?];
        for (index, (input, label)) in stream.iter().enumerate() {
            adaptation.learn(input, label, |_| ())?;
            if (index + 1) % probe == 0 || index + 1 == stream.len() {
                curve.push(accuracy(&test, |input| adaptation.predict(input))?);
            }
        }
        Ok(curve)
    }
}

impl Spread {
    /// Mean and sample standard deviation.
    pub fn of(by_seed: Vec<f32>) -> Self {
        let n = by_seed.len() as f32;
        let mean = by_seed.iter().sum::<f32>() / n;
        let squares: f32 = by_seed.iter().map(|x| (x - mean) * (x - mean)).sum();
        Self { mean, deviation: (squares / (n - 1.0).max(1.0)).sqrt(), by_seed }
    }
}

/// f of every item, in the items' order, on so many threads.
pub(crate) fn in_parallel<T: Sync, U: Send>(
    threads: usize,
    items: &[T],
    f: impl Fn(&T) -> Result<U> + Sync,
) -> Result<Vec<U>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(items.iter().map(|_| None).collect::<Vec<_>>());
    let work = || {
        while let Some((index, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, items.get(i)?)))
        {
            let result = f(item);
            results.lock().unwrap_or_else(|e| e.into_inner())[index] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(Error::Usage("a run was lost".into())))).collect()
}
