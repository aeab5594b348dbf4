//! Weights as safetensors: `layers.I.weight` (outputs, inputs) and `layers.I.bias` (outputs), with the architecture and
//! the data's scale and split in the metadata.

use crate::error::{Error, Result};
use crate::files;
use crate::network::Layers;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Kind, Layer, Parameter};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// What a checkpoint says besides the weights.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct About {
    /// The architecture.
    pub layers: Vec<Kind>,
    /// What raw features were divided by.
    pub scale: f32,
    /// Samples of the training part; the others test.
    pub train: usize,
    /// Seed of the split.
    pub split_seed: u64,
}

/// A trained network: what is saved is X.
#[derive(Clone, PartialEq, Debug)]
pub struct Checkpoint {
    /// What it says besides the weights.
    pub about: About,
    /// The weights of every parameter, in the network's order, row by row.
    pub weights: Vec<Vec<f32>>,
}

/// Where the metadata keeps [`About`].
const ABOUT: &str = "graftage";

impl Checkpoint {
    /// (name, shape) of every tensor, in the network's order.
    fn tensors(layers: &[Kind]) -> Vec<(String, Vec<usize>)> {
        let mut tensors = Vec::new();
        for (index, kind) in layers.iter().enumerate() {
            if let Kind::Dense { inputs, outputs } = *kind {
                tensors.push((format!("layers.{index}.weight"), vec![outputs as usize, inputs as usize]));
                tensors.push((format!("layers.{index}.bias"), vec![outputs as usize]));
            }
        }
        tensors
    }

    /// Numbers of a sample, and classes.
    pub fn shape(&self) -> (usize, usize) {
        let (first, last) = (self.about.layers.first(), self.about.layers.last());
        (first.map_or(0, |kind| kind.shape().0 as usize), last.map_or(0, |kind| kind.shape().1 as usize))
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Where the file is none, lacks a tensor, or a tensor has another shape or type, the layers do not fit together, or
    /// a weight or the scale is not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        let wrong = |what: String| Error::content(path, what);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| wrong(format!("no safetensors file: {e}")))?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| wrong(format!("no safetensors file: {e}")))?;
        let about = metadata.metadata().as_ref().and_then(|entries| entries.get(ABOUT));
        let about = about.ok_or_else(|| wrong("no checkpoint of graftage: its metadata is missing".into()))?;
        let about: About = serde_json::from_str(about).map_err(|e| wrong(format!("damaged metadata: {e}")))?;
        if !(about.scale > 0.0 && about.scale.is_finite()) {
            return Err(wrong(format!("the scale of its data is {}, not a positive number", about.scale)));
        }
        let mut weights = Vec::new();
        for (name, shape) in Self::tensors(&about.layers) {
            let tensor = tensors.tensor(&name).map_err(|_| wrong(format!("tensor {name} is missing")))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                let (dtype, found) = (tensor.dtype(), tensor.shape());
                return Err(wrong(format!(
                    "tensor {name} is {dtype:?} {found:?}, the architecture asks for F32 {shape:?}"
                )));
            }
            let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let values: Vec<f32> = values.collect();
            if let Some(at) = values.iter().position(|w| !w.is_finite()) {
                return Err(wrong(format!("tensor {name} has a weight that is not finite, at {at}")));
            }
            weights.push(values);
        }
        let checkpoint = Self { about, weights };
        checkpoint.network().map_err(|e| wrong(e.to_string()))?;
        Ok(checkpoint)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes: Vec<Vec<u8>> =
            self.weights.iter().map(|w| w.iter().flat_map(|e| e.to_le_bytes()).collect()).collect();
        let mut views = Vec::new();
        for ((name, shape), bytes) in Self::tensors(&self.about.layers).into_iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, shape, bytes).map_err(|e| Error::content(path, e))?;
            views.push((name, view));
        }
        let about = serde_json::to_string(&self.about).map_err(|e| Error::content(path, e))?;
        let metadata = HashMap::from([(ABOUT.to_owned(), about)]);
        let file = serialize(views, Some(metadata)).map_err(|e| Error::content(path, e))?;
        files::write(path, &file)
    }

    /// The network with these weights: Y = X, M = 0, geometries unset.
    ///
    /// # Errors
    /// Where the layers do not fit together.
    pub fn network(&self) -> Result<Layers> {
        let mut network = Layers::new(&self.about.layers)
            .ok_or_else(|| Error::Usage("the layers of the checkpoint do not fit together".into()))?;
        let mut weights = self.weights.iter();
        network.parameters(&mut |Parameter { mut state, .. }| {
            for (x, w) in state.x.elements_mut().iter_mut().zip(weights.next().into_iter().flatten()) {
                *x = *w;
            }
            state.start();
        });
        Ok(network)
    }
}
