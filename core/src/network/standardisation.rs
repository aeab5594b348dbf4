//! Standardisation of a sample, feature by feature, by constants that were computed from the training data and never
//! move.
//!
//! ```text
//! a_i  = (a'_i − μ_i)/σ_i
//! δ'_i = δ_i/σ_i
//! ```
//!
//! It is a layer of its own and not folded into the weights after it: W diag(1/σ) has other singular vectors than W, so
//! a spectral step on it would be a different one, which is blind to features in small units.

use crate::matrix::{FixedMatrix, RowMajor};
use crate::network::{Fixed, Held, Kind, Layer, Parameter};
use crate::norm::workspace;
use crate::scion::{Point, Role, Scion};

/// Standardisation by means μ and deviations σ, both of shape (1, width).
#[derive(Clone, PartialEq, Debug)]
pub struct Standardisation<C> {
    means: Held<C>,
    deviations: Held<C>,
}

/// Standardisation of N features, in static memory.
pub type Standardise<const N: usize> = Standardisation<FixedMatrix<1, N>>;

impl<C: RowMajor> Standardisation<C> {
    /// Creates a layer from two states of shape (1, width); `None` if their shapes are different or the width is 0.
    pub fn new(means: Scion<C>, deviations: Scion<C>) -> Option<Self> {
        let width = means.x.shape().1;
        let (means, deviations) = (Held::new(means), Held::new(deviations));
        let fits = width > 0 && means.has_shape((1, width)) && deviations.has_shape((1, width));
        fits.then_some(Self { means, deviations })
    }
}

impl<C: RowMajor> Layer for Standardisation<C> {
    fn inputs(&self) -> usize {
        self.means.state.x.shape().1
    }
    fn outputs(&self) -> usize {
        self.inputs()
    }
    fn trace(&self) -> usize {
        self.inputs()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let constants = self.means.weights(at).iter().zip(self.deviations.weights(at));
        for ((out, a), (mean, deviation)) in trace.iter_mut().zip(input).zip(constants) {
            *out = (a - mean) / deviation;
        }
    }
    fn backward(&self, at: Point, _input: &[f32], _trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        for ((e, error), deviation) in input_errors.iter_mut().zip(errors).zip(self.deviations.weights(at)) {
            *e = *error / deviation;
        }
    }
    fn trains(&self) -> bool {
        false
    }
    fn admits(&self, _input: &[f32], _trace: &[f32], _errors: &[f32]) -> bool {
        true
    }
    fn accumulate(&mut self, _keep: f32, _input: &[f32], _trace: &[f32], _errors: &[f32]) {}
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        visit(self.means.parameter(Role::Mean));
        visit(self.deviations.parameter(Role::Deviation));
    }
}

impl<const N: usize> Fixed for Standardise<N> {
    const ZERO: Self = Self { means: Held::zeros([[0.0; N]]), deviations: Held::zeros([[0.0; N]]) };
    const INPUTS: usize = N;
    const OUTPUTS: usize = N;
    const TRACE: usize = N;
    const WEIGHTS: usize = 2 * N;
    const WORKSPACE: usize = workspace(1, N);
    const SCHEMA: u64 = {
        assert!(N > 0, "a standardisation has at least one feature");
        Kind::Standardise { width: N as u32 }.hash()
    };
}
