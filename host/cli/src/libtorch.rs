//! Everything that needs libtorch.

mod bench;
mod compare;
mod models;
mod train;
mod transfer;
mod trials;

use crate::Outcome;
use crate::console::say;
use clap::Subcommand;
use graftage::data::Role;
use graftage::record::Record;
use graftage::replay::Target;
use graftage::statistics::percent;
use graftage_core::image::Image;
use graftage_train::error::Result;
use graftage_train::{exact, trainer};
use std::path::Path;

/// Prepares the process; called once, before it has another thread.
pub fn start() {
    graftage_optim::memory::keep();
}

#[derive(Subcommand)]
pub enum Training {
    /// Train a model in libtorch as configured in a TOML file.
    Train(train::Train),
    /// Show the parameters and memory of a configuration without training.
    Models(models::Models),
    /// Train with several optimizers, each tuned, and compare them side by side.
    Compare(compare::Compare),
    /// Train at several widths over a grid of step sizes, to show whether the best one moves.
    Transfer(transfer::Transfer),
    /// Time a part of this library next to comparable implementations.
    Bench(bench::Bench),
}

impl Training {
    pub fn run(self) -> Outcome {
        match self {
            Self::Train(task) => task.run(),
            Self::Models(task) => task.run(),
            Self::Compare(task) => task.run(),
            Self::Transfer(task) => task.run(),
            Self::Bench(task) => task.run(),
        }
        .map_err(Into::into)
    }
}

/// Measures a model that core has no layers for.
pub fn evaluate(checkpoint: &Path, data: Option<&Path>, role: Option<Role>) -> Option<Outcome> {
    let measured = |found: trainer::Evaluation| {
        say!(
            "loss {:.4} nats, accuracy {} over {} answers",
            found.measured.loss,
            percent(found.measured.accuracy),
            found.answers
        );
        if let Some(confusion) = &found.confusion {
            say!("{}", confusion.table());
        }
    };
    Some(trainer::evaluate(checkpoint, data, role).map(measured).map_err(Into::into))
}

/// Computes a record again with libtorch, in core's order.
pub fn replayed(record: &Record, image: &Image) -> Result<Option<Target>> {
    // The tensors are so small that threads would only wait for each other.
    tch::set_num_threads(1);
    exact::replayed(record, image).map(Some)
}
