//! Where things lie in the project folder.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::{Context, Result};

/// The project folder.
pub fn root() -> PathBuf {
    // The manifest's folder as cargo reports it now; the one compiled in if the program is run without cargo.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.ancestors().nth(2).unwrap_or(&manifest).to_owned()
}

/// A path in the folder of everything that `setup` fetched, which git ignores.
pub fn fetched(path: &str) -> PathBuf {
    root().join(".graftage").join(path)
}

/// A fresh, empty folder for what is being fetched; what an interrupted run left there is gone.
pub fn partial(name: &str) -> Result<PathBuf> {
    let folder = fetched("partial").join(name);
    remove(&folder)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Moves a complete file or folder to its place, in one step, so that whatever is there is complete.
pub fn put(complete: &Path, place: &Path) -> Result<()> {
    remove(place)?;
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::rename(complete, place).with_context(|| format!("cannot move {} to {}", complete.display(), place.display()))
}

/// Copies a file to its place, where it is complete at any time.
pub fn copy(file: &Path, place: &Path) -> Result<()> {
    let copied = || format!("cannot copy {} to {}", file.display(), place.display());
    let partial = place.with_extension("partial");
    fs::create_dir_all(place.parent().unwrap_or(place)).with_context(copied)?;
    fs::copy(file, &partial).with_context(copied)?;
    fs::rename(partial, place).with_context(copied)
}

/// The packages of the workspace that are checked together, and not built: their peers in the comparison of times take minutes.
pub const CHECKED: [&str; 2] = ["--workspace", "--exclude=graftage-speed"];

/// The packages of the workspace that are built together: what their dependencies are compiled with depends on who else is built, and
/// so they are compiled once. What no package can test alone, and the comparison of times, would have all of them compiled anew.
pub const TOGETHER: [&str; 3] = ["--workspace", "--exclude=graftage-speed", "--exclude=graftage-tests"];

/// The package that tests what no other can alone.
pub const TESTS: &str = "--package=graftage-tests";

/// Removes a file or a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
