//! Files are whole or not there: written under a temporary name beside their place, then renamed.

use crate::error::{Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of a file.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses files whose folder is missing, before the work begins whose results they are to hold.
///
/// # Errors
/// Names the first such file and its folder.
pub fn check_folders<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    match paths.into_iter().find(|path| !folder(path).is_dir()) {
        Some(path) => {
            Err(Error::content(path, format!("there is no folder {}: make it first", folder(path).display())))
        }
        None => Ok(()),
    }
}

/// Writes a file; until all of it is written, an older one of that name stays as it is.
///
/// # Errors
/// Where the folder does not exist or cannot be written to.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder(path)).map_err(Error::file(path))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(Error::file(path))?;
    // A temporary file is for its owner alone; this one is to be read like any other.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(Error::file(path))?;
    }
    file.persist(path).map_err(|e| Error::file(path)(e.error))?;
    Ok(())
}

/// Writes a value as JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::content(path, e))?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Reads a whole file.
///
/// # Errors
/// Where it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::file(path))
}

/// Reads a value from JSON.
///
/// # Errors
/// Where the file cannot be read, or says something else.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|e| Error::content(path, e))
}
