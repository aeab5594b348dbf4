//! Which samples train and which test.

use super::Samples;
use super::names::{Names, nearest};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Which samples test. A part without samples is an error.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Some in a random order; of a text, its end.
    Seed(Seed),
    /// Those of some groups.
    Group(Group),
    /// The source's own test part: the test files of IDX, the last tenth of a text.
    #[default]
    Own,
}

/// A random order, of which the end tests.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seed {
    /// Of the order, see [`Samples::split`]; a text stays in its own.
    #[serde(default = "first_seed")]
    pub seed: u64,
    /// How many samples train, or bytes of a text.
    #[serde(default)]
    pub train: Option<usize>,
    /// Instead, the share that tests, in (0, 1); where neither is said, 0.2.
    #[serde(default)]
    pub test: Option<f64>,
}

/// The people, places or days that the training part is not to know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Values of the column of groups whose samples test.
    pub test: Vec<String>,
}

fn first_seed() -> u64 {
    1
}

/// The share that tests where nothing is said.
const TEST: f64 = 0.2;

impl Seed {
    /// How many of all train.
    pub(super) fn train(&self, all: usize) -> Result<usize> {
        match (self.train, self.test) {
            (Some(_), Some(_)) => Err(Error::Usage("split.seed says both train and test; one of them is to go".into())),
            (Some(train), None) => Ok(train),
            (None, test) => {
                let test = test.unwrap_or(TEST);
                if !(test > 0.0 && test < 1.0) {
                    return Err(Error::Usage(format!("split.seed: the share {test} that tests is not in (0, 1)")));
                }
                Ok(all - (all as f64 * test).round() as usize)
            }
        }
    }
}

impl Split {
    /// Training part and test part of labelled samples: of these groups, with their own test part from this sample on.
    ///
    /// # Errors
    /// Where the source has no such parts, or one of them is empty.
    pub(super) fn part(
        &self,
        path: &Path,
        mut samples: Samples<f64>,
        groups: Option<(Names, Vec<u32>)>,
        own: Option<usize>,
    ) -> Result<(Samples<f64>, Samples<f64>)> {
        let wrong = |what: String| Err(Error::content(path, what));
        match (self, groups, own) {
            (Self::Seed(seed), ..) => samples.split(seed.train(samples.len())?, seed.seed),
            (Self::Group(group), Some((names, groups)), _) => {
                let mut tests = vec![false; names.list().len()];
                for name in &group.test {
                    match names.find(name) {
                        Some(number) => tests[number as usize] = true,
                        None => {
                            let near = nearest(name, names.list());
                            return wrong(format!("split.group: no sample is of group {name:?}; there are {near}"));
                        }
                    }
                }
                let (test, train): (Vec<_>, Vec<_>) =
                    (0..samples.len()).partition(|sample| tests[groups[*sample] as usize]);
                if train.is_empty() || test.is_empty() {
                    let (empty, all) = (if test.is_empty() { "test" } else { "training" }, names.list().len());
                    return wrong(format!("split.group: the {empty} part of its {all} groups is empty"));
                }
                Ok((samples.pick(&train), samples.pick(&test)))
            }
            (Self::Group(_), None, _) => {
                wrong("split.group needs a column of groups: say which with group = ...".into())
            }
            (Self::Own, _, Some(train)) => {
                let test = samples.split_off(train);
                Ok((samples, test))
            }
            (Self::Own, _, None) => wrong(
                "it has no test part of its own: say which samples test with [split.seed] or [split.group]".into(),
            ),
        }
    }
}
