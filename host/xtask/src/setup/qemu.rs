//! QEMU, which runs the firmware on a board that nobody has to own.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apt::{self, INSTALL, Suite};
use super::{Outcome, Part, announce, line};
use crate::process;

/// The program, and the package that holds it.
const PROGRAM: &str = "qemu-system-arm";
/// The first major version that the board is known to work in.
const OLDEST: u32 = 7;
const MACHINE: &str = "mps2-an386";

/// The part.
pub struct Qemu;

impl Part for Qemu {
    fn name(&self) -> String {
        PROGRAM.to_owned()
    }

    fn obtain(&self) -> Result<Outcome> {
        let why = match usable() {
            Ok(words) => return Ok(Outcome::Found(words)),
            Err(why) => why,
        };
        ensure!(apt::is_root() && apt::exists(), "{why:#}; installing it needs an administrator");
        if let Err(error) = self.install_as_configured() {
            let Some(codename) = apt::debian() else { return Err(error) };
            let suite = backports(&codename);
            self.install_from(&suite).with_context(|| format!("{error:#}\nand then from {suite}"))?;
        }
        Ok(Outcome::Done(usable()?))
    }

    fn by_hand(&self) -> String {
        if !apt::exists() {
            return format!(
                "install QEMU {OLDEST} or later (Fedora: dnf install {PROGRAM}; Homebrew: brew install qemu)"
            );
        }
        let install = INSTALL.join(" ");
        let plain = apt::by_hand(PROGRAM);
        // The system's own package will not do where an older one is there, or others stand in its way.
        let would_do = || process::output(Command::new("apt-get").args(["-s"]).args(INSTALL).arg(PROGRAM)).is_ok();
        if version().is_err() && would_do() {
            return plain;
        }
        let suite = apt::debian().map(|codename| backports(&codename));
        match suite.as_ref().and_then(|suite| apt::source_line(suite).ok()).zip(suite.as_ref()) {
            Some((source, suite)) => format!(
                "sudo sh -c 'echo \"{source}\" > /etc/apt/sources.list.d/{suite}.list && \
                 apt-get update && apt-get {install} -t {suite} {PROGRAM}'"
            ),
            None => plain,
        }
    }
}

impl Qemu {
    fn install_as_configured(&self) -> Result<()> {
        apt::install(&self.name(), PROGRAM)?;
        usable().map(drop)
    }

    /// Where a package installed from elsewhere stands in the way of the system's own QEMU.
    fn install_from(&self, suite: &str) -> Result<()> {
        announce(&format!("apt-get install -t {suite} {PROGRAM}"));
        let apt = Suite::fetch(&line(&self.name(), &format!("apt-get update for {suite}")), suite, true)?;
        apt::install_with(&self.name(), PROGRAM, apt.apt_get().args(["-t", suite]))?;
        usable().map(drop)
    }
}

fn backports(codename: &str) -> String {
    format!("{codename}-backports")
}

/// What is installed, if it will do.
fn usable() -> Result<String> {
    let version = version()?;
    ensure!(
        major(&version).is_some_and(|major| major >= OLDEST),
        "{PROGRAM} is {version}; {OLDEST} or later is needed"
    );
    let machines = process::output(Command::new(PROGRAM).args(["-machine", "help"]))?;
    ensure!(has_machine(&machines), "{PROGRAM} {version} has no machine {MACHINE}");
    Ok(format!("{version}, with {MACHINE}"))
}

fn version() -> Result<String> {
    let output = process::output(Command::new(PROGRAM).arg("--version"))?;
    version_in(&output).with_context(|| format!("{PROGRAM} does not state its version"))
}

fn version_in(output: &str) -> Option<String> {
    let (_, rest) = output.split_once("version ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn has_machine(help: &str) -> bool {
    help.lines().any(|line| line.split_whitespace().next() == Some(MACHINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_word_whose_first_number_counts() {
        let version = version_in("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright").unwrap();
        assert_eq!(version, "10.0.2");
        assert_eq!(major(&version), Some(10));
        assert_eq!(version_in("none"), None);
        assert_eq!(major("v7"), None);
    }

    #[test]
    fn a_machine_is_found_by_its_whole_name() {
        assert!(has_machine("Supported machines are:\nmps2-an386           ARM MPS2 with AN386 FPGA image\n"));
        assert!(!has_machine("mps2-an3860           x\nx      not mps2-an386\n"));
    }
}
