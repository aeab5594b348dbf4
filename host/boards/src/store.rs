//! Store of an emulated board: one file that holds its EEPROMs, one after another.

use crate::elf::Firmware;
use crate::files;
use crate::option::value;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Size of an EEPROM, a 24xx512, in bytes.
pub const EEPROM: u64 = 0x1_0000;
/// Maximum number of EEPROMs of a board: one for each address on the bus.
pub const MOST: u64 = 8;
/// Bus address of the first EEPROM.
const FIRST: u64 = 0x50;
/// Minimum size of the journal in a new store, in bytes. The board reads all of it at each start.
const JOURNAL: u64 = 32 * 1024;
/// Bytes of a slot beyond the state.
const SLOT: u64 = 1024;

/// First bytes of the trailer behind the EEPROMs. The checksum of the image whose board filled the EEPROMs follows,
/// little-endian.
const IMAGE: [u8; 4] = *b"GRFE";
/// Size of the trailer, in bytes.
const TRAILER: u64 = 8;

/// EEPROMs in a file, and the image of their board. The file cannot be opened again while the store, or a process that
/// [holds](Store::hold) it, lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Number of EEPROMs.
    count: u64,
    /// Open file, which carries the lock.
    file: File,
}

/// Reason why a store is not opened.
#[derive(Clone, PartialEq, Debug)]
pub enum StoreError {
    /// The board has no bus that takes EEPROMs.
    NoBus(&'static str),
    /// The path names a folder or a device.
    NotAFile(PathBuf),
    /// The folder for the new file is missing.
    NoFolder(PathBuf),
    /// The size of the file, in bytes, is not that of a store.
    Size(PathBuf, u64),
    /// Another emulator uses the store.
    InUse(PathBuf),
    /// A board with another image has filled the store; its state would be lost.
    OtherImage {
        /// Path of the store.
        path: PathBuf,
        /// Checksum of the image that the board would start with.
        image: u32,
        /// Checksum of the image of the board that filled the store.
        found: u32,
    },
    /// The system could not open or create the file, for the reason given.
    System(PathBuf, String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoBus(board) => write!(f, "{board} has no bus for EEPROMs: it can only run without a store"),
            Self::NotAFile(path) => {
                write!(f, "{}: is not a file; a store must be a file, and a missing one is created", path.display())
            }
            Self::NoFolder(path) => {
                write!(f, "{}: there is no folder {}: create it first", path.display(), files::folder(path).display())
            }
            Self::Size(path, size) => write!(
                f,
                "{}: has {size} bytes, but a store must have {EEPROM} for each of 1 to {MOST} EEPROMs; name another file, or \
                 a new one, which will be created",
                path.display()
            ),
            Self::InUse(path) => {
                write!(f, "{}: another emulator is using this store; stop it, or name another file", path.display())
            }
            Self::OtherImage { path, image, found } => write!(
                f,
                "{}: holds what a board has learnt from another image, whose checksum is {found:08x}, not \
                 {image:08x}; name that image, or another file",
                path.display()
            ),
            Self::System(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// Opens the store at `path` for the board of `firmware`. A missing file is created with erased EEPROMs: as few as
    /// hold two states of the firmware and a journal of 32 KiB. `image` is the checksum of the image that the board
    /// starts with. It must match that of the store, because a board that starts with another image begins its store
    /// anew.
    ///
    /// # Errors
    /// If the board has no bus for EEPROMs, another emulator uses the file, the file cannot be a store, or the store
    /// belongs to another image. The file has not changed then.
    pub fn open(path: &Path, firmware: &Firmware, image: Option<u32>) -> Result<Self, StoreError> {
        if firmware.board.machine().is_none_or(|machine| machine.bus.is_none()) {
            return Err(StoreError::NoBus(firmware.board.name));
        }
        let system = |why: std::io::Error| StoreError::System(path.to_owned(), why.to_string());
        let size = match fs::metadata(path) {
            Ok(found) if !found.is_file() => return Err(StoreError::NotAFile(path.to_owned())),
            Ok(found) => found.len(),
            Err(why) if why.kind() == ErrorKind::NotFound => {
                if !files::folder(path).is_dir() {
                    return Err(StoreError::NoFolder(path.to_owned()));
                }
                let size = eeproms(firmware.state()) * EEPROM;
                // A file that was created in the meantime is taken as it is.
                match files::write(path, &vec![0xff; size as usize], false) {
                    Err(why) if why.kind() != ErrorKind::AlreadyExists => return Err(system(why)),
                    _ => fs::metadata(path).map_err(system)?.len(),
                }
            }
            Err(why) => return Err(system(why)),
        };
        if ![0, TRAILER].contains(&(size % EEPROM)) || !(1..=MOST).contains(&(size / EEPROM)) {
            return Err(StoreError::Size(path.to_owned(), size));
        }
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(system)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.to_owned())),
            // A file system without locks does not prevent use of the store.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let count = size / EEPROM;
        if let Some(image) = image {
            let mut trailer = [0; TRAILER as usize];
            let known = file.read_exact_at(&mut trailer, count * EEPROM).is_ok() && trailer.starts_with(&IMAGE);
            let [_, _, _, _, sum @ ..] = trailer;
            match (known, u32::from_le_bytes(sum)) {
                (true, found) if found != image => {
                    return Err(StoreError::OtherImage { path: path.to_owned(), image, found });
                }
                (true, _) => {}
                (false, _) => {
                    let trailer = [IMAGE, image.to_le_bytes()].concat();
                    file.write_all_at(&trailer, count * EEPROM).map_err(system)?;
                }
            }
        }
        Ok(Self { path: path.to_owned(), count, file })
    }

    /// Makes the process of a command hold the store, too, even after this process is killed. That process holds the
    /// store by its standard input, which it must not read.
    pub fn hold(&self, command: &mut Command) {
        // If no descriptor is free, only this process holds the store.
        if let Ok(file) = self.file.try_clone() {
            command.stdin(Stdio::from(file));
        }
    }

    /// Lets the store be opened again, once no emulator uses it. Closing the file would not do at once: a process that
    /// another thread is starting has copies of all open files until it runs its program.
    pub fn release(&self) {
        // A file system without locks has nothing to unlock.
        let _ = self.file.unlock();
    }

    /// Returns the QEMU options that put the EEPROMs on a bus.
    pub(crate) fn arguments(&self, bus: &str) -> Vec<String> {
        // This process locks the file, because QEMU's lock would let a second emulator in.
        let file = format!("driver=file,node-name=store,filename={},locking=off", value(&self.path));
        let mut arguments = vec!["-blockdev".into(), file];
        for index in 0..self.count {
            let (offset, address) = (index * EEPROM, FIRST + index);
            arguments.extend([
                "-blockdev".into(),
                format!("driver=raw,node-name=eeprom{index},file=store,offset={offset},size={EEPROM}"),
                "-device".into(),
                format!("at24c-eeprom,bus={bus},address={address:#x},rom-size={EEPROM},drive=eeprom{index}"),
            ]);
        }
        arguments
    }
}

/// Returns the number of EEPROMs that hold two states of `state` bytes and a journal, at most [`MOST`].
fn eeproms(state: u64) -> u64 {
    (2 * (state + SLOT) + JOURNAL).div_ceil(EEPROM).min(MOST)
}
