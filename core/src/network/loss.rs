//! Losses of one sample with outputs a, and their derivatives δ_j = w·∂loss/∂a_j. They are scaled by w = (1 − β_t)/B
//! once, here.
//!
//! | target | loss | δ_j |
//! |---|---|---|
//! | [`Target::Class`] y | softmax cross-entropy: ln s − (a_y − max a) | w'·ε_j, ε_j = e_j/s − [j = y] |
//! | [`Target::Values`] y | mean squared error: (1/n)Σ_j (a_j − y_j)² | (2w/n)·(a_j − y_j) |
//!
//! Here e_j = exp(a_j − max a) and s = Σ_j e_j. w' is w, or w·(c/‖ε‖₂) if ‖ε‖₂² > c² for a cap c, so no sample counts
//! more than c. A wrong label has the largest error, so the cap often reduces it, and a right one rarely. ‖ε‖₂ is at
//! most √2, so a larger cap has no effect. With two classes, the capped error is the gradient of a loss: the logistic
//! loss, continued as a line below p_y = 1 − c/√2. With more classes, it is the gradient of no loss.
//!
//! Sums use [`arithmetic::sum`](crate::arithmetic::sum).

use crate::arithmetic::{Functions, sqrt, sum};
use crate::error::Refusal;

/// Desired output of a network.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Target<'a> {
    /// Class of the sample; the outputs are logits.
    Class(u32),
    /// One value for each output of the network.
    Values(&'a [f32]),
}

/// Target that a loss compares outputs with: any [`Target`], or a [`Class`].
pub trait Goal: Copy {
    /// Refuses a label that is not a class, a number of values other than that of outputs, and values that are not
    /// finite.
    fn check(self, outputs: usize) -> Result<(), Refusal>;

    /// Computes the loss of the outputs. `errors`, one for each output, become its gradient times the weight.
    fn loss(self, functions: Functions, outputs: &[f32], weight: Weight, errors: &mut [f32]) -> f32;
}

/// Weight of a sample in its batch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Weight {
    /// Share w = (1 − β_t)/B.
    pub share: f32,
    /// Cap c on the output error of a class, before it is multiplied by w; infinite if there is no cap.
    pub cap: f32,
}

/// [`Target::Class`] as a type, so that a program that learns only classes has no code for values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class(pub u32);

impl Goal for Class {
    fn check(self, outputs: usize) -> Result<(), Refusal> {
        let (Self(label), classes) = (self, outputs as u32);
        if label < classes { Ok(()) } else { Err(Refusal::Label { label, classes }) }
    }

    fn loss(self, functions: Functions, outputs: &[f32], weight: Weight, errors: &mut [f32]) -> f32 {
        cross_entropy(functions, outputs, self.0, weight, errors)
    }
}

impl Goal for Target<'_> {
    fn check(self, outputs: usize) -> Result<(), Refusal> {
        match self {
            Target::Class(label) => Class(label).check(outputs),
            Target::Values(values) if values.len() != outputs => {
                Err(Refusal::Target { expected: outputs as u32, found: values.len() as u32 })
            }
            Target::Values(values) => match values.iter().position(|e| !e.is_finite()) {
                Some(index) => Err(Refusal::TargetNotFinite { index: index as u32 }),
                None => Ok(()),
            },
        }
    }

    fn loss(self, functions: Functions, outputs: &[f32], weight: Weight, errors: &mut [f32]) -> f32 {
        match self {
            Target::Class(label) => Class(label).loss(functions, outputs, weight, errors),
            Target::Values(values) => squared_error(outputs, values, weight.share, errors),
        }
    }
}

/// Σ exp(a_j − max a) for logits whose largest is `top`.
pub fn total(functions: Functions, logits: &[f32], top: f32) -> f32 {
    sum(logits.iter().map(|a| functions.exp(a - top)))
}

/// Largest of the logits; −∞ if there are none.
pub fn top(logits: &[f32]) -> f32 {
    let mut top = f32::NEG_INFINITY;
    for a in logits {
        if *a > top {
            top = *a;
        }
    }
    top
}

/// Sum of the errors, or of their squares; one copy of the code serves both.
#[inline(never)]
fn sum_of(errors: &[f32], square: bool) -> f32 {
    sum(errors.iter().map(|e| if square { e * e } else { *e }))
}

fn cross_entropy(functions: Functions, logits: &[f32], label: u32, weight: Weight, errors: &mut [f32]) -> f32 {
    let top = top(logits);
    for (e, a) in errors.iter_mut().zip(logits) {
        *e = functions.exp(a - top);
    }
    let total = sum_of(errors, false);
    for (j, e) in errors.iter_mut().enumerate() {
        *e = *e / total - if j as u32 == label { 1.0 } else { 0.0 };
    }
    let Weight { share, cap } = weight;
    let square = sum_of(errors, true);
    let weight = if square > cap * cap { share * (cap / sqrt(square)) } else { share };
    errors.iter_mut().for_each(|e| *e *= weight);
    let target = logits.get(label as usize).map_or(0.0, |a| a - top);
    functions.ln(total) - target
}

fn squared_error(outputs: &[f32], values: &[f32], weight: f32, errors: &mut [f32]) -> f32 {
    let n = outputs.len() as f32;
    let scale = 2.0 * weight / n;
    for ((a, y), error) in outputs.iter().zip(values).zip(errors) {
        *error = scale * (a - y);
    }
    sum(outputs.iter().zip(values).map(|(a, y)| (a - y) * (a - y))) / n
}
