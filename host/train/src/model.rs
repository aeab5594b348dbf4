//! Models that can be trained: the architectures that a configuration can name.
//!
//! | model | samples | architecture |
//! |---|---|---|
//! | [`Mlp`] | features of any shape | dense layers with ReLU between them; also core's own network, for devices |
//! | [`Convolutional`] | images | blocks of convolutions with ReLU and max pooling, a dense layer, the head |
//! | [`Gpt`] | text as bytes | transformer decoder: RMS normalisation before branches, rotary positions, squared ReLU |
//! | [`Vit`] | images | transformer encoder over patches with learnt positions, and the mean of its outputs |
//!
//! [`Model::parameters`] is the complete list of a model's parameters with their names; the
//! [network](crate::network::Network) in libtorch is built from this list.

mod convolutional;
mod gpt;
mod mlp;
mod rotary;
mod transformer;
mod vit;
mod weights;

pub use convolutional::Convolutional;
pub use gpt::Gpt;
pub use graftage::model::Mlp;
pub use rotary::Rotary;
pub use vit::Vit;
pub use weights::Weights;

use crate::error::Result;
use graftage::model::{Description, Parameter, Shape};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Device, Tensor};

/// Architecture of a network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Dense layers.
    Mlp(Mlp),
    /// Convolutions.
    Convolutional(Convolutional),
    /// A transformer that predicts the next byte.
    Gpt(Gpt),
    /// A transformer over the patches of an image.
    Vit(Vit),
}

/// Properties of an architecture, and its forward pass. The samples have a shape that `check` accepts.
trait Architecture: fmt::Display {
    /// See [`Model::check`].
    fn check(&self, shape: &Shape) -> Result<()>;

    /// See [`Model::parameters`].
    fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>>;

    /// See [`Model::activations`].
    fn activations(&self, shape: &Shape) -> Result<usize>;

    /// See [`Model::with_width`].
    fn with_width(&self, width: usize) -> Result<Model>;

    /// See [`Model::forward`].
    fn forward(&self, weights: &Weights, shape: &Shape, input: &Tensor) -> Result<Tensor>;

    /// See [`Model::context`].
    fn context(&self) -> Option<usize> {
        None
    }

    /// See [`Model::rotary`].
    fn rotary(&self, _device: Device) -> Result<Option<Rotary>> {
        Ok(None)
    }
}

impl Model {
    fn architecture(&self) -> &dyn Architecture {
        match self {
            Self::Mlp(model) => model,
            Self::Convolutional(model) => model,
            Self::Gpt(model) => model,
            Self::Vit(model) => model,
        }
    }

    /// Returns the model that a checkpoint describes.
    ///
    /// # Errors
    /// Returns an error if this crate does not know it.
    pub fn of(description: &Description) -> Result<Self> {
        Ok(description.model()?)
    }

    /// Checks that the configuration works with samples of this shape.
    ///
    /// # Errors
    /// Returns one line with the wrong number and a value that works.
    pub fn check(&self, shape: &Shape) -> Result<()> {
        shape.check()?;
        self.architecture().check(shape)
    }

    /// Returns all parameters, in order.
    ///
    /// # Errors
    /// Same as [`Model::check`].
    pub fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>> {
        self.check(shape)?;
        self.architecture().parameters(shape)
    }

    /// Returns how many numbers the forward pass keeps per sample (per window of a text) for the backward pass, in
    /// single precision: the inputs of all products, and what normalisations, activations, pooling and attention need.
    ///
    /// # Errors
    /// Same as [`Model::check`].
    pub fn activations(&self, shape: &Shape) -> Result<usize> {
        self.check(shape)?;
        self.architecture().activations(shape)
    }

    /// Returns the number of bytes of text that the model sees at once; `None` if it does not read a text.
    pub fn context(&self) -> Option<usize> {
        self.architecture().context()
    }

    /// Returns the same model at another width. It applies to all hidden layers of an MLP. Channels keep their ratio to
    /// the first block's. A transformer keeps the size of its heads.
    ///
    /// # Errors
    /// Returns an error if the width is not a multiple of the size of a transformer's heads.
    pub fn with_width(&self, width: usize) -> Result<Self> {
        self.architecture().with_width(width)
    }

    /// Computes logits: [B, classes] of features [B, inputs], or [B, T, 256] of bytes [B, T] of kind Int64 with T at
    /// most the context.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn forward(&self, weights: &Weights, shape: &Shape, input: &Tensor) -> Result<Tensor> {
        self.architecture().forward(weights, shape, input)
    }

    /// Returns the tables of rotary positions; `None` if the model has none.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn rotary(&self, device: Device) -> Result<Option<Rotary>> {
        self.architecture().rotary(device)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.architecture().fmt(f)
    }
}
