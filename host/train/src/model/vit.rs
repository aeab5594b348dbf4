//! Transformer encoder over the square patches of an image. Each patch becomes a vector, plus a learnt one for its
//! position. In the blocks every position sees all others. RMS normalisation, the mean over the positions and the head
//! follow.

use super::transformer::Blocks;
use super::{Architecture, Model, Weights};
use crate::error::{Error, Result};
use graftage::model::{Image, Numbers, Parameter, Shape, in_range};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Kind, Tensor};

/// A transformer over the patches of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vit {
    /// Number of blocks.
    pub layers: usize,
    /// Numbers per patch.
    pub width: usize,
    /// Heads of the attention, among which the width is divided.
    pub heads: usize,
    /// Side of a patch; divides both sides of the image.
    pub patch: usize,
}

impl Vit {
    /// Size of its blocks.
    fn blocks(&self) -> Blocks {
        Blocks { layers: self.layers, width: self.width, heads: self.heads }
    }

    /// Returns the number of patches and the numbers per patch.
    fn patches(&self, shape: &Shape) -> Result<(usize, usize)> {
        let Image { channels, height, width } = shape.image()?;
        Ok(((height / self.patch) * (width / self.patch), channels * self.patch * self.patch))
    }
}

impl Architecture for Vit {
    fn check(&self, shape: &Shape) -> Result<()> {
        let Image { height, width, .. } = shape.image()?;
        in_range(&[("patch", self.patch)])?;
        let patch = self.patch;
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            let both = |side: &usize| height.is_multiple_of(*side) && width.is_multiple_of(*side);
            let sides: Vec<_> = (1..=height.min(width)).filter(both).map(|side| side.to_string()).collect();
            return Err(Error::usage(format!(
                "[model.vit] patch: {patch} does not divide an image of {height}×{width}; use one of {}",
                sides.join(", ")
            )));
        }
        self.blocks().check(false)
    }

    fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>> {
        let (count, size) = self.patches(shape)?;
        let first =
            [Parameter::new("patch.weight", [self.width, size]), Parameter::new("embed.place", [count, self.width])];
        let last = [
            Parameter::new("norm.gain", [self.width]),
            Parameter::new("head.weight", [shape.numbers().outputs, self.width]),
        ];
        Ok(first.into_iter().chain(self.blocks().parameters()).chain(last).collect())
    }

    fn activations(&self, shape: &Shape) -> Result<usize> {
        let Numbers { inputs, outputs } = shape.numbers();
        let count = self.patches(shape)?.0;
        let blocks = self.blocks().activations(count);
        Ok(inputs + blocks + count * Blocks::normalisation(self.width) + self.width + outputs)
    }

    fn with_width(&self, width: usize) -> Result<Model> {
        Ok(Model::Vit(Self { heads: self.blocks().heads_at(width)?, width, ..self.clone() }))
    }

    fn forward(&self, weights: &Weights, shape: &Shape, input: &Tensor) -> Result<Tensor> {
        let Image { channels, height, width } = shape.image()?;
        let side = self.patch as i64;
        let (rows, columns) = (height as i64 / side, width as i64 / side);
        let cut = input.f_view([-1, channels as i64, rows, side, columns, side])?;
        let patches =
            cut.f_permute([0, 2, 4, 1, 3, 5])?.f_reshape([-1, rows * columns, channels as i64 * side * side])?;
        let x = weights.product(&patches, "patch.weight")?.f_to_kind(Kind::Float)?;
        let x = x.f_add(weights.get("embed.place"))?;
        let x = self.blocks().forward(weights, x, None)?;
        let n = weights.normalised(&x, "norm.gain")?.f_mean_dim([1].as_slice(), false, Kind::Float)?;
        weights.product(&n, "head.weight")
    }
}

impl fmt::Display for Vit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { layers, width, heads, patch } = self;
        write!(f, "ViT of {layers} layers, width {width}, {heads} heads, patches of {patch}×{patch}")
    }
}
