//! Options shared by all commands that write files.

use clap::Args;
use graftage::files::Claims;
use std::path::PathBuf;

/// Permission to replace existing files.
#[derive(Args, Clone, Copy)]
pub struct Force {
    /// Replace existing files with the names that this command writes; all others stay.
    #[arg(long)]
    force: bool,
}

impl Force {
    /// Creates the claims of a command that reads these files.
    pub fn claims<'a>(self, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Claims {
        Claims::new(self.force).reads(inputs)
    }

    /// Returns `true` if `--force` was given.
    pub fn given(self) -> bool {
        self.force
    }
}
