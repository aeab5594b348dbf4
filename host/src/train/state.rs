//! What a training goes on from, as a safetensors file: the optimizer's state, with the configuration in the metadata.

use crate::checkpoint::STATE as SAVED;
use crate::config::Config;
use crate::data::Normalisation;
use crate::error::{Error, Result};
use crate::files::Written;
use crate::optim::{self, Tensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use tch::Tensor;

/// What a checkpoint says besides the optimizer's state; where the training stands follows from that.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// The configuration.
    pub config: Config,
    /// Threads that computed it.
    pub threads: usize,
    /// What was learnt of the training part's features; `None` of a text.
    pub normalisation: Option<Normalisation>,
    /// The results that lie beside it, where the training has ended.
    #[serde(default)]
    pub written: Written,
}

/// Keys of the configuration that may differ when a training goes on: they change no bit of it.
const FREE: [&str; 3] = ["output", "device", "checkpoint-every"];

impl Saved {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Where the file cannot be read or is no checkpoint of a training.
    pub fn read(path: &Path) -> Result<(Self, Tensors)> {
        let (state, metadata) = optim::read(path)?;
        let saved = metadata.get(SAVED).ok_or_else(|| Error::content(path, "no checkpoint of a training"))?;
        let saved = serde_json::from_str(saved).map_err(|e| Error::content(path, format!("damaged metadata: {e}")))?;
        Ok((saved, state))
    }

    /// A checkpoint as its file holds it.
    ///
    /// # Errors
    /// Where a number of the state is not finite, which names the file.
    pub fn bytes(&self, path: &Path, state: &[(String, Tensor)]) -> Result<Vec<u8>> {
        let saved = serde_json::to_string(self).map_err(|e| Error::content(path, e))?;
        optim::bytes(path, state, [(SAVED.to_owned(), saved)].into())
    }

    /// Says in what this configuration is another training.
    ///
    /// # Errors
    /// Names the first key that differs, with both values.
    pub fn check(&self, config: &Config) -> std::result::Result<(), String> {
        let of = |config: &Config| serde_json::to_value(config).map_err(|error| error.to_string());
        match difference("", &of(&self.config)?, &of(config)?) {
            Some((key, before, now)) => {
                Err(format!("is of another training: {key} was {before} there and is {now} now"))
            }
            None => Ok(()),
        }
    }
}

/// The first key in which two values differ, and the values.
fn difference<'a>(key: &str, before: &'a Value, now: &'a Value) -> Option<(String, &'a Value, &'a Value)> {
    static NULL: Value = Value::Null;
    if let (Value::Object(before), Value::Object(now)) = (before, now) {
        let keys = before.keys().chain(now.keys().filter(|key| !before.contains_key(*key)));
        return keys.filter(|key| !FREE.contains(&key.as_str())).find_map(|name| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            difference(&key, before.get(name).unwrap_or(&NULL), now.get(name).unwrap_or(&NULL))
        });
    }
    (before != now).then(|| (key.to_owned(), before, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named() {
        let before = json!({"output": "a", "model": {"mlp": {"hidden": [8]}}, "seed": 1});
        let with = |text: &str, new: Value| {
            let mut now = before.clone();
            *now.pointer_mut(text).unwrap() = new;
            difference("", &before, &now).map(|(key, ..)| key)
        };
        assert_eq!(with("/output", json!("b")), None);
        assert_eq!(with("/seed", json!(1)), None);
        assert_eq!(with("/seed", json!(2)), Some("seed".into()));
        assert_eq!(with("/model/mlp/hidden", json!([9])), Some("model.mlp.hidden".into()));
        assert_eq!(with("/model", json!({"gpt": {}})), Some("model.mlp".into()));
    }
}
