//! A text as bytes, each of which is to be foretold from those before it.

use super::{Parts, Split, unpacked};
use crate::error::Result;
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
    /// The bytes that train, those after them that validate, and those at the end that test.
    pub(super) fn load(&self, split: &Split) -> Result<Parts<Vec<u8>>> {
        let mut train = unpacked::read(&self.path)?;
        let (at, validating) = split.bytes(&self.path, train.len())?;
        let mut rest = train.split_off(at);
        let test = rest.split_off(validating);
        Ok(Parts { train, validate: Some(rest).filter(|part| !part.is_empty()), test })
    }
}
