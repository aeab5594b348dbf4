//! SIGINT, SIGTERM and SIGHUP end a command: what is temporary is deleted, children end with it, and files are whole.
//!
//! A command that has something to finish first [asks for the flag](stop) that the first signal sets; a second one ends it at
//! once. A thread of its own waits for the signals, so that nothing that computes can keep it from its turn.

use crate::error::{Error, Result};
use crate::files;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Whether the command looks at [`STOP`].
static LOOKS: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// The first signal; 0 is none.
static FIRST: AtomicI32 = AtomicI32::new(0);
/// Children that end with this process.
static CHILDREN: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// Waits for signals from now on, for as long as the process lives.
///
/// # Errors
/// Where the system does not let them be caught.
pub fn wait() -> Result<()> {
    let failed = |error| Error::Usage(format!("signals cannot be caught: {error}"));
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let waiting = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Which one came first is the status.
            let _ = FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
            if !LOOKS.load(Ordering::SeqCst) || STOP.swap(true, Ordering::SeqCst) {
                end(signal);
            }
        }
    });
    waiting.map(|_| ()).map_err(failed)
}

/// The flag that the first signal sets. Who asks for it looks at it often, and ends soon after it is set.
pub fn stop() -> &'static AtomicBool {
    LOOKS.store(true, Ordering::SeqCst);
    &STOP
}

/// Whether a signal has asked the command to end.
pub fn stopping() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// The status of a command that ended as a signal asked it to: 128 and the signal's number.
pub fn status() -> Option<u8> {
    match FIRST.load(Ordering::SeqCst) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Starts a program that ends with this process, and is not reached by the terminal's own signals. On Linux it also ends with the
/// thread that has started it.
///
/// # Errors
/// Where it cannot be started.
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

/// Lets the system kill what is started where this process is killed, and can do nothing itself.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn ends_with_this_process(command: &mut Command) {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt;
    let parent = i32::try_from(std::process::id()).ok().and_then(Pid::from_raw);
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Killed before it was asked.
        if getppid() == parent { Ok(()) } else { Err(std::io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec this makes two system calls, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(ask) };
}

/// Ends the process.
fn end(signal: i32) -> ! {
    // No other thread starts a child or makes a file from here on.
    let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    for child in children.iter().filter_map(Weak::upgrade) {
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
    files::discard();
    let name = match signal {
        SIGHUP => "SIGHUP",
        SIGINT => "SIGINT",
        _ => "SIGTERM",
    };
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "graftage: ended by {name}");
    // Without the handlers of libtorch's libraries, whose threads may be at work.
    signal_hook::low_level::exit(128 + signal)
}
