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

/// A file beside the place, that is locked and not yet of its name.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Claims a place, which no other process can then claim; with `force`, also where a file is.
    ///
    /// # Errors
    /// Where the path is empty or a folder, its folder is missing or cannot be written to, another process writes this file,
    /// or there is one and `force` is not given.
    pub fn claim(path: &Path, force: bool) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::Usage(format!("{:?} is no name of an output file", path)))?;
        let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir();
        if is_folder {
            return Err(Error::content(path, "is a folder; the output is a file"));
        }
        let folder = parent(path);
        if !folder.is_dir() {
            return Err(Error::content(path, format!("there is no folder {}: make it first", folder.display())));
        }
        if is_device(path) {
            return Ok(Self { path: path.to_owned(), force, beside: None });
        }
        folder::settle(folder)?;
        if !force && fs::symlink_metadata(path).is_ok() {
            return Err(there_already(path));
        }
        let mut crc = flate2::Crc::new();
        crc.update(name.as_encoded_bytes());
        let beside = Beside::claim(path, folder.join(format!(".graftage-{:08x}", crc.sum())))?;
        Ok(Self { path: path.to_owned(), force, beside: Some(beside) })
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
        let mut held = hold();
        let renamed = match self.force {
            true => operations::rename(&beside.path, path),
            false => operations::rename_to_new(&beside.path, path),
        };
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => there_already(path),
            _ => Error::file(path)(error),
        })?;
        forget(&mut held, &beside.path);
        drop(held);
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

impl Beside {
    fn claim(path: &Path, beside: PathBuf) -> Result<Self> {
        let opened = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&beside);
        let mut held = hold();
        loop {
            let file = opened().map_err(Error::file(path))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(folder::taken(path, &file)),
                // Without locks it is written all the same.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Between opening and locking, the process before may have given it its name or deleted it.
            let same = |other: fs::Metadata| file.metadata().is_ok_and(|own| own.ino() == other.ino());
            if fs::symlink_metadata(&beside).is_ok_and(same) {
                held.push(beside.clone());
                return Ok(Self { path: beside, file });
            }
        }
    }
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
