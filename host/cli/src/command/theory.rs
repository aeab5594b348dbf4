//! `graftage theory`.

use crate::console::{Progress, say};
use crate::outputs::Force;
use clap::Args;
use graftage::error::{Error, Result};
use graftage::files::{self, Folder, Written};
use graftage::parallel;
use graftage_theory::implementation::Core;
use graftage_theory::table::table;
use graftage_theory::theory_page;
use graftage_theory::{Extent, Results, Settings, Verdict, run};
use std::path::PathBuf;

#[derive(Args)]
pub struct Theory {
    /// Run only what is needed to check the promises, within two minutes.
    #[arg(long)]
    quick: bool,
    /// Folder for results.json, results.txt and report.html; created if it is missing.
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,
    /// Continue after the last finished experiment in the output folder.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of threads; by default one per processor.
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    force: Force,
}

const RESULTS: &str = "results.json";
/// Files generated from the results at the end.
const MADE: [&str; 2] = ["results.txt", "report.html"];

impl Theory {
    pub fn run(self) -> Result<()> {
        let extent = if self.quick { Extent::Quick } else { Extent::Full };
        let threads = self.threads.unwrap_or_else(parallel::processors);
        parallel::check("--threads", threads)?;
        let folder = Folder::open(&self.output, self.force.given())?;
        let json = folder.file(RESULTS);
        let mut results = match (json.exists(), self.resume) {
            (true, true) => {
                let results = Results::read(&json, extent, self.seed)?;
                folder.own(RESULTS);
                folder.claim_again(&MADE, &results.written)?;
                results
            }
            (false, true) => {
                return Err(Error::content(
                    &json,
                    "does not exist, so there is nothing to resume; start without --resume",
                ));
            }
            (true, false) if !self.force.given() => {
                let what = "holds results; continue with --resume, start again with --force, or name another output";
                return Err(Error::content(&json, what));
            }
            (_, false) => {
                folder.claim(&MADE)?;
                Results::new(extent, self.seed)
            }
        };
        for experiment in results.missing() {
            let progress = Progress::new(experiment.title(), 0);
            let report = |done, total| {
                progress.total(total as u64);
                progress.at(done as u64, String::new);
            };
            let settings = Settings { extent, seed: self.seed, threads, progress: &report };
            results.add(run::<Core>(experiment, &settings)?);
            let mut change = folder.change();
            change.add_json(RESULTS, &results)?;
            change.supersede(&MADE);
            change.commit()?;
        }
        let text = table(&results);
        let page = theory_page(&results);
        let mut change = folder.change();
        results.written = Written::default();
        for (name, bytes) in MADE.into_iter().zip([text.as_bytes(), page.as_bytes()]) {
            change.add(name, bytes)?;
            results.written.add(name, bytes);
        }
        change.add(RESULTS, &files::json(&json, &results)?)?;
        change.commit()?;
        say!("{text}{}", folder.file(MADE[1]).display());
        let Verdict { promised, complaints } = results.verdict();
        match &complaints[..] {
            [] => Ok(()),
            [first, ..] => Err(Error::Usage(format!(
                "{} of {promised} promises do not hold, the first being {first}; all are in {}",
                complaints.len(),
                self.output.display()
            ))),
        }
    }
}
