//! Block of GPT and ViT: RMS normalisation before each branch, attention, and an MLP with squared ReLU, without biases.
//! With L blocks, both branches are divided by √(2L), so that the sum keeps its size at any depth.
//!
//! ```text
//! x ← x + W_out attention(q, k, v) / √(2L)      q, k, v = W_q n, W_k n, W_v n,  n = gain₁ · x/rms(x)
//! x ← x + W_down relu(W_up n)² / √(2L)          n = gain₂ · x/rms(x)
//! ```

use super::{Parameter, in_range, usage};
use crate::error::Result;

/// Size of the blocks.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
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
            return Err(usage(format!("[model] width: {width} cannot be divided into {heads}; use {fits}")));
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
}
