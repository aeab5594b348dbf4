//! `graftage bench`.

use crate::console::{Progress, say};
use clap::{Args, Subcommand, ValueEnum};
use graftage::rule;
use graftage_core::polar::Quintics;
use graftage_optim::RULE;
use graftage_train::bench::{Options, optimizer};
use graftage_train::error::{Error, Result};

#[derive(Args)]
pub struct Bench {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// Time a step of the optimizer next to its matrix products and libtorch's own optimizers.
    Optimizer(Optimizer),
}

/// The model consists of a transformer's hidden matrices: four of w×w, one of 4w×w and one of w×4w per layer.
#[derive(Args)]
struct Optimizer {
    /// Width w of the model.
    #[arg(long, default_value_t = 384, value_parser = clap::value_parser!(u32).range(1..=65536))]
    width: u32,
    /// Number of layers.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    layers: u32,
    /// Number of times that each row is timed, in turn with all others.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Device to time.
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// Quintics that compute spectral directions: jordan, you, polar-express-5, polar-express-8, cans or converged; by
    /// default as in training.
    #[arg(long, value_parser = rule::quintics)]
    quintics: Option<Quintics>,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Device {
    #[default]
    Cpu,
    Cuda,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        match self.subject {
            Subject::Optimizer(task) => task.run(),
        }
    }
}

impl Optimizer {
    fn run(self) -> Result<()> {
        let device = match self.device {
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda => graftage_optim::cuda::device()
                .ok_or_else(|| Error::usage("--device cuda: libtorch sees no CUDA device here; use --device cpu"))?,
        };
        let Self { width, layers, repeats, quintics, .. } = self;
        let quintics = quintics.unwrap_or(RULE.quintics);
        let progress = Progress::new("timing", u64::from(repeats) + 1);
        let table = optimizer(Options { width, layers, repeats, device, quintics }, |turn| {
            progress.at(turn.into(), String::new)
        })?;
        drop(progress);
        if self.json {
            say!("{}", serde_json::to_string_pretty(&table).map_err(|error| Error::usage(error.to_string()))?);
            return Ok(());
        }
        let (quintics, threads) = (&table.quintics, table.threads);
        say!(
            "{} parameters on {}, {threads} threads, quintics {quintics}; lower quartile, median, upper quartile",
            table.parameters,
            table.device
        );
        say!("{:<18} {:<9} {:>26}  {:>20}  {:>8}", "step", "kind", "milliseconds", "by its products", "TFLOP/s");
        for row in &table.rows {
            let ([low, median, high], [a, b, c]) = (row.milliseconds, row.ratio);
            let ratio = format!("{a:.3} {b:.3} {c:.3}");
            let rate = row.rate.map_or_else(String::new, |rate| format!("{rate:.3}"));
            let milliseconds = format!("{low:.2} {median:.2} {high:.2}");
            say!("{:<18} {:<9} {milliseconds:>26}  {ratio:>20}  {rate:>8}", row.name, row.kind);
        }
        Ok(())
    }
}
