//! Limits of this machine, checked before anything is changed.

#[cfg(feature = "torch")]
mod training;

use crate::error::{Error, Result};
#[cfg(feature = "torch")]
pub use training::{arrays, check, free, several};

/// Maximum number of threads on any machine.
const THREADS: usize = 1024;
/// Maximum number of threads per processor.
const THREADS_EACH: usize = 4;

/// Number of processors available to this process.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Refuses a number of threads so large that they would only wait for each other, or zero.
///
/// # Errors
/// If `count` is out of range; the message names `what` asks for the threads, and the allowed range.
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
