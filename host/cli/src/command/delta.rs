//! `graftage delta`.

use crate::connection::Patience;
use crate::console::say;
use crate::files::{image_of, image_on, samples_for};
use crate::outputs::Force;
use clap::{Args, Subcommand};
use graftage::board::Port;
use graftage::delta::{Count, Delta as Difference};
use graftage::error::{Error, Result};
use graftage::image::{ImageFile, with_names};
use graftage::record::{Event, Record};
use graftage::replay;
use graftage::statistics::percent;
use graftage::workstation::{self, accuracy};
use graftage_core::image::Image;
use graftage_link::Array;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Delta {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the difference between a board's weights in use and its image.
    Make(Make),
    /// Write the image of the adapted weights; a board flashed with it learns around the weights of the original image.
    Apply(Apply),
    /// Measure the accuracy of the image's weights and of the adapted ones.
    Eval(Eval),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Record of the board, from which its weights are recomputed.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Port of the board itself: /dev/ttyACM0, tcp:HOST:PORT, or qemu:FIRMWARE.
    #[arg(long)]
    port: Option<Port>,
}

#[derive(Args)]
struct Make {
    /// Image that the board started from.
    #[arg(long)]
    image: PathBuf,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    patience: Patience,
    /// File to write the delta to.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
}

#[derive(Args)]
struct Apply {
    /// Image that the delta is for.
    #[arg(long)]
    image: PathBuf,
    /// Delta to apply.
    delta: PathBuf,
    /// File to write the image to.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
}

#[derive(Args)]
struct Eval {
    /// Image that the delta is for.
    #[arg(long)]
    image: PathBuf,
    /// Delta to measure.
    delta: PathBuf,
    /// Samples in the units of the training data.
    #[arg(long)]
    test: PathBuf,
}

impl Delta {
    pub fn run(self) -> Result<()> {
        match self.task {
            Task::Make(task) => task.run(),
            Task::Apply(task) => task.run(),
            Task::Eval(task) => task.run(),
        }
    }
}

impl Make {
    fn run(self) -> Result<()> {
        let mut claims = self.force.claims(
            [&self.image].into_iter().chain(&self.source.record).chain(self.source.port.iter().flat_map(Port::files)),
        );
        let output = claims.file(&self.output)?;
        let file = ImageFile::read(&self.image)?;
        let image = file.image()?;
        let adapted = match &self.source {
            Source { record: Some(path), .. } => recorded(path, &self.image, &image)?,
            Source { port: Some(port), .. } => asked(port, self.patience, &self.image, &file)?,
            Source { record: None, port: None } => return Err(Error::Usage("a delta needs --record or --port".into())),
        };
        let delta =
            Difference::between(&image, file.identity(), &adapted).map_err(|e| Error::content(&self.image, e))?;
        let written = delta.to_bytes();
        output.write(&written)?;
        let Count { differing, all } = delta.count();
        say!(
            "{}: {} bytes for {differing} of {all} weights, {} of the {} bytes of all weights",
            self.output.display(),
            written.len(),
            percent(written.len() as f32 / (4 * all) as f32),
            4 * all
        );
        Ok(())
    }
}

impl Apply {
    fn run(self) -> Result<()> {
        let output = self.force.claims([&self.image, &self.delta]).file(&self.output)?;
        let file = ImageFile::read(&self.image)?;
        output.write(&with_names(&applied(&file, &self.delta)?, file.legend()))?;
        say!("{}: the image of the adapted weights", self.output.display());
        Ok(())
    }
}

impl Eval {
    fn run(self) -> Result<()> {
        let file = ImageFile::read(&self.image)?;
        let adapted = applied(&file, &self.delta)?;
        let test = samples_for(&file, &self.test)?;
        let measured = |image: &Image| {
            let mut network = workstation::start(workstation::network(image)?, image.header.recipe, image.start())?;
            accuracy(&test, |input| network.predict(input))
        };
        let (before, after) = (measured(&file.image()?)?, measured(&parsed(&self.delta, &adapted)?)?);
        say!("accuracy on {} samples: {} with the image, {} adapted", test.len(), percent(before), percent(after));
        Ok(())
    }
}

fn parsed<'a>(path: &Path, bytes: &'a [u8]) -> Result<Image<'a>> {
    Image::parse(bytes).map_err(|error| Error::Image { path: path.to_owned(), error })
}

fn applied(file: &ImageFile, delta: &Path) -> Result<Vec<u8>> {
    Difference::read(delta)?.apply(&file.image()?, file.identity()).map_err(|e| Error::content(delta, e))
}

/// Recomputes the weights in use at the end of a record.
fn recorded(path: &Path, image_path: &Path, image: &Image) -> Result<Vec<f32>> {
    let record = Record::read(path)?;
    image_of(&record, path, image_path)?;
    if !record.events.iter().any(|event| matches!(event, Event::End(_))) {
        return Err(Error::content(path, "no session has ended in it: the board still uses its image's weights"));
    }
    let mut replayed = replay::with_core(&record, image)?;
    match replayed.target.first_difference {
        None => Ok(replayed.sessions.in_use().to_vec()),
        Some(first) => {
            Err(Error::content(path, format!("recomputing it gives another result; first difference: {first}")))
        }
    }
}

/// Reads the weights in use from a board.
fn asked(port: &Port, patience: Patience, image_path: &Path, image: &ImageFile) -> Result<Vec<f32>> {
    let mut board = patience.open(port, Some(image_path), None)?;
    let hello = board.hello()?;
    let status = hello.status.map_err(|error| Error::Board(format!("{port}: the board rejects its image: {error}")))?;
    image_on(image, image_path, hello.schema, &status)?;
    board.array(Array::InUse)
}
