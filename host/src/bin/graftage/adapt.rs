//! `graftage adapt`.

use crate::console::{Progress, percent, say};
use crate::monitor::Page;
use crate::outputs::Force;
use clap::Args;
use graftage::board::{self, Board, Log, Port};
use graftage::confusion::Confusion;
use graftage::data::{Legend, Samples};
use graftage::error::{Error, Result};
use graftage::image::ImageFile;
use graftage::record::{Event, Lesson, Record, Refused};
use graftage::report::{Memory, Session};
use graftage::signals;
use graftage_core::error::Refusal;
use graftage_core::session::{Counts, Verdict};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Adapt {
    /// /dev/ttyACM0, tcp:HOST:PORT, or qemu:FIRMWARE for the emulated board.
    #[arg(long)]
    port: Port,
    /// The weights image that the board runs: it says what columns and classes are called. The emulated board starts with it.
    #[arg(long)]
    image: Option<PathBuf>,
    /// Labelled samples to learn, as CSV in the units that trained.
    #[arg(long)]
    stream: PathBuf,
    /// Samples that measure accuracy before and after.
    #[arg(long)]
    test: Option<PathBuf>,
    /// Record what the board consumed and answered; needs --image.
    #[arg(long, requires = "image")]
    record: Option<PathBuf>,
    /// Show the page of `graftage monitor` while it learns.
    #[arg(long)]
    monitor: bool,
    /// Write the emulated board's own log as text.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Also write the measurements as JSON.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Also write flash and RAM of the emulated board's firmware as JSON.
    #[arg(long, requires = "image")]
    memory: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

impl Adapt {
    pub fn run(self) -> Result<()> {
        let mut claims = self
            .force
            .claims([&self.stream].into_iter().chain(&self.image).chain(&self.test).chain(self.port.firmware()));
        let mut claimed = |path: &Option<PathBuf>| claims.option(path.as_ref());
        let (recorded, logged) = (claimed(&self.record)?, claimed(&self.log)?);
        let (output, held) = (claimed(&self.output)?, claimed(&self.memory)?);
        let started = Instant::now();
        let image = self.image.as_deref().map(ImageFile::read).transpose()?;
        let raw = Log::file()?;
        let mut board = Board::open(self.port.clone(), self.image.as_deref(), Some(&raw))?;
        let hello = board.hello()?;
        let refused = |error| Error::Board(format!("{}: the board refuses its image: {error}", self.port));
        let status = hello.status.map_err(refused)?;
        let (inputs, classes) = (hello.inputs as usize, hello.classes as usize);
        if let Some((image, path)) =
            image.as_ref().zip(self.image.as_ref()).filter(|(i, _)| i.identity() != status.image)
        {
            let what = "not the image that the board runs: its checksum is";
            return Err(Error::content(
                path,
                format!("{what} {:08x}, the board's {:08x}", image.identity(), status.image),
            ));
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
        if self.record.is_some() && (status.counts.taken, status.counts.sessions()) != (0, 0) {
            let taken = status.counts.taken;
            return Err(Error::Board(format!(
                "the board has taken {taken} samples already, which a record from now on would lack: fetch what it kept with `graftage record`, or reset it and start again"
            )));
        }

        let before = test.as_ref().map(|test| confusion(&mut board, test, &legend, "asking, before")).transpose()?;
        let mut record = Record {
            board: hello.board.to_string(),
            image: image.as_ref().map_or(0, ImageFile::identity),
            start: status.digest,
            events: Vec::new(),
        };
        let mut course = Course::default();
        let mut view = match self.monitor {
            true => View::Page(Box::new(Page::new(&self.port, &raw)?), Instant::now()),
            false => View::Bar(Progress::new("learning", stream.len() as u64)),
        };
        // From now on a signal ends the questions first, and then what was learnt is written.
        signals::stop();
        let learnt = course.learn(&mut board, status.counts, &stream, &mut record, recorded.is_some(), &mut view);
        drop(view);
        // What the board has learnt is not lost with the line to it.
        if let (Some(output), Some(path)) = (recorded, &self.record) {
            output.write(&record.bytes(path)?)?;
        }
        let asked = learnt.and_then(|verdict| {
            let after = test.as_ref().map(|test| confusion(&mut board, test, &legend, "asking, after")).transpose()?;
            let hello = board.hello()?;
            let end = hello.status.map_err(refused)?;
            Ok((verdict, after, hello, end))
        });
        drop(board);
        if let (Some(output), Port::Emulator(firmware)) = (logged, &self.port) {
            let mut text = Log::open(firmware, &raw)?.lines()?.join("\n");
            text.push('\n');
            output.write(text.as_bytes())?;
        }
        let (verdict, after, hello, end) = asked.map_err(|error| match signals::stopping() {
            true => Error::Board(format!("stopped by a signal after {} of {} samples", course.taken, stream.len())),
            false => error,
        })?;
        let session = Session {
            board: record.board,
            samples: course.taken,
            verdict,
            refused: course.refusals.len(),
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
        if let (Some(output), Port::Emulator(firmware)) = (held, &self.port) {
            let image = image.as_ref().map_or(0, |image| image.bytes().len() as u64);
            output.write_json(&memory(firmware, image, &hello.memory)?)?;
        }
        say!("{}: {} samples, {} updates, digest {}", session.board, session.samples, session.updates, session.digest);
        say!("{}", outcome(&verdict));
        if let Some(classes) = legend.classes_in_words() {
            say!("{classes}");
        }
        if let Some((before, after)) = &session.confusion {
            let [was, is] = [before, after].map(|part| percent(part.accuracy()));
            say!("accuracy on the board: {was} before, {is} after");
            say!("{}", Confusion::comparison(before, after));
        }
        match course.refusals.first() {
            None => Ok(()),
            Some((sample, why)) => Err(Error::Board(format!(
                "the board refused {} of {} samples; the first is sample {sample} of {}: {why}",
                course.refusals.len(),
                stream.len(),
                self.stream.display()
            ))),
        }
    }
}

/// What is shown while a board learns.
enum View {
    Bar(Progress),
    /// And when it is due again.
    Page(Box<Page>, Instant),
}

/// Between two questions for the page, so that the line's time is the stream's.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

impl View {
    /// So many samples of the stream were sent.
    fn at(&mut self, board: &mut Board, done: u64, note: impl FnOnce() -> String) -> Result<()> {
        match self {
            View::Bar(progress) => progress.at(done, note),
            View::Page(page, due) if Instant::now() >= *due => {
                page.show(board)?;
                *due = Instant::now() + SHOWN_EVERY;
            }
            View::Page(..) => {}
        }
        Ok(())
    }

    /// Shows the end.
    fn finish(&mut self, board: &mut Board) -> Result<()> {
        if let View::Page(page, _) = self { page.show(board) } else { Ok(()) }
    }
}

/// How a stream went.
#[derive(Default)]
struct Course {
    /// Samples that the board took.
    taken: usize,
    /// (samples learnt, share of them predicted rightly before).
    curve: Vec<(usize, f32)>,
    /// (sample from 1, why the board refused it).
    refusals: Vec<(usize, Refusal)>,
}

impl Course {
    /// Sends a stream to a board that stands there, ends its session, and records what it consumes; with `states` also
    /// its whole state at the end, which takes the line's time.
    fn learn(
        &mut self,
        board: &mut Board,
        counts: Counts,
        stream: &Samples,
        record: &mut Record,
        states: bool,
        view: &mut View,
    ) -> Result<Verdict> {
        for (index, (input, label)) in stream.iter().enumerate() {
            match board.learn(counts.taken + self.taken as u64, input, label)? {
                Ok(learnt) => {
                    self.taken += 1;
                    let share = learnt.correct as f32 / learnt.learnt as f32;
                    if !learnt.taken.held_out {
                        self.curve.push((learnt.learnt as usize, share));
                    }
                    let loss = learnt.reports.last().map_or(0.0, |report| report.outcome.loss);
                    let (taken, reports) = (learnt.taken, learnt.reports.to_vec());
                    record.events.push(Event::Sample(Lesson { input: input.to_vec(), label, taken, reports }));
                    let note = || format!("loss {loss:.3}, {} right before learning", percent(share));
                    view.at(board, index as u64 + 1, note)?;
                }
                Err(why) => {
                    self.refusals.push((index + 1, why));
                    if let View::Page(page, _) = view {
                        page.refused();
                    }
                    record.events.push(Event::Refused(Refused { input: input.to_vec(), label, why }));
                }
            }
        }
        if states {
            record.events.push(Event::State(board.state()?));
        }
        let ended = board.end(counts.sessions())?;
        record.events.push(Event::End(ended));
        view.finish(board)?;
        Ok(ended.verdict)
    }
}

/// A verdict in words.
fn outcome(verdict: &Verdict) -> String {
    let Verdict { committed, held_out, before, after } = *verdict;
    let what = if committed { "committed" } else { "rolled back" };
    match held_out {
        0 => format!("{what}: no sample was held out to judge by (see --hold-out of `graftage graft`)"),
        _ => format!("{what}: of {held_out} held-out samples {after} are right, {before} were with the weights before"),
    }
}

/// What a firmware and an image take; RAM by part as the board says.
fn memory(firmware: &Path, image: u64, held: &graftage_link::Memory) -> Result<Memory> {
    let firmware = board::firmware(firmware)?;
    let (flash, ram) = (firmware.flash.used(), firmware.ram.used());
    let mut parts: Vec<_> = [
        ("weights", held.weights),
        ("query points", held.query_points),
        ("momenta", held.momenta),
        ("weights in use", held.in_use),
        ("replay buffer", held.replay),
        ("held-out samples", held.held_out),
        ("scratch memory", held.scratch),
        ("link", held.link),
    ]
    .map(|(part, bytes)| (part.to_owned(), u64::from(bytes)))
    .into();
    let rest = ram.saturating_sub(parts.iter().map(|(_, bytes)| bytes).sum());
    parts.push(("other variables".into(), rest));
    Ok(Memory { flash, image, ram, parts })
}

/// The board's predictions for samples.
fn confusion(board: &mut Board, samples: &Samples, legend: &Legend, what: &'static str) -> Result<Confusion> {
    let (progress, mut done) = (Progress::new(what, samples.len() as u64), 0);
    Confusion::of(samples, legend.classes.clone(), |input| {
        let prediction = board.predict(input)?.map_err(Error::Refused)?;
        done += 1;
        progress.at(done, String::new);
        Ok(prediction)
    })
}
