//! Networks for microcontrollers: forward and backward passes and one transported step over a batch, in static memory.
//!
//! A [`Layer`] holds its parameters and works on the caller's memory. [`Chain`] puts one layer before another and is
//! itself a layer, so the type of a network reads like its architecture:
//! `chain![Dense<64, 32>, Relu<32>, Dense<32, 10>]`. [`Fixed`] has the constants that are known of such a type at
//! compile time.
//!
//! The values between layers belong to L places of C channels, stored place by place with all channels of a place side
//! by side; a vector is one place.
//!
//! | layer | module | equation |
//! |---|---|---|
//! | [`Dense`] | [`dense`] | a = b + W a' |
//! | [`Relu`], [`Tanh`], [`Clip`] | [`activation`] | element by element |
//! | [`Convolution`], [`Depthwise`] | [`convolution`] | a filter at every place |
//! | [`AveragePool`], [`MaxPool`] | [`pooling`] | mean or maximum of the places under a window |
//! | [`RmsNorm`] | [`normalisation`] | each place divided by its RMS |
//! | [`Standardise`] | [`standardisation`] | each feature standardised by constants |
//!
//! Let a₀ be the sample, a₁, …, a_L the activations, of which a_L are the outputs, w = (1 − β_t)/B, and δ the
//! derivative of w times the loss with respect to the outputs ([`loss`]). A backward pass takes δ through the layers,
//! and M ← keep·M + δ a'ᵀ. Sample by sample, M ← βM + Σᵢ δᵢ aᵢᵀ is one ordered product that continues from βM, so a
//! whole batch computed elsewhere gives the same bits. A sample is admitted only if its loss is finite, and the
//! activations are finite and max|δ| and max|δ|·max|a'| at most 2^64 in every layer that trains (divided by the number
//! of places that share its weights). So M stays finite for any B and β. β is applied with the first admitted sample of
//! a step, so a refused sample leaves no trace.
//!
//! A parameter with a radius of 0 is frozen. The backward pass ends at the first layer that trains, so adapting the
//! last layers alone needs no backward pass through the others.

pub mod activation;
pub mod convolution;
pub mod dense;
pub mod kind;
pub mod loss;
pub mod normalisation;
pub mod pooling;
pub mod shape;
pub mod standardisation;

#[cfg(feature = "micromath")]
pub use activation::MicromathTanh;
pub use activation::{Activation, Clip, Relu, Tanh};
pub use convolution::{ChannelFilters, Convolution, Depthwise, Filters};
pub use dense::{Affine, Dense};
pub use kind::{Kind, Shape};
pub use loss::{Class, Goal, Target, Weight};
pub use normalisation::{Normalisation, RmsNorm};
pub use pooling::{AveragePool, MaxPool, Pool};
pub use shape::Window;
pub use standardisation::{Standardisation, Standardise};

use crate::arithmetic::{Functions, largest};
use crate::error::Refusal;
use crate::matrix::{RowMajor, Slab};
use crate::norm::{with_workspace, workspace};
use crate::random::Generator;
use crate::scion::{Geometry, Point, Role, Rule, Scion, weight};
use crate::transport::Alignment;
use core::ops::Range;
use serde::{Deserialize, Serialize};

/// Parameter of a layer, in the form in which code that works on all parameters sees it.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// Weights X, query point Y and momentum M.
    pub state: Scion<Slab<&'a mut [f32]>>,
    /// Norm and radius that measure its steps.
    pub geometry: &'a mut Geometry,
    /// State of the alignment law of transport.
    pub alignment: &'a mut Alignment<f32>,
    /// Role of the parameter in its layer.
    pub role: Role,
}

impl Parameter<'_> {
    /// Starts from the weights X: Y ← X, M ← 0, and an empty alignment state.
    pub fn start(&mut self) {
        self.state.start();
        *self.alignment = Alignment::START;
    }

    /// Shape (m, n).
    pub fn shape(&self) -> (usize, usize) {
        self.state.x.shape()
    }
}

/// Parameter in the form in which a layer holds it.
#[derive(Clone, PartialEq, Debug)]
pub struct Held<M> {
    /// Weights X, query point Y and momentum M.
    pub state: Scion<M>,
    geometry: Geometry,
    alignment: Alignment<f32>,
}

impl<M> Held<M> {
    /// Creates a frozen parameter.
    pub const fn new(state: Scion<M>) -> Self {
        Self { state, geometry: Geometry::FROZEN, alignment: Alignment::START }
    }

    /// Returns whether the parameter moves.
    pub fn trains(&self) -> bool {
        !self.geometry.is_frozen()
    }
}

impl<M: Copy> Held<M> {
    /// Creates a frozen parameter of zeros.
    const fn zeros(zeros: M) -> Self {
        Self::new(Scion { x: zeros, y: zeros, m: zeros })
    }
}

impl<M: RowMajor> Held<M> {
    /// The weights at a point, row by row.
    pub fn weights(&self, at: Point) -> &[f32] {
        match at {
            Point::Iterate => self.state.x.elements(),
            Point::Query => self.state.y.elements(),
        }
    }

    /// The momentum, row by row.
    pub fn momentum(&mut self) -> &mut [f32] {
        self.state.m.elements_mut()
    }

    /// Views the parameter in the form for code that works on all parameters.
    pub fn parameter(&mut self, role: Role) -> Parameter<'_> {
        let Self { state, geometry, alignment } = self;
        Parameter { state: state.slabs(), geometry, alignment, role }
    }

    /// Returns whether X, Y and M have this shape.
    pub fn has_shape(&self, shape: (usize, usize)) -> bool {
        [self.state.x.shape(), self.state.y.shape(), self.state.m.shape()] == [shape; 3]
    }
}

/// Layer, or several layers in a chain: holds parameters, but no memory for a pass.
///
/// `trace` holds [`Layer::trace`] numbers, of which the last [`Layer::outputs`] are the output; `errors` holds the
/// derivative of the loss with respect to each of them. A layer reads and writes only as many numbers as its methods
/// state.
pub trait Layer {
    /// Number of inputs.
    fn inputs(&self) -> usize;
    /// Number of outputs.
    fn outputs(&self) -> usize;
    /// Number of values that a forward pass writes.
    fn trace(&self) -> usize;
    /// Forward pass from `input` to `trace`.
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]);
    /// Backward pass, with the weights at the point of the forward pass that made `trace` from `input`. The last
    /// [`Layer::outputs`] of `errors` are given. The pass fills in the others and `input_errors`, which is empty if the
    /// errors of the inputs are not needed.
    fn backward(&self, at: Point, input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]);
    /// Returns whether any parameter of the layer moves.
    fn trains(&self) -> bool;
    /// Returns whether the gradient of this sample can be accumulated without overflow.
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool;
    /// M ← keep·M + δ aᵀ for every parameter.
    fn accumulate(&mut self, keep: f32, input: &[f32], trace: &[f32], errors: &[f32]);
    /// Visits all parameters, always in the same order.
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter));

    /// Visits the parameters at these places of the order, counted from 0, and returns the total number of parameters.
    fn parameters_at(&mut self, places: Range<usize>, visit: &mut dyn FnMut(Parameter)) -> usize {
        let mut count = 0;
        self.parameters(&mut |parameter| {
            if places.contains(&count) {
                visit(parameter);
            }
            count += 1;
        });
        count
    }

    /// Takes step t of the parameters at these places, from their momentum M. `start` holds the weights X₀ that all
    /// parameters started from, in the network's order; if it is empty, nothing pulls towards them. `scratch` holds
    /// [`Fixed::WORKSPACE`] numbers and is overwritten.
    fn advance(&mut self, places: Range<usize>, rule: &Rule, t: u64, start: &[[u8; 4]], scratch: &mut [f32]) {
        let (mut place, mut rest) = (0, start);
        self.parameters(&mut |parameter| {
            let own = rest.split_at_checked(parameter.state.x.elements().len());
            rest = own.map_or(&[], |(_, after)| after);
            if places.contains(&place) {
                advance(parameter, rule, t, own.map(|(own, _)| own), scratch);
            }
            place += 1;
        });
    }
}

/// Takes a step of one parameter: one copy for all networks, compiled with this crate's settings.
#[inline(never)]
fn advance(parameter: Parameter, rule: &Rule, t: u64, start: Option<&[[u8; 4]]>, scratch: &mut [f32]) {
    let Parameter { mut state, geometry, alignment, .. } = parameter;
    with_workspace(state.x.shape(), scratch, |work| state.advance(*geometry, rule, t, start, alignment, work));
}

/// Sizes and schema of a network that its type gives at compile time.
pub trait Fixed: Layer + Sized {
    /// Network with all weights, momenta and query points 0 and all parameters frozen.
    const ZERO: Self;
    /// Number of inputs: [`Layer::inputs`].
    const INPUTS: usize;
    /// Number of outputs: [`Layer::outputs`].
    const OUTPUTS: usize;
    /// Number of values that a forward pass writes: [`Layer::trace`].
    const TRACE: usize;
    /// Number of weights of all parameters.
    const WEIGHTS: usize;
    /// Number of `f32` values that a step of the largest parameter needs.
    const WORKSPACE: usize;
    /// Hash of the architecture: [`Kind::schema`] of its layers.
    const SCHEMA: u64;
    /// Number of `f32` values of scratch memory that learning needs: a trace and its errors, or the workspace of a
    /// step, whichever is larger.
    const SCRATCH: usize = scratch(Self::TRACE, Self::WORKSPACE);
}

/// Number of `f32` values of scratch memory for a network with this trace and this workspace.
pub const fn scratch(trace: usize, workspace: usize) -> usize {
    larger(2 * trace, workspace)
}

/// Counts the parameters and the weights of a network.
#[inline(never)]
pub(crate) fn count<N: Layer + ?Sized>(network: &mut N) -> (usize, usize) {
    let (mut parameters, mut weights) = (0, 0);
    network.parameters(&mut |parameter| {
        parameters += 1;
        weights += parameter.state.x.elements().len();
    });
    (parameters, weights)
}

/// Number of `f32` values of scratch memory that a network needs to learn: [`Fixed::SCRATCH`], for any network.
pub fn scratch_length<N: Layer + ?Sized>(network: &mut N) -> usize {
    let mut largest = 0;
    network.parameters(&mut |parameter| {
        let (m, n) = parameter.shape();
        largest = larger(largest, workspace(m, n));
    });
    scratch(network.trace(), largest)
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Layer followed by others; written with [`chain!`](crate::chain).
#[derive(Clone, PartialEq, Debug)]
pub struct Chain<A, B> {
    first: A,
    rest: B,
}

impl<A: Layer, B: Layer> Chain<A, B> {
    /// Puts one layer before others; `None` if the outputs of the first are not the inputs of the rest.
    pub fn new(first: A, rest: B) -> Option<Self> {
        (first.outputs() == rest.inputs()).then_some(Self { first, rest })
    }
}

/// Type of a network: `chain![Dense<64, 32>, Relu<32>, Dense<32, 10>]`.
///
/// The compiler checks that the layers fit together when the type is first used:
///
/// ```compile_fail
/// use graftage_core::{chain, network::{Dense, Fixed}};
/// let network = <chain![Dense<4, 3>, Dense<2, 1>]>::ZERO;
/// ```
#[macro_export]
macro_rules! chain {
    ($layer:ty $(,)?) => { $layer };
    ($layer:ty, $($rest:ty),+ $(,)?) => { $crate::network::Chain<$layer, $crate::chain![$($rest),+]> };
}

impl<A: Layer, B: Layer> Layer for Chain<A, B> {
    fn inputs(&self) -> usize {
        self.first.inputs()
    }
    fn outputs(&self) -> usize {
        self.rest.outputs()
    }
    fn trace(&self) -> usize {
        self.first.trace() + self.rest.trace()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let (first, rest) = split_mut(trace, self.first.trace());
        self.first.forward(at, input, first);
        self.rest.forward(at, end(first, self.first.outputs()), rest);
    }
    fn backward(&self, at: Point, input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        let (first, rest) = split(trace, self.first.trace());
        let (first_errors, rest_errors) = split_mut(errors, self.first.trace());
        let between = end(first, self.first.outputs());
        if self.first.trains() || !input_errors.is_empty() {
            self.rest.backward(at, between, rest, rest_errors, end_mut(first_errors, self.first.outputs()));
            self.first.backward(at, input, first, first_errors, input_errors);
        } else {
            self.rest.backward(at, between, rest, rest_errors, &mut []);
        }
    }
    fn trains(&self) -> bool {
        self.first.trains() || self.rest.trains()
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        let (first, rest) = split(trace, self.first.trace());
        let (first_errors, rest_errors) = split(errors, self.first.trace());
        // Layers that do not train have no errors to check.
        (!self.first.trains() || self.first.admits(input, first, first_errors))
            && (!self.rest.trains() || self.rest.admits(end(first, self.first.outputs()), rest, rest_errors))
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], trace: &[f32], errors: &[f32]) {
        let (first, rest) = split(trace, self.first.trace());
        let (first_errors, rest_errors) = split(errors, self.first.trace());
        if self.first.trains() {
            self.first.accumulate(keep, input, first, first_errors);
        }
        if self.rest.trains() {
            self.rest.accumulate(keep, end(first, self.first.outputs()), rest, rest_errors);
        }
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        self.first.parameters(visit);
        self.rest.parameters(visit);
    }
}

impl<A: Fixed, B: Fixed> Fixed for Chain<A, B> {
    const ZERO: Self = {
        assert!(A::OUTPUTS == B::INPUTS, "a layer has other outputs than the next has inputs");
        Self { first: A::ZERO, rest: B::ZERO }
    };
    const INPUTS: usize = A::INPUTS;
    const OUTPUTS: usize = B::OUTPUTS;
    const TRACE: usize = A::TRACE + B::TRACE;
    const WEIGHTS: usize = A::WEIGHTS + B::WEIGHTS;
    const WORKSPACE: usize = larger(A::WORKSPACE, B::WORKSPACE);
    const SCHEMA: u64 = kind::fnv(A::SCHEMA, B::SCHEMA);
}

/// Gives every parameter its [usual geometry](Geometry::usual).
pub fn usual_geometries<N: Layer + ?Sized>(network: &mut N) {
    train_last(network, usize::MAX);
}

/// Gives the parameters of the last `layers` layers with weights their [usual geometry](Geometry::usual) and freezes
/// all earlier ones; 1 adapts the head alone. A gain or a bias belongs to the weights before it; parameters before all
/// weights belong to the first weights.
pub fn train_last<N: Layer + ?Sized>(network: &mut N, layers: usize) {
    let mut all = 0;
    network.parameters(&mut |parameter| all += usize::from(parameter.role.is_weights()));
    let mut seen = 0;
    network.parameters(&mut |parameter| {
        seen += usize::from(parameter.role.is_weights());
        let trains = all <= layers || seen > all - layers;
        *parameter.geometry = if trains { Geometry::usual(parameter.role, seen == all) } else { Geometry::FROZEN };
    });
}

/// Gives every parameter its [usual geometry](Geometry::usual) and draws its weights inside the ball; see
/// [`Scion::initialise`]. `scratch` is overwritten.
pub fn initialise<N: Layer + ?Sized>(network: &mut N, generator: &mut Generator, scratch: &mut [f32]) {
    usual_geometries(network);
    network.parameters(&mut |mut p| p.state.initialise(*p.geometry, p.role, generator, scratch));
}

/// Prediction of a network for one sample.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Prediction {
    /// Class with the largest logit, the first if several are equal.
    pub class: u32,
    /// Softmax probability of the class.
    pub probability: f32,
}

/// Computes the outputs for a sample with the weights X. They lie in `scratch`, which is overwritten.
///
/// # Errors
/// A [`Refusal`] if the sample has the wrong length or a non-finite number, the outputs are not finite, or the scratch
/// memory is too short.
pub fn outputs<'a, N: Layer + ?Sized>(
    network: &N,
    input: &[f32],
    scratch: &'a mut [f32],
) -> Result<&'a [f32], Refusal> {
    check_input(network, input)?;
    let trace = part(scratch, network.trace())?.0;
    network.forward(Point::Iterate, input, trace);
    let outputs = end(trace, network.outputs());
    if largest(outputs).is_finite() { Ok(outputs) } else { Err(Refusal::Overflow) }
}

/// Predicts the class of a sample with the weights X. `scratch` is overwritten.
///
/// # Errors
/// The errors of [`outputs`].
pub fn predict<N: Layer + ?Sized>(
    network: &N,
    functions: Functions,
    input: &[f32],
    scratch: &mut [f32],
) -> Result<Prediction, Refusal> {
    let logits = outputs(network, input, scratch)?;
    let mut best = (0, f32::NEG_INFINITY);
    for (class, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (class as u32, *logit);
        }
    }
    // The exponential of the largest logit is exp(0) = 1.
    Ok(Prediction { class: best.0, probability: 1.0 / loss::total(functions, logits, best.1) })
}

/// One step over a batch: [`Step::begin`], [`Step::add`] for every sample, [`Step::finish`].
#[derive(Clone, Copy, Debug)]
pub struct Step {
    t: u64,
    functions: Functions,
    point: Point,
    keep: f32,
    weight: Weight,
    admitted: u32,
    loss: f32,
}

/// Result of one step.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Number of samples admitted to the step.
    pub admitted: u32,
    /// Mean loss of these samples at the query point.
    pub loss: f32,
}

impl Step {
    /// Begins step t = 1, 2, … over a batch of B samples. The output error of a class counts at most `cap` in each
    /// sample.
    pub fn begin(rule: &Rule, functions: Functions, cap: Option<f32>, t: u64, batch: u32) -> Self {
        let keep = rule.keep(t);
        Self {
            t,
            functions,
            point: rule.point(),
            keep,
            weight: Weight { share: weight(keep, batch), cap: cap.unwrap_or(f32::INFINITY) },
            admitted: 0,
            loss: 0.0,
        }
    }

    /// Accumulates the gradient of a sample at the query point and returns its loss. `scratch` is overwritten.
    ///
    /// # Errors
    /// A [`Refusal`] if the sample is refused. Then nothing has changed, and the step continues without it.
    pub fn add<N: Layer + ?Sized>(
        &mut self,
        network: &mut N,
        input: &[f32],
        target: impl Goal,
        scratch: &mut [f32],
    ) -> Result<f32, Refusal> {
        check_input(network, input)?;
        target.check(network.outputs())?;
        let (trace, rest) = part(scratch, network.trace())?;
        let errors = part(rest, network.trace())?.0;
        network.forward(self.point, input, trace);
        let outputs = network.outputs();
        let loss = target.loss(self.functions, end(trace, outputs), self.weight, end_mut(errors, outputs));
        network.backward(self.point, input, trace, errors, &mut []);
        if !(loss.is_finite() && network.admits(input, trace, errors)) {
            return Err(Refusal::Overflow);
        }
        network.accumulate(self.keep, input, trace, errors);
        self.keep = 1.0;
        self.admitted += 1;
        self.loss += loss;
        Ok(loss)
    }

    /// Outcome of the step; `None` if no sample was admitted, so that the step moves nothing.
    pub fn outcome(&self) -> Option<Outcome> {
        (self.admitted > 0).then(|| Outcome { admitted: self.admitted, loss: self.loss / self.admitted as f32 })
    }

    /// Moves every parameter; `start` is that of [`Layer::advance`]. Returns `None`, and moves nothing, if no sample
    /// was admitted or `scratch`, which is overwritten, is shorter than [`scratch_length`].
    pub fn finish<N: Layer + ?Sized>(
        self,
        network: &mut N,
        rule: &Rule,
        start: &[[u8; 4]],
        scratch: &mut [f32],
    ) -> Option<Outcome> {
        let outcome = self.outcome()?;
        if scratch.len() < scratch_length(network) {
            return None;
        }
        network.advance(0..usize::MAX, rule, self.t, start, scratch);
        Some(outcome)
    }
}

/// Refuses a sample of the wrong length or with a non-finite number.
pub fn check_input<N: Layer + ?Sized>(network: &N, input: &[f32]) -> Result<(), Refusal> {
    if input.len() != network.inputs() {
        return Err(Refusal::Length { expected: network.inputs() as u32, found: input.len() as u32 });
    }
    if largest(input).is_finite() {
        return Ok(());
    }
    let index = input.iter().position(|e| !e.is_finite()).unwrap_or(0);
    Err(Refusal::NotFinite { index: index as u32 })
}

/// Splits off the first `length` numbers; [`Refusal::Scratch`] if there are fewer.
fn part(memory: &mut [f32], length: usize) -> Result<(&mut [f32], &mut [f32]), Refusal> {
    let found = memory.len() as u32;
    memory.split_at_mut_checked(length).ok_or(Refusal::Scratch { expected: length as u32, found })
}

/// Last `length` numbers; none if there are fewer.
fn end(memory: &[f32], length: usize) -> &[f32] {
    memory.get(memory.len().wrapping_sub(length)..).unwrap_or(&[])
}

/// Like [`end`], but mutable.
fn end_mut(memory: &mut [f32], length: usize) -> &mut [f32] {
    memory.get_mut(memory.len().wrapping_sub(length)..).unwrap_or(&mut [])
}

/// First `length` numbers and the rest; all and none if there are fewer.
fn split(memory: &[f32], length: usize) -> (&[f32], &[f32]) {
    memory.split_at_checked(length).unwrap_or((memory, &[]))
}

/// Like [`split`], but mutable.
pub(crate) fn split_mut(memory: &mut [f32], length: usize) -> (&mut [f32], &mut [f32]) {
    let length = if length < memory.len() { length } else { memory.len() };
    memory.split_at_mut(length)
}

/// Largest possible |element| of M: B/(1 − β) times what [`admitted`] allows over all places of a sample,
/// 2^64 · 2^32 · 2^24 for any B and β.
pub(crate) const LARGEST_MOMENTUM: f32 = (1u128 << 120) as f32;

/// Returns whether a parameter's gradient, which is δ a'ᵀ at each of `places` places, stays finite, and so does every
/// sum of it in M; see [`Layer::admits`].
fn admitted(places: usize, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
    let bound = (1u128 << 64) as f32 / places as f32;
    let error = largest(errors);
    largest(trace).is_finite() && error <= bound && error * largest(input) <= bound
}
