//! Termination of a command by SIGINT, SIGTERM and SIGHUP: temporary files are deleted, child processes end, and files
//! stay intact.
//!
//! A command that must finish something first [requests the flag](stop) that the first signal sets; a second signal
//! ends it immediately. A dedicated thread waits for the signals, so that computation cannot delay it.

use crate::error::{Error, Result};
use crate::files;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// `true` if the command checks [`STOP`].
static LOOKS: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// Number of the first signal; 0 if none arrived.
static FIRST: AtomicI32 = AtomicI32::new(0);
/// Children that end with this process.
static CHILDREN: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// Starts handling signals, for as long as the process lives.
///
/// # Errors
/// If the system does not allow signals to be caught.
pub fn wait() -> Result<()> {
    let failed = |error| Error::Usage(format!("cannot catch signals: {error}"));
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let waiting = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // The first signal determines the exit status.
            let _ = FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
            if !LOOKS.load(Ordering::SeqCst) || STOP.swap(true, Ordering::SeqCst) {
                end(signal);
            }
        }
    });
    waiting.map(|_| ()).map_err(failed)
}

/// Returns the flag that the first signal sets. The caller must check it often, and end soon after it is set.
pub fn stop() -> &'static AtomicBool {
    LOOKS.store(true, Ordering::SeqCst);
    &STOP
}

/// Returns `true` if a signal has asked the command to end.
pub fn stopping() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Exit status of a command that ended at a signal's request: 128 plus the signal's number. `None` if no signal
/// arrived.
pub fn status() -> Option<u8> {
    match FIRST.load(Ordering::SeqCst) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Starts a program that ends with this process and does not receive the terminal's signals. On Linux it also ends with
/// the thread that started it.
///
/// # Errors
/// If the program cannot be started.
pub fn spawn(command: &mut Command) -> std::io::Result<Arc<Mutex<Child>>> {
    use std::os::unix::process::CommandExt;
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain(|child| child.strong_count() > 0);
    #[cfg(target_os = "linux")]
    ends_with_this_process(command);
    let child = Arc::new(Mutex::new(command.process_group(0).spawn()?));
    children.push(Arc::downgrade(&child));
    Ok(child)
}

/// Makes the system kill the child if this process is killed and cannot end it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn ends_with_this_process(command: &mut Command) {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt;
    let parent = i32::try_from(std::process::id()).ok().and_then(Pid::from_raw);
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent died before the request took effect.
        if getppid() == parent { Ok(()) } else { Err(std::io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec this makes two system calls, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(ask) };
}

/// Ends the process.
fn end(signal: i32) -> ! {
    // While this lock is held, no other thread can start a child; after `discard`, none can create a file.
    let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    for child in children.iter().filter_map(Weak::upgrade) {
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        // The child may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
    files::discard();
    let name = match signal {
        SIGHUP => "SIGHUP",
        SIGINT => "SIGINT",
        _ => "SIGTERM",
    };
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "graftage: ended by {name}");
    // Skip libtorch's exit handlers: its threads may still be running.
    signal_hook::low_level::exit(128 + signal)
}
