//! Block of GPT and ViT: RMS normalisation before each branch, attention, and an MLP with squared ReLU, without biases.
//! With L blocks, both branches are divided by √(2L), so that the sum keeps its size at any depth.
//!
//! ```text
//! x ← x + W_out attention(q, k, v) / √(2L)      q, k, v = W_q n, W_k n, W_v n,  n = gain₁ · x/rms(x)
//! x ← x + W_down relu(W_up n)² / √(2L)          n = gain₂ · x/rms(x)
//! ```

use super::rotary::Rotary;
use super::weights::Weights;
use crate::error::{Error, Result};
use graftage::model::{Parameter, in_range};
use tch::{Kind, Tensor};

/// Size of the blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    /// Number of blocks L.
    pub layers: usize,
    /// Numbers per token.
    pub width: usize,
    /// Attention heads, which share the width.
    pub heads: usize,
}

/// Ratio of the MLP's hidden width to the block's width.
const EXPANSION: usize = 4;

impl Blocks {
    /// Checks the sizes. `rotary` requires heads of an even size.
    pub(super) fn check(&self, rotary: bool) -> Result<()> {
        let Self { layers, width, heads } = *self;
        in_range(&[("layers", layers), ("width", width), ("heads", heads)])?;
        let (unit, heads) = match rotary {
            true => (2 * heads, format!("{heads} heads of an even size, which rotary positions need")),
            false => (heads, format!("{heads} heads")),
        };
        if !width.is_multiple_of(unit) {
            let fits = width.next_multiple_of(unit);
            return Err(Error::usage(format!("[model] width: {width} cannot be divided into {heads}; use {fits}")));
        }
        Ok(())
    }

    /// Name of a tensor of a block.
    pub fn name(block: usize, tensor: &str) -> String {
        format!("blocks.{block}.{tensor}")
    }

    pub(super) fn parameters(self) -> impl Iterator<Item = Parameter> {
        let (d, hidden) = (self.width, EXPANSION * self.width);
        (0..self.layers).flat_map(move |block| {
            let matrix = |name: &str, rows, columns| Parameter::new(Self::name(block, name), [rows, columns]);
            let gain = |name: &str| Parameter::new(Self::name(block, name), [d]);
            [
                gain("norm1.gain"),
                matrix("q.weight", d, d),
                matrix("k.weight", d, d),
                matrix("v.weight", d, d),
                matrix("out.weight", d, d),
                gain("norm2.gain"),
                matrix("up.weight", hidden, d),
                matrix("down.weight", d, hidden),
            ]
        })
    }

    /// Returns how many numbers are kept for `tokens` tokens. Each normalisation keeps its input, the inverse root (one
    /// number), their product and the result. Attention keeps q, k, v, their mixture and one number per head. The MLP
    /// keeps the outputs of ReLU and square.
    pub(super) fn activations(&self, tokens: usize) -> usize {
        let Self { layers, width: d, heads } = *self;
        layers * tokens * (2 * Self::normalisation(d) + 4 * d + heads + 2 * EXPANSION * d)
    }

    /// Returns how many numbers the normalisation of one token keeps.
    pub(super) fn normalisation(width: usize) -> usize {
        3 * width + 1
    }

    /// Maps [B, T, width] to the same shape. With `rotary`, positions are turned and a place sees none after it.
    pub(super) fn forward(&self, weights: &Weights, mut x: Tensor, rotary: Option<&Rotary>) -> Result<Tensor> {
        for block in 0..self.layers {
            let name = |tensor: &str| Self::name(block, tensor);
            let n = weights.normalised(&x, &name("norm1.gain"))?;
            let mixed = self.attention(weights, block, &n, rotary)?;
            x = self.add(x, &weights.product(&mixed, &name("out.weight"))?)?;
            let n = weights.normalised(&x, &name("norm2.gain"))?;
            let hidden = weights.product(&n, &name("up.weight"))?.f_relu()?.f_square()?;
            x = self.add(x, &weights.product(&hidden, &name("down.weight"))?)?;
        }
        Ok(x)
    }

    /// Computes softmax(q kᵀ/√size) v in each head, side by side [B, T, width].
    fn attention(&self, weights: &Weights, block: usize, n: &Tensor, rotary: Option<&Rotary>) -> Result<Tensor> {
        let (batch, places, width) = n.size3()?;
        let size = [batch, places, self.heads as i64, width / self.heads as i64];
        let heads = |tensor: &str| -> Result<Tensor> {
            Ok(weights.product(n, &Self::name(block, tensor))?.f_view(size)?.f_transpose(1, 2)?)
        };
        let (mut q, mut k, v) = (heads("q.weight")?, heads("k.weight")?, heads("v.weight")?);
        if let Some(rotary) = rotary {
            (q, k) = (rotary.turn(&q)?, rotary.turn(&k)?);
        }
        let causal = rotary.is_some();
        let none = None::<&Tensor>;
        let mixed = Tensor::f_scaled_dot_product_attention(&q, &k, &v, none, 0.0, causal, None, false)?;
        Ok(mixed.f_transpose(1, 2)?.f_reshape([batch, places, width])?)
    }

    /// Computes x + branch/√(2L), in binary32.
    fn add(&self, x: Tensor, branch: &Tensor) -> Result<Tensor> {
        let scale = 1.0 / (2.0 * self.layers as f64).sqrt();
        // A tensor as factor lets one pass over memory convert, multiply and add.
        Ok(x.f_addcmul(branch, &Tensor::f_full([1], scale, (Kind::Float, x.device()))?)?)
    }

    /// Returns the number of heads at another width. Heads keep their size.
    pub(super) fn heads_at(&self, width: usize) -> Result<usize> {
        let size = self.width / self.heads.max(1);
        if size == 0 || !width.is_multiple_of(size) {
            return Err(Error::usage(format!("a width of {width} is not a multiple of {size}, the size of a head")));
        }
        Ok(width / size)
    }
}
