//! `graftage adapt`.

mod course;

use super::monitor::Page;
use crate::connection::Connection;
use crate::console::{Progress, say};
use crate::files::image_on;
use crate::outputs::Force;
use clap::Args;
use course::{Course, View, begun};
use graftage::board::{self, Board, Log, Port};
use graftage::confusion::Confusion;
use graftage::data::{Legend, Samples};
use graftage::error::{Error, Result};
use graftage::image::ImageFile;
use graftage::recorder::{Lag, Place, Recorder};
use graftage::session::{Memory, Session};
use graftage::signals;
use graftage::statistics::percent;
use graftage::verdict;
use graftage_core::session::Counts;
use graftage_link::{Ended, Hello, Status};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Args)]
pub struct Adapt {
    #[command(flatten)]
    connection: Connection,
    /// Labelled samples to learn, as CSV in the units of the training data.
    #[arg(long)]
    stream: PathBuf,
    /// Samples to measure accuracy before and after.
    #[arg(long)]
    test: Option<PathBuf>,
    /// Skip this many samples of the stream, instead of those that the board has taken in an open session.
    #[arg(long, value_name = "SAMPLES", allow_negative_numbers = true)]
    skip: Option<usize>,
    /// Record the board's inputs and answers, event by event; needs --image. An existing record of this board is
    /// continued.
    #[arg(long, requires = "image")]
    record: Option<PathBuf>,
    /// Show the page of `graftage monitor` during learning.
    #[arg(long)]
    monitor: bool,
    /// Write the emulated board's log as text.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Also write the measurements, as JSON.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Also write the flash and RAM usage of the emulated board's firmware, as JSON.
    #[arg(long, requires = "image")]
    memory: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

impl Adapt {
    pub fn run(self) -> Result<()> {
        let mut claims = self.force.claims([&self.stream].into_iter().chain(&self.test).chain(self.connection.files()));
        let recorded = self.record.as_deref().map(|path| Place::open(claims.growing(path)?)).transpose()?;
        let mut claimed = |path: &Option<PathBuf>| claims.option(path.as_ref());
        let logged = claimed(&self.log)?;
        let (output, held) = (claimed(&self.output)?, claimed(&self.memory)?);
        let started = Instant::now();
        let Connection { port, image: named, .. } = &self.connection;
        let image = named.as_deref().map(ImageFile::read).transpose()?;
        let raw = Log::file()?;
        let mut board = self.connection.open(Some(&raw))?;
        let hello = board.hello()?;
        let refused = |error| self.connection.error(format!("the board rejects its image: {error}"));
        let status = hello.status.map_err(refused)?;
        let (inputs, classes) = (hello.inputs as usize, hello.classes as usize);
        if let Some((image, path)) = image.as_ref().zip(named.as_ref()) {
            image_on(image, path, hello.schema, &status)?;
        }
        let read = |path: &Path| -> Result<Samples> {
            let samples = match &image {
                Some(image) => Samples::read(path, inputs, image.legend())?,
                None => Samples::read_by_place(path, inputs, classes)?,
            };
            Ok(samples.divided(status.scale))
        };
        let legend = image.as_ref().map_or_else(|| Legend::numbered(classes), |image| image.legend().clone());
        let stream = read(&self.stream)?;
        let test = self.test.as_deref().map(read).transpose()?;
        let mut recorder = recorded.map(|place| place.recorder(&hello, &status)).transpose()?;
        let (counts, skip, ended) = self.place(&mut board, &hello, &status, image.as_ref(), &mut recorder, &stream)?;
        if skip > 0 {
            say!("skipping {skip} of the {} samples, which the board took before", stream.len());
        }

        let before = test.as_ref().map(|test| confusion(&mut board, test, &legend, "testing, before")).transpose()?;
        let mut course = Course::default();
        let mut view = match self.monitor {
            true => View::Page(Box::new(Page::new(port, &raw)?), Instant::now()),
            false => View::Bar(Progress::new("learning", (stream.len() - skip) as u64)),
        };
        // From here on, a signal first ends the requests to the board; the emulator's log is still written.
        signals::stop();
        let learnt = match ended {
            Some(ended) => Ok(ended.verdict),
            None => course.learn(&mut board, counts, &stream, skip, recorder.as_mut(), &mut view),
        };
        drop(view);
        let asked = learnt.and_then(|verdict| {
            let after = test.as_ref().map(|test| confusion(&mut board, test, &legend, "testing, after")).transpose()?;
            let hello = board.hello()?;
            let end = hello.status.map_err(refused)?;
            Ok((verdict, after, hello, end))
        });
        drop(board);
        if let (Some(output), Port::Emulator { firmware, .. }) = (logged, port) {
            let mut text = Log::open(firmware, &raw)?.lines()?.join("\n");
            text.push('\n');
            output.write(text.as_bytes())?;
        }
        let (verdict, after, hello, end) = asked.map_err(|error| match signals::stopping() {
            true => {
                let sent = skip + course.taken + course.refused.len();
                Error::Board(format!("stopped by a signal after {sent} of {} samples", stream.len()))
            }
            false => error,
        })?;
        let learnt_all = course.whole(&self.stream, stream.len());
        let session = Session {
            board: hello.board.to_string(),
            samples: course.taken,
            verdict,
            refused: course.refused.len(),
            updates: end.step - status.step,
            before: before.as_ref().map_or(f32::NAN, Confusion::accuracy),
            after: after.as_ref().map_or(f32::NAN, Confusion::accuracy),
            curve: course.curve,
            confusion: before.zip(after),
            digest: format!("{:016x}", end.digest),
            dropped: hello.dropped,
            seconds: started.elapsed().as_secs_f32(),
        };
        if let Some(output) = output {
            output.write_json(&session)?;
        }
        if let (Some(output), Port::Emulator { firmware, .. }) = (held, port) {
            let image = image.as_ref().map_or(0, |image| image.bytes().len() as u64);
            output.write_json(&memory(firmware, image)?)?;
        }
        say!("{}: {} samples, {} updates, digest {}", session.board, session.samples, session.updates, session.digest);
        match (session.samples, session.refused) {
            (0, 1..) if skip == 0 => say!("no sample was learnt: the weights are unchanged"),
            _ => say!("{}", verdict::words(&verdict)),
        }
        if let Some(alarm) = verdict::alarm(end.counts.sessions(), &verdict) {
            say!("{alarm}");
        }
        if let Some(classes) = legend.classes_in_words() {
            say!("{classes}");
        }
        if let Some((before, after)) = &session.confusion {
            let [was, is] = [before, after].map(|part| percent(part.accuracy()));
            say!("accuracy on the board: {was} before, {is} after");
            say!("{}", Confusion::comparison(before, after));
        }
        learnt_all
    }

    /// Finds the board's place in a stream: its counts, the number of samples to skip, and the end of the session that
    /// learnt the whole stream, if it has ended.
    fn place(
        &self,
        board: &mut Board,
        hello: &Hello,
        status: &Status,
        image: Option<&ImageFile>,
        recorder: &mut Option<Recorder>,
        stream: &Samples,
    ) -> Result<(Counts, usize, Option<Ended>)> {
        let counts = status.counts;
        let (skip, ended) = match (recorder, image) {
            (Some(recorder), Some(image)) if recorder.goes_on() => {
                let before = recorder.record().totals().taken;
                let lag = recorder.catch_up(board, &image.image()?, status, stream, self.skip)?;
                let lost = before.saturating_sub(recorder.record().totals().taken);
                if lost > 0 {
                    say!("{lost} samples were lost when the board lost power, and are learnt again");
                }
                match lag {
                    Lag::None(sent) => (sent, None),
                    Lag::Ended(ended) => (stream.len(), Some(ended)),
                }
            }
            (Some(_), _) if (counts.taken, counts.sessions()) != (0, 0) => {
                let taken = counts.taken;
                return Err(Error::Board(format!(
                    "the board has already taken {taken} samples, which a new record would lack: fetch what it kept with `graftage record`, or reset it and start again"
                )));
            }
            _ => (begun(board, hello, status, (&self.stream, stream), self.skip)?, None),
        };
        match skip <= stream.len() {
            true => Ok((counts, skip, ended)),
            false => Err(Error::content(
                &self.stream,
                format!(
                    "it has only {} samples, but {skip} are to be skipped: set their number with --skip N",
                    stream.len()
                ),
            )),
        }
    }
}

/// Returns the memory that a firmware and an image of `image` bytes use.
fn memory(firmware: &Path, image: u64) -> Result<Memory> {
    let firmware = board::firmware(firmware)?;
    let parts = firmware.ram.parts.iter().map(|(part, bytes)| ((*part).to_owned(), *bytes)).collect();
    Ok(Memory { flash: firmware.flash.used(), image, ram: firmware.ram.used(), parts })
}

/// Counts the board's predictions for samples.
fn confusion(board: &mut Board, samples: &Samples, legend: &Legend, what: &'static str) -> Result<Confusion> {
    let (progress, mut done) = (Progress::new(what, samples.len() as u64), 0);
    Confusion::of(samples, legend.classes.clone(), |input| {
        let prediction = board.predict(input)?.map_err(Error::Refused)?;
        done += 1;
        progress.at(done, String::new);
        Ok(prediction)
    })
}
