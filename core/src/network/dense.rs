//! Dense layers: a = b + W a', each element from b, inputs ascending; backward δ' = Wᵀδ, outputs ascending from +0;
//! M_W ← keep·M_W + δ a'ᵀ, M_b ← keep·M_b + δ.

use crate::matrix::{FixedMatrix, RowMajor};
use crate::network::{Fixed, Held, Kind, Layer, Parameter, admitted, larger};
use crate::norm::workspace;
use crate::scion::{Point, Role, Scion};

/// A dense layer a = b + W a' over matrices of any storage: W of shape (outputs, inputs), b of shape (1, outputs).
#[derive(Clone, PartialEq, Debug)]
pub struct Affine<W, B> {
    pub(super) weights: Held<W>,
    pub(super) bias: Held<B>,
}

/// A dense layer from I to O numbers, in static memory.
pub type Dense<const I: usize, const O: usize> = Affine<FixedMatrix<O, I>, FixedMatrix<1, O>>;

impl<W: RowMajor, B: RowMajor> Affine<W, B> {
    /// Around states of shapes (outputs, inputs) and (1, outputs); `None` where they do not fit together.
    pub fn new(weights: Scion<W>, bias: Scion<B>) -> Option<Self> {
        let (outputs, inputs) = weights.x.shape();
        let (weights, bias) = (Held::new(weights), Held::new(bias));
        let fits = inputs > 0 && weights.has_shape((outputs, inputs)) && bias.has_shape((1, outputs));
        fits.then_some(Self { weights, bias })
    }

    /// Adds Wᵀδ, outputs ascending, to the errors of the inputs.
    pub(super) fn spread(&self, at: Point, errors: &[f32], input_errors: &mut [f32]) {
        for (row, error) in self.weights.weights(at).chunks_exact(self.inputs()).zip(errors) {
            for (e, w) in input_errors.iter_mut().zip(row) {
                *e += w * error;
            }
        }
    }
}

impl<W: RowMajor, B: RowMajor> Layer for Affine<W, B> {
    fn inputs(&self) -> usize {
        self.weights.state.x.shape().1
    }
    fn outputs(&self) -> usize {
        self.weights.state.x.shape().0
    }
    fn trace(&self) -> usize {
        self.outputs()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let (weights, bias) = (self.weights.weights(at), self.bias.weights(at));
        for ((out, row), b) in trace.iter_mut().zip(weights.chunks_exact(self.inputs())).zip(bias) {
            *out = *b;
            for (w, a) in row.iter().zip(input) {
                *out += w * a;
            }
        }
    }
    fn backward(&self, at: Point, _input: &[f32], _trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        if input_errors.is_empty() {
            return;
        }
        input_errors.fill(0.0);
        self.spread(at, errors, input_errors);
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        admitted(1, input, trace, errors)
    }
    fn trains(&self) -> bool {
        self.weights.trains() || self.bias.trains()
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], _trace: &[f32], errors: &[f32]) {
        let inputs = self.inputs();
        for (row, error) in self.weights.momentum().chunks_exact_mut(inputs).zip(errors) {
            for (m, a) in row.iter_mut().zip(input) {
                *m = keep * *m + error * a;
            }
        }
        for (m, error) in self.bias.momentum().iter_mut().zip(errors) {
            *m = keep * *m + error;
        }
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        visit(self.weights.parameter(Role::Weights));
        visit(self.bias.parameter(Role::Bias));
    }
}

impl<const I: usize, const O: usize> Fixed for Dense<I, O> {
    const ZERO: Self = Self {
        weights: Held::new(Scion { x: [[0.0; I]; O], y: [[0.0; I]; O], m: [[0.0; I]; O] }),
        bias: Held::new(Scion { x: [[0.0; O]], y: [[0.0; O]], m: [[0.0; O]] }),
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
