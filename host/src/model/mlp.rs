//! Dense layers, each W a + b, with ReLU between them.

use super::{Numbers, Parameter, Shape, in_range, joined, usage};
use crate::error::Result;
use graftage_core::network::Kind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::once;

/// Dense layers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mlp {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
}

impl Mlp {
    /// Checks that the configuration works with samples of this shape.
    ///
    /// # Errors
    /// Returns one line with the wrong number and a value that works.
    pub fn check(&self, shape: &Shape) -> Result<()> {
        shape.check()?;
        if *shape == Shape::Text {
            return Err(usage(
                "[model.mlp] takes samples with features, but the data is a text; use [model.gpt]".into(),
            ));
        }
        self.hidden.iter().try_for_each(|width| in_range(&[("hidden", *width)]))
    }

    /// Returns the widths of inputs, hidden layers and outputs.
    pub fn widths(&self, shape: &Shape) -> Vec<usize> {
        let Numbers { inputs, outputs } = shape.numbers();
        once(inputs).chain(self.hidden.iter().copied()).chain([outputs]).collect()
    }

    /// Returns the name of a tensor of dense layer `at`. Its number counts layers and activations.
    pub fn name(at: usize, tensor: &str) -> String {
        format!("layers.{}.{tensor}", 2 * at)
    }

    /// Returns all parameters, in order.
    ///
    /// # Errors
    /// Same as [`Mlp::check`].
    pub fn parameters(&self, shape: &Shape) -> Result<Vec<Parameter>> {
        self.check(shape)?;
        let widths = self.widths(shape);
        let layers = widths.windows(2).enumerate();
        let of = |(at, pair): (usize, &[usize])| {
            [
                Parameter::new(Self::name(at, "weight"), [pair[1], pair[0]]),
                Parameter::new(Self::name(at, "bias"), [pair[1]]),
            ]
        };
        Ok(layers.flat_map(of).collect())
    }

    /// Returns the layers of core's network; `None` if a width is too large for them.
    pub fn layers(&self, shape: &Shape) -> Option<Vec<Kind>> {
        let widths =
            self.widths(shape).into_iter().map(|width| u32::try_from(width).ok()).collect::<Option<Vec<_>>>()?;
        let mut layers = Vec::new();
        for pair in widths.windows(2) {
            let (inputs, outputs) = (pair[0], pair[1]);
            layers.extend([Kind::Dense { inputs, outputs }, Kind::Relu { width: outputs }]);
        }
        layers.pop();
        Some(layers)
    }
}

impl fmt::Display for Mlp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.hidden[..] {
            [] => f.write_str("linear classifier"),
            _ => write!(f, "MLP with hidden layers of {}", joined(&self.hidden)),
        }
    }
}
