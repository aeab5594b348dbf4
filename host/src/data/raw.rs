//! Samples as a file holds them.

use super::names::Names;
use super::{Legend, Samples};

/// Groups to which samples belong.
#[derive(Default)]
pub(super) struct Groups {
    /// Names of the groups.
    pub names: Names,
    /// Number of each sample's group.
    pub numbers: Vec<u32>,
}

/// All samples of a source, before they are split and normalised.
pub(super) struct Raw {
    /// Samples in binary64, not normalised; a missing value is NaN.
    pub samples: Samples<f64>,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    pub legend: Legend,
    pub groups: Option<Groups>,
    /// Index of the first sample of the source's own test part, if it has one.
    pub own: Option<usize>,
    /// Remarks about unusual data, one line each.
    pub notes: Vec<String>,
}
