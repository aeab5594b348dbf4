//! A file that grows while a command runs, and that a later run can continue.

use super::lock::Locked;
use super::output::{Beside, check, is_device};
use super::{operations, parent, there_already};
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A claimed destination of a file that grows at its end. No other process can write it.
///
/// A new file gets its name when the first bytes are [appended](Growing::append). Until then, an existing file of that
/// name stays.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    force: bool,
    /// The locked file, once it has its name.
    file: Option<Locked>,
    /// The new file before it has its name. For a file that is continued, this only holds its lock.
    beside: Option<Beside>,
    length: u64,
}

impl Growing {
    /// Claims a destination. With `force`, a new file replaces an existing one.
    ///
    /// # Errors
    /// If the path is empty, a folder or a device, its folder is missing or not writable, or another process writes
    /// this file.
    pub fn claim(path: &Path, force: bool) -> Result<Self> {
        check(path)?;
        if is_device(path) {
            return Err(Error::content(
                path,
                "is not a file; this output must be a file, because it is extended while the command runs",
            ));
        }
        let mut beside = Beside::claim(path)?;
        let file = beside.there.take_if(|_| !force);
        if file.is_none() && !force && fs::symlink_metadata(path).is_ok() {
            // The file exists but cannot be opened; the system's error says why.
            File::options().read(true).write(true).open(path).map_err(Error::file(path))?;
            return Err(there_already(path));
        }
        Ok(Self { path: path.to_owned(), force, file, beside: Some(beside), length: 0 })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the bytes of the file to continue; `None` if the file is new.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn there(&self) -> Result<Option<Vec<u8>>> {
        self.file.as_ref().map(|_| super::read(&self.path)).transpose()
    }

    /// Writes the first bytes of a new file, which gets its name later.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn begin(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(beside) = &mut self.beside else { return Ok(()) };
        let file = &beside.file;
        let written = file.set_len(0).and_then(|()| operations::fill(file, bytes));
        self.length = bytes.len() as u64;
        written.map_err(Error::file(&self.path))
    }

    /// Continues an existing file after its first `length` bytes. The rest is deleted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn go_on(&mut self, length: u64) -> Result<()> {
        self.length = length;
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(length)).map_err(Error::file(&self.path))
    }

    /// Appends bytes. They survive the process once this returns.
    ///
    /// # Errors
    /// If they cannot be written, or a new file cannot get its name. Bytes appended earlier are intact.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(self.length, bytes)?;
        self.length += bytes.len() as u64;
        if self.file.is_none()
            && let Some(beside) = &self.beside
        {
            let file = beside.file.try_clone().map_err(Error::file(&self.path))?;
            beside.name(&self.path, self.force)?;
            self.file = Some(Locked(file));
        }
        Ok(())
    }

    /// Overwrites bytes at offset `at`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn replace(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.write(at, bytes)
    }

    /// Makes the file survive a power failure.
    ///
    /// # Errors
    /// If the system cannot, or the file no longer has its name.
    pub fn keep(&self) -> Result<()> {
        if let Some(file) = &self.file {
            let named = fs::metadata(&self.path).ok().map(|data| data.ino());
            if named != Some(file.metadata().map_err(Error::file(&self.path))?.ino()) {
                return Err(Error::content(&self.path, "was deleted or replaced while it was being written"));
            }
        }
        let kept = self.file.as_ref().map_or(Ok(()), |file| file.sync_all());
        kept.and_then(|()| operations::keep_names(parent(&self.path))).map_err(Error::file(&self.path))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let file = self.file.as_ref().or(self.beside.as_ref().map(|beside| &beside.file));
        file.map_or(Ok(()), |file| file.write_all_at(bytes, at)).map_err(Error::file(&self.path))
    }
}
