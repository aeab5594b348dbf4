//! Console output of the commands, during work and at the end. A reader that has closed the pipe is not an error.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line to standard output.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        $crate::console::written(writeln!(std::io::stdout(), $($text)*));
    }};
}
pub(crate) use say;

/// Prints a line to standard error. If it cannot be written, the work continues.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use tell;

/// `true` if output was lost for a reason other than a closed pipe.
static LOST: AtomicBool = AtomicBool::new(false);

/// Records the outcome of writing a line.
pub fn written(outcome: std::io::Result<()>) {
    if outcome.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Returns `true` if no output was lost, except to a closed pipe.
pub fn all_written() -> bool {
    !LOST.load(Ordering::Relaxed)
}

/// A progress bar on a terminal; otherwise a plain line for each tenth of the work.
pub struct Progress {
    /// Bar on the terminal.
    pub inner: ProgressBar,
    what: &'static str,
}

impl Progress {
    /// Creates a bar with nothing done of `total`.
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self { inner: bar, what }
    }

    /// Sets the total, if it was unknown at the start.
    pub fn total(&self, total: u64) {
        self.inner.set_length(total);
    }

    /// Updates the bar on a terminal.
    pub fn bar(&self, done: u64, note: impl FnOnce() -> String) {
        if std::io::stderr().is_terminal() {
            self.inner.set_position(done);
            self.inner.set_message(note());
        }
    }

    /// Reports progress; `note` adds a few words.
    pub fn at(&self, done: u64, note: impl FnOnce() -> String) {
        let total = self.inner.length().unwrap_or(0).max(1);
        if std::io::stderr().is_terminal() {
            self.bar(done, note);
        } else if done * 10 / total != done.saturating_sub(1) * 10 / total {
            tell!("{} {done}/{total} {}", self.what, note());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.inner.finish_and_clear();
    }
}

/// Reduces an error message of clap to one line, without the usage and the hint.
pub fn one_line(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.map(|line| line.trim().trim_start_matches("error: "));
    let lines = lines.filter(|line| !(line.is_empty() || line.starts_with("For more information")));
    lines.collect::<Vec<_>>().join(" ")
}
