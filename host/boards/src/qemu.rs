//! QEMU, which runs a program on a board that nobody has to own.

use crate::elf::Firmware;
use std::path::Path;
use std::process::Command;

/// An emulated machine.
#[derive(Debug, PartialEq)]
pub struct Machine {
    /// The QEMU that has it.
    pub program: &'static str,
    /// What that calls it, and options that it takes.
    pub machine: &'static str,
}

impl Machine {
    /// A QEMU running a program; what that says by semihosting comes on standard output.
    pub fn command(&self, elf: &Path) -> Command {
        let mut qemu = Command::new(self.program);
        qemu.arg("-machine").args(self.machine.split(' ')).args(["-display", "none", "-monitor", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(elf);
        qemu
    }

    /// The same with the firmware in that ELF file, its link on a character device as QEMU describes it (e.g.
    /// `tcp:127.0.0.1:7310`), and an image where the firmware looks for it.
    pub fn linked(&self, firmware: &Firmware, elf: &Path, serial: &str, image: Option<&Path>) -> Command {
        let mut qemu = self.command(elf);
        qemu.args(["-serial", serial]);
        if let Some(image) = image {
            // A comma in a path would end the option; doubled, it stands for itself.
            let path = image.display().to_string().replace(',', ",,");
            qemu.arg("-device").arg(format!("loader,file={path},addr={:#x},force-raw=on", firmware.image.start));
        }
        qemu
    }
}
