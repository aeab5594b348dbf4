//! `graftage size`.

use crate::console::say;
use clap::Args;
use graftage::board;
use graftage::error::Result;
use std::path::PathBuf;

#[derive(Args)]
pub struct Size {
    /// ELF file of the firmware.
    firmware: PathBuf,
}

impl Size {
    pub fn run(self) -> Result<()> {
        say!("{}", board::firmware(&self.firmware)?);
        Ok(())
    }
}
