//! Data sources, splits into training, validation and test parts, normalisation, and simulated ageing of a sensor.
//!
//! | source | files | labels |
//! |---|---|---|
//! | [`Idx`] | images and labels in IDX, the format of MNIST; optionally a separate test part | unsigned bytes |
//! | [`Csv`] | one sample per line, with or without a line of column names | a column |
//! | [`Source::Arff`] | one sample per line, with or without a header that declares the columns | a column |
//! | [`Npy`] | a NumPy array; labels in a CSV file, one line per sample, or in a second array | a column, or an array |
//! | [`Text`] | bytes | none |
//!
//! A file whose name ends in `.gz` is decompressed. Labels are whole numbers from 0 or class names. The groups of a
//! table are people, places or days, some of which form the test part ([`Split::Group`]). An empty field or `?` is a
//! missing value.

mod arff;
mod csv;
mod field;
mod identity;
mod idx;
mod kind;
mod labels;
mod legend;
mod literal;
mod names;
mod normalise;
mod npy;
mod number;
mod raw;
mod rows;
mod sensor;
mod source;
mod split;
mod table;
mod text;
mod unpacked;

pub use csv::Csv;
pub use identity::Identity;
pub use idx::Idx;
pub use legend::Legend;
pub use normalise::{Normalisation, Normalise, Wide};
pub use npy::Npy;
pub use sensor::{AgedSensor, AgeingSensor};
pub use source::{Dataset, Labelled, Source};
pub use split::{Group, Own, Parts, Role, Seed, Split};
pub use table::Columns;
pub use text::Text;

use crate::error::{Error, Result};
use crate::files;
use graftage_core::random::Stream;
use labels::Labels;
use std::path::Path;
use table::{Missing, Wanted};

/// Labelled samples of equal length. `T` is `f32` after normalisation and another type before.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Samples<T = f32> {
    inputs: usize,
    features: Vec<T>,
    labels: Vec<u32>,
}

impl<T: Copy> Samples<T> {
    /// Appends a sample, which must have [`Samples::inputs`] numbers.
    pub fn push(&mut self, input: &[T], label: u32) {
        debug_assert_eq!(input.len(), self.inputs);
        self.features.extend_from_slice(input);
        self.labels.push(label);
    }

    /// Number of features per sample.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns `true` if there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Iterates over all samples in order, as (features, label).
    pub fn iter(&self) -> impl Iterator<Item = (&[T], u32)> {
        self.features.chunks_exact(self.inputs.max(1)).zip(self.labels.iter().copied())
    }

    /// Features of all samples, sample by sample.
    pub fn features(&self) -> &[T] {
        &self.features
    }

    /// Labels of all samples.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Returns the samples at `indices`, in that order.
    fn pick(&self, indices: &[usize]) -> Self {
        let mut picked = Self { inputs: self.inputs, features: Vec::new(), labels: Vec::new() };
        let all: Vec<_> = self.iter().collect();
        indices.iter().for_each(|index| picked.push(all[*index].0, all[*index].1));
        picked
    }

    /// Removes and returns the samples from index `at` on.
    fn split_off(&mut self, at: usize) -> Self {
        let (features, labels) = (self.features.split_off(at * self.inputs), self.labels.split_off(at));
        Self { inputs: self.inputs, features, labels }
    }

    /// Shuffles the samples with [`Stream::Split`] and returns the first `train` of them and the rest.
    ///
    /// # Errors
    /// If `train` is 0 or there are not more than `train` samples.
    pub fn split(&self, train: usize, seed: u64) -> Result<(Self, Self)> {
        if train == 0 || train >= self.len() {
            return Err(Error::Usage(format!("{} samples cannot be split into {train} and a remainder", self.len())));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        Stream::Split.generator(seed).shuffle(&mut order);
        Ok((self.pick(&order[..train]), self.pick(&order[train..])))
    }
}

impl Samples {
    /// Creates an empty set for samples of `inputs` features.
    pub fn new(inputs: usize) -> Self {
        Self { inputs, ..Self::default() }
    }

    /// Reads a CSV file of samples with `inputs` features, without scaling them. If both the legend and the file name
    /// the columns, they are matched by name; otherwise the label is the last column. A label is a class name or a
    /// class number.
    ///
    /// # Errors
    /// If the file cannot be read, has no samples, lacks a column or has an unknown one, or a line is invalid; the
    /// message names line and column.
    pub fn read(path: &Path, inputs: usize, legend: &Legend) -> Result<Self> {
        let wanted = Wanted { features: true, missing: Missing::Sent, legend: Some(legend), ..Wanted::default() };
        let raw = csv::read(path, wanted, Labels::known(&legend.classes))?;
        let samples = Normalisation::division(1.0).apply(path, &raw.legend.features, &raw.samples)?;
        samples.check(path, inputs, legend.classes.len())?;
        Ok(samples)
    }

    /// Reads a CSV file for a network whose columns and classes have no known names. Columns are matched by position;
    /// the label comes last and is a number.
    ///
    /// # Errors
    /// Same as [`Samples::read`]. Also if the file names its columns, since the network's column names are unknown.
    pub fn read_by_place(path: &Path, inputs: usize, classes: usize) -> Result<Self> {
        let legend = Legend::numbered(classes);
        let wanted = Wanted { features: true, missing: Missing::Sent, legend: Some(&legend), ..Wanted::default() };
        if csv::names_columns(path, wanted)? {
            let what = "names its columns, but which inputs of the network these are is unknown: give the network's image with --image";
            return Err(Error::content(path, what));
        }
        Self::read(path, inputs, &legend)
    }

    /// Divides every feature by `scale`.
    pub fn divided(mut self, scale: f32) -> Self {
        self.features.iter_mut().for_each(|x| *x /= scale);
        self
    }

    /// Encodes the samples as a CSV file that [`Samples::read`] reads with the same legend, with every feature
    /// multiplied by `scale`. The file starts with column names if the legend has them, and classes are written as in
    /// the legend.
    ///
    /// # Errors
    /// Names the file if the samples cannot be written.
    pub fn bytes(&self, path: &Path, scale: f32, legend: &Legend) -> Result<Vec<u8>> {
        let mut rows = ::csv::WriterBuilder::new().comment(Some(b'#')).from_writer(Vec::new());
        if let Some(label) = legend.label.as_ref().filter(|_| legend.features.len() == self.inputs) {
            rows.write_record(legend.features.iter().chain([label])).map_err(|e| Error::content(path, e))?;
        }
        for (input, label) in self.iter() {
            // With its decimal point, no value looks like a column number.
            let features = input.iter().map(|x| format!("{:?}", x * scale));
            let class = legend.classes.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
            rows.write_record(features.chain([class])).map_err(|e| Error::content(path, e))?;
        }
        rows.into_inner().map_err(|e| Error::content(path, e))
    }

    /// Writes the samples as a CSV file, encoded as by [`Samples::bytes`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path, scale: f32, legend: &Legend) -> Result<()> {
        files::write(path, &self.bytes(path, scale, legend)?)
    }

    /// Largest label plus one, or 0 if there are no samples.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |label| *label as usize + 1)
    }

    /// Checks that the samples have `inputs` features and that all labels are below `classes`.
    ///
    /// # Errors
    /// If the number of features differs or a label is out of range; then the message names the first such sample of
    /// the file.
    pub fn check(&self, path: &Path, inputs: usize, classes: usize) -> Result<()> {
        if self.inputs != inputs {
            let found = self.inputs;
            return Err(Error::content(
                path,
                format!("its samples have {found} features, but the network takes {inputs}"),
            ));
        }
        match self.labels.iter().position(|label| *label as usize >= classes) {
            Some(at) => Err(Error::content(
                path,
                format!("sample {}: label {} is not one of the {classes} classes", at + 1, self.labels[at]),
            )),
            None => Ok(()),
        }
    }

    /// Draws `count` samples in a random order of [`Stream::Arrival`]. Once all have been drawn, they repeat in a new
    /// order. An empty set stays empty.
    pub fn arrive(&self, count: usize, seed: u64) -> Self {
        let (mut all, mut generator): (Vec<usize>, _) = ((0..self.len()).collect(), Stream::Arrival.generator(seed));
        let mut order = Vec::new();
        while order.len() < count && !all.is_empty() {
            generator.shuffle(&mut all);
            order.extend(&all);
        }
        order.truncate(count);
        self.pick(&order)
    }

    /// Splits the samples in a random order of [`Stream::Arrival`] into a stream and the rest. The stream takes the
    /// first `per_class` samples of each class, but at most half of a class, rounded down.
    pub fn introduce(&self, per_class: usize, seed: u64) -> (Self, Self) {
        let mut wanted = vec![0; self.classes()];
        self.labels.iter().for_each(|label| wanted[*label as usize] += 1);
        wanted.iter_mut().for_each(|count| *count = per_class.min(*count / 2));
        let mut order: Vec<usize> = (0..self.len()).collect();
        Stream::Arrival.generator(seed).shuffle(&mut order);
        let (stream, rest): (Vec<_>, Vec<_>) = order.into_iter().partition(|sample| {
            let wanted = &mut wanted[self.labels[*sample] as usize];
            let taken = *wanted > 0;
            *wanted -= usize::from(taken);
            taken
        });
        (self.pick(&stream), self.pick(&rest))
    }

    /// Replaces each label, with probability `share`, by another class drawn uniformly. It makes two draws of
    /// [`Stream::WrongLabels`] per label, so the wrong labels of a smaller share are a subset of those of a larger one.
    /// With fewer than two classes, nothing changes.
    pub fn mislabel(&mut self, share: f32, classes: usize, seed: u64) {
        let Some(others) = u32::try_from(classes).ok().and_then(|classes| classes.checked_sub(1)).filter(|n| *n > 0)
        else {
            return;
        };
        let mut generator = Stream::WrongLabels.generator(seed);
        for label in &mut self.labels {
            let (uniform, other) = (generator.uniform(), generator.below(others));
            if uniform < share {
                *label = other + u32::from(other >= *label);
            }
        }
    }
}
