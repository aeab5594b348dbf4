//! Models as checkpoints describe them, and the one that core can compute: [`Mlp`].
//!
//! An image has shape [height, width] or [channels, height, width].

mod mlp;

pub use mlp::Mlp;

use crate::data::Dataset;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A model in a checkpoint: its name, and its settings as the configuration of its training has them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Description(Map<String, Value>);

impl Description {
    /// Describes a model.
    ///
    /// # Errors
    /// If JSON cannot hold it under its name.
    pub fn of(model: &impl Serialize) -> Result<Self> {
        serde_json::to_value(model).and_then(serde_json::from_value).map(Self).map_err(|e| usage(e.to_string()))
    }

    /// Name of the model.
    pub fn name(&self) -> &str {
        self.0.keys().next().map_or("", String::as_str)
    }

    /// Returns the model.
    ///
    /// # Errors
    /// If it is not one that M knows.
    pub fn model<M: DeserializeOwned>(&self) -> Result<M> {
        serde_json::from_value(Value::Object(self.0.clone())).map_err(|e| usage(format!("its model: {e}")))
    }

    /// Returns the model if core can compute it.
    ///
    /// # Errors
    /// If core cannot.
    pub fn mlp(&self) -> Result<Mlp> {
        /// A model that core can compute.
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Computable {
            Mlp(Mlp),
        }
        match (self.name(), self.0.len()) {
            ("mlp", 1) => self.model().map(|Computable::Mlp(mlp)| mlp),
            (name, _) => {
                Err(usage(format!("{name}: only libtorch can compute this model; the network on a device cannot")))
            }
        }
    }
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

    /// Checks that there is something to learn from.
    ///
    /// # Errors
    /// If samples have no features, or fewer than two classes.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Features { shape, classes } if shape.iter().product::<usize>() == 0 || *classes < 2 => {
                Err(usage(format!(
                    "samples of shape {shape:?} in {classes} classes: there must be at least one feature and two classes"
                )))
            }
            _ => Ok(()),
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
    /// Creates a parameter.
    pub fn new(name: impl Into<String>, size: impl Into<Vec<usize>>) -> Self {
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

fn usage(what: String) -> Error {
    Error::Usage(what)
}

/// Largest number in the configuration of a model. Tensor sizes, which are products of two, stay far from overflow.
const LARGEST: usize = 1 << 20;

/// Checks that no number of a model's configuration is 0 or larger than any machine could handle.
///
/// # Errors
/// If one is; the message names the first.
pub fn in_range(numbers: &[(&str, usize)]) -> Result<()> {
    match numbers.iter().find(|(_, number)| !(1..=LARGEST).contains(number)) {
        Some((name, number)) => Err(usage(format!("[model] {name} must be from 1 to {LARGEST}, found {number}"))),
        None => Ok(()),
    }
}

/// Formats widths as `8-16-3`.
pub fn joined(widths: &[usize]) -> String {
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
}
