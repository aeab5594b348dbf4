//! A file that grows while a command runs, and goes on in a later run.

use super::output::{Beside, check, is_device, there_already};
use super::{operations, parent};
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A claimed place for a file that grows at its end. No other process writes it meanwhile.
///
/// A new file gets its name with the first bytes that are [appended](Growing::append); what had that name stays until then.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    force: bool,
    /// The file, once it has its name; locked.
    file: Option<File>,
    /// The new file before it has its name. Beside one that goes on, its lock alone.
    beside: Option<Beside>,
    length: u64,
}

impl Growing {
    /// Claims a place; with `force` for a new file, also where there is one.
    ///
    /// # Errors
    /// Where the path is empty, a folder or a device, its folder is missing or cannot be written to, or another process
    /// writes this file.
    pub fn claim(path: &Path, force: bool) -> Result<Self> {
        check(path)?;
        if is_device(path) {
            return Err(Error::content(path, "is no file, in which alone this can grow"));
        }
        let mut beside = Beside::claim(path)?;
        let file = beside.there.take_if(|_| !force);
        if file.is_none() && !force && fs::symlink_metadata(path).is_ok() {
            // It is there, and cannot be opened: the system says why.
            File::options().read(true).write(true).open(path).map_err(Error::file(path))?;
            return Err(there_already(path));
        }
        Ok(Self { path: path.to_owned(), force, file, beside: Some(beside), length: 0 })
    }

    /// The place of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file that is to go on; none where it is to be a new one.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn there(&self) -> Result<Option<Vec<u8>>> {
        self.file.as_ref().map(|_| super::read(&self.path)).transpose()
    }

    /// Begins a new file with these bytes, which gets its name later.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn begin(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(beside) = &mut self.beside else { return Ok(()) };
        let file = &mut beside.file;
        let written = file.set_len(0).and_then(|()| operations::fill(file, bytes));
        self.length = bytes.len() as u64;
        written.map_err(Error::file(&self.path))
    }

    /// Goes on behind the first so many bytes of what is there; the rest is deleted.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn go_on(&mut self, length: u64) -> Result<()> {
        self.length = length;
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(length)).map_err(Error::file(&self.path))
    }

    /// Appends bytes. When this returns, they outlast the process.
    ///
    /// # Errors
    /// Where they cannot be written, or where a new file cannot get its name; what was appended before is whole.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(self.length, bytes)?;
        self.length += bytes.len() as u64;
        if self.file.is_none()
            && let Some(beside) = &self.beside
        {
            let file = beside.file.try_clone().map_err(Error::file(&self.path))?;
            beside.name(&self.path, self.force)?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Replaces bytes in what is there.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn replace(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.write(at, bytes)
    }

    /// Lets all of it survive a power cut.
    ///
    /// # Errors
    /// Where the system cannot, or the file has lost its name.
    pub fn keep(&self) -> Result<()> {
        if let Some(file) = &self.file {
            let named = fs::metadata(&self.path).ok().map(|data| data.ino());
            if named != Some(file.metadata().map_err(Error::file(&self.path))?.ino()) {
                return Err(Error::content(&self.path, "was deleted or replaced while it was written"));
            }
        }
        let kept = self.file.as_ref().map_or(Ok(()), File::sync_all);
        kept.and_then(|()| operations::keep_names(parent(&self.path))).map_err(Error::file(&self.path))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let file = self.file.as_ref().or(self.beside.as_ref().map(|beside| &beside.file));
        file.map_or(Ok(()), |file| file.write_all_at(bytes, at)).map_err(Error::file(&self.path))
    }
}
