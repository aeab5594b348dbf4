//! A model in libtorch.

use crate::error::{Error, Result};
use crate::model::{Model, Rotary, Weights};
use graftage::model::Shape;
use graftage_optim::tensor::Precision;
use std::collections::HashMap;
use tch::{Kind, Tensor, nn, no_grad_guard};

/// A model with its weights in a store.
pub struct Network {
    model: Model,
    shape: Shape,
    tensors: HashMap<String, Tensor>,
    /// Rotary positions, if the model has them.
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
        let rotary = model.rotary(root.device())?;
        Ok(Self { model: model.clone(), shape: shape.clone(), tensors, rotary })
    }

    /// Rounds all matrices to bfloat16. Vectors stay in binary32.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn round(&self) -> Result<()> {
        let _guard = no_grad_guard();
        for tensor in self.tensors.values().filter(|tensor| tensor.dim() >= 2) {
            tensor.shallow_clone().f_set_data(&tensor.f_to_kind(Kind::BFloat16)?)?;
        }
        Ok(())
    }

    /// Computes logits: [B, classes] of features [B, inputs], or [B, T, 256] of bytes [B, T] of kind Int64 with T at
    /// most the context. With bfloat16, all products use it; normalisations, sums of branches and weights stay in
    /// binary32.
    ///
    /// # Errors
    /// Returns an error if the input has another size or kind, or if libtorch fails.
    pub fn forward(&self, input: &Tensor, precision: Precision) -> Result<Tensor> {
        self.check(input)?;
        let weights = Weights { tensors: &self.tensors, precision, rotary: self.rotary.as_ref() };
        self.model.forward(&weights, &self.shape, input)
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
