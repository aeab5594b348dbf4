//! QEMU, which emulates boards for the firmware and the conformance program.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::apt::{self, INSTALL, Suite};
use super::{Outcome, Part, announce, line};
use crate::process;
use crate::verify::target::TARGETS;

/// Debian's packages of a QEMU that is new enough. The first one contains qemu-system-aarch64, too.
const PACKAGES: [&str; 2] = ["qemu-system-arm", "qemu-system-riscv"];
/// First major version with all the boards.
const OLDEST: u32 = 9;

/// QEMU as a part of the setup.
pub struct Qemu;

impl Part for Qemu {
    fn name(&self) -> String {
        "QEMU".to_owned()
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
        let packages = PACKAGES.join(" ");
        if !apt::exists() {
            return format!(
                "install QEMU {OLDEST} or later (Fedora: dnf install {packages} qemu-system-aarch64; Homebrew: brew \
                 install qemu)"
            );
        }
        let install = INSTALL.join(" ");
        let plain = apt::by_hand(&PACKAGES);
        // The system's own packages do not help if an older QEMU is installed, or if other packages stand in their way.
        let would_do = || process::output(Command::new("apt-get").args(["-s"]).args(INSTALL).args(PACKAGES)).is_ok();
        if version(PACKAGES[0]).is_err() && would_do() {
            return plain;
        }
        let suite = apt::debian().map(|codename| backports(&codename));
        match suite.as_ref().and_then(|suite| apt::source_line(suite).ok()).zip(suite.as_ref()) {
            Some((source, suite)) => format!(
                "sudo sh -c 'echo \"{source}\" > /etc/apt/sources.list.d/{suite}.list && \
                 apt-get update && apt-get {install} -t {suite} {packages}'"
            ),
            None => plain,
        }
    }
}

impl Qemu {
    fn install_as_configured(&self) -> Result<()> {
        apt::install(&self.name(), &PACKAGES)?;
        usable().map(drop)
    }

    /// Installs from another suite: the system's own QEMU is too old, or a package from elsewhere stands in its way.
    fn install_from(&self, suite: &str) -> Result<()> {
        announce(&format!("apt-get install -t {suite} {}", PACKAGES.join(" ")));
        let apt = Suite::fetch(&line(&self.name(), &format!("apt-get update for {suite}")), suite, true)?;
        apt::install_with(&self.name(), &PACKAGES, apt.apt_get().args(["-t", suite]))?;
        usable().map(drop)
    }
}

fn backports(codename: &str) -> String {
    format!("{codename}-backports")
}

/// Describes what is installed. Fails if it does not emulate every board.
fn usable() -> Result<String> {
    let boards: Vec<_> = TARGETS.iter().filter_map(|target| target.board()).collect();
    for board in &boards {
        check(board.emulator(), board.model())?;
    }
    Ok(format!("{}, with all {} boards", version(PACKAGES[0])?, boards.len()))
}

/// Fails if `program` is not installed or has no such machine.
pub fn check(program: &str, machine: &str) -> Result<()> {
    let machines = process::output(Command::new(program).args(["-machine", "help"]))?;
    if has_machine(&machines, machine) {
        return Ok(());
    }
    bail!("{program} {} has no machine {machine}: {OLDEST} or later has", version(program)?)
}

fn version(program: &str) -> Result<String> {
    let output = process::output(Command::new(program).arg("--version"))?;
    version_in(&output).with_context(|| format!("{program} does not state its version"))
}

fn version_in(output: &str) -> Option<String> {
    let (_, rest) = output.split_once("version ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn has_machine(help: &str, machine: &str) -> bool {
    help.lines().any(|line| line.split_whitespace().next() == Some(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_word() {
        let version = version_in("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright").unwrap();
        assert_eq!(version, "10.0.2");
        assert_eq!(version_in("none"), None);
    }

    #[test]
    fn a_machine_is_found_by_its_whole_name() {
        let has = |help| has_machine(help, "mps2-an386");
        assert!(has("Supported machines are:\nmps2-an386           ARM MPS2 with AN386 FPGA image\n"));
        assert!(!has("mps2-an3860           x\nx      not mps2-an386\n"));
    }
}
