//! Linker scripts for the bare-metal target, and where the type of the network comes from.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=GRAFTAGE_NETWORK");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    // `graftage graft` writes such a file; the one beside this script is the demo's.
    let network = env::var_os("GRAFTAGE_NETWORK").map_or_else(|| here.join("network.rs"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", network.display());
    println!("cargo::rustc-env=GRAFTAGE_NETWORK={}", network.display());
    // What is logged; the compiler reads it, so that it need not be set by hand.
    println!("cargo::rerun-if-env-changed=DEFMT_LOG");
    println!("cargo::rustc-env=DEFMT_LOG={}", env::var("DEFMT_LOG").unwrap_or_else(|_| "info".into()));
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-search={}", here.display());
        println!("cargo::rerun-if-changed=memory.x");
        println!("cargo::rustc-link-arg-bins=-Tlink.x");
        println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    }
}
