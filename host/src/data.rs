//! Labelled samples from CSV, splits, and how a sensor ages.
//!
//! A data file has one sample a line: its features, then its label, a whole number from 0. A first line without any
//! number is taken as names. A name that ends in `.gz` is compressed.

use crate::error::{Error, Result};
use crate::files;
use flate2::read::GzDecoder;
use graftage_core::random::Generator;
use std::io::Read;
use std::path::Path;

/// What random numbers are drawn for: streams of the generator that no other purpose uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Which samples train and which test.
    Split = 1,
    /// How a sensor ages.
    Ageing,
    /// Which samples an aged device meets, in which order.
    Arrival,
    /// Starting weights.
    Weights,
    /// Which samples make a batch.
    Batches,
}

impl Stream {
    /// The generator of a seed for this purpose.
    pub fn generator(self, seed: u64) -> Generator {
        Generator::new(seed, self as u64)
    }
}

/// Labelled samples, all of one length.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Samples {
    inputs: usize,
    features: Vec<f32>,
    labels: Vec<u32>,
}

impl Samples {
    /// None yet, for samples of that many numbers.
    pub fn new(inputs: usize) -> Self {
        Self { inputs, ..Self::default() }
    }

    /// Reads a data file; every feature is divided by `scale`.
    ///
    /// # Errors
    /// Where the file cannot be read, has no samples, or a line is wrong: the message names line and column.
    pub fn read(path: &Path, scale: f32) -> Result<Self> {
        let bytes = files::read(path)?;
        let mut text = Vec::new();
        if path.extension().is_some_and(|e| e == "gz") {
            let truncated = |e| Error::content(path, format!("damaged or cut gzip file ({e}); fetch it again"));
            GzDecoder::new(&bytes[..]).read_to_end(&mut text).map_err(truncated)?;
        } else {
            text = bytes;
        }
        let mut reader = csv::ReaderBuilder::new();
        let mut rows = reader.has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(&text[..]);
        let mut samples = Self::default();
        for (index, row) in rows.records().enumerate() {
            let row = row.map_err(|e| Error::content(path, e.to_string().replace('\n', " ")))?;
            if index == 0 && row.iter().all(|field| field.parse::<f32>().is_err()) {
                continue;
            }
            let line = || {
                // A row's position is where the one before it ended: empty lines may stand between them.
                let end = row.position().map_or(0, |position| position.byte() as usize);
                let ends = text[end..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                1 + text[..end + ends].iter().filter(|byte| **byte == b'\n').count()
            };
            let wrong = |column: usize, what: &str| {
                let field = row.get(column).unwrap_or_default();
                Error::content(path, format!("line {}, column {}: {what}, found {field:?}", line(), column + 1))
            };
            let last = row.len() - 1;
            if last == 0 {
                return Err(wrong(0, "a line holds features and, last, a label"));
            }
            if !samples.is_empty() && last != samples.inputs {
                let (fields, before) = (row.len(), samples.inputs + 1);
                return Err(Error::content(path, format!("line {}: {fields} fields, {before} before it", line())));
            }
            for (column, field) in row.iter().take(last).enumerate() {
                let feature = field.parse::<f32>().ok().filter(|x| x.is_finite());
                let feature = feature.ok_or_else(|| wrong(column, "a feature is a finite number"))?;
                samples.features.push(feature / scale);
            }
            let label = row.get(last).and_then(|field| field.parse().ok());
            samples.labels.push(label.ok_or_else(|| wrong(last, "the label is a whole number from 0"))?);
            samples.inputs = last;
        }
        if samples.labels.is_empty() {
            return Err(Error::content(path, "no samples"));
        }
        Ok(samples)
    }

    /// Writes a data file; every feature is multiplied by `scale`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path, scale: f32) -> Result<()> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        for (input, label) in self.iter() {
            let features = input.iter().map(|x| (x * scale).to_string());
            rows.write_record(features.chain([label.to_string()])).map_err(|e| Error::content(path, e))?;
        }
        files::write(path, &rows.into_inner().map_err(|e| Error::content(path, e))?)
    }

    /// Takes one more sample; it has [`Samples::inputs`] numbers.
    pub fn push(&mut self, input: &[f32], label: u32) {
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

    /// One more than the largest label.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |label| *label as usize + 1)
    }

    /// All samples in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[f32], u32)> {
        self.features.chunks_exact(self.inputs.max(1)).zip(self.labels.iter().copied())
    }

    /// All features, sample by sample.
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// All labels.
    pub fn labels(&self) -> &[u32] {
        &self.labels
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

    /// The samples at these indices, in their order.
    fn pick(&self, indices: &[usize]) -> Self {
        let mut picked = Self::new(self.inputs);
        let all: Vec<_> = self.iter().collect();
        indices.iter().for_each(|index| picked.push(all[*index].0, all[*index].1));
        picked
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

    /// `count` of them, in a random order of [`Stream::Arrival`].
    pub fn arrive(&self, count: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..self.len()).collect();
        Stream::Arrival.generator(seed).shuffle(&mut order);
        order.truncate(count);
        self.pick(&order)
    }

    /// As an aged sensor sees them.
    pub fn aged(&self, sensor: &AgedSensor) -> Self {
        let mut aged = self.clone();
        for input in aged.features.chunks_exact_mut(self.inputs.max(1)) {
            for ((x, gain), offset) in input.iter_mut().zip(&sensor.gain).zip(&sensor.offset) {
                *x = *gain * *x + *offset;
            }
        }
        aged
    }
}

/// A sensor each of whose elements has drifted by itself: x becomes gain·x + offset.
#[derive(Clone, PartialEq, Debug)]
pub struct AgedSensor {
    gain: Vec<f32>,
    offset: Vec<f32>,
}

impl AgedSensor {
    /// For each element a gain from U(0.2, 1.2), then an offset from U(0, 0.5), in units of the scaled features.
    pub fn draw(inputs: usize, seed: u64) -> Self {
        let mut generator = Stream::Ageing.generator(seed);
        let (mut gain, mut offset) = (Vec::new(), Vec::new());
        for _ in 0..inputs {
            gain.push(0.2 + generator.uniform());
            offset.push(0.5 * generator.uniform());
        }
        Self { gain, offset }
    }
}
