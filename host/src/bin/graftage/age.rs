//! `graftage age`.

use crate::console::say;
use crate::inputs::{checkpoint_and_data, data_of};
use crate::outputs::Force;
use clap::Args;
use graftage::data::AgedSensor;
use graftage::data::Samples;
use graftage::error::{Error, Result};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Age {
    /// The checkpoint whose split and scale are used.
    checkpoint: PathBuf,
    /// Samples in the units that trained, instead of those that did.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Drift seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Samples of the stream, from the training part.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// The stream to write, as CSV.
    #[arg(long)]
    stream: PathBuf,
    /// The aged test part to write, as CSV.
    #[arg(long)]
    test: PathBuf,
    #[command(flatten)]
    force: Force,
}

impl Age {
    pub fn run(self) -> Result<()> {
        let own = data_of([&self.checkpoint])?;
        let mut claims = self.force.claims([&self.checkpoint].into_iter().chain(&self.data).chain(&own));
        let (stream, tested) = (claims.file(&self.stream)?, claims.file(&self.test)?);
        let (checkpoint, train, test) = checkpoint_and_data(&self.checkpoint, self.data.as_deref())?;
        let sensor = AgedSensor::draw(train.inputs(), self.seed);
        if self.samples == 0 || self.samples > train.len() {
            return Err(Error::Usage(format!("--samples {}: the training part has {}", self.samples, train.len())));
        }
        let normalisation = checkpoint.about.normalisation.as_ref();
        let normalisation = normalisation.ok_or_else(|| Error::content(&self.checkpoint, "a text has no features"))?;
        let legend = &checkpoint.about.legend;
        let aged =
            |samples: &Samples, path: &Path| normalisation.undo(&samples.aged(&sensor))?.bytes(path, 1.0, legend);
        stream.write(&aged(&train.arrive(self.samples, self.seed), &self.stream)?)?;
        tested.write(&aged(&test, &self.test)?)?;
        let (stream, tests) = (self.stream.display(), self.test.display());
        say!("{stream}: {} samples; {tests}: {} samples; drift seed {}", self.samples, test.len(), self.seed);
        Ok(())
    }
}
