//! Convolutional network: blocks of convolutions, each followed by ReLU, with max pooling that halves both sides after
//! every block; then a dense layer with ReLU, and the head.

use super::{Architecture, Model, Weights};
use crate::error::{Error, Result};
use graftage::model::{Image, Numbers, Parameter, Shape, in_range, joined};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::Tensor;

/// Convolutional network for images.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Convolutional {
    /// Channels of each block.
    #[serde(default = "channels")]
    pub channels: Vec<usize>,
    /// Convolutions per block.
    #[serde(default = "two")]
    pub convolutions: usize,
    /// Side of the kernels, odd. The image keeps its size.
    #[serde(default = "three")]
    pub kernel: usize,
    /// Width of the dense layer.
    #[serde(default = "hidden")]
    pub hidden: usize,
}

fn channels() -> Vec<usize> {
    vec![32, 64]
}

fn two() -> usize {
    2
}

fn three() -> usize {
    3
}

fn hidden() -> usize {
    128
}

/// One convolution, with stride 1 and ReLU.
struct Convolution {
    /// Name before `.weight` and `.bias`.
    name: String,
    /// Shape of the image that it sees.
    image: Image,
    /// Output channels.
    outputs: usize,
    /// True if pooling follows.
    last: bool,
}

impl Convolutional {
    /// Convolutions, in their order.
    fn layers(&self, shape: &Shape) -> Result<Vec<Convolution>> {
        let mut image = shape.image()?;
        let mut layers = Vec::new();
        for (block, outputs) in self.channels.iter().copied().enumerate() {
            for at in 0..self.convolutions {
                let last = at + 1 == self.convolutions;
                layers.push(Convolution { name: format!("blocks.{block}.{at}"), image, outputs, last });
                image.channels = outputs;
            }
            (image.height, image.width) = (image.height / 2, image.width / 2);
        }
        Ok(layers)
    }

    /// Returns the number of values after the last pooling.
    fn flat(&self, shape: &Shape) -> Result<usize> {
        let Image { height, width, .. } = shape.image()?;
        let blocks = self.channels.len();
        Ok((height >> blocks) * (width >> blocks) * self.channels.last().copied().unwrap_or(0))
    }
}

impl Architecture for Convolutional {
    fn check(&self, shape: &Shape) -> Result<()> {
        let Image { height, width, .. } = shape.image()?;
        in_range(&[("convolutions", self.convolutions), ("kernel", self.kernel), ("hidden", self.hidden)])?;
        self.channels.iter().try_for_each(|channels| in_range(&[("channels", *channels)]))?;
        if self.channels.is_empty() {
            return Err(Error::usage(
                "[model.convolutional] channels must name at least one block; [32, 64] makes two",
            ));
        }
        // Taps further out would see only padding.
        let widest = 2 * height.max(width) - 1;
        if self.kernel.is_multiple_of(2) || self.kernel > widest {
            let kernel = self.kernel;
            return Err(Error::usage(format!(
                "[model.convolutional] kernel must be odd and at most {widest}, found {kernel}"
            )));
        }
        let most = height.min(width).ilog2() as usize;
        if self.channels.len() > most {
            return Err(Error::usage(format!(
                "[model.convolutional] channels: {} blocks would halve an image of {height}×{width} to nothing; use at most {most}",
                self.channels.len()
            )));
        }
        Ok(())
    }

    fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>> {
        let kernel = self.kernel;
        let mut parameters = Vec::new();
        for Convolution { name, image, outputs, .. } in self.layers(shape)? {
            parameters.push(Parameter::new(format!("{name}.weight"), [outputs, image.channels, kernel, kernel]));
            parameters.push(Parameter::new(format!("{name}.bias"), [outputs]));
        }
        parameters.push(Parameter::new("dense.weight", [self.hidden, self.flat(shape)?]));
        parameters.push(Parameter::new("dense.bias", [self.hidden]));
        let classes = shape.numbers().outputs;
        parameters.push(Parameter::new("head.weight", [classes, self.hidden]));
        parameters.push(Parameter::new("head.bias", [classes]));
        Ok(parameters)
    }

    fn activations(&self, shape: &Shape) -> Result<usize> {
        // For each convolution its input and the output of its ReLU; for each pooling its indices, with 64 bits each.
        let Numbers { inputs, outputs } = shape.numbers();
        let mut count = inputs + self.flat(shape)? + self.hidden + outputs;
        for Convolution { image: Image { height, width, .. }, outputs, last, .. } in self.layers(shape)? {
            count += outputs * height * width;
            if last {
                count += 3 * outputs * (height / 2) * (width / 2);
            }
        }
        Ok(count)
    }

    fn with_width(&self, width: usize) -> Result<Model> {
        let first = self.channels.first().copied().unwrap_or(1).max(1);
        let scaled = |channels: &usize| (channels.saturating_mul(width) / first).max(1);
        Ok(Model::Convolutional(Self { channels: self.channels.iter().map(scaled).collect(), ..self.clone() }))
    }

    fn forward(&self, weights: &Weights, shape: &Shape, input: &Tensor) -> Result<Tensor> {
        let Image { channels, height, width } = shape.image()?;
        let mut a = input.f_view([-1, channels as i64, height as i64, width as i64])?;
        for Convolution { name, last, .. } in self.layers(shape)? {
            a = weights.convolution(&a, &format!("{name}.weight"), &format!("{name}.bias"))?.f_relu()?;
            if last {
                a = a.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?;
            }
        }
        let a = weights.dense(&a.f_flatten(1, -1)?, "dense.weight", "dense.bias")?.f_relu()?;
        weights.dense(&a, "head.weight", "head.bias")
    }
}

impl fmt::Display for Convolutional {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { channels, convolutions, kernel, hidden } = self;
        write!(
            f,
            "convolutional network of {} channels, {convolutions} {kernel}×{kernel} per block, hidden {hidden}",
            joined(channels)
        )
    }
}
