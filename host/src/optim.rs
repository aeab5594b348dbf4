//! Transported Scion (Zhang and Lin 2026, arXiv 2605.18528) for one's own tch model.
//!
//! ```no_run
//! # use graftage::{optim::TransportedScion, tensor::Arithmetic};
//! # use graftage_core::scion::Rule;
//! # use tch::{Device, Tensor, nn::{self, Module}};
//! # let (input, target) = (Tensor::zeros([8, 4], tch::kind::FLOAT_CPU), Tensor::zeros([8], tch::kind::INT64_CPU));
//! let store = nn::VarStore::new(Device::cuda_if_available());
//! let model = nn::linear(store.root(), 4, 3, Default::default());
//! let mut optimizer = TransportedScion::new(&store, Rule::default(), Arithmetic::Fast)?;
//! for _ in 0..100 {
//!     optimizer.backward_step(&model.forward(&input).cross_entropy_for_logits(&target))?;
//! }
//! let accuracy = optimizer.evaluate(|| model.forward(&input).accuracy_for_logits(&target))?;
//! # Ok::<(), graftage::error::Error>(())
//! ```
//!
//! Each parameter is stepped in the geometry that its [group](groups::Groups) says; [`TransportedScion::table`] shows all of
//! them. A batch that does not fit into memory is taken [part by part](TransportedScion::accumulate).
//!
//! While it trains, the model holds Y, where gradients are taken; the optimizer holds X and M. What is evaluated, reported
//! or saved is X: [`TransportedScion::evaluate`] and [`TransportedScion::x`]. The equations are in
//! [`graftage_core::scion`], and so is the step itself: here it runs on tensors, parameters of one shape and geometry as
//! one stack.

pub mod groups;
pub mod method;
mod state;

use crate::data::Stream;
use crate::tensor::{Arithmetic, Exact, Fast, Operand};
use graftage_core::error::Refusal;
use graftage_core::matrix::{Matrix, RowMajor, Slab};
use graftage_core::norm::{Workspace, workspace};
use graftage_core::scion::{Point, Rule, Scion};
use graftage_core::transport::{Alignment, Transport};
use groups::Settings;
pub use groups::{Group, Groups, Parameter};
use std::collections::HashMap;
use tch::{Kind, TchError, Tensor, nn, no_grad_guard};

/// Why the optimizer was not made, or a step not taken; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter that the optimizer cannot take.
    #[error("parameter {name}: {what}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A group that fits no parameter.
    #[error("the group {pattern:?} fits no parameter; there are {}", .names.join(", "))]
    Group {
        /// Its pattern.
        pattern: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// A gradient has a NaN or an infinity.
    #[error("the gradient of parameter {name} is not finite")]
    NotFinite {
        /// The first such parameter.
        name: String,
    },
    /// A constant of the rule is outside its range.
    #[error("{0}")]
    Rule(#[from] Refusal),
    /// libtorch fails.
    #[error("libtorch: {}", .0.to_string().lines().next().unwrap_or_default())]
    Torch(#[from] TchError),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Rule(refusal) => Self::Refused(refusal),
            Error::Torch(error) => Self::Torch(error),
            Error::Parameter { .. } | Error::Group { .. } | Error::NotFinite { .. } => Self::Usage(error.to_string()),
        }
    }
}

/// What this module returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A model's tensor and its place in a stack.
#[derive(Debug)]
struct Place {
    name: String,
    /// The model's own: it holds Y.
    tensor: Tensor,
    size: Vec<i64>,
    stack: usize,
    index: i64,
}

/// Parameters of one shape (m, n), one geometry and one step size.
#[derive(Debug)]
struct Stack {
    shape: (usize, usize),
    settings: Settings,
    /// X and M, of [s, m, n] for s parameters; Y is in the model.
    x: Tensor,
    m: Tensor,
    /// Under Nesterov's law, where the model holds X: M before the last step.
    before: Option<Tensor>,
    alignment: Alignment<Operand>,
    /// Of each parameter, steps that a gradient that was not finite made none: [s], where the weights are.
    refused: Tensor,
}

/// The optimizer of one model.
#[derive(Debug)]
pub struct TransportedScion {
    /// The constants of the rule; they may change between steps, as the step size of a schedule does.
    pub rule: Rule,
    arithmetic: Arithmetic,
    /// Of spectral directions under [`Arithmetic::Fast`].
    kind: Kind,
    places: Vec<Place>,
    stacks: Vec<Stack>,
    steps: u64,
    /// Samples whose gradients the model's tensors hold as a sum; 0 where they hold a mean.
    samples: usize,
}

/// The trainable parameters of a store, in the order in which they were made.
pub fn named(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let names: HashMap<_, _> = store.variables().into_iter().map(|(name, tensor)| (tensor.data_ptr(), name)).collect();
    let trainable = store.trainable_variables().into_iter().filter(Tensor::requires_grad).enumerate();
    trainable
        .map(|(index, tensor)| (names.get(&tensor.data_ptr()).cloned().unwrap_or_else(|| index.to_string()), tensor))
        .collect()
}

impl TransportedScion {
    /// For all trainable parameters of a store, each with what is [usual](Parameter::usual) for it; X is what they hold.
    ///
    /// A rule with `constrained` keeps X in the ball of each geometry only if X starts there, see
    /// [`TransportedScion::initialise`].
    ///
    /// # Errors
    /// Where a constant of the rule is outside its range; where a parameter has no elements or is not of kind Float.
    pub fn new(store: &nn::VarStore, rule: Rule, arithmetic: Arithmetic) -> Result<Self> {
        Self::with_groups(named(store), rule, arithmetic, &Groups::automatic())
    }

    /// For these parameters in these groups.
    ///
    /// # Errors
    /// As [`TransportedScion::new`]; where a group fits no parameter, no group fits one, or a radius or the factor of a step
    /// size is outside its range.
    pub fn with_groups(
        parameters: impl IntoIterator<Item = (String, Tensor)>,
        rule: Rule,
        arithmetic: Arithmetic,
        groups: &Groups,
    ) -> Result<Self> {
        rule.check()?;
        let parameters: Vec<_> = parameters.into_iter().collect();
        groups.check(parameters.iter().map(|(name, _)| name.as_str()))?;
        let head = parameters.iter().rposition(|(_, tensor)| tensor.dim() >= 2);
        let mut places = Vec::new();
        let mut stacks: Vec<((usize, usize), Settings, Vec<Tensor>)> = Vec::new();
        for (at, (name, tensor)) in parameters.into_iter().enumerate() {
            let size = tensor.size();
            let wrong = |what: String| Err(Error::Parameter { name: name.clone(), what });
            if tensor.kind() != Kind::Float {
                return wrong(format!("is of kind {:?}, only Float can be stepped", tensor.kind()));
            }
            if tensor.numel() == 0 {
                return wrong(format!("has no elements: {size:?}"));
            }
            let parameter = Parameter { name: &name, size: &size, last: head == Some(at) };
            let (shape, settings) = (parameter.shape(), groups.settings(&parameter)?);
            let stack = stacks.iter().position(|stack| (stack.0, stack.1) == (shape, settings)).unwrap_or(stacks.len());
            if stack == stacks.len() {
                stacks.push((shape, settings, Vec::new()));
            }
            let members = &mut stacks[stack].2;
            places.push(Place { tensor: tensor.shallow_clone(), stack, index: members.len() as i64, name, size });
            members.push(tensor);
        }
        let stack = |(shape, settings, members): (_, _, Vec<_>)| {
            let x = stacked(shape, members.into_iter())?;
            let before = if rule.transport == Transport::Nesterov { Some(x.f_zeros_like()?) } else { None };
            let refused = Tensor::f_zeros([x.size()[0]], (Kind::Int64, x.device()))?;
            Ok(Stack { shape, settings, m: x.f_zeros_like()?, x, before, alignment: Alignment::START, refused })
        };
        let stacks = stacks.into_iter().map(stack).collect::<Result<_>>()?;
        Ok(Self { rule, arithmetic, kind: Kind::Float, places, stacks, steps: 0, samples: 0 })
    }

    /// A line for each parameter: its name and size, the matrix as which it is stepped, norm, radius and factor of its step
    /// size, and its stack, which is moved by the same calls of libtorch.
    pub fn table(&self) -> String {
        let wide = self.places.iter().map(|place| place.name.len()).max().unwrap_or(0).max("parameter".len());
        let mut table = format!(
            "{:<wide$}  {:<16} {:>11}  {:<24} {:>6} {:>6} {:>5}\n",
            "parameter", "size", "matrix", "norm", "radius", "step", "stack"
        );
        for place in &self.places {
            let Stack { shape: (m, n), settings: Settings { geometry, step }, .. } = self.stacks[place.stack];
            let norm = if geometry.is_frozen() { "frozen".to_owned() } else { format!("{:?}", geometry.norm) };
            let (size, matrix) = (format!("{:?}", place.size), format!("{m}×{n}"));
            table += &format!(
                "{:<wide$}  {size:<16} {matrix:>11}  {norm:<24} {:>6} {step:>6} {:>5}\n",
                place.name, geometry.radius, place.stack
            );
        }
        table
    }

    /// Bytes that it keeps between steps beside the model's own weights and gradients: X and M, 8 for each parameter, and 4
    /// more under Nesterov's law, whose last momentum it keeps.
    pub fn bytes(&self) -> usize {
        let of = |tensor: &Tensor| tensor.numel() * size_of::<f32>();
        self.stacks.iter().map(|stack| of(&stack.x) + of(&stack.m) + stack.before.as_ref().map_or(0, of)).sum()
    }

    /// Computes spectral directions in bfloat16 under [`Arithmetic::Fast`], for large matrices on a GPU.
    ///
    /// A direction is then right to about two digits; of a momentum below 1e-38 it is not.
    pub fn bfloat16(self) -> Self {
        Self { kind: Kind::BFloat16, ..self }
    }

    /// Starts anew from random weights inside each ball, by [`Scion::initialise`] with [`Stream::Weights`]: parameter by
    /// parameter, and the same bits on every machine. Biases start at 0 and gains at 1; frozen parameters keep what they hold.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn initialise(&mut self, seed: u64) -> Result<()> {
        let _guard = no_grad_guard();
        let mut generator = Stream::Weights.generator(seed);
        for place in &mut self.places {
            let stack = &mut self.stacks[place.stack];
            if stack.settings.geometry.is_frozen() {
                continue;
            }
            let (m, n) = stack.shape;
            let zeros = || Slab::new(m, n, vec![0.0; m * n]);
            // The memory is as long as the slab.
            let (Some(x), Some(y), Some(momentum)) = (zeros(), zeros(), zeros()) else { continue };
            let mut state = Scion { x, y, m: momentum };
            let role = Parameter { name: &place.name, size: &place.size, last: false }.role();
            state.initialise(stack.settings.geometry, role, &mut generator, &mut vec![0.0; workspace(m, n)]);
            let x = Tensor::f_from_slice(state.x.elements())?.f_view([m as i64, n as i64])?;
            stack.x.f_select(0, place.index)?.f_copy_(&x)?;
            place.tensor.f_copy_(&x.f_view(&place.size[..])?)?;
        }
        for stack in &mut self.stacks {
            let _ = stack.m.f_zero_()?;
            stack.alignment = Alignment::START;
            let _ = stack.refused.f_zero_()?;
        }
        self.steps = 0;
        Ok(())
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The names of the parameters, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| place.name.as_str())
    }

    /// The weights X as (name, tensor), in the order of the parameters: copies of the sizes that the model has.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn x(&self) -> Result<Vec<(String, Tensor)>> {
        let copy = |place: &Place| Ok((place.name.clone(), place.of(&self.stacks[place.stack].x)?.copy()));
        self.places.iter().map(copy).collect()
    }

    /// Forgets the gradients that the model's tensors hold.
    pub fn zero_grad(&mut self) {
        self.places.iter_mut().for_each(|place| place.tensor.zero_grad());
        self.samples = 0;
    }

    /// Takes the gradient of a loss, which is the mean over a batch at Y, and a step with it.
    ///
    /// # Errors
    /// As [`TransportedScion::step`], and where the loss has no gradient. No weight has changed then.
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.zero_grad();
        loss.f_backward()?;
        self.step()
    }

    /// Takes the gradient of a loss, which is the mean over so many samples at Y, as a part of the coming step's: that step's
    /// gradient is the mean over the samples of all its parts, each counted alike, however they were parted.
    ///
    /// To be used for every part of a step, and not together with gradients that were taken otherwise.
    ///
    /// # Errors
    /// Where the part has no samples, or the loss has no gradient.
    pub fn accumulate(&mut self, loss: &Tensor, samples: usize) -> Result<()> {
        if samples == 0 {
            let what = "a part of a batch has at least one sample".into();
            return Err(Error::Parameter { name: "the loss".into(), what });
        }
        (loss * samples as f64).f_backward()?;
        self.samples += samples;
        Ok(())
    }

    /// One step with the gradients that the model's tensors hold, of which it forgets none but those that were
    /// [accumulated](TransportedScion::accumulate); a tensor without one has a gradient of 0.
    ///
    /// M ← β_t M + (1 − β_t) G, then [`Scion::advance`]; the model's tensors become the coming step's Y in place.
    ///
    /// Under [`Arithmetic::Fast`] nothing here waits for a GPU: where a parameter's gradient is not finite, a mask on the
    /// device leaves that parameter as it is, all others are moved, and [`TransportedScion::refused`] tells.
    ///
    /// # Errors
    /// Where a constant of the rule is outside its range, or under [`Arithmetic::Exact`] a gradient is not finite: nothing
    /// has changed then.
    pub fn step(&mut self) -> Result<()> {
        self.rule.check()?;
        let _guard = no_grad_guard();
        let gradients = self.gradients()?;
        if self.arithmetic == Arithmetic::Exact {
            self.check(&gradients)?;
        }
        if self.samples > 0 {
            self.zero_grad();
        }
        let t = self.steps + 1;
        let members = |stack: usize| self.places.iter().filter(move |place| place.stack == stack);
        let mut queries = Vec::new();
        for (index, (stack, gradient)) in self.stacks.iter_mut().zip(gradients).enumerate() {
            let y = match &stack.before {
                Some(before) => before.shallow_clone(),
                None => stacked(stack.shape, members(index).map(|place| place.tensor.shallow_clone()))?,
            };
            match self.arithmetic {
                Arithmetic::Fast => stack.masked_step(&self.rule, t, &y, gradient, self.kind)?,
                Arithmetic::Exact => stack.step::<Exact>(&self.rule, t, &y, gradient, Kind::Float),
            }
            queries.push(if self.rule.point() == Point::Query { y } else { stack.x.shallow_clone() });
        }
        self.steps = t;
        for place in &mut self.places {
            place.tensor.f_copy_(&place.of(&queries[place.stack])?)?;
        }
        Ok(())
    }

    /// Runs `f` while the model holds X, and puts Y back whatever `f` does. Gradients are not tracked meanwhile.
    ///
    /// # Errors
    /// Where libtorch fails, before `f` has run.
    pub fn evaluate<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        let _guard = no_grad_guard();
        let mut at_x = AtX { model: Vec::new() };
        for place in &self.places {
            let x = place.of(&self.stacks[place.stack].x)?;
            let mut tensor = place.tensor.shallow_clone();
            at_x.model.push((tensor.shallow_clone(), tensor.copy()));
            tensor.f_copy_(&x)?;
        }
        Ok(f())
    }

    /// The parameters with a gradient that was not finite since they were made, [initialised](Self::initialise) or asked for
    /// here, and in how many steps. It waits until the device has computed all steps.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn refused(&mut self) -> Result<Vec<(String, u64)>> {
        let counts = self.stacks.iter().map(|stack| Ok(Vec::<i64>::try_from(&stack.refused)?));
        let counts = counts.collect::<Result<Vec<_>>>()?;
        for stack in &mut self.stacks {
            let _ = stack.refused.f_zero_()?;
        }
        let of = |place: &Place| (place.name.clone(), counts[place.stack][place.index as usize] as u64);
        Ok(self.places.iter().map(of).filter(|(_, count)| *count > 0).collect())
    }

    /// The gradients of each stack.
    fn gradients(&self) -> Result<Vec<Tensor>> {
        let gradient = |place: &Place| {
            let gradient = place.tensor.f_grad()?;
            if gradient.defined() { Ok(gradient) } else { place.tensor.f_zeros_like() }
        };
        let of_stack = |(index, stack): (usize, &Stack)| {
            let members = self.places.iter().filter(|place| place.stack == index);
            stacked(stack.shape, members.map(gradient).collect::<std::result::Result<Vec<_>, _>>()?.into_iter())
        };
        let sums = self.stacks.iter().enumerate().map(of_stack);
        if self.samples == 0 {
            return sums.collect();
        }
        sums.map(|sum| Ok(sum?.f_div_scalar_(self.samples as f64)?)).collect()
    }

    /// Says which gradient is not finite; one look at all of them together where none is.
    fn check(&self, gradients: &[Tensor]) -> Result<()> {
        // For each stack and then each parameter of it, whether all of its gradient is finite.
        let finite = |gradient: &Tensor| gradient.f_isfinite()?.f_flatten(1, -1)?.f_all_dim(1, false);
        let finite = gradients.iter().map(finite).collect::<std::result::Result<Vec<_>, _>>()?;
        if finite.is_empty() || bool::try_from(Tensor::f_cat(&finite, 0)?.f_all()?)? {
            return Ok(());
        }
        for place in &self.places {
            if !bool::try_from(finite[place.stack].f_select(0, place.index)?)? {
                return Err(Error::NotFinite { name: place.name.clone() });
            }
        }
        Ok(())
    }
}

impl Place {
    /// This parameter of a stack, in the size that the model has.
    fn of(&self, stack: &Tensor) -> Result<Tensor> {
        Ok(stack.f_select(0, self.index)?.f_view(&self.size[..])?)
    }
}

impl Stack {
    /// [`Stack::step`], but each parameter whose gradient is not finite stays as it is. X, M and Y of this stack are there
    /// twice meanwhile.
    fn masked_step(&mut self, rule: &Rule, t: u64, y: &Tensor, mut gradient: Tensor, kind: Kind) -> Result<()> {
        let bad = gradient.f_isfinite()?.f_flatten(1, -1)?.f_all_dim(1, false)?.f_logical_not()?;
        let _ = self.refused.f_add_(&bad)?;
        let bad = bad.f_view([-1, 1, 1])?;
        // What is thrown away below shall not be NaN in what a stack shares.
        let _ = gradient.f_masked_fill_(&bad, 0.0)?;
        let mut arrays = [&self.x, &self.m, y].map(Tensor::shallow_clone);
        let before = arrays.each_ref().map(Tensor::copy);
        self.step::<Fast>(rule, t, y, gradient, kind);
        for (array, before) in arrays.iter_mut().zip(before) {
            let kept = before.f_where_self(&bad, array)?;
            array.f_copy_(&kept)?;
        }
        Ok(())
    }

    /// Step t of X, M and Y in place, a spectral direction in numbers of `kind`.
    fn step<M>(&mut self, rule: &Rule, t: u64, y: &Tensor, gradient: Tensor, kind: Kind)
    where
        M: Matrix<Square = M, Element = Operand> + From<Tensor>,
    {
        let Settings { geometry, step } = self.settings;
        let rule = &Rule { step: rule.step * step, ..*rule };
        let kind = if geometry.norm.is_spectral() { kind } else { Kind::Float };
        let of = |tensor: &Tensor| M::from(tensor.shallow_clone());
        let mut state = Scion { x: of(&self.x), y: of(y), m: of(&self.m) };
        state.accumulate(rule.keep(t), rule.weight(t, 1), &M::from(gradient));
        let mut direction = M::from(y.to_kind(kind).empty_like());
        let [mut first, mut second, mut third] = [of(y), of(y), of(y)];
        let mut work = Workspace { direction: &mut direction, squares: [&mut first, &mut second, &mut third] };
        state.advance(geometry, rule, t, &mut self.alignment, &mut work);
    }
}

/// The model while it holds X; puts Y back when it is dropped.
struct AtX {
    /// The model's tensors, and Y.
    model: Vec<(Tensor, Tensor)>,
}

impl Drop for AtX {
    fn drop(&mut self) {
        let _guard = no_grad_guard();
        for (tensor, y) in &mut self.model {
            // Between tensors of one size on one device; a second panic would end the process.
            let _ = tensor.f_copy_(y);
        }
    }
}

/// Tensors as one stack [s, m, n] of its own memory.
fn stacked((m, n): (usize, usize), tensors: impl Iterator<Item = Tensor>) -> Result<Tensor> {
    let _guard = no_grad_guard();
    let matrix = |tensor: Tensor| tensor.f_reshape([m as i64, n as i64]);
    let matrices = tensors.map(matrix).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Tensor::f_stack(&matrices, 0)?)
}
