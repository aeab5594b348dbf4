//! Errors of the optimizer.

use graftage_core::error::Refusal;
use std::fmt;
use std::path::{Path, PathBuf};
use tch::TchError;

/// Reason why the optimizer was not made, a step not taken or a file not used. Nothing has changed then, except after a
/// failure of libtorch in the middle of a step, which may have moved some parameters.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The optimizer cannot use a parameter, or another named input.
    Parameter {
        /// Name of the parameter.
        name: String,
        /// Description of the problem.
        what: String,
    },
    /// A group matches no parameter.
    Group {
        /// Pattern of the group.
        pattern: String,
        /// Names of all parameters.
        names: Vec<String>,
    },
    /// A gradient contains a NaN or an infinity.
    NotFinite {
        /// Name of the first such parameter.
        name: String,
    },
    /// No gradient of any parameter was finite for many steps.
    NoFiniteGradient {
        /// Number of these steps.
        steps: u64,
    },
    /// There are no parameters to step.
    NoParameters,
    /// A constant of the rule is out of range.
    Rule(Refusal),
    /// A file cannot be read or written.
    File {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The content of a file is wrong, or would be.
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem.
        what: String,
    },
    /// A libtorch call failed.
    Torch(TchError),
}

/// Result of this library's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Parameter { name, what } => write!(f, "parameter {name}: {what}"),
            Self::Group { pattern, names } => {
                write!(f, "the group {pattern:?} matches no parameter; the parameters are {}", names.join(", "))
            }
            Self::NotFinite { name } => write!(f, "the gradient of parameter {name} is not finite"),
            Self::NoFiniteGradient { steps } => {
                write!(
                    f,
                    "no gradient has been finite for {steps} steps: the loss is NaN or infinite, and nothing moves"
                )
            }
            Self::NoParameters => {
                f.write_str("there are no parameters to train; a store that was frozen before has none")
            }
            Self::Rule(refusal) => refusal.fmt(f),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Content { path, what } => write!(f, "{}: {what}", path.display()),
            // The other lines are libtorch's stack.
            Self::Torch(error) => write!(f, "libtorch: {}", error.to_string().lines().next().unwrap_or_default()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rule(refusal) => Some(refusal),
            Self::File { source, .. } => Some(source),
            Self::Torch(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Rule(refusal)
    }
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Torch(error)
    }
}

impl Error {
    /// Returns the error for a named input that cannot be used.
    pub(crate) fn wrong(name: &str, what: impl ToString) -> Self {
        Self::Parameter { name: name.to_owned(), what: what.to_string() }
    }

    pub(crate) fn content(path: &Path, what: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), what: what.to_string() }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
