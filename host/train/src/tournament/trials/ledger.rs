//! Ledger of a comparison's finished trainings, a file from which the comparison resumes.
//!
//! The first line describes the comparison. Each further line is the JSON of a training, written as soon as it has
//! ended. An incomplete last line is ignored.

use super::{Asked, Interruption, Run};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::trainer::difference;
use graftage::data::{Dataset, Identity};
use graftage::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Name of the ledger, in the folder of a result that does not exist yet.
pub const TRAININGS: &str = "trainings.jsonl";

/// Keys of a configuration that do not affect the results of a comparison.
const FREE: [&str; 6] = ["output", "device", "threads", "checkpoint-every", "keep", "stop-after"];

/// Configuration, options and data to which trainings belong.
#[derive(Serialize, Deserialize)]
pub(crate) struct Purpose {
    config: Config,
    /// Options by name.
    options: Value,
    data: Identity,
}

impl Purpose {
    pub(crate) fn new(config: &Config, data: &Dataset, options: Value) -> Self {
        Self { config: config.clone(), options, data: data.identity() }
    }

    /// Checks that these are the same trainings, and describes the difference if not.
    fn check(&self, now: &Self) -> std::result::Result<(), String> {
        let of = |config: &Config| serde_json::to_value(config).map_err(|error| error.to_string());
        let options = || difference("", &self.options, &now.options, &[]);
        if let Some(what) = difference("", &of(&self.config)?, &of(&now.config)?, &FREE).or_else(options) {
            return Err(format!("holds other trainings: {what}"));
        }
        match &self.data.differences(&now.data)[..] {
            [] => Ok(()),
            differing => Err(format!("holds trainings on other data: {} differ", differing.join(", "))),
        }
    }
}

/// A finished training.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    network: String,
    optimizer: String,
    run: Run,
}

/// Finished trainings. Without a folder they are kept only in memory.
pub(crate) struct Ledger {
    folder: Option<PathBuf>,
    entries: Mutex<(Vec<Entry>, Option<File>)>,
}

impl Ledger {
    /// Starts a ledger, or resumes an existing one.
    pub(crate) fn open(purpose: &Purpose, interruption: &Interruption) -> Result<Self> {
        let Some(folder) = interruption.folder else {
            return Ok(Self { folder: None, entries: Mutex::default() });
        };
        let path = folder.file(TRAININGS);
        let entries = match (path.exists(), interruption.resume) {
            (true, true) => {
                let entries = read(&path, purpose)?;
                folder.own(TRAININGS);
                entries
            }
            (false, true) => {
                return Err(Error::content(&path, "there are no trainings to resume from; start without --resume"));
            }
            (_, false) => {
                let what = "belongs to an interrupted run: continue it with --resume, start again with --force, or name \
                            another output";
                folder.claim(&[TRAININGS]).map_err(|_| Error::content(&path, what))?;
                Vec::new()
            }
        };
        let mut text = line(purpose)?;
        for entry in &entries {
            text += &line(entry)?;
        }
        let mut change = folder.change();
        change.add(TRAININGS, text.as_bytes())?;
        change.commit()?;
        let file = File::options().append(true).open(&path).map_err(Error::file(&path))?;
        Ok(Self { folder: Some(folder.path().to_owned()), entries: Mutex::new((entries, Some(file))) })
    }

    /// Returns the result of a training that has already ended.
    pub(crate) fn find(&self, network: &str, (contestant, (step, momentum), seed): &Asked) -> Option<Run> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let optimizer = contestant.to_string();
        let same = |Entry { network: n, optimizer: o, run }: &&Entry| {
            n == network && *o == optimizer && (run.step_size, run.momentum, run.seed) == (*step, *momentum, *seed)
        };
        entries.0.iter().find(same).map(|entry| entry.run.clone())
    }

    /// Adds a finished training.
    pub(crate) fn add(&self, network: &str, asked: &Asked, run: &Run) -> Result<()> {
        let entry = Entry { network: network.to_owned(), optimizer: asked.0.to_string(), run: run.clone() };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(file), Some(folder)) = (&mut entries.1, &self.folder) {
            file.write_all(line(&entry)?.as_bytes()).map_err(Error::file(&folder.join(TRAININGS)))?;
        }
        entries.0.push(entry);
        Ok(())
    }

    /// Returns the error of an interruption, after syncing the finished trainings to disk.
    pub(crate) fn interrupted(&self) -> Error {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.1.as_ref().map_or(Ok(()), File::sync_all) {
            Ok(()) => Error::TrialsInterrupted { ended: entries.0.len(), folder: self.folder.clone() },
            Err(error) => Error::file(&self.folder.clone().unwrap_or_default().join(TRAININGS))(error),
        }
    }
}

fn read(path: &Path, purpose: &Purpose) -> Result<Vec<Entry>> {
    let bytes = files::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let before: Option<Purpose> = lines.next().and_then(|line| serde_json::from_str(line).ok());
    let before =
        before.ok_or_else(|| Error::content(path, "does not name the trainings that it holds: it is damaged"))?;
    before.check(purpose).map_err(|what| {
        Error::content(path, format!("{what}; continue with the original settings and data, or name another output"))
    })?;
    Ok(lines.map_while(|line| serde_json::from_str(line).ok()).collect())
}

fn line(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| Error::usage(error.to_string()))?;
    Ok(text + "\n")
}
