//! How features are scaled: learnt on the training part, applied to whatever comes.

use super::Samples;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How features are scaled.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Not at all.
    #[default]
    None,
    /// Each is divided by this number.
    Divide(f32),
    /// To mean 0 and deviation 1 over all features together.
    Overall,
    /// To mean 0 and deviation 1, each feature by itself.
    Features,
}

impl Normalise {
    /// Whether it learns a mean, which then stands for missing values.
    pub(super) fn fills(self) -> bool {
        matches!(self, Self::Overall | Self::Features)
    }

    /// Learns from a training part, in binary64; missing values (NaN) do not count.
    ///
    /// With the deviation σ = √(Σ(x − μ)²/n) of n values around their mean μ; a σ of 0 becomes 1.
    ///
    /// # Errors
    /// The index of a feature that has no value: there is no mean to put in its place.
    pub(super) fn learn(self, train: &Samples) -> std::result::Result<Normalisation, usize> {
        let mut moments = match self {
            Self::None => return Ok(Normalisation::division(1.0)),
            Self::Divide(scale) => return Ok(Normalisation::division(scale)),
            Self::Overall => vec![Moments::default()],
            Self::Features => vec![Moments::default(); train.inputs],
        };
        for values in train.features.chunks_exact(moments.len()) {
            moments.iter_mut().zip(values).filter(|(_, x)| !x.is_nan()).for_each(|(moments, x)| moments.push(*x));
        }
        match moments.iter().position(|moments| moments.count == 0.0) {
            Some(feature) => Err(feature),
            None => Ok(Normalisation {
                mean: moments.iter().map(|moments| moments.mean as f32).collect(),
                deviation: moments.iter().map(Moments::deviation).collect(),
            }),
        }
    }
}

/// Mean and sum of squared distances from it, value by value (Welford 1962, "Note on a method for calculating corrected sums
/// of squares and products"): of equal values the sum is exactly 0.
#[derive(Clone, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, x: f32) {
        let x = f64::from(x);
        self.count += 1.0;
        let before = x - self.mean;
        self.mean += before / self.count;
        self.squares += before * (x - self.mean);
    }

    fn deviation(&self) -> f32 {
        match (self.squares / self.count).sqrt() as f32 {
            0.0 => 1.0,
            deviation => deviation,
        }
    }
}

/// What was learnt of a training part's features: x becomes (x − mean)/deviation, in binary32.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// One for all features, or one for each.
    pub mean: Vec<f32>,
    /// As many.
    pub deviation: Vec<f32>,
}

impl Normalisation {
    /// A mere division.
    pub(super) fn division(scale: f32) -> Self {
        Self { mean: vec![0.0], deviation: vec![scale] }
    }

    /// Refuses what cannot be applied to samples of that many numbers.
    ///
    /// # Errors
    /// Where there are neither one nor as many means and deviations, a mean is not finite, or a deviation is not finite and > 0.
    pub fn check(&self, inputs: usize) -> Result<()> {
        let (means, deviations) = (self.mean.len(), self.deviation.len());
        if means != deviations || (means != 1 && means != inputs) {
            let what = format!("{means} means and {deviations} deviations for samples of {inputs} features");
            return Err(Error::Usage(format!("normalisation: {what}")));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(Error::Usage(format!("normalisation: the mean {mean} is not finite")));
        }
        match self.deviation.iter().find(|deviation| !(deviation.is_finite() && **deviation > 0.0)) {
            Some(deviation) => Err(Error::Usage(format!("normalisation: {deviation} is not finite and > 0"))),
            None => Ok(()),
        }
    }

    /// Scales samples that [`Normalisation::check`] lets pass; a missing value (NaN) becomes the mean, thus 0.
    pub fn apply(&self, samples: &mut Samples) {
        for values in samples.features.chunks_exact_mut(self.mean.len().max(1)) {
            for ((x, mean), deviation) in values.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *x = if x.is_nan() { 0.0 } else { (*x - mean) / deviation };
            }
        }
    }

    /// Such samples in the units that they had before, to rounding; a value that was missing is the mean.
    pub fn undo(&self, samples: &Samples) -> Samples {
        let mut raw = samples.clone();
        for values in raw.features.chunks_exact_mut(self.mean.len().max(1)) {
            for ((x, mean), deviation) in values.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *x = *x * deviation + mean;
            }
        }
        raw
    }

    /// What features are divided by, where no mean is subtracted.
    pub fn scale(&self) -> Option<f32> {
        match (&self.mean[..], &self.deviation[..]) {
            ([0.0], [scale]) => Some(*scale),
            _ => None,
        }
    }
}
