//! Activations, element by element: ReLU a = a' where a' > 0, else +0, with δ' = δ where a > 0, else +0; tanh.

use crate::network::{Fixed, Kind, Layer, Parameter};
use crate::scion::Point;

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
    fn backward(&self, _at: Point, _input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        for ((e, a), error) in input_errors.iter_mut().zip(trace).zip(errors) {
            *e = if *a > 0.0 { *error } else { 0.0 };
        }
    }
    fn admits(&self, _input: &[f32], _trace: &[f32], _errors: &[f32]) -> bool {
        true
    }
    fn accumulate(&mut self, _keep: f32, _input: &[f32], _trace: &[f32], _errors: &[f32]) {}
    fn parameters(&mut self, _visit: &mut dyn FnMut(Parameter)) {}
    fn trains(&self) -> bool {
        false
    }
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
