//! What is on the disk for the time being, so that it can be deleted when a signal ends the process.

use super::operations;
use crate::error::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Temporary files and folders in the order in which they were made. Whoever makes one, or changes names, holds it meanwhile.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub fn hold() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No longer temporary.
pub fn forget(held: &mut Vec<PathBuf>, path: &Path) {
    held.retain(|known| known != path);
}

/// Deletes all that is temporary, when the process is about to end. From then on no thread makes, renames or moves a file.
pub(crate) fn discard() {
    let held = hold();
    for path in held.iter().rev() {
        // What cannot be deleted now, the next run there deletes.
        let _ = match path.is_dir() {
            true if path.ends_with(super::folder::STAGE) => operations::delete_all(path),
            // A folder that was made for the output, and is still empty.
            true => operations::delete_folder(path),
            false => operations::delete(path),
        };
    }
    std::mem::forget(held);
}

/// A file in the system's folder for temporary ones, which is deleted with its owner.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes one.
    ///
    /// # Errors
    /// Where the system has no place for it.
    pub fn new() -> Result<Self> {
        let mut held = hold();
        let folder = std::env::temp_dir();
        let (_, path) = tempfile::NamedTempFile::new()
            .and_then(|file| Ok(file.keep()?))
            .map_err(|source| Error::File { path: folder, source })?;
        held.push(path.clone());
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut held = hold();
        // It may have been deleted by somebody who tidies up.
        let _ = operations::delete(&self.0);
        forget(&mut held, &self.0);
    }
}

/// A new file, empty, that is known as temporary from its first moment.
pub fn create(path: &Path) -> std::io::Result<File> {
    let _held = hold();
    File::create_new(path)
}
