//! Statistics of small samples, and numbers as JSON and text hold them.

use serde::{Deserialize, Deserializer, Serialize};

/// Reads a number that JSON holds as `null` if it is NaN.
pub(crate) fn nan_from_null<'de, D: Deserializer<'de>>(source: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or(f32::NAN))
}

/// Mean and standard deviation of a measurement that was repeated, once per seed or per group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    #[serde(deserialize_with = "nan_from_null")]
    pub mean: f32,
    /// Sample standard deviation; 0 for a single measurement.
    #[serde(deserialize_with = "nan_from_null")]
    pub deviation: f32,
    /// The measurements, one per seed or group.
    pub by_seed: Vec<f32>,
}

impl Spread {
    /// Returns mean and sample standard deviation of these measurements.
    pub fn of(by_seed: Vec<f32>) -> Self {
        let Moments { mean, deviation, .. } = Moments::of(by_seed.iter().map(|x| f64::from(*x)));
        Self { mean: mean as f32, deviation: deviation.unwrap_or(0.0) as f32, by_seed }
    }
}

/// Returns the mean; NaN for no values.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// Mean and standard deviation of a sample.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Moments {
    /// Mean; NaN for no values.
    pub mean: f64,
    /// Sample standard deviation; `None` for a single value.
    pub deviation: Option<f64>,
    /// Number of values.
    pub count: usize,
}

impl Moments {
    /// Computes mean and deviation of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<_> = values.into_iter().collect();
        let mean = mean(values.iter().copied());
        let squares = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
        let deviation = (values.len() > 1).then(|| (squares / (values.len() as f64 - 1.0)).sqrt());
        Self { mean, deviation, count: values.len() }
    }

    /// Returns the standard error of the mean; `None` for a single value.
    pub fn error(&self) -> Option<f64> {
        self.deviation.map(|deviation| deviation / (self.count as f64).sqrt())
    }

    /// Formats mean ± deviation with `digits` decimals; a dash if there is no deviation.
    pub fn with_deviation(&self, digits: usize) -> String {
        format!("{:.digits$} ± {}", self.mean, number(self.deviation, digits))
    }

    /// Formats mean (standard error) with `digits` decimals; a dash if there is no standard error.
    pub fn with_error(&self, digits: usize) -> String {
        format!("{:.digits$} ({})", self.mean, number(self.error(), digits))
    }
}

fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or("–".into(), |number| format!("{number:.digits$}"))
}

/// Returns a share as `98.7 %`, or `n/a` if it is not finite.
pub fn percent(share: f32) -> String {
    let percent = share * 100.0;
    if percent.is_finite() { format!("{percent:.1} %") } else { "n/a".to_owned() }
}
