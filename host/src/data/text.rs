//! A text as bytes. The model predicts each byte from those before it.

use super::{Parts, Split, unpacked};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A file read as bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Text {
    /// Path of the file.
    pub path: PathBuf,
}

impl Text {
    /// Reads and splits the bytes: the training part comes first, then the validation part, then the test part.
    pub(super) fn load(&self, split: &Split) -> Result<Parts<Vec<u8>>> {
        let mut train = unpacked::read(&self.path)?;
        let (at, validating) = split.bytes(&self.path, train.len())?;
        let mut rest = train.split_off(at);
        let test = rest.split_off(validating);
        Ok(Parts { train, validate: Some(rest).filter(|part| !part.is_empty()), test })
    }
}
