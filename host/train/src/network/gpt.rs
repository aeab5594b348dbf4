//! Forward pass of a transformer decoder over bytes.

use super::Weights;
use super::transformer::{self, Rotary};
use crate::error::Result;
use graftage::model::Gpt;
use tch::Tensor;

/// Returns logits [B, T, 256] of bytes [B, T] of kind Int64.
pub(super) fn forward(model: &Gpt, weights: &Weights, rotary: Option<&Rotary>, input: &Tensor) -> Result<Tensor> {
    let x = Tensor::f_embedding(weights.get(if model.tied { Gpt::HEAD } else { Gpt::EMBED }), input, -1, false, false)?;
    let x = transformer::forward(&model.blocks(), weights, x, rotary)?;
    let n = weights.normalised(&x, "norm.gain")?;
    weights.product(&n, Gpt::HEAD)
}
