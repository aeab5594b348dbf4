//! `cargo xtask package`: packages the crates that are published, in the order of publishing.

use anyhow::{Context, Result, ensure};

use crate::{console, process, project};

/// Published crates. Each depends only on those before it.
const CRATES: [&str; 5] = ["graftage-core", "graftage-link", "graftage-boards", "graftage-optim", "graftage"];

/// Packages them without building them.
pub fn run() -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["package", "--quiet", "--no-verify", "--allow-dirty"]);
    cargo.args(CRATES.map(|name| format!("--package={name}"))).current_dir(project::root());
    process::output(&mut cargo)?;
    for name in CRATES {
        let file = project::root().join(format!("target/package/{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        let bytes = std::fs::metadata(&file).with_context(|| file.display().to_string())?.len();
        // A crate of sources alone is small; what a registry takes is 10 MB.
        ensure!(bytes < 1_000_000, "{}: {bytes} bytes", file.display());
        console::say(&format!("{name}: {bytes} bytes"));
    }
    Ok(())
}
