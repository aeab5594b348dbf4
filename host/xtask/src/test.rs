//! `cargo xtask test`: runs every test of every package and target.

use std::process::Command;
use std::thread;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use graftage_boards::BOARDS;

use crate::verify::target::TARGETS;
use crate::{
    bench, console, demo, firmware, fused, fuzz, graftage, outside, package, pages, process, project, setup, soak,
    stranger, verify,
};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Run one part alone, without setting up
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// Parts of the tests that can run in parallel, each on little more than one core.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// Builds of the firmware for all boards
    Boards,
    /// Tests of the packages of the workspace
    Workspace,
    /// Tests of the firmware, and of every target
    Targets,
}

/// Sets up, then runs all tests, and ends with the first failure.
pub fn run(options: &Options) -> Result<()> {
    match options.only {
        Some(Part::Boards) => return boards(),
        Some(Part::Workspace) => return workspace(),
        Some(Part::Targets) => return targets(),
        None => {}
    }
    setup::run()?;
    thread::scope(|scope| {
        // The output of a part that runs in parallel comes in one piece, at its end.
        let targets = scope.spawn(|| beside("boards")?.end().and_then(|()| beside("targets")));
        process::run(packages().arg("--no-run"))?;
        // Cargo locks a folder while it builds there. What is compiled here blocks nothing later.
        process::run(tests(&["test", "--release", project::TESTS]).arg("--no-run"))?;
        graftage::build()?;
        let targets = targets.join().map_err(|_| anyhow!("the boards' thread panicked"))??;
        workspace()?;
        // Of the remaining parts, only this one builds in a folder of its own.
        heading("arbitrary bytes (fuzzing)");
        fuzz::run(&fuzz::Options { seconds: 5, targets: Vec::new() })?;
        targets.end()
    })?;
    heading("the demo, from end to end");
    demo::run()?;
    demo::accept()?;
    heading("the commands in the pages");
    pages::run()?;
    console::say("\nall tests passed");
    Ok(())
}

/// Starts a part in parallel to this process.
fn beside(part: &str) -> Result<process::Beside> {
    let mut command = Command::new(std::env::current_exe()?);
    process::Beside::start(command.args(["test", "--only", part]).current_dir(project::root()))
}

/// Returns a cargo command for the tests.
fn tests(arguments: &[&str]) -> Command {
    let mut cargo = process::cargo();
    cargo.args(arguments).current_dir(project::root());
    // Tests on emulated boards are skipped if a board is missing. Here all boards are there.
    cargo.env("GRAFTAGE_REQUIRE_BOARD", "1");
    cargo
}

/// Returns a cargo command for the tests of the packages.
fn packages() -> Command {
    tests(&[&["test", "--release"], &project::TOGETHER[..]].concat())
}

fn workspace() -> Result<()> {
    heading("packages of the workspace");
    // Cargo builds no binary of a package without tests; those of other packages run this one.
    graftage::build()?;
    let mut all = packages();
    // Many tests wait for an emulator.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() + 1);
    all.env("RUST_TEST_THREADS", threads.to_string());
    if setup::chromium::exists() {
        all.env("GRAFTAGE_REQUIRE_BROWSER", "1");
    }
    process::run(&mut all)?;
    process::run(&mut tests(&["test", "--release", project::TESTS]))?;
    heading("the optimizer in a program of somebody else");
    stranger::run()?;
    heading("packages for a registry");
    package::run()?;
    heading("graftage without libtorch");
    // It computes the same as with libtorch, so a check by the compiler of what it contains is enough.
    process::run(tests(&["check", "--release", "--no-default-features", "--tests"]).args(project::CHECKED))
}

/// Builds the firmware that the tests of the workspace run and read.
fn boards() -> Result<()> {
    BOARDS.iter().try_for_each(|board| firmware::build(board, None).map(drop))?;
    outside::slow()
}

fn targets() -> Result<()> {
    heading("firmware and link, on this machine");
    // Size does not matter on this machine. Optimising for it takes minutes; so do debug information and optimised
    // dependencies.
    let mut all =
        tests(&["test", "--release", "--workspace", "--config", r#"profile.release.package."*".opt-level=0"#]);
    all.envs(
        [("LTO", "off"), ("OPT_LEVEL", "2"), ("DEBUG", "false")]
            .map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)),
    );
    process::run(all.current_dir(project::root().join("firmware")))?;
    heading("the firmware's library in an external firmware");
    outside::run(&[outside::OWN])?;
    heading("the same update on every target");
    verify::run(&verify::Options::default())?;
    heading("negative controls are detected");
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
    bench::gate()
}

fn heading(line: &str) {
    console::say(&format!("\n== {line}"));
}
