//! Checkpoint of a training as a safetensors file: the optimizer's state, with the configuration in the metadata.

use super::best::Standing;
use crate::config::{Config, former};
use crate::error::{Error, Result};
use graftage::checkpoint::STATE as SAVED;
use graftage::data::Identity;
use graftage::files::Written;
use graftage_optim::Tensors;
use graftage_optim::schedule::Course;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use tch::Tensor;

/// Metadata of a checkpoint. The number of steps taken is part of the optimizer's state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Configuration.
    pub config: Config,
    /// Number of threads that computed it.
    pub threads: usize,
    /// Data that it trained on; `None` if an older version wrote the checkpoint.
    #[serde(default)]
    pub data: Option<Identity>,
    /// Best measurement.
    #[serde(default)]
    pub standing: Standing,
    /// Steps of the checkpoints that are kept beside this one, ascending.
    #[serde(default)]
    pub kept: Vec<u64>,
    /// Results stored beside the checkpoint, if the training has ended.
    #[serde(default)]
    pub written: Written,
}

/// Keys of the configuration that may change when a training resumes, because they change no bit of the steps already
/// taken. For `steps` and `epochs`, [`Saved::check_steps`] decides.
const FREE: [&str; 9] = [
    "output",
    "device",
    "checkpoint-every",
    "checkpoints",
    "evaluate-every",
    "stop-after",
    "steps",
    "epochs",
    "variants",
];

impl Saved {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is not a checkpoint of a training.
    pub fn read(path: &Path) -> Result<(Self, Tensors)> {
        let (state, metadata) = graftage_optim::read(path)?;
        let saved = metadata.get(SAVED).ok_or_else(|| Error::content(path, "not a checkpoint of a training"))?;
        let saved = serde_json::from_str(saved).map_err(|error| {
            let message = error.to_string();
            let key = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
            Error::content(
                path,
                match key.and_then(former) {
                    Some(what) => {
                        format!("written by an older version: {what}; start again with --force or another output")
                    }
                    None => format!("damaged metadata: {message}"),
                },
            )
        })?;
        Ok((saved, state))
    }

    /// Returns a checkpoint as the bytes of its file.
    ///
    /// # Errors
    /// Returns an error that names the file if a number of the state is not finite.
    pub fn bytes(&self, path: &Path, state: &[(String, Tensor)]) -> Result<Vec<u8>> {
        let saved = serde_json::to_string(self).map_err(|e| Error::content(path, e))?;
        Ok(graftage_optim::bytes(path, state, [(SAVED.to_owned(), saved)].into())?)
    }

    /// Checks that a training with this configuration on these data is the same one.
    ///
    /// # Errors
    /// Names the first key that differs, with both values, or the parts of the data that differ.
    pub fn check(&self, config: &Config, data: &Identity) -> std::result::Result<(), String> {
        let of = |config: &Config| serde_json::to_value(config).map_err(|error| error.to_string());
        if let Some(what) = difference("", &of(&self.config)?, &of(config)?, &FREE) {
            return Err(format!("belongs to another training: {what}"));
        }
        let Some(before) = &self.data else {
            return Err(
                "was written by an older version, which did not store what it trained on, so nothing shows that these are the \
                        same data; start again with --force or another output"
                    .into(),
            );
        };
        match &before.differences(data)[..] {
            [] => Ok(()),
            differing => Err(format!(
                "the data is not what it trained on: {} differ; start again with --force or another output",
                differing.join(", ")
            )),
        }
    }

    /// Checks that a training planned for `before` steps, of which `taken` are taken, can be changed to `now` steps: no
    /// step already taken would have another size.
    ///
    /// # Errors
    /// Describes the conflict and a remedy.
    pub fn check_steps(&self, taken: u64, before: u64, now: u64) -> std::result::Result<(), String> {
        if now < taken {
            return Err(format!("has taken {taken} steps, more than the {now} requested"));
        }
        let optimizer = &self.config.optimizer;
        let courses = optimizer.groups.iter().filter_map(|group| group.schedule.as_ref()).chain([&optimizer.schedule]);
        let differs = |course: &Course, t: u64| course.factor(t, before) != course.factor(t, now);
        let changed = |course: &&Course| (1..=taken).find(|t| differs(course, *t));
        let first = courses.filter_map(|course| Some((changed(&course)?, course))).min_by_key(|(t, _)| *t);
        match first {
            None => Ok(()),
            Some((_, Course::Linear)) => Err(format!(
                "the linear schedule falls over the whole training: the {taken} steps taken belong to {before}, not to {now}; \
                 start again with --force, or train with schedule \"constant\" or \"warmup-stable-decay\", which can be prolonged"
            )),
            Some((t, _)) => Err(format!(
                "the schedule's decay began at step {t} of {before} and would differ for {now} steps; a training can be prolonged only before \
                 its decay; start again with --force"
            )),
        }
    }
}

/// Returns the first key in which two values differ, with both values. Keys in `free` are ignored.
pub(crate) fn difference(key: &str, before: &Value, now: &Value, free: &[&str]) -> Option<String> {
    static NULL: Value = Value::Null;
    if let (Value::Object(before), Value::Object(now)) = (before, now) {
        let keys = before.keys().chain(now.keys().filter(|key| !before.contains_key(*key)));
        return keys.filter(|key| !free.contains(&key.as_str())).find_map(|name| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            difference(&key, before.get(name).unwrap_or(&NULL), now.get(name).unwrap_or(&NULL), free)
        });
    }
    (before != now).then(|| format!("{key} was {} there, but is {} now", shown(before), shown(now)))
}

/// Formats a value. A number that is exact in binary32 gets only the digits that binary32 needs.
fn shown(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if !value.is_u64() && f64::from(number as f32) == number => (number as f32).to_string(),
        _ => value.to_string(),
    }
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
            difference("", &before, &now, &FREE).map(|what| what.split(' ').next().unwrap().to_owned())
        };
        assert_eq!(with("/output", json!("b")), None);
        assert_eq!(with("/seed", json!(1)), None);
        assert_eq!(with("/seed", json!(2)), Some("seed".into()));
        assert_eq!(with("/model/mlp/hidden", json!([9])), Some("model.mlp.hidden".into()));
        assert_eq!(with("/model", json!({"gpt": {}})), Some("model.mlp".into()));
    }
}
