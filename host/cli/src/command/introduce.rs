//! `graftage introduce`.

use crate::arguments::{Seeds, seeds};
use crate::console::say;
use crate::files::checkpoint_and_unseen;
use crate::outputs::Force;
use clap::Args;
use graftage::error::{Error, Result};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Introduce {
    /// Checkpoint whose training left out groups.
    checkpoint: PathBuf,
    /// Samples in the units of the training data, to use instead of the checkpoint's own data.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Labelled samples per class in a stream, at most half of a class.
    #[arg(long, value_name = "SAMPLES", default_value_t = 5)]
    per_class: usize,
    /// Seeds of each group's streams.
    #[arg(long, value_parser = seeds, default_value = "1..3")]
    streams: Seeds,
    /// Folder to write GROUP-SEED.stream.csv and GROUP-SEED.test.csv into.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
}

/// Files written for each stream.
const PARTS: [&str; 2] = ["stream", "test"];

impl Introduce {
    pub fn run(self) -> Result<()> {
        if self.per_class == 0 {
            return Err(Error::Usage("--per-class 0: there is nothing to learn from".into()));
        }
        let (checkpoint, groups) = checkpoint_and_unseen(&self.checkpoint, self.data.as_deref())?;
        let normalisation = checkpoint.about.normalisation.as_ref();
        let normalisation = normalisation.ok_or_else(|| Error::content(&self.checkpoint, "a text has no features"))?;
        normalisation.check_binary32().map_err(|e| Error::content(&self.checkpoint, e))?;
        // All names are checked before the first file is written.
        if let Some((name, _)) = groups.iter().find(|(name, _)| Path::new(name).file_name() != Some(name.as_ref())) {
            return Err(Error::content(&self.checkpoint, format!("group {name:?} cannot be part of a file name")));
        }
        let file = |name: &str, seed: &u64, part: &str| format!("{name}-{seed}.{part}.csv");
        let streams = groups.iter().flat_map(|(name, _)| self.streams.0.iter().map(move |seed| (name, seed)));
        let names: Vec<_> = streams.flat_map(|(name, seed)| PARTS.map(|part| file(name, seed, part))).collect();
        let own = checkpoint.about.data.paths();
        let claims = self.force.claims([&self.checkpoint].into_iter().chain(&self.data).chain(&own));
        let folder = claims.folder(&self.output, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let mut change = folder.change();
        let mut lines = Vec::new();
        for (name, samples) in &groups {
            for seed in &self.streams.0 {
                let (stream, test) = samples.introduce(self.per_class, *seed);
                for (part, samples) in PARTS.into_iter().zip([&stream, &test]) {
                    let file = file(name, seed, part);
                    let legend = &checkpoint.about.legend;
                    change.add(&file, &normalisation.undo(samples)?.bytes(&folder.file(&file), 1.0, legend)?)?;
                }
                let (labelled, test) = (stream.len(), test.len());
                lines.push(format!("{name}, stream {seed}: {labelled} labelled samples, {test} test samples"));
            }
        }
        change.commit()?;
        lines.iter().for_each(|line| say!("{line}"));
        Ok(())
    }
}
