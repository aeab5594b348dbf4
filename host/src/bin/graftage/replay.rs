//! `graftage replay`.

use crate::console::{percent, say};
use crate::inputs::{image_of, samples_for};
use clap::Args;
use graftage::adaptation;
use graftage::error::{Error, Result};
use graftage::record::Record;
use graftage::replay::Replayed;
use graftage::report::{Account, Verification, account_page};
use graftage::{files, replay};
use graftage_core::image::Image;
use graftage_core::network::Layer;
use std::path::PathBuf;

#[derive(Args)]
pub struct Replay {
    /// The record of a board's session.
    record: PathBuf,
    /// The image that the board started from.
    #[arg(long)]
    image: PathBuf,
    /// Also write a page: what was learnt when, and what became of the weights.
    #[arg(long, value_name = "REPORT.html")]
    html: Option<PathBuf>,
    /// Samples in the units that trained: measure the image, and the weights in use at the end.
    #[arg(long, value_name = "DATA")]
    test: Option<PathBuf>,
    /// Also write the findings as JSON.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

impl Replay {
    pub fn run(self) -> Result<()> {
        files::check_folders([&self.html, &self.output].into_iter().flatten())?;
        let (record, damage) = Record::salvage(&self.record)?;
        let bytes = image_of(&record, &self.record, &self.image)?;
        let image = Image::parse(&bytes).map_err(|error| Error::Image { path: self.image.clone(), error })?;
        let test = self.test.as_deref().map(|path| samples_for(&image, path)).transpose()?;
        let Replayed { target, mut sessions } = replay::with_core(&record, &image)?;
        // Its tensors are so small that threads would only wait for each other.
        #[cfg(feature = "torch")]
        tch::set_num_threads(1);
        let targets = vec![
            replay::recorded(&record),
            target,
            #[cfg(feature = "torch")]
            replay::with_libtorch(&record, &image)?,
        ];
        say!("{:<16} {:>7} {:>10}  {:<16}  first difference", "target", "updates", "differing", "digest");
        for target in &targets {
            let first = target.first_difference.as_deref().unwrap_or("none");
            say!("{:<16} {:>7} {:>10}  {}  {first}", target.target, target.steps, target.differing, target.digest);
            for array in &target.arrays {
                say!("{:<16} {array}", "");
            }
        }
        if record.has_gap() {
            let samples = record.lessons().count();
            say!("a gap after {samples} samples: what the board learnt later is not recorded");
        }
        let accuracy = test.map(|test| -> Result<_> {
            let mut factory = adaptation::start(adaptation::network(&image)?, image.header.recipe)?;
            let before = adaptation::accuracy(&test, |input| factory.predict(input))?;
            Ok((test.len(), before, adaptation::accuracy(&test, |input| sessions.predict(input))?))
        });
        let accuracy = accuracy.transpose()?;
        if let Some((samples, before, after)) = accuracy {
            let (before, after) = (percent(before), percent(after));
            say!("accuracy of {samples} test samples: {before} by the image, {after} by the weights in use at the end");
        }
        if let Some(path) = &self.html {
            let mut shapes = Vec::new();
            sessions.network_mut().parameters(&mut |parameter| shapes.push(parameter.shape()));
            let account = Account {
                record: &record,
                image: &image,
                in_use: sessions.in_use(),
                shapes: &shapes,
                targets: &targets,
                damage: damage.map(|damage| damage.to_string()),
                accuracy,
            };
            files::write(path, account_page(&account).as_bytes())?;
        }
        let first = targets.iter().find_map(|target| target.first_difference.clone());
        let differing: u64 = targets.iter().map(|target| target.differing).sum();
        if let Some(path) = &self.output {
            files::write_json(path, &Verification { targets })?;
        }
        let events = record.events.len();
        match (damage, first) {
            (None, None) => Ok(()),
            (Some(damage), None) => {
                Err(Error::content(&self.record, format!("{damage}; the {events} before it are equal to the last bit")))
            }
            (Some(damage), Some(first)) => Err(Error::content(
                &self.record,
                format!("{damage}; the {events} before it differ in {differing} places, first: {first}"),
            )),
            (None, Some(first)) => {
                Err(Error::content(&self.record, format!("it differs in {differing} places, first: {first}")))
            }
        }
    }
}
