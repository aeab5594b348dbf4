//! Locks that keep a second process away from a file or folder.

use crate::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Locks a file or folder for this process, until the file is closed.
///
/// # Errors
/// If another process holds the lock. A file system without locks locks nothing, and that is no error.
pub fn lock(path: &Path, file: &File) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(taken(path, file)),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Error that names the process that holds the lock on a file.
fn taken(path: &Path, file: &File) -> Error {
    let number = file.metadata().map(|data| data.ino()).unwrap_or_default();
    // Format of a line on Linux: number, FLOCK, ADVISORY, WRITE, process, device:inode, …
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let holder = locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let of_file = words.get(5)?.rsplit(':').next()?.parse() == Ok(number);
        (of_file && words.get(1) == Some(&"FLOCK")).then(|| format!(" ({})", words[4]))
    });
    Error::content(path, format!("another graftage process{} is writing here", holder.unwrap_or_default()))
}
