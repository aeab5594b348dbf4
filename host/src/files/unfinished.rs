//! What is on the disk for the time being, so that it can be deleted when a signal ends the process.

use super::operations;
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

/// A new file, empty, that is known as temporary from its first moment.
pub fn create(path: &Path) -> std::io::Result<File> {
    let _held = hold();
    File::create_new(path)
}
