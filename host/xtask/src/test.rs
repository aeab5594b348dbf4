//! `cargo xtask test`: every test of every package and target.

use anyhow::Result;
use graftage_boards::BOARDS;

use crate::verify::target::TARGETS;
use crate::{bench, console, demo, firmware, fused, fuzz, outside, pages, process, project, setup, soak, verify};

/// Sets up, then runs them all; the first failure ends it.
pub fn run() -> Result<()> {
    setup::run()?;
    BOARDS.iter().try_for_each(|board| firmware::build(board, None).map(drop))?;
    let workspace = |arguments: &[&str]| {
        let mut cargo = process::cargo();
        cargo.args(arguments).current_dir(project::root());
        // Tests on the emulated boards skip where there is none; here they are.
        cargo.env("GRAFTAGE_REQUIRE_BOARD", "1");
        cargo
    };
    heading("packages of the workspace");
    // The comparison of times has no tests, and peers that take long to compile.
    let mut tests = workspace(&["test", "--release", "--workspace", "--exclude=graftage-speed"]);
    if setup::chromium::exists() {
        tests.env("GRAFTAGE_REQUIRE_BROWSER", "1");
    }
    process::run(&mut tests)?;
    heading("graftage without libtorch");
    // What it computes is the same; what is there and what is not, the compiler says.
    process::run(&mut workspace(&["check", "--release", "--package=graftage", "--no-default-features", "--tests"]))?;
    heading("firmware and link, on this machine");
    process::run(workspace(&["test", "--release", "--workspace"]).current_dir(project::root().join("firmware")))?;
    heading("the firmware's library in a firmware of its own");
    outside::run(&[outside::OWN])?;
    heading("the same update on every target");
    verify::run(&verify::Options::default())?;
    heading("what computes otherwise is found out");
    for target in TARGETS.iter().filter(|target| target.skipped().is_none()) {
        if let Some(array) = target.control {
            console::say(&format!("{}: {}", target.name, verify::find_out(target, array)?));
        }
    }
    heading("no fused multiply-add in the machine code");
    fused::run()?;
    heading("no adaptation can panic");
    firmware::prove()?;
    heading("a long life on the emulated board, in short");
    soak::alone(5000, 1)?;
    heading("instructions on the emulated board");
    bench::gate()?;
    heading("whatever bytes come");
    fuzz::run(&fuzz::Options { seconds: 10, targets: Vec::new() })?;
    heading("the demo, from end to end");
    demo::run()?;
    demo::accept()?;
    heading("what the pages say to type");
    pages::run()?;
    console::say("\nall tests passed");
    Ok(())
}

fn heading(line: &str) {
    console::say(&format!("\n== {line}"));
}
