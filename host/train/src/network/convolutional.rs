//! Forward pass of a convolutional network.

use super::Weights;
use crate::error::Result;
use graftage::model::{Convolution, Convolutional, Image, Shape};
use tch::Tensor;

/// Returns logits [B, classes] of images [B, channels·height·width].
pub(super) fn forward(model: &Convolutional, weights: &Weights, shape: &Shape, input: &Tensor) -> Result<Tensor> {
    let Image { channels, height, width } = shape.image()?;
    let mut a = input.f_view([-1, channels as i64, height as i64, width as i64])?;
    for Convolution { name, last, .. } in model.layers(shape)? {
        a = weights.convolution(&a, &format!("{name}.weight"), &format!("{name}.bias"))?.f_relu()?;
        if last {
            a = a.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?;
        }
    }
    let a = weights.dense(&a.f_flatten(1, -1)?, "dense.weight", "dense.bias")?.f_relu()?;
    weights.dense(&a, "head.weight", "head.bias")
}
