//! Errors of the trainer: one error, one clear line.

use graftage_core::error::Refusal;
use std::path::{Path, PathBuf};

/// Reason why the trainer did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Files, data, configuration or arguments are wrong.
    #[error(transparent)]
    Graftage(#[from] graftage::error::Error),
    /// libtorch reports an error.
    #[error("libtorch: {}", .0.to_string().lines().next().unwrap_or_default())]
    Torch(#[from] tch::TchError),
    /// A number in a training is no longer finite.
    #[error("step {step}: {what}; a smaller step size may help")]
    Diverged {
        /// Step at which this happened.
        step: u64,
        /// Description of the number.
        what: String,
    },
    /// A training was asked to stop.
    #[error("stopped after step {step}; use `--resume` to continue from {}", folder.display())]
    Interrupted {
        /// Number of steps taken.
        step: u64,
        /// Folder that holds its checkpoint.
        folder: PathBuf,
    },
    /// A comparison or a transfer was asked to stop.
    #[error("stopped after {ended} trainings; {}", going_on(folder.as_deref()))]
    TrialsInterrupted {
        /// Number of trainings that have ended.
        ended: usize,
        /// Folder that keeps them, if any.
        folder: Option<PathBuf>,
    },
}

fn going_on(folder: Option<&Path>) -> String {
    match folder {
        Some(folder) => format!("use `--resume` to continue from {}", folder.display()),
        None => "none of them is kept, because there is no --output".into(),
    }
}

/// Result of this library's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes the error of a system call on a file, for `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let file = graftage::error::Error::file(path);
        move |source| Self::Graftage(file(source))
    }

    /// Makes the error of a file whose content is wrong.
    pub fn content(path: &Path, what: impl ToString) -> Self {
        Self::Graftage(graftage::error::Error::content(path, what))
    }

    /// Makes the error of arguments or settings that do not go together.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::Graftage(graftage::error::Error::Usage(what.into()))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Graftage(refusal.into())
    }
}

impl From<graftage_optim::Error> for Error {
    fn from(error: graftage_optim::Error) -> Self {
        match error {
            graftage_optim::Error::Rule(refusal) => refusal.into(),
            graftage_optim::Error::Torch(error) => error.into(),
            error => Self::usage(error.to_string()),
        }
    }
}
