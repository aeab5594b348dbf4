//! `graftage introduce`.

use crate::arguments::{Seeds, seeds};
use crate::console::say;
use crate::inputs::checkpoint_and_unseen;
use clap::Args;
use graftage::error::{Error, Result};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Introduce {
    /// The checkpoint, whose training left groups out.
    checkpoint: PathBuf,
    /// Samples in the units that trained, instead of those that did.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Labelled samples a class of a stream, where there are twice as many; else half of those that there are.
    #[arg(long, value_name = "SAMPLES", default_value_t = 5)]
    per_class: usize,
    /// Seeds of a group's streams.
    #[arg(long, value_parser = seeds, default_value = "1..3")]
    streams: Seeds,
    /// The folder to write GROUP-SEED.stream.csv and GROUP-SEED.test.csv into.
    #[arg(long, short)]
    output: PathBuf,
}

impl Introduce {
    pub fn run(self) -> Result<()> {
        if self.per_class == 0 {
            return Err(Error::Usage("--per-class 0: there is nothing to learn from".into()));
        }
        let (checkpoint, groups) = checkpoint_and_unseen(&self.checkpoint, self.data.as_deref())?;
        let normalisation = checkpoint.about.normalisation.as_ref();
        let normalisation = normalisation.ok_or_else(|| Error::content(&self.checkpoint, "a text has no features"))?;
        normalisation.check_binary32().map_err(|e| Error::content(&self.checkpoint, e))?;
        // All names before the first file.
        if let Some((name, _)) = groups.iter().find(|(name, _)| Path::new(name).file_name() != Some(name.as_ref())) {
            return Err(Error::content(&self.checkpoint, format!("a file cannot be called after group {name:?}")));
        }
        std::fs::create_dir_all(&self.output).map_err(Error::file(&self.output))?;
        for (name, samples) in &groups {
            for seed in &self.streams.0 {
                let (stream, test) = samples.introduce(self.per_class, *seed);
                let file = |part: &str| self.output.join(format!("{name}-{seed}.{part}.csv"));
                normalisation.undo(&stream)?.write(&file("stream"), 1.0, &checkpoint.about.legend)?;
                normalisation.undo(&test)?.write(&file("test"), 1.0, &checkpoint.about.legend)?;
                say!("{name}, stream {seed}: {} labelled samples, {} to test", stream.len(), test.len());
            }
        }
        Ok(())
    }
}
