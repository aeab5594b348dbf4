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
//! While it trains, the model holds Y, where gradients are taken; the optimizer holds X and M. What is evaluated, reported
//! or saved is X: [`TransportedScion::evaluate`] and [`TransportedScion::x`]. The equations are in
//! [`graftage_core::scion`], and so is the step itself: here it runs on tensors, parameters of one shape and geometry as
//! one stack.

use crate::data::Stream;
use crate::tensor::{Arithmetic, Exact, Fast, Operand};
use graftage_core::error::Refusal;
use graftage_core::matrix::{Matrix, RowMajor, Slab};
use graftage_core::norm::{Workspace, workspace};
use graftage_core::scion::{Geometry, Point, Role, Rule, Scion};
use graftage_core::transport::{Alignment, Transport};
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
            Error::Parameter { .. } | Error::NotFinite { .. } => Self::Usage(error.to_string()),
        }
    }
}

/// What this module returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A parameter whose geometry is to be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter<'a> {
    /// Its name, e.g. `layers.0.weight`.
    pub name: &'a str,
    /// The size of its tensor.
    pub size: &'a [i64],
    /// Whether it is the last parameter with two dimensions or more: the head.
    pub last: bool,
}

impl Parameter<'_> {
    /// The matrix as which it is stepped: a vector is one row; of more than two dimensions all but the first are columns.
    pub fn shape(&self) -> (usize, usize) {
        match *self.size {
            [] => (1, 1),
            [n] => (1, n as usize),
            [m, ref rest @ ..] => (m as usize, rest.iter().product::<i64>() as usize),
        }
    }

    /// What it is for, by its shape.
    fn role(&self) -> Role {
        if self.shape().0 == 1 { Role::Bias } else { Role::Weights }
    }

    /// [`Geometry::usual`]: of a vector RMS with radius 1, of the head sign with radius 10, else spectral with radius 3.
    pub fn usual(&self) -> Geometry {
        Geometry::usual(self.role(), self.last)
    }
}

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

/// Parameters of one shape (m, n) and one geometry.
#[derive(Debug)]
struct Stack {
    shape: (usize, usize),
    geometry: Geometry,
    /// X and M, of [s, m, n] for s parameters; Y is in the model.
    x: Tensor,
    m: Tensor,
    /// Under Nesterov's law, where the model holds X: M before the last step.
    before: Option<Tensor>,
    alignment: Alignment<Operand>,
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
}

/// The arrays of [`TransportedScion::state`], in the order of `TransportedScion::arrays`.
const ARRAYS: [&str; 3] = ["x", "y", "m"];

/// What the alignment law knows of each stack, in [`TransportedScion::state`].
const ALIGNMENT: &str = "alignment";

/// Steps taken, in [`TransportedScion::state`].
const STEPS: &str = "steps";

/// The trainable parameters of a store, in the order in which they were made.
pub fn named(store: &nn::VarStore) -> Vec<(String, Tensor)> {
    let names: HashMap<_, _> = store.variables().into_iter().map(|(name, tensor)| (tensor.data_ptr(), name)).collect();
    let trainable = store.trainable_variables().into_iter().filter(Tensor::requires_grad).enumerate();
    trainable
        .map(|(index, tensor)| (names.get(&tensor.data_ptr()).cloned().unwrap_or_else(|| index.to_string()), tensor))
        .collect()
}

impl TransportedScion {
    /// For all trainable parameters of a store with their [usual geometries](Parameter::usual); X is what they hold.
    ///
    /// A rule with `constrained` keeps X in the ball of each geometry only if X starts there, see
    /// [`TransportedScion::initialise`].
    ///
    /// # Errors
    /// Where a constant of the rule is outside its range; where a parameter has no elements or is not of kind Float.
    pub fn new(store: &nn::VarStore, rule: Rule, arithmetic: Arithmetic) -> Result<Self> {
        Self::with_geometry(named(store), rule, arithmetic, |parameter| parameter.usual())
    }

    /// For these parameters, with a geometry chosen for each.
    ///
    /// # Errors
    /// As [`TransportedScion::new`], and where a radius is outside its range.
    pub fn with_geometry(
        parameters: impl IntoIterator<Item = (String, Tensor)>,
        rule: Rule,
        arithmetic: Arithmetic,
        mut choose: impl FnMut(Parameter) -> Geometry,
    ) -> Result<Self> {
        rule.check()?;
        let parameters: Vec<_> = parameters.into_iter().collect();
        let head = parameters.iter().rposition(|(_, tensor)| tensor.dim() >= 2);
        let mut places = Vec::new();
        let mut groups: Vec<((usize, usize), Geometry, Vec<Tensor>)> = Vec::new();
        for (at, (name, tensor)) in parameters.into_iter().enumerate() {
            let size = tensor.size();
            let parameter = Parameter { name: &name, size: &size, last: head == Some(at) };
            let wrong = |what: String| Err(Error::Parameter { name: name.clone(), what });
            let (shape, geometry) = (parameter.shape(), choose(parameter));
            if tensor.kind() != Kind::Float {
                return wrong(format!("is of kind {:?}, only Float can be stepped", tensor.kind()));
            }
            if tensor.numel() == 0 {
                return wrong(format!("has no elements: {size:?}"));
            }
            if let Err(refusal) = geometry.check() {
                return wrong(refusal.to_string());
            }
            let stack = groups.iter().position(|group| (group.0, group.1) == (shape, geometry)).unwrap_or(groups.len());
            if stack == groups.len() {
                groups.push((shape, geometry, Vec::new()));
            }
            let members = &mut groups[stack].2;
            places.push(Place { tensor: tensor.shallow_clone(), stack, index: members.len() as i64, name, size });
            members.push(tensor);
        }
        let stack = |(shape, geometry, members): (_, _, Vec<_>)| {
            let x = stacked(shape, members.into_iter())?;
            let before = if rule.transport == Transport::Nesterov { Some(x.f_zeros_like()?) } else { None };
            Ok(Stack { shape, geometry, m: x.f_zeros_like()?, x, before, alignment: Alignment::START })
        };
        let stacks = groups.into_iter().map(stack).collect::<Result<_>>()?;
        Ok(Self { rule, arithmetic, kind: Kind::Float, places, stacks, steps: 0 })
    }

    /// Computes spectral directions in bfloat16 under [`Arithmetic::Fast`], for large matrices on a GPU.
    ///
    /// A direction is then right to about two digits; of a momentum below 1e-38 it is not.
    pub fn bfloat16(self) -> Self {
        Self { kind: Kind::BFloat16, ..self }
    }

    /// Starts anew from random weights inside each ball, by [`Scion::initialise`] with [`Stream::Weights`]: parameter by
    /// parameter, and the same bits on every machine.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn initialise(&mut self, seed: u64) -> Result<()> {
        let _guard = no_grad_guard();
        let mut generator = Stream::Weights.generator(seed);
        for place in &mut self.places {
            let stack = &mut self.stacks[place.stack];
            let (m, n) = stack.shape;
            let zeros = || Slab::new(m, n, vec![0.0; m * n]);
            // The memory is as long as the slab.
            let (Some(x), Some(y), Some(momentum)) = (zeros(), zeros(), zeros()) else { continue };
            let mut state = Scion { x, y, m: momentum };
            let role = if m == 1 { Role::Bias } else { Role::Weights };
            state.initialise(stack.geometry, role, &mut generator, &mut vec![0.0; workspace(m, n)]);
            let x = Tensor::f_from_slice(state.x.elements())?.f_view([m as i64, n as i64])?;
            stack.x.f_select(0, place.index)?.f_copy_(&x)?;
            place.tensor.f_copy_(&x.f_view(&place.size[..])?)?;
        }
        for stack in &mut self.stacks {
            let _ = stack.m.f_zero_()?;
            stack.alignment = Alignment::START;
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

    /// All that a later run goes on from: X, Y and M of each parameter as `NAME.x`, `NAME.y` and `NAME.m`, and `steps`.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = vec![(STEPS.to_owned(), Tensor::from(self.steps as i64))];
        for place in &self.places {
            for (array, tensor) in ARRAYS.iter().zip(self.arrays(place)?) {
                state.push((format!("{}.{array}", place.name), tensor.detach().copy()));
            }
        }
        for (index, stack) in self.stacks.iter().enumerate() {
            if let Some(mean) = &stack.alignment.mean {
                state.push((format!("{ALIGNMENT}.{index}.mean"), mean.tensor().copy()));
                state.push((format!("{ALIGNMENT}.{index}.weight"), Tensor::from(stack.alignment.weight)));
            }
        }
        Ok(state)
    }

    /// Takes up a state that [`TransportedScion::state`] gave of such a model: the next step is as if there had been no
    /// pause. The rule is the optimizer's own.
    ///
    /// # Errors
    /// Where a tensor is missing or has another size: nothing has changed then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let wrong = |name: &str, what: &str| Error::Parameter { name: name.to_owned(), what: what.to_owned() };
        let find = |name: &str| state.iter().find(|(found, _)| found == name).map(|(_, tensor)| tensor);
        let _guard = no_grad_guard();
        let steps = i64::try_from(find(STEPS).ok_or_else(|| wrong(STEPS, "is missing from the state"))?)?;
        let mut copies = Vec::new();
        for place in &self.places {
            for (array, to) in ARRAYS.iter().zip(self.arrays(place)?) {
                let name = format!("{}.{array}", place.name);
                let from = find(&name).ok_or_else(|| wrong(&name, "is missing from the state"))?;
                if from.size() != to.size() {
                    return Err(wrong(&name, "has another size in the state"));
                }
                copies.push((to, from));
            }
        }
        let mut alignments = Vec::new();
        for (index, stack) in self.stacks.iter().enumerate() {
            let found = |what: &str| find(&format!("{ALIGNMENT}.{index}.{what}"));
            alignments.push(match (found("mean"), found("weight")) {
                (Some(mean), Some(weight)) => Alignment {
                    mean: Some(Operand::from(mean.to_device(stack.x.device()))),
                    weight: f32::try_from(weight)?,
                },
                _ => Alignment::START,
            });
        }
        for (mut to, from) in copies {
            to.f_copy_(from)?;
        }
        for (stack, alignment) in self.stacks.iter_mut().zip(alignments) {
            stack.alignment = alignment;
        }
        for place in &mut self.places {
            if self.rule.point() == Point::Iterate {
                place.tensor.f_copy_(&place.of(&self.stacks[place.stack].x)?)?;
            }
        }
        self.steps = steps as u64;
        Ok(())
    }

    /// X, Y (under Nesterov's law M before the last step) and M of a parameter: not copies.
    fn arrays(&self, place: &Place) -> Result<[Tensor; 3]> {
        let stack = &self.stacks[place.stack];
        let y = match &stack.before {
            Some(before) => place.of(before)?,
            None => place.tensor.shallow_clone(),
        };
        Ok([place.of(&stack.x)?, y, place.of(&stack.m)?])
    }

    /// Forgets the gradients that the model's tensors hold.
    pub fn zero_grad(&mut self) {
        self.places.iter_mut().for_each(|place| place.tensor.zero_grad());
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

    /// One step with the gradients that the model's tensors hold; a tensor without one has a gradient of 0.
    ///
    /// M ← β_t M + (1 − β_t) G, then [`Scion::advance`]; the model's tensors become the coming step's Y in place.
    ///
    /// # Errors
    /// Where a constant of the rule is outside its range, or a gradient is not finite: nothing has changed then.
    pub fn step(&mut self) -> Result<()> {
        self.rule.check()?;
        let _guard = no_grad_guard();
        let gradients = self.gradients()?;
        self.check(&gradients)?;
        let t = self.steps + 1;
        let members = |stack: usize| self.places.iter().filter(move |place| place.stack == stack);
        let mut queries = Vec::new();
        for (index, (stack, gradient)) in self.stacks.iter_mut().zip(gradients).enumerate() {
            let y = match &stack.before {
                Some(before) => before.shallow_clone(),
                None => stacked(stack.shape, members(index).map(|place| place.tensor.shallow_clone()))?,
            };
            match self.arithmetic {
                Arithmetic::Fast => stack.step::<Fast>(&self.rule, t, &y, gradient, self.kind),
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
        self.stacks.iter().enumerate().map(of_stack).collect()
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
    /// Step t of X, M and Y in place, a spectral direction in numbers of `kind`.
    fn step<M>(&mut self, rule: &Rule, t: u64, y: &Tensor, gradient: Tensor, kind: Kind)
    where
        M: Matrix<Square = M, Element = Operand> + From<Tensor>,
    {
        let kind = if self.geometry.norm.is_spectral() { kind } else { Kind::Float };
        let of = |tensor: &Tensor| M::from(tensor.shallow_clone());
        let mut state = Scion { x: of(&self.x), y: of(y), m: of(&self.m) };
        state.accumulate(rule.keep(t), rule.weight(t, 1), &M::from(gradient));
        let mut direction = M::from(y.to_kind(kind).empty_like());
        let [mut first, mut second, mut third] = [of(y), of(y), of(y)];
        let mut work = Workspace { direction: &mut direction, squares: [&mut first, &mut second, &mut third] };
        state.advance(self.geometry, rule, t, &mut self.alignment, &mut work);
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
