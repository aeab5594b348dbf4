//! Options that all commands that write share.

use clap::Args;
use graftage::files::Claims;
use std::path::PathBuf;

/// Whether files that are there already are replaced.
#[derive(Args, Clone, Copy)]
pub struct Force {
    /// Replace files of the names that this command writes, where they are there already; all others stay.
    #[arg(long)]
    force: bool,
}

impl Force {
    /// Claims for what a command writes that reads these files.
    pub fn claims<'a>(self, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Claims {
        Claims::new(self.force).reads(inputs)
    }

    /// Whether `--force` was given.
    pub fn given(self) -> bool {
        self.force
    }
}
