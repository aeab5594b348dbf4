//! Trainable models: the architectures that a configuration can name.
//!
//! | model | samples | architecture |
//! |---|---|---|
//! | [`Mlp`] | features of any shape | dense layers with ReLU between them; also core's own network, for devices |
//! | [`Convolutional`] | images | blocks of convolutions with ReLU and max pooling, a dense layer, the head |
//! | [`Gpt`] | text as bytes | transformer decoder: RMS normalisation before branches, rotary positions, squared ReLU |
//! | [`Vit`] | images | transformer encoder over patches with learnt positions, and the mean of its outputs |
//!
//! An image has shape [height, width] or [channels, height, width]. [`Model::parameters`] is the complete list of a
//! model's parameters with their names; the network in libtorch is built from this list.

mod convolutional;
mod gpt;
mod mlp;
mod transformer;
mod vit;

pub use convolutional::{Convolution, Convolutional};
pub use gpt::Gpt;
pub use mlp::Mlp;
pub use transformer::Blocks;
pub use vit::Vit;

use crate::data::Dataset;
use crate::error::{Error, Result};
use graftage_core::network::Kind;
use serde::{Deserialize, Serialize};
use std::fmt;

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

/// Shape of a sample, and the number of outputs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Features of a shape, and a class.
    Features {
        /// Shape, e.g. `[64]` or `[28, 28]`.
        shape: Vec<usize>,
        /// Number of classes.
        classes: usize,
    },
    /// Bytes, and for each the one that follows.
    Text,
}

/// Numbers of inputs and outputs per sample; for a text, per byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// Number of inputs.
    pub inputs: usize,
    /// Number of outputs, one per class.
    pub outputs: usize,
}

/// Shape of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// Number of channels.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// Number of values of a byte.
pub const BYTES: usize = 256;

impl Shape {
    /// Returns the numbers of inputs and outputs.
    pub fn numbers(&self) -> Numbers {
        match self {
            Self::Features { shape, classes } => Numbers { inputs: shape.iter().product(), outputs: *classes },
            Self::Text => Numbers { inputs: 1, outputs: BYTES },
        }
    }

    /// Shape of the samples of a data set.
    pub fn of(data: &Dataset) -> Self {
        match data {
            Dataset::Labelled(data) => Self::Features { shape: data.shape.clone(), classes: data.legend.classes.len() },
            Dataset::Text(_) => Self::Text,
        }
    }

    /// Shape of the samples as images.
    ///
    /// # Errors
    /// If samples have another shape.
    pub fn image(&self) -> Result<Image> {
        match self {
            Self::Features { shape, .. } => match shape[..] {
                [height, width] => Ok(Image { channels: 1, height, width }),
                [channels, height, width] => Ok(Image { channels, height, width }),
                _ => Err(usage(format!(
                    "samples of shape {shape:?} are not images: an image is height × width or channels × height × width"
                ))),
            },
            Self::Text => Err(usage("this model takes images, but the data is a text; use [model.gpt]".into())),
        }
    }
}

/// A trainable tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// Name, with dots between its parts.
    pub name: String,
    /// Size.
    pub size: Vec<usize>,
}

impl Parameter {
    fn new(name: impl Into<String>, size: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), size: size.into() }
    }

    /// Returns the number of elements.
    pub fn count(&self) -> usize {
        self.size.iter().product()
    }

    /// Returns `true` if it is a factor, which starts at 1.
    pub fn is_gain(&self) -> bool {
        self.name.ends_with("gain")
    }
}

impl Model {
    /// Checks that the configuration works with samples of this shape.
    ///
    /// # Errors
    /// Returns one line with the wrong number and a value that works.
    pub fn check(&self, shape: &Shape) -> Result<()> {
        if let Shape::Features { shape, classes } = shape
            && (shape.iter().product::<usize>() == 0 || *classes < 2)
        {
            return Err(usage(format!(
                "samples of shape {shape:?} in {classes} classes: there must be at least one feature and two classes"
            )));
        }
        match self {
            Self::Mlp(model) => model.check(shape),
            Self::Convolutional(model) => model.check(shape),
            Self::Gpt(model) => model.check(shape),
            Self::Vit(model) => model.check(shape),
        }
    }

    /// Returns all parameters, in order.
    ///
    /// # Errors
    /// Same as [`Model::check`].
    pub fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>> {
        self.check(shape)?;
        match self {
            Self::Mlp(model) => Ok(model.parameters(shape)),
            Self::Convolutional(model) => model.parameters(shape),
            Self::Gpt(model) => Ok(model.parameters()),
            Self::Vit(model) => model.parameters(shape),
        }
    }

    /// Returns how many numbers the forward pass keeps per sample (per window of a text) for the backward pass, in
    /// single precision: the inputs of all products, and what normalisations, activations, pooling and attention need.
    ///
    /// # Errors
    /// Same as [`Model::check`].
    pub fn activations(&self, shape: &Shape) -> Result<usize> {
        self.check(shape)?;
        match self {
            Self::Mlp(model) => Ok(model.activations(shape)),
            Self::Convolutional(model) => model.activations(shape),
            Self::Gpt(model) => Ok(model.activations()),
            Self::Vit(model) => model.activations(shape),
        }
    }

    /// Returns the equivalent layers of core, which exist only for an MLP.
    pub fn layers(&self, shape: &Shape) -> Option<Vec<Kind>> {
        match self {
            Self::Mlp(model) => model.layers(shape),
            _ => None,
        }
    }

    /// Returns the number of bytes of text that the model sees at once.
    pub fn context(&self) -> Option<usize> {
        match self {
            Self::Gpt(model) => Some(model.context),
            _ => None,
        }
    }

    /// Returns the same model at another width. It applies to all hidden layers of an MLP. Channels keep their ratio to
    /// the first block's. A transformer keeps the size of its heads.
    ///
    /// # Errors
    /// Returns an error if the width is not a multiple of the size of a transformer's heads.
    pub fn with_width(&self, width: usize) -> Result<Self> {
        let heads = |heads: usize, old: usize| {
            let size = old / heads.max(1);
            if size == 0 || !width.is_multiple_of(size) {
                return Err(usage(format!("a width of {width} is not a multiple of {size}, the size of a head")));
            }
            Ok(width / size)
        };
        Ok(match self.clone() {
            Self::Mlp(model) => Self::Mlp(Mlp { hidden: vec![width; model.hidden.len()] }),
            Self::Convolutional(model) => {
                let first = model.channels.first().copied().unwrap_or(1).max(1);
                let channels =
                    model.channels.iter().map(|channels| (channels.saturating_mul(width) / first).max(1)).collect();
                Self::Convolutional(Convolutional { channels, ..model })
            }
            Self::Gpt(model) => Self::Gpt(Gpt { heads: heads(model.heads, model.width)?, width, ..model }),
            Self::Vit(model) => Self::Vit(Vit { heads: heads(model.heads, model.width)?, width, ..model }),
        })
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Mlp(model) => write!(f, "{model}"),
            Self::Convolutional(model) => write!(f, "{model}"),
            Self::Gpt(model) => write!(f, "{model}"),
            Self::Vit(model) => write!(f, "{model}"),
        }
    }
}

fn usage(what: String) -> Error {
    Error::Usage(what)
}

/// Largest number in the configuration of a model. Tensor sizes, which are products of two, stay far from overflow.
const LARGEST: usize = 1 << 20;

/// Checks that no number is 0 or larger than any machine could handle.
fn in_range(numbers: &[(&str, usize)]) -> Result<()> {
    match numbers.iter().find(|(_, number)| !(1..=LARGEST).contains(number)) {
        Some((name, number)) => Err(usage(format!("[model] {name} must be from 1 to {LARGEST}, found {number}"))),
        None => Ok(()),
    }
}

/// Formats widths as `8-16-3`.
fn joined(widths: &[usize]) -> String {
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
}
