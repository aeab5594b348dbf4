//! Forward pass of a transformer encoder over the patches of an image.

use super::{Weights, transformer};
use crate::error::Result;
use graftage::model::{Image, Shape, Vit};
use tch::{Kind, Tensor};

/// Returns logits [B, classes] of images [B, channels·height·width].
pub(super) fn forward(model: &Vit, weights: &Weights, shape: &Shape, input: &Tensor) -> Result<Tensor> {
    let Image { channels, height, width } = shape.image()?;
    let side = model.patch as i64;
    let (rows, columns) = (height as i64 / side, width as i64 / side);
    let cut = input.f_view([-1, channels as i64, rows, side, columns, side])?;
    let patches = cut.f_permute([0, 2, 4, 1, 3, 5])?.f_reshape([-1, rows * columns, channels as i64 * side * side])?;
    let x = weights.product(&patches, "patch.weight")?.f_to_kind(Kind::Float)?;
    let x = x.f_add(weights.get("embed.place"))?;
    let x = transformer::forward(&model.blocks(), weights, x, None)?;
    let n = weights.normalised(&x, "norm.gain")?.f_mean_dim([1].as_slice(), false, Kind::Float)?;
    weights.product(&n, "head.weight")
}
