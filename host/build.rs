//! Gives what links libtorch an rpath, so that nobody has to set LD_LIBRARY_PATH, and its CUDA part where that can be loaded.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by torch-sys for its direct dependents, when the feature `torch` is on.
    let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    // No symbol refers to the CUDA part, so the linker would leave it out, and libtorch would see no GPU. A machine
    // without one may have it without the libraries that it needs.
    let cuda = Path::new(&folder).join("libtorch_cuda.so");
    if cuda.exists() && is_loadable(&cuda) {
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo::rustc-link-arg={}", cuda.display());
        println!("cargo::rustc-link-arg=-Wl,--as-needed");
    }
}

/// Whether all libraries that this one needs are found.
fn is_loadable(library: &Path) -> bool {
    let needed = Command::new("ldd").arg(library).output();
    needed.is_ok_and(|needed| needed.status.success() && !String::from_utf8_lossy(&needed.stdout).contains("not found"))
}
