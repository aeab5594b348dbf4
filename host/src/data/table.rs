//! A table with one sample per line: roles of its columns, and parsing of its fields.

use super::field::{is_missing, point_for_comma};
use super::labels::Labels;
use super::names::{Names, nearest, one_line};
use super::raw::{Groups, Raw};
use super::{Legend, Samples};
use crate::error::{Error, Result};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file with one sample per line and the roles of its columns. A column is identified by its name, or by its number
/// from 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Columns {
    /// Path of the file.
    pub path: PathBuf,
    /// Column of labels; the last one by default.
    #[serde(default, deserialize_with = "column")]
    pub label: Option<String>,
    /// Column of groups: people, places, days.
    #[serde(default, deserialize_with = "column")]
    pub group: Option<String>,
    /// Columns that are not features.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Number of classes. By default the largest label plus one, or the number of class names.
    #[serde(default)]
    pub classes: Option<usize>,
}

impl Columns {
    /// Describes the columns to read: all columns without another role are features.
    pub(super) fn wanted(&self, missing: Missing) -> Wanted<'_> {
        let Self { label, group, ignore, .. } = self;
        let (label, group) = (label.as_deref(), group.as_deref());
        Wanted { label, group, ignore, features: true, missing, ..Wanted::default() }
    }
}

/// Deserializes the name or number of one column.
pub(super) fn column<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    struct Column;
    impl<'de> Visitor<'de> for Column {
        type Value = Option<String>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str(
                "one column, given by its name or by its number from 0 in quotes: a sample has one label and one group",
            )
        }
        fn visit_str<E>(self, name: &str) -> std::result::Result<Self::Value, E> {
            Ok(Some(name.to_owned()))
        }
        fn visit_none<E>(self) -> std::result::Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    deserializer.deserialize_option(Column)
}

/// Treatment of missing features.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Missing {
    /// Refused: the normalisation learns no mean to fill them with.
    #[default]
    Unfilled,
    /// Kept as NaN until a mean replaces them.
    Filled,
    /// Refused: samples are sent to a device as they are, and must be complete.
    Sent,
}

/// Requested columns of a table, and settings for reading it.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// Column of labels; the last one by default.
    pub label: Option<&'a str>,
    pub group: Option<&'a str>,
    pub ignore: &'a [String],
    /// `true` if the first line of a CSV file holds column names; detected by default.
    pub header: Option<bool>,
    /// Field delimiter of a CSV file; detected from the first lines by default.
    pub delimiter: Option<char>,
    /// Table of the configuration whose keys set `header` and `delimiter`, if any; used in messages.
    pub keys: Option<&'static str>,
    /// Known names. If the file has column names, columns are matched by them.
    pub legend: Option<&'a Legend>,
    /// `true` if columns without another role are features.
    pub features: bool,
    pub missing: Missing,
}

/// Role of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Feature,
    Label,
    Group,
    Ignored,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Feature => "a feature",
            Self::Label => "the label",
            Self::Group => "the group",
            Self::Ignored => "ignored",
        }
    }
}

/// Columns of a table, named or not.
struct Header<'a> {
    path: &'a Path,
    names: Option<Vec<String>>,
    roles: Vec<Option<Role>>,
}

impl Header<'_> {
    fn wrong<T>(&self, what: String) -> Result<T> {
        Err(Error::content(self.path, what))
    }

    /// Returns the column with this name; `None` if there is none.
    fn named(&self, name: &str) -> Result<Option<usize>> {
        let named = |(at, column): (usize, &String)| (column == name).then_some(at);
        let mut found = self.names.iter().flatten().enumerate().filter_map(named);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => {
                self.wrong(format!("two columns are named {name:?}: give the number of one, counted from 0"))
            }
            (found, _) => Ok(found),
        }
    }

    /// Returns the column with this name or number.
    fn find(&self, name: &str) -> Result<usize> {
        let columns = self.roles.len();
        let number = || name.parse().ok().filter(|number| *number < columns);
        match (self.named(name)?.or_else(number), &self.names) {
            (Some(at), _) => Ok(at),
            (None, Some(names)) => {
                self.wrong(format!("there is no column {name:?}; the columns are {}", nearest(name, names)))
            }
            (None, None) => self.wrong(format!(
                "there is no column {name:?}; the file has no header, so its columns are numbered from 0 to {}",
                columns - 1
            )),
        }
    }

    fn give(&mut self, at: usize, role: Role) -> Result<()> {
        if let Some(other) = self.roles[at] {
            let name = self.names.as_ref().map_or_else(|| at.to_string(), |names| names[at].clone());
            return self.wrong(format!("column {name:?} is both {} and {}", other.name(), role.name()));
        }
        self.roles[at] = Some(role);
        Ok(())
    }

    /// Assigns roles by the names of a legend. Returns the feature columns in the legend's order.
    fn by_name(&mut self, legend: &Legend, wanted: &Wanted) -> Result<Vec<usize>> {
        let mut order = Vec::new();
        for (name, role) in legend
            .features
            .iter()
            .map(|name| (name, Role::Feature))
            .chain(legend.label.iter().map(|name| (name, Role::Label)))
        {
            match self.named(name)? {
                Some(at) => {
                    self.give(at, role)?;
                    order.extend((role == Role::Feature).then_some(at));
                }
                None => {
                    let near = nearest(name, self.names.as_deref().unwrap_or_default());
                    return self.wrong(format!("column {name:?} is missing; the columns are {near}"));
                }
            }
        }
        if legend.label.is_none() {
            self.give(wanted.label.map_or(Ok(self.roles.len() - 1), |label| self.find(label))?, Role::Label)?;
        }
        if let Some(group) = wanted.group {
            self.give(self.find(group)?, Role::Group)?;
        }
        let names = self.names.iter().flatten().zip(&mut self.roles).filter(|(_, role)| role.is_none());
        for (name, role) in names {
            if !legend.others.contains(name) && !wanted.ignore.contains(name) {
                let known: Vec<_> = legend.features.iter().chain(&legend.label).cloned().collect();
                let what = format!("unknown column {name:?}; the training's columns are {}", nearest(name, &known));
                return Err(Error::content(self.path, what));
            }
            *role = Some(Role::Ignored);
        }
        Ok(order)
    }

    /// Assigns roles by position and by the requested columns. Returns the feature columns.
    fn by_place(&mut self, wanted: &Wanted, first: usize) -> Result<Vec<usize>> {
        let columns = self.roles.len();
        let known = wanted.legend.and_then(|legend| legend.label.as_deref());
        if self.names.is_none()
            && wanted.legend.is_some_and(|legend| columns > 1 && legend.features.len() + 1 == columns)
        {
            // The features are in the network's order and the label is last. Names from a configuration do not apply to
            // unnamed columns.
            self.give(columns - 1, Role::Label)?;
            return Ok((0..columns - 1).collect());
        }
        let label = match (wanted.label, known) {
            (Some(label), _) => self.find(label)?,
            (None, Some(known)) => self.named(known)?.unwrap_or(columns - 1),
            (None, None) => columns - 1,
        };
        self.give(label, Role::Label)?;
        if let Some(group) = wanted.group {
            self.give(self.find(group)?, Role::Group)?;
        }
        for name in wanted.ignore {
            self.give(self.find(name)?, Role::Ignored)?;
        }
        let order: Vec<_> = (0..columns).filter(|at| wanted.features && self.roles[*at].is_none()).collect();
        if wanted.features && order.is_empty() {
            return self.wrong(match wanted.label {
                None => format!("line {first}: a line must hold features and, last, a label, found {columns} fields"),
                Some(_) => format!("line {first}: none of the {columns} columns is left for features"),
            });
        }
        Ok(order)
    }
}

/// A table that is read line by line.
pub(super) struct Table<'a> {
    path: &'a Path,
    /// Column names, if the file has any.
    names: Option<Vec<String>>,
    roles: Vec<Role>,
    /// Feature columns, in their order within a sample.
    order: Vec<usize>,
    missing: Missing,
    /// Roles that are only assumed: (those of all columns, that of the label). [`Table::finish`] checks the samples for
    /// signs that the assumption is wrong.
    assumed: (bool, bool),
    features: Vec<f64>,
    labels: Labels,
    groups: Groups,
}

impl<'a> Table<'a> {
    /// Creates an empty table with `columns` columns; `first` is the number of its first line.
    ///
    /// # Errors
    /// If a column does not exist, has two roles, no column is left for features, or two columns in use have the same
    /// name.
    pub fn new(
        path: &'a Path,
        names: Option<Vec<String>>,
        columns: usize,
        first: usize,
        wanted: Wanted,
        labels: Labels,
    ) -> Result<Self> {
        let mut header = Header { path, names, roles: vec![None; columns] };
        let said = wanted.label.or(wanted.legend.and_then(|legend| legend.label.as_deref()));
        let apart = usize::from(wanted.group.is_some());
        if !wanted.features && said.is_none() && columns - apart > 2 {
            let example = header.names.as_ref().map_or_else(|| "0".into(), |names| one_line(&names[0]));
            let what = format!(
                "line {first}: which of its {columns} columns is the label? name it, as in label = {example:?}"
            );
            return Err(Error::content(path, what));
        }
        let named = wanted.legend.filter(|legend| wanted.features && !legend.features.is_empty());
        let order = match named.filter(|_| header.names.is_some()) {
            Some(legend) => header.by_name(legend, &wanted)?,
            None => header.by_place(&wanted, first)?,
        };
        order.iter().for_each(|at| header.roles[*at] = Some(Role::Feature));
        let Header { names, roles, .. } = header;
        let roles: Vec<_> = roles.into_iter().map(|role| role.unwrap_or(Role::Ignored)).collect();
        let mut met = Names::default();
        for (name, _) in
            names.iter().flatten().zip(&roles).filter(|(_, role)| matches!(role, Role::Feature | Role::Label))
        {
            if met.find(name).is_some() {
                let what =
                    format!("two columns are named {name:?}: rename one, or ignore it by its number, counted from 0");
                return Err(Error::content(path, what));
            }
            met.number(name);
        }
        let assumed = (wanted.legend.is_none(), wanted.legend.is_none() && wanted.label.is_none());
        let (missing, features, groups) = (wanted.missing, Vec::new(), Groups::default());
        Ok(Self { path, names, roles, order, missing, assumed, features, labels, groups })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If a field is invalid or the number of fields differs; the message names line and column.
    pub fn push(&mut self, line: usize, fields: &[Cow<str>]) -> Result<()> {
        let (count, before) = (fields.len(), self.roles.len());
        if count != before {
            let what = match (&self.names, self.labels.len()) {
                (Some(_), 0) => format!("line {line}: {count} fields, but the header has {before}"),
                _ => format!("line {line}: {count} fields, but {before} in the lines before it"),
            };
            return Err(Error::content(self.path, what));
        }
        let sample = self.labels.len() + 1;
        let wrong = |names: &Option<Vec<String>>, column: usize, what: String| {
            let name = names.as_ref().map(|names| format!(" ({})", one_line(&names[column]))).unwrap_or_default();
            let column = column + 1;
            Error::content(self.path, format!("line {line}, column {column}{name}: {what} (sample {sample})"))
        };
        for column in &self.order {
            let feature = feature(&fields[*column], self.missing).map_err(|what| wrong(&self.names, *column, what))?;
            self.features.push(feature);
        }
        for (column, (field, role)) in fields.iter().zip(&self.roles).enumerate() {
            let taken = match role {
                Role::Feature | Role::Ignored => Ok(()),
                Role::Label => self.labels.push(field),
                Role::Group if is_missing(field) => Err(format!("the group is missing, found {field:?}")),
                Role::Group => {
                    let group = self.groups.names.number(field);
                    self.groups.numbers.push(group);
                    Ok(())
                }
            };
            taken.map_err(|what| wrong(&self.names, column, what))?;
        }
        Ok(())
    }

    /// Returns all samples.
    ///
    /// # Errors
    /// If the label column is only assumed and does not look like a label, a feature column numbers the samples and its
    /// name says so, or the labels are invalid according to [`Labels::finish`].
    pub fn finish(self) -> Result<Raw> {
        let wrong = |what: String| Error::content(self.path, what);
        let mut notes = Vec::new();
        if self.assumed.1 {
            self.check_label().map_err(wrong)?;
        }
        if self.assumed.0 {
            notes = self.index_columns().map_err(wrong)?;
        }
        let named = |wanted: Role| {
            let all = self.names.iter().flatten().zip(&self.roles);
            all.filter(move |(_, role)| **role == wanted).map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let features = self.names.iter().flat_map(|names| self.order.iter().map(|at| names[*at].clone())).collect();
        let (label, others) = (named(Role::Label).pop(), [named(Role::Group), named(Role::Ignored)].concat());
        let groups = self.roles.contains(&Role::Group).then_some(self.groups);
        let (labels, classes) = self.labels.finish().map_err(wrong)?;
        let legend = Legend { features, label, others, classes };
        let inputs = self.order.len();
        let samples = Samples { inputs, features: self.features, labels };
        Ok(Raw { shape: vec![inputs], samples, legend, groups, own: None, notes })
    }

    /// Names a column in a message, by its name or else by its number.
    fn name(&self, column: usize) -> String {
        let number = column.to_string();
        format!("{:?}", self.names.as_ref().map_or(&number, |names| &names[column]))
    }

    /// Iterates over the values of one feature.
    fn values(&self, feature: usize) -> impl Iterator<Item = f64> + Clone {
        self.features.iter().skip(feature).step_by(self.order.len().max(1)).copied()
    }

    /// Refuses an assumed label column that numbers the samples or is part of a one-hot label.
    fn check_label(&self) -> std::result::Result<(), String> {
        let (Some(labels), last) = (self.labels.whole(), self.roles.len() - 1) else { return Ok(()) };
        let labels = labels.iter().map(|label| f64::from(*label));
        if let Some(from) = counts(labels.clone()) {
            return Err(format!(
                "column {}, the last one and so the label, numbers the samples from {from}: name the label's column, as in label = {}",
                self.name(last),
                self.name(0)
            ));
        }
        // Sums over a growing number of columns, from the last one backward.
        let mut sums: Vec<f64> = labels.collect();
        if !are_bits(sums.iter().copied()) {
            return Ok(());
        }
        for (feature, column) in self.order.iter().enumerate().rev() {
            if column + (self.order.len() - feature) != last || !are_bits(self.values(feature)) {
                break;
            }
            sums.iter_mut().zip(self.values(feature)).for_each(|(sum, value)| *sum += value);
            if sums.iter().any(|sum| *sum > 1.0) {
                break;
            }
            if sums.iter().all(|sum| *sum == 1.0) {
                let columns: Vec<_> = (*column..=last).map(|column| self.name(column)).collect();
                return Err(format!(
                    "exactly one of the columns {} is 1 on each line, so these are one-hot labels; make them one column of class numbers or \
                     names, or set label = {} if that column alone is the label",
                    columns.join(", "),
                    self.name(last)
                ));
            }
        }
        Ok(())
    }

    /// Lists the feature columns that number the samples.
    ///
    /// # Errors
    /// If the name of such a column says that it numbers the samples.
    fn index_columns(&self) -> std::result::Result<Vec<String>, String> {
        let mut notes = Vec::new();
        for (feature, column) in self.order.iter().enumerate() {
            let Some(from) = counts(self.values(feature)) else { continue };
            let name = self.name(*column);
            let says = self.names.as_ref().is_some_and(|names| {
                ["", "index", "id", "unnamed: 0"].contains(&names[*column].to_lowercase().as_str())
            });
            let remedy = format!("ignore = [{name}]");
            match says {
                true => return Err(format!("column {name} numbers the samples from {from}: it is not a feature; set {remedy}")),
                false => notes.push(format!(
                    "column {name} numbers the samples from {from} and is used as a feature; if it is not one, set {remedy}"
                )),
            }
        }
        Ok(notes)
    }
}

/// First of at least three numbers that count up by one from 0 or 1; `None` if they do not.
fn counts(mut values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let from = values.clone().next().filter(|from| *from == 0.0 || *from == 1.0)?;
    let mut expected = from;
    let up = values.all(|value| {
        let counts = value == expected;
        expected += 1.0;
        counts
    });
    (up && expected - from > 2.0).then_some(from)
}

/// Returns `true` if all numbers are 0 or 1 and both occur.
fn are_bits(mut values: impl Iterator<Item = f64>) -> bool {
    let (mut zeros, mut ones) = (false, false);
    let all = values.all(|value| {
        zeros |= value == 0.0;
        ones |= value == 1.0;
        value == 0.0 || value == 1.0
    });
    all && zeros && ones
}

/// Spellings of a missing value by other programs, in lower case.
const OTHER_MISSING: [&str; 6] = ["na", "n/a", "nan", "null", "none", "-"];

/// Parses a feature.
fn feature(field: &str, missing: Missing) -> std::result::Result<f64, String> {
    let number = field.parse::<f64>();
    Err(match (number, missing) {
        (Ok(number), Missing::Sent) if number.is_finite() && !(number as f32).is_finite() => {
            format!("{field} is too large for binary32")
        }
        (Ok(number), _) if number.is_finite() => return Ok(number),
        (Ok(_), _) if field.contains(|c: char| c.is_ascii_digit()) => format!("{field} is too large for binary64"),
        (_, Missing::Filled) if is_missing(field) => return Ok(f64::NAN),
        (_, Missing::Unfilled) if is_missing(field) => format!(
            "a feature must be a finite number (only the normalisations \"overall\" and \"features\" fill in missing ones), found {field:?}"
        ),
        (_, Missing::Sent) if is_missing(field) => format!(
            "the feature is missing, found {field:?}: a device takes only complete samples; remove this one, or write a number"
        ),
        _ if OTHER_MISSING.contains(&field.to_ascii_lowercase().as_str()) => {
            format!("a feature must be a finite number, found {field:?}; write a missing one as an empty field or ?")
        }
        _ => match point_for_comma(field) {
            // 3,110 may mean three thousand one hundred and ten.
            Some(point) if point.split('.').next_back().is_some_and(|digits| digits.len() == 3) => {
                format!("{field:?} has a comma: write {point}, or {} if it separates thousands", field.replace(',', ""))
            }
            Some(point) => format!("{field:?} has a decimal comma: write {point}"),
            None if matches!(missing, Missing::Sent) => format!("a feature must be a finite number, found {field:?}"),
            None => format!(
                "a feature must be a finite number, found {field:?}; if the column is not a feature, name it in label, group or ignore"
            ),
        },
    })
}
