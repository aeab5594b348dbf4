//! Locks that keep a second process away from a file or folder.

use crate::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// An open file or folder that is locked until this is dropped.
///
/// Closing the file would not be enough: a process that another thread is starting has copies of all open files until
/// it runs its program, and the lock lasts until the last copy is closed.
#[derive(Debug)]
pub struct Locked(pub(super) File);

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // A file system without locks has nothing to unlock.
        let _ = self.0.unlock();
    }
}

/// Locks a file or folder for this process. `path` is its name in messages.
///
/// # Errors
/// If another process holds the lock. A file system without locks locks nothing, and that is no error.
pub fn lock(path: &Path, file: File) -> Result<Locked> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(taken(path, &file)),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Locked(file)),
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
