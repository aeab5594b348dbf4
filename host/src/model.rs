//! What can be trained: the architecture, as a configuration says it.
//!
//! | model | samples | what it is |
//! |---|---|---|
//! | [`Mlp`] | features of any shape | dense layers with ReLU between them: also core's own network, for devices |
//! | [`Convolutional`] | images | blocks of convolutions with ReLU and max pooling, a dense layer, the head |
//! | [`Gpt`] | text as bytes | a transformer decoder: RMS normalisation before each branch, rotary positions, squared ReLU |
//! | [`Vit`] | images | a transformer encoder over patches with learnt positions, and the mean of its outputs |
//!
//! An image is of shape [height, width] or [channels, height, width]. A model's parameters, with their names, are
//! [`Model::parameters`] and nothing else; the network in libtorch is made of that list.

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

/// The architecture of a network.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Dense layers.
    Mlp(Mlp),
    /// Convolutions.
    Convolutional(Convolutional),
    /// A transformer that says the next byte.
    Gpt(Gpt),
    /// A transformer over the patches of an image.
    Vit(Vit),
}

/// What a sample is, and how many outputs there are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Numbers of a shape, and a class.
    Features {
        /// E.g. `[64]` or `[28, 28]`.
        shape: Vec<usize>,
        /// Classes.
        classes: usize,
    },
    /// Bytes, and for each the one that follows.
    Text,
}

/// Values of a byte.
pub const BYTES: usize = 256;

impl Shape {
    /// Numbers of a sample and outputs for it; of a text, of one byte.
    pub fn numbers(&self) -> (usize, usize) {
        match self {
            Self::Features { shape, classes } => (shape.iter().product(), *classes),
            Self::Text => (1, BYTES),
        }
    }

    /// Shape of the samples of a data set.
    pub fn of(data: &Dataset) -> Self {
        match data {
            Dataset::Labelled(data) => Self::Features { shape: data.shape.clone(), classes: data.legend.classes.len() },
            Dataset::Text(_) => Self::Text,
        }
    }

    /// Channels, height and width of an image.
    ///
    /// # Errors
    /// If samples have another shape.
    pub fn image(&self) -> Result<(usize, usize, usize)> {
        match self {
            Self::Features { shape, .. } => match shape[..] {
                [height, width] => Ok((1, height, width)),
                [channels, height, width] => Ok((channels, height, width)),
                _ => Err(usage(format!(
                    "samples of shape {shape:?} are no images of height × width or channels × height × width"
                ))),
            },
            Self::Text => Err(usage("a text has no images; [model.gpt] takes it".into())),
        }
    }
}

/// A tensor that is trained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// Its name, of parts with dots between them.
    pub name: String,
    /// Its size.
    pub size: Vec<usize>,
}

impl Parameter {
    fn new(name: impl Into<String>, size: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), size: size.into() }
    }

    /// Its elements.
    pub fn count(&self) -> usize {
        self.size.iter().product()
    }

    /// Whether it multiplies, and so starts at 1.
    pub fn is_gain(&self) -> bool {
        self.name.ends_with("gain")
    }
}

impl Model {
    /// Says which number of a configuration cannot work with samples like these.
    ///
    /// # Errors
    /// One line with the number, and what would do.
    pub fn check(&self, shape: &Shape) -> Result<()> {
        if let Shape::Features { shape, classes } = shape
            && (shape.iter().product::<usize>() == 0 || *classes < 2)
        {
            return Err(usage(format!(
                "samples of shape {shape:?} in {classes} classes: there is nothing to tell apart"
            )));
        }
        match self {
            Self::Mlp(model) => model.check(shape),
            Self::Convolutional(model) => model.check(shape),
            Self::Gpt(model) => model.check(shape),
            Self::Vit(model) => model.check(shape),
        }
    }

    /// All parameters, in their order.
    ///
    /// # Errors
    /// As [`Model::check`].
    pub fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>> {
        self.check(shape)?;
        match self {
            Self::Mlp(model) => Ok(model.parameters(shape)),
            Self::Convolutional(model) => model.parameters(shape),
            Self::Gpt(model) => Ok(model.parameters()),
            Self::Vit(model) => model.parameters(shape),
        }
    }

    /// Numbers that are kept of one sample (of a text, of one window) from the forward pass for the backward one: the input of
    /// every product, and what normalisations, activations, pooling and attention need of theirs; in single precision.
    ///
    /// # Errors
    /// As [`Model::check`].
    pub fn activations(&self, shape: &Shape) -> Result<usize> {
        self.check(shape)?;
        match self {
            Self::Mlp(model) => Ok(model.activations(shape)),
            Self::Convolutional(model) => model.activations(shape),
            Self::Gpt(model) => Ok(model.activations()),
            Self::Vit(model) => model.activations(shape),
        }
    }

    /// Core's own layers, where core has them: of an MLP.
    pub fn layers(&self, shape: &Shape) -> Option<Vec<Kind>> {
        match self {
            Self::Mlp(model) => model.layers(shape),
            _ => None,
        }
    }

    /// Bytes of text that it sees at once.
    pub fn context(&self) -> Option<usize> {
        match self {
            Self::Gpt(model) => Some(model.context),
            _ => None,
        }
    }

    /// The same model at another width: of all hidden layers, of all channels by their ratio to the first, of a transformer with
    /// heads of the same size.
    ///
    /// # Errors
    /// Where the heads of a transformer do not divide it.
    pub fn with_width(&self, width: usize) -> Result<Self> {
        let heads = |heads: usize, old: usize| {
            let size = old / heads.max(1);
            if size == 0 || !width.is_multiple_of(size) {
                return Err(usage(format!("a width of {width} is no multiple of the heads' size {size}")));
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

/// The largest number that a configuration of a model can have: sizes of tensors, products of two, stay far from overflow.
const LARGEST: usize = 1 << 20;

/// Refuses a number that is 0, or larger than any machine would take.
fn in_range(numbers: &[(&str, usize)]) -> Result<()> {
    match numbers.iter().find(|(_, number)| !(1..=LARGEST).contains(number)) {
        Some((name, number)) => Err(usage(format!("[model] {name}: {number}; from 1 to {LARGEST} would do"))),
        None => Ok(()),
    }
}

/// `8-16-3`.
fn chain(widths: &[usize]) -> String {
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
}
