//! Samples: where they come from, which of them test, how they are scaled, and how a sensor ages.
//!
//! | source | files | labels |
//! |---|---|---|
//! | [`Idx`] | images and labels of IDX, the format of MNIST; a test part of its own | unsigned bytes |
//! | [`Csv`] | a sample a line, after a line of names or without any | a column |
//! | [`Source::Arff`] | the same after a header that declares the columns, or without any | a column |
//! | [`Npy`] | an array of NumPy, and a CSV file with a line for each sample, or another array | a column of that |
//! | [`Text`] | bytes | none |
//!
//! A file whose name ends in `.gz` is unpacked. Labels are whole numbers from 0, or names of classes. In a table, groups are
//! people, places or days of which some test ([`Split::Group`]); a field that is empty or `?` is a missing value.

mod arff;
mod csv;
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

/// Labelled samples, all of one length: of binary32 numbers, or of others before they are normalised.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Samples<T = f32> {
    inputs: usize,
    features: Vec<T>,
    labels: Vec<u32>,
}

impl<T: Copy> Samples<T> {
    /// Takes one more sample; it has [`Samples::inputs`] numbers.
    pub fn push(&mut self, input: &[T], label: u32) {
        debug_assert_eq!(input.len(), self.inputs);
        self.features.extend_from_slice(input);
        self.labels.push(label);
    }

    /// Numbers of a sample.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// All samples in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[T], u32)> {
        self.features.chunks_exact(self.inputs.max(1)).zip(self.labels.iter().copied())
    }

    /// All features, sample by sample.
    pub fn features(&self) -> &[T] {
        &self.features
    }

    /// All labels.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The samples at these indices, in their order.
    fn pick(&self, indices: &[usize]) -> Self {
        let mut picked = Self { inputs: self.inputs, features: Vec::new(), labels: Vec::new() };
        let all: Vec<_> = self.iter().collect();
        indices.iter().for_each(|index| picked.push(all[*index].0, all[*index].1));
        picked
    }

    /// Takes those from `at` on away.
    fn split_off(&mut self, at: usize) -> Self {
        let (features, labels) = (self.features.split_off(at * self.inputs), self.labels.split_off(at));
        Self { inputs: self.inputs, features, labels }
    }

    /// In a random order of [`Stream::Split`], the first `train` samples and the others.
    ///
    /// # Errors
    /// Where there are not more samples than `train`.
    pub fn split(&self, train: usize, seed: u64) -> Result<(Self, Self)> {
        if train == 0 || train >= self.len() {
            return Err(Error::Usage(format!("{} samples cannot be split into {train} and others", self.len())));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        Stream::Split.generator(seed).shuffle(&mut order);
        Ok((self.pick(&order[..train]), self.pick(&order[train..])))
    }
}

impl Samples {
    /// None yet, for samples of that many numbers.
    pub fn new(inputs: usize) -> Self {
        Self { inputs, ..Self::default() }
    }

    /// Reads a CSV file of samples of that many numbers, as they are. Where both the legend and the file name columns, they are
    /// found by their names; otherwise the label comes last. A label is a class's name or its number.
    ///
    /// # Errors
    /// Where the file cannot be read, has no samples, a column is missing or unknown, or a line is wrong: the message names line
    /// and column.
    pub fn read(path: &Path, inputs: usize, legend: &Legend) -> Result<Self> {
        let wanted = Wanted { features: true, missing: Missing::Sent, legend: Some(legend), ..Wanted::default() };
        let raw = csv::read(path, wanted, Labels::known(&legend.classes))?;
        let samples = Normalisation::division(1.0).apply(path, &raw.legend.features, &raw.samples)?;
        samples.check(path, inputs, legend.classes.len())?;
        Ok(samples)
    }

    /// Reads a CSV file for a network whose columns and classes have no known names: by place, the label last and a number.
    ///
    /// # Errors
    /// As [`Samples::read`], and where the file names its columns: nothing says which of the network's they are.
    pub fn read_by_place(path: &Path, inputs: usize, classes: usize) -> Result<Self> {
        let legend = Legend::numbered(classes);
        let wanted = Wanted { features: true, missing: Missing::Sent, legend: Some(&legend), ..Wanted::default() };
        if csv::names_columns(path, wanted)? {
            let what =
                "names its columns, and nothing says which inputs of the network they are: name its image with --image";
            return Err(Error::content(path, what));
        }
        Self::read(path, inputs, &legend)
    }

    /// The same with every feature divided by `scale`.
    pub fn divided(mut self, scale: f32) -> Self {
        self.features.iter_mut().for_each(|x| *x /= scale);
        self
    }

    /// A CSV file that [`Samples::read`] reads with the same legend; every feature is multiplied by `scale`. It begins with
    /// names where the legend has them, and calls classes as the legend does.
    ///
    /// # Errors
    /// Names the file, where the samples cannot be written.
    pub fn bytes(&self, path: &Path, scale: f32, legend: &Legend) -> Result<Vec<u8>> {
        let mut rows = ::csv::WriterBuilder::new().comment(Some(b'#')).from_writer(Vec::new());
        if let Some(label) = legend.label.as_ref().filter(|_| legend.features.len() == self.inputs) {
            rows.write_record(legend.features.iter().chain([label])).map_err(|e| Error::content(path, e))?;
        }
        for (input, label) in self.iter() {
            // With its point, no number looks like a column's.
            let features = input.iter().map(|x| format!("{:?}", x * scale));
            let class = legend.classes.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
            rows.write_record(features.chain([class])).map_err(|e| Error::content(path, e))?;
        }
        rows.into_inner().map_err(|e| Error::content(path, e))
    }

    /// Writes such a file.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path, scale: f32, legend: &Legend) -> Result<()> {
        files::write(path, &self.bytes(path, scale, legend)?)
    }

    /// One more than the largest label.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |label| *label as usize + 1)
    }

    /// Refuses labels that are no class.
    ///
    /// # Errors
    /// Names the first such sample of the file.
    pub fn check(&self, path: &Path, inputs: usize, classes: usize) -> Result<()> {
        if self.inputs != inputs {
            let found = self.inputs;
            return Err(Error::content(path, format!("samples of {found} features, the network takes {inputs}")));
        }
        match self.labels.iter().position(|label| *label as usize >= classes) {
            Some(at) => Err(Error::content(
                path,
                format!("sample {}: label {} is not one of the {classes} classes", at + 1, self.labels[at]),
            )),
            None => Ok(()),
        }
    }

    /// `count` of them, in a random order of [`Stream::Arrival`]; after all of them they come again, in another one. Of none,
    /// none.
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

    /// In a random order of [`Stream::Arrival`], the first `per_class` samples of each class, of which as many or more are
    /// left, else half of them; and all others.
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

    /// Replaces each label with probability `share` by one of the other classes, each as likely as any other; two draws of
    /// [`Stream::WrongLabels`] a label, so that the wrong labels of a smaller share are among those of a larger one. With
    /// fewer than two classes nothing changes.
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
