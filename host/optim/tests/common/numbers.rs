//! Numbers of tensors, and random ones.

use graftage_core::random::Generator;
use graftage_optim::TransportedScion;
use graftage_optim::tensor::Arithmetic;
use tch::{Device, Tensor};

/// Both arithmetics.
pub const ARITHMETICS: [Arithmetic; 2] = [Arithmetic::Fast, Arithmetic::Exact];

/// Returns random numbers in [−1, 1).
pub fn random(size: &[i64], generator: &mut Generator) -> Tensor {
    let elements: Vec<f32> = (0..size.iter().product()).map(|_| 2.0 * generator.uniform() - 1.0).collect();
    Tensor::from_slice(&elements).view(size)
}

/// Returns the elements, row by row.
pub fn elements(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().to_device(Device::Cpu).flatten(0, -1)).unwrap()
}

/// Returns the bits of all elements.
pub fn bits(tensors: &[Tensor]) -> Vec<Vec<u32>> {
    tensors.iter().map(|tensor| elements(tensor).iter().map(|e| e.to_bits()).collect()).collect()
}

/// Returns the weights X.
pub fn x(optimizer: &TransportedScion) -> Vec<Tensor> {
    optimizer.x().unwrap().into_iter().map(|(_, tensor)| tensor).collect()
}
