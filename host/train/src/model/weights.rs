//! Weights by name, and the layers that use them.

use super::rotary::Rotary;
use crate::error::Result;
use graftage_optim::tensor::Precision;
use std::collections::HashMap;
use tch::{Kind, Tensor};

/// Weights by name, and the layers that use them.
pub struct Weights<'a> {
    /// Tensors of all parameters.
    pub tensors: &'a HashMap<String, Tensor>,
    /// Precision of products.
    pub precision: Precision,
    /// Rotary positions, if the model has them.
    pub rotary: Option<&'a Rotary>,
}

/// Term added to the mean square before taking the root, so that the normalisation of zeros is defined.
const EPSILON: f64 = 1e-6;

impl Weights<'_> {
    /// Returns a weight. Every name that a forward pass uses is in the model's list of parameters.
    pub(super) fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    /// Converts a tensor to the kind in which products are computed.
    fn cast(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(match self.precision {
            Precision::Float32 => tensor.shallow_clone(),
            Precision::Bfloat16 => tensor.f_to_kind(Kind::BFloat16)?,
        })
    }

    /// Computes a Wᵀ for a weight (outputs, inputs).
    pub(super) fn product(&self, a: &Tensor, weight: &str) -> Result<Tensor> {
        Ok(self.cast(a)?.f_linear(&self.cast(self.get(weight))?, None::<&Tensor>)?)
    }

    /// Computes a Wᵀ + b.
    pub(super) fn dense(&self, a: &Tensor, weight: &str, bias: &str) -> Result<Tensor> {
        Ok(self.cast(a)?.f_linear(&self.cast(self.get(weight))?, Some(&self.cast(self.get(bias))?))?)
    }

    /// Convolution with square kernels and stride 1; the image keeps its size.
    pub(super) fn convolution(&self, a: &Tensor, weight: &str, bias: &str) -> Result<Tensor> {
        let weight = self.cast(self.get(weight))?;
        let padding = weight.size().last().map_or(0, |side| side / 2);
        let bias = self.cast(self.get(bias))?;
        Ok(self.cast(a)?.f_conv2d(&weight, Some(&bias), [1, 1], [padding, padding], [1, 1], 1)?)
    }

    /// Computes gain · x/√(mean of x² along the last axis + ε), in binary32.
    pub(super) fn normalised(&self, x: &Tensor, gain: &str) -> Result<Tensor> {
        let gain = self.get(gain);
        Ok(x.f_rms_norm(gain.size(), Some(gain), EPSILON)?)
    }
}
