//! QEMU, which emulates boards.

use crate::elf::Firmware;
use crate::option::value;
use crate::store::Store;
use std::path::Path;
use std::process::{Command, Stdio};

/// An emulated machine.
#[derive(Debug, PartialEq)]
pub struct Machine {
    /// QEMU program that has the machine.
    pub program: &'static str,
    /// Name of the machine in QEMU, followed by further options.
    pub machine: &'static str,
    /// Name of the I²C bus that takes EEPROMs, in QEMU; `None` if there is none.
    pub bus: Option<&'static str>,
}

impl Machine {
    /// Returns a QEMU command that runs a program. Semihosting output goes to standard output. Standard input is not
    /// read.
    pub fn command(&self, elf: &Path) -> Command {
        let mut qemu = Command::new(self.program);
        qemu.stdin(Stdio::null());
        qemu.arg("-machine").args(self.machine.split(' ')).args(["-display", "none", "-monitor", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(elf);
        qemu
    }

    /// Like [`command`](Self::command), for the firmware in `elf`. `serial` is the character device of its link in
    /// QEMU's notation (e.g. `tcp:127.0.0.1:7310`). `image` is loaded where the firmware looks for it. The emulator
    /// [holds](Store::hold) `store`.
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
