//! Gives whatever links libtorch an rpath, so that LD_LIBRARY_PATH need not be set, and passes the folder of libtorch
//! on to dependent packages, so that they can do the same.

fn main() {
    // Several packages share this script: a path would be relative to the folder of each.
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    // torch-sys sets this for its direct dependents if the feature `torch` is on.
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
        println!("cargo::metadata=LIBTORCH={folder}");
    }
}
