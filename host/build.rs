//! Gives what links libtorch an rpath, so that nobody has to set LD_LIBRARY_PATH, and tells the packages that depend on this one
//! where libtorch is, as `DEP_GRAFTAGE_OPTIM_LIBTORCH`, so that they can do the same.

fn main() {
    // For several packages: a path would be looked for in each of their folders.
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    // Set by torch-sys for its direct dependents, when the feature `torch` is on.
    if let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
        println!("cargo::metadata=LIBTORCH={folder}");
    }
}
