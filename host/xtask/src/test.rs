//! `cargo xtask test`: every test of every package and target.

use anyhow::{Result, bail};

use crate::verify::Target;
use crate::{console, demo, firmware, process, project, setup, verify};

/// Sets up, then runs them all; the first failure ends it.
pub fn run() -> Result<()> {
    setup::run()?;
    let firmware = firmware::build(None)?;
    let workspace = |arguments: &[&str]| {
        let mut cargo = process::cargo();
        cargo.args(arguments).current_dir(project::root());
        // Tests on the emulated board skip where there is none; here there is one.
        cargo.env("GRAFTAGE_FIRMWARE", &firmware).env("GRAFTAGE_REQUIRE_BOARD", "1");
        cargo
    };
    heading("packages of the workspace");
    process::run(&mut workspace(&["test", "--release", "--workspace"]))?;
    heading("graftage without libtorch");
    process::run(&mut workspace(&["test", "--release", "--package=graftage", "--no-default-features", "--tests"]))?;
    heading("firmware and link, on this machine");
    process::run(workspace(&["test", "--release", "--workspace"]).current_dir(project::root().join("firmware")))?;
    heading("the same update on every target");
    verify::run(&[])?;
    heading("a fused multiply-add is found out");
    match verify::run(&[Target::Fused]) {
        Err(error) if error.to_string() == verify::differing(&[Target::Fused]) => {
            console::say(&format!("as it should be: {error:#}"));
        }
        Err(error) => return Err(error),
        Ok(()) => bail!("the negative control x86_64-fused was not found out"),
    }
    heading("the demo, from end to end");
    demo::run()?;
    demo::accept()?;
    console::say("\nall tests passed");
    Ok(())
}

fn heading(line: &str) {
    console::say(&format!("\n== {line}"));
}
