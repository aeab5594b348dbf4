//! Forward pass of the blocks that GPT and ViT are made of; see [`Blocks`] for the equations.

use super::Weights;
use crate::error::Result;
use graftage::model::Blocks;
use tch::{Device, Kind, Tensor};

/// Cosines and sines [T, size] of the angles by which pairs of numbers are rotated at each position (Su et al.
/// 2021, "RoFormer", eq. 15): position·10000^(−2i/size) for pair i, which consists of the numbers i and i + size/2.
/// The sine of the first one is negative.
pub struct Rotary {
    cosines: Tensor,
    sines: Tensor,
}

impl Rotary {
    /// Creates the tables for heads of an even size.
    pub fn new(places: usize, size: usize, device: Device) -> Result<Self> {
        let half = size / 2;
        let angle = |place: usize, i: usize| place as f64 * 10000f64.powf(-2.0 * (i % half) as f64 / size as f64);
        let tensor = |f: &dyn Fn(usize, f64) -> f64| {
            let place = |place| (0..size).map(move |i| f(i, angle(place, i)) as f32);
            let numbers: Vec<_> = (0..places).flat_map(place).collect();
            Tensor::f_from_slice(&numbers)?.f_view([places as i64, size as i64])?.f_to_device(device)
        };
        let sine = |i, angle: f64| if i < half { -angle.sin() } else { angle.sin() };
        Ok(Self { cosines: tensor(&|_, angle| angle.cos())?, sines: tensor(&sine)? })
    }

    /// Rotates [B, heads, T, size].
    fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let places = x.size()[2];
        let of = |t: &Tensor| t.f_narrow(0, 0, places)?.f_to_kind(x.kind());
        let (cosines, sines) = (of(&self.cosines)?, of(&self.sines)?);
        // The other number of each pair, in its place.
        let others = x.f_roll(x.size()[3] / 2, -1)?;
        Ok(x.f_mul(&cosines)?.f_addcmul(&others, &sines)?)
    }
}

/// Maps [B, T, width] to the same shape. With `rotary`, positions are turned and a place sees none after it.
pub(super) fn forward(blocks: &Blocks, weights: &Weights, mut x: Tensor, rotary: Option<&Rotary>) -> Result<Tensor> {
    for block in 0..blocks.layers {
        let name = |tensor: &str| Blocks::name(block, tensor);
        let n = weights.normalised(&x, &name("norm1.gain"))?;
        let mixed = attention(blocks, weights, block, &n, rotary)?;
        x = add(blocks, x, &weights.product(&mixed, &name("out.weight"))?)?;
        let n = weights.normalised(&x, &name("norm2.gain"))?;
        let hidden = weights.product(&n, &name("up.weight"))?.f_relu()?.f_square()?;
        x = add(blocks, x, &weights.product(&hidden, &name("down.weight"))?)?;
    }
    Ok(x)
}

/// Computes softmax(q kᵀ/√size) v in each head, side by side [B, T, width].
fn attention(blocks: &Blocks, weights: &Weights, block: usize, n: &Tensor, rotary: Option<&Rotary>) -> Result<Tensor> {
    let (batch, places, width) = n.size3()?;
    let size = [batch, places, blocks.heads as i64, width / blocks.heads as i64];
    let heads = |tensor: &str| -> Result<Tensor> {
        Ok(weights.product(n, &Blocks::name(block, tensor))?.f_view(size)?.f_transpose(1, 2)?)
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
fn add(blocks: &Blocks, x: Tensor, branch: &Tensor) -> Result<Tensor> {
    let scale = 1.0 / (2.0 * blocks.layers as f64).sqrt();
    // A tensor as factor lets one pass over memory convert, multiply and add.
    Ok(x.f_addcmul(branch, &Tensor::f_full([1], scale, (Kind::Float, x.device()))?)?)
}
