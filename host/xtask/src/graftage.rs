//! Command line `graftage`, as this workspace builds it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{console, process, project};

/// Builds the command.
pub fn build() -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--bin=graftage"]).args(project::TOGETHER);
    process::run(cargo.current_dir(project::root()))
}

/// Command line `graftage` in a folder. It shows every command but `report` before it runs it.
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
