//! `cargo xtask fused`: no fused multiply-add in what the compiler makes of core.

use anyhow::Result;

use crate::verify::target::{TARGETS, example};
use crate::{firmware, process};

/// Builds the conformance program for every target, and reads its machine code; the firmware's too, where it is built.
pub fn run() -> Result<()> {
    let mut files = Vec::new();
    for target in TARGETS.iter().filter(|target| target.is_elf() && !target.control && target.skipped().is_none()) {
        files.push(target.build()?);
    }
    files.extend(Some(firmware::folder().join("adapt")).filter(|adapt| adapt.is_file()));
    process::run(example("graftage-tests", "disassemble")?.args(files))
}
