//! Linker scripts of the board, and where the type of the network comes from. Without a board, as another firmware takes the
//! library, nothing.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let boards = boards(&here.join(BOARDS))?;
    let chosen = |board: &&String| env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some();
    match boards.iter().filter(chosen).collect::<Vec<_>>()[..] {
        [] => Ok(()),
        [board] => {
            network(&here);
            // What is logged; the compiler reads it, so that it need not be set by hand.
            println!("cargo::rerun-if-env-changed=DEFMT_LOG");
            println!("cargo::rustc-env=DEFMT_LOG={}", env::var("DEFMT_LOG").unwrap_or_else(|_| "info".into()));
            if env::var("CARGO_CFG_TARGET_OS")? == "none" { link(&here, board) } else { Ok(()) }
        }
        ref several => {
            let known = boards.join(", ").replace('_', "-");
            let count = several.len();
            println!("cargo::error=one build is for one board, with one of the features {known}; {count} are set");
            Ok(())
        }
    }
}

/// Folder of the boards; each has a memory script, `BOARD.x`.
const BOARDS: &str = "src/board";

/// Their names.
fn boards(folder: &Path) -> std::io::Result<Vec<String>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut boards: Vec<String> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".x")?.to_owned()))
        .collect();
    boards.sort();
    Ok(boards)
}

/// Says where the type of the network is.
fn network(here: &Path) {
    println!("cargo::rerun-if-env-changed=GRAFTAGE_NETWORK");
    // `graftage graft` writes such a file; the one beside this script is the demo's.
    let network = env::var_os("GRAFTAGE_NETWORK").map_or_else(|| here.join("network.rs"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", network.display());
    println!("cargo::rustc-env=GRAFTAGE_NETWORK={}", network.display());
    if fs::read_to_string(&network).is_ok_and(|text| !text.contains("pub const REPLAY")) {
        println!("cargo::error={} does not say how many samples it keeps: graft it again", network.display());
    }
}

/// Lays the program out for the board.
fn link(here: &Path, board: &str) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let memory = fs::read_to_string(here.join(BOARDS).join(board).with_extension("x"))?;
    fs::write(out.join("memory.x"), memory)?;
    fs::write(out.join("board.x"), described(board))?;
    println!("cargo::rustc-link-search={}", out.display());
    // One copy of functions whose code is the same: 0.4 KB of the demo's.
    println!("cargo::rustc-link-arg-bins=--icf=all");
    if board == "mps2_an386" {
        // No crate of a chip names its interrupts.
        fs::write(out.join("device.x"), "")?;
    }
    let riscv = env::var("CARGO_CFG_TARGET_ARCH")?.starts_with("riscv");
    // That of riscv-rt does not include the memory's itself.
    let scripts = riscv.then_some("memory.x").into_iter().chain(["link.x", "board.x", "defmt.x"]);
    scripts.for_each(|script| println!("cargo::rustc-link-arg-bins=-T{script}"));
    Ok(())
}

/// What whoever flashes, emulates or measures a firmware reads in its ELF file: board and memory as symbols, what the RAM
/// holds in a section that is not loaded.
fn described(board: &str) -> String {
    format!(
        "_board_{board} = 0;
_image_start = ORIGIN(IMAGE);
_image_size = LENGTH(IMAGE);
_flash_size = LENGTH(FLASH);
_ram_size = LENGTH(RAM);
SECTIONS {{ .graftage 0 (INFO) : {{ KEEP(*(.graftage)) }} }}
"
    )
}
