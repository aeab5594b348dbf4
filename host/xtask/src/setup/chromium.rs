//! Chromium, in which a test looks at every page.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Outcome, Part, apt};
use crate::process;

/// Debian's package, which brings the program of the same name.
const PACKAGES: [&str; 1] = ["chromium"];

/// Chromium as a part of the setup.
pub struct Chromium;

impl Part for Chromium {
    fn name(&self) -> String {
        "Chromium".to_owned()
    }

    fn obtain(&self) -> Result<Outcome> {
        let why = match usable() {
            Ok(words) => return Ok(Outcome::Found(words)),
            Err(why) => why,
        };
        // Only a test needs Chromium. Everything else works if it cannot be installed.
        if !apt::is_root() || !apt::exists() {
            return Ok(Outcome::Skipped(format!("{why:#}; the test of the pages needs Chromium: {}", self.by_hand())));
        }
        apt::install(&self.name(), &PACKAGES)?;
        Ok(Outcome::Done(usable()?))
    }

    fn by_hand(&self) -> String {
        if apt::exists() { apt::by_hand(&PACKAGES) } else { "install Chromium as `chromium`".to_owned() }
    }
}

/// Returns whether the test of the pages finds its browser here.
pub fn exists() -> bool {
    usable().is_ok()
}

fn usable() -> Result<String> {
    let output = process::output(Command::new(PACKAGES[0]).arg("--version"))?;
    let version = output.lines().find(|line| line.starts_with("Chromium")).unwrap_or_default().trim();
    ensure!(!version.is_empty(), "{} does not state its version", PACKAGES[0]);
    Ok(version.to_owned())
}
