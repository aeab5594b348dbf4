//! `cargo xtask`: the project's own tasks, named alike on every machine.

mod bench;
mod console;
mod demo;
mod emulator;
mod evidence;
mod firmware;
mod fused;
mod fuzz;
mod graftage;
mod lint;
mod outside;
mod package;
mod pages;
mod pictures;
mod process;
mod project;
mod setup;
mod soak;
mod stranger;
mod test;
mod toolchain;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Get whatever is missing: the targets' libraries, QEMU, Chromium, a C++ compiler, libtorch, the digits data
    Setup,
    /// Set up, then run the whole story on real data: train, graft, adapt on the board, verify
    Demo,
    /// Set up, adapt on the emulated board to aged sensors and to people whom training left out, and compute all of it
    /// again
    Evidence(evidence::Options),
    /// Run clippy on every package for every kind of target, warnings as errors
    Lint(lint::Options),
    /// Set up, then run every test of every package and target
    Test(test::Options),
    /// Compute the same updates on every target and compare them bit by bit
    Verify(verify::Options),
    /// Search the machine code of every target for fused multiply-adds
    Fused,
    /// Run the commands of docs/training.md, docs/data.md and docs/adaptation.md, with the files shown there
    Pages,
    /// Package the crates that are published, without building them
    Package,
    /// Draw the pictures of the README from the results of the demo
    Pictures,
    /// Feed arbitrary bytes to the parsers of images, snapshots and frames
    Fuzz(fuzz::Options),
    /// Run the emulated board for a long time, with faults and resets, and compare it with core on this machine
    Soak(soak::Options),
    /// Use the firmware's library as other firmware does: alone for bare targets, and in a crate on the emulated board
    Outside,
    /// Measure speed: instructions on the emulated board, times beside those of peers here
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Build, measure, run or flash the firmware
    #[command(subcommand)]
    Firmware(firmware::Task),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(),
        Task::Demo => demo::run(),
        Task::Evidence(options) => evidence::run(&options),
        Task::Lint(options) => lint::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Verify(options) => verify::run(&options),
        Task::Fused => fused::run(),
        Task::Pages => pages::run(),
        Task::Package => package::run(),
        Task::Pictures => pictures::run(),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Outside => outside::run(&[outside::OWN, "3"]),
        Task::Bench(bench) => bench::run(bench),
        Task::Firmware(task) => firmware::run(task),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
