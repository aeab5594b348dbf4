//! The limits of this machine, asked before anything is changed.

#[cfg(feature = "torch")]
mod training;

use crate::error::{Error, Result};
#[cfg(feature = "torch")]
pub use training::{arrays, check, free, several};

/// The most threads that anything is given, on whatever machine.
const THREADS: usize = 1024;
/// The most threads for each of the machine's processors.
const THREADS_EACH: usize = 4;

/// Processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Refuses a number of threads that would only wait for each other.
///
/// # Errors
/// Names `what` asks for them, and how many would do.
pub fn threads(what: &str, count: usize) -> Result<()> {
    let processors = processors();
    let most = (THREADS_EACH * processors).min(THREADS);
    match (1..=most).contains(&count) {
        true => Ok(()),
        false => {
            let machine = if processors == 1 { "1 processor".into() } else { format!("{processors} processors") };
            Err(Error::Usage(format!("{what}: {count}; this machine has {machine}, so that 1 to {most} would do")))
        }
    }
}
