//! A folder that a command writes into, whose files change hands at once.

use super::operations;
use super::output::there_already;
use super::unfinished::{create, forget, hold};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where new files are gathered.
pub const STAGE: &str = ".graftage-new";
/// The same once they are decided on.
const DECIDED: &str = ".graftage-commit";
/// In it, the names that are deleted, a line each.
const SUPERSEDED: &str = ".superseded";

/// A folder that this process alone writes into.
///
/// Where it was made for this and nothing has been written, it is deleted again.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    force: bool,
    /// Names of files that may be replaced.
    own: RefCell<BTreeSet<String>>,
    /// It and the folders above it, as far as they were made.
    made: Vec<PathBuf>,
    _lock: File,
}

impl Folder {
    /// Takes a folder, which is made where it is missing, finishes a change that is decided and drops one that is not. With
    /// `force`, all its files may be replaced.
    ///
    /// # Errors
    /// Where the path is no folder, it cannot be written to, or another process writes there.
    pub fn open(path: &Path, force: bool) -> Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(Error::Usage("the output has no name; name a folder".into()));
        }
        let (made, lock) = loop {
            let made = make(path)?;
            let lock = locked(path, File::open(path).map_err(Error::file(path))?)?;
            // The process before may have deleted it while it was empty.
            let same = |data: fs::Metadata| lock.metadata().is_ok_and(|own| own.ino() == data.ino());
            if fs::metadata(path).is_ok_and(same) {
                break (made, lock);
            }
        };
        let folder = Self { path: path.to_owned(), force, own: RefCell::default(), made, _lock: lock };
        finish(path)?;
        operations::delete_all(&path.join(STAGE)).map_err(Error::file(path))?;
        Ok(folder)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Refuses files of these names that are there already and may not be replaced.
    ///
    /// # Errors
    /// Names the first.
    pub fn claim(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| self.check(name))
    }

    /// The same, where an earlier run went before this one: what it wrote may be replaced.
    ///
    /// # Errors
    /// Names the first that is there and is not as that run wrote it.
    pub fn claim_again(&self, names: &[&str], written: &Written) -> Result<()> {
        for name in names {
            let path = self.file(name);
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(Error::file(&path))?,
            };
            if !self.force && written.0.get(*name) != Some(&sum(&bytes)) {
                let what = "is not as this run left it; move it away, or start again with --force";
                return Err(Error::content(&path, what));
            }
            self.own.borrow_mut().insert((*name).to_owned());
        }
        Ok(())
    }

    /// Lets a file be replaced that is known to be of this run.
    pub fn own(&self, name: &str) {
        self.own.borrow_mut().insert(name.to_owned());
    }

    fn check(&self, name: &str) -> Result<()> {
        let path = self.file(name);
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => Err(Error::content(&path, "is a folder, where a file is to be written")),
            Ok(_) if !self.force && !self.own.borrow().contains(name) => Err(there_already(&path)),
            _ => Ok(()),
        }
    }

    /// Begins a change of its files.
    pub fn change(&self) -> Change<'_> {
        Change { folder: self, stage: self.path.join(STAGE), names: BTreeSet::new(), superseded: Vec::new() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        unmake(&self.made);
    }
}

/// Files that are to take their names in a folder all at once. Where it is dropped, the folder is as it was.
#[derive(Debug)]
pub struct Change<'a> {
    folder: &'a Folder,
    stage: PathBuf,
    names: BTreeSet<String>,
    superseded: Vec<String>,
}

impl Change<'_> {
    /// Gathers a file.
    ///
    /// # Errors
    /// Where it cannot be written.
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
        operations::fill(&mut create(&self.stage.join(name))?, bytes)
    }

    /// Gathers a value as JSON.
    ///
    /// # Errors
    /// As [`Change::add`].
    pub fn add_json(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        let bytes = super::json(&self.folder.file(name), value)?;
        self.add(name, &bytes)
    }

    /// Lets files go that the new ones supersede, as far as they are there and may be replaced.
    pub fn supersede(&mut self, names: &[&str]) {
        self.superseded.extend(names.iter().map(|&name| name.to_owned()));
    }

    /// Lets the new files take the place of the old ones.
    ///
    /// # Errors
    /// Where a file is in the way that is not this run's, or the names cannot be changed. Before the decision the folder is
    /// as it was; after it, whoever opens the folder finishes the change.
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
            // What stays is deleted by the next process that writes here.
            let _ = operations::delete_all(&self.stage);
            forget(&mut held, &self.stage);
        }
    }
}

/// Does what is left of a change that is decided, and forgets it. The folder's lock is held.
fn finish(folder: &Path) -> Result<()> {
    let decided = folder.join(DECIDED);
    if !decided.exists() {
        return Ok(());
    }
    let failed = |error: io::Error| {
        Error::content(folder, format!("new files are in {DECIDED} and cannot be moved to their places: {error}"))
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
    // No move is lost once its order is.
    operations::keep_names(folder).map_err(failed)?;
    operations::delete(&list).map_err(failed)?;
    operations::delete_folder(&decided).map_err(failed)
}

/// Finishes a change that is decided, before somebody reads; the process that decided on it may be about to.
///
/// # Errors
/// Where it cannot be finished.
pub fn settle(folder: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let started = Instant::now();
    while folder.join(DECIDED).exists() {
        let file = File::open(folder).map_err(Error::file(folder))?;
        match locked(folder, file) {
            Ok(_lock) => return finish(folder),
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    Ok(())
}

/// Locks a folder for as long as the file is open.
fn locked(path: &Path, file: File) -> Result<File> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(taken(path, &file)),
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Says who has locked a file.
pub fn taken(path: &Path, file: &File) -> Error {
    let number = file.metadata().map(|data| data.ino()).unwrap_or_default();
    // Linux lists them: number, FLOCK, ADVISORY, WRITE, process, device:file, …
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let holder = locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let of_file = words.get(5)?.rsplit(':').next()?.parse() == Ok(number);
        (of_file && words.get(1) == Some(&"FLOCK")).then(|| format!(" ({})", words[4]))
    });
    Error::content(path, format!("another graftage process{} is writing here", holder.unwrap_or_default()))
}

/// Makes a folder and those above it; returns which were missing, the outermost first.
fn make(path: &Path) -> Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        let what = match (fs::metadata(folder), fs::symlink_metadata(folder)) {
            (Ok(data), _) if data.is_dir() => break,
            (Ok(data), _) if data.is_file() => "is a file; the output is a folder",
            (Ok(_), _) => "is a device; the output is a folder",
            (Err(_), Ok(_)) => "is a link to nothing; the output is a folder",
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
            // Another process was faster.
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

/// Deletes folders that were made, as far as nothing is in them.
fn unmake(made: &[PathBuf]) {
    let mut held = hold();
    for folder in made.iter().rev() {
        // What holds something stays.
        let _ = operations::delete_folder(folder);
        forget(&mut held, folder);
    }
}

/// Files that a run wrote, by length and checksum, for the run that goes on after it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Written(BTreeMap<String, (u64, u32)>);

impl Written {
    /// Takes note of a file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.to_owned(), sum(bytes));
    }
}

fn sum(bytes: &[u8]) -> (u64, u32) {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    (bytes.len() as u64, crc.sum())
}
