//! Transformer decoder over bytes: embedding table of the 256 bytes, blocks with rotary positions, RMS normalisation,
//! head.

use super::transformer::Blocks;
use super::{BYTES, Parameter, Shape, in_range, usage};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A transformer that predicts the next byte.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Gpt {
    /// Number of blocks.
    pub layers: usize,
    /// Numbers per byte.
    pub width: usize,
    /// Heads of the attention, among which the width is divided.
    pub heads: usize,
    /// Number of bytes that the model sees at once.
    pub context: usize,
    /// True if the head is also the embedding table.
    #[serde(default)]
    pub tied: bool,
}

/// Name of the embedding table.
const EMBED: &str = "embed.weight";
/// Name of the head. In a tied model it is also the embedding table, which is then stepped as a head (like in Pethick
/// et al. 2025).
const HEAD: &str = "head.weight";

impl Gpt {
    pub(super) fn check(&self, shape: &Shape) -> Result<()> {
        if *shape != Shape::Text {
            return Err(usage("[model.gpt] takes a text, and the data has features; [data.text] reads one".into()));
        }
        in_range(&[("context", self.context)])?;
        self.blocks().check(true)
    }

    pub(super) fn blocks(&self) -> Blocks {
        Blocks { layers: self.layers, width: self.width, heads: self.heads }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let table = (!self.tied).then(|| Parameter::new(EMBED, [BYTES, self.width]));
        let last = [Parameter::new("norm.gain", [self.width]), Parameter::new(HEAD, [BYTES, self.width])];
        table.into_iter().chain(self.blocks().parameters()).chain(last).collect()
    }

    pub(super) fn activations(&self) -> usize {
        // In addition to the blocks: the last normalisation and the softmax.
        self.blocks().activations(self.context) + self.context * (Blocks::normalisation(self.width) + BYTES)
    }
}

impl fmt::Display for Gpt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { layers, width, heads, context, tied } = self;
        let head = if *tied { ", tied head" } else { "" };
        write!(f, "GPT of {layers} layers, width {width}, {heads} heads, context {context}{head}")
    }
}

#[cfg(feature = "torch")]
mod torch {
    use super::{EMBED, Gpt, HEAD};
    use crate::error::Result;
    use crate::model::network::Weights;
    use crate::model::transformer::torch::Rotary;
    use tch::Tensor;

    impl Gpt {
        /// Returns logits [B, T, 256] of bytes [B, T] of kind Int64.
        pub(in crate::model) fn forward(
            &self,
            weights: &Weights,
            rotary: Option<&Rotary>,
            input: &Tensor,
        ) -> Result<Tensor> {
            let x = Tensor::f_embedding(weights.get(if self.tied { HEAD } else { EMBED }), input, -1, false, false)?;
            let x = self.blocks().forward(weights, x, rotary)?;
            let n = weights.normalised(&x, "norm.gain")?;
            weights.product(&n, HEAD)
        }
    }
}
