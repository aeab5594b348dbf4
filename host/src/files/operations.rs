//! Elementary file operations of a change. Tests can make the process die after any of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

pub fn create_folder(path: &Path) -> io::Result<()> {
    step()?;
    fs::create_dir(path)
}

/// Writes the content of an open file durably.
pub fn fill(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    step()?;
    file.write_all(first)?;
    step()?;
    file.write_all(second)?;
    file.sync_all()
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step()?;
    fs::rename(from, to)
}

/// Renames a file unless the new name is taken.
pub fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    step()?;
    let kept = tempfile::TempPath::try_from_path(from)?.persist_noclobber(to);
    kept.map_err(|error| {
        // The file's owner deletes it.
        let _ = error.path.keep();
        error.error
    })
}

/// Deletes a file. A missing file is not an error.
pub fn delete(path: &Path) -> io::Result<()> {
    step()?;
    absent(fs::remove_file(path))
}

/// Deletes an empty folder. A missing folder is not an error.
pub fn delete_folder(path: &Path) -> io::Result<()> {
    step()?;
    absent(fs::remove_dir(path))
}

/// Deletes a folder and its content. A missing folder is not an error.
pub fn delete_all(path: &Path) -> io::Result<()> {
    step()?;
    absent(fs::remove_dir_all(path))
}

/// Makes the names in a folder survive a power failure.
pub fn keep_names(folder: &Path) -> io::Result<()> {
    step()?;
    File::open(folder)?.sync_all()
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(not(test))]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use death::step;

/// Simulates a process that dies midway: after some operation, no further one has an effect.
#[cfg(test)]
pub mod death {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
    }

    /// Allows this thread `operations` more operations; `u32::MAX` means no limit.
    pub fn after(operations: u32) {
        LEFT.set(operations);
    }

    pub fn step() -> io::Result<()> {
        match LEFT.get() {
            u32::MAX => Ok(()),
            0 => Err(io::Error::other("the process is dead")),
            left => {
                LEFT.set(left - 1);
                Ok(())
            }
        }
    }
}
