//! Files that are written whole or not at all.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The folder of a file.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a new file; with `replace`, also over one that is there.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where there is one that is not to be replaced, and those of the system. The place
/// is as it was then.
pub fn write(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    // As for any new file: the system takes away what the user's mask says.
    let beside = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder(path));
    // Without the temporary name, which tells nobody anything.
    let mut file = beside.map_err(|error| io::Error::from(error.kind()))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let kept = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map(drop).map_err(|error| error.error)
}
