//! `graftage graft`.

use crate::arguments::RecipeArguments;
use crate::console::say;
use crate::outputs::Force;
use clap::Args;
use graftage::checkpoint::Checkpoint;
use graftage::data::Normalisation;
use graftage::error::{Error, Result};
use graftage::graft::{self, Grafted};
use graftage::{files, rule};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Args)]
pub struct Graft {
    /// Checkpoint to convert.
    checkpoint: PathBuf,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Use the step size that a rehearsal chose for the board's method.
    #[arg(long, value_name = "FILE", conflicts_with = "step_size")]
    rehearsal: Option<PathBuf>,
    /// Number of layers with weights that learn on the device, counted from the last; the others are frozen. Their
    /// radii follow the scale of their weights, regardless of how these were trained. By default all layers learn, with
    /// the usual radii.
    #[arg(long, value_name = "LAYERS")]
    train_last: Option<usize>,
    /// Folder to write image.grft and network.rs into.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
}

/// Part of any rehearsal's result that holds the step size chosen for the board's method.
#[derive(Deserialize)]
struct Chosen {
    methods: Vec<Method>,
}

#[derive(Deserialize)]
struct Method {
    step_size: f32,
}

impl Graft {
    pub fn run(self) -> Result<()> {
        let claims = self.force.claims([&self.checkpoint].into_iter().chain(&self.rehearsal));
        let claimed = claims.folder(&self.output, &[graft::IMAGE, graft::NETWORK]).map_err(|error| match error {
            Error::Content { path, what } if path.ends_with(graft::IMAGE) => {
                Error::content(&path, format!("{what}; a record needs the image that its board started with"))
            }
            other => other,
        })?;
        let checkpoint = Checkpoint::read(&self.checkpoint)?;
        let normalisation = checkpoint.about.normalisation.as_ref();
        normalisation.map_or(Ok(()), Normalisation::check_binary32).map_err(|e| Error::content(&self.checkpoint, e))?;
        let mut recipe = self.recipe.recipe()?;
        if let Some(path) = &self.rehearsal {
            let rehearsal: Chosen = files::read_json(path)?;
            let first =
                rehearsal.methods.first().ok_or_else(|| Error::content(path, "this rehearsal has no methods"))?;
            recipe.rule.step_size = first.step_size;
            rule::check(&recipe.rule)
                .map_err(|e| Error::content(path, format!("its step size {}: {e}", first.step_size)))?;
        }
        let grafted = Grafted::new(&checkpoint, recipe, self.train_last.unwrap_or(usize::MAX))?;
        grafted.write(&claimed)?;
        let folder = self.output.display();
        say!("{folder}/{} and {folder}/{}: schema {:016x}", graft::IMAGE, graft::NETWORK, grafted.header.schema);
        if let Some(classes) = checkpoint.about.legend.classes_in_words() {
            say!("{classes}");
        }
        Ok(())
    }
}
