//! Weights as safetensors, by the names that the model gives them, with what they are for in the metadata.

use crate::data::{Dataset, Group, Labelled, Normalisation, Normalise, Samples, Source, Split};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Model, Shape};
use crate::network::Layers;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Kind, Layer, Parameter};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// What a checkpoint says besides the weights.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The architecture.
    pub model: Model,
    /// What a sample is.
    pub shape: Shape,
    /// Where the samples came from.
    pub data: Source,
    /// Which of them tested.
    pub split: Split,
    /// What was learnt of the training part's features; `None` of a text.
    pub normalisation: Option<Normalisation>,
    /// Names of the classes, by their labels; none of a text.
    pub classes: Vec<String>,
}

impl About {
    /// Refuses what contradicts itself: samples with numbers have a normalisation and a name for each class, a text has neither.
    fn check(&self) -> Result<()> {
        let ((inputs, classes), named) = (self.shape.numbers(), self.classes.len());
        let refuse = |what: String| Err(Error::Usage(what));
        match (&self.shape, &self.normalisation) {
            (Shape::Features { .. }, None) => refuse("the normalisation is missing".into()),
            (Shape::Features { .. }, Some(_)) if named != classes => {
                refuse(format!("names of {named} classes, there are {classes}"))
            }
            (Shape::Features { .. }, Some(normalisation)) => normalisation.check(inputs),
            (Shape::Text, None) if named == 0 => Ok(()),
            (Shape::Text, _) => refuse("a text with normalisation or classes".into()),
        }
    }

    /// Core's own layers.
    ///
    /// # Errors
    /// Where core has none for this model.
    pub fn layers(&self) -> Result<Vec<Kind>> {
        let what = || format!("{}: only libtorch computes this model, not the network that a device runs", self.model);
        self.model.layers(&self.shape).ok_or_else(|| Error::Usage(what()))
    }

    /// What raw features were divided by, for files of features alone.
    ///
    /// # Errors
    /// Where they were scaled in another way.
    pub fn scale(&self) -> Result<f32> {
        let scale = self.normalisation.as_ref().and_then(Normalisation::scale);
        scale.ok_or_else(|| {
            Error::Usage(
                "its features were not just divided by one number: only those of a training with normalise.divide are read and written so".into(),
            )
        })
    }

    /// How a device takes features: what their sender divides them by, then the constants of a
    /// [`Standardise`](graftage_core::network::Standardise) layer, means and deviations; none where a division is all.
    ///
    /// # Errors
    /// Where the model takes a text.
    pub fn inputs(&self) -> Result<(f32, Vec<Vec<f32>>)> {
        let normalisation = self.normalisation.as_ref();
        let normalisation = normalisation.ok_or_else(|| Error::Usage("a text has no features".into()))?;
        let each = |numbers: &[f32]| numbers.iter().copied().cycle().take(self.shape.numbers().0).collect();
        Ok(match normalisation.scale() {
            Some(scale) => (scale, Vec::new()),
            None => (1.0, vec![each(&normalisation.mean), each(&normalisation.deviation)]),
        })
    }

    /// Its data, labelled or a text; otherwise as [`About::samples`].
    ///
    /// # Errors
    /// Where the data cannot be read, or have other samples than the model takes.
    pub fn dataset(&self, path: Option<&Path>) -> Result<Dataset> {
        match self.normalisation {
            Some(_) => self.samples(path).map(Dataset::Labelled),
            None => path
                .map_or_else(|| self.data.clone(), |path| self.data.with_path(path))
                .load(&self.split, &Normalise::None),
        }
    }

    /// Its data in its own split and scale; with another file in place of the main one where that is named.
    ///
    /// # Errors
    /// Where the data cannot be read, is a text, or has other samples than the model takes.
    pub fn samples(&self, path: Option<&Path>) -> Result<Labelled> {
        let source = path.map_or_else(|| self.data.clone(), |path| self.data.with_path(path));
        let normalisation =
            self.normalisation.as_ref().ok_or_else(|| Error::Usage("a text has no labelled samples".into()))?;
        let (inputs, classes) = self.shape.numbers();
        let labelled = source.load_as(&self.split, normalisation, &self.classes)?;
        for part in [Some(&labelled.train), labelled.validate.as_ref(), Some(&labelled.test)].into_iter().flatten() {
            part.check(source.path(), inputs, classes)?;
        }
        Ok(labelled)
    }

    /// Says that there is no validation part.
    pub fn no_validation(&self) -> Error {
        Error::Usage("its split has no part that validates: `validate` in [split.*] makes one".into())
    }

    /// The groups that the training part lacks, each with its samples, read as by [`About::samples`].
    ///
    /// # Errors
    /// As there, and where the split is not by group.
    pub fn unseen(&self, path: Option<&Path>) -> Result<Vec<(String, Samples)>> {
        let Split::Group(Group { test, .. }) = &self.split else {
            return Err(Error::Usage("its training left no group out: train with [split.group]".into()));
        };
        let alone = |name: &String| {
            let split = Split::Group(Group { test: vec![name.clone()], validate: Vec::new() });
            Ok((name.clone(), Self { split, ..self.clone() }.samples(path)?.test))
        };
        test.iter().map(alone).collect()
    }
}

/// A trained network: what is saved is X.
#[derive(Clone, PartialEq, Debug)]
pub struct Checkpoint {
    /// What it says besides the weights.
    pub about: About,
    /// Name, size and elements, row by row, of every parameter in the model's order.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// Where the metadata keeps [`About`].
const ABOUT: &str = "graftage";

impl Checkpoint {
    /// Numbers of a sample, and classes.
    pub fn shape(&self) -> (usize, usize) {
        self.about.shape.numbers()
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Where the file is none, lacks a tensor, or a tensor has another shape or type than the model says, or a weight or the
    /// normalisation is not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        let wrong = |what: String| Error::content(path, what);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| wrong(format!("no safetensors file: {e}")))?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| wrong(format!("no safetensors file: {e}")))?;
        let about = metadata.metadata().as_ref().and_then(|entries| entries.get(ABOUT));
        let about = about.ok_or_else(|| wrong("no checkpoint of graftage: its metadata is missing".into()))?;
        let about: About = serde_json::from_str(about).map_err(|e| wrong(format!("damaged metadata: {e}")))?;
        about.check().map_err(|e| wrong(format!("damaged metadata: {e}")))?;
        let mut found = Vec::new();
        for parameter in about.model.parameters(&about.shape).map_err(|e| wrong(e.to_string()))? {
            let (name, size) = (parameter.name, parameter.size);
            let tensor = tensors.tensor(&name).map_err(|_| wrong(format!("tensor {name} is missing")))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != size {
                let (dtype, found) = (tensor.dtype(), tensor.shape());
                return Err(wrong(format!(
                    "tensor {name} is {dtype:?} {found:?}, the architecture asks for F32 {size:?}"
                )));
            }
            let values = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let values: Vec<f32> = values.collect();
            if let Some(at) = values.iter().position(|w| !w.is_finite()) {
                return Err(wrong(format!("tensor {name} has a weight that is not finite, at {at}")));
            }
            found.push((name, size, values));
        }
        Ok(Self { about, tensors: found })
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.tensors.iter().map(|(.., w)| w.iter().flat_map(|e| e.to_le_bytes()).collect::<Vec<u8>>());
        let bytes: Vec<_> = bytes.collect();
        let mut views = Vec::new();
        for ((name, size, _), bytes) in self.tensors.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, size.clone(), bytes).map_err(|e| Error::content(path, e))?;
            views.push((name, view));
        }
        let about = serde_json::to_string(&self.about).map_err(|e| Error::content(path, e))?;
        let metadata = HashMap::from([(ABOUT.to_owned(), about)]);
        let file = serialize(views, Some(metadata)).map_err(|e| Error::content(path, e))?;
        files::write(path, &file)
    }

    /// The weights of every parameter in the order of core's network, row by row.
    pub fn weights(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.tensors.iter().map(|(.., weights)| weights.as_slice())
    }

    /// Core's network with these weights: Y = X, M = 0, geometries unset.
    ///
    /// # Errors
    /// Where core has no layers for the model.
    pub fn network(&self) -> Result<Layers> {
        let mut network = Layers::new(&self.about.layers()?)
            .ok_or_else(|| Error::Usage("the layers of the checkpoint do not fit together".into()))?;
        let mut weights = self.weights();
        network.parameters(&mut |Parameter { mut state, .. }| {
            for (x, w) in state.x.elements_mut().iter_mut().zip(weights.next().into_iter().flatten()) {
                *x = *w;
            }
            state.start();
        });
        Ok(network)
    }
}
