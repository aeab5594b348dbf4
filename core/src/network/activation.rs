//! Activations, element by element, for any number of elements. δ' is computed from δ and the output a:
//!
//! | layer | a | δ' |
//! |---|---|---|
//! | [`Relu`] | a' if a' > 0, else +0 | δ if a > 0, else +0 |
//! | [`Tanh`] | tanh a' by [`Functions::Libm`] | δ·(1 − a·a) |
//! | `MicromathTanh` (feature `micromath`) | tanh a' by `Functions::Micromath` | the same |
//! | [`Clip`] | c if a' > c, −c if a' < −c, else a' | δ if −c < a < c, else +0 |

use crate::arithmetic::Functions;
use crate::network::kind::is_bound;
use crate::network::shape::{Constant, Count};
use crate::network::{Fixed, Kind, Layer, Parameter};
use crate::scion::Point;
use core::marker::PhantomData;

/// Function that is applied to each element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// a' if a' > 0, else +0.
    Rectifier,
    /// tanh a'.
    Tanh(Functions),
    /// a' if it is between −c and c, else the nearer of the two.
    Clip {
        /// Bits of c, which is finite and > 0.
        bound: u32,
    },
}

impl Function {
    fn forward(self, a: f32) -> f32 {
        match self {
            Function::Rectifier if a > 0.0 => a,
            Function::Rectifier => 0.0,
            Function::Tanh(functions) => functions.tanh(a),
            Function::Clip { bound } => match f32::from_bits(bound) {
                bound if a > bound => bound,
                bound if a < -bound => -bound,
                _ => a,
            },
        }
    }

    /// δ' from an output a and its δ.
    fn backward(self, a: f32, error: f32) -> f32 {
        match self {
            Function::Rectifier if a > 0.0 => error,
            Function::Rectifier => 0.0,
            Function::Tanh(_) => error * (1.0 - a * a),
            Function::Clip { bound } => match f32::from_bits(bound) {
                bound if a < bound && a > -bound => error,
                _ => 0.0,
            },
        }
    }

    const fn kind(self, width: u32) -> Kind {
        match self {
            Function::Rectifier => Kind::Relu { width },
            Function::Tanh(functions) => Kind::Tanh { width, functions },
            Function::Clip { bound } => Kind::Clip { width, bound },
        }
    }
}

/// Element-wise function, given as a type or as a run-time value.
pub trait Elementwise {
    /// Returns the function as a value.
    fn function(&self) -> Function;
}

impl Elementwise for Function {
    fn function(&self) -> Function {
        *self
    }
}

/// Function that is given as a type.
pub trait Named {
    /// The function as a value.
    const FUNCTION: Function;
}

impl<N: Named> Elementwise for PhantomData<N> {
    fn function(&self) -> Function {
        N::FUNCTION
    }
}

/// [`Function::Rectifier`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rectifier;

impl Named for Rectifier {
    const FUNCTION: Function = Function::Rectifier;
}

/// [`Function::Tanh`] of [`Functions::Libm`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LibmTanh;

impl Named for LibmTanh {
    const FUNCTION: Function = Function::Tanh(Functions::Libm);
}

/// [`Function::Tanh`] of [`Functions::Micromath`].
#[cfg(feature = "micromath")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastTanh;

#[cfg(feature = "micromath")]
impl Named for FastTanh {
    const FUNCTION: Function = Function::Tanh(Functions::Micromath);
}

/// [`Function::Clip`] at the number with these bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clamp<const BOUND: u32>;

impl<const BOUND: u32> Named for Clamp<BOUND> {
    const FUNCTION: Function = {
        assert!(is_bound(BOUND), "a number is clipped at a bound that is finite and > 0");
        Function::Clip { bound: BOUND }
    };
}

/// Layer that applies a function to each of its elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Activation<F, W> {
    function: F,
    width: W,
}

/// ReLU over N numbers.
pub type Relu<const N: usize> = Activation<PhantomData<Rectifier>, Constant<N>>;

/// tanh over N numbers, within three units in the last place.
pub type Tanh<const N: usize> = Activation<PhantomData<LibmTanh>, Constant<N>>;

/// Clip of N numbers at ±c, given by the bits of c: `Clip<4, { 5.0f32.to_bits() }>`.
pub type Clip<const N: usize, const BOUND: u32> = Activation<PhantomData<Clamp<BOUND>>, Constant<N>>;

/// tanh over N numbers, with an error of up to 0.0011, see `docs/arithmetic.md`.
#[cfg(feature = "micromath")]
pub type MicromathTanh<const N: usize> = Activation<PhantomData<FastTanh>, Constant<N>>;

impl<F, W> Activation<F, W> {
    /// Creates a layer that applies `function` to `width` numbers.
    pub const fn new(function: F, width: W) -> Self {
        Self { function, width }
    }
}

impl<F: Elementwise, W: Count> Layer for Activation<F, W> {
    fn inputs(&self) -> usize {
        self.width.count()
    }
    fn outputs(&self) -> usize {
        self.width.count()
    }
    fn trace(&self) -> usize {
        self.width.count()
    }
    fn forward(&self, _at: Point, input: &[f32], trace: &mut [f32]) {
        for (out, a) in trace.iter_mut().zip(input) {
            *out = self.function.function().forward(*a);
        }
    }
    fn backward(&self, _at: Point, _input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        for ((e, a), error) in input_errors.iter_mut().zip(trace).zip(errors) {
            *e = self.function.function().backward(*a, *error);
        }
    }
    fn trains(&self) -> bool {
        false
    }
    fn admits(&self, _input: &[f32], _trace: &[f32], _errors: &[f32]) -> bool {
        true
    }
    fn accumulate(&mut self, _keep: f32, _input: &[f32], _trace: &[f32], _errors: &[f32]) {}
    fn parameters(&mut self, _visit: &mut dyn FnMut(Parameter)) {}
}

impl<F: Named, const N: usize> Fixed for Activation<PhantomData<F>, Constant<N>> {
    const ZERO: Self = Self::new(PhantomData, Constant);
    const INPUTS: usize = N;
    const OUTPUTS: usize = N;
    const TRACE: usize = N;
    const WEIGHTS: usize = 0;
    const WORKSPACE: usize = 0;
    const SCHEMA: u64 = F::FUNCTION.kind(N as u32).hash();
}
