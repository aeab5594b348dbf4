//! Reads files, and decides what a command may write: each output has one owner.
//!
//! - No file is replaced or deleted that the running command did not write itself, unless it was told to
//!   ([`Claims`]). Then files of the names that it writes are replaced, and no other.
//! - A file named by itself ([`Output`]) is written beside its place and renamed: it is whole, or as it was before.
//! - A file that [grows](Growing) gets its name with its first bytes, and then is whole up to the last ones. A later run goes on
//!   in it.
//! - The files of a folder ([`Folder`]) change hands at once. A [`Change`] gathers the new ones in a hidden folder inside it,
//!   `.graftage-new`. One rename, to `.graftage-commit`, decides; then each file is moved to its name, and what the new
//!   ones supersede is deleted. A process that dies before the decision leaves the old files as they were, and the next
//!   one that writes there removes what it had gathered. A process that dies after it leaves moves to do: whoever
//!   opens the folder next, to read or to write, finishes them first.
//! - One process at a time writes into a folder, or a file. It holds a lock of the system, which ends with it.
//! - What is temporary is deleted when a command ends, also by [a signal](crate::signals).
//!
//! Where a file system has no locks, two processes can write into one folder; all else holds.

mod folder;
mod growing;
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
use std::path::{Path, PathBuf};

/// What a command is about to write: nothing that it reads, nothing twice, and nothing that is there already unless it is
/// told to replace it.
#[derive(Debug)]
pub struct Claims {
    force: bool,
    inputs: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
}

impl Claims {
    /// Nothing yet; with `force`, files that are there already are replaced.
    pub fn new(force: bool) -> Self {
        Self { force, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// Keeps these inputs from being written to.
    pub fn reads<'a>(mut self, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        self.inputs.extend(inputs.into_iter().map(|path| place(path)));
        self
    }

    /// Claims a file.
    ///
    /// # Errors
    /// Where the command reads it or writes it already, where it is there and is not to be replaced, where its folder is
    /// missing or cannot be written to, or where another process writes it. Nothing has changed then.
    pub fn file(&mut self, path: &Path) -> Result<Output> {
        self.claim(path)?;
        Output::claim(path, self.force)
    }

    /// Claims a file that grows, and goes on where it is there and is not to be replaced.
    ///
    /// # Errors
    /// Where the command reads it or writes it already, where its folder is missing or cannot be written to, or where
    /// another process writes it. Nothing has changed then.
    pub fn growing(&mut self, path: &Path) -> Result<Growing> {
        self.claim(path)?;
        Growing::claim(path, self.force)
    }

    /// Notes an output that is none of the others and no input.
    fn claim(&mut self, path: &Path) -> Result<()> {
        if !output::is_device(path) {
            let place = place(path);
            if self.inputs.contains(&place) {
                return Err(Error::content(path, READ_TOO));
            }
            if self.outputs.contains(&place) {
                return Err(Error::content(
                    path,
                    "is to hold two outputs of this command; give each a file of its own",
                ));
            }
            self.outputs.push(place);
        }
        Ok(())
    }

    /// Claims a file that an option may name.
    ///
    /// # Errors
    /// As [`Claims::file`].
    pub fn option(&mut self, path: Option<&PathBuf>) -> Result<Option<Output>> {
        path.map(|path| self.file(path)).transpose()
    }

    /// Claims the files of these names in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// Where the path is no folder, another process writes there, the command reads one of the files, or one is there and is
    /// not to be replaced. Nothing has changed then.
    pub fn folder(&self, path: &Path, names: &[&str]) -> Result<Folder> {
        let folder = Folder::open(path, self.force)?;
        self.check(path, names)?;
        folder.claim(names)?;
        Ok(folder)
    }

    /// Refuses to write files of these names in a folder that the command reads.
    ///
    /// # Errors
    /// Names the first.
    pub fn check(&self, path: &Path, names: &[&str]) -> Result<()> {
        match names.iter().map(|name| path.join(name)).find(|file| self.inputs.contains(&place(file))) {
            Some(read) => Err(Error::content(&read, READ_TOO)),
            None => Ok(()),
        }
    }
}

const READ_TOO: &str = "is read by this command, too; name another output";

/// A path without links; of a file that is not there, its folder's.
fn place(path: &Path) -> PathBuf {
    let there = || Some(parent(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(there).unwrap_or_else(|| path.to_owned())
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file at once; one of that name is replaced, and stays as it is until then.
///
/// # Errors
/// Where the folder does not exist or cannot be written to, or another process writes this file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Output::claim(path, true)?.write(bytes)
}

/// A value as a file of JSON holds it.
///
/// # Errors
/// Names the file, where the value cannot be written.
pub fn json(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::content(path, e))?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a value as JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write(path, &json(path, value)?)
}

/// Reads a whole file. Where its folder was left in the middle of a change that is decided, that is finished first.
///
/// # Errors
/// Where it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    folder::settle(parent(path))?;
    std::fs::read(path).map_err(Error::file(path))
}

/// Reads a value from JSON.
///
/// # Errors
/// Where the file cannot be read, or says something else.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|e| Error::content(path, e))
}
