//! cargo-fuzz, which builds and runs the fuzz targets.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Outcome, Part, line};
use crate::{process, project};

const VERSION: &str = "0.13.2";

/// The part.
pub struct CargoFuzz;

/// Where the program lies: in the project's folder, whatever the user has installed.
pub fn program() -> PathBuf {
    folder().join("bin/cargo-fuzz")
}

fn folder() -> PathBuf {
    project::fetched("cargo")
}

impl Part for CargoFuzz {
    fn name(&self) -> String {
        format!("cargo-fuzz {VERSION}")
    }

    fn obtain(&self) -> Result<Outcome> {
        let words = program().display().to_string();
        if is_expected() {
            return Ok(Outcome::Found(words));
        }
        let mut install = process::cargo();
        install.args(["install", "cargo-fuzz", "--locked", "--force", "--version", VERSION, "--root"]).arg(folder());
        process::long(&line(&self.name(), "cargo install"), &mut install, None)?;
        ensure!(is_expected(), "{words} is not of version {VERSION}");
        Ok(Outcome::Done(words))
    }

    fn by_hand(&self) -> String {
        format!("cargo install cargo-fuzz --locked --version {VERSION} --root {}", folder().display())
    }
}

/// Whether the program is there, in that version.
fn is_expected() -> bool {
    let version = process::output(Command::new(program()).args(["fuzz", "--version"]));
    version.is_ok_and(|version| version.trim() == format!("cargo-fuzz {VERSION}"))
}
