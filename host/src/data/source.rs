//! Where samples come from, as a configuration says it.

use super::labels::Labels;
use super::names::Names;
use super::{Columns, Idx, Normalisation, Normalise, Npy, Parts, Role, Samples, Split, Text, arff, csv};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where samples come from. A file whose name ends in `.gz` is unpacked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Images and labels, in files of their own.
    Idx(Idx),
    /// A sample a line.
    Csv(Columns),
    /// A sample a line, after a header that declares the columns.
    Arff(Columns),
    /// An array, and a table with the labels.
    Npy(Npy),
    /// Bytes.
    Text(Text),
}

/// What a model trains and is tested on.
#[derive(Clone, PartialEq, Debug)]
pub enum Dataset {
    /// Numbers, and a class.
    Labelled(Labelled),
    /// Bytes in order.
    Text(Parts<Vec<u8>>),
}

/// Labelled samples, scaled.
#[derive(Clone, PartialEq, Debug)]
pub struct Labelled {
    /// Those that train.
    pub train: Samples,
    /// Samples that choose among weights, if the split names such a part.
    pub validate: Option<Samples>,
    /// Those that test.
    pub test: Samples,
    /// Of one sample, e.g. `[28, 28]` or `[64]`.
    pub shape: Vec<usize>,
    /// Their names by label: what the data call them, sorted; where labels are whole numbers, those from 0 to the largest.
    pub classes: Vec<String>,
    /// Learnt of the training part, and applied to all.
    pub normalisation: Normalisation,
}

impl Labelled {
    /// The samples of a part.
    pub fn part(&self, role: Role) -> Option<&Samples> {
        match role {
            Role::Train => Some(&self.train),
            Role::Validate => self.validate.as_ref(),
            Role::Test => Some(&self.test),
        }
    }
}

/// All samples of a source, as they lie there.
pub(super) struct Raw {
    /// A missing value is NaN.
    pub samples: Samples,
    /// Of one sample.
    pub shape: Vec<usize>,
    pub classes: Vec<String>,
    /// The names of the features, where they have any.
    pub columns: Vec<String>,
    /// Their names, and the number of each sample's group.
    pub groups: Option<(Names, Vec<u32>)>,
    /// Where the source's own test part begins, if there is one.
    pub own: Option<usize>,
}

impl Source {
    /// The main file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Idx(idx) => &idx.images,
            Self::Csv(table) | Self::Arff(table) => &table.path,
            Self::Npy(npy) => &npy.path,
            Self::Text(text) => &text.path,
        }
    }

    /// The same with another main file: of the same format, with the same columns.
    pub fn with_path(&self, path: &Path) -> Self {
        let mut source = self.clone();
        *match &mut source {
            Self::Idx(idx) => &mut idx.images,
            Self::Csv(table) | Self::Arff(table) => &mut table.path,
            Self::Npy(npy) => &mut npy.path,
            Self::Text(text) => &mut text.path,
        } = path.to_owned();
        source
    }

    /// Reads the data, splits them, learns the normalisation from the training part and applies it to all.
    ///
    /// # Errors
    /// Where a file cannot be read or says what is not understood: the message names the line and the column, or the sample and
    /// the byte. Where the source has no such parts, a part is empty, or the normalisation does not go with the data.
    pub fn load(&self, split: &Split, normalise: &Normalise) -> Result<Dataset> {
        if let Self::Text(text) = self {
            if *normalise != Normalise::None {
                return Err(Error::content(&text.path, "a text has no features to normalise: leave [normalise] out"));
            }
            return text.load(split).map(Dataset::Text);
        }
        let scale = if let Normalise::Divide(scale) = normalise { *scale } else { 1.0 };
        Normalisation::division(scale).check(1)?;
        let raw = self.read(split, normalise.fills(), Labels::open())?;
        let learn = |train: &Samples, columns: &[String]| {
            normalise.learn(train).map_err(|feature| {
                let name = columns.get(feature).cloned().unwrap_or_else(|| feature.to_string());
                Error::content(self.path(), format!("column {name:?} has no value in the training part: ignore it"))
            })
        };
        self.parts(raw, split, learn).map(Dataset::Labelled)
    }

    /// Reads the data and splits them as [`Source::load`], for a model that was trained: with the normalisation that was learnt
    /// then, and the labels of the classes that were found then.
    ///
    /// # Errors
    /// As [`Source::load`]; where a label is none of the classes, the normalisation is of another number of features, or the
    /// source is a text.
    pub fn load_as(&self, split: &Split, normalisation: &Normalisation, classes: &[String]) -> Result<Labelled> {
        let raw = self.read(split, normalisation.scale().is_none(), Labels::known(classes))?;
        normalisation.check(raw.samples.inputs()).map_err(|e| Error::content(self.path(), e))?;
        self.parts(raw, split, |_, _| Ok(normalisation.clone()))
    }

    /// All samples.
    fn read(&self, split: &Split, missing: bool, labels: Labels) -> Result<Raw> {
        match self {
            Self::Idx(idx) => idx.read(matches!(split, Split::Own(_)), labels),
            Self::Csv(table) => csv::read(&table.path, table.wanted(missing), labels),
            Self::Arff(table) => arff::read(&table.path, table.wanted(missing), labels),
            Self::Npy(npy) => npy.read(labels),
            Self::Text(text) => Err(Error::content(&text.path, "a text has no labelled samples")),
        }
    }

    /// Splits and scales; `learn` sees the training part and the names of its features.
    fn parts(
        &self,
        raw: Raw,
        split: &Split,
        learn: impl FnOnce(&Samples, &[String]) -> Result<Normalisation>,
    ) -> Result<Labelled> {
        let Raw { samples, shape, classes, columns, groups, own } = raw;
        let Parts { mut train, mut validate, mut test } = split.part(self.path(), samples, groups, own)?;
        let normalisation = learn(&train, &columns)?;
        for part in [Some(&mut train), validate.as_mut(), Some(&mut test)].into_iter().flatten() {
            normalisation.apply(part);
            if let Some(at) = part.features().iter().position(|feature| !feature.is_finite()) {
                let feature = at % part.inputs() + 1;
                let what = format!("feature {feature} of a sample is larger than any binary32 after normalisation");
                return Err(Error::content(self.path(), what));
            }
        }
        Ok(Labelled { train, validate, test, shape, classes, normalisation })
    }
}
