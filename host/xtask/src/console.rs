//! Lines for the user at the terminal. A reader that has gone away is no error.

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

/// Line that counts the seconds on a terminal and vanishes when dropped. Elsewhere it is one plain line.
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

    /// Shows the elapsed time if its number of seconds has changed.
    pub fn tick(&mut self, elapsed: Duration) {
        let seconds = Some(elapsed.as_secs());
        if self.terminal && self.shown != seconds {
            self.shown = seconds;
            self.draw(&format!("{} ... {} s", self.line, elapsed.as_secs()));
        }
    }

    fn draw(&self, text: &str) {
        let mut out = io::stdout();
        // Returns to the first column and clears the line.
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
