//! The `graftage` command-line program.

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

/// Trains networks with Transported Scion, grafts them onto microcontrollers, and verifies what they learn there.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train a model in libtorch as configured in a TOML file.
    #[cfg(feature = "torch")]
    Train(train::Train),
    /// Unavailable in this build, which has no libtorch.
    #[cfg(not(feature = "torch"))]
    Train {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<String>,
    },
    /// Show the parameters and memory of a configuration without training.
    #[cfg(feature = "torch")]
    Models(models::Models),
    /// Train with several optimizers, each tuned, and compare them side by side.
    #[cfg(feature = "torch")]
    Compare(compare::Compare),
    /// Train at several widths over a grid of step sizes, to show whether the best one moves.
    #[cfg(feature = "torch")]
    Transfer(transfer::Transfer),
    /// Measure a network's accuracy.
    Eval(eval::Eval),
    /// Convert a checkpoint to a weights image and the Rust type of its network.
    Graft(graft::Graft),
    /// Write a stream of labelled samples, and test samples, as an aged sensor would measure them.
    Age(age::Age),
    /// Write streams of labelled samples, and test samples, of the groups that the training left out.
    Introduce(introduce::Introduce),
    /// Adapt on this machine with each method and step size, over many drifts or unseen groups.
    Rehearse(rehearse::Rehearse),
    /// Let a board learn from a stream of labelled samples, and measure its accuracy.
    Adapt(adapt::Adapt),
    /// Show the activity of a board that learns by itself.
    Monitor(monitor::Monitor),
    /// Fetch the journal that a board kept by itself, as a record for `graftage replay`.
    Record(record::Record),
    /// Make a board forget what it has learnt and start again from its image.
    Reset(reset::Reset),
    /// Show how much flash and RAM a firmware uses.
    Size(size::Size),
    /// Recompute a board's recorded adaptation: either it is equal to the last bit, or the first difference is shown.
    Replay(replay::Replay),
    /// Store what a board has learnt as the difference from its image.
    Delta(delta::Delta),
    /// Check core's rule against the theory, on problems constructed for this purpose.
    Theory(theory::Theory),
    /// Print the momentum, step size and batch that the theory prescribes.
    Schedule(schedule::Schedule),
    /// Time a part of this library next to comparable implementations.
    #[cfg(feature = "torch")]
    Bench(bench::Bench),
    /// Write the HTML page and the summary for a folder of results.
    Report(report::Report),
}

/// Exit status if everything succeeded except that a drift budget was spent.
const SPENT: u8 = 3;

fn main() -> ! {
    let status = run();
    let _ = std::io::stdout().flush();
    // libtorch's exit handlers only free what the system reclaims anyway, and take a quarter of the shortest run.
    signal_hook::low_level::exit(status.into())
}

/// Runs the command that the arguments name, and returns the exit status.
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
            // The output may be closed by a reader that has seen enough.
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
