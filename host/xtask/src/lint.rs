//! `cargo xtask lint`: clippy on every package for every kind of target, warnings as errors.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;
use graftage_boards::BOARDS;

use crate::verify::target::{TARGETS, Target};
use crate::{firmware, fuzz, outside, process, project};

/// Options of `cargo xtask lint`.
#[derive(Args)]
pub struct Options {
    /// The firmware for every board, not only for the emulated ones, and the comparison of times with its peers
    #[arg(long)]
    all: bool,
}

/// Runs it on all of them; the first warning ends it.
pub fn run(options: &Options) -> Result<()> {
    workspace(".", if options.all { &["--workspace"] } else { &project::CHECKED })?;
    workspace("firmware", &["--workspace"])?;
    for board in BOARDS.iter().filter(|board| options.all || board.machine().is_some()) {
        let mut clippy = firmware::cargo("clippy", board, &[])?;
        process::run(clippy.args(["--bins", "--", "-D", "warnings"]))?;
    }
    // One of each kind: the others are the same source.
    let mut linted = BTreeSet::new();
    TARGETS
        .iter()
        .filter(|target| target.has_program() && target.skipped().is_none() && linted.insert(target.kind()))
        .try_for_each(Target::lint)?;
    outside::lint()?;
    fuzz::lint()
}

/// Runs clippy on packages of a workspace.
fn workspace(folder: &str, packages: &[&str]) -> Result<()> {
    let mut clippy = process::cargo();
    clippy.args(["clippy", "--release", "--all-targets"]).args(packages).args(["--", "-D", "warnings"]);
    process::run(clippy.current_dir(project::root().join(folder)))
}
