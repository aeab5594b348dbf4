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
        let n = by_seed.len() as f32;
        let mean = by_seed.iter().sum::<f32>() / n;
        let squares: f32 = by_seed.iter().map(|x| (x - mean) * (x - mean)).sum();
        Self { mean, deviation: (squares / (n - 1.0).max(1.0)).sqrt(), by_seed }
    }
}

/// Returns a share as `98.7 %`, or `n/a` if it is not finite.
pub fn percent(share: f32) -> String {
    let percent = share * 100.0;
    if percent.is_finite() { format!("{percent:.1} %") } else { "n/a".to_owned() }
}
