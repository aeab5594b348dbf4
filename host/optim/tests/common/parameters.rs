//! A model of parameters of all shapes, and losses with known gradients.

use super::numbers::random;
use graftage_core::random::Generator;
use tch::{Device, Kind, Tensor, nn};

/// Name, size and stepped matrix of each parameter: two of one stack, vectors, one of four dimensions, and a head of
/// its own shape.
pub const PARAMETERS: [(&str, &[i64], (usize, usize)); 7] = [
    ("scalar", &[], (1, 1)),
    ("first", &[6, 4], (6, 4)),
    ("bias", &[6], (1, 6)),
    ("second", &[6, 4], (6, 4)),
    ("filter", &[3, 2, 3, 1], (3, 6)),
    ("head", &[3, 6], (3, 6)),
    ("offset", &[3], (1, 3)),
];

/// Returns a model of [`PARAMETERS`] with random weights.
pub fn model(seed: u64) -> (nn::VarStore, Vec<Tensor>) {
    model_on(Device::Cpu, seed)
}

/// Like [`model`], on a device.
pub fn model_on(device: Device, seed: u64) -> (nn::VarStore, Vec<Tensor>) {
    let store = nn::VarStore::new(device);
    let mut generator = Generator::new(seed, 1);
    let make =
        |(name, size, _): &(&str, &[i64], (usize, usize))| store.root().var_copy(name, &random(size, &mut generator));
    let tensors = PARAMETERS.iter().map(make).collect();
    (store, tensors)
}

/// Returns a loss with these constant gradients.
pub fn linear_loss(parameters: &[Tensor], gradients: &[Tensor]) -> Tensor {
    parameters.iter().zip(gradients).map(|(p, g)| (p * g.to_device(p.device())).sum(Kind::Float)).sum()
}

/// Returns random gradients of all parameters.
pub fn gradients(generator: &mut Generator) -> Vec<Tensor> {
    PARAMETERS.iter().map(|(_, size, _)| random(size, generator)).collect()
}
