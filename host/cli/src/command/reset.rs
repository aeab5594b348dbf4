//! `graftage reset`.

use crate::console::say;
use crate::line::Patience;
use clap::Args;
use graftage::board::Port;
use graftage::error::{Error, Result};
use std::path::PathBuf;

#[derive(Args)]
pub struct Reset {
    /// Port of the board: /dev/ttyACM0, tcp:HOST:PORT, or qemu:FIRMWARE,store=FILE for the store of an emulated board.
    #[arg(long)]
    port: Port,
    #[command(flatten)]
    patience: Patience,
    /// Weights image that the emulated board starts with.
    #[arg(long)]
    image: Option<PathBuf>,
}

impl Reset {
    pub fn run(self) -> Result<()> {
        if let (Port::Emulator { .. }, None) = (&self.port, &self.image) {
            let what = format!("{}: an emulator needs an image to start with: name it with --image", self.port);
            return Err(Error::Board(what));
        }
        let mut board = self.patience.open(&self.port, self.image.as_deref(), None)?;
        let hello = board.hello()?;
        let status = hello.status.map_err(|error| {
            Error::Board(format!("{}: the board rejects its image, and has forgotten nothing: {error}", self.port))
        })?;
        let digest = board.reset()?;
        let (taken, sessions) = (status.counts.taken, status.counts.sessions());
        say!(
            "{}: had taken {taken} samples in {sessions} sessions and {} steps, digest {:016x}",
            hello.board,
            status.step,
            status.digest
        );
        say!("it has forgotten them and is back at its image {:08x}, digest {digest:016x}", status.image);
        Ok(())
    }
}
