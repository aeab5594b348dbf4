//! A folder whose files are replaced together.

use super::lock::{Locked, lock};
use super::unfinished::{STAGE, create, forget, hold};
use super::{operations, there_already};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of that subfolder once the change is decided.
const DECIDED: &str = ".graftage-commit";
/// File in the subfolder that lists the names to delete, one per line.
const SUPERSEDED: &str = ".superseded";

/// A folder into which only this process writes.
///
/// A folder that was created for this is deleted again if nothing has been written.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    force: bool,
    /// Names of files that this run may replace.
    own: RefCell<BTreeSet<String>>,
    /// Folders that were created: this one and its ancestors.
    made: Vec<PathBuf>,
    _lock: Locked,
}

impl Folder {
    /// Opens a folder for writing and creates it if it is missing. Completes a decided change and discards an undecided
    /// one. With `force`, all files may be replaced.
    ///
    /// # Errors
    /// If the path is not a folder, is not writable, or another process writes there.
    pub fn open(path: &Path, force: bool) -> Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(Error::Usage("the name of the output is empty; name a folder".into()));
        }
        let (made, lock) = loop {
            let made = make(path)?;
            let file = lock(path, File::open(path).map_err(Error::file(path))?)?;
            // The previous process may have deleted the folder while it was empty.
            let same = |data: fs::Metadata| file.metadata().is_ok_and(|own| own.ino() == data.ino());
            if fs::metadata(path).is_ok_and(same) {
                break (made, file);
            }
        };
        let folder = Self { path: path.to_owned(), force, own: RefCell::default(), made, _lock: lock };
        finish(path)?;
        operations::delete_all(&path.join(STAGE)).map_err(Error::file(path))?;
        Ok(folder)
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Checks that no files with these names exist that may not be replaced.
    ///
    /// # Errors
    /// If one does; the message names the first.
    pub fn claim(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| self.check(name))
    }

    /// Like [`Folder::claim`], but for a run that continues an earlier one: files in `written` may be replaced.
    ///
    /// # Errors
    /// If a file exists and differs from what the earlier run wrote; the message names the first.
    pub fn claim_again(&self, names: &[&str], written: &Written) -> Result<()> {
        for name in names {
            let path = self.file(name);
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(Error::file(&path))?,
            };
            if !self.force && written.0.get(*name) != Some(&sum(&bytes)) {
                let what = "has changed since this run wrote it; move it away, or start again with --force";
                return Err(Error::content(&path, what));
            }
            self.own.borrow_mut().insert((*name).to_owned());
        }
        Ok(())
    }

    /// Allows a file that belongs to this run to be replaced.
    pub fn own(&self, name: &str) {
        self.own.borrow_mut().insert(name.to_owned());
    }

    fn check(&self, name: &str) -> Result<()> {
        let path = self.file(name);
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => Err(Error::content(&path, "is a folder, but a file must be written there")),
            Ok(_) if !self.force && !self.own.borrow().contains(name) => Err(there_already(&path)),
            _ => Ok(()),
        }
    }

    /// Begins a change of the folder's files.
    pub fn change(&self) -> Change<'_> {
        Change { folder: self, stage: self.path.join(STAGE), names: BTreeSet::new(), superseded: Vec::new() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        unmake(&self.made);
    }
}

/// New files that get their names in a folder all at once. If it is dropped, the folder is unchanged.
#[derive(Debug)]
pub struct Change<'a> {
    folder: &'a Folder,
    stage: PathBuf,
    names: BTreeSet<String>,
    superseded: Vec<String>,
}

impl Change<'_> {
    /// Adds a file to the change.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.file(name);
        self.gather(name, bytes).map_err(Error::file(&path))?;
        self.names.insert(name.to_owned());
        Ok(())
    }

    fn gather(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut held = hold();
        if !held.contains(&self.stage) {
            operations::create_folder(&self.stage)?;
            held.push(self.stage.clone());
        }
        drop(held);
        operations::fill(&create(&self.stage.join(name))?, bytes)
    }

    /// Adds a value as JSON.
    ///
    /// # Errors
    /// Same as [`Change::add`].
    pub fn add_json(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        let bytes = super::json(&self.folder.file(name), value)?;
        self.add(name, &bytes)
    }

    /// Marks files as superseded by the new ones. They are deleted if they exist and may be replaced.
    pub fn supersede(&mut self, names: &[&str]) {
        self.superseded.extend(names.iter().map(|&name| name.to_owned()));
    }

    /// Replaces the old files with the new ones.
    ///
    /// # Errors
    /// If a file is in the way that does not belong to this run, or the files cannot be renamed. Before the decision,
    /// the folder is unchanged; after it, the next process that opens the folder completes the change.
    pub fn commit(mut self) -> Result<()> {
        let folder = self.folder;
        let (path, decided) = (&folder.path, folder.file(DECIDED));
        let names = std::mem::take(&mut self.names);
        names.iter().try_for_each(|name| folder.check(name))?;
        self.superseded.retain(|name| !names.contains(name) && folder.check(name).is_ok());
        let mut list = self.superseded.join("\n");
        if !list.is_empty() {
            list.push('\n');
            self.gather(SUPERSEDED, list.as_bytes()).map_err(Error::file(path))?;
        }
        operations::keep_names(&self.stage).map_err(Error::file(path))?;
        let mut held = hold();
        operations::rename(&self.stage, &decided).map_err(Error::file(path))?;
        forget(&mut held, &self.stage);
        folder.own.borrow_mut().extend(names);
        finish(path)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut held = hold();
        if held.contains(&self.stage) {
            // If this fails, the next process that writes here deletes the subfolder.
            let _ = operations::delete_all(&self.stage);
            forget(&mut held, &self.stage);
        }
    }
}

/// Completes a decided change. The caller holds the folder's lock.
fn finish(folder: &Path) -> Result<()> {
    let decided = folder.join(DECIDED);
    if !decided.exists() {
        return Ok(());
    }
    let failed = |error: io::Error| {
        Error::content(folder, format!("cannot move the new files from {DECIDED} to their places: {error}"))
    };
    operations::keep_names(folder).map_err(failed)?;
    let list = decided.join(SUPERSEDED);
    let superseded = match fs::read_to_string(&list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(failed)?,
    };
    for name in superseded.lines() {
        operations::delete(&folder.join(name)).map_err(failed)?;
    }
    for entry in fs::read_dir(&decided).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != SUPERSEDED {
            operations::rename(&decided.join(&name), &folder.join(&name)).map_err(failed)?;
        }
    }
    // The moves must be durable before the list and the subfolder are deleted.
    operations::keep_names(folder).map_err(failed)?;
    operations::delete(&list).map_err(failed)?;
    operations::delete_folder(&decided).map_err(failed)
}

/// Completes a decided change before a read. The process that decided it may be about to do so itself.
///
/// # Errors
/// If the change cannot be completed.
pub fn settle(folder: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let started = Instant::now();
    while folder.join(DECIDED).exists() {
        match lock(folder, File::open(folder).map_err(Error::file(folder))?) {
            Ok(_locked) => return finish(folder),
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    Ok(())
}

/// Creates a folder and its ancestors. Returns those that were missing, the outermost first.
fn make(path: &Path) -> Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        let what = match (fs::metadata(folder), fs::symlink_metadata(folder)) {
            (Ok(data), _) if data.is_dir() => break,
            (Ok(data), _) if data.is_file() => "is a file, but the output must be a folder",
            (Ok(_), _) => "is a device, but the output must be a folder",
            (Err(_), Ok(_)) => "is a broken link, but the output must be a folder",
            (Err(_), Err(_)) => {
                missing.insert(0, folder.to_owned());
                continue;
            }
        };
        return Err(Error::content(folder, what));
    }
    let mut made = Vec::new();
    for folder in missing {
        let mut held = hold();
        match operations::create_folder(&folder) {
            Ok(()) => {
                held.push(folder.clone());
                made.push(folder);
            }
            // Another process created it first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                drop(held);
                unmake(&made);
                return Err(Error::file(&folder)(error));
            }
        }
    }
    Ok(made)
}

/// Deletes created folders that are still empty.
fn unmake(made: &[PathBuf]) {
    let mut held = hold();
    for folder in made.iter().rev() {
        // A folder with content stays.
        let _ = operations::delete_folder(folder);
        forget(&mut held, folder);
    }
}

/// Files that a run wrote, with length and checksum, for a run that continues it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Written(BTreeMap<String, (u64, u32)>);

impl Written {
    /// Records a file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.to_owned(), sum(bytes));
    }
}

fn sum(bytes: &[u8]) -> (u64, u32) {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    (bytes.len() as u64, crc.sum())
}
