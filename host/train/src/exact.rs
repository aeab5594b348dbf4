//! Core's rule on libtorch tensors in exact order: the bits of core's own matrices.

use crate::error::Result;
use graftage::network::{Layers, MovedBy, Update};
use graftage::record::Record;
use graftage::replay::{self, Target};
use graftage_core::image::Image;
use graftage_core::matrix::RowMajor;
use graftage_core::network::Parameter;
use graftage_core::norm::Workspace;
use graftage_core::scion::{Rule, Scion};
use graftage_core::transport::Alignment;
use graftage_optim::tensor::{Exact, Operand};
use tch::{Device, Kind, Tensor};

/// Computes the adaptation of a record again with X, Y and M as libtorch tensors and every operation in core's order;
/// gradients come from core's network.
///
/// # Errors
/// See [`replay::with_core`].
pub fn replayed(record: &Record, image: &Image) -> Result<Target> {
    Ok(replay::with(record, image, "libtorch-exact", |network| over(network, Device::Cpu))?.target)
}

/// The rule on tensors of a device. Between steps, the state is in the network, which also accumulates the
/// gradients.
#[derive(Debug)]
pub struct OnTensors(pub Device);

/// Makes libtorch compute every step of a network.
pub fn over(network: Layers, device: Device) -> MovedBy<OnTensors> {
    MovedBy::new(network, OnTensors(device))
}

/// Copies a matrix into a tensor on a device.
pub fn upload(matrix: &impl RowMajor, device: Device) -> Exact {
    let (rows, columns) = matrix.shape();
    Exact(Tensor::from_slice(matrix.elements()).view([rows as i64, columns as i64]).to_device(device))
}

/// Copies weights of an image into a tensor of this shape on a device.
pub fn words(weights: &[[u8; 4]], (rows, columns): (usize, usize), device: Device) -> Tensor {
    let weights: Vec<f32> = weights.iter().map(|weight| f32::from_le_bytes(*weight)).collect();
    Tensor::from_slice(&weights).view([rows as i64, columns as i64]).to_device(device)
}

/// Copies a tensor's elements into a matrix of the same shape.
pub fn download(tensor: &Exact, matrix: &mut impl RowMajor) {
    let elements = matrix.elements_mut();
    let count = elements.len();
    tensor.0.to_device(Device::Cpu).contiguous().view([-1]).copy_data(elements, count);
}

/// Provides the memory for one step of an m × n parameter.
pub fn workspace((m, n): (usize, usize), device: Device, f: impl FnOnce(&mut Workspace<Exact>)) {
    let mut direction = Exact(Tensor::zeros([m as i64, n as i64], (Kind::Float, device)));
    let empty = || Exact(Tensor::new());
    let [mut first, mut second, mut third] = [empty(), empty(), empty()];
    f(&mut Workspace { direction: &mut direction, squares: [&mut first, &mut second, &mut third] });
}

impl Update for OnTensors {
    fn advance(&mut self, _index: usize, parameter: Parameter, rule: &Rule, t: u64, start: Option<&[[u8; 4]]>) {
        let Parameter { mut state, geometry, alignment, .. } = parameter;
        let device = self.0;
        let [x, y, m] = [&state.x, &state.y, &state.m].map(|matrix| upload(matrix, device));
        let mut tensors = Scion { x, y, m };
        let mean = alignment.mean.map(|mean| Tensor::full([1, 1], f64::from(mean), (Kind::Float, device)).into());
        let mut on_tensors = Alignment { mean, weight: alignment.weight };
        let start = start.map(|start| words(start, state.x.shape(), device));
        workspace(state.x.shape(), device, |work| {
            tensors.advance(*geometry, rule, t, start.as_ref(), &mut on_tensors, work);
        });
        *alignment = Alignment { mean: on_tensors.mean.as_ref().map(Operand::number), weight: on_tensors.weight };
        download(&tensors.x, &mut state.x);
        download(&tensors.y, &mut state.y);
        download(&tensors.m, &mut state.m);
    }
}
