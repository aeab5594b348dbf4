//! The command line `graftage`.

use clap::{Args, Parser, Subcommand};
use graftage::board::{Board, Port, read_log, size};
use graftage::checkpoint::Checkpoint;
use graftage::data::{AgedSensor, Samples};
use graftage::error::{Error, Result};
use graftage::record::{Lesson, Record, identity};
use graftage::rehearse::Rehearse;
use graftage::report::{Memory, Session, Story, Verification};
use graftage::{adaptation, files, graft, replay, report};
use graftage_core::adapt::Recipe;
use graftage_core::image::Image;
use graftage_core::scion::Rule;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Trains networks with Transported Scion, grafts them onto microcontrollers, and proves what they learn there.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Train a network in libtorch and save it as safetensors.
    #[cfg(feature = "torch")]
    Train(Train),
    /// Measure a network's accuracy.
    Eval(Eval),
    /// Turn a checkpoint into a weights image and the Rust type of its network.
    Graft(Graft),
    /// Write a stream of labelled samples, and test samples, as an aged sensor would see them.
    Age(Age),
    /// Adapt on this machine with each method and step size, over many drifts.
    Rehearse(RehearseTask),
    /// Let a board learn from a stream of labelled samples, and measure it.
    Adapt(Adapt),
    /// Show what a firmware takes of flash and RAM.
    Size(Size),
    /// Compute a board's recorded adaptation again and compare every update.
    Verify(Verify),
    /// Write the HTML page and the summary of a folder of results.
    Report(ReportTask),
}

/// The constants of the update.
#[derive(Args, Clone, Copy)]
struct RuleArguments {
    /// Step size η.
    #[arg(long, value_name = "ETA")]
    step_size: Option<f32>,
    /// Momentum β.
    #[arg(long, value_name = "BETA", default_value_t = Rule::DEFAULT.momentum)]
    momentum: f32,
    /// Share of the transport: 0 is Scion, 1 Transported Scion as published.
    #[arg(long, default_value_t = Rule::DEFAULT.theta)]
    theta: f32,
    /// Keep every parameter in the ball of its radius.
    #[arg(long)]
    constrained: bool,
}

impl RuleArguments {
    fn rule(&self, usual: f32) -> Result<Rule> {
        let step = self.step_size.unwrap_or(usual);
        let rule = Rule { step, momentum: self.momentum, theta: self.theta, constrained: self.constrained };
        rule.check()?;
        Ok(rule)
    }
}

/// How a device adapts.
#[derive(Args, Clone, Copy)]
struct RecipeArguments {
    #[command(flatten)]
    rule: RuleArguments,
    /// Samples a step: the new one and others from the replay buffer.
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Steps a sample.
    #[arg(long, default_value_t = 2)]
    steps: u32,
    /// Samples that the replay buffer keeps.
    #[arg(long, default_value_t = 128)]
    replay: u32,
    /// Seed of the draws from the replay buffer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl RecipeArguments {
    fn recipe(&self) -> Result<Recipe> {
        let Self { batch, steps, replay, seed, .. } = *self;
        let recipe = Recipe { rule: self.rule.rule(Rule::DEFAULT.step)?, batch, steps, replay, seed };
        recipe.check(usize::MAX)?;
        Ok(recipe)
    }
}

#[cfg(feature = "torch")]
#[derive(Args)]
struct Train {
    /// Samples as CSV (also .csv.gz): features, then the label.
    #[arg(long)]
    data: PathBuf,
    /// Every feature is divided by this.
    #[arg(long, default_value_t = 1.0)]
    scale: f32,
    /// Samples that train; the others test.
    #[arg(long, value_name = "SAMPLES")]
    train: usize,
    /// Seed of the split.
    #[arg(long, default_value_t = 1)]
    split_seed: u64,
    /// Widths of the hidden layers.
    #[arg(long, value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
    #[command(flatten)]
    rule: RuleArguments,
    /// Steps.
    #[arg(long)]
    steps: Option<u64>,
    /// Samples a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of starting weights and batches.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How core's rule runs on tensors.
    #[arg(long, value_enum, default_value = "fast")]
    arithmetic: graftage::tensor::Arithmetic,
    /// The checkpoint to write.
    #[arg(long, short)]
    output: PathBuf,
    /// Also write the measurements as JSON.
    #[arg(long)]
    metrics: Option<PathBuf>,
}

#[derive(Args)]
struct Eval {
    /// The checkpoint.
    checkpoint: PathBuf,
    /// Samples as CSV, in the units that trained.
    #[arg(long)]
    data: PathBuf,
    /// Which samples: the checkpoint's own split, or all of the file.
    #[arg(long, value_enum, default_value = "test")]
    part: Part,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    Train,
    Test,
    All,
}

#[derive(Args)]
struct Graft {
    /// The checkpoint.
    checkpoint: PathBuf,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Take the step size that a rehearsal chose for the board's method.
    #[arg(long, value_name = "FILE", conflicts_with = "step_size")]
    rehearsal: Option<PathBuf>,
    /// The folder to write image.grft and network.rs into.
    #[arg(long, short)]
    output: PathBuf,
}

#[derive(Args)]
struct Age {
    /// The checkpoint whose split and scale are used.
    checkpoint: PathBuf,
    /// The samples that it was trained on.
    #[arg(long)]
    data: PathBuf,
    /// Drift seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Samples of the stream, from the training part.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// The stream to write, as CSV.
    #[arg(long)]
    stream: PathBuf,
    /// The aged test part to write, as CSV.
    #[arg(long)]
    test: PathBuf,
}

#[derive(Args)]
struct RehearseTask {
    /// The checkpoint.
    checkpoint: PathBuf,
    /// The samples that it was trained on.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Samples of a stream.
    #[arg(long, default_value_t = 200)]
    samples: usize,
    /// Drift seeds on which step sizes are chosen.
    #[arg(long, value_parser = seeds, default_value = "11..15")]
    tune: Seeds,
    /// Drift seeds that are reported.
    #[arg(long, value_parser = seeds, default_value = "1..10")]
    report: Seeds,
    /// The measurements to write, as JSON.
    #[arg(long, short)]
    output: PathBuf,
}

#[derive(Clone)]
struct Seeds(Vec<u64>);

fn seeds(text: &str) -> std::result::Result<Seeds, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no whole number; e.g. 1..10 or 7"));
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let seeds: Vec<u64> = (number(first)?..=number(last)?).take(1000).collect();
    if seeds.is_empty() { Err("the range is empty; e.g. 1..10".into()) } else { Ok(Seeds(seeds)) }
}

#[derive(Args)]
struct Adapt {
    /// /dev/ttyACM0, tcp:HOST:PORT, or qemu:FIRMWARE for the emulated board.
    #[arg(long)]
    port: Port,
    /// The weights image; the emulated board starts with it.
    #[arg(long)]
    image: Option<PathBuf>,
    /// Labelled samples to learn, as CSV in the units that trained.
    #[arg(long)]
    stream: PathBuf,
    /// Samples that measure accuracy before and after.
    #[arg(long)]
    test: Option<PathBuf>,
    /// Record what the board consumed and answered.
    #[arg(long, requires = "image")]
    record: Option<PathBuf>,
    /// Write the emulated board's own log as text.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Also write the measurements as JSON.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Also write flash and RAM of the emulated board's firmware as JSON.
    #[arg(long, requires = "image")]
    memory: Option<PathBuf>,
}

#[derive(Args)]
struct Size {
    /// The firmware's ELF file.
    firmware: PathBuf,
}

#[derive(Args)]
struct Verify {
    /// The record of a board's session.
    record: PathBuf,
    /// The image that the board started from.
    #[arg(long)]
    image: PathBuf,
    /// Also write the findings as JSON.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

#[derive(Args)]
struct ReportTask {
    /// A folder with training.json, rehearsal.json, session.json, verification.json and memory.json.
    folder: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        #[cfg(feature = "torch")]
        Task::Train(task) => task.run(),
        Task::Eval(task) => task.run(),
        Task::Graft(task) => task.run(),
        Task::Age(task) => task.run(),
        Task::Rehearse(task) => task.run(),
        Task::Adapt(task) => task.run(),
        Task::Size(task) => task.run(),
        Task::Verify(task) => task.run(),
        Task::Report(task) => task.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("graftage: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A progress bar on a terminal; elsewhere a plain line every tenth of the way.
struct Progress {
    bar: ProgressBar,
    what: &'static str,
}

impl Progress {
    fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self { bar, what }
    }

    fn at(&self, done: u64, note: impl FnOnce() -> String) {
        let total = self.bar.length().unwrap_or(0).max(1);
        if std::io::stderr().is_terminal() {
            self.bar.set_position(done);
            self.bar.set_message(note());
        } else if done * 10 / total != done.saturating_sub(1) * 10 / total {
            eprintln!("{} {done}/{total} {}", self.what, note());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn percent(share: f32) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn read_image(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path)?;
    let image = Image::parse(&bytes).map_err(|error| Error::Image { path: path.to_owned(), error })?;
    if image.length() != bytes.len() {
        return Err(Error::content(path, "bytes follow the image"));
    }
    Ok(bytes)
}

/// The checkpoint, and its data in its own split.
fn checkpoint_and_data(checkpoint: &Path, data: &Path) -> Result<(Checkpoint, Samples, Samples)> {
    let checkpoint = Checkpoint::read(checkpoint)?;
    let about = &checkpoint.about;
    let samples = Samples::read(data, about.scale)?;
    let (inputs, classes) = checkpoint.shape();
    samples.check(data, inputs, classes)?;
    let (train, test) = samples.split(about.train, about.split_seed)?;
    Ok((checkpoint, train, test))
}

#[cfg(feature = "torch")]
impl Train {
    fn run(self) -> Result<()> {
        use graftage::train::{Options, train};
        let usual = Options::default();
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(Error::Usage("--scale must be finite and > 0".into()));
        }
        let samples = Samples::read(&self.data, self.scale)?;
        let options = Options {
            hidden: self.hidden.unwrap_or(usual.hidden),
            steps: self.steps.unwrap_or(usual.steps),
            batch: self.batch.unwrap_or(usual.batch),
            rule: self.rule.rule(usual.rule.step)?,
            seed: self.seed,
            arithmetic: self.arithmetic,
            train: self.train,
            split_seed: self.split_seed,
            scale: self.scale,
        };
        let progress = Progress::new("training", options.steps);
        let (checkpoint, training) = train(&samples, &options, |point| {
            progress.at(point.step, || format!("loss {:.4}", point.loss));
        })?;
        drop(progress);
        checkpoint.write(&self.output)?;
        if let Some(path) = &self.metrics {
            files::write_json(path, &training)?;
        }
        let (path, accuracy) = (self.output.display(), percent(training.accuracy));
        println!("{path}: {} ({} parameters), {accuracy} of the test part", training.network, training.parameters);
        Ok(())
    }
}

impl Eval {
    fn run(self) -> Result<()> {
        let (checkpoint, samples) = match self.part {
            Part::All => {
                let checkpoint = Checkpoint::read(&self.checkpoint)?;
                let samples = Samples::read(&self.data, checkpoint.about.scale)?;
                (checkpoint, samples)
            }
            part => {
                let (checkpoint, train, test) = checkpoint_and_data(&self.checkpoint, &self.data)?;
                (checkpoint, if matches!(part, Part::Train) { train } else { test })
            }
        };
        let (inputs, classes) = checkpoint.shape();
        samples.check(&self.data, inputs, classes)?;
        let mut network = adaptation::start(checkpoint.network()?, Recipe::DEFAULT)?;
        let mut counts = vec![(0, 0); classes];
        for (input, label) in samples.iter() {
            let right = network.predict(input)?.class == label;
            let count = &mut counts[label as usize];
            *count = (count.0 + u32::from(right), count.1 + 1);
        }
        println!("class  samples  right");
        for (class, (right, all)) in counts.iter().enumerate().filter(|(_, (_, all))| *all > 0) {
            println!("{class:>5}  {all:>7}  {}", percent(*right as f32 / *all as f32));
        }
        let right: u32 = counts.iter().map(|(right, _)| right).sum();
        println!("  all  {:>7}  {}", samples.len(), percent(right as f32 / samples.len() as f32));
        Ok(())
    }
}

impl Graft {
    fn run(self) -> Result<()> {
        let checkpoint = Checkpoint::read(&self.checkpoint)?;
        let mut recipe = self.recipe.recipe()?;
        if let Some(path) = &self.rehearsal {
            let rehearsal: report::Rehearsal = files::read_json(path)?;
            let first = rehearsal.methods.first().ok_or_else(|| Error::content(path, "a rehearsal without methods"))?;
            recipe.rule.step = first.step;
        }
        let header = graft::graft(&checkpoint, recipe, &self.output)?;
        let folder = self.output.display();
        println!("{folder}/{} and {folder}/{}: schema {:016x}", graft::IMAGE, graft::NETWORK, header.schema);
        Ok(())
    }
}

impl Age {
    fn run(self) -> Result<()> {
        let (checkpoint, train, test) = checkpoint_and_data(&self.checkpoint, &self.data)?;
        let sensor = AgedSensor::draw(train.inputs(), self.seed);
        if self.samples == 0 || self.samples > train.len() {
            return Err(Error::Usage(format!("--samples {}: the training part has {}", self.samples, train.len())));
        }
        train.arrive(self.samples, self.seed).aged(&sensor).write(&self.stream, checkpoint.about.scale)?;
        test.aged(&sensor).write(&self.test, checkpoint.about.scale)?;
        let (stream, tests) = (self.stream.display(), self.test.display());
        println!("{stream}: {} samples; {tests}: {} samples; drift seed {}", self.samples, test.len(), self.seed);
        Ok(())
    }
}

impl RehearseTask {
    fn run(self) -> Result<()> {
        let (checkpoint, train, test) = checkpoint_and_data(&self.checkpoint, &self.data)?;
        if self.samples == 0 || self.samples > train.len() {
            return Err(Error::Usage(format!("--samples {}: the training part has {}", self.samples, train.len())));
        }
        let (checkpoint, train, test) = (&checkpoint, &train, &test);
        let (samples, recipe) = (self.samples, self.recipe.recipe()?);
        let rehearse = Rehearse { checkpoint, train, test, samples, recipe, tune: self.tune.0, report: self.report.0 };
        let progress = Progress::new("rehearsing", 0);
        let rehearsal = rehearse.run(&|done, total| {
            progress.bar.set_length(total as u64);
            progress.at(done as u64, String::new);
        })?;
        drop(progress);
        files::write_json(&self.output, &rehearsal)?;
        println!("accuracy of {} test samples after {samples} labelled aged ones:", test.len());
        let aged = &rehearsal.aged;
        println!("{:<32} {:>9}  {:>16}", "method", "step size", "accuracy");
        println!("{:<32} {:>9}  {:.3} ± {:.3}", "none", "", aged.mean, aged.deviation);
        for method in &rehearsal.methods {
            let (name, step, accuracy) = (&method.name, method.step, &method.accuracy);
            println!("{name:<32} {step:>9}  {:.3} ± {:.3}", accuracy.mean, accuracy.deviation);
        }
        Ok(())
    }
}

impl Adapt {
    fn run(self) -> Result<()> {
        let started = Instant::now();
        let image = self.image.as_deref().map(read_image).transpose()?;
        // The raw log is for the decoder alone.
        let raw = tempfile::NamedTempFile::new().map_err(|e| Error::Board(format!("no temporary file: {e}")))?;
        let mut board = Board::open(self.port.clone(), self.image.as_deref(), Some(raw.path()))?;
        let hello = board.hello()?;
        let refused = |error| Error::Board(format!("{}: the board refuses its image: {error}", self.port));
        let status = hello.status.map_err(refused)?;
        let read = |path: &Path| -> Result<Samples> {
            let samples = Samples::read(path, status.scale)?;
            samples.check(path, hello.inputs as usize, hello.classes as usize)?;
            Ok(samples)
        };
        let stream = read(&self.stream)?;
        let test = self.test.as_deref().map(read).transpose()?;
        if self.record.is_some() && status.learnt > 0 {
            let learnt = status.learnt;
            return Err(Error::Board(format!("the board has learnt {learnt} samples already: reset it to record it")));
        }

        let before = test.as_ref().map(|test| accuracy(&mut board, test, "before")).transpose()?;
        let mut record = Record {
            board: hello.board.to_string(),
            image: image.as_deref().map_or(0, identity),
            start: status.digest,
            learnt: Vec::new(),
        };
        let mut refusals = Vec::new();
        let mut curve = Vec::new();
        let progress = Progress::new("learning", stream.len() as u64);
        for (index, (input, label)) in stream.iter().enumerate() {
            match board.learn(status.learnt + record.learnt.len() as u64, input, label)? {
                Ok(learnt) => {
                    let share = learnt.correct as f32 / learnt.learnt as f32;
                    curve.push((learnt.learnt as usize, share));
                    let loss = learnt.reports.last().map_or(0.0, |report| report.outcome.loss);
                    let note = || format!("loss {loss:.3}, {} right before learning", percent(share));
                    progress.at(index as u64 + 1, note);
                    record.learnt.push(Lesson { input: input.to_vec(), label, reports: learnt.reports.to_vec() });
                }
                Err(refusal) => refusals.push((index + 1, refusal)),
            }
        }
        drop(progress);
        let after = test.as_ref().map(|test| accuracy(&mut board, test, "after")).transpose()?;
        let hello = board.hello()?;
        let end = hello.status.map_err(refused)?;
        drop(board);

        if let Some(path) = &self.record {
            record.write(path)?;
        }
        if let (Some(path), Port::Emulator(firmware)) = (&self.log, &self.port) {
            let mut text = read_log(firmware, raw.path())?.join("\n");
            text.push('\n');
            files::write(path, text.as_bytes())?;
        }
        let session = Session {
            board: record.board,
            samples: record.learnt.len(),
            refused: refusals.len(),
            updates: end.step - status.step,
            before: before.unwrap_or(f32::NAN),
            after: after.unwrap_or(f32::NAN),
            curve,
            digest: format!("{:016x}", end.digest),
            dropped: hello.dropped,
            seconds: started.elapsed().as_secs_f32(),
        };
        if let Some(path) = &self.output {
            files::write_json(path, &session)?;
        }
        if let (Some(path), Port::Emulator(firmware)) = (&self.memory, &self.port) {
            let (flash, ram) = size(firmware)?;
            let image = image.as_deref().map_or(0, |bytes| bytes.len() as u64);
            let held = hello.memory;
            let mut parts = vec![
                ("weights".to_owned(), u64::from(held.weights)),
                ("query points".into(), u64::from(held.query_points)),
                ("momenta".into(), u64::from(held.momenta)),
                ("replay buffer".into(), u64::from(held.replay)),
                ("scratch memory".into(), u64::from(held.scratch)),
                ("link".into(), u64::from(held.link)),
            ];
            let rest = ram.saturating_sub(parts.iter().map(|(_, bytes)| bytes).sum());
            parts.push(("other variables".into(), rest));
            files::write_json(path, &Memory { flash, image, ram, parts })?;
        }
        println!(
            "{}: {} samples, {} updates, digest {}",
            session.board, session.samples, session.updates, session.digest
        );
        if let Some((before, after)) = before.zip(after) {
            println!("accuracy on the board: {} before, {} after", percent(before), percent(after));
        }
        match refusals.first() {
            None => Ok(()),
            Some((sample, why)) => Err(Error::Board(format!(
                "the board refused {} of {} samples; the first is sample {sample} of {}: {why}",
                refusals.len(),
                stream.len(),
                self.stream.display()
            ))),
        }
    }
}

/// The share of samples that the board predicts rightly.
fn accuracy(board: &mut Board, samples: &Samples, when: &'static str) -> Result<f32> {
    let progress =
        Progress::new(if when == "before" { "asking, before" } else { "asking, after" }, samples.len() as u64);
    let mut right = 0;
    for (index, (input, label)) in samples.iter().enumerate() {
        right += u32::from(board.predict(input)?.map_err(Error::Refused)?.class == label);
        progress.at(index as u64 + 1, String::new);
    }
    Ok(right as f32 / samples.len() as f32)
}

impl Size {
    fn run(self) -> Result<()> {
        let (flash, ram) = size(&self.firmware)?;
        println!(
            "{}: {flash} bytes of flash without weights, {ram} bytes of RAM without the stack",
            self.firmware.display()
        );
        Ok(())
    }
}

impl Verify {
    fn run(self) -> Result<()> {
        let record = Record::read(&self.record)?;
        let bytes = read_image(&self.image)?;
        let image = Image::parse(&bytes).map_err(|error| Error::Image { path: self.image.clone(), error })?;
        if record.image != identity(&bytes) {
            return Err(Error::content(
                &self.image,
                format!("not the image that {} began with", self.record.display()),
            ));
        }
        let targets = vec![
            replay::recorded(&record),
            replay::with_core(&record, &image)?,
            #[cfg(feature = "torch")]
            replay::with_libtorch(&record, &image)?,
        ];
        println!("{:<16} {:>7} {:>10}  {:<16}  first difference", "target", "updates", "differing", "digest");
        for target in &targets {
            let first = target.first_difference.as_deref().unwrap_or("none");
            println!("{:<16} {:>7} {:>10}  {}  {first}", target.target, target.steps, target.differing, target.digest);
        }
        let differing: u64 = targets.iter().map(|target| target.differing).sum();
        if let Some(path) = &self.output {
            files::write_json(path, &Verification { targets })?;
        }
        if differing > 0 {
            return Err(Error::content(
                &self.record,
                format!("{differing} updates differ; the table says where first"),
            ));
        }
        Ok(())
    }
}

impl ReportTask {
    fn run(self) -> Result<()> {
        let story = Story::read(&self.folder)?;
        let summary = report::summary(&story);
        files::write(&self.folder.join("report.html"), report::page(&story).as_bytes())?;
        files::write_json(&self.folder.join("summary.json"), &summary)?;
        println!("{}", report::sentence(&summary));
        Ok(())
    }
}
