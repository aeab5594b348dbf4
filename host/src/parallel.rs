//! Threads: how many this machine can use, and work that is spread over them.

use crate::error::{Error, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest number of threads on any machine.
const THREADS: usize = 1024;
/// Largest number of threads per processor of the machine.
const THREADS_EACH: usize = 4;

/// Number of processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Refuses a number of threads so large that they would only wait for each other, or zero.
///
/// # Errors
/// If `count` is out of range; the message names `what` asks for the threads, and the allowed range.
pub fn check(what: &str, count: usize) -> Result<()> {
    let processors = processors();
    let most = (THREADS_EACH * processors).min(THREADS);
    match (1..=most).contains(&count) {
        true => Ok(()),
        false => {
            let machine = if processors == 1 { "1 processor".into() } else { format!("{processors} processors") };
            Err(Error::Usage(format!("{what}: must be from 1 to {most} on this machine with {machine}, found {count}")))
        }
    }
}

/// Applies `f` to every item on `threads` threads and returns the results in the items' order.
///
/// # Errors
/// Returns the first error in the items' order.
pub fn map<T: Sync, U: Send, E: From<Error> + Send>(
    threads: usize,
    items: &[T],
    f: impl Fn(&T) -> std::result::Result<U, E> + Sync,
) -> std::result::Result<Vec<U>, E> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(items.iter().map(|_| None).collect::<Vec<_>>());
    let work = || {
        while let Some((index, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, items.get(i)?)))
        {
            let result = f(item);
            results.lock().unwrap_or_else(|e| e.into_inner())[index] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(Error::Usage("a run ended without a result".into()).into())))
        .collect()
}
