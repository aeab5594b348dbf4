//! The library's error type. Each message is one line that says what is wrong, where, and what to do.

use graftage_core::error::{ImageError, Refusal};
use std::path::{Path, PathBuf};

/// Error of this library; its message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error reported by the system.
        source: std::io::Error,
    },
    /// Creates an error about the content of a file.
    #[error("{}: {what}", path.display())]
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Description of what is wrong, where in the file, and what to do.
        what: String,
    },
    /// An image is refused.
    #[error("{}: {error}", path.display())]
    Image {
        /// Path of the file.
        path: PathBuf,
        /// Reason for the refusal.
        error: ImageError,
    },
    /// Core refuses a sample or a recipe.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A board, an emulator or the link to it fails.
    #[error("{0}")]
    Board(String),
    /// A board has spent its movement budget and learns no more in this session.
    #[error("{0}")]
    BudgetSpent(String),
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
}

/// Result type of this library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Converts a system error about a file; for use with `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    /// Creates an error about the content of a file.
    pub fn content(path: &Path, what: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), what: what.to_string() }
    }
}
