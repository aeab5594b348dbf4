//! `cargo xtask fused`: checks that the compiler makes no fused multiply-add of core.

use anyhow::Result;
use graftage_boards::BOARDS;

use crate::verify::target::{TARGETS, example};
use crate::{firmware, process, project};

/// Builds the conformance program for every target and checks its machine code, and that of the firmware for every
/// board for which it is built.
pub fn run() -> Result<()> {
    let mut files = Vec::new();
    for target in TARGETS.iter().filter(|target| target.has_machine_code()) {
        files.push(target.build()?);
    }
    let firmware = BOARDS.iter().map(|board| firmware::folder(board).join("adapt"));
    files.extend(firmware.filter(|adapt| adapt.is_file()));
    let root = project::root();
    let files = files.iter().map(|file| file.strip_prefix(&root).unwrap_or(file));
    process::run(example(&[project::TESTS], "disassemble")?.args(files))
}
