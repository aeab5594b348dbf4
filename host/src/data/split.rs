//! Split of data into training, validation and test parts.

use super::Samples;
use super::names::nearest;
use super::raw::Groups;
use crate::error::{Error, Result};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::path::Path;

/// Choice of the test samples and, optionally, of validation samples. The latter neither train nor test, but are used
/// to choose among the weights that a training passes through. An empty part is an error.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// A random selection; for a text, its end.
    Seed(Seed),
    /// The samples of selected groups.
    Group(Group),
    /// The source's own test part: the test files of IDX, or the last tenth of a text. Written as `split = "own"` or as
    /// a table.
    Own(Own),
}

impl Default for Split {
    fn default() -> Self {
        Self::Own(Own::default())
    }
}

impl<'de> Deserialize<'de> for Split {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        struct Word;
        impl<'de> Visitor<'de> for Word {
            type Value = Split;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("\"own\", [split.seed], [split.group] or [split.own]")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> std::result::Result<Split, E> {
                match word {
                    "own" => Ok(Split::default()),
                    _ => Err(E::unknown_variant(word, &["own"])),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Split, A::Error> {
                const KNOWN: [&str; 3] = ["seed", "group", "own"];
                let Some(key) = map.next_key::<String>()? else {
                    return Err(A::Error::custom("the split is empty: use [split.seed], [split.group] or [split.own]"));
                };
                let split = match key.as_str() {
                    "seed" => Split::Seed(map.next_value()?),
                    "group" => Split::Group(map.next_value()?),
                    "own" => Split::Own(map.next_value()?),
                    _ => return Err(A::Error::unknown_field(&key, &KNOWN)),
                };
                match map.next_key::<String>()? {
                    Some(other) if KNOWN.contains(&other.as_str()) => {
                        let what = format!(
                            "[split.{key}] and [split.{other}]: a training has only one split; remove one of them"
                        );
                        Err(A::Error::custom(what))
                    }
                    Some(other) => Err(A::Error::unknown_field(&other, &KNOWN)),
                    None => Ok(split),
                }
            }
        }
        source.deserialize_any(Word)
    }
}

/// A part of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Training part.
    Train,
    /// Validation part, used to choose among weights.
    Validate,
    /// Test part.
    Test,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "training",
            Self::Validate => "validation",
            Self::Test => "test",
        })
    }
}

/// Training, validation and test parts of some data.
#[derive(Clone, PartialEq, Debug)]
pub struct Parts<T> {
    /// Training part.
    pub train: T,
    /// Validation part; `None` if the split defines none.
    pub validate: Option<T>,
    /// Test part.
    pub test: T,
}

/// A split in random order; the test part is the end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seed {
    /// Seed of the order, see [`Samples::split`]. A text keeps its order.
    #[serde(default = "first_seed")]
    pub seed: u64,
    /// Number of samples, or of bytes of a text, outside the test part.
    #[serde(default)]
    pub train: Option<usize>,
    /// Alternatively, the share of the test part, in (0, 1). The default is 0.2.
    #[serde(default)]
    pub test: Option<f64>,
    /// Share of all samples used for validation, in (0, 1), taken from the end of those outside the test part. The test
    /// part is the same with and without it.
    #[serde(default)]
    pub validate: Option<f64>,
}

/// Selection of the source's own test part.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Own {
    /// Share of the training part used for validation, in (0, 1). Samples are chosen in a random order, see
    /// [`Samples::split`]; for a text it is the end.
    #[serde(default)]
    pub validate: Option<f64>,
}

/// People, places or days kept out of the training part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Groups, as values of the group column, whose samples form the test part.
    pub test: Vec<String>,
    /// Groups whose samples form the validation part; they must differ from the test groups.
    #[serde(default)]
    pub validate: Vec<String>,
}

fn first_seed() -> u64 {
    1
}

/// Default share of the test part.
const TEST: f64 = 0.2;

impl Seed {
    /// Number of samples, out of `all`, outside the test part.
    pub(super) fn train(&self, all: usize) -> Result<usize> {
        match (self.train, self.test) {
            (Some(_), Some(_)) => Err(Error::Usage("split.seed has both train and test; remove one of them".into())),
            (Some(train), None) => Ok(train),
            (None, test) => {
                let test = test.unwrap_or(TEST);
                if !(test > 0.0 && test < 1.0) {
                    return Err(Error::Usage(format!("split.seed: the test share must be in (0, 1), found {test}")));
                }
                Ok(all - (all as f64 * test).round() as usize)
            }
        }
    }
}

/// Returns how many of `train` samples remain for training if a share of `all` is used for validation.
///
/// # Errors
/// If the share is not in (0, 1), or leaves a part empty.
fn without_validation(share: f64, all: usize, train: usize) -> Result<usize> {
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::Usage(format!("split: the validation share must be in (0, 1), found {share}")));
    }
    let validate = (all as f64 * share).round() as usize;
    if validate == 0 || validate >= train {
        let what = format!(
            "split: {validate} of the {train} samples outside the test part cannot be for validation: no part may be empty"
        );
        return Err(Error::Usage(what));
    }
    Ok(train - validate)
}

impl Split {
    /// Numbers of training bytes and of validation bytes of a text. The training bytes come first.
    ///
    /// # Errors
    /// If a part is empty, or the split is by group.
    pub(super) fn bytes(&self, path: &Path, all: usize) -> Result<(usize, usize)> {
        let (train, share, of) = match self {
            Self::Seed(seed) => (seed.train(all)?, seed.validate, all),
            Self::Own(own) => (all - all / 10, own.validate, all - all / 10),
            Self::Group(_) => return Err(Error::content(path, "a text has no groups: use [split.seed]")),
        };
        if train == 0 || train >= all {
            return Err(Error::content(path, format!("{all} bytes cannot be split into {train} and a remainder")));
        }
        match share {
            Some(share) => {
                let left = without_validation(share, of, train).map_err(|error| Error::content(path, error))?;
                Ok((left, train - left))
            }
            None => Ok((train, 0)),
        }
    }

    /// Splits labelled samples. `own` is the start of the source's test part.
    ///
    /// # Errors
    /// If the source has no such parts, or one of them is empty.
    pub(super) fn part(
        &self,
        path: &Path,
        mut samples: Samples<f64>,
        groups: Option<Groups>,
        own: Option<usize>,
    ) -> Result<Parts<Samples<f64>>> {
        let wrong = |what: String| Err(Error::content(path, what));
        match (self, groups, own) {
            (Self::Seed(seed), ..) => {
                let all = samples.len();
                let (mut train, test) = samples.split(seed.train(all)?, seed.seed)?;
                let left = seed.validate.map(|share| without_validation(share, all, train.len())).transpose()?;
                let validate = left.map(|left| train.split_off(left));
                Ok(Parts { train, validate, test })
            }
            (Self::Group(group), Some(groups), _) => by_group(path, group, &samples, &groups),
            (Self::Group(_), None, _) => wrong("split.group needs a group column: name it with group = ...".into()),
            (Self::Own(own), _, Some(train)) => {
                let test = samples.split_off(train);
                let (train, validate) = match own.validate {
                    Some(share) => {
                        let left = without_validation(share, train, train)?;
                        let (train, validate) = samples.split(left, first_seed())?;
                        (train, Some(validate))
                    }
                    None => (samples, None),
                };
                Ok(Parts { train, validate, test })
            }
            (Self::Own(_), _, None) => {
                wrong("it has no test part of its own: choose test samples with [split.seed] or [split.group]".into())
            }
        }
    }
}

fn by_group(path: &Path, group: &Group, samples: &Samples<f64>, groups: &Groups) -> Result<Parts<Samples<f64>>> {
    let Groups { names, numbers } = groups;
    let wrong = |what: String| Err(Error::content(path, what));
    let mut roles = vec![Role::Train; names.list().len()];
    for (role, key, wanted) in [(Role::Test, "test", &group.test), (Role::Validate, "validate", &group.validate)] {
        for name in wanted {
            let Some(number) = names.find(name) else {
                let near = nearest(name, names.list());
                return wrong(format!("split.group: no sample belongs to group {name:?}; the groups are {near}"));
            };
            let place = &mut roles[number as usize];
            if !matches!(*place, Role::Train) && *place != role {
                return wrong(format!("split.group: group {name:?} cannot be in both test and {key}"));
            }
            *place = role;
        }
    }
    let part = |wanted: Role| -> Vec<usize> {
        (0..samples.len()).filter(|sample| roles[numbers[*sample] as usize] == wanted).collect()
    };
    let parts = [Role::Train, Role::Validate, Role::Test].map(|role| (role, part(role)));
    let asked = |role: Role| role != Role::Validate || !group.validate.is_empty();
    if let Some((empty, _)) = parts.iter().find(|(role, part)| asked(*role) && part.is_empty()) {
        return wrong(format!("split.group: the {empty} part of its {} groups is empty", names.list().len()));
    }
    let [train, validate, test] = parts.map(|(_, part)| samples.pick(&part));
    Ok(Parts { train, validate: Some(validate).filter(|_| !group.validate.is_empty()), test })
}
