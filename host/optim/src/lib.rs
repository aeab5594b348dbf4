//! Transported Scion (Zhang and Lin 2026, arXiv 2605.18528) for any tch model.
//!
//! ```no_run
//! # use graftage_optim::{RULE, TransportedScion, cuda, tensor::Arithmetic};
//! # use tch::{Device, Tensor, nn::{self, Module}};
//! # let (input, target) = (Tensor::zeros([8, 4], tch::kind::FLOAT_CPU), Tensor::zeros([8], tch::kind::INT64_CPU));
//! let store = nn::VarStore::new(cuda::device().unwrap_or(Device::Cpu));
//! let model = nn::linear(store.root(), 4, 3, Default::default());
//! let mut optimizer = TransportedScion::new(&store, RULE, Arithmetic::Fast)?;
//! for _ in 0..100 {
//!     optimizer.backward_step(&model.forward(&input).cross_entropy_for_logits(&target))?;
//! }
//! let accuracy = optimizer.evaluate(|| model.forward(&input).accuracy_for_logits(&target))?;
//! # Ok::<(), graftage_optim::Error>(())
//! ```
//!
//! Each parameter is stepped in the geometry that its [group](groups::Groups) sets; [`TransportedScion::table`] lists
//! all parameters. A batch that does not fit into memory can be processed [part by part](TransportedScion::accumulate).
//!
//! During training the model holds Y, where gradients are taken; the optimizer holds X and M. X is what is evaluated,
//! reported and saved: see [`TransportedScion::evaluate`] and [`TransportedScion::x`]. The equations and the step
//! itself are in [`graftage_core::scion`]. Here the step runs on tensors: parameters with the same shape, geometry and
//! step factor form one stack. To avoid copies between parameters and stacks, the optimizer gives the model's tensors
//! and their gradients new memory: they become views of the stacks, row by row (the layout of `channels_last` is
//! lost). A view that was made before is a view of the old memory.
//!
//! **Changes by the caller.** If a tensor gets other memory, or other values by a load of its `VarStore` or an
//! operation in place, the next use of the optimizer takes them as X. A parameter without a new gradient stays. See
//! [`TransportedScion::step`].
//!
//! **Memory**, in bytes per number of a parameter, in addition to the model's own weights (4) and gradients (4). "Kept"
//! is held between steps. "In a step" is needed for one stack at a time, plus at most 12 bytes for each number of the
//! stack's squares of the small side. A step works in place on an NVIDIA GPU, and on a CPU (where this was measured) if
//! all gradients are finite:
//!
//! | law of transport | kept | arrays | in a step | in place |
//! |---|---|---|---|---|
//! | θ = 0 | 4 | M; the model holds X | 12 | 8 |
//! | θ > 0 | 8 | X, M | 12 | 8 |
//! | lag | 8 | X, M | 12 | 8 |
//! | alignment | 8 | X, M | 20 | 20 |
//! | Nesterov's | 8 | M before the last step, M | 16 | 16 |
//!
//! The model may hold its matrices in bfloat16: its weights and gradients then take 2 bytes each in place of 4, and X
//! is always kept in binary32, so θ = 0 keeps 8 bytes and Nesterov's law 12. A step takes 8 bytes more, for Y and the
//! gradient in binary32, and a batch in parts keeps 4 more for the sum of their gradients.
//!
//! A parameter whose parts are unequal or interleaved keeps 8 more bytes and takes two copies for each part and step,
//! as its parts are no views of the stacks. A pull to the start keeps 4 more bytes, for X₀. Under any pull a step takes
//! 16 bytes, in place or not, if it takes less without the pull.

mod average;
pub mod baselines;
pub mod cuda;
mod decay;
mod error;
pub mod groups;
#[cfg(test)]
mod launches;
mod limiter;
pub mod memory;
pub mod method;
mod ownership;
mod place;
pub mod schedule;
mod stack;
mod start;
mod state;
mod telemetry;
pub mod tensor;
pub mod text;
mod watch;

use crate::tensor::Arithmetic;
pub use average::Average;
pub use decay::Decay;
pub use error::{Error, Result};
pub use graftage_core::error::Refusal;
pub use graftage_core::norm::Norm;
pub use graftage_core::polar::Quintics;
use graftage_core::random::Stream;
pub use graftage_core::schedule::{Momentum, Schedule};
#[cfg(doc)]
use graftage_core::scion::Scion;
pub use graftage_core::scion::{Geometry, Pull, Rule};
use graftage_core::transport::Alignment;
pub use graftage_core::transport::Transport;
pub use groups::{Group, Groups, Parameter, Role};
use groups::{Matrices, Planned, Settings};
use ownership::Claim;
use place::Place;
use stack::{Stack, Step};
use start::Start;
pub use state::{Tensors, bytes, read, write};
use std::cell::Cell;
use std::collections::HashMap;
pub use tch;
use tch::{Kind, Tensor, nn, no_grad_guard};
pub use telemetry::Telemetry;
pub use watch::PATIENCE;
use watch::Watch;

/// Default rule: β = 0.9, lag feedback as the law of transport, and five quintics.
///
/// Among the laws, lag feedback is never far from the best (docs/evidence.md). No quintics train better than others
/// (docs/norms.md), so the devices' quintics, which keep their bounds to rounding, are replaced by some that take 0.63
/// of its time.
pub const RULE: Rule =
    Rule { transport: Transport::Lag { memory: 0.6 }, quintics: Quintics::PolarExpress5, ..Rule::PLAIN };

/// Bound on the elements of a gradient. A gradient with an element of this magnitude or larger counts as not finite.
///
/// The bound is far enough below the largest number that means and Nesterov's argument stay finite. A NaN fails the
/// comparison, so it is refused as well.
const LARGEST_GRADIENT: f64 = (1u128 << 120) as f64;

/// Tensors of which a stack is made.
struct Members {
    shape: (usize, usize),
    settings: Settings,
    kind: Kind,
    /// Number of matrices.
    count: i64,
    tensors: Vec<Tensor>,
}

/// Optimizer of one model.
#[derive(Debug)]
pub struct TransportedScion {
    /// Constants of the rule. They may change between steps, for example the step size, which may fall to 0: only M
    /// moves then.
    pub rule: Rule,
    arithmetic: Arithmetic,
    /// Number type of spectral directions under [`Arithmetic::Fast`].
    kind: Kind,
    places: Vec<Place>,
    stacks: Vec<Stack>,
    /// True if M starts at 0.
    from_zero: bool,
    /// Factor κ of the limiter.
    limiter: Option<f32>,
    average: Option<Average>,
    steps: u64,
    watch: Watch,
    _claim: Claim,
    /// Number of samples over which the model's tensors hold a sum of gradients; 0 if they hold a mean.
    samples: usize,
    /// True if the model's tensors still hold the gradients of the last step.
    held: bool,
}

/// Returns the trainable parameters of a store as (name, tensor), in the order of their creation.
pub fn named(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let names: HashMap<_, _> = store.variables().into_iter().map(|(name, tensor)| (tensor.data_ptr(), name)).collect();
    let trainable = store.trainable_variables().into_iter().filter(Tensor::requires_grad).enumerate();
    trainable
        .map(|(index, tensor)| (names.get(&tensor.data_ptr()).cloned().unwrap_or_else(|| index.to_string()), tensor))
        .collect()
}

impl TransportedScion {
    /// Creates an optimizer for all trainable parameters of a store, each with the usual settings of its
    /// [role](groups::roles). X is what the parameters hold now. A parameter that is frozen now is left out.
    ///
    /// A [pull](Pull) to zero keeps X in the ball of each geometry only if X starts there, see
    /// [`TransportedScion::initialise`]. A pull to the start keeps X in the ball around its current value, or around
    /// the weights of a later [`TransportedScion::initialise`]: fine-tuning that never goes far from the given weights.
    ///
    /// # Errors
    /// Returns an error if a constant of the rule is out of range, if the store has no trainable parameters, if a
    /// parameter has no elements or is neither of kind Float nor a matrix of kind BFloat16, or if another optimizer
    /// that still exists steps it.
    pub fn new(store: &nn::VarStore, rule: Rule, arithmetic: Arithmetic) -> Result<Self> {
        Self::with_groups(named(store), rule, arithmetic, &Groups::automatic())
    }

    /// Creates an optimizer for these parameters in these groups.
    ///
    /// # Errors
    /// Same as [`TransportedScion::new`]; also if a group matches no parameter, a parameter matches no group, a radius
    /// or step factor is out of range, or two parameters have the same name or memory.
    pub fn with_groups(
        parameters: impl IntoIterator<Item = (String, Tensor)>,
        rule: Rule,
        arithmetic: Arithmetic,
        groups: &Groups,
    ) -> Result<Self> {
        rule.check()?;
        let parameters: Vec<_> = parameters.into_iter().collect();
        ownership::check(&parameters)?;
        let sizes: Vec<_> = parameters.iter().map(|(_, tensor)| tensor.size()).collect();
        let named = parameters.iter().zip(&sizes).map(|((name, _), size)| Parameter { name, size });
        let mut roles = groups.roles(&named.collect::<Vec<_>>())?;
        let mut places = Vec::new();
        let mut stacks: Vec<Members> = Vec::new();
        let mut names = Vec::new();
        for (((name, tensor), size), role) in parameters.into_iter().zip(sizes).zip(&mut roles) {
            let wrong = |what: String| Err(Error::Parameter { name: name.clone(), what });
            match tensor.kind() {
                Kind::Float => {}
                Kind::BFloat16 if matches!(role.role, Role::Bias | Role::Gain) => {
                    return wrong(format!(
                        "is a {} of kind BFloat16, but only matrices can be; make it Float",
                        role.role
                    ));
                }
                Kind::BFloat16 if arithmetic == Arithmetic::Exact => {
                    return wrong("is of kind BFloat16, but exact arithmetic takes only Float".into());
                }
                Kind::BFloat16 => {}
                other => {
                    return wrong(format!(
                        "is of kind {other:?}, but only Float and, for matrices, BFloat16 are supported"
                    ));
                }
            }
            if tensor.numel() == 0 {
                return wrong(format!("has no elements: {size:?}"));
            }
            // A normalisation starts with gains of 1, whatever their name.
            let given = groups.find(&name).is_some_and(|group| group.role.is_some());
            if role.role == Role::Bias && !given && all_ones(&tensor)? {
                role.role = Role::Gain;
            }
            names.push(name.clone());
            for Planned { name, group, rows, parts, matrices, settings } in
                groups.plan(&Parameter { name: &name, size: &size }, role.role)?
            {
                let Matrices { count, shape } = matrices;
                let key = (shape, &settings, tensor.kind());
                let same = |members: &Members| (members.shape, &members.settings, members.kind) == key;
                let stack = stacks.iter().position(same).unwrap_or(stacks.len());
                if stack == stacks.len() {
                    stacks.push(Members { shape, settings, kind: tensor.kind(), count: 0, tensors: Vec::new() });
                }
                let members = &mut stacks[stack];
                let (index, count, parts) = (members.count, count as i64, parts as i64);
                members.count += count;
                members.tensors.push(match &rows {
                    Some(rows) => rows.of(&tensor)?,
                    None => tensor.shallow_clone(),
                });
                let (version, used) = (Cell::new(tensor.f_internal_version()?), Cell::new(-1));
                let (tensor, size, role) = (tensor.shallow_clone(), size.clone(), *role);
                names.extend(rows.is_some().then(|| name.clone()));
                names.extend((0..parts).filter(|_| parts > 1).map(|at| format!("{name}[{at}]")));
                places.push(Place {
                    name,
                    group,
                    tensor,
                    rows,
                    size,
                    role,
                    parts,
                    stack,
                    index,
                    count,
                    version,
                    used,
                    offered: 0,
                });
            }
        }
        groups.check(names.iter().map(String::as_str))?;
        let stack = |Members { shape, settings, tensors, .. }: Members| {
            settings.check(&rule)?;
            let model = stacked(shape, tensors)?;
            let admitted = Tensor::f_zeros([model.size()[0], 1, 1], (Kind::Int64, model.device()))?;
            let array = |_| Ok(Tensor::f_zeros(model.size(), (Kind::Float, model.device()))?);
            let arrays = settings.arrays().iter().map(array).collect::<Result<_>>()?;
            let alignment = Alignment::START;
            let (x, before, start, average, gradient, sum, norms) = (None, None, None, None, None, None, None);
            Ok(Stack {
                shape,
                settings,
                model,
                x,
                arrays,
                before,
                start,
                average,
                gradient,
                sum,
                norms,
                alignment,
                admitted,
            })
        };
        let stacks = stacks.into_iter().map(stack).collect::<Result<Vec<_>>>()?;
        let (kind, watch) = (Kind::Float, Watch::default());
        // Parts that are no views of the stacks stay in the model's memory.
        let parted = places.iter().filter(|place: &&Place| place.rows.is_some()).map(|place| &place.tensor);
        let _claim = Claim::new(stacks.iter().map(|stack| &stack.model).chain(parted));
        let (from_zero, limiter, average) = (false, None, None);
        let mut optimizer = Self {
            rule,
            arithmetic,
            kind,
            places,
            stacks,
            from_zero,
            limiter,
            average,
            steps: 0,
            watch,
            samples: 0,
            held: false,
            _claim,
        };
        optimizer.lay_out()?;
        optimizer.adopt()?;
        Ok(optimizer)
    }

    /// Creates the arrays that the rule needs.
    fn lay_out(&mut self) -> Result<()> {
        let nesterov = self.rule.transport == Transport::Nesterov;
        let by_rule = |stack: &&mut Stack| stack.settings.baseline.is_none();
        let changed = |stack: &mut Stack| stack.before.is_some() != nesterov;
        if self.steps > 0 && self.stacks.iter_mut().filter(by_rule).any(changed) {
            let what = "its law of transport cannot change to or from Nesterov's after the first step".into();
            return Err(Error::Parameter { name: "the rule".into(), what });
        }
        let pulls = matches!(self.rule.pull, Pull::Start { .. });
        let apart = !nesterov && self.rule.transport != Transport::Fixed { theta: 0.0 };
        for stack in &mut self.stacks {
            let apart = apart && stack.settings.baseline.is_none() || stack.is_rounded();
            if apart && stack.x.is_none() && !stack.is_frozen() {
                stack.x = Some(stack.model.f_to_kind(Kind::Float)?.copy());
            }
        }
        for stack in self.stacks.iter_mut().filter(by_rule) {
            if nesterov && stack.before.is_none() {
                stack.before = Some(stack.m().f_zeros_like()?);
            }
            if pulls && stack.settings.decay.is_none() && stack.start.is_none() && !stack.is_frozen() {
                stack.start = Some(stack.x().copy());
            }
        }
        Ok(())
    }

    /// Makes the model's tensors views of the stacks. Values that the caller has written to a tensor become X, and
    /// before the first step also X₀ and the average.
    fn adopt(&self) -> Result<()> {
        let _guard = no_grad_guard();
        for place in self.places.iter().filter(|place| place.rows.is_some() || self.is_astray(place)) {
            let Place { name, tensor, size, stack, .. } = place;
            let (kind, device) = (self.stacks[*stack].model.kind(), self.stacks[*stack].model.device());
            if (tensor.size(), tensor.kind(), tensor.device()) != (size.clone(), kind, device) {
                let what =
                    format!("is now {tensor:?}, but the optimizer was made for {size:?} of {kind:?} on {device:?}");
                return Err(Error::Parameter { name: name.clone(), what });
            }
        }
        for place in &self.places {
            let stack = &self.stacks[place.stack];
            let mut written = place.tensor.f_internal_version()? != place.version.get();
            if place.rows.is_none() && self.is_astray(place) {
                let mut view = place.of(&stack.model)?;
                // Moving a store to another device and back is no change.
                written |= !view.f_equal(&place.tensor)?;
                view.f_copy_(&place.tensor)?;
                place.tensor.shallow_clone().f_set_data(&view)?;
            }
            if written {
                let model = place.rows.as_ref().map(|_| &stack.model);
                let first = [&stack.start, &stack.average].into_iter().flatten().filter(|_| self.steps == 0);
                for array in [model, stack.x.as_ref()].into_iter().flatten().chain(first) {
                    place.of(array)?.f_copy_(&place.own(&place.tensor)?)?;
                }
            }
            place.version.set(place.tensor.f_internal_version()?);
        }
        Ok(())
    }

    /// Copies what the stacks hold for the model to tensors that are no views of them.
    fn publish(&self) -> Result<()> {
        for place in self.places.iter().filter(|place| place.rows.is_some()) {
            place.own(&place.tensor)?.f_copy_(&place.of(&self.stacks[place.stack].model)?)?;
        }
        for place in &self.places {
            place.version.set(place.tensor.f_internal_version()?);
        }
        Ok(())
    }

    /// Returns whether a tensor of the model is no view of its stack.
    fn is_astray(&self, place: &Place) -> bool {
        !place.is_in(&self.stacks[place.stack].model, &place.tensor)
    }

    /// Returns a table with a line for each parameter, or each of its parts: name, size, role, matrices in which it is
    /// stepped, norm, radius, step factor and the index of its stack. A role that is a guess has a question mark. The
    /// matrices of a stack are moved by the same libtorch calls.
    pub fn table(&self) -> String {
        let head = ["parameter", "size", "role", "matrix", "norm", "radius", "factor", "stack"].map(str::to_owned);
        let lines = self.places.iter().flat_map(|place| (0..place.parts).map(move |part| (place, part)));
        let rows = lines.map(|(place, part)| {
            let Stack { shape: (m, n), ref settings, .. } = self.stacks[place.stack];
            let Settings { geometry, baseline, step_factor, .. } = *settings;
            let norm = match baseline {
                _ if geometry.is_frozen() => "frozen".to_owned(),
                Some(baseline) => baseline.name.to_owned(),
                None => format!("{:?}", geometry.norm),
            };
            let radius = if baseline.is_some() { "-".to_owned() } else { geometry.radius.to_string() };
            let count = match place.count / place.parts {
                1 => String::new(),
                count => format!("{count}·"),
            };
            [
                if place.parts == 1 { place.name.clone() } else { format!("{}[{part}]", place.name) },
                format!("{:?}", place.size),
                format!("{}{}", place.role.role, if place.role.doubtful { "?" } else { "" }),
                format!("{count}{m}×{n}"),
                norm,
                radius,
                step_factor.to_string(),
                place.stack.to_string(),
            ]
        });
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        let wide: [usize; 8] =
            std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
        let mut table = String::new();
        for [name, size, role, matrix, norm, radius, factor, stack] in &rows {
            let [w0, w1, w2, w3, w4, w5, w6, w7] = wide;
            table += &format!(
                "{name:<w0$}  {size:<w1$}  {role:<w2$}  {matrix:>w3$}  {norm:<w4$}  {radius:>w5$}  {factor:>w6$}  {stack:>w7$}\n"
            );
        }
        table
    }

    /// Returns the memory kept between steps in addition to the model's own weights and gradients, in bytes: see the
    /// [module](self).
    pub fn bytes(&self) -> usize {
        let parts = self.places.iter().filter(|place| place.rows.is_some());
        // Weights and gradients of parts that are no views of the model's.
        let copies: usize = parts.map(|place| 2 * place.numbers(&self.stacks) * size_of::<f32>()).sum();
        let arrays = self.stacks.iter().flat_map(|stack| {
            let others = [&stack.x, &stack.before, &stack.start, &stack.average, &stack.sum].into_iter().flatten();
            stack.arrays.iter().chain(others)
        });
        copies + arrays.map(|tensor| tensor.numel() * size_of::<f32>()).sum::<usize>()
    }

    /// Computes spectral directions in bfloat16 under [`Arithmetic::Fast`], for large matrices on a GPU.
    ///
    /// A direction is then accurate to about two digits, but not if the momentum is below 1e-38.
    pub fn bfloat16(self) -> Self {
        Self { kind: Kind::BFloat16, ..self }
    }

    /// Lets M start at 0, as in the published code of Scion and Muon: M₂ = (1 − β)G₁. By default M starts as the first
    /// gradient, M₂ = G₁, which then weighs 1/(1 − β) times less relative to the next ones than it would at its whole
    /// weight; no bias remains for a law of transport to cancel.
    ///
    /// # Errors
    /// Returns an error if the law of transport needs a momentum whose weights sum to 1: θ > 0, lag or alignment.
    pub fn from_zero(self) -> Result<Self> {
        match self.rule.transport {
            Transport::Fixed { theta: 0.0 } | Transport::Nesterov => Ok(Self { from_zero: true, ..self }),
            _ => {
                Err(Error::wrong("the rule", "momentum can start at 0 only without transport or under Nesterov's law"))
            }
        }
    }

    /// Limits gradients before they enter M: n = ‖G‖ of each matrix, its Frobenius norm, to κ times the running mean n̄
    /// of those before, which starts at the first one. A single gradient that is many times too large then counts as κ
    /// usual ones. Off by default.
    ///
    /// ```text
    /// b = min(n, κ n̄)      G ← (b/n) G      n̄ ← 0.9 n̄ + 0.1 b
    /// ```
    ///
    /// # Errors
    /// Returns an error unless κ is finite and > 1.
    pub fn limited(self, factor: f32) -> Result<Self> {
        if factor > 1.0 && factor.is_finite() {
            Ok(Self { limiter: Some(factor), ..self })
        } else {
            Err(Error::wrong("the limiter", format!("its factor must be finite and > 1, found {factor}")))
        }
    }

    /// Keeps an average of X from now on, for 4 bytes per number of a parameter. See
    /// [`TransportedScion::evaluate_average`].
    ///
    /// # Errors
    /// Returns an error if a constant of the average is out of range.
    pub fn averaging(self, average: Average) -> Result<Self> {
        let _guard = no_grad_guard();
        average.check().map_err(|what| Error::wrong("the average", what))?;
        let mut averaging = Self { average: Some(average), ..self };
        for stack in averaging.stacks.iter_mut().filter(|stack| !stack.is_frozen()) {
            stack.average = Some(stack.x().copy());
        }
        Ok(averaging)
    }

    /// Restarts from random weights inside each ball, by [`Scion::initialise`] with [`Stream::Weights`].
    ///
    /// The weights are drawn parameter by parameter, with the same bits on every machine. Biases start at 0 and gains
    /// at 1. Frozen parameters keep their values.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn initialise(&mut self, seed: u64) -> Result<()> {
        let _guard = no_grad_guard();
        self.adopt()?;
        let mut generator = Stream::Weights.generator(seed);
        let moved = |place: &&Place| !self.stacks[place.stack].is_frozen();
        let moved: Vec<_> = self.places.iter().filter(moved).collect();
        let starts = moved.iter().map(|place| {
            let Stack { shape, settings: Settings { geometry, .. }, .. } = &self.stacks[place.stack];
            let (shape, geometry) = (*shape, *geometry);
            let role = place.role.role.in_core(&place.size);
            (0..place.count)
                .map(|at| {
                    let start = Start { shape, geometry, role, generator: generator.clone() };
                    generator = start.next();
                    (place, place.index + at, start)
                })
                .collect::<Vec<_>>()
        });
        let starts: Vec<_> = starts.flatten().collect();
        start::each(starts.iter().map(|(_, _, start)| start).collect::<Vec<_>>().as_slice(), |at, x| {
            let (place, index, _) = &starts[at];
            let stack = &self.stacks[place.stack];
            let x = Tensor::f_from_slice(&x)?.f_view([stack.shape.0 as i64, stack.shape.1 as i64])?;
            for array in [&stack.x, &stack.start, &stack.average].into_iter().flatten().chain([&stack.model]) {
                array.f_select(0, *index)?.f_copy_(&x)?;
            }
            Ok(())
        })?;
        for stack in &mut self.stacks {
            for array in stack.arrays.iter_mut().chain(&mut stack.before) {
                let _ = array.f_zero_()?;
            }
            stack.norms = None;
            stack.alignment = Alignment::START;
        }
        self.publish()?;
        self.steps = 0;
        self.forget_refusals();
        Ok(())
    }

    /// Returns the number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the names of the parameters, in order. A parameter that is divided has one for each part.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.name.as_str())
    }

    /// Returns copies of the weights X as (name, tensor), in the order and with the sizes of the model's parameters.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn x(&self) -> Result<Tensors> {
        self.weights(Stack::x)
    }

    /// Returns copies of the averaged weights, like [`TransportedScion::x`]. They are X before the first step, or if no
    /// average is kept.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn average(&self) -> Result<Tensors> {
        self.weights(Stack::average)
    }

    /// Returns copies of the weights that the stacks hold in some array.
    fn weights(&self, of: impl Fn(&Stack) -> &Tensor) -> Result<Tensors> {
        let _guard = no_grad_guard();
        self.adopt()?;
        let mut all = Tensors::new();
        for place in &self.places {
            let x = place.of(of(&self.stacks[place.stack]))?;
            match &place.rows {
                None => all.push((place.name.clone(), x.f_to_kind(Kind::Float)?.copy())),
                Some(rows) => {
                    if rows.first_part {
                        let whole = Tensor::f_empty(&place.size, (Kind::Float, place.tensor.device()))?;
                        all.push((rows.parameter.clone(), whole));
                    }
                    if let Some((_, whole)) = all.last() {
                        rows.of(whole)?.f_copy_(&x)?;
                    }
                }
            }
        }
        Ok(all)
    }

    /// Zeroes the gradients of the model's tensors. None of them is new then.
    pub fn zero_grad(&mut self) {
        let _guard = no_grad_guard();
        self.zero_gradients();
        self.places.iter().for_each(Place::use_gradient);
    }

    fn zero_gradients(&mut self) {
        for place in &mut self.places {
            let gradient = self.stacks[place.stack].gradient.as_ref();
            let is_view = place.rows.is_none();
            if !(is_view && gradient.is_some_and(|stack| place.is_in(stack, &place.tensor.grad()))) {
                place.tensor.zero_grad();
            }
        }
        for array in self.stacks.iter_mut().flat_map(|stack| stack.gradient.iter_mut().chain(&mut stack.sum)) {
            let _ = array.zero_();
        }
        self.samples = 0;
    }

    /// Computes the gradient of `loss`, the mean over a batch at Y, and takes a step with it.
    ///
    /// # Errors
    /// Same as [`TransportedScion::step`]; also if the loss has no gradient, or parts of a batch were accumulated. No
    /// weight has changed then.
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        if self.samples > 0 {
            let what = "parts of a batch were accumulated and would be forgotten; accumulate this one, and call step";
            return Err(Error::wrong("the loss", what));
        }
        self.zero_grad();
        loss.f_backward()?;
        self.step()
    }

    /// Computes the gradient of `loss`, the mean over `samples` samples at Y, as one part of the next step's gradient.
    ///
    /// The step's gradient is the mean over the samples of all parts. Each sample counts equally, no matter how the
    /// batch was divided.
    ///
    /// # Errors
    /// Returns an error if the part has no samples, the loss has no gradient, or the model's tensors hold a new
    /// gradient from another backward pass. Nothing has changed then.
    pub fn accumulate(&mut self, loss: &Tensor, samples: usize) -> Result<()> {
        if samples == 0 {
            return Err(Error::wrong("the loss", "a part of a batch must have at least one sample"));
        }
        if self.samples == 0 {
            if let Some(place) = self.places.iter().find(|place| place.has_new_gradient()) {
                let what = "holds a gradient that was not accumulated; call zero_grad first, or accumulate every part";
                return Err(Error::wrong(&place.name, what));
            }
            if std::mem::take(&mut self.held) {
                self.zero_grad();
            }
        }
        if self.samples > 0 {
            self.sum_rounded()?;
        }
        (loss * samples as f64).f_backward()?;
        self.samples += samples;
        Ok(())
    }

    /// Adds gradients in bfloat16 to sums in binary32: a sum in bfloat16 would lose what a further part adds.
    fn sum_rounded(&mut self) -> Result<()> {
        let _guard = no_grad_guard();
        for stack in self.stacks.iter_mut().filter(|stack| stack.is_rounded() && stack.sum.is_none()) {
            stack.sum = Some(Tensor::f_zeros(stack.model.size(), (Kind::Float, stack.model.device()))?);
        }
        for place in &self.places {
            let gradient = place.tensor.f_grad()?;
            if let Some(sum) = &self.stacks[place.stack].sum
                && gradient.defined()
            {
                let _ = place.of(sum)?.f_add_(&place.own(&gradient)?)?;
                let _ = place.own(&gradient)?.f_zero_()?;
            }
        }
        Ok(())
    }

    /// Takes one step with the gradients that the model's tensors hold, which are kept.
    ///
    /// A parameter without a new gradient keeps X, Y and M, and so does one that does not require gradients now. A
    /// gradient is new if something was written to it since the last step, by a backward pass or by the caller: its
    /// version counter tells. A zeroing by other means than [`TransportedScion::zero_grad`] counts as a gradient of 0.
    ///
    /// Values that the caller has written to a tensor of the model since the last step, for example by loading its
    /// store, are taken as X; its version counter tells. Not noticed is what is written through
    /// [`Tensor::data`](tch::Tensor::data) or an array that was derived from the tensor by it, as libtorch's SGD does.
    ///
    /// M ← β_t M + (1 − β_t) G, then [`Scion::advance`]. The model's tensors become the next step's Y in place, so
    /// results that were computed from them earlier can no longer be differentiated.
    ///
    /// Under [`Arithmetic::Fast`] nothing here waits for a GPU. If a parameter's gradient is not finite (or reaches
    /// 2^120, beyond which core accepts no sample), a mask on the device leaves that parameter unchanged while all
    /// others move. [`TransportedScion::refused`] reports it. If no gradient of any parameter was finite in
    /// [`PATIENCE`] steps, a later step says so by an error.
    ///
    /// # Errors
    /// Returns an error if a constant of the rule is out of range, if the law of transport changed to or from
    /// Nesterov's after the first step, if a tensor of the model changed its device or size, if no gradient has been
    /// finite for long, or, under [`Arithmetic::Exact`], if a gradient is not finite. In these cases nothing has
    /// changed.
    pub fn step(&mut self) -> Result<()> {
        self.stacks.iter().try_for_each(|stack| stack.settings.check(&self.rule))?;
        self.watch.check()?;
        let _guard = no_grad_guard();
        self.adopt()?;
        self.lay_out()?;
        let new = self.gather_gradients()?;
        if self.arithmetic == Arithmetic::Exact {
            self.check(&new)?;
        }
        let Self { ref rule, from_zero, limiter, .. } = *self;
        let step = Step { rule, t: self.steps + 1, from_zero, limiter };
        let t = step.t;
        for (stack, new) in self.stacks.iter_mut().zip(&new) {
            let gradient = stack.mean_gradient(self.samples)?;
            if let Some(gradient) = gradient.filter(|_| !stack.is_frozen() && new.contains(&true)) {
                match self.arithmetic {
                    Arithmetic::Fast => stack.step_fast(step, self.kind, new, &gradient)?,
                    Arithmetic::Exact => stack.step_exact(step, new, &gradient)?,
                }
            }
            if let Some(average) = self.average.filter(|_| !stack.is_frozen()) {
                stack.follow_average(average, t)?;
            }
        }
        for place in &mut self.places {
            place.offered += u64::from(new[place.stack][place.index as usize]);
        }
        (self.held, self.samples) = (true, 0);
        self.steps = t;
        for place in &mut self.places {
            place.use_gradient();
            if place.rows.is_none() {
                // Computes nothing, but marks the tensor as changed for autograd.
                let _ = place.tensor.f_transpose_(0, 0)?;
            }
        }
        self.publish()?;
        if self.arithmetic == Arithmetic::Fast && t.is_multiple_of(PATIENCE) {
            let offered = self.places.iter().map(|place| place.offered * place.count as u64).sum();
            self.watch.look(offered, self.stacks.iter().map(|stack| &stack.admitted))?;
        }
        Ok(())
    }

    /// Runs `f` while the model holds X, and then restores the previous values even if `f` panics. Gradients are not
    /// tracked meanwhile. Values that `f` writes to a tensor of the model stay and become its X.
    ///
    /// # Errors
    /// Returns an error if libtorch fails; `f` has not run then.
    pub fn evaluate<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        self.evaluate_at(Stack::x, f)
    }

    /// Runs `f` while the model holds the [averaged](TransportedScion::averaging) weights, like
    /// [`TransportedScion::evaluate`]. They are X before the first step, or if no average is kept. Statistics of batch
    /// normalisations are not averaged.
    ///
    /// # Errors
    /// Returns an error if libtorch fails; `f` has not run then.
    pub fn evaluate_average<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        self.evaluate_at(Stack::average, f)
    }

    fn evaluate_at<T>(&self, of: impl Fn(&Stack) -> &Tensor, f: impl FnOnce() -> T) -> Result<T> {
        let _guard = no_grad_guard();
        self.adopt()?;
        let mut at_x = AtX { optimizer: self, model: Vec::new() };
        for stack in &self.stacks {
            let mut model = stack.model.shallow_clone();
            at_x.model.push((model.shallow_clone(), model.copy()));
            let weights = of(stack);
            if weights.data_ptr() != model.data_ptr() {
                model.f_copy_(weights)?;
            }
        }
        self.publish()?;
        Ok(f())
    }

    /// Returns the parameters whose gradient was not finite in some step, with the number of such steps. The count
    /// starts at creation, at [initialisation](Self::initialise) or at the last call of this function. Waits until the
    /// device has computed all steps.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn refused(&mut self) -> Result<Vec<(String, u64)>> {
        if self.arithmetic == Arithmetic::Exact {
            return Ok(Vec::new());
        }
        let admitted = |stack: &Stack| Ok(Vec::<i64>::try_from(&stack.admitted.f_flatten(0, -1)?)?);
        let admitted = self.stacks.iter().map(admitted).collect::<Result<Vec<_>>>()?;
        let moved = self.places.iter().filter(|place| !self.stacks[place.stack].is_frozen());
        let of = |place: &Place| {
            let of = &admitted[place.stack][place.matrices()];
            (place.name.clone(), place.offered - of.iter().copied().min().unwrap_or(0) as u64)
        };
        let refused = moved.map(of).filter(|(_, count)| *count > 0).collect();
        self.forget_refusals();
        Ok(refused)
    }

    /// Begins to count gradients anew.
    fn forget_refusals(&mut self) {
        for stack in &mut self.stacks {
            let _ = stack.admitted.zero_();
        }
        self.places.iter_mut().for_each(|place| place.offered = 0);
        self.watch = Watch::default();
    }

    /// Makes the model's gradients views of the stacks' gradients. Returns which parameters of each stack have a new
    /// gradient.
    fn gather_gradients(&mut self) -> Result<Vec<Vec<bool>>> {
        for stack in &mut self.stacks {
            if stack.gradient.is_none() {
                stack.gradient = Some(stack.model.f_zeros_like()?);
            }
        }
        let mut new: Vec<_> = self.stacks.iter().map(|stack| vec![false; stack.model.size()[0] as usize]).collect();
        for place in &self.places {
            let Some(stack) = &self.stacks[place.stack].gradient else { continue };
            let mut gradient = place.tensor.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let parted = place.rows.is_some();
            let astray = !parted && !place.is_in(stack, &gradient);
            let written = astray || gradient.f_internal_version()? != place.used.get();
            new[place.stack][place.matrices()].fill(written && place.tensor.requires_grad());
            if astray {
                let mut view = place.of(stack)?;
                view.f_copy_(&gradient)?;
                gradient.f_set_data(&view)?;
            } else if parted && written {
                place.of(stack)?.f_copy_(&place.own(&gradient)?)?;
            }
        }
        Ok(new)
    }

    /// Checks that all new gradients are finite, and names the first parameter whose gradient is not.
    ///
    /// If all are finite, it reads only one value from the device.
    fn check(&self, new: &[Vec<bool>]) -> Result<()> {
        // For each stack, one flag per parameter: all of its gradient is finite.
        let finite = |gradient: &Tensor| gradient.f_isfinite()?.f_flatten(1, -1)?.f_all_dim(1, false);
        let gradients = self.stacks.iter().filter_map(|stack| stack.gradient.as_ref());
        let finite = gradients.map(finite).collect::<std::result::Result<Vec<_>, _>>()?;
        if finite.is_empty() || bool::try_from(Tensor::f_cat(&finite, 0)?.f_all()?)? {
            return Ok(());
        }
        for place in self.places.iter().filter(|place| new[place.stack][place.index as usize]) {
            if !bool::try_from(finite[place.stack].f_narrow(0, place.index, place.count)?.f_all()?)? {
                return Err(Error::NotFinite { name: place.name.clone() });
            }
        }
        Ok(())
    }
}

/// Guard for the time in which the model holds X. It restores the previous values when dropped.
struct AtX<'a> {
    optimizer: &'a TransportedScion,
    /// For each stack, the tensor of which the model's tensors are views and a copy of its previous values.
    model: Vec<(Tensor, Tensor)>,
}

impl Drop for AtX<'_> {
    fn drop(&mut self) {
        let _guard = no_grad_guard();
        let version = |place: &Place| place.tensor.f_internal_version().ok();
        let written = self.optimizer.places.iter().filter(|place| version(place) != Some(place.version.get()));
        let written: Vec<_> = written.map(|place| (place, place.tensor.copy())).collect();
        for (model, held) in &mut self.model {
            // The tensors have the same size and device, so this does not fail. A second panic would abort the process.
            let _ = model.f_copy_(held);
        }
        let _ = self.optimizer.publish();
        for (place, values) in written {
            // The next use of the optimizer takes them as X.
            let _ = place.tensor.shallow_clone().f_copy_(&values);
        }
    }
}

/// Copies tensors of one or more matrices into one stack with its own memory, shape [s, m, n].
fn stacked((m, n): (usize, usize), tensors: Vec<Tensor>) -> Result<Tensor> {
    let _guard = no_grad_guard();
    let matrices = |tensor: Tensor| tensor.f_reshape([-1, m as i64, n as i64]);
    let matrices = tensors.into_iter().map(matrices).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Tensor::f_cat(&matrices, 0)?)
}

/// Returns whether all elements are 1.
fn all_ones(tensor: &Tensor) -> Result<bool> {
    let _guard = no_grad_guard();
    Ok(bool::try_from(tensor.f_eq(1.0)?.f_all()?)?)
}

/// The README's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The programs of the page on programs of the reader's own, run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/own-program.md")]
struct OwnProgram;
