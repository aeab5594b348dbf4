//! Options for the connection to a board, shared by several commands.

use clap::Args;
use graftage::board::{Board, Port, SILENCE};
use graftage::error::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
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

/// Connection to a board.
#[derive(Args)]
pub struct Connection {
    /// Port of the board: /dev/ttyACM0, tcp:HOST:PORT, or qemu:FIRMWARE for the emulated board;
    /// qemu:FIRMWARE,store=FILE keeps its EEPROMs.
    #[arg(long)]
    pub port: Port,
    #[command(flatten)]
    patience: Patience,
    /// Weights image that the board should run. It names columns and classes, and the emulated board starts with it.
    #[arg(long)]
    pub image: Option<PathBuf>,
}

impl Connection {
    /// Opens the connection. An emulated board writes its raw log to `log`.
    pub fn open(&self, log: Option<&File>) -> Result<Board> {
        self.patience.open(&self.port, self.image.as_deref(), log)
    }

    /// Files that the connection uses, which no output may replace.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.image.iter().chain(self.port.files())
    }

    /// Checks that an emulated board has an image to start with.
    pub fn check(&self) -> Result<()> {
        match (&self.port, &self.image) {
            (Port::Emulator { .. }, None) => {
                Err(self.error("an emulator needs an image to start with: name it with --image"))
            }
            _ => Ok(()),
        }
    }

    /// Error about the board, which names its port.
    pub fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::Board(format!("{}: {what}", self.port))
    }
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=86400.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be from 0.1 to 86400 seconds".into()),
    }
}
