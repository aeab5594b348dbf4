//! A table of samples, a line each: what its columns are, and what its fields say.

use super::labels::Labels;
use super::names::{Names, nearest, one_line};
use super::source::Raw;
use super::{Legend, Samples};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A file with a sample a line, and what its columns are. A column is called by its name, or by its number from 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Columns {
    /// The file.
    pub path: PathBuf,
    /// The column of labels; where nothing is said, the last one.
    #[serde(default)]
    pub label: Option<String>,
    /// The column of groups: people, places, days.
    #[serde(default)]
    pub group: Option<String>,
    /// Columns that are no features.
    #[serde(default)]
    pub ignore: Vec<String>,
}

impl Columns {
    /// All that are left are features, which may be `missing`.
    pub(super) fn wanted(&self, missing: bool) -> Wanted<'_> {
        let Self { label, group, ignore, .. } = self;
        Wanted { label: label.as_deref(), group: group.as_deref(), ignore, features: true, missing, binary32: false }
    }
}

/// What of a table is wanted.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// The column of labels; where nothing is said, the last one.
    pub label: Option<&'a str>,
    pub group: Option<&'a str>,
    pub ignore: &'a [String],
    /// Whether the columns that are left are features.
    pub features: bool,
    /// Whether a feature may be missing: it is NaN until a mean is put in its place.
    pub missing: bool,
    /// Whether features go to a device as they are: one beyond binary32 is refused.
    pub binary32: bool,
}

/// What a column is.
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

/// A table, line by line.
pub(super) struct Table<'a> {
    path: &'a Path,
    /// The names of the columns, where the file says them.
    names: Option<Vec<String>>,
    roles: Vec<Role>,
    missing: bool,
    binary32: bool,
    features: Vec<f64>,
    labels: Labels,
    groups: (Names, Vec<u32>),
}

impl<'a> Table<'a> {
    /// A table of so many columns, without lines yet; `first` is the number of the first one.
    ///
    /// # Errors
    /// Where there is no such column, one has two roles, or none is left for features.
    pub fn new(
        path: &'a Path,
        names: Option<Vec<String>>,
        columns: usize,
        first: usize,
        wanted: Wanted,
        labels: Labels,
    ) -> Result<Self> {
        let wrong = |what: String| Error::content(path, what);
        let find = |name: &str| {
            let named = |(at, column): (usize, &String)| (column == name).then_some(at);
            let mut found = names.iter().flatten().enumerate().filter_map(named);
            match (found.next(), found.next()) {
                (Some(_), Some(_)) => {
                    Err(wrong(format!("two columns are named {name:?}: say which by its number from 0")))
                }
                (Some(at), None) => Ok(at),
                (None, _) => name.parse().ok().filter(|number| *number < columns).ok_or_else(|| {
                    wrong(match &names {
                        Some(names) => format!("no column {name:?}; there are {}", nearest(name, names)),
                        None => {
                            format!("no column {name:?}; it names none, they are numbers from 0 to {}", columns - 1)
                        }
                    })
                }),
            }
        };
        let mut roles = vec![Role::Feature; columns];
        let mut give = |name: &str, at: usize, role: Role| match roles[at] {
            Role::Feature => {
                roles[at] = role;
                Ok(())
            }
            other => Err(wrong(format!("column {name:?} is both {} and {}", other.name(), role.name()))),
        };
        match wanted.label {
            Some(label) => give(label, find(label)?, Role::Label)?,
            None => give("", columns - 1, Role::Label)?,
        }
        if let Some(group) = wanted.group {
            give(group, find(group)?, Role::Group)?;
        }
        for name in wanted.ignore {
            give(name, find(name)?, Role::Ignored)?;
        }
        if !wanted.features {
            roles.iter_mut().filter(|role| **role == Role::Feature).for_each(|role| *role = Role::Ignored);
        } else if !roles.contains(&Role::Feature) {
            return Err(wrong(match wanted.label {
                None => format!("line {first}: a line holds features and, last, a label, found {columns} fields"),
                Some(_) => format!("line {first}: of {columns} columns none is left for features"),
            }));
        }
        let Wanted { missing, binary32, .. } = wanted;
        Ok(Self { path, names, roles, missing, binary32, features: Vec::new(), labels, groups: Default::default() })
    }

    /// Takes one more line.
    ///
    /// # Errors
    /// Names line and column.
    pub fn push<'b>(&mut self, line: impl Fn() -> usize, fields: impl Iterator<Item = &'b str> + Clone) -> Result<()> {
        let (count, before) = (fields.clone().count(), self.roles.len());
        if count != before {
            let what = format!("line {}: {count} fields, {before} before it", line());
            return Err(Error::content(self.path, what));
        }
        let sample = self.labels.len() + 1;
        for (column, (field, role)) in fields.zip(&self.roles).enumerate() {
            let missing = field.is_empty() || field == "?";
            let taken = match role {
                Role::Feature => match field.parse::<f64>() {
                    Ok(feature) if self.binary32 && feature.is_finite() && !(feature as f32).is_finite() => {
                        Err(format!("{field} is too large for binary32"))
                    }
                    Ok(feature) if feature.is_finite() => {
                        self.features.push(feature);
                        Ok(())
                    }
                    Ok(_) if field.contains(|c: char| c.is_ascii_digit()) => {
                        Err(format!("{field} is too large for binary64"))
                    }
                    _ if missing && self.missing => {
                        self.features.push(f64::NAN);
                        Ok(())
                    }
                    _ if missing => Err(format!(
                        "a feature is a finite number (only \"overall\" and \"features\" normalisation fill missing ones), found {field:?}"
                    )),
                    _ => Err(format!("a feature is a finite number, found {field:?}")),
                },
                Role::Label => self.labels.push(field),
                Role::Group if missing => Err(format!("the group is missing, found {field:?}")),
                Role::Group => {
                    let group = self.groups.0.number(field);
                    self.groups.1.push(group);
                    Ok(())
                }
                Role::Ignored => Ok(()),
            };
            taken.map_err(|what| {
                let name =
                    self.names.as_ref().map(|names| format!(" ({})", one_line(&names[column]))).unwrap_or_default();
                let (line, column) = (line(), column + 1);
                Error::content(self.path, format!("line {line}, column {column}{name}: {what} (sample {sample})"))
            })?;
        }
        Ok(())
    }

    /// All samples.
    pub fn finish(self) -> Raw {
        let of = |wanted| self.roles.iter().enumerate().filter(move |(_, role)| **role == wanted).map(|(at, _)| at);
        let named = |role| {
            let names = self.names.as_ref();
            of(role).filter_map(move |at| names.map(|names| names[at].clone())).collect::<Vec<_>>()
        };
        let inputs = of(Role::Feature).count();
        let (features, label) = (named(Role::Feature), named(Role::Label).pop());
        let others = [named(Role::Group), named(Role::Ignored)].concat();
        let groups = of(Role::Group).next().is_some().then_some(self.groups);
        let (labels, classes) = self.labels.finish();
        let legend = Legend { features, label, others, classes };
        let samples = Samples { inputs, features: self.features, labels };
        Raw { shape: vec![inputs], samples, legend, groups, own: None }
    }
}
