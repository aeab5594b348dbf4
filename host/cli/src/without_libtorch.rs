//! Stand-in for `libtorch.rs` in a build without libtorch.

use crate::Outcome;
use clap::Subcommand;
use graftage::data::Role;
use graftage::error::Result;
use graftage::record::Record;
use graftage::replay::Target;
use graftage_core::image::Image;
use std::path::Path;

/// Prepares the process.
pub fn start() {}

#[derive(Subcommand)]
pub enum Training {
    /// Unavailable in this build, which has no libtorch.
    Train {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<String>,
    },
}

impl Training {
    pub fn run(self) -> Outcome {
        Err("this build has no libtorch and cannot train: build one that can with `cargo build --release --package graftage-cli`".into())
    }
}

/// Measures no model that core has no layers for.
pub fn evaluate(_: &Path, _: Option<&Path>, _: Option<Role>) -> Option<Outcome> {
    None
}

/// Computes no record again.
pub fn replayed(_: &Record, _: &Image) -> Result<Option<Target>> {
    Ok(None)
}
