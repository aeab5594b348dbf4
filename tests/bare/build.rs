//! Linker script of a bare machine; `cargo xtask verify` passes the origins of its memory.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Returns the memory script, with the region names that the linker scripts of the start-up crates expect. Every
/// machine in the table has this much memory from its two origins.
fn script(flash: &str, ram: &str) -> String {
    format!(
        r#"MEMORY {{ FLASH : ORIGIN = {flash}, LENGTH = 256K RAM : ORIGIN = {ram}, LENGTH = 128K }}
REGION_ALIAS("VECTORS", FLASH) REGION_ALIAS("CODE", FLASH) REGION_ALIAS("DATA", RAM) REGION_ALIAS("STACKS", RAM)
REGION_ALIAS("REGION_TEXT", FLASH) REGION_ALIAS("REGION_RODATA", FLASH) REGION_ALIAS("REGION_DATA", RAM)
REGION_ALIAS("REGION_BSS", RAM) REGION_ALIAS("REGION_HEAP", RAM) REGION_ALIAS("REGION_STACK", RAM)
REGION_ALIAS("image", FLASH)
_sys_stack_size = 64K;
"#
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=GRAFTAGE_FLASH");
    println!("cargo::rerun-if-env-changed=GRAFTAGE_RAM");
    if env::var("CARGO_CFG_TARGET_OS")? != "none" {
        return Ok(());
    }
    let (Ok(flash), Ok(ram)) = (env::var("GRAFTAGE_FLASH"), env::var("GRAFTAGE_RAM")) else {
        println!("cargo::error=the machine's memory is not known: `cargo xtask verify` builds this");
        return Ok(());
    };
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(folder.join("memory.x"), script(&flash, &ram))?;
    println!("cargo::rustc-link-search={}", folder.display());
    // aarch64-rt's `image.ld` does not include `memory.x` itself.
    let aarch64 = env::var_os("CARGO_FEATURE_AARCH64").is_some();
    for script in if aarch64 { &["image.ld", "memory.x"][..] } else { &["link.x"] } {
        println!("cargo::rustc-link-arg-bins=-T{script}");
    }
    Ok(())
}
