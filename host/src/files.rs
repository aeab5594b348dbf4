//! Reading of files, and control of what a command may write: each output has one owner.
//!
//! - A command replaces or deletes only files that it wrote itself, unless told otherwise ([`Claims`]). Even then it
//!   replaces only files with the names that it writes.
//! - A single file ([`Output`]) is written next to its destination and renamed: it is either complete or unchanged.
//! - A [growing](Growing) file gets its name together with its first bytes. From then on it is intact up to the last
//!   bytes appended, and a later run can continue it.
//! - The files of a folder ([`Folder`]) are replaced together. A [`Change`] collects the new ones in a hidden
//!   subfolder, `.graftage-new`. Renaming it to `.graftage-commit` decides the change; then each file is moved to its
//!   name, and superseded files are deleted. If the process dies before the decision, the old files are unchanged, and
//!   the next process that writes there removes the collected files. If it dies after the decision, moves are pending:
//!   the next process that opens the folder, to read or to write, completes them first.
//! - Only one process at a time writes into a folder or a file. It holds a lock of the operating system, which is
//!   released when the process ends.
//! - Temporary files are deleted when a command ends, also if [a signal](crate::signals) ends it.
//!
//! On a file system without locks, two processes can write into one folder; everything else holds.

mod folder;
mod growing;
mod lock;
mod operations;
mod output;
#[cfg(test)]
mod tests;
mod unfinished;

pub use folder::{Change, Folder, Written};
pub use growing::Growing;
pub use output::Output;
pub(crate) use unfinished::discard;

use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Error for an existing file that is not to be replaced.
fn there_already(path: &Path) -> Error {
    let is_link_to_nothing = fs::symlink_metadata(path).is_ok() && !path.exists();
    let what = if is_link_to_nothing { "is a broken link" } else { "already exists" };
    Error::content(path, format!("{what}; use --force to replace it, or name another output"))
}

/// Outputs that a command is about to write. It refuses files that the command reads, duplicates, and existing files
/// unless they are to be replaced.
#[derive(Debug)]
pub struct Claims {
    force: bool,
    inputs: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
}

impl Claims {
    /// Starts without outputs. With `force`, existing files are replaced.
    pub fn new(force: bool) -> Self {
        Self { force, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// Protects these inputs from being overwritten.
    pub fn reads<'a>(mut self, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        self.inputs.extend(inputs.into_iter().map(|path| place(path)));
        self
    }

    /// Claims a file.
    ///
    /// # Errors
    /// If the command already reads or writes it, it exists and is not to be replaced, its folder is missing or not
    /// writable, or another process writes it. In that case nothing has changed.
    pub fn file(&mut self, path: &Path) -> Result<Output> {
        self.claim(path)?;
        Output::claim(path, self.force)
    }

    /// Claims a growing file. An existing file is continued unless it is to be replaced.
    ///
    /// # Errors
    /// If the command already reads or writes it, its folder is missing or not writable, or another process writes it.
    /// In that case nothing has changed.
    pub fn growing(&mut self, path: &Path) -> Result<Growing> {
        self.claim(path)?;
        Growing::claim(path, self.force)
    }

    /// Registers an output that must differ from all inputs and all other outputs.
    fn claim(&mut self, path: &Path) -> Result<()> {
        if !output::is_device(path) {
            let place = place(path);
            if self.inputs.contains(&place) {
                return Err(Error::content(path, READ_TOO));
            }
            if self.outputs.contains(&place) {
                return Err(Error::content(
                    path,
                    "cannot hold two outputs of this command; use a separate file for each",
                ));
            }
            self.outputs.push(place);
        }
        Ok(())
    }

    /// Claims a file if an option names one.
    ///
    /// # Errors
    /// Same as [`Claims::file`].
    pub fn option(&mut self, path: Option<&PathBuf>) -> Result<Option<Output>> {
        path.map(|path| self.file(path)).transpose()
    }

    /// Claims files with these names in a folder. A missing folder is created.
    ///
    /// # Errors
    /// If the path is not a folder, another process writes there, the command reads one of the files, or one exists and
    /// is not to be replaced. In that case nothing has changed.
    pub fn folder(&self, path: &Path, names: &[&str]) -> Result<Folder> {
        let folder = Folder::open(path, self.force)?;
        self.check(path, names)?;
        folder.claim(names)?;
        Ok(folder)
    }

    /// Checks that the command does not read any of the files to be written in a folder.
    ///
    /// # Errors
    /// If it does; the message names the first such file.
    pub fn check(&self, path: &Path, names: &[&str]) -> Result<()> {
        match names.iter().map(|name| path.join(name)).find(|file| self.inputs.contains(&place(file))) {
            Some(read) => Err(Error::content(&read, READ_TOO)),
            None => Ok(()),
        }
    }
}

const READ_TOO: &str = "is also an input of this command; name another output";

/// Canonical form of a path. For a file that does not exist, only its folder is made canonical.
fn place(path: &Path) -> PathBuf {
    let there = || Some(parent(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(there).unwrap_or_else(|| path.to_owned())
}

/// Folder that contains a file.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file atomically. An existing file of that name is replaced, and unchanged until then.
///
/// # Errors
/// If the folder does not exist or is not writable, or another process writes this file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Output::claim(path, true)?.write(bytes)
}

/// Encodes a value as a JSON file.
///
/// # Errors
/// Names the file if the value cannot be written.
pub fn json(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::content(path, e))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a value as JSON.
///
/// # Errors
/// Same as [`write()`].
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write(path, &json(path, value)?)
}

/// Reads a whole file. A decided change of its folder that is still pending is completed first.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    folder::settle(parent(path))?;
    std::fs::read(path).map_err(Error::file(path))
}

/// Reads a value from JSON.
///
/// # Errors
/// If the file cannot be read or does not hold such a value.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|e| Error::content(path, e))
}
