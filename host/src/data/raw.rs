//! Samples as a file holds them.

use super::names::Names;
use super::{Legend, Samples};

/// All samples of a source, before they are split and normalised.
pub(super) struct Raw {
    /// Samples in binary64, not normalised; a missing value is NaN.
    pub samples: Samples<f64>,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    pub legend: Legend,
    /// Group names, and the group number of each sample.
    pub groups: Option<(Names, Vec<u32>)>,
    /// Index of the first sample of the source's own test part, if it has one.
    pub own: Option<usize>,
    /// Remarks about unusual data, one line each.
    pub notes: Vec<String>,
}
