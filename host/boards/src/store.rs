//! The store of an emulated board: one file that holds its EEPROMs, one after another.

use crate::elf::Firmware;
use crate::files;
use crate::qemu::value;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes of an EEPROM, a 24xx512.
pub const EEPROM: u64 = 0x1_0000;
/// The most EEPROMs of a board: one for each address on the bus.
pub const MOST: u64 = 8;
/// The bus address of the first.
const FIRST: u64 = 0x50;
/// Bytes that a new store has for the journal, at least: at each start the board reads all of them.
const JOURNAL: u64 = 32 * 1024;
/// Bytes of a slot beside the state.
const SLOT: u64 = 1024;

/// Behind the EEPROMs: by which image a board has filled them. That is these letters and the image's checksum, little-endian.
const IMAGE: [u8; 4] = *b"GRFE";
/// Bytes of that.
const TRAILER: u64 = 8;

/// EEPROMs in a file, and the image of their board. While it or a process that [holds](Store::hold) it lives, nobody else can open it.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// The number of EEPROMs.
    count: u64,
    /// The open file, which has the lock.
    file: File,
}

/// A reason not to open a store.
#[derive(Clone, PartialEq, Debug)]
pub enum StoreError {
    /// The board has no bus that takes EEPROMs.
    NoBus(&'static str),
    /// The path is that of a folder or device.
    NotAFile(PathBuf),
    /// The folder in which the file would be made is missing.
    NoFolder(PathBuf),
    /// The file is there, and its size in bytes is none of a store.
    Size(PathBuf, u64),
    /// Another emulator uses it.
    InUse(PathBuf),
    /// A board with another image has filled it, whose state would be lost.
    OtherImage {
        /// The file.
        path: PathBuf,
        /// Checksum of the image that the board would start with.
        image: u32,
        /// Checksum of the image by which it was filled.
        found: u32,
    },
    /// The system's reason for not opening or making it.
    System(PathBuf, String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoBus(board) => write!(f, "{board} has no bus for EEPROMs: it runs without a store only"),
            Self::NotAFile(path) => {
                write!(f, "{}: is no file; a store is one, and is made where there is none", path.display())
            }
            Self::NoFolder(path) => {
                write!(f, "{}: there is no folder {}: make it first", path.display(), files::folder(path).display())
            }
            Self::Size(path, size) => write!(
                f,
                "{}: has {size} bytes, but a store has {EEPROM} for each of 1 to {MOST} EEPROMs; name another file, or \
                 a new one to be made",
                path.display()
            ),
            Self::InUse(path) => {
                write!(f, "{}: another emulator uses this store; end it, or name another file", path.display())
            }
            Self::OtherImage { path, image, found } => write!(
                f,
                "{}: keeps what a board has learnt from another image, whose checksum is {found:08x} and not \
                 {image:08x}; name that image, or another file",
                path.display()
            ),
            Self::System(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// Opens the store in a file, for the board of that firmware. Where there is no file, one of erased EEPROMs is
    /// made: as few as take two states of the firmware and a journal of 32 KiB. `image` is the checksum of the image that
    /// the board starts with: a board that starts with another than before begins its store anew.
    ///
    /// # Errors
    /// Where the board has no bus, another emulator uses the file, it is none that can be a store, or that of another image.
    /// It is as it was then.
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
                // One that has come meanwhile is taken as it is.
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
            // Where the file system has no locks, it is used all the same.
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

    /// Lets a command's process hold the store, too, and alone if this one is killed: by its standard input, which it
    /// must not read.
    pub fn hold(&self, command: &mut Command) {
        // Without a free descriptor it is this process that holds it, and no other.
        if let Ok(file) = self.file.try_clone() {
            command.stdin(Stdio::from(file));
        }
    }

    /// Options of QEMU that put the EEPROMs on a bus.
    pub(crate) fn arguments(&self, bus: &str) -> Vec<String> {
        // The lock is here, as QEMU's would let a second emulator in.
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

/// The number of EEPROMs that take two states of so many bytes and a journal.
fn eeproms(state: u64) -> u64 {
    (2 * (state + SLOT) + JOURNAL).div_ceil(EEPROM).min(MOST)
}
