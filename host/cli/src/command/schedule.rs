//! `graftage schedule`.

use crate::console::say;
use clap::Args;
use graftage::error::{Error, Result};
use graftage_core::schedule::{Theory, theory};
use graftage_theory::Method;

#[derive(Args)]
pub struct Schedule {
    /// Moment p that the gradient's noise has, above 1 and at most 2; 2 means finite variance.
    #[arg(long)]
    p: f32,
    /// Rank r = min(m, n) of the largest matrix.
    #[arg(long)]
    rank: u32,
    /// Number N of samples in the whole training.
    #[arg(long)]
    samples: f32,
}

impl Schedule {
    pub fn run(self) -> Result<()> {
        let Self { p, rank, samples } = self;
        say!("p = {p}, r = {rank}, N = {samples}, all constants of the problem equal to 1:");
        say!("{:<12} {:>8} {:>10} {:>11} {:>12} {:>11} {:>9}", "", "B", "steps", "α", "β = 1 − α", "η", "error");
        for method in Method::ALL {
            let values = theory(p, rank, samples, method == Method::Transported);
            let Theory { alpha, step_size } = values.map_err(|_| {
                Error::Usage(
                    "p must be above 1 and at most 2, the rank at least 1, and the samples at least the rank".into(),
                )
            })?;
            let error = (f64::from(samples) / f64::from(rank)).powf(-method.rate(f64::from(p)));
            // Only α/B and η/B matter, so the batch may grow until nothing is averaged any more.
            let largest = (1.0 / alpha).floor();
            for batch in [1.0, 2f32.powf((largest.log2() / 2.0).round()), largest] {
                let (alpha, step_size) = (alpha * batch, step_size * batch);
                say!(
                    "{:<12} {batch:>8} {:>10.0} {alpha:>11.3e} {:>12.6} {step_size:>11.3e} {error:>9.4}",
                    method.name(),
                    (samples / batch).floor(),
                    1.0 - alpha,
                );
            }
        }
        say!(
            "α and η are for smoothness, first loss, noise and radius equal to 1; for others, see docs/theory.md. Tune both."
        );
        Ok(())
    }
}
