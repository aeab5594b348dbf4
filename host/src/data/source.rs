//! Where samples come from, as a configuration says it.

use super::labels::Labels;
use super::names::Names;
use super::table::{Missing, Wanted};
use super::{Columns, Csv, Idx, Legend, Normalisation, Normalise, Npy, Parts, Role, Samples, Split, Text, arff, csv};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where samples come from. A file whose name ends in `.gz` is unpacked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Images and labels, in files of their own.
    Idx(Idx),
    /// A sample a line.
    Csv(Csv),
    /// A sample a line, after a header that declares the columns.
    Arff(Columns),
    /// An array, and a table with the labels.
    Npy(Npy),
    /// Bytes.
    Text(Text),
}

/// Data that a model trains on, chooses weights by and is tested on.
#[allow(clippy::large_enum_variant, reason = "a process has one, or a few")]
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
    /// Names of columns and classes: classes as the data call them, sorted; where labels are whole numbers, those from 0 to the
    /// largest.
    pub legend: Legend,
    /// Learnt of the training part, and applied to all.
    pub normalisation: Normalisation,
    /// What is strange in the data, but no error: a line each.
    pub notes: Vec<String>,
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
    /// In binary64, until they are normalised; a missing value is NaN.
    pub samples: Samples<f64>,
    /// Of one sample.
    pub shape: Vec<usize>,
    pub legend: Legend,
    /// Their names, and the number of each sample's group.
    pub groups: Option<(Names, Vec<u32>)>,
    /// Where the source's own test part begins, if there is one.
    pub own: Option<usize>,
    /// What is strange in them.
    pub notes: Vec<String>,
}

impl Source {
    /// The main file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Idx(idx) => &idx.images,
            Self::Csv(table) => &table.path,
            Self::Arff(table) => &table.path,
            Self::Npy(npy) => &npy.path,
            Self::Text(text) => &text.path,
        }
    }

    /// Every file that it names.
    pub fn paths(&self) -> Vec<PathBuf> {
        let more: &[&Option<PathBuf>] = match self {
            Self::Idx(idx) => &[&Some(idx.labels.clone()), &idx.test_images, &idx.test_labels],
            Self::Npy(npy) => &[&Some(npy.labels.clone())],
            Self::Csv(_) | Self::Arff(_) | Self::Text(_) => &[],
        };
        [self.path().to_owned()].into_iter().chain(more.iter().filter_map(|path| (*path).clone())).collect()
    }

    /// The same with another main file: of the same format, with the same columns. Arrays and images have their labels in files
    /// of their own, which are not those of other samples: in place of them comes a CSV file.
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
        normalise.check()?;
        let missing = if normalise.fills() { Missing::Filled } else { Missing::Unfilled };
        let raw = self.read(matches!(split, Split::Own(_)), missing, None, self.group())?;
        let learn = |train: &Samples<f64>, columns: &[String]| {
            let learnt = normalise.learn(train, columns).map_err(|feature| {
                let name = columns.get(feature).cloned().unwrap_or_else(|| feature.to_string());
                Error::content(self.path(), format!("column {name:?} has no value in the training part: ignore it"))
            })?;
            learnt.check(train.inputs()).map_err(|e| Error::content(self.path(), e))?;
            Ok(learnt)
        };
        let mut labelled = self.parts(raw, split, learn)?;
        labelled.notes.extend(unmet(labelled.train.labels(), &labelled.legend));
        Ok(Dataset::Labelled(labelled))
    }

    /// Reads the data and splits them as [`Source::load`], for a model that was trained: with the normalisation that was learnt
    /// then, and the names that were found then. Where both the legend and the file name columns, they are found by their names;
    /// a label is a class's name or its number.
    ///
    /// # Errors
    /// As [`Source::load`]; where a column is missing or unknown, a label is none of the classes, the normalisation is of another
    /// number of features, or the source is a text.
    pub fn load_as(&self, split: &Split, normalisation: &Normalisation, legend: &Legend) -> Result<Labelled> {
        let raw = self.read_as(matches!(split, Split::Own(_)), normalisation, legend, self.group())?;
        self.parts(raw, split, |_, _| Ok(normalisation.clone()))
    }

    /// All samples of the main file, read as by [`Source::load_as`]; it needs no column of groups.
    ///
    /// # Errors
    /// As there.
    pub fn all_as(&self, normalisation: &Normalisation, legend: &Legend) -> Result<Samples> {
        let raw = self.read_as(false, normalisation, legend, None)?;
        normalisation.apply(self.path(), &raw.legend.features, &raw.samples)
    }

    /// All samples for a model that was trained, of which this column says the group.
    fn read_as(&self, own: bool, normalisation: &Normalisation, legend: &Legend, group: Option<&str>) -> Result<Raw> {
        let missing = if normalisation.scale().is_none() { Missing::Filled } else { Missing::Unfilled };
        let raw = self.read(own, missing, Some(legend), group)?;
        normalisation.check(raw.samples.inputs()).map_err(|e| Error::content(self.path(), e))?;
        Ok(Raw { legend: legend.clone(), ..raw })
    }

    /// The column of groups.
    fn group(&self) -> Option<&str> {
        match self {
            Self::Csv(table) => table.group.as_deref(),
            Self::Arff(table) => table.group.as_deref(),
            Self::Npy(npy) => npy.group.as_deref(),
            Self::Idx(_) | Self::Text(_) => None,
        }
    }

    /// All samples; where `own`, those of the own test part after them.
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

    /// Splits and scales; `learn` sees the training part and the names of its features.
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

/// Classes that are named one by one in a message.
const NAMED: usize = 3;

/// Says which classes have no sample among these labels.
fn unmet(labels: &[u32], Legend { classes, .. }: &Legend) -> Vec<String> {
    let mut met = vec![false; classes.len()];
    labels.iter().for_each(|label| met[*label as usize] = true);
    let unmet: Vec<_> = (0..classes.len()).filter(|class| !met[*class]).collect();
    if unmet.len() > NAMED {
        return vec![format!("{} of {} classes have no training sample", grouped(unmet.len()), grouped(classes.len()))];
    }
    let say = |class: usize| match &classes[class] {
        name if *name == class.to_string() => format!("class {class} has no training sample"),
        name => format!("class {class} ({name:?}) has no training sample"),
    };
    unmet.into_iter().map(say).collect()
}

/// A count with a comma before every three digits.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}
