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
//! A parameter whose parts are unequal or interleaved keeps 8 more bytes and takes two copies for each part and step,
//! as its parts are no views of the stacks. A pull to the start keeps 4 more bytes, for X₀. Under any pull a step takes
//! 16 bytes, in place or not, if it takes less without the pull.

pub mod baselines;
pub mod cuda;
mod error;
pub mod groups;
#[cfg(test)]
mod launches;
pub mod memory;
pub mod method;
mod ownership;
mod start;
mod state;
pub mod tensor;
mod watch;

use crate::tensor::{Arithmetic, Exact, Fast, Operand, largest};
pub use error::{Error, Result};
pub use graftage_core::error::Refusal;
use graftage_core::matrix::Matrix;
pub use graftage_core::norm::Norm;
use graftage_core::norm::Workspace;
pub use graftage_core::polar::Quintics;
use graftage_core::random::Stream;
pub use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::Scion;
pub use graftage_core::scion::{Geometry, Pull, Rule};
use graftage_core::transport::Alignment;
pub use graftage_core::transport::Transport;
use groups::{Derived, Matrices, Planned, Rows, Settings};
pub use groups::{Group, Groups, Parameter, Role};
use ownership::Claim;
use start::Start;
pub use state::{Tensors, bytes, read, write};
use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
pub use tch;
use tch::{Kind, Tensor, nn, no_grad_guard};
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

/// A parameter of the model, or a part of one, and its place in a stack.
#[derive(Debug)]
struct Place {
    name: String,
    /// The model's own tensor. It is a view of [`Stack::model`], or if `rows` are given has its own memory.
    tensor: Tensor,
    /// Rows of the tensor that this part has; `None` for a whole parameter.
    rows: Option<Rows>,
    /// Size of the tensor.
    size: Vec<i64>,
    role: Derived,
    /// Number of parts, which are stepped like so many parameters of their own; 1 if the parameter has none.
    parts: i64,
    stack: usize,
    /// Index of its first matrix in the stack.
    index: i64,
    /// Number of its matrices, which follow each other in the stack.
    count: i64,
    /// Version of the tensor when its values were last known. Another version means that the caller has written to it.
    version: Cell<i64>,
    /// Version of the gradient that was last used or zeroed. The same version means that there is no new gradient.
    used: Cell<i64>,
    /// Number of steps with a new gradient since [`TransportedScion::refused`] was last called.
    offered: u64,
}

/// Tensors of which a stack is made.
struct Members {
    shape: (usize, usize),
    settings: Settings,
    /// Number of matrices.
    count: i64,
    tensors: Vec<Tensor>,
}

/// Matrices with the same shape (m, n), geometry and step factor. All arrays have shape [s, m, n] for s matrices.
#[derive(Debug)]
struct Stack {
    shape: (usize, usize),
    settings: Settings,
    /// Weights that the model holds: Y, or X if both are the same.
    model: Tensor,
    /// X, if the model holds Y.
    x: Option<Tensor>,
    m: Tensor,
    /// M before the last step; only under Nesterov's law.
    before: Option<Tensor>,
    /// X₀, only under a pull to the start: X at the time when the optimizer was created or initialised.
    start: Option<Tensor>,
    /// Tensor of which the model's gradients are views; `None` before the first step.
    gradient: Option<Tensor>,
    alignment: Alignment<Operand>,
    /// Number of finite gradients per matrix since [`TransportedScion::refused`] was last called. Shape [s, 1, 1],
    /// on the weights' device.
    admitted: Tensor,
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
    steps: u64,
    watch: Watch,
    _claim: Claim,
    /// Number of samples over which the model's tensors hold a sum of gradients; 0 if they hold a mean.
    samples: usize,
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
    /// parameter has no elements or is not of kind Float, or if another optimizer that still exists steps it.
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
            if tensor.kind() != Kind::Float {
                return wrong(format!("is of kind {:?}, but only Float is supported", tensor.kind()));
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
            for Planned { name, rows, parts, matrices, settings } in
                groups.plan(&Parameter { name: &name, size: &size }, role.role)?
            {
                let Matrices { count, shape } = matrices;
                let same = |members: &Members| (members.shape, members.settings) == (shape, settings);
                let stack = stacks.iter().position(same).unwrap_or(stacks.len());
                if stack == stacks.len() {
                    stacks.push(Members { shape, settings, count: 0, tensors: Vec::new() });
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
        let stack = |Members { shape, settings, tensors, .. }| {
            let model = stacked(shape, tensors)?;
            let admitted = Tensor::f_zeros([model.size()[0], 1, 1], (Kind::Int64, model.device()))?;
            let m = model.f_zeros_like()?;
            let alignment = Alignment::START;
            let (x, before, start, gradient) = (None, None, None, None);
            Ok(Stack { shape, settings, model, x, m, before, start, gradient, alignment, admitted })
        };
        let stacks = stacks.into_iter().map(stack).collect::<Result<Vec<_>>>()?;
        let (kind, watch) = (Kind::Float, Watch::default());
        // Parts that are no views of the stacks stay in the model's memory.
        let parted = places.iter().filter(|place: &&Place| place.rows.is_some()).map(|place| &place.tensor);
        let _claim = Claim::new(stacks.iter().map(|stack| &stack.model).chain(parted));
        let mut optimizer = Self { rule, arithmetic, kind, places, stacks, steps: 0, watch, samples: 0, _claim };
        optimizer.lay_out()?;
        optimizer.adopt()?;
        Ok(optimizer)
    }

    /// Creates the arrays that the rule needs.
    fn lay_out(&mut self) -> Result<()> {
        let nesterov = self.rule.transport == Transport::Nesterov;
        if self.steps > 0 && self.stacks.iter().any(|stack| stack.before.is_some() != nesterov) {
            let what = "its law of transport cannot change to or from Nesterov's after the first step".into();
            return Err(Error::Parameter { name: "the rule".into(), what });
        }
        let pulls = matches!(self.rule.pull, Pull::Start { .. });
        let apart = !nesterov && self.rule.transport != Transport::Fixed { theta: 0.0 };
        for stack in &mut self.stacks {
            if nesterov && stack.before.is_none() {
                stack.before = Some(stack.m.f_zeros_like()?);
            }
            if apart && stack.x.is_none() && !stack.settings.geometry.is_frozen() {
                stack.x = Some(stack.model.copy());
            }
            if pulls && stack.start.is_none() && !stack.settings.geometry.is_frozen() {
                stack.start = Some(stack.x().copy());
            }
        }
        Ok(())
    }

    /// Makes the model's tensors views of the stacks. Values that the caller has written to a tensor become X, and
    /// before the first step also X₀.
    fn adopt(&self) -> Result<()> {
        let _guard = no_grad_guard();
        for place in self.places.iter().filter(|place| place.rows.is_some() || self.is_astray(place)) {
            let Place { name, tensor, size, stack, .. } = place;
            let device = self.stacks[*stack].model.device();
            if (tensor.size(), tensor.kind(), tensor.device()) != (size.clone(), Kind::Float, device) {
                let what = format!("is now {tensor:?}, but the optimizer was made for {size:?} of Float on {device:?}");
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
                let start = stack.start.as_ref().filter(|_| self.steps == 0);
                for array in [model, stack.x.as_ref(), start].into_iter().flatten() {
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
            let Stack { shape: (m, n), settings: Settings { geometry, step_factor }, .. } = self.stacks[place.stack];
            let norm = if geometry.is_frozen() { "frozen".to_owned() } else { format!("{:?}", geometry.norm) };
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
                geometry.radius.to_string(),
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
        let arrays = self
            .stacks
            .iter()
            .flat_map(|stack| [Some(&stack.m), stack.x.as_ref(), stack.before.as_ref(), stack.start.as_ref()]);
        copies + arrays.flatten().map(|tensor| tensor.numel() * size_of::<f32>()).sum::<usize>()
    }

    /// Computes spectral directions in bfloat16 under [`Arithmetic::Fast`], for large matrices on a GPU.
    ///
    /// A direction is then accurate to about two digits, but not if the momentum is below 1e-38.
    pub fn bfloat16(self) -> Self {
        Self { kind: Kind::BFloat16, ..self }
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
        let moved = |place: &&Place| !self.stacks[place.stack].settings.geometry.is_frozen();
        let moved: Vec<_> = self.places.iter().filter(moved).collect();
        let starts = moved.iter().map(|place| {
            let Stack { shape, settings: Settings { geometry, .. }, .. } = self.stacks[place.stack];
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
            for array in [Some(&stack.model), stack.x.as_ref(), stack.start.as_ref()].into_iter().flatten() {
                array.f_select(0, *index)?.f_copy_(&x)?;
            }
            Ok(())
        })?;
        for stack in &mut self.stacks {
            for array in [Some(&mut stack.m), stack.before.as_mut()].into_iter().flatten() {
                let _ = array.f_zero_()?;
            }
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
    pub fn x(&self) -> Result<Vec<(String, Tensor)>> {
        let _guard = no_grad_guard();
        self.adopt()?;
        let mut all: Vec<(String, Tensor)> = Vec::new();
        for place in &self.places {
            let x = place.of(self.stacks[place.stack].x())?;
            match &place.rows {
                None => all.push((place.name.clone(), x.copy())),
                Some(rows) => {
                    if rows.first_part {
                        all.push((rows.parameter.clone(), place.tensor.f_empty_like()?));
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
        for gradient in self.stacks.iter_mut().filter_map(|stack| stack.gradient.as_mut()) {
            let _ = gradient.zero_();
        }
        self.samples = 0;
    }

    /// Computes the gradient of `loss`, the mean over a batch at Y, and takes a step with it.
    ///
    /// # Errors
    /// Same as [`TransportedScion::step`]; also if the loss has no gradient. No weight has changed then.
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.zero_grad();
        loss.f_backward()?;
        self.step()
    }

    /// Computes the gradient of `loss`, the mean over `samples` samples at Y, as one part of the next step's gradient.
    ///
    /// The step's gradient is the mean over the samples of all parts. Each sample counts equally, no matter how the
    /// batch was divided. Use this for every part of a step, and do not mix it with gradients that were computed in
    /// other ways.
    ///
    /// # Errors
    /// Returns an error if the part has no samples or the loss has no gradient.
    pub fn accumulate(&mut self, loss: &Tensor, samples: usize) -> Result<()> {
        accumulate(loss, samples, &mut self.samples)
    }

    /// Takes one step with the gradients that the model's tensors hold. Gradients are kept, unless they were
    /// [accumulated](TransportedScion::accumulate).
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
        check(&self.rule)?;
        self.watch.check()?;
        let _guard = no_grad_guard();
        self.adopt()?;
        self.lay_out()?;
        let new = self.gather_gradients()?;
        if self.arithmetic == Arithmetic::Exact {
            self.check(&new)?;
        }
        let t = self.steps + 1;
        for (stack, new) in self.stacks.iter_mut().zip(&new) {
            if self.samples > 0
                && let Some(gradient) = &mut stack.gradient
            {
                let _ = gradient.f_div_scalar_(self.samples as f64)?;
            }
            if !stack.settings.geometry.is_frozen() && new.contains(&true) {
                match self.arithmetic {
                    Arithmetic::Fast => stack.step_fast(&self.rule, t, self.kind, new)?,
                    Arithmetic::Exact => stack.step_exact(&self.rule, t, new)?,
                }
            }
        }
        for place in &mut self.places {
            place.offered += u64::from(new[place.stack][place.index as usize]);
        }
        if self.samples > 0 {
            self.zero_gradients();
            self.samples = 0;
        }
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
        let _guard = no_grad_guard();
        self.adopt()?;
        let mut at_x = AtX { optimizer: self, model: Vec::new() };
        for stack in &self.stacks {
            let mut model = stack.model.shallow_clone();
            at_x.model.push((model.shallow_clone(), model.copy()));
            if let Some(x) = &stack.x {
                model.f_copy_(x)?;
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
        let moved = self.places.iter().filter(|place| !self.stacks[place.stack].settings.geometry.is_frozen());
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

impl Place {
    /// Notes that the gradient as it is now is no longer new.
    fn use_gradient(&self) {
        let gradient = self.tensor.grad();
        // Every gradient that is defined has a version of 0 or more.
        self.used.set(if gradient.defined() { gradient.internal_version() } else { -1 });
    }

    /// Returns the indices of its matrices in the stack.
    fn matrices(&self) -> Range<usize> {
        self.index as usize..(self.index + self.count) as usize
    }

    /// Returns its matrices in a stack, with the size that the model uses.
    fn of(&self, stack: &Tensor) -> Result<Tensor> {
        let matrices = stack.f_narrow(0, self.index, self.count)?;
        match &self.rows {
            None => Ok(matrices.f_view(&self.size[..])?),
            Some(rows) => Ok(matrices.f_view(&rows.size(&self.size)[..])?),
        }
    }

    /// Returns what it has of a tensor with the size of the model's.
    fn own(&self, tensor: &Tensor) -> Result<Tensor> {
        self.rows.as_ref().map_or_else(|| Ok(tensor.shallow_clone()), |rows| rows.of(tensor))
    }

    /// Returns the number of its elements.
    fn numbers(&self, stacks: &[Stack]) -> usize {
        let (m, n) = stacks[self.stack].shape;
        self.count as usize * m * n
    }

    /// Returns whether `tensor` lies in this parameter's memory in `stack`.
    fn is_in(&self, stack: &Tensor, tensor: &Tensor) -> bool {
        let bytes = stack.numel() / stack.size()[0] as usize * size_of::<f32>();
        tensor.defined() && tensor.data_ptr() as usize == stack.data_ptr() as usize + self.index as usize * bytes
    }
}

impl Stack {
    /// Returns X.
    fn x(&self) -> &Tensor {
        self.x.as_ref().unwrap_or(&self.model)
    }

    /// Takes step t, with spectral directions from products in `kind`. Parameters whose gradient is not new or not
    /// finite stay unchanged.
    fn step_fast(&mut self, rule: &Rule, t: u64, kind: Kind, new: &[bool]) -> Result<()> {
        let Some(gradient) = &self.gradient else { return Ok(()) };
        let mut admitted = largest(gradient, &[-2, -1]).f_lt(LARGEST_GRADIENT)?;
        if new.contains(&false) {
            let new = Tensor::f_from_slice(new)?.f_view([-1, 1, 1])?.f_to_device(admitted.device())?;
            admitted = admitted.f_logical_and(&new)?;
        }
        let _ = self.admitted.f_add_(&admitted)?;
        // On a CPU the check costs no wait. If all gradients are admitted, the step writes in place.
        let all = !admitted.device().is_cuda() && bool::try_from(admitted.f_all()?)?;
        let of = |tensor: &Tensor| match tensor.shallow_clone() {
            tensor if all => Fast::from(tensor),
            tensor => Fast::masked(tensor, &admitted),
        };
        let kind = if self.settings.geometry.norm.is_spectral() { kind } else { Kind::Float };
        let before = self.alignment.clone();
        self.step(rule, t, of, || Fast::scratch(kind));
        self.keep_alignment(&before, &admitted)
    }

    /// Takes step t in core's order of evaluation. Parameters whose gradient is not new stay unchanged.
    fn step_exact(&mut self, rule: &Rule, t: u64, new: &[bool]) -> Result<()> {
        if !new.contains(&false) {
            self.step_whole(rule, t);
            return Ok(());
        }
        let new = Tensor::f_from_slice(new)?.f_to_device(self.m.device())?;
        let members = new.f_nonzero()?.f_flatten(0, -1)?;
        let part = |tensor: &Tensor| tensor.f_index_select(0, &members);
        let some = |tensor: &Option<Tensor>| tensor.as_ref().map(part).transpose();
        let mean = self.alignment.mean.as_ref().map(|mean| part(mean.tensor())).transpose()?;
        let mut stack = Self {
            model: part(&self.model)?,
            x: some(&self.x)?,
            m: part(&self.m)?,
            before: some(&self.before)?,
            start: some(&self.start)?,
            gradient: some(&self.gradient)?,
            alignment: Alignment { mean: mean.map(Operand::from), weight: self.alignment.weight },
            admitted: part(&self.admitted)?,
            ..*self
        };
        stack.step_whole(rule, t);
        let arrays = [
            (Some(&mut self.model), Some(&stack.model)),
            (self.x.as_mut(), stack.x.as_ref()),
            (Some(&mut self.m), Some(&stack.m)),
            (self.before.as_mut(), stack.before.as_ref()),
        ];
        for (whole, part) in arrays {
            if let (Some(whole), Some(part)) = (whole, part) {
                let _ = whole.f_index_copy_(0, &members, part)?;
            }
        }
        let before = self.alignment.clone();
        if let Some(mean) = &stack.alignment.mean {
            let size = [&[self.m.size()[0]], &mean.tensor().size()[1..]].concat();
            let whole = Tensor::f_zeros(&size[..], (Kind::Float, self.m.device()))?;
            let whole = whole.f_index_copy(0, &members, mean.tensor())?;
            self.alignment = Alignment { mean: Some(whole.into()), weight: stack.alignment.weight };
        }
        self.keep_alignment(&before, &new.f_view([-1, 1, 1])?)
    }

    /// Takes step t of all parameters in core's order of evaluation.
    fn step_whole(&mut self, rule: &Rule, t: u64) {
        let like = self.m.shallow_clone();
        self.step(rule, t, |tensor| Exact(tensor.shallow_clone()), || Exact(like.empty_like()));
    }

    /// Lets parameters that a step left unchanged keep what the alignment law knew of them `before`.
    fn keep_alignment(&mut self, before: &Alignment<Operand>, moved: &Tensor) -> Result<()> {
        if let Some(mean) = &self.alignment.mean {
            // Such a parameter keeps the ratio of its sums, so its mean is scaled with the weight.
            let ratio = self.alignment.weight / before.weight;
            let zeros = || mean.tensor().zeros_like();
            let kept = before.mean.as_ref().map_or_else(zeros, |mean| (mean.clone() * ratio).tensor().shallow_clone());
            self.alignment.mean = Some(mean.tensor().f_where_self(moved, &kept)?.into());
        }
        Ok(())
    }

    /// Takes step t of X, M and Y in place. `of` wraps an array as a matrix, `scratch` creates a matrix for temporary
    /// results.
    fn step<M>(&mut self, rule: &Rule, t: u64, of: impl Fn(&Tensor) -> M, scratch: impl Fn() -> M)
    where
        M: Matrix<Element = Operand, Square: From<Tensor>, Start = Tensor>,
    {
        let Settings { geometry, step_factor } = self.settings;
        let rule = &Rule { step_size: rule.step_size * step_factor, ..*rule };
        let y = match (&self.before, &self.x) {
            (Some(before), _) => of(before),
            (None, Some(_)) => of(&self.model),
            // The query point is X, so its result is not needed.
            (None, None) => scratch(),
        };
        let mut state = Scion { x: of(self.x()), y, m: of(&self.m) };
        if let Some(gradient) = &self.gradient {
            state.accumulate(rule.keep(t), rule.weight(t, 1), &of(gradient));
        }
        let [mut first, mut second, mut third] = [Tensor::new(), Tensor::new(), Tensor::new()].map(M::Square::from);
        let squares = [&mut first, &mut second, &mut third];
        let mut work = Workspace { direction: &mut scratch(), squares };
        state.advance(geometry, rule, t, self.start.as_ref(), &mut self.alignment, &mut work);
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

/// Adds a part's gradients to the sum held by the model's tensors, and its samples to `all`.
fn accumulate(loss: &Tensor, samples: usize, all: &mut usize) -> Result<()> {
    if samples == 0 {
        let what = "a part of a batch must have at least one sample".into();
        return Err(Error::Parameter { name: "the loss".into(), what });
    }
    (loss * samples as f64).f_backward()?;
    *all += samples;
    Ok(())
}

/// Copies tensors of one or more matrices into one stack with its own memory, shape [s, m, n].
fn stacked((m, n): (usize, usize), tensors: Vec<Tensor>) -> Result<Tensor> {
    let _guard = no_grad_guard();
    let matrices = |tensor: Tensor| tensor.f_reshape([-1, m as i64, n as i64]);
    let matrices = tensors.into_iter().map(matrices).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Tensor::f_cat(&matrices, 0)?)
}

/// Checks the rule of a step, whose step size may be 0: a schedule may end there.
fn check(rule: &Rule) -> Result<()> {
    let step_size = if rule.step_size == 0.0 { f32::MIN_POSITIVE } else { rule.step_size };
    Ok(Rule { step_size, ..*rule }.check()?)
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
