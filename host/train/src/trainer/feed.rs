//! What a training takes from its data: batches in their order, and the samples that measure.

use crate::error::{Error, Result};
use graftage::data::{Dataset, Parts, Role, Samples};
use graftage::model::{Model, Shape};
use graftage_core::random::Generator;
use graftage_core::random::Stream;
use tch::{Device, Kind, Tensor};

/// One part of the data, on the device.
#[derive(Debug)]
pub enum Part {
    /// Features `[n, inputs]` and labels `[n]`.
    Labelled {
        /// Binary32.
        features: Tensor,
        /// Whole numbers from 0.
        labels: Tensor,
    },
    /// Bytes, of which every window of `context` + 1 is a sample: all but its last byte, and for each the one that follows.
    Text {
        /// `[n]`.
        bytes: Tensor,
        /// Bytes that the model sees.
        context: i64,
    },
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
            let what = format!("the {role} part of the text has {} bytes, a window takes {}", bytes.len(), context + 1);
            return Err(Error::usage(format!("{what}; a smaller context or a longer text would do")));
        }
        Ok(Self::Text { bytes: Tensor::f_from_slice(bytes)?.f_to_device(device)?, context })
    }

    /// The same tensors, for another thread.
    fn share(&self) -> Self {
        match self {
            Self::Labelled { features, labels } => {
                Self::Labelled { features: features.shallow_clone(), labels: labels.shallow_clone() }
            }
            Self::Text { bytes, context } => Self::Text { bytes: bytes.shallow_clone(), context: *context },
        }
    }

    /// How many samples there are; windows overlap.
    pub fn len(&self) -> usize {
        match self {
            Self::Labelled { labels, .. } => labels.size()[0] as usize,
            Self::Text { bytes, context } => (bytes.size()[0] - context) as usize,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The model's inputs and what it is to say, for the samples at these indices.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn take(&self, indices: &[i64]) -> Result<(Tensor, Tensor)> {
        match self {
            Self::Labelled { features, labels } => {
                let indices = on(features.device(), indices)?;
                Ok((features.f_index_select(0, &indices)?, labels.f_index_select(0, &indices)?))
            }
            Self::Text { bytes, context } => {
                let window = Tensor::f_arange(context + 1, (Kind::Int64, bytes.device()))?;
                let places = on(bytes.device(), indices)?.f_unsqueeze(1)?.f_add(&window)?.f_flatten(0, -1)?;
                let windows = bytes.f_index_select(0, &places)?.f_to_kind(Kind::Int64)?.f_view([-1, context + 1])?;
                Ok((windows.f_narrow(1, 0, *context)?, windows.f_narrow(1, 1, *context)?.f_contiguous()?))
            }
        }
    }

    /// The indices of at most so many samples, spread evenly.
    pub fn spread(&self, most: usize) -> Vec<i64> {
        let (all, count) = (self.len() as u128, most.min(self.len()) as u128);
        (0..count).map(|i| (i * all / count) as i64).collect()
    }
}

/// Indices on a device, which is not waited for: so few are copied before the call returns.
fn on(device: Device, indices: &[i64]) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(indices)?.f_to_device_(device, Kind::Int64, true, false)?)
}

/// The parts of the data, and what the model has to know of them.
#[derive(Debug)]
pub struct Feed {
    /// What trains.
    pub train: Part,
    /// The part that chooses among weights, if the split names one.
    pub validate: Option<Part>,
    /// What tests.
    pub test: Part,
    /// What a sample is.
    pub shape: Shape,
    /// What a training counts in a second, and how many of them a sample is.
    pub unit: (&'static str, usize),
}

/// Windows of a text that a measurement takes where nothing is said.
const WINDOWS: usize = 256;

impl Feed {
    /// Brings data to the device; `wrong` of the training labels are replaced by wrong ones of this seed.
    ///
    /// # Errors
    /// Where data and model do not go together, or libtorch fails.
    pub fn new(data: &Dataset, model: &Model, wrong: f32, seed: u64, device: Device) -> Result<Self> {
        let shape = Shape::of(data);
        model.check(&shape)?;
        match data {
            Dataset::Labelled(data) => {
                let classes = data.legend.classes.len();
                let unit = if data.shape.len() > 1 { "images" } else { "samples" };
                let mut train = data.train.clone();
                train.mislabel(wrong, classes, seed);
                let part = |samples: &Samples| Part::labelled(samples, device);
                Ok(Self {
                    train: part(&train)?,
                    validate: data.validate.as_ref().map(part).transpose()?,
                    test: part(&data.test)?,
                    shape,
                    unit: (unit, 1),
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
                    unit: ("tokens", context),
                })
            }
        }
    }

    /// The same data, for another thread; nobody writes it.
    pub fn share(&self) -> Self {
        Self {
            train: self.train.share(),
            validate: self.validate.as_ref().map(Part::share),
            test: self.test.share(),
            shape: self.shape.clone(),
            unit: self.unit,
        }
    }

    /// Samples of a part that measure.
    pub fn measuring(&self, part: &Part, asked: Option<usize>) -> Vec<i64> {
        let usual = if matches!(part, Part::Text { .. }) { WINDOWS } else { usize::MAX };
        part.spread(asked.unwrap_or(usual))
    }
}

/// Which samples make a batch: of labelled ones epoch by epoch in a new random order, of a text windows anywhere.
///
/// Where it stands follows from the samples drawn so far alone, so a training that goes on draws what it would have drawn.
#[derive(Debug)]
pub struct Batches {
    /// `None` of a text.
    order: Option<Vec<i64>>,
    samples: usize,
    used: usize,
    generator: Generator,
}

impl Batches {
    /// After so many samples were drawn.
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
                // A shuffle starts from the order before it.
                let epochs = (drawn - 1) / samples as u64 + 1;
                (0..epochs).for_each(|_| generator.shuffle(order));
                used = (drawn - (epochs - 1) * samples as u64) as usize;
            }
            Some(_) => {}
            None => {
                let (seed, stream, position) = generator.state();
                generator = Generator::at((seed, stream, position + drawn));
            }
        }
        Self { order, samples, used, generator }
    }

    /// The next samples.
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
