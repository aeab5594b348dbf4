//! `graftage report`.

use crate::console::say;
use clap::Args;
use graftage::error::Result;
use graftage::report::Story;
use graftage::{files, report};
use std::path::PathBuf;

#[derive(Args)]
pub struct Report {
    /// A folder with training/training.json, rehearsal.json, session.json, verification.json and memory.json.
    folder: PathBuf,
}

impl Report {
    pub fn run(self) -> Result<()> {
        let story = Story::read(&self.folder)?;
        let summary = report::summary(&story);
        files::write(&self.folder.join("report.html"), report::page(&story).as_bytes())?;
        files::write_json(&self.folder.join("summary.json"), &summary)?;
        say!("{}", report::sentence(&summary));
        Ok(())
    }
}
