//! The command line `graftage`.

mod arguments;
mod command;
mod console;
mod inputs;
#[cfg(feature = "torch")]
mod libtorch;
#[cfg(not(feature = "torch"))]
#[path = "without_libtorch.rs"]
mod libtorch;
mod line;
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

/// Trains networks with Transported Scion, grafts them onto microcontrollers, and proves what they learn there.
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
    /// Write the HTML page and the summary of a folder of results.
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
    libtorch::start();
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
    let outcome = graftage::signals::wait().map_err(Into::into).and_then(|()| command.run());
    match outcome {
        Ok(()) if console::all_written() => 0,
        Ok(()) => {
            console::tell!("graftage: standard output cannot be written; the work is done");
            1
        }
        Err(error) => {
            console::tell!("graftage: {error}");
            let spent = matches!(error.downcast_ref(), Some(Error::BudgetSpent(_)));
            graftage::signals::status().unwrap_or(if spent { SPENT } else { 1 })
        }
    }
}
