//! Weights as safetensors, by the names that the model gives them, with what they are for in the metadata.

use crate::data::{Dataset, Group, Labelled, Legend, Normalisation, Normalise, Parts, Samples, Source, Split};
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
    /// Names of columns and classes; none of a text.
    #[serde(alias = "classes")]
    pub legend: Legend,
}

/// Features as a device takes them: divided by one number, or as they are, for frozen layers before all others.
#[derive(Clone, PartialEq, Debug)]
pub struct Inputs {
    /// Number that their sender divides them by.
    pub scale: f32,
    /// The layers: none where a division is all, else [`Standardise`](graftage_core::network::Standardise) and, after it where
    /// the normalisation clips, [`Clip`](graftage_core::network::Clip).
    pub layers: Vec<Kind>,
    /// Constants of these layers: means and deviations, one for each feature.
    pub constants: Vec<Vec<f32>>,
}

impl About {
    /// Refuses what contradicts itself: samples with numbers have a normalisation and a name for each class, a text has neither.
    fn check(&self) -> Result<()> {
        let ((inputs, classes), named) = (self.shape.numbers(), self.legend.classes.len());
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

    /// Features as a device takes them.
    ///
    /// # Errors
    /// Where the model takes a text, or binary32 cannot hold a feature.
    pub fn inputs(&self) -> Result<Inputs> {
        let normalisation = self.normalisation.as_ref();
        let normalisation = normalisation.ok_or_else(|| Error::Usage("a text has no features".into()))?;
        normalisation.check_binary32()?;
        if let Some(scale) = normalisation.scale() {
            return Ok(Inputs { scale, layers: Vec::new(), constants: Vec::new() });
        }
        let inputs = self.shape.numbers().0;
        let each = |numbers: &[f32]| numbers.iter().copied().cycle().take(inputs).collect();
        let width = inputs as u32;
        let clip = normalisation.clip.map(|clip| Kind::Clip { width, bound: clip.to_bits() });
        let layers = [Kind::Standardise { width }].into_iter().chain(clip).collect();
        Ok(Inputs { scale: 1.0, layers, constants: vec![each(&normalisation.mean), each(&normalisation.deviation)] })
    }

    /// Its data, labelled or a text; otherwise as [`About::samples`].
    ///
    /// # Errors
    /// Where the data cannot be read, or have other samples than the model takes.
    pub fn dataset(&self, path: Option<&Path>) -> Result<Dataset> {
        match self.normalisation {
            Some(_) => self.samples(path).map(Dataset::Labelled),
            None => {
                let source = path.map_or_else(|| self.data.clone(), |path| self.data.with_path(path));
                source.load(&self.split, &Normalise::None).map_err(|error| moved(error, path))
            }
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
        let labelled = source.load_as(&self.split, normalisation, &self.legend).map_err(|error| moved(error, path))?;
        for part in [Some(&labelled.train), labelled.validate.as_ref(), Some(&labelled.test)].into_iter().flatten() {
            part.check(source.path(), inputs, classes)?;
        }
        Ok(labelled)
    }

    /// All samples of its data's main file, or of another one, in its scale; no column of groups is needed.
    ///
    /// # Errors
    /// As [`About::samples`].
    pub fn all_samples(&self, path: Option<&Path>) -> Result<Samples> {
        let source = path.map_or_else(|| self.data.clone(), |path| self.data.with_path(path));
        let normalisation =
            self.normalisation.as_ref().ok_or_else(|| Error::Usage("a text has no labelled samples".into()))?;
        let (inputs, classes) = self.shape.numbers();
        let samples = source.all_as(normalisation, &self.legend).map_err(|error| moved(error, path))?;
        samples.check(source.path(), inputs, classes)?;
        Ok(samples)
    }

    /// The same as a data set whose parts are each all of it; of a text, all its bytes.
    ///
    /// # Errors
    /// As [`About::dataset`].
    pub fn undivided(&self, path: Option<&Path>) -> Result<Dataset> {
        if let Some(normalisation) = &self.normalisation {
            let all = self.all_samples(path)?;
            let Shape::Features { shape, .. } = &self.shape else {
                return Err(Error::Usage("a text with a normalisation".into()));
            };
            return Ok(Dataset::Labelled(Labelled {
                train: all.clone(),
                validate: None,
                test: all,
                shape: shape.clone(),
                legend: self.legend.clone(),
                normalisation: normalisation.clone(),
                notes: Vec::new(),
            }));
        }
        let mut whole = Self { split: Split::default(), ..self.clone() }.dataset(path)?;
        if let Dataset::Text(Parts { train, test, .. }) = &mut whole {
            train.append(test);
            test.clone_from(train);
        }
        Ok(whole)
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

/// Error about the checkpoint's own data, where no other file was named in their place.
fn moved(error: Error, named: Option<&Path>) -> Error {
    match error {
        Error::File { path, source } if named.is_none() && source.kind() == std::io::ErrorKind::NotFound => {
            let what = "is not here: the checkpoint names its data as seen from the folder where `train` ran";
            Error::content(&path, format!("{what}; run the command there, or name the file with --data"))
        }
        other => other,
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

/// Key of the metadata under which a training's state says what it is.
pub const STATE: &str = "graftage-training";

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
        let entry = |key: &str| metadata.metadata().as_ref().and_then(|entries| entries.get(key));
        let about = entry(ABOUT).ok_or_else(|| {
            wrong(match entry(STATE) {
                Some(_) => "the state of a training, not its network: take model.safetensors beside it".into(),
                None => {
                    "no checkpoint of graftage: its metadata is missing; weights of other programs are not read".into()
                }
            })
        })?;
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

    /// A checkpoint as its file holds it.
    ///
    /// # Errors
    /// Names the file, where the checkpoint cannot be written.
    pub fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = self.tensors.iter().map(|(.., w)| w.iter().flat_map(|e| e.to_le_bytes()).collect::<Vec<u8>>());
        let bytes: Vec<_> = bytes.collect();
        let mut views = Vec::new();
        for ((name, size, _), bytes) in self.tensors.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, size.clone(), bytes).map_err(|e| Error::content(path, e))?;
            views.push((name, view));
        }
        let about = serde_json::to_string(&self.about).map_err(|e| Error::content(path, e))?;
        let metadata = HashMap::from([(ABOUT.to_owned(), about)]);
        serialize(views, Some(metadata)).map_err(|e| Error::content(path, e))
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &self.bytes(path)?)
    }

    /// The weights of every parameter in the order of core's network, row by row.
    pub fn weights(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.tensors.iter().map(|(.., weights)| weights.as_slice())
    }

    /// The same as an [image](graftage_core::image::Image::start) holds them.
    pub fn words(&self) -> Vec<[u8; 4]> {
        self.weights().flatten().map(|weight| weight.to_le_bytes()).collect()
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
