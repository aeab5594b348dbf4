//! `graftage monitor`, and the page that `graftage adapt --monitor` shows.
//!
//! A port has a single owner: while a command sends a stream over it, only that command can show the page. This command
//! is therefore for a board that learns by itself, from its own sensors.

use crate::connection::Connection;
use crate::console::say;
use clap::Args;
use graftage::board::{Board, Log, Port};
use graftage::error::Result;
use graftage::monitor::{Line, Monitor as Seen};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::IsTerminal;
use std::time::Duration;

#[derive(Args)]
pub struct Monitor {
    #[command(flatten)]
    connection: Connection,
    /// Seconds between requests.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    every: f64,
    /// Stop after this many requests, instead of on Ctrl-C.
    #[arg(long, value_name = "QUESTIONS")]
    polls: Option<u64>,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=86400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be from 0.01 to 86400 seconds".into()),
    }
}

impl Monitor {
    pub fn run(self) -> Result<()> {
        let raw = Log::file()?;
        let mut board = self.connection.open(Some(&raw))?;
        let mut page = Page::new(&self.connection.port, &raw)?;
        let mut left = self.polls.unwrap_or(u64::MAX);
        while left > 0 {
            page.show(&mut board)?;
            left -= 1;
            if left > 0 {
                std::thread::sleep(Duration::from_secs_f64(self.every));
            }
        }
        Ok(())
    }
}

/// Display of a board's activity: in place on a terminal, otherwise as a line for each change.
pub struct Page {
    seen: Seen,
    log: Option<Log>,
    terminal: Option<ProgressBar>,
    said: String,
}

impl Page {
    /// Creates the display. An emulated board writes its raw log to `raw`.
    pub fn new(port: &Port, raw: &File) -> Result<Self> {
        let log = if let Port::Emulator { firmware, .. } = port { Some(Log::open(firmware, raw)?) } else { None };
        let terminal = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Ok(Self { seen: Seen::default(), log, terminal, said: String::new() })
    }

    /// Counts a refused sample.
    pub fn refused(&mut self) {
        self.seen.refused += 1;
    }

    /// Requests the board's status and shows it.
    pub fn show(&mut self, board: &mut Board) -> Result<()> {
        let hello = board.hello()?;
        self.seen.see(hello, Line { damaged: board.damaged, repeated: board.repeated });
        let lines = self.log.as_mut().map(Log::lines).transpose()?.unwrap_or_default();
        if let Some(bar) = &self.terminal {
            self.seen.log(lines);
            bar.set_message(self.seen.page().join("\n"));
            bar.tick();
        } else {
            lines.iter().for_each(|line| say!("log: {line}"));
            let summary = self.seen.summary();
            if summary != self.said {
                say!("{summary}");
                self.said = summary;
            }
        }
        Ok(())
    }
}

impl Drop for Page {
    /// Leaves the last display in place.
    fn drop(&mut self) {
        if let Some(bar) = &self.terminal {
            bar.abandon();
        }
    }
}
