//! Rehearsal of adaptation on the workstation, with controls: it shows which rule and which step size suit a stream of
//! labelled samples.
//!
//! | rehearsal | task | step sizes are chosen on |
//! |---|---|---|
//! | [`AgedSensors`] | the same samples through an aged sensor | other aged sensors |
//! | [`Groups`] | a person, or another group, that the training has not seen | the other groups |
//! | [`Life`] | a long stream through a sensor that keeps ageing, some labels wrong | nothing: each method has one |
//! | [`Attack`] | sessions with only wrong labels, and a world that changes between two sessions | nothing |
//!
//! All methods see the same streams with the same wrong labels and the same draws from the replay buffer, in the
//! sessions of core. Only the update of the parameters differs. At the end of a session, which is the whole stream for
//! aged sensors and groups, the weights are committed. If samples are held out and the weights predict fewer of them,
//! they are rolled back instead. A sample that a movement budget refuses is not learnt. The controls learn under the
//! recipe's cap and without a pull, and so does the method that starts from random weights, because staying near those
//! has no use.

mod aged_sensors;
mod attack;
mod controls;
mod groups;
mod life;
mod task;

pub use aged_sensors::{AgedSensors, Method, Rehearsal};
pub use attack::{Attack, AttackRehearsal, Attacked, Change};
pub use controls::{Adam, Sgd};
pub use groups::{GroupMethod, GroupRehearsal, Groups, Unseen};
pub use life::{Life, LifeMethod, LifeRehearsal, Quarters};
pub use task::Task;

use crate::error::{Error, Result};
use crate::network::MovedBy;
use crate::parallel;
use crate::workstation::{check_ball, train_last, trained};
use graftage_core::adapt::Recipe;
use graftage_core::network::{initialise, scratch_length};
use graftage_core::random::Stream;
use graftage_core::schedule::Momentum;
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of methods.
const METHODS: usize = Mover::ALL.len();

/// Method that moves the parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mover {
    /// Core's rule as in the recipe.
    Transported,
    /// Core's rule with θ = 0.
    Scion,
    /// Core's rule on the last layer with weights only, with the radii that a board gets for that.
    Head,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
    /// Adam with β₁ = 0.9, β₂ = 0.999.
    Adam,
    /// Core's rule from random weights.
    Scratch,
}

impl Mover {
    const ALL: [Self; 6] = [Self::Transported, Self::Scion, Self::Head, Self::Sgd, Self::Adam, Self::Scratch];

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Transported => ("transported_scion", "Transported Scion"),
            Self::Scion => ("scion", "Scion (θ = 0)"),
            Self::Head => ("head_only", "Transported Scion, head only"),
            Self::Sgd => ("sgd_momentum", "SGD with momentum"),
            Self::Adam => ("adam", "Adam"),
            Self::Scratch => ("from_scratch", "Transported Scion from scratch"),
        }
    }

    /// Returns the grid of step sizes, spaced by factors of two around the usual one.
    fn grid(self) -> impl Iterator<Item = f32> {
        let (first, count) = match self {
            Self::Transported | Self::Scion | Self::Head => (0.000_937_5, 8),
            Self::Scratch => (0.003_75, 6),
            Self::Sgd => (0.000_781_25, 8),
            Self::Adam => (0.000_175, 8),
        };
        (0..count).map(move |e| first * (1 << e) as f32)
    }

    /// Returns the step size if none is chosen: the recipe's, or for a control the one that is best over all tasks and
    /// shares of wrong labels (`docs/evidence.md`).
    fn usual(self, recipe: &Recipe) -> f32 {
        match self {
            Self::Sgd => 0.000_781_25,
            Self::Adam => 0.001_4,
            Self::Transported | Self::Scion | Self::Head | Self::Scratch => recipe.rule.step_size,
        }
    }

    /// Learns a task; see [`Task::learn`].
    fn adapt(self, task: &Task, mut recipe: Recipe, probe: usize) -> Result<Vec<f32>> {
        let mut network = trained(task.checkpoint)?;
        check_ball(&mut network, &recipe, false)?;
        match self {
            Self::Transported => task.learn(network, recipe, probe),
            Self::Scion => {
                recipe.rule.transport = Transport::Fixed { theta: 0.0 };
                task.learn(network, recipe, probe)
            }
            Self::Head => {
                train_last(&mut network, 1);
                task.learn(network, recipe, probe)
            }
            Self::Sgd => {
                let sgd = Sgd::new(&mut network);
                task.learn(MovedBy::new(network, sgd), control(recipe), probe)
            }
            Self::Adam => {
                let adam = Adam::new(&mut network);
                task.learn(MovedBy::new(network, adam), control(recipe), probe)
            }
            Self::Scratch => {
                let mut scratch = vec![0.0; scratch_length(&mut network)];
                initialise(&mut network, &mut Stream::Weights.generator(task.seed), &mut scratch);
                recipe.rule.pull = Pull::None;
                task.learn(network, recipe, probe)
            }
        }
    }
}

/// Returns the recipe of a control, which moves the parameters itself. Without the momentum of core's rule, M is the
/// gradient.
pub const fn control(recipe: Recipe) -> Recipe {
    let (momentum, transport) = (Momentum::Constant(0.0), Transport::Fixed { theta: 0.0 });
    Recipe { rule: Rule { momentum, transport, pull: Pull::None, ..recipe.rule }, ..recipe }
}

/// One method with one step size on one task.
struct Run<'a> {
    mover: Mover,
    step_size: f32,
    task: &'a Task<'a>,
}

impl<'a> Run<'a> {
    /// Returns all methods with all step sizes on all tasks, with the tasks in the innermost loop.
    fn grids(tasks: &'a [Task<'a>]) -> impl Iterator<Item = Self> {
        let steps = Mover::ALL.into_iter().flat_map(|mover| mover.grid().map(move |step| (mover, step)));
        steps.flat_map(move |(mover, step)| tasks.iter().map(move |task| Self { mover, step_size: step, task }))
    }
}

/// Final accuracies of a method.
struct Grid {
    mover: Mover,
    /// Accuracies on all tasks, for each step size.
    rows: Vec<(f32, Vec<f32>)>,
}

impl Grid {
    /// Returns (step size, mean accuracy), over the tasks whose index `counts` accepts.
    fn means(&self, counts: impl Fn(usize) -> bool) -> impl Iterator<Item = (f32, f32)> {
        self.rows.iter().map(move |(step, row)| {
            let counted = row.iter().enumerate().filter(|(task, _)| counts(*task)).map(|(_, accuracy)| *accuracy);
            (*step, counted.clone().sum::<f32>() / counted.count() as f32)
        })
    }

    /// Returns the step size with the best mean; the smallest one if several are equal.
    fn best(&self, counts: impl Fn(usize) -> bool) -> f32 {
        self.means(counts).fold((0.0, -1.0), |best, mean| if mean.1 > best.1 { mean } else { best }).0
    }
}

/// Runner of rehearsals on all processors.
struct Runs<'a> {
    recipe: Recipe,
    done: AtomicUsize,
    total: usize,
    progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl<'a> Runs<'a> {
    /// Creates a runner for `total` runs. `progress` receives (runs done, runs in all).
    fn new(recipe: Recipe, total: usize, progress: &'a (dyn Fn(usize, usize) + Sync)) -> Self {
        Self { recipe, done: AtomicUsize::new(0), total, progress }
    }

    /// Returns the accuracies of each run in the form of [`Task::learn`].
    fn curves(&self, runs: &[Run], probe: usize) -> Result<Vec<Vec<f32>>> {
        parallel::map(parallel::processors(), runs, |Run { mover, step_size, task }| {
            let mut recipe = self.recipe;
            recipe.rule.step_size = *step_size;
            let curve = mover.adapt(task, recipe, probe);
            (self.progress)(self.done.fetch_add(1, Ordering::Relaxed) + 1, self.total);
            curve
        })
    }

    /// Runs all methods with all step sizes on all tasks.
    fn grids(&self, tasks: &[Task]) -> Result<Vec<Grid>> {
        let runs: Vec<_> = Run::grids(tasks).collect();
        let mut ends = self.curves(&runs, usize::MAX)?.into_iter().filter_map(|curve| curve.last().copied());
        let grid = |mover: Mover| {
            let rows = mover.grid().map(|step| (step, ends.by_ref().take(tasks.len()).collect()));
            Grid { mover, rows: rows.collect() }
        };
        Ok(Mover::ALL.map(grid).into())
    }
}

/// Refuses a rehearsal without seeds.
fn some(seeds: &[u64]) -> Result<()> {
    if seeds.is_empty() { Err(Error::Usage("a rehearsal needs at least one seed".into())) } else { Ok(()) }
}
