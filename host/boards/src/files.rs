//! Files that are written whole or not at all.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Returns the folder that holds a file.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a new file. With `replace`, it also overwrites an existing one.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if the file exists and must not be replaced, and errors of the system. Nothing at
/// `path` has changed then.
pub fn write(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    // Mode 0666, as for any new file: the system applies the user's umask.
    let beside = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder(path));
    // Drops the temporary file's name, which means nothing to the user.
    let mut file = beside.map_err(|error| io::Error::from(error.kind()))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let kept = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map(drop).map_err(|error| error.error)
}
