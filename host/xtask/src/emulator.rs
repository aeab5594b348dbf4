//! Installed QEMU: its version, and the machines that it has.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// First major version with all the boards.
pub const OLDEST: u32 = 9;

/// Fails if `program` is not installed or has no such machine.
pub fn check(program: &str, machine: &str) -> Result<()> {
    let machines = process::output(Command::new(program).args(["-machine", "help"]))?;
    if has_machine(&machines, machine) {
        return Ok(());
    }
    bail!("{program} {} has no machine {machine}: use {OLDEST} or later", version(program)?)
}

pub fn version(program: &str) -> Result<String> {
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
