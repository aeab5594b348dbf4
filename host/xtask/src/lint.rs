//! `cargo xtask lint`: runs clippy on every package for every kind of target, warnings as errors.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Result, anyhow};
use clap::Args;
use graftage_boards::BOARDS;

use crate::verify::target::{TARGETS, Target};
use crate::{firmware, fuzz, outside, process, project, stranger};

/// Options of `cargo xtask lint`.
#[derive(Args)]
pub struct Options {
    /// Check the firmware for every board, not only for the emulated ones, and the comparison of times with its peers
    #[arg(long)]
    all: bool,
}

/// Runs clippy on everything, on this machine's packages and on the others in parallel. Each of the two ends with its
/// first warning.
pub fn run(options: &Options) -> Result<()> {
    thread::scope(|scope| {
        let targets = scope.spawn(|| targets(options));
        let own = workspace(".", if options.all { &["--workspace"] } else { &project::CHECKED });
        targets.join().map_err(|_| anyhow!("the targets' thread panicked"))?.and(own)?;
        stranger::lint()
    })
}

/// Runs clippy on what is built in folders other than the workspace's: the firmware, and programs for other machines.
fn targets(options: &Options) -> Result<()> {
    workspace("firmware", &["--workspace"])?;
    for board in BOARDS.iter().filter(|board| options.all || board.machine().is_some()) {
        let mut clippy = firmware::cargo("clippy", board, &[])?;
        process::run(clippy.args(["--bins", "--", "-D", "warnings"]))?;
    }
    // One target of each kind is enough: the others share its source.
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
