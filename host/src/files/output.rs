//! A file that a command writes under a name that somebody chose.

use super::operations;
use super::unfinished::{forget, hold};
use super::{folder, parent};
use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A claimed place for a file. Where it is dropped without having been written, nothing has changed.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    force: bool,
    /// `None` of what is no file and is written to as it stands: a device, a pipe.
    beside: Option<Beside>,
}

impl Output {
    /// Claims a place, which no other process can then claim; with `force`, also where a file is.
    ///
    /// # Errors
    /// Where the path is empty or a folder, its folder is missing or cannot be written to, another process writes this file,
    /// or there is one and `force` is not given.
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

    /// Where it goes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Where it cannot be written, or a file of this name has come meanwhile that is not to be replaced. The place is as
    /// it was then.
    pub fn write(mut self, bytes: &[u8]) -> Result<()> {
        let path = &self.path;
        let Some(beside) = &mut self.beside else {
            // At its end, if it is a file that standard output goes to.
            let device = OpenOptions::new().append(true).open(path);
            return device.and_then(|mut device| device.write_all(bytes)).map_err(Error::file(path));
        };
        beside.file.set_len(0).and_then(|()| operations::fill(&mut beside.file, bytes)).map_err(Error::file(path))?;
        beside.name(path, self.force)?;
        operations::keep_names(parent(path)).map_err(Error::file(path))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn write_json(self, value: &impl serde::Serialize) -> Result<()> {
        let bytes = super::json(&self.path, value)?;
        self.write(&bytes)
    }
}

/// A file beside a place, locked, that can get its name; and the lock of the file that has the name until then.
#[derive(Debug)]
pub struct Beside {
    path: PathBuf,
    pub file: File,
    /// The file of that name, where there is one that can be written to.
    pub there: Option<File>,
}

impl Beside {
    /// Makes one, and locks it and what has the name.
    ///
    /// # Errors
    /// Where the folder cannot be written to, or another process writes this file.
    pub fn claim(path: &Path) -> Result<Self> {
        let mut crc = flate2::Crc::new();
        crc.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        let beside = parent(path).join(format!(".graftage-{:08x}", crc.sum()));
        let opened = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&beside);
        let mut held = hold();
        let file = loop {
            let file = opened().map_err(Error::file(path))?;
            lock(path, &file)?;
            // Between opening and locking, the process before may have given it its name or deleted it.
            let same = |other: fs::Metadata| file.metadata().is_ok_and(|own| own.ino() == other.ino());
            if fs::symlink_metadata(&beside).is_ok_and(same) {
                break file;
            }
        };
        held.push(beside.clone());
        drop(held);
        let new = Self { path: beside, file, there: OpenOptions::new().read(true).write(true).open(path).ok() };
        new.there.as_ref().map_or(Ok(()), |there| lock(path, there))?;
        Ok(new)
    }

    /// Gives it its name; with `force`, in the place of what has it.
    ///
    /// # Errors
    /// Where a file of this name is there that is not to be replaced, or the system refuses.
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

/// Locks a file for this process.
fn lock(path: &Path, file: &File) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(folder::taken(path, file)),
        // Without locks it is written all the same.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Refuses a path that is no place for a file, and finishes what was decided in its folder.
///
/// # Errors
/// Where it is empty or a folder, or its folder is missing.
pub fn check(path: &Path) -> Result<()> {
    if path.file_name().is_none() {
        return Err(Error::Usage(format!("{path:?} is no name of an output file")));
    }
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
        return Err(Error::content(path, "is a folder; the output is a file"));
    }
    let folder = parent(path);
    if !folder.is_dir() {
        return Err(Error::content(path, format!("there is no folder {}: make it first", folder.display())));
    }
    folder::settle(folder)
}

impl Drop for Beside {
    fn drop(&mut self) {
        let mut held = hold();
        if held.contains(&self.path) {
            // What stays is taken up by the next process that writes here.
            let _ = operations::delete(&self.path);
            forget(&mut held, &self.path);
        }
    }
}

/// What a file of that name is refused with.
pub fn there_already(path: &Path) -> Error {
    let is_link_to_nothing = fs::symlink_metadata(path).is_ok() && !path.exists();
    let what = if is_link_to_nothing { "is a link to nothing" } else { "it is there already" };
    Error::content(path, format!("{what}; --force replaces it, or name another output"))
}

/// What is written to as it stands: it is there and no file, or it stands for one that is open.
pub fn is_device(path: &Path) -> bool {
    let other = fs::metadata(path).is_ok_and(|data| !data.is_file() && !data.is_dir());
    let open = || {
        let folder = parent(path).canonicalize();
        folder.is_ok_and(|folder| folder == Path::new("/dev") || folder.starts_with("/proc")) && path.exists()
    };
    other || open()
}
