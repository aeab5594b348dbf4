//! Forward pass of a multilayer perceptron.

use super::Weights;
use crate::error::Result;
use graftage::model::Mlp;
use tch::Tensor;

/// Returns logits [B, classes] of features [B, inputs].
pub(super) fn forward(model: &Mlp, weights: &Weights, input: &Tensor) -> Result<Tensor> {
    let mut a = input.shallow_clone();
    for at in 0..=model.hidden.len() {
        if at > 0 {
            a = a.f_relu()?;
        }
        a = weights.dense(&a, &Mlp::name(at, "weight"), &Mlp::name(at, "bias"))?;
    }
    Ok(a)
}
