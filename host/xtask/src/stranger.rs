//! Uses the optimizer as a program of somebody else does: the crate in `tests/stranger`, outside the workspace.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::{console, process, project};

const PAGE: &str = include_str!("../../../docs/training.md");
const MANIFEST: &str = include_str!("../../../tests/stranger/Cargo.toml");
const BUILD: &str = include_str!("../../../tests/stranger/build.rs");

/// Maximum number of crates that are compiled for the optimizer, itself included.
const CRATES: usize = 96;

/// Builds the program, runs it without LD_LIBRARY_PATH, and counts the crates that the optimizer needs.
pub fn run() -> Result<()> {
    ensure!(PAGE.contains(&format!("```rust\n{BUILD}```")), "docs/training.md does not show tests/stranger/build.rs");
    ensure!(
        MANIFEST.contains("[dependencies]\ngraftage-optim = "),
        "tests/stranger depends on more than graftage-optim"
    );
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--release"]).current_dir(project::root().join("tests/stranger"));
    // The dependencies are those of the workspace, which has compiled them.
    cargo.env("CARGO_TARGET_DIR", project::root().join("target")).env_remove("LD_LIBRARY_PATH");
    let accuracy = process::output(&mut cargo)?;
    ensure!(accuracy.trim().parse::<f64>().is_ok(), "tests/stranger prints {accuracy:?}");
    let mut tree = process::cargo();
    tree.args(["tree", "--package=graftage-optim", "--edges=normal,build", "--prefix=none"]);
    let tree = process::output(tree.current_dir(project::root()))?;
    let crates: BTreeSet<_> = tree.lines().filter_map(|line| line.split(" (").next()).collect();
    ensure!(crates.len() <= CRATES, "graftage-optim compiles {} crates, more than {CRATES}", crates.len());
    console::say(&format!("graftage-optim compiles {} crates", crates.len()));
    Ok(())
}

/// Runs clippy on the crate, warnings as errors.
pub fn lint() -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["clippy", "--quiet", "--release", "--", "-D", "warnings"]);
    cargo.current_dir(project::root().join("tests/stranger"));
    process::run(cargo.env("CARGO_TARGET_DIR", project::root().join("target")))
}
