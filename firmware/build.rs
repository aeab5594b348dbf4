//! Selects the board's linker scripts and the network's type file. Does neither if no board is chosen, as when other
//! firmware depends on the library.

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
            // The compiler reads the log level; the default spares users from setting it by hand.
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

/// Returns the names of the boards, sorted.
fn boards(folder: &Path) -> std::io::Result<Vec<String>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut boards: Vec<String> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".x")?.to_owned()))
        .collect();
    boards.sort();
    Ok(boards)
}

/// Passes the path of the network's type to the compiler.
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

/// Writes the linker scripts for the board and passes them to the linker.
fn link(here: &Path, board: &str) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let memory = fs::read_to_string(here.join(BOARDS).join(board).with_extension("x"))?;
    fs::write(out.join("memory.x"), memory)?;
    fs::write(out.join("board.x"), described(board))?;
    println!("cargo::rustc-link-search={}", out.display());
    // Folds functions with identical code into one copy, which saves 0.4 KB in the demo.
    println!("cargo::rustc-link-arg-bins=--icf=all");
    if board == "mps2_an386" {
        // No device crate lists this board's interrupts.
        fs::write(out.join("device.x"), "")?;
    }
    let riscv = env::var("CARGO_CFG_TARGET_ARCH")?.starts_with("riscv");
    // riscv-rt's `link.x` does not include `memory.x` itself.
    let scripts = riscv.then_some("memory.x").into_iter().chain(["link.x", "board.x", "defmt.x"]);
    scripts.for_each(|script| println!("cargo::rustc-link-arg-bins=-T{script}"));
    Ok(())
}

/// Returns the linker script that describes the firmware to tools that flash, emulate or measure its ELF file: board
/// and memory as symbols, RAM usage in a section that is not loaded.
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
