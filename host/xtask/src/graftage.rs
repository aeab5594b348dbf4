//! The command line `graftage` as it was built.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{console, process, project};

/// Builds it.
pub fn build() -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--bin=graftage"]).args(project::TOGETHER);
    process::run(cargo.current_dir(project::root()))
}

/// It, run in a folder, each command shown first.
pub struct Graftage<'a> {
    pub folder: &'a Path,
}

impl Graftage<'_> {
    /// Runs a command.
    pub fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(project::root().join("target/release/graftage"));
        command.args(arguments).current_dir(self.folder);
        if arguments[0] != "report" {
            console::say(&format!(
                "$ graftage {}",
                process::shown(&command).split_once(' ').map_or("", |(_, rest)| rest)
            ));
        }
        process::run(&mut command)
    }
}
