//! Options for the line to a board, shared by several commands.

use clap::Args;
use graftage::board::{Board, Port, SILENCE};
use graftage::error::Result;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Timeout for a silent board.
#[derive(Args, Clone, Copy)]
pub struct Patience {
    /// Give a board up after this many seconds of silence; a board that reports that it is busy is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = SILENCE.as_secs_f64(), value_parser = seconds, allow_negative_numbers = true)]
    timeout: f64,
}

impl Patience {
    /// Opens the line to a board. An emulated board starts with `image` and writes its raw log to `log`.
    pub fn open(self, port: &Port, image: Option<&Path>, log: Option<&File>) -> Result<Board> {
        Ok(Board::open(port.clone(), image, log)?.with_timeout(Duration::from_secs_f64(self.timeout)))
    }
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=86400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be from 0.1 to 86400 seconds".into()),
    }
}
