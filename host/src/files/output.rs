//! A single output file whose name the user chose.

use super::lock::{Locked, lock};
use super::operations;
use super::unfinished::{forget, hold};
use super::{folder, parent, there_already};
use crate::error::{Error, Result};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A claimed destination of a file. If it is dropped before it is written, nothing has changed.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    force: bool,
    /// `None` for a destination that is not a regular file and is written in place: a device or a pipe.
    beside: Option<Beside>,
}

impl Output {
    /// Claims a destination, so that no other process can claim it. With `force`, an existing file may be replaced.
    ///
    /// # Errors
    /// If the path is empty or a folder, its folder is missing or not writable, another process writes this file, or it
    /// exists and `force` is not given.
    pub fn claim(path: &Path, force: bool) -> Result<Self> {
        check(path)?;
        if is_device(path) {
            return Ok(Self { path: path.to_owned(), force, beside: None });
        }
        if !force && fs::symlink_metadata(path).is_ok() {
            return Err(there_already(path));
        }
        Ok(Self { path: path.to_owned(), force, beside: Some(Beside::claim(path)?) })
    }

    /// Path of the output.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the whole content.
    ///
    /// # Errors
    /// If it cannot be written, or a file of this name has appeared in the meantime and is not to be replaced. In that
    /// case the destination is unchanged.
    pub fn write(mut self, bytes: &[u8]) -> Result<()> {
        let path = &self.path;
        let Some(beside) = &mut self.beside else {
            // Standard output may be redirected to a file, so append.
            let device = OpenOptions::new().append(true).open(path);
            return device.and_then(|mut device| device.write_all(bytes)).map_err(Error::file(path));
        };
        beside.file.set_len(0).and_then(|()| operations::fill(&beside.file, bytes)).map_err(Error::file(path))?;
        beside.name(path, self.force)?;
        operations::keep_names(parent(path)).map_err(Error::file(path))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// Same as [`Output::write`].
    pub fn write_json(self, value: &impl serde::Serialize) -> Result<()> {
        let bytes = super::json(&self.path, value)?;
        self.write(&bytes)
    }
}

/// A locked temporary file next to its destination, together with the lock on the existing file of that name.
#[derive(Debug)]
pub struct Beside {
    path: PathBuf,
    pub file: Locked,
    /// The existing file of that name, if it can be opened for writing.
    pub there: Option<Locked>,
}

impl Beside {
    /// Creates and locks the temporary file, and locks the existing file.
    ///
    /// # Errors
    /// If the folder is not writable, or another process writes this file.
    pub fn claim(path: &Path) -> Result<Self> {
        let mut crc = flate2::Crc::new();
        crc.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        let beside = parent(path).join(format!(".graftage-{:08x}", crc.sum()));
        let opened = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&beside);
        let mut held = hold();
        let file = loop {
            let file = lock(path, opened().map_err(Error::file(path))?)?;
            // Between opening and locking, the previous process may have renamed or deleted the file.
            let same = |other: fs::Metadata| file.metadata().is_ok_and(|own| own.ino() == other.ino());
            if fs::symlink_metadata(&beside).is_ok_and(same) {
                break file;
            }
        };
        held.push(beside.clone());
        drop(held);
        let mut new = Self { path: beside, file, there: None };
        let there = OpenOptions::new().read(true).write(true).open(path).ok();
        new.there = there.map(|there| lock(path, there)).transpose()?;
        Ok(new)
    }

    /// Renames the file to its destination. With `force`, it replaces an existing file.
    ///
    /// # Errors
    /// If a file of this name exists and is not to be replaced, or the system refuses.
    pub fn name(&self, path: &Path, force: bool) -> Result<()> {
        let mut held = hold();
        let renamed = match force {
            true => operations::rename(&self.path, path),
            false => operations::rename_to_new(&self.path, path),
        };
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => there_already(path),
            _ => Error::file(path)(error),
        })?;
        forget(&mut held, &self.path);
        Ok(())
    }
}

/// Checks that a path can hold a file, and completes a decided change of its folder.
///
/// # Errors
/// If the path is empty or a folder, or its folder is missing.
pub fn check(path: &Path) -> Result<()> {
    if path.file_name().is_none() {
        return Err(Error::Usage(format!("{path:?} cannot be the name of an output file")));
    }
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
        return Err(Error::content(path, "is a folder, but the output must be a file"));
    }
    let folder = parent(path);
    if !folder.is_dir() {
        return Err(Error::content(path, format!("there is no folder {}: create it first", folder.display())));
    }
    folder::settle(folder)
}

impl Drop for Beside {
    fn drop(&mut self) {
        let mut held = hold();
        if held.contains(&self.path) {
            // If this fails, the next process that writes here reuses the file.
            let _ = operations::delete(&self.path);
            forget(&mut held, &self.path);
        }
    }
}

/// Returns `true` if a path is written in place: it exists and is not a regular file, or refers to an open file
/// descriptor.
pub fn is_device(path: &Path) -> bool {
    let other = fs::metadata(path).is_ok_and(|data| !data.is_file() && !data.is_dir());
    let open = || {
        let folder = parent(path).canonicalize();
        folder.is_ok_and(|folder| folder == Path::new("/dev") || folder.starts_with("/proc")) && path.exists()
    };
    other || open()
}
