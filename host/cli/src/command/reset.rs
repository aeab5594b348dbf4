//! `graftage reset`.

use crate::connection::Connection;
use crate::console::say;
use clap::Args;
use graftage::error::Result;

#[derive(Args)]
pub struct Reset {
    #[command(flatten)]
    connection: Connection,
}

impl Reset {
    pub fn run(self) -> Result<()> {
        self.connection.check()?;
        let mut board = self.connection.open(None)?;
        let hello = board.hello()?;
        let status = hello.status.map_err(|error| {
            self.connection.error(format!("the board rejects its image, and has forgotten nothing: {error}"))
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
