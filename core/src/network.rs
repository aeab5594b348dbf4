//! Networks of dense layers with ReLU and softmax cross-entropy: forward, backward, and one transported step over a batch.
//!
//! A [`Layer`] holds its parameters and works on the caller's memory. [`Chain`] puts one before another and is a layer
//! itself, so a network is a type that reads like its architecture: `chain![Dense<64, 32>, Relu<32>, Dense<32, 10>]`.
//! What is known at compile time of such a type is [`Fixed`].
//!
//! With activations a₀ (the sample), a₁, …, a_L (the logits) of a sample with label y, and w = (1 − β_t)/B:
//!
//! ```text
//! dense     a = b + W a'                              each element from b, inputs ascending
//! ReLU      a = a' where a' > 0, else +0
//! softmax   e_j = exp(a_j − max a), s = Σ e_j         the sum in eight lanes
//! loss      ln s − (a_y − max a)
//! error     δ_j = w·(e_j/s − [j = y])                 of the logits; scaled once, here
//! backward  δ' = Wᵀ δ                                 outputs ascending from +0;  ReLU: δ' = δ where a > 0, else +0
//! gradient  M_W ← keep·M_W + δ a'ᵀ,  M_b ← keep·M_b + δ
//! ```
//!
//! Sample by sample, M ← βM + Σᵢ δᵢ aᵢᵀ is one ordered product that continues from βM, so that a whole batch elsewhere
//! gives the same bits. A sample is admitted only when its loss is finite and max|δ| and max|δ|·max|a'| are at most 2^64
//! in every layer, so that M stays finite whatever B and β are; β comes with the first admitted sample of a step, so a
//! refused one leaves no trace.

use crate::arithmetic::{exp, largest, ln, sum};
use crate::error::Refusal;
use crate::matrix::{FixedMatrix, RowMajor, Slab};
use crate::random::Generator;
use crate::scion::{Geometry, Rule, Scion, with_workspace, workspace};
use serde::{Deserialize, Serialize};

/// Where a forward pass takes the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// At X: what predicts.
    Iterate,
    /// At Y: where gradients are taken.
    Query,
}

/// A parameter of a layer.
pub type View<'a> = Scion<Slab<&'a mut [f32]>>;

/// A layer, or several of them, with parameters and without memory for a pass.
///
/// `trace` holds [`Layer::trace`] numbers, of which the last [`Layer::outputs`] are the output; `errors` is the
/// derivative of the loss by each of them. A layer reads and writes only as many numbers as it names.
pub trait Layer {
    /// Numbers that come in.
    fn inputs(&self) -> usize;
    /// Numbers that go out.
    fn outputs(&self) -> usize;
    /// Numbers that a forward pass writes.
    fn trace(&self) -> usize;
    /// Forward: `input` to `trace`.
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]);
    /// Backward, at Y: the last [`Layer::outputs`] of `errors` are given; fills in the others and `input_errors`, which
    /// may be empty where nobody asks for it.
    fn backward(&self, trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]);
    /// Whether the gradient of this sample can be accumulated without overflow.
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool;
    /// M ← keep·M + δ aᵀ for every parameter.
    fn accumulate(&mut self, keep: f32, input: &[f32], trace: &[f32], errors: &[f32]);
    /// Visits all parameters, in an order that never changes.
    fn parameters(&mut self, visit: &mut dyn FnMut(&mut Geometry, View));

    /// One step of every parameter from what M holds. `scratch` holds [`Fixed::WORKSPACE`] numbers and is overwritten.
    fn advance(&mut self, rule: &Rule, scratch: &mut [f32]) {
        self.parameters(&mut |geometry, state| {
            // A view that lives no longer than the scratch memory is lent.
            let mut state: View = state;
            with_workspace(state.x.shape(), scratch, |work| state.advance(*geometry, rule, work));
        });
    }
}

/// What the type of a network says at compile time.
pub trait Fixed: Layer + Sized {
    /// All weights, momenta and query points 0, all geometries [unset](Geometry::UNSET).
    const ZERO: Self;
    /// [`Layer::inputs`].
    const INPUTS: usize;
    /// [`Layer::outputs`].
    const OUTPUTS: usize;
    /// [`Layer::trace`].
    const TRACE: usize;
    /// Weights of all parameters.
    const WEIGHTS: usize;
    /// Numbers that a step of the largest parameter needs.
    const WORKSPACE: usize;
    /// Hash of the architecture: [`Kind::schema`] of its layers.
    const SCHEMA: u64;
    /// Numbers of scratch memory that learning needs: a trace and its errors, or the workspace of a step.
    const SCRATCH: usize = scratch(Self::TRACE, Self::WORKSPACE);
}

/// Numbers of scratch memory for a network with such a trace and such a workspace.
pub const fn scratch(trace: usize, workspace: usize) -> usize {
    larger(2 * trace, workspace)
}

/// Numbers of scratch memory that a network needs to learn: [`Fixed::SCRATCH`], of any network.
pub fn scratch_length<N: Layer + ?Sized>(network: &mut N) -> usize {
    let mut largest = 0;
    network.parameters(&mut |_, state| {
        let (m, n) = state.x.shape();
        largest = larger(largest, workspace(m, n));
    });
    scratch(network.trace(), largest)
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// One layer of an architecture, as an image names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// [`Dense`].
    Dense {
        /// Numbers that come in.
        inputs: u32,
        /// Numbers that go out.
        outputs: u32,
    },
    /// [`Relu`].
    Relu {
        /// Numbers that come in and go out.
        width: u32,
    },
}

impl Kind {
    /// (inputs, outputs).
    pub const fn shape(self) -> (u32, u32) {
        match self {
            Kind::Dense { inputs, outputs } => (inputs, outputs),
            Kind::Relu { width } => (width, width),
        }
    }

    /// FNV-1a (64 bits) of the layer's tag and shape.
    const fn hash(self) -> u64 {
        let tag = match self {
            Kind::Dense { .. } => 1,
            Kind::Relu { .. } => 2,
        };
        let (inputs, outputs) = self.shape();
        fnv(fnv(fnv(0xcbf2_9ce4_8422_2325, tag), inputs as u64), outputs as u64)
    }

    /// Schema hash of an architecture: of its last layer, then of each before it with what follows.
    pub fn schema(layers: &[Kind]) -> u64 {
        let mut hash = None;
        for kind in layers.iter().rev() {
            hash = Some(match hash {
                None => kind.hash(),
                Some(rest) => fnv(kind.hash(), rest),
            });
        }
        hash.unwrap_or(0)
    }
}

/// Continues an FNV-1a hash with the eight bytes of a number, least significant first.
const fn fnv(mut hash: u64, number: u64) -> u64 {
    let mut byte = 0;
    while byte < 8 {
        hash = (hash ^ ((number >> (8 * byte)) & 0xff)).wrapping_mul(0x0000_0100_0000_01b3);
        byte += 1;
    }
    hash
}

/// A dense layer a = b + W a' over matrices of any storage: W of shape (outputs, inputs), b of shape (1, outputs).
#[derive(Clone, PartialEq, Debug)]
pub struct Affine<W, B> {
    weights: Scion<W>,
    weights_geometry: Geometry,
    bias: Scion<B>,
    bias_geometry: Geometry,
}

/// A dense layer from I to O numbers, in static memory.
pub type Dense<const I: usize, const O: usize> = Affine<FixedMatrix<O, I>, FixedMatrix<1, O>>;

impl<W: RowMajor, B: RowMajor> Affine<W, B> {
    /// Around states of shapes (outputs, inputs) and (1, outputs); `None` where they do not fit together.
    pub fn new(weights: Scion<W>, bias: Scion<B>) -> Option<Self> {
        let shape = weights.x.shape();
        let fits = [weights.y.shape(), weights.m.shape()] == [shape; 2]
            && [bias.x.shape(), bias.y.shape(), bias.m.shape()] == [(1, shape.0); 3]
            && shape.1 > 0;
        fits.then_some(Self { weights, weights_geometry: Geometry::UNSET, bias, bias_geometry: Geometry::UNSET })
    }
}

impl<W: RowMajor, B: RowMajor> Layer for Affine<W, B> {
    fn inputs(&self) -> usize {
        self.weights.x.shape().1
    }
    fn outputs(&self) -> usize {
        self.weights.x.shape().0
    }
    fn trace(&self) -> usize {
        self.outputs()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let (weights, bias) = match at {
            Point::Iterate => (self.weights.x.elements(), self.bias.x.elements()),
            Point::Query => (self.weights.y.elements(), self.bias.y.elements()),
        };
        for ((out, row), b) in trace.iter_mut().zip(weights.chunks_exact(self.inputs())).zip(bias) {
            *out = *b;
            for (w, a) in row.iter().zip(input) {
                *out += w * a;
            }
        }
    }
    fn backward(&self, _trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        input_errors.fill(0.0);
        for (row, error) in self.weights.y.elements().chunks_exact(self.inputs()).zip(errors.iter()) {
            for (e, w) in input_errors.iter_mut().zip(row) {
                *e += w * error;
            }
        }
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        // M is at most B/(1 − β) such products: 2^64 · 2^32 · 2^24 for any B and β.
        const BOUND: f32 = (1u128 << 64) as f32;
        let error = largest(errors);
        largest(trace).is_finite() && error <= BOUND && error * largest(input) <= BOUND
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], _trace: &[f32], errors: &[f32]) {
        let inputs = self.inputs();
        for (row, error) in self.weights.m.elements_mut().chunks_exact_mut(inputs).zip(errors) {
            for (m, a) in row.iter_mut().zip(input) {
                *m = keep * *m + error * a;
            }
        }
        for (m, error) in self.bias.m.elements_mut().iter_mut().zip(errors) {
            *m = keep * *m + error;
        }
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(&mut Geometry, View)) {
        visit(&mut self.weights_geometry, self.weights.slabs());
        visit(&mut self.bias_geometry, self.bias.slabs());
    }
}

impl<const I: usize, const O: usize> Fixed for Dense<I, O> {
    const ZERO: Self = Self {
        weights: Scion { x: [[0.0; I]; O], y: [[0.0; I]; O], m: [[0.0; I]; O] },
        weights_geometry: Geometry::UNSET,
        bias: Scion { x: [[0.0; O]], y: [[0.0; O]], m: [[0.0; O]] },
        bias_geometry: Geometry::UNSET,
    };
    const INPUTS: usize = I;
    const OUTPUTS: usize = O;
    const TRACE: usize = O;
    const WEIGHTS: usize = O * I + O;
    const WORKSPACE: usize = larger(workspace(O, I), workspace(1, O));
    const SCHEMA: u64 = {
        assert!(I > 0 && O > 0, "a dense layer has at least one input and one output");
        Kind::Dense { inputs: I as u32, outputs: O as u32 }.hash()
    };
}

/// How many numbers pass through an elementwise layer: a type, or a number at run time.
pub trait Width {
    /// That many.
    fn width(&self) -> usize;
}

/// A width that is a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Constant<const N: usize>;

impl<const N: usize> Width for Constant<N> {
    fn width(&self) -> usize {
        N
    }
}

impl Width for usize {
    fn width(&self) -> usize {
        *self
    }
}

/// a = a' where a' > 0, else +0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rectifier<W>(pub W);

/// ReLU over N numbers.
pub type Relu<const N: usize> = Rectifier<Constant<N>>;

impl<W: Width> Layer for Rectifier<W> {
    fn inputs(&self) -> usize {
        self.0.width()
    }
    fn outputs(&self) -> usize {
        self.0.width()
    }
    fn trace(&self) -> usize {
        self.0.width()
    }
    fn forward(&self, _at: Point, input: &[f32], trace: &mut [f32]) {
        for (out, a) in trace.iter_mut().zip(input) {
            *out = if *a > 0.0 { *a } else { 0.0 };
        }
    }
    fn backward(&self, trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        for ((e, a), error) in input_errors.iter_mut().zip(trace).zip(errors) {
            *e = if *a > 0.0 { *error } else { 0.0 };
        }
    }
    fn admits(&self, _input: &[f32], _trace: &[f32], _errors: &[f32]) -> bool {
        true
    }
    fn accumulate(&mut self, _keep: f32, _input: &[f32], _trace: &[f32], _errors: &[f32]) {}
    fn parameters(&mut self, _visit: &mut dyn FnMut(&mut Geometry, View)) {}
}

impl<const N: usize> Fixed for Relu<N> {
    const ZERO: Self = Rectifier(Constant);
    const INPUTS: usize = N;
    const OUTPUTS: usize = N;
    const TRACE: usize = N;
    const WEIGHTS: usize = 0;
    const WORKSPACE: usize = 0;
    const SCHEMA: u64 = Kind::Relu { width: N as u32 }.hash();
}

/// One layer before others; written with [`chain!`](crate::chain).
#[derive(Clone, PartialEq, Debug)]
pub struct Chain<A, B> {
    first: A,
    rest: B,
}

impl<A: Layer, B: Layer> Chain<A, B> {
    /// `None` where the outputs of the first are not the inputs of the rest.
    pub fn new(first: A, rest: B) -> Option<Self> {
        (first.outputs() == rest.inputs()).then_some(Self { first, rest })
    }
}

/// The type of a network: `chain![Dense<64, 32>, Relu<32>, Dense<32, 10>]`.
///
/// That layers fit together is checked when the type is first used:
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
    fn backward(&self, trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        let (first, rest) = split(trace, self.first.trace());
        let (first_errors, rest_errors) = split_mut(errors, self.first.trace());
        self.rest.backward(rest, rest_errors, end_mut(first_errors, self.first.outputs()));
        self.first.backward(first, first_errors, input_errors);
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        let (first, rest) = split(trace, self.first.trace());
        let (first_errors, rest_errors) = split(errors, self.first.trace());
        self.first.admits(input, first, first_errors)
            && self.rest.admits(end(first, self.first.outputs()), rest, rest_errors)
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], trace: &[f32], errors: &[f32]) {
        let (first, rest) = split(trace, self.first.trace());
        let (first_errors, rest_errors) = split(errors, self.first.trace());
        self.first.accumulate(keep, input, first, first_errors);
        self.rest.accumulate(keep, end(first, self.first.outputs()), rest, rest_errors);
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(&mut Geometry, View)) {
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
    const SCHEMA: u64 = fnv(A::SCHEMA, B::SCHEMA);
}

/// Gives every parameter its [usual geometry](Geometry::usual).
pub fn usual_geometries<N: Layer + ?Sized>(network: &mut N) {
    let mut left = 0;
    network.parameters(&mut |_, _| left += 1);
    network.parameters(&mut |geometry, state| {
        // The last layer's weights and bias are the last two.
        *geometry = Geometry::usual(state.x.shape(), left <= 2);
        left -= 1;
    });
}

/// Gives every parameter its [usual geometry](Geometry::usual) and draws its weights inside the ball, see
/// [`Scion::initialise`]; `scratch` is overwritten.
pub fn initialise<N: Layer + ?Sized>(network: &mut N, generator: &mut Generator, scratch: &mut [f32]) {
    usual_geometries(network);
    network.parameters(&mut |geometry, mut state| state.initialise(*geometry, generator, scratch));
}

/// What a network says of a sample.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Prediction {
    /// The class with the largest logit, the first of equals.
    pub class: u32,
    /// Its softmax probability.
    pub probability: f32,
}

/// The class of a sample, with the weights X. `scratch` is overwritten.
///
/// # Errors
/// Where the sample has the wrong length or a non-finite number, or the logits are not finite.
pub fn predict<N: Layer + ?Sized>(network: &N, input: &[f32], scratch: &mut [f32]) -> Result<Prediction, Refusal> {
    check_input(network, input)?;
    let trace = part(scratch, network.trace())?.0;
    network.forward(Point::Iterate, input, trace);
    let logits = end(trace, network.outputs());
    if !largest(logits).is_finite() {
        return Err(Refusal::Overflow);
    }
    let mut best = (0, f32::NEG_INFINITY);
    for (class, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (class as u32, *logit);
        }
    }
    // The exponent of the largest logit is exp(0) = 1.
    Ok(Prediction { class: best.0, probability: 1.0 / exponentials(logits).1 })
}

/// One step over a batch: [`Step::begin`], [`Step::add`] for every sample, [`Step::finish`].
#[derive(Clone, Copy, Debug)]
pub struct Step {
    keep: f32,
    weight: f32,
    admitted: u32,
    loss: f32,
}

/// What one step did.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Samples that the step is made of.
    pub admitted: u32,
    /// The mean of their losses at the query point.
    pub loss: f32,
}

impl Step {
    /// Step t = 1, 2, … over a batch of B samples.
    pub fn begin(rule: &Rule, t: u64, batch: u32) -> Self {
        Self { keep: rule.keep(t), weight: rule.weight(t, batch), admitted: 0, loss: 0.0 }
    }

    /// Accumulates the gradient of a sample at Y and returns its loss. `scratch` is overwritten.
    ///
    /// # Errors
    /// Where the sample is refused; then nothing has changed, and the step goes on without it.
    pub fn add<N: Layer + ?Sized>(
        &mut self,
        network: &mut N,
        input: &[f32],
        label: u32,
        scratch: &mut [f32],
    ) -> Result<f32, Refusal> {
        check_input(network, input)?;
        check_label(network, label)?;
        let (trace, rest) = part(scratch, network.trace())?;
        let errors = part(rest, network.trace())?.0;
        network.forward(Point::Query, input, trace);
        let outputs = network.outputs();
        let loss = softmax_cross_entropy(end(trace, outputs), label, self.weight, end_mut(errors, outputs));
        network.backward(trace, errors, &mut []);
        if !(loss.is_finite() && network.admits(input, trace, errors)) {
            return Err(Refusal::Overflow);
        }
        network.accumulate(self.keep, input, trace, errors);
        self.keep = 1.0;
        self.admitted += 1;
        self.loss += loss;
        Ok(loss)
    }

    /// Moves every parameter; `None`, and nothing is moved, where no sample was admitted or `scratch`, which is
    /// overwritten, is shorter than [`scratch_length`].
    pub fn finish<N: Layer + ?Sized>(self, network: &mut N, rule: &Rule, scratch: &mut [f32]) -> Option<Outcome> {
        if self.admitted == 0 || scratch.len() < scratch_length(network) {
            return None;
        }
        network.advance(rule, scratch);
        Some(Outcome { admitted: self.admitted, loss: self.loss / self.admitted as f32 })
    }
}

/// Refuses a sample of the wrong length or with a non-finite number.
pub fn check_input<N: Layer + ?Sized>(network: &N, input: &[f32]) -> Result<(), Refusal> {
    if input.len() != network.inputs() {
        return Err(Refusal::Length { expected: network.inputs() as u32, found: input.len() as u32 });
    }
    match input.iter().position(|e| !e.is_finite()) {
        Some(index) => Err(Refusal::NotFinite { index: index as u32 }),
        None => Ok(()),
    }
}

/// Refuses a label that is no class.
pub fn check_label<N: Layer + ?Sized>(network: &N, label: u32) -> Result<(), Refusal> {
    let classes = network.outputs() as u32;
    if label < classes { Ok(()) } else { Err(Refusal::Label { label, classes }) }
}

/// The first `length` numbers and the rest.
fn part(memory: &mut [f32], length: usize) -> Result<(&mut [f32], &mut [f32]), Refusal> {
    let found = memory.len() as u32;
    memory.split_at_mut_checked(length).ok_or(Refusal::Scratch { expected: length as u32, found })
}

/// (max a, Σ exp(a_j − max a)).
fn exponentials(logits: &[f32]) -> (f32, f32) {
    let mut top = f32::NEG_INFINITY;
    for a in logits {
        if *a > top {
            top = *a;
        }
    }
    (top, sum(logits.iter().map(|a| exp(a - top))))
}

/// The loss, and the scaled errors of the logits.
fn softmax_cross_entropy(logits: &[f32], label: u32, weight: f32, errors: &mut [f32]) -> f32 {
    let (top, total) = exponentials(logits);
    let mut target = 0.0;
    for ((j, a), error) in logits.iter().enumerate().zip(errors) {
        let probability = exp(a - top) / total;
        let hit = j as u32 == label;
        *error = weight * (probability - if hit { 1.0 } else { 0.0 });
        if hit {
            target = a - top;
        }
    }
    ln(total) - target
}

/// The last `length` numbers; where there are fewer, none.
fn end(memory: &[f32], length: usize) -> &[f32] {
    memory.get(memory.len().wrapping_sub(length)..).unwrap_or(&[])
}

/// The last `length` numbers, to be written; where there are fewer, none.
fn end_mut(memory: &mut [f32], length: usize) -> &mut [f32] {
    memory.get_mut(memory.len().wrapping_sub(length)..).unwrap_or(&mut [])
}

/// The first `length` numbers and the rest; where there are fewer, all and none.
fn split(memory: &[f32], length: usize) -> (&[f32], &[f32]) {
    memory.split_at_checked(length).unwrap_or((memory, &[]))
}

/// The same, to be written.
fn split_mut(memory: &mut [f32], length: usize) -> (&mut [f32], &mut [f32]) {
    let length = if length < memory.len() { length } else { memory.len() };
    memory.split_at_mut(length)
}
