//! What the commands say while they work and at their end. A reader that has gone away is no error.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
#[cfg(feature = "torch")]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line on standard output.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        $crate::console::written(writeln!(std::io::stdout(), $($text)*));
    }};
}
pub(crate) use say;

/// Prints a line on standard error. Where it cannot be written, the work goes on.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use tell;

/// Whether something that was said could not be written, and not because its reader has gone away.
static LOST: AtomicBool = AtomicBool::new(false);

/// Takes note of how a line was written.
pub fn written(outcome: std::io::Result<()>) {
    if outcome.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Whether all that was said was written, as far as somebody reads it.
pub fn all_written() -> bool {
    !LOST.load(Ordering::Relaxed)
}

/// A progress bar on a terminal; elsewhere a plain line every tenth of the way.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// Tenths of the way that were done when a line last was due; the largest number before the first.
    #[cfg(feature = "torch")]
    tenths: AtomicU64,
}

impl Progress {
    /// Starts with nothing done of `total`.
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self {
            bar,
            what,
            #[cfg(feature = "torch")]
            tenths: AtomicU64::new(u64::MAX),
        }
    }

    /// Says how much there is, where that was not known from the start.
    pub fn total(&self, total: u64) {
        self.bar.set_length(total);
    }

    #[cfg(feature = "torch")]
    /// Says how much was done before it started, so that the remaining time is right.
    pub fn from(&self, done: u64) {
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    #[cfg(feature = "torch")]
    /// Prints a line above the bar, on standard error like the bar.
    pub fn line(&self, line: &str) {
        if std::io::stderr().is_terminal() {
            self.bar.suspend(|| tell!("{line}"));
        } else {
            tell!("{line}");
        }
    }

    #[cfg(feature = "torch")]
    /// Whether a line about what is done now is due: the first, and one every tenth of the way.
    pub fn due(&self, done: u64) -> bool {
        let tenths = done * 10 / self.bar.length().unwrap_or(0).max(1);
        self.tenths.swap(tenths, Ordering::Relaxed) != tenths
    }

    /// Says on a terminal how much is done.
    pub fn bar(&self, done: u64, note: impl FnOnce() -> String) {
        if std::io::stderr().is_terminal() {
            self.bar.set_position(done);
            self.bar.set_message(note());
        }
    }

    /// Says how much is done; `note` adds a few words.
    pub fn at(&self, done: u64, note: impl FnOnce() -> String) {
        let total = self.bar.length().unwrap_or(0).max(1);
        if std::io::stderr().is_terminal() {
            self.bar(done, note);
        } else if done * 10 / total != done.saturating_sub(1) * 10 / total {
            tell!("{} {done}/{total} {}", self.what, note());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A share in words.
pub fn percent(share: f32) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A message of the reader of the command line in one line, without the usage and the hint that it appends.
pub fn one_line(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.map(|line| line.trim().trim_start_matches("error: "));
    let lines = lines.filter(|line| !(line.is_empty() || line.starts_with("For more information")));
    lines.collect::<Vec<_>>().join(" ")
}
