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

impl Gpt {
    /// Name of the table of the bytes.
    pub const EMBED: &str = "embed.weight";
    /// Name of the head: in a tied model also the table, which is then stepped as a head (as Pethick et al. 2025 do).
    pub const HEAD: &str = "head.weight";

    pub(super) fn check(&self, shape: &Shape) -> Result<()> {
        if *shape != Shape::Text {
            return Err(usage("[model.gpt] takes a text, but the data has features; use [data.text]".into()));
        }
        in_range(&[("context", self.context)])?;
        self.blocks().check(true)
    }

    /// Size of its blocks.
    pub fn blocks(&self) -> Blocks {
        Blocks { layers: self.layers, width: self.width, heads: self.heads }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let table = (!self.tied).then(|| Parameter::new(Self::EMBED, [BYTES, self.width]));
        let last = [Parameter::new("norm.gain", [self.width]), Parameter::new(Self::HEAD, [BYTES, self.width])];
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
