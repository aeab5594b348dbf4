//! Places in the project folder.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use anyhow::{Context, Result};

/// Returns the project folder.
pub fn root() -> PathBuf {
    // The manifest's folder as cargo reports it now, or the one compiled in if the program runs without cargo.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.ancestors().nth(2).unwrap_or(&manifest).to_owned()
}

/// Returns a path in the folder of everything that `setup` fetched, which git ignores.
pub fn fetched(path: &str) -> PathBuf {
    root().join(".graftage").join(path)
}

/// Creates an empty folder for a download, and removes what an interrupted run left there.
pub fn partial(name: &str) -> Result<PathBuf> {
    let folder = fetched("partial").join(name);
    remove(&folder)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Moves a complete file or folder to its place in one step, so that the place never holds half of it.
pub fn put(complete: &Path, place: &Path) -> Result<()> {
    remove(place)?;
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::rename(complete, place).with_context(|| format!("cannot move {} to {}", complete.display(), place.display()))
}

/// Copies a file to its place, which never holds half of it.
pub fn copy(file: &Path, place: &Path) -> Result<()> {
    let copied = || format!("cannot copy {} to {}", file.display(), place.display());
    let partial = place.with_extension("partial");
    fs::create_dir_all(place.parent().unwrap_or(place)).with_context(copied)?;
    fs::copy(file, &partial).with_context(copied)?;
    fs::rename(partial, place).with_context(copied)
}

/// Packages of the workspace that are checked together. Building the peers in the comparison of times would take
/// minutes.
pub const CHECKED: [&str; 2] = ["--workspace", "--exclude=graftage-speed"];

/// Packages of the workspace that are built together. Cargo compiles dependencies with the features that all packages
/// of a build ask for, so building these together compiles them once. The package of the tests that no other can run
/// alone, and the comparison of times, would have all of them compiled anew.
pub const TOGETHER: [&str; 3] = ["--workspace", "--exclude=graftage-speed", "--exclude=graftage-tests"];

/// Package with the tests that no other one can run alone.
pub const TESTS: &str = "--package=graftage-tests";

/// Removes a file or a folder, if it exists.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
