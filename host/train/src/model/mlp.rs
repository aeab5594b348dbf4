//! Dense layers, each W a + b, with ReLU between them.

use super::{Architecture, Mlp, Model, Weights};
use crate::error::Result;
use graftage::model::{Parameter, Shape};
use tch::Tensor;

impl Architecture for Mlp {
    fn check(&self, shape: &Shape) -> Result<()> {
        Ok(self.check(shape)?)
    }

    fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>> {
        Ok(self.parameters(shape)?)
    }

    fn activations(&self, shape: &Shape) -> Result<usize> {
        Ok(self.widths(shape).iter().sum())
    }

    fn with_width(&self, width: usize) -> Result<Model> {
        Ok(Model::Mlp(Self { hidden: vec![width; self.hidden.len()] }))
    }

    fn forward(&self, weights: &Weights, _shape: &Shape, input: &Tensor) -> Result<Tensor> {
        let mut a = input.shallow_clone();
        for at in 0..=self.hidden.len() {
            if at > 0 {
                a = a.f_relu()?;
            }
            a = weights.dense(&a, &Self::name(at, "weight"), &Self::name(at, "bias"))?;
        }
        Ok(a)
    }
}
