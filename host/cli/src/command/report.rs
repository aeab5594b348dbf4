//! `graftage report`.

use crate::console::say;
use crate::outputs::Force;
use clap::Args;
use graftage::error::Result;
use graftage::report;
use graftage::report::Story;
use std::path::PathBuf;

#[derive(Args)]
pub struct Report {
    /// Folder with training/training.json, rehearsal.json, session.json, verification.json and memory.json.
    folder: PathBuf,
    #[command(flatten)]
    force: Force,
}

const PAGE: &str = "report.html";
const SUMMARY: &str = "summary.json";

impl Report {
    pub fn run(self) -> Result<()> {
        let folder = self.force.claims([]).folder(&self.folder, &[PAGE, SUMMARY])?;
        let story = Story::read(&self.folder)?;
        let summary = report::summary(&story);
        let mut change = folder.change();
        change.add(PAGE, report::page(&story).as_bytes())?;
        change.add_json(SUMMARY, &summary)?;
        change.commit()?;
        say!("{}", report::sentence(&summary));
        Ok(())
    }
}
