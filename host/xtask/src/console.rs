//! Lines for whoever sits in front of the terminal. A reader that has gone away is no error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Prints a line on standard output.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line on standard error.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line that ticks the seconds on a terminal and vanishes when dropped; elsewhere one plain line.
pub struct Ticker {
    line: String,
    shown: Option<u64>,
    terminal: bool,
}

impl Ticker {
    /// Starts ticking.
    pub fn start(line: &str) -> Self {
        let terminal = io::stdout().is_terminal();
        if !terminal {
            say(&format!("{line} ..."));
        }
        Ticker { line: line.to_owned(), shown: None, terminal }
    }

    /// Shows the time gone by, if the number of seconds has changed.
    pub fn tick(&mut self, elapsed: Duration) {
        let seconds = Some(elapsed.as_secs());
        if self.terminal && self.shown != seconds {
            self.shown = seconds;
            self.draw(&format!("{} ... {} s", self.line, elapsed.as_secs()));
        }
    }

    fn draw(&self, text: &str) {
        let mut out = io::stdout();
        // Back to the first column, and clear what the line held.
        let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if self.terminal {
            self.draw("");
        }
    }
}
