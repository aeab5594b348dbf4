//! Weights as safetensors, under the model's tensor names, with a description of the model and its data in the
//! metadata.

use crate::data::{Dataset, Group, Labelled, Legend, Normalisation, Normalise, Parts, Samples, Source, Split};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{self, Description, Numbers, Shape};
use crate::network::Layers;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Kind, Layer, Parameter};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// Description of a checkpoint, stored in its metadata.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Model.
    pub model: Description,
    /// Shape of a sample.
    pub shape: Shape,
    /// Source of the samples.
    pub data: Source,
    /// Split of the samples.
    pub split: Split,
    /// Normalisation learnt from the training part; `None` for a text.
    pub normalisation: Option<Normalisation>,
    /// Names of columns and classes; empty for a text.
    #[serde(alias = "classes")]
    pub legend: Legend,
}

/// Features as a device receives them: divided by one number, or unscaled with frozen layers in front of all others.
#[derive(Clone, PartialEq, Debug)]
pub struct Inputs {
    /// Number by which the sender divides features.
    pub scale: f32,
    /// Layers that normalise: empty if a division suffices; otherwise
    /// [`Standardise`](graftage_core::network::Standardise), followed by [`Clip`](graftage_core::network::Clip) if the
    /// normalisation clips.
    pub layers: Vec<Kind>,
    /// Constants of these layers: means and deviations, one per feature.
    pub constants: Vec<Vec<f32>>,
}

impl About {
    /// Checks for consistency: numeric samples have a normalisation and a name for each class, a text has neither.
    fn check(&self) -> Result<()> {
        let Numbers { inputs, outputs: classes } = self.shape.numbers();
        let named = self.legend.classes.len();
        let refuse = |what: String| Err(Error::Usage(what));
        match (&self.shape, &self.normalisation) {
            (Shape::Features { .. }, None) => refuse("the normalisation is missing".into()),
            (Shape::Features { .. }, Some(_)) if named != classes => {
                refuse(format!("it names {named} classes, but the network has {classes}"))
            }
            (Shape::Features { .. }, Some(normalisation)) => normalisation.check(inputs),
            (Shape::Text, None) if named == 0 => Ok(()),
            (Shape::Text, _) => refuse("a text cannot have a normalisation or classes".into()),
        }
    }

    /// Reads the description in a checkpoint.
    ///
    /// # Errors
    /// If the file is not a checkpoint.
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(&files::read(path)?, path)
    }

    /// Returns the description in the bytes of a checkpoint.
    fn of(bytes: &[u8], path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::content(path, what);
        let (_, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|e| wrong(format!("not a safetensors file: {e}")))?;
        let entry = |key: &str| metadata.metadata().as_ref().and_then(|entries| entries.get(key));
        let about = entry(ABOUT).ok_or_else(|| {
            wrong(match entry(STATE) {
                Some(_) => "this is the state of a training, not its network: use model.safetensors beside it".into(),
                None => {
                    "not a checkpoint of graftage: its metadata is missing; weights of other programs cannot be read"
                        .into()
                }
            })
        })?;
        let about: Self = serde_json::from_str(about).map_err(|e| wrong(format!("damaged metadata: {e}")))?;
        about.check().map_err(|e| wrong(format!("damaged metadata: {e}")))?;
        Ok(about)
    }

    /// Core's layers for this model.
    ///
    /// # Errors
    /// If core has none.
    pub fn layers(&self) -> Result<Vec<Kind>> {
        let layers = self.model.mlp()?.layers(&self.shape);
        layers.ok_or_else(|| Error::Usage("a layer of this model is too wide for core's network".into()))
    }

    /// Describes features as a device receives them.
    ///
    /// # Errors
    /// If the model takes a text, or binary32 cannot hold a feature.
    pub fn inputs(&self) -> Result<Inputs> {
        let normalisation = self.normalisation.as_ref();
        let normalisation = normalisation.ok_or_else(|| Error::Usage("a text has no features".into()))?;
        normalisation.check_binary32()?;
        if let Some(scale) = normalisation.scale() {
            return Ok(Inputs { scale, layers: Vec::new(), constants: Vec::new() });
        }
        let inputs = self.shape.numbers().inputs;
        let each = |numbers: &[f32]| numbers.iter().copied().cycle().take(inputs).collect();
        let width = inputs as u32;
        let clip = normalisation.clip.map(|clip| Kind::Clip { width, bound: clip.to_bits() });
        let layers = [Kind::Standardise { width }].into_iter().chain(clip).collect();
        Ok(Inputs { scale: 1.0, layers, constants: vec![each(&normalisation.mean), each(&normalisation.deviation)] })
    }

    /// Loads the data, labelled or a text. Otherwise like [`About::samples`].
    ///
    /// # Errors
    /// If the data cannot be read, or the model cannot take its samples.
    pub fn dataset(&self, path: Option<&Path>) -> Result<Dataset> {
        match self.normalisation {
            Some(_) => self.samples(path).map(Dataset::Labelled),
            None => {
                let source = path.map_or_else(|| self.data.clone(), |path| self.data.with_path(path));
                source.load(&self.split, &Normalise::None).map_err(|error| moved(error, path))
            }
        }
    }

    /// Loads the labelled data with the checkpoint's split and normalisation. `path`, if given, replaces the main file.
    ///
    /// # Errors
    /// If the data cannot be read, is a text, or the model cannot take its samples.
    pub fn samples(&self, path: Option<&Path>) -> Result<Labelled> {
        let source = path.map_or_else(|| self.data.clone(), |path| self.data.with_path(path));
        let normalisation =
            self.normalisation.as_ref().ok_or_else(|| Error::Usage("a text has no labelled samples".into()))?;
        let Numbers { inputs, outputs: classes } = self.shape.numbers();
        let labelled = source.load_as(&self.split, normalisation, &self.legend).map_err(|error| moved(error, path))?;
        for part in [Some(&labelled.train), labelled.validate.as_ref(), Some(&labelled.test)].into_iter().flatten() {
            part.check(source.path(), inputs, classes)?;
        }
        Ok(labelled)
    }

    /// Loads all samples of the main file, or of `path`, with the checkpoint's normalisation. No column of groups is
    /// needed.
    ///
    /// # Errors
    /// Same as [`About::samples`].
    pub fn all_samples(&self, path: Option<&Path>) -> Result<Samples> {
        let source = path.map_or_else(|| self.data.clone(), |path| self.data.with_path(path));
        let normalisation =
            self.normalisation.as_ref().ok_or_else(|| Error::Usage("a text has no labelled samples".into()))?;
        let Numbers { inputs, outputs: classes } = self.shape.numbers();
        let samples = source.all_as(normalisation, &self.legend).map_err(|error| moved(error, path))?;
        samples.check(source.path(), inputs, classes)?;
        Ok(samples)
    }

    /// Loads all data as a data set in which each part is the whole; for a text, all its bytes.
    ///
    /// # Errors
    /// Same as [`About::dataset`].
    pub fn undivided(&self, path: Option<&Path>) -> Result<Dataset> {
        if let Some(normalisation) = &self.normalisation {
            let all = self.all_samples(path)?;
            let Shape::Features { shape, .. } = &self.shape else {
                return Err(Error::Usage("a text cannot have a normalisation".into()));
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

    /// Error for a missing validation part.
    pub fn no_validation(&self) -> Error {
        Error::Usage("its split has no validation part: add one with `validate` in [split.*]".into())
    }

    /// Loads the groups that the training left out for testing, each with its samples, read like [`About::samples`].
    ///
    /// # Errors
    /// Same as [`About::samples`]. Also if the split is not by group.
    pub fn unseen(&self, path: Option<&Path>) -> Result<Vec<(String, Samples)>> {
        let Split::Group(Group { test, .. }) = &self.split else {
            return Err(Error::Usage("its training did not leave a group out: train with [split.group]".into()));
        };
        let alone = |name: &String| {
            let split = Split::Group(Group { test: vec![name.clone()], validate: Vec::new() });
            Ok((name.clone(), Self { split, ..self.clone() }.samples(path)?.test))
        };
        test.iter().map(alone).collect()
    }
}

/// Explains a missing file of the checkpoint's own data, if no other file was named.
fn moved(error: Error, named: Option<&Path>) -> Error {
    match error {
        Error::File { path, source } if named.is_none() && source.kind() == std::io::ErrorKind::NotFound => {
            let what = "not found: the checkpoint names its data relative to the folder in which `train` ran";
            Error::content(&path, format!("{what}; run the command there, or give the file with --data"))
        }
        other => other,
    }
}

/// Weights of a parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Elements, row by row.
    pub elements: Vec<f32>,
}

/// A trained network; the saved weights are X.
#[derive(Clone, PartialEq, Debug)]
pub struct Checkpoint {
    /// Description of the model and its data.
    pub about: About,
    /// Weights of every parameter, in the model's order.
    pub tensors: Vec<Tensor>,
}

/// Metadata key of [`About`].
const ABOUT: &str = "graftage";

/// Metadata key that marks the state of a training.
pub const STATE: &str = "graftage-training";

impl Checkpoint {
    /// Numbers of inputs and outputs.
    pub fn numbers(&self) -> Numbers {
        self.about.shape.numbers()
    }

    /// Reads a checkpoint of a model that core can compute.
    ///
    /// # Errors
    /// If the file is not a checkpoint, or that of another model, lacks a tensor, a tensor has another shape or type
    /// than the model requires, or a weight or the normalisation is not finite.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_as(path, |about| about.model.mlp()?.parameters(&about.shape))
    }

    /// Reads a checkpoint of a model whose `parameters` the caller knows.
    ///
    /// # Errors
    /// Same as [`Checkpoint::read`], and those of `parameters`.
    pub fn read_as<E: ToString>(
        path: &Path,
        parameters: impl FnOnce(&About) -> std::result::Result<Vec<model::Parameter>, E>,
    ) -> Result<Self> {
        let bytes = files::read(path)?;
        let wrong = |what: String| Error::content(path, what);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| wrong(format!("not a safetensors file: {e}")))?;
        let about = About::of(&bytes, path)?;
        let mut found = Vec::new();
        for parameter in parameters(&about).map_err(|e| wrong(e.to_string()))? {
            let (name, shape) = (parameter.name, parameter.size);
            let tensor = tensors.tensor(&name).map_err(|_| wrong(format!("tensor {name} is missing")))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                let (dtype, found) = (tensor.dtype(), tensor.shape());
                return Err(wrong(format!(
                    "tensor {name} is {dtype:?} {found:?}, but the architecture requires F32 {shape:?}"
                )));
            }
            let elements = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let elements: Vec<f32> = elements.collect();
            if let Some(at) = elements.iter().position(|w| !w.is_finite()) {
                return Err(wrong(format!("tensor {name} has a weight that is not finite, at index {at}")));
            }
            found.push(Tensor { name, shape, elements });
        }
        Ok(Self { about, tensors: found })
    }

    /// Encodes the checkpoint as a file.
    ///
    /// # Errors
    /// Names the file if the checkpoint cannot be written.
    pub fn bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = self.weights().map(|weights| weights.iter().flat_map(|e| e.to_le_bytes()).collect::<Vec<u8>>());
        let bytes: Vec<_> = bytes.collect();
        let mut views = Vec::new();
        for (Tensor { name, shape, .. }, bytes) in self.tensors.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|e| Error::content(path, e))?;
            views.push((name, view));
        }
        let about = serde_json::to_string(&self.about).map_err(|e| Error::content(path, e))?;
        let metadata = HashMap::from([(ABOUT.to_owned(), about)]);
        serialize(views, Some(metadata)).map_err(|e| Error::content(path, e))
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &self.bytes(path)?)
    }

    /// Weights of every parameter, in the order of core's network, row by row.
    pub fn weights(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.tensors.iter().map(|tensor| tensor.elements.as_slice())
    }

    /// Weights in the form that an [image](graftage_core::image::Image::start) uses.
    pub fn words(&self) -> Vec<[u8; 4]> {
        self.weights().flatten().map(|weight| weight.to_le_bytes()).collect()
    }

    /// Builds core's network with these weights: Y = X, M = 0, geometries unset.
    ///
    /// # Errors
    /// If core has no layers for the model.
    pub fn network(&self) -> Result<Layers> {
        let mut network = Layers::new(&self.about.layers()?)
            .ok_or_else(|| Error::Usage("the layers of the checkpoint do not match each other".into()))?;
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

/// A trained network and its data, divided by the checkpoint's own split.
#[derive(Clone, PartialEq, Debug)]
pub struct Trained {
    /// Trained network.
    pub checkpoint: Checkpoint,
    /// Training part.
    pub train: Samples,
    /// Test part.
    pub test: Samples,
}

impl Trained {
    /// Reads a checkpoint and its data. `data`, if given, replaces the main file.
    ///
    /// # Errors
    /// Same as [`Checkpoint::read`] and [`About::samples`].
    pub fn read(checkpoint: &Path, data: Option<&Path>) -> Result<Self> {
        let checkpoint = Checkpoint::read(checkpoint)?;
        let Labelled { train, test, .. } = checkpoint.about.samples(data)?;
        Ok(Self { checkpoint, train, test })
    }
}
