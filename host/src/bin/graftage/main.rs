//! The command line `graftage`.

mod adapt;
mod age;
mod arguments;
#[cfg(feature = "torch")]
mod bench;
#[cfg(feature = "torch")]
mod compare;
mod console;
mod delta;
mod eval;
mod graft;
mod inputs;
mod introduce;
mod line;
#[cfg(feature = "torch")]
mod models;
mod monitor;
mod outputs;
mod record;
mod rehearse;
mod replay;
mod report;
mod reset;
mod schedule;
mod size;
mod theory;
#[cfg(feature = "torch")]
mod train;
#[cfg(feature = "torch")]
mod transfer;
#[cfg(feature = "torch")]
mod trials;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use graftage::error::Error;
use std::io::Write;

/// Trains networks with Transported Scion, grafts them onto microcontrollers, and proves what they learn there.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train a model in libtorch, as a TOML file says.
    #[cfg(feature = "torch")]
    Train(train::Train),
    /// Not in this build, which has no libtorch.
    #[cfg(not(feature = "torch"))]
    Train {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<String>,
    },
    /// Show parameters and memory of a configuration, without training.
    #[cfg(feature = "torch")]
    Models(models::Models),
    /// Train by several optimizers, each tuned, and put them side by side.
    #[cfg(feature = "torch")]
    Compare(compare::Compare),
    /// Train at several widths over a grid of step sizes: does the best one move?
    #[cfg(feature = "torch")]
    Transfer(transfer::Transfer),
    /// Measure a network's accuracy.
    Eval(eval::Eval),
    /// Turn a checkpoint into a weights image and the Rust type of its network.
    Graft(graft::Graft),
    /// Write a stream of labelled samples, and test samples, as an aged sensor would see them.
    Age(age::Age),
    /// Write streams of labelled samples, and test samples, of the groups that a training left out.
    Introduce(introduce::Introduce),
    /// Adapt on this machine with each method and step size, over many drifts or unseen people.
    Rehearse(rehearse::Rehearse),
    /// Let a board learn from a stream of labelled samples, and measure it.
    Adapt(adapt::Adapt),
    /// Show what a board does that learns by itself, as it does it.
    Monitor(monitor::Monitor),
    /// Fetch what a board has recorded by itself, for `graftage replay`.
    Record(record::Record),
    /// Let a board forget what it has learnt: it starts again from its image.
    Reset(reset::Reset),
    /// Show what a firmware takes of flash and RAM.
    Size(size::Size),
    /// Compute a board's recorded adaptation again: equal to the last bit, or where it first differs.
    Replay(replay::Replay),
    /// Keep what a board has learnt as the difference from its image.
    Delta(delta::Delta),
    /// Show on problems made for it whether core's rule obeys the theory.
    Theory(theory::Theory),
    /// Say which momentum, step size and batch the theory asks for.
    Schedule(schedule::Schedule),
    /// Time a part of this library beside its peers.
    #[cfg(feature = "torch")]
    Bench(bench::Bench),
    /// Write the HTML page and the summary of a folder of results.
    Report(report::Report),
}

/// Exit status where all went well but that a drift budget was spent.
const SPENT: u8 = 3;

fn main() -> ! {
    let status = run();
    let _ = std::io::stdout().flush();
    // libtorch's exit handlers free only what the system takes back anyway, and take a quarter of the shortest run.
    signal_hook::low_level::exit(status.into())
}

/// The exit status of what the arguments ask for, once it is done.
fn run() -> u8 {
    #[cfg(feature = "torch")]
    graftage::memory::keep();
    let command = match Cli::try_parse() {
        Ok(Cli { command }) => command,
        Err(error) if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            console::tell!("graftage: {}", console::one_line(&error.to_string()));
            return 2;
        }
        Err(help) => {
            // Somebody who reads no further has what they wanted.
            let _ = help.print();
            return if help.use_stderr() { 2 } else { 0 };
        }
    };
    let outcome = graftage::signals::wait().and_then(|()| {
        match command {
        #[cfg(feature = "torch")]
        Task::Train(task) => task.run(),
        #[cfg(not(feature = "torch"))]
        Task::Train { .. } => Err(Error::Usage(
            "this build has no libtorch and cannot train: `cargo build --release --package graftage` makes one that can"
                .into(),
        )),
        #[cfg(feature = "torch")]
        Task::Models(task) => task.run(),
        #[cfg(feature = "torch")]
        Task::Compare(task) => task.run(),
        #[cfg(feature = "torch")]
        Task::Transfer(task) => task.run(),
        Task::Eval(task) => task.run(),
        Task::Graft(task) => task.run(),
        Task::Age(task) => task.run(),
        Task::Introduce(task) => task.run(),
        Task::Rehearse(task) => task.run(),
        Task::Adapt(task) => task.run(),
        Task::Monitor(task) => task.run(),
        Task::Record(task) => task.run(),
        Task::Reset(task) => task.run(),
        Task::Size(task) => task.run(),
        Task::Replay(task) => task.run(),
        Task::Delta(task) => task.run(),
        Task::Theory(task) => task.run(),
        Task::Schedule(task) => task.run(),
        #[cfg(feature = "torch")]
        Task::Bench(task) => task.run(),
        Task::Report(task) => task.run(),
    }
    });
    match outcome {
        Ok(()) if console::all_written() => 0,
        Ok(()) => {
            console::tell!("graftage: standard output cannot be written; the work is done");
            1
        }
        Err(error) => {
            console::tell!("graftage: {error}");
            graftage::signals::status().unwrap_or(if let Error::BudgetSpent(_) = error { SPENT } else { 1 })
        }
    }
}
