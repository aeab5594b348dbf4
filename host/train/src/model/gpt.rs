//! Transformer decoder over bytes: embedding table of the 256 bytes, blocks with rotary positions, RMS normalisation,
//! head.

use super::rotary::Rotary;
use super::transformer::Blocks;
use super::{Architecture, Model, Weights};
use crate::error::{Error, Result};
use graftage::model::{BYTES, Parameter, Shape, in_range};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Device, Kind, Tensor};

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
    const EMBED: &str = "embed.weight";
    /// Name of the head: in a tied model also the table, which is then stepped as a head (as Pethick et al. 2025 do).
    const HEAD: &str = "head.weight";

    /// Size of its blocks.
    fn blocks(&self) -> Blocks {
        Blocks { layers: self.layers, width: self.width, heads: self.heads }
    }
}

impl Architecture for Gpt {
    fn check(&self, shape: &Shape) -> Result<()> {
        if *shape != Shape::Text {
            return Err(Error::usage("[model.gpt] takes a text, but the data has features; use [data.text]"));
        }
        in_range(&[("context", self.context)])?;
        self.blocks().check(true)
    }

    fn parameters(&self, _shape: &Shape) -> Result<Vec<Parameter>> {
        let table = (!self.tied).then(|| Parameter::new(Self::EMBED, [BYTES, self.width]));
        let last = [Parameter::new("norm.gain", [self.width]), Parameter::new(Self::HEAD, [BYTES, self.width])];
        Ok(table.into_iter().chain(self.blocks().parameters()).chain(last).collect())
    }

    fn activations(&self, _shape: &Shape) -> Result<usize> {
        // In addition to the blocks: the last normalisation and the softmax.
        Ok(self.blocks().activations(self.context) + self.context * (Blocks::normalisation(self.width) + BYTES))
    }

    fn with_width(&self, width: usize) -> Result<Model> {
        Ok(Model::Gpt(Self { heads: self.blocks().heads_at(width)?, width, ..self.clone() }))
    }

    fn forward(&self, weights: &Weights, _shape: &Shape, input: &Tensor) -> Result<Tensor> {
        let x = Tensor::f_embedding(
            weights.get(if self.tied { Self::HEAD } else { Self::EMBED }),
            input,
            -1,
            false,
            false,
        )?
        .f_to_kind(Kind::Float)?;
        let x = self.blocks().forward(weights, x, weights.rotary)?;
        let n = weights.normalised(&x, "norm.gain")?;
        weights.product(&n, Self::HEAD)
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }

    fn rotary(&self, device: Device) -> Result<Option<Rotary>> {
        Rotary::new(self.context, self.width / self.heads, device).map(Some)
    }
}

impl fmt::Display for Gpt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { layers, width, heads, context, tied } = self;
        let head = if *tied { ", tied head" } else { "" };
        write!(f, "GPT of {layers} layers, width {width}, {heads} heads, context {context}{head}")
    }
}
