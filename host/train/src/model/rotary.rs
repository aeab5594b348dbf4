//! Rotary positions.

use crate::error::Result;
use tch::{Device, Tensor};

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
    pub(super) fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let places = x.size()[2];
        let of = |t: &Tensor| t.f_narrow(0, 0, places)?.f_to_kind(x.kind());
        let (cosines, sines) = (of(&self.cosines)?, of(&self.sines)?);
        // The other number of each pair, in its place.
        let others = x.f_roll(x.size()[3] / 2, -1)?;
        Ok(x.f_mul(&cosines)?.f_addcmul(&others, &sines)?)
    }
}
