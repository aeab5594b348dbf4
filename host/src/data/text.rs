//! A text as bytes, each of which is to be foretold from those before it.

use super::{Split, unpacked};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A file as bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Text {
    /// The file.
    pub path: PathBuf,
}

impl Text {
    /// The bytes that train and, after them, those that test.
    pub(super) fn load(&self, split: &Split) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut train = unpacked::read(&self.path)?;
        let all = train.len();
        let at = match split {
            Split::Seed(seed) => seed.train(all)?,
            Split::Own => all - all / 10,
            Split::Group(_) => return Err(Error::content(&self.path, "a text has no groups: use [split.seed]")),
        };
        if at == 0 || at >= all {
            return Err(Error::content(&self.path, format!("{all} bytes cannot be split into {at} and others")));
        }
        let test = train.split_off(at);
        Ok((train, test))
    }
}
