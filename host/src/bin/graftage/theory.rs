//! `graftage theory`.

use crate::console::{Progress, say};
use clap::Args;
use graftage::error::{Error, Result};
use graftage::files;
use graftage::report::theory_page;
use graftage::theory::subject::Core;
use graftage::theory::table::table;
use graftage::theory::{Extent, Results, Settings, run};
use std::num::NonZero;
use std::path::PathBuf;

#[derive(Args)]
pub struct Theory {
    /// Only what is promised, within two minutes.
    #[arg(long)]
    quick: bool,
    /// Folder for results.json, results.txt and report.html; it is made where it is missing.
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,
    /// Go on after the last finished experiment of the output folder.
    #[arg(long)]
    resume: bool,
    /// Of everything that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; all processors where it is not given.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
}

impl Theory {
    pub fn run(self) -> Result<()> {
        let extent = if self.quick { Extent::Quick } else { Extent::Full };
        let json = self.output.join("results.json");
        let mut results = match (json.exists(), self.resume) {
            (true, true) => Results::read(&json, extent, self.seed)?,
            (false, true) => return Err(Error::content(&json, "is not there to go on from; start without --resume")),
            (true, false) => {
                let what = "holds results; go on with --resume, or name another output";
                return Err(Error::content(&json, what));
            }
            (false, false) => Results::new(extent, self.seed),
        };
        std::fs::create_dir_all(&self.output).map_err(Error::file(&self.output))?;
        let threads = self.threads.or(std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
        for experiment in results.missing() {
            let progress = Progress::new(experiment.title(), 0);
            let report = |done, total| {
                progress.total(total as u64);
                progress.at(done as u64, String::new);
            };
            let settings = Settings { extent, seed: self.seed, threads, progress: &report };
            results.add(run::<Core>(experiment, &settings)?);
            files::write_json(&json, &results)?;
        }
        let text = table(&results);
        files::write(&self.output.join("results.txt"), text.as_bytes())?;
        let page = self.output.join("report.html");
        files::write(&page, theory_page(&results).as_bytes())?;
        say!("{text}{}", page.display());
        let (promised, complaints) = results.verdict();
        match &complaints[..] {
            [] => Ok(()),
            [first, ..] => Err(Error::Usage(format!(
                "{} of {promised} promises do not hold, the first: {first}; all are in {}",
                complaints.len(),
                self.output.display()
            ))),
        }
    }
}
