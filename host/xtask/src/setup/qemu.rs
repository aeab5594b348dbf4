//! QEMU, which emulates boards for the firmware and the conformance program.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apt::{self, INSTALL, Suite};
use super::{Outcome, Part, announce, line};
use crate::emulator::{OLDEST, check, version};
use crate::process;
use crate::verify::target::TARGETS;

/// Debian's packages of a QEMU that is new enough. The first one contains qemu-system-aarch64, too.
const PACKAGES: [&str; 2] = ["qemu-system-arm", "qemu-system-riscv"];

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
            self.install_from(&suite).with_context(|| format!("{error:#}\nthen also from {suite}"))?;
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
