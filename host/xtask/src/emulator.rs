//! QEMU, which runs a program on a board that nobody has to own.

use std::path::Path;
use std::process::Command;

/// A QEMU with a machine, and options that this takes, running a program; what the program says by semihosting comes on
/// standard output.
pub fn command(program: &str, machine: &str, elf: &Path) -> Command {
    let mut qemu = Command::new(program);
    qemu.arg("-machine").args(machine.split(' ')).args(["-display", "none", "-monitor", "none"]);
    qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(elf);
    qemu
}
