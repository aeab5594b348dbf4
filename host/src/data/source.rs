//! Data sources as named in a configuration.

use super::labels::Labels;
use super::raw::Raw;
use super::table::{Missing, Wanted};
use super::{Columns, Csv, Idx, Legend, Normalisation, Normalise, Npy, Parts, Role, Samples, Split, Text, arff, csv};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A data source. A file whose name ends in `.gz` is decompressed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Images and labels in separate files.
    Idx(Idx),
    /// CSV, one sample per line.
    Csv(Csv),
    /// ARFF: one sample per line, after a header that declares the columns.
    Arff(Columns),
    /// A NumPy array, and a table or an array with the labels.
    Npy(Npy),
    /// A text, as bytes.
    Text(Text),
}

/// Training, validation and test data of a model.
#[allow(clippy::large_enum_variant, reason = "a process has one, or a few")]
#[derive(Clone, PartialEq, Debug)]
pub enum Dataset {
    /// Samples with labels.
    Labelled(Labelled),
    /// Bytes in order.
    Text(Parts<Vec<u8>>),
}

/// Labelled, normalised samples.
#[derive(Clone, PartialEq, Debug)]
pub struct Labelled {
    /// Training part.
    pub train: Samples,
    /// Validation part, used to choose among weights; `None` if the split defines none.
    pub validate: Option<Samples>,
    /// Test part.
    pub test: Samples,
    /// Shape of one sample, e.g. `[28, 28]` or `[64]`.
    pub shape: Vec<usize>,
    /// Names of columns and classes. Class names are those of the data, sorted; numeric labels are named by the numbers
    /// from 0 to the largest.
    pub legend: Legend,
    /// Normalisation, learnt from the training part and applied to all parts.
    pub normalisation: Normalisation,
    /// Remarks about unusual data that are not errors, one line each.
    pub notes: Vec<String>,
}

impl Labelled {
    /// Returns the samples of a part; `None` if there is no validation part.
    pub fn part(&self, role: Role) -> Option<&Samples> {
        match role {
            Role::Train => Some(&self.train),
            Role::Validate => self.validate.as_ref(),
            Role::Test => Some(&self.test),
        }
    }
}

impl Source {
    /// Path of the main file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Idx(idx) => &idx.images,
            Self::Csv(table) => &table.path,
            Self::Arff(table) => &table.path,
            Self::Npy(npy) => &npy.path,
            Self::Text(text) => &text.path,
        }
    }

    /// Paths of all files of the source.
    pub fn paths(&self) -> Vec<PathBuf> {
        let more: &[&Option<PathBuf>] = match self {
            Self::Idx(idx) => &[&Some(idx.labels.clone()), &idx.test_images, &idx.test_labels],
            Self::Npy(npy) => &[&Some(npy.labels.clone())],
            Self::Csv(_) | Self::Arff(_) | Self::Text(_) => &[],
        };
        [self.path().to_owned()].into_iter().chain(more.iter().filter_map(|path| (*path).clone())).collect()
    }

    /// Returns the same source with another main file of the same format and columns. For arrays and images, whose
    /// labels are in separate files that do not fit other samples, it is a CSV file instead.
    pub fn with_path(&self, path: &Path) -> Self {
        let mut source = self.clone();
        *match &mut source {
            Self::Csv(table) => &mut table.path,
            Self::Arff(table) => &mut table.path,
            Self::Text(text) => &mut text.path,
            Self::Idx(_) | Self::Npy(_) => return Self::Csv(Csv::new(path)),
        } = path.to_owned();
        source
    }

    /// Reads and splits the data, learns the normalisation from the training part, and applies it to all parts.
    ///
    /// # Errors
    /// If a file cannot be read or has invalid content; the message names line and column, or sample and byte. Also if
    /// the source does not support the split, a part is empty, or the normalisation does not fit the data.
    pub fn load(&self, split: &Split, normalise: &Normalise) -> Result<Dataset> {
        if let Self::Text(text) = self {
            if *normalise != Normalise::None {
                return Err(Error::content(
                    &text.path,
                    "a text has no features to normalise: remove the key normalise",
                ));
            }
            return text.load(split).map(Dataset::Text);
        }
        normalise.check()?;
        let missing = if normalise.fills() { Missing::Filled } else { Missing::Unfilled };
        let raw = self.read(matches!(split, Split::Own(_)), missing, None, self.group())?;
        let learn = |train: &Samples<f64>, columns: &[String]| {
            let learnt = normalise.learn(train, columns).map_err(|feature| {
                let name = columns.get(feature).cloned().unwrap_or_else(|| feature.to_string());
                Error::content(self.path(), format!("column {name:?} has no values in the training part: ignore it"))
            })?;
            learnt.check(train.inputs()).map_err(|e| Error::content(self.path(), e))?;
            Ok(learnt)
        };
        let mut labelled = self.parts(raw, split, learn)?;
        labelled.notes.extend(unmet(labelled.train.labels(), &labelled.legend));
        Ok(Dataset::Labelled(labelled))
    }

    /// Reads and splits the data like [`Source::load`], but for a trained model, with the normalisation and names of
    /// its training. If both the legend and the file name the columns, they are matched by name. A label is a class
    /// name or a class number.
    ///
    /// # Errors
    /// Same as [`Source::load`]. Also if a column is missing or unknown, a label is not a known class, the
    /// normalisation has another number of features, or the source is a text.
    pub fn load_as(&self, split: &Split, normalisation: &Normalisation, legend: &Legend) -> Result<Labelled> {
        let raw = self.read_as(matches!(split, Split::Own(_)), normalisation, legend, self.group())?;
        self.parts(raw, split, |_, _| Ok(normalisation.clone()))
    }

    /// Reads all samples of the main file like [`Source::load_as`]. No column of groups is needed.
    ///
    /// # Errors
    /// Same as [`Source::load_as`].
    pub fn all_as(&self, normalisation: &Normalisation, legend: &Legend) -> Result<Samples> {
        let raw = self.read_as(false, normalisation, legend, None)?;
        normalisation.apply(self.path(), &raw.legend.features, &raw.samples)
    }

    /// Reads all samples for a trained model. `group` is the column of groups.
    fn read_as(&self, own: bool, normalisation: &Normalisation, legend: &Legend, group: Option<&str>) -> Result<Raw> {
        let missing = if normalisation.scale().is_none() { Missing::Filled } else { Missing::Unfilled };
        let raw = self.read(own, missing, Some(legend), group)?;
        normalisation.check(raw.samples.inputs()).map_err(|e| Error::content(self.path(), e))?;
        Ok(Raw { legend: legend.clone(), ..raw })
    }

    /// Column of groups, if configured.
    fn group(&self) -> Option<&str> {
        match self {
            Self::Csv(table) => table.group.as_deref(),
            Self::Arff(table) => table.group.as_deref(),
            Self::Npy(npy) => npy.group.as_deref(),
            Self::Idx(_) | Self::Text(_) => None,
        }
    }

    /// Reads all samples. If `own`, those of the source's own test part follow.
    fn read(&self, own: bool, missing: Missing, legend: Option<&Legend>, group: Option<&str>) -> Result<Raw> {
        let labels = |classes| legend.map_or_else(|| Labels::open(classes), |legend| Labels::known(&legend.classes));
        match self {
            Self::Idx(idx) => idx.read(own, labels(idx.classes)),
            Self::Csv(table) => {
                let wanted = Wanted { legend, group, ..table.wanted(missing) };
                csv::read(&table.path, wanted, labels(table.classes))
            }
            Self::Arff(table) => {
                let wanted = Wanted { legend, group, ..table.wanted(missing) };
                arff::read(&table.path, wanted, labels(table.classes))
            }
            Self::Npy(npy) => npy.read(labels(npy.classes), legend, group),
            Self::Text(text) => Err(Error::content(&text.path, "a text has no labelled samples")),
        }
    }

    /// Splits and normalises the samples. `learn` receives the training part and the names of its features.
    fn parts(
        &self,
        raw: Raw,
        split: &Split,
        learn: impl FnOnce(&Samples<f64>, &[String]) -> Result<Normalisation>,
    ) -> Result<Labelled> {
        let Raw { samples, shape, legend, groups, own, notes } = raw;
        let Parts { train, validate, test } = split.part(self.path(), samples, groups, own)?;
        let normalisation = learn(&train, &legend.features)?;
        let scaled = |part: &Samples<f64>| normalisation.apply(self.path(), &legend.features, part);
        let (train, test) = (scaled(&train)?, scaled(&test)?);
        let validate = validate.as_ref().map(scaled).transpose()?;
        Ok(Labelled { train, validate, test, shape, legend, normalisation, notes })
    }
}

/// Maximum number of classes that a message names individually.
const NAMED: usize = 3;

/// Lists the classes that have no sample among these labels.
fn unmet(labels: &[u32], Legend { classes, .. }: &Legend) -> Vec<String> {
    let mut met = vec![false; classes.len()];
    labels.iter().for_each(|label| met[*label as usize] = true);
    let unmet: Vec<_> = (0..classes.len()).filter(|class| !met[*class]).collect();
    if unmet.len() > NAMED {
        return vec![format!(
            "{} of {} classes have no training samples",
            grouped(unmet.len()),
            grouped(classes.len())
        )];
    }
    let say = |class: usize| match &classes[class] {
        name if *name == class.to_string() => format!("class {class} has no training samples"),
        name => format!("class {class} ({name:?}) has no training samples"),
    };
    unmet.into_iter().map(say).collect()
}

/// Formats a count with a comma between groups of three digits.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}
