//! Registry of temporary files, so that they can be deleted when a signal ends the process.

use super::operations;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Name of the subfolder that collects the new files of a folder.
pub const STAGE: &str = ".graftage-new";

/// Temporary files and folders in the order of their creation. Code that creates one or renames files holds the lock
/// meanwhile.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub fn hold() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a path from the registry: it is no longer temporary.
pub fn forget(held: &mut Vec<PathBuf>, path: &Path) {
    held.retain(|known| known != path);
}

/// Deletes all temporary files when the process is about to end. Afterwards no thread can create, rename or move a
/// file.
pub(crate) fn discard() {
    let held = hold();
    for path in held.iter().rev() {
        // If this fails, the next run there deletes it.
        let _ = match path.is_dir() {
            true if path.ends_with(STAGE) => operations::delete_all(path),
            // A folder created for the output that is still empty.
            true => operations::delete_folder(path),
            false => operations::delete(path),
        };
    }
    std::mem::forget(held);
}

/// Creates a new, empty file in a registered folder. The registry is locked meanwhile, so that no file appears while
/// `discard` deletes the folder.
pub fn create(path: &Path) -> std::io::Result<File> {
    let _held = hold();
    File::create_new(path)
}
