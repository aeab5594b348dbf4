//! A C++ compiler, which builds the bindings of libtorch and the fuzzer.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Outcome, Part, apt};
use crate::{process, project};

/// Debian's package.
const PACKAGES: [&str; 1] = ["g++"];

/// C++ compiler as a part of the setup.
pub struct Compiler;

impl Part for Compiler {
    fn name(&self) -> String {
        "C++ compiler".to_owned()
    }

    fn obtain(&self) -> Result<Outcome> {
        let why = match usable() {
            Ok(words) => return Ok(Outcome::Found(words)),
            Err(why) => why,
        };
        ensure!(apt::is_root() && apt::exists(), "{why:#}; installing it needs an administrator");
        apt::install(&self.name(), &PACKAGES)?;
        Ok(Outcome::Done(usable()?))
    }

    fn by_hand(&self) -> String {
        if apt::exists() { apt::by_hand(&PACKAGES) } else { "install a C++ compiler, or set CXX to yours".to_owned() }
    }
}

/// Returns the version of the compiler that cargo's build scripts will use. Fails if it does not compile with its
/// standard library.
fn usable() -> Result<String> {
    let program = env::var("CXX").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".to_owned());
    let probe = project::partial("compiler")?.join("probe.cpp");
    fs::write(&probe, "#include <string>\nint main() { return std::string().size(); }\n")?;
    process::output(Command::new(&program).arg("-fsyntax-only").arg(&probe))?;
    let version = process::output(Command::new(&program).arg("--version"))?;
    Ok(version.lines().next().unwrap_or(&program).to_owned())
}
