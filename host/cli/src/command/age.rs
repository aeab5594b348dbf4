//! `graftage age`.

use crate::arguments::share;
use crate::console::say;
use crate::files::data_of;
use crate::outputs::Force;
use clap::Args;
use graftage::checkpoint::Trained;
use graftage::data::{AgedSensor, AgeingSensor, Samples};
use graftage::error::{Error, Result};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Age {
    /// Checkpoint whose split and normalisation are used.
    checkpoint: PathBuf,
    /// Samples in the units of the training data, to use instead of the checkpoint's own data.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Seed of the ageing.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of samples in the stream, taken from the training part.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Write a stream of this many samples through a sensor that keeps ageing, repeating the training part as needed;
    /// the test samples use the sensor's final state.
    #[arg(long, value_name = "SAMPLES", conflicts_with = "samples")]
    life: Option<usize>,
    /// Probability that a label of the stream is wrong.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.0, allow_negative_numbers = true)]
    wrong_labels: f32,
    /// CSV file to write the stream to.
    #[arg(long)]
    stream: PathBuf,
    /// CSV file to write the aged test part to.
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
        let Trained { checkpoint, train, test } = Trained::read(&self.checkpoint, self.data.as_deref())?;
        let seed = self.seed;
        let (mut met, sensor) = match self.life {
            Some(0) => return Err(Error::Usage("--life 0: a life must have at least one sample".into())),
            Some(samples) => {
                let sensor = AgeingSensor::draw(train.inputs(), seed, samples);
                (train.arrive(samples, seed).ageing(&sensor), sensor.after(samples))
            }
            None if self.samples == 0 || self.samples > train.len() => {
                let what = format!("--samples {}: the training part has only {}", self.samples, train.len());
                return Err(Error::Usage(what));
            }
            None => {
                let sensor = AgedSensor::draw(train.inputs(), seed);
                (train.arrive(self.samples, seed).aged(&sensor), sensor)
            }
        };
        met.mislabel(self.wrong_labels, checkpoint.numbers().outputs, seed);
        let normalisation = checkpoint.about.normalisation.as_ref();
        let normalisation = normalisation.ok_or_else(|| Error::content(&self.checkpoint, "a text has no features"))?;
        let legend = &checkpoint.about.legend;
        let bytes = |samples: &Samples, path: &Path| normalisation.undo(samples)?.bytes(path, 1.0, legend);
        stream.write(&bytes(&met, &self.stream)?)?;
        tested.write(&bytes(&test.aged(&sensor), &self.test)?)?;
        let (stream, tests) = (self.stream.display(), self.test.display());
        say!("{stream}: {} samples; {tests}: {} samples; ageing seed {seed}", met.len(), test.len());
        Ok(())
    }
}
