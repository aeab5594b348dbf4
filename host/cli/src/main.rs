//! The `graftage` command-line program.

mod arguments;
mod command;
mod connection;
mod console;
mod files;
#[cfg(feature = "torch")]
mod libtorch;
#[cfg(not(feature = "torch"))]
#[path = "without_libtorch.rs"]
mod libtorch;
mod outputs;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use command::{
    adapt, age, delta, eval, graft, introduce, monitor, record, rehearse, replay, report, reset, schedule, size, theory,
};
use graftage::error::Error;
use std::io::Write;

/// Result of a command.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Trains networks with Transported Scion, grafts them onto microcontrollers, and verifies what they learn there.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    #[command(flatten)]
    Training(libtorch::Training),
    /// Measure a network's accuracy.
    Eval(eval::Eval),
    /// Convert a checkpoint to a weights image and the Rust type of its network.
    Graft(graft::Graft),
    /// Write a stream of labelled samples, and test samples, as an aged sensor would measure them.
    Age(age::Age),
    /// Write streams of labelled samples, and test samples, of the groups that the training left out.
    Introduce(introduce::Introduce),
    /// Adapt on this machine with each method and step size, over many aged sensors or unseen groups.
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
    /// Write the HTML page and the summary for a folder of results.
    Report(report::Report),
}

impl Task {
    /// Does what the command asks for.
    fn run(self) -> Outcome {
        match self {
            Self::Training(task) => task.run()?,
            Self::Eval(task) => task.run()?,
            Self::Graft(task) => task.run()?,
            Self::Age(task) => task.run()?,
            Self::Introduce(task) => task.run()?,
            Self::Rehearse(task) => task.run()?,
            Self::Adapt(task) => task.run()?,
            Self::Monitor(task) => task.run()?,
            Self::Record(task) => task.run()?,
            Self::Reset(task) => task.run()?,
            Self::Size(task) => task.run()?,
            Self::Replay(task) => task.run()?,
            Self::Delta(task) => task.run()?,
            Self::Theory(task) => task.run()?,
            Self::Schedule(task) => task.run()?,
            Self::Report(task) => task.run()?,
        }
        Ok(())
    }
}

/// Exit status if everything succeeded except that a movement budget was spent.
const SPENT: u8 = 3;

fn main() -> ! {
    let status = run();
    let _ = std::io::stdout().flush();
    // libtorch's exit handlers only free what the system reclaims anyway, and take a quarter of the shortest run.
    signal_hook::low_level::exit(status.into())
}

/// Runs the command that the arguments name, and returns the exit status.
fn run() -> u8 {
    libtorch::start();
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
    let outcome = graftage::signals::wait().map_err(Into::into).and_then(|()| command.run());
    match outcome {
        Ok(()) if console::all_written() => 0,
        Ok(()) => {
            console::tell!("graftage: cannot write to standard output, but the work is done");
            1
        }
        Err(error) => {
            console::tell!("graftage: {error}");
            let spent = matches!(error.downcast_ref(), Some(Error::BudgetSpent(_)));
            graftage::signals::status().unwrap_or(if spent { SPENT } else { 1 })
        }
    }
}
