//! `graftage replay`.

use crate::console::say;
use crate::files::{image_of, samples_for};
use crate::outputs::Force;
use crate::{Outcome, libtorch};
use clap::Args;
use graftage::confusion::{Compared, Confusion};
use graftage::error::{Error, Result};
use graftage::record::{Found, Record};
use graftage::replay::{self, Replayed, Verification};
use graftage::report::{Account, account_page};
use graftage::statistics::percent;
use graftage::workstation;
use graftage_core::network::Layer;
use std::path::PathBuf;

#[derive(Args)]
pub struct Replay {
    /// Record of a board's session.
    record: PathBuf,
    /// Image that the board started from.
    #[arg(long)]
    image: PathBuf,
    /// Also write a page about what was learnt when, and how the weights changed.
    #[arg(long, value_name = "REPORT.html")]
    html: Option<PathBuf>,
    /// Samples in the units of the training data, to measure the image and the weights in use at the end.
    #[arg(long, value_name = "DATA")]
    test: Option<PathBuf>,
    /// Also write the findings, as JSON.
    #[arg(long, short)]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

impl Replay {
    pub fn run(self) -> Outcome {
        let mut claims = self.force.claims([&self.record, &self.image].into_iter().chain(&self.test));
        let (html, output) = (claims.option(self.html.as_ref())?, claims.option(self.output.as_ref())?);
        let Found { record, damage, finished, .. } = Record::salvage(&self.record)?;
        let file = image_of(&record, &self.record, &self.image)?;
        let image = file.image()?;
        let test = self.test.as_deref().map(|path| samples_for(&file, path)).transpose()?;
        let Replayed { target, mut sessions } = replay::with_core(&record, &image)?;
        let targets: Vec<_> =
            [replay::recorded(&record), target].into_iter().chain(libtorch::replayed(&record, &image)?).collect();
        say!("{:<16} {:>7} {:>10}  {:<16}  first difference", "target", "updates", "differing", "digest");
        for target in &targets {
            let first = target.first_difference.as_deref().unwrap_or("none");
            say!("{:<16} {:>7} {:>10}  {}  {first}", target.target, target.steps, target.differing, target.digest);
            for array in &target.arrays {
                say!("{:<16} {array}", "");
            }
        }
        record.alarms().for_each(|alarm| say!("{alarm}"));
        if record.has_gap() {
            let samples = record.lessons().count();
            say!("there is a gap after {samples} samples: what the board learnt later is not recorded");
        }
        if !finished && damage.is_none() {
            let events = record.events.len();
            say!(
                "the record is unfinished: the command that wrote it was stopped, or is still running; its {events} events are complete"
            );
        }
        let confusions = test.map(|test| -> Result<_> {
            let classes = || file.legend().classes.clone();
            let mut factory = workstation::start(workstation::network(&image)?, image.header.recipe, image.start())?;
            let before = Confusion::of(&test, classes(), |input| factory.predict(input))?;
            Ok(Compared { before, after: Confusion::of(&test, classes(), |input| sessions.predict(input))? })
        });
        let confusions = confusions.transpose()?;
        if let Some(Compared { before, after }) = &confusions {
            let (samples, [was, is]) = (before.samples(), [before, after].map(|part| percent(part.accuracy())));
            say!("accuracy on {samples} test samples: {was} with the image, {is} with the weights in use at the end");
            say!("{}", Confusion::comparison(before, after));
        }
        if let Some(html) = html {
            let mut shapes = Vec::new();
            sessions.network_mut().parameters(&mut |parameter| shapes.push(parameter.shape()));
            let account = Account {
                record: &record,
                image: &image,
                in_use: sessions.in_use(),
                shapes: &shapes,
                targets: &targets,
                damage: damage.map(|damage| damage.to_string()),
                confusions,
            };
            html.write(account_page(&account).as_bytes())?;
        }
        let first = targets.iter().find_map(|target| target.first_difference.clone());
        let differing: u64 = targets.iter().map(|target| target.differing).sum();
        if let Some(output) = output {
            output.write_json(&Verification { targets })?;
        }
        let events = record.events.len();
        match (damage, first) {
            (None, None) => Ok(()),
            (Some(damage), None) => {
                let what = format!("{damage}; the {events} events before that are bit-identical");
                Err(Error::content(&self.record, what).into())
            }
            (Some(damage), Some(first)) => {
                let what =
                    format!("{damage}; the {events} events before that differ in {differing} places, first: {first}");
                Err(Error::content(&self.record, what).into())
            }
            (None, Some(first)) => {
                Err(Error::content(&self.record, format!("it differs in {differing} places, first: {first}")).into())
            }
        }
    }
}
