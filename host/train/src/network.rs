//! A model in libtorch.

mod convolutional;
mod gpt;
mod mlp;
mod transformer;
mod vit;

use crate::error::{Error, Result};
use graftage::model::{Model, Shape};
use graftage_optim::tensor::Precision;
use std::collections::HashMap;
use tch::{Kind, Tensor, nn};
use transformer::Rotary;

/// A model with its weights in a store.
pub struct Network {
    model: Model,
    shape: Shape,
    tensors: HashMap<String, Tensor>,
    /// Rotary positions, only for a GPT.
    rotary: Option<Rotary>,
}

impl Network {
    /// Creates the model's parameters in a store, by name. Gains are 1 and everything else is 0 until an optimizer
    /// initialises them.
    ///
    /// # Errors
    /// Same as [`Model::check`]; also if libtorch has no memory for them.
    pub fn new(root: &nn::Path, model: &Model, shape: &Shape) -> Result<Self> {
        let mut tensors = HashMap::new();
        for parameter in model.parameters(shape)? {
            let size: Vec<_> = parameter.size.iter().map(|n| *n as i64).collect();
            let mut parts: Vec<_> = parameter.name.split('.').collect();
            let last = parts.pop().unwrap_or_default();
            let folder = parts.into_iter().fold(root.clone(), |path, part| path / part);
            let start = if parameter.is_gain() { 1.0 } else { 0.0 };
            tensors.insert(parameter.name.clone(), folder.f_var(last, &size, nn::Init::Const(start))?);
        }
        let rotary = match model {
            Model::Gpt(gpt) => Some(Rotary::new(gpt.context, gpt.width / gpt.heads, root.device())?),
            _ => None,
        };
        Ok(Self { model: model.clone(), shape: shape.clone(), tensors, rotary })
    }

    /// Computes logits: [B, classes] of features [B, inputs], or [B, T, 256] of bytes [B, T] of kind Int64 with T at
    /// most the context. With bfloat16, all products use it; normalisations, sums of branches and weights stay in
    /// binary32.
    ///
    /// # Errors
    /// Returns an error if the input has another size or kind, or if libtorch fails.
    pub fn forward(&self, input: &Tensor, precision: Precision) -> Result<Tensor> {
        self.check(input)?;
        let weights = Weights { tensors: &self.tensors, precision };
        match &self.model {
            Model::Mlp(model) => mlp::forward(model, &weights, input),
            Model::Convolutional(model) => convolutional::forward(model, &weights, &self.shape, input),
            Model::Vit(model) => vit::forward(model, &weights, &self.shape, input),
            Model::Gpt(model) => gpt::forward(model, &weights, self.rotary.as_ref(), input),
        }
    }

    fn check(&self, input: &Tensor) -> Result<()> {
        let (size, kind) = (input.size(), input.kind());
        let inputs = self.shape.numbers().inputs as i64;
        let (fits, wanted) = match self.model.context() {
            Some(context) => {
                let fits = matches!(size[..], [_, places] if (1..=context as i64).contains(&places));
                (fits && kind == Kind::Int64, format!("[B, T] with T in 1..={context} of kind Int64"))
            }
            None => {
                let fits = matches!(size[..], [_, numbers] if numbers == inputs);
                (fits && kind == Kind::Float, format!("[B, {inputs}] of kind Float"))
            }
        };
        if fits {
            Ok(())
        } else {
            Err(Error::usage(format!(
                "the input has shape {size:?} and kind {kind:?}, but {} takes {wanted}",
                self.model
            )))
        }
    }
}

/// Weights by name, and the layers that use them.
pub(super) struct Weights<'a> {
    tensors: &'a HashMap<String, Tensor>,
    precision: Precision,
}

/// Term added to the mean square before taking the root, so that the normalisation of zeros is defined.
const EPSILON: f64 = 1e-6;

impl Weights<'_> {
    /// Returns a weight. Every name that a forward pass uses is in the model's list of parameters.
    pub fn get(&self, name: &str) -> &Tensor {
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
    pub fn product(&self, a: &Tensor, weight: &str) -> Result<Tensor> {
        Ok(self.cast(a)?.f_linear(&self.cast(self.get(weight))?, None::<&Tensor>)?)
    }

    /// Computes a Wᵀ + b.
    pub fn dense(&self, a: &Tensor, weight: &str, bias: &str) -> Result<Tensor> {
        Ok(self.cast(a)?.f_linear(&self.cast(self.get(weight))?, Some(&self.cast(self.get(bias))?))?)
    }

    /// Convolution with square kernels and stride 1; the image keeps its size.
    pub fn convolution(&self, a: &Tensor, weight: &str, bias: &str) -> Result<Tensor> {
        let weight = self.cast(self.get(weight))?;
        let padding = weight.size().last().map_or(0, |side| side / 2);
        let bias = self.cast(self.get(bias))?;
        Ok(self.cast(a)?.f_conv2d(&weight, Some(&bias), [1, 1], [padding, padding], [1, 1], 1)?)
    }

    /// Computes gain · x/√(mean of x² along the last axis + ε), in binary32.
    pub fn normalised(&self, x: &Tensor, gain: &str) -> Result<Tensor> {
        let gain = self.get(gain);
        Ok(x.f_rms_norm(gain.size(), Some(gain), EPSILON)?)
    }
}
