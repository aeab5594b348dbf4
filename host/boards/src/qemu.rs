//! QEMU, which runs a program on a board that nobody has to own.

use crate::elf::Firmware;
use crate::store::Store;
use std::path::Path;
use std::process::{Command, Stdio};

/// An emulated machine.
#[derive(Debug, PartialEq)]
pub struct Machine {
    /// The QEMU that has it.
    pub program: &'static str,
    /// What that calls it, and options that it takes.
    pub machine: &'static str,
    /// The I²C bus that takes EEPROMs, as QEMU calls it; `None` where there is none.
    pub bus: Option<&'static str>,
}

impl Machine {
    /// A QEMU running a program; what that says by semihosting comes on standard output. It reads no standard input.
    pub fn command(&self, elf: &Path) -> Command {
        let mut qemu = Command::new(self.program);
        qemu.stdin(Stdio::null());
        qemu.arg("-machine").args(self.machine.split(' ')).args(["-display", "none", "-monitor", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(elf);
        qemu
    }

    /// The same with the firmware in that ELF file, its link on a character device as QEMU describes it (e.g.
    /// `tcp:127.0.0.1:7310`), an image where the firmware looks for it, and a store, which it [holds](Store::hold).
    pub fn linked(
        &self,
        firmware: &Firmware,
        elf: &Path,
        serial: &str,
        image: Option<&Path>,
        store: Option<&Store>,
    ) -> Command {
        let mut qemu = self.command(elf);
        qemu.args(["-serial", serial]);
        if let Some(image) = image {
            let file = value(image);
            qemu.arg("-device").arg(format!("loader,file={file},addr={:#x},force-raw=on", firmware.image.start));
        }
        if let (Some(store), Some(bus)) = (store, self.bus) {
            qemu.args(store.arguments(bus));
            store.hold(&mut qemu);
        }
        qemu
    }
}

/// A path as the value of an option: a comma would end it, and doubled stands for itself.
pub(crate) fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
