//! Data of a training: batches in their order, and the samples for measurements.

use crate::error::{Error, Result};
use crate::model::Model;
use graftage::data::{Dataset, Parts, Role, Samples};
use graftage::model::Shape;
use graftage_core::random::{self, Generator, Stream};
use tch::{Device, Kind, Tensor};

/// One part of the data, on the device.
#[derive(Debug)]
pub enum Part {
    /// Features `[n, inputs]` and labels `[n]`.
    Labelled {
        /// Features in binary32.
        features: Tensor,
        /// Labels: whole numbers from 0.
        labels: Tensor,
    },
    /// Bytes. Each window of `context` + 1 bytes is a sample: the input is all but its last byte, and the target is the
    /// byte that follows each of them.
    Text {
        /// Bytes, shape `[n]`.
        bytes: Tensor,
        /// Number of bytes that the model sees.
        context: i64,
    },
}

/// Samples as a model takes them.
#[derive(Debug)]
pub struct Batch {
    /// Inputs of the model: features `[n, inputs]`, or bytes `[n, context]`.
    pub inputs: Tensor,
    /// Targets: labels `[n]`, or bytes `[n, context]`.
    pub targets: Tensor,
}

impl Part {
    fn labelled(samples: &Samples, device: Device) -> Result<Self> {
        let labels: Vec<_> = samples.labels().iter().map(|label| i64::from(*label)).collect();
        let features = Tensor::f_from_slice(samples.features())?.f_view([-1, samples.inputs() as i64])?;
        Ok(Self::Labelled {
            features: features.f_to_device(device)?,
            labels: Tensor::f_from_slice(&labels)?.f_to_device(device)?,
        })
    }

    fn text(bytes: &[u8], context: i64, role: Role, device: Device) -> Result<Self> {
        if bytes.len() as i64 <= context {
            let what =
                format!("the {role} part of the text has {} bytes, but a window takes {}", bytes.len(), context + 1);
            return Err(Error::usage(format!("{what}; use a smaller context or a longer text")));
        }
        Ok(Self::Text { bytes: Tensor::f_from_slice(bytes)?.f_to_device(device)?, context })
    }

    /// Returns a part with the same tensors, for another thread.
    fn share(&self) -> Self {
        match self {
            Self::Labelled { features, labels } => {
                Self::Labelled { features: features.shallow_clone(), labels: labels.shallow_clone() }
            }
            Self::Text { bytes, context } => Self::Text { bytes: bytes.shallow_clone(), context: *context },
        }
    }

    /// Returns the number of samples; windows of a text overlap.
    pub fn len(&self) -> usize {
        match self {
            Self::Labelled { labels, .. } => labels.size()[0] as usize,
            Self::Text { bytes, context } => (bytes.size()[0] - context) as usize,
        }
    }

    /// Returns `true` if there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the samples at these indices.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn take(&self, indices: &[i64]) -> Result<Batch> {
        match self {
            Self::Labelled { features, labels } => {
                let indices = on(features.device(), indices)?;
                let (inputs, targets) = (features.f_index_select(0, &indices)?, labels.f_index_select(0, &indices)?);
                Ok(Batch { inputs, targets })
            }
            Self::Text { bytes, context } => {
                let window = Tensor::f_arange(context + 1, (Kind::Int64, bytes.device()))?;
                let places = on(bytes.device(), indices)?.f_unsqueeze(1)?.f_add(&window)?.f_flatten(0, -1)?;
                let windows = bytes.f_index_select(0, &places)?.f_to_kind(Kind::Int64)?.f_view([-1, context + 1])?;
                let targets = windows.f_narrow(1, 1, *context)?.f_contiguous()?;
                Ok(Batch { inputs: windows.f_narrow(1, 0, *context)?, targets })
            }
        }
    }

    /// Returns the indices of at most `most` samples, spread evenly.
    pub fn spread(&self, most: usize) -> Vec<i64> {
        let (all, count) = (self.len() as u128, most.min(self.len()) as u128);
        (0..count).map(|i| (i * all / count) as i64).collect()
    }
}

/// Copies indices to a device without waiting for it. The copy is small enough to have left the source before the call
/// returns.
fn on(device: Device, indices: &[i64]) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(indices)?.f_to_device_(device, Kind::Int64, true, false)?)
}

/// Unit of a training's rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Name in the plural: `samples`, `images` or `tokens`.
    pub name: &'static str,
    /// Number of units per sample.
    pub per_sample: usize,
}

/// The parts of the data on the device, and their properties that the model needs.
#[derive(Debug)]
pub struct Feed {
    /// Training part.
    pub train: Part,
    /// Validation part, used to choose among weights, if the split has one.
    pub validate: Option<Part>,
    /// Test part.
    pub test: Part,
    /// Shape of a sample.
    pub shape: Shape,
    /// Unit of the training's rate.
    pub unit: Unit,
}

/// Default number of windows of a text per measurement.
const WINDOWS: usize = 256;

impl Feed {
    /// Copies data to the device. A share `wrong` of the training labels is replaced by wrong ones, drawn with `seed`.
    ///
    /// # Errors
    /// Returns an error if data and model do not fit together, or if libtorch fails.
    pub fn new(data: &Dataset, model: &Model, wrong: f32, seed: u64, device: Device) -> Result<Self> {
        let shape = Shape::of(data);
        model.check(&shape)?;
        match data {
            Dataset::Labelled(data) => {
                let classes = data.legend.classes.len();
                let name = if data.shape.len() > 1 { "images" } else { "samples" };
                let mut train = data.train.clone();
                train.mislabel(wrong, classes, seed);
                let part = |samples: &Samples| Part::labelled(samples, device);
                Ok(Self {
                    train: part(&train)?,
                    validate: data.validate.as_ref().map(part).transpose()?,
                    test: part(&data.test)?,
                    shape,
                    unit: Unit { name, per_sample: 1 },
                })
            }
            Dataset::Text(Parts { train, validate, test }) => {
                if wrong > 0.0 {
                    return Err(Error::usage("[training] wrong-labels: a text has no labels"));
                }
                let context = model.context().unwrap_or(1);
                let part = |bytes: &[u8], role| Part::text(bytes, context as i64, role, device);
                Ok(Self {
                    train: part(train, Role::Train)?,
                    validate: validate.as_ref().map(|bytes| part(bytes, Role::Validate)).transpose()?,
                    test: part(test, Role::Test)?,
                    shape,
                    unit: Unit { name: "tokens", per_sample: context },
                })
            }
        }
    }

    /// Returns a feed with the same data, for another thread. Nothing writes to the data.
    pub fn share(&self) -> Self {
        Self {
            train: self.train.share(),
            validate: self.validate.as_ref().map(Part::share),
            test: self.test.share(),
            shape: self.shape.clone(),
            unit: self.unit,
        }
    }

    /// Returns the indices of a part's samples for measurements; `asked` limits their number.
    pub fn measuring(&self, part: &Part, asked: Option<usize>) -> Vec<i64> {
        let usual = if matches!(part, Part::Text { .. }) { WINDOWS } else { usize::MAX };
        part.spread(asked.unwrap_or(usual))
    }
}

/// Sequence of batches. Labelled samples come epoch by epoch, each time in a new random order. Windows of a text start
/// anywhere.
///
/// The position depends only on the number of samples drawn, so a resumed training draws the same samples as an
/// uninterrupted one.
#[derive(Debug)]
pub struct Batches {
    /// Order of the current epoch; `None` for a text.
    order: Option<Vec<i64>>,
    samples: usize,
    used: usize,
    generator: Generator,
}

impl Batches {
    /// Creates the sequence at the position after `drawn` samples.
    pub fn new(part: &Part, seed: u64, drawn: u64) -> Self {
        let samples = part.len();
        let mut generator = Stream::Batches.generator(seed);
        let mut order = match part {
            Part::Labelled { .. } => Some((0..samples as i64).collect::<Vec<_>>()),
            Part::Text { .. } => None,
        };
        let mut used = samples;
        match &mut order {
            Some(order) if drawn > 0 => {
                // Each shuffle starts from the order before it.
                let epochs = (drawn - 1) / samples as u64 + 1;
                (0..epochs).for_each(|_| generator.shuffle(order));
                used = (drawn - (epochs - 1) * samples as u64) as usize;
            }
            Some(_) => {}
            None => {
                let state = generator.state();
                generator = Generator::at(random::State { draws: state.draws + drawn, ..state });
            }
        }
        Self { order, samples, used, generator }
    }

    /// Draws the next samples.
    pub fn draw(&mut self, count: usize) -> Vec<i64> {
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            drawn.push(match &mut self.order {
                Some(order) => {
                    if self.used == order.len() {
                        self.generator.shuffle(order);
                        self.used = 0;
                    }
                    self.used += 1;
                    order[self.used - 1]
                }
                None => i64::from(self.generator.below(u32::try_from(self.samples).unwrap_or(u32::MAX))),
            });
        }
        drawn
    }
}
