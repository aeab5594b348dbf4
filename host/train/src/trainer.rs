//! Trainer: a model in libtorch, moved by a [`TransportedScion`], in a folder that stays intact however the process
//! ends.
//!
//! | file | contents |
//! |---|---|
//! | `state.safetensors` | the last checkpoint, from which the training resumes |
//! | `metrics.jsonl` | a line of JSON for each measurement |
//! | `model.safetensors` | at the end: the weights X with their description, see [`graftage::checkpoint`] |
//! | `average.safetensors` | at the end: the averaged weights in the same form, if one is configured |
//! | `state-STEP.safetensors` | earlier checkpoints, if the configuration keeps several |
//! | `events.out.tfevents.graftage` | the measurements for TensorBoard, if the configuration asks for them |
//! | `best.safetensors` | the weights of the best measurement in the same form, if the configuration keeps them |
//! | `training.json`, `report.html` | at the end: the measurements with their settings, and a page with curves |
//!
//! Existing contents of the folder stay until the first checkpoint, and a file that the training did not write is
//! replaced only with `--force`. Files are replaced atomically, see [`graftage::files`], so they are complete whenever
//! the process ends. Only `metrics.jsonl` grows in place; when a training resumes, lines beyond the last checkpoint are
//! dropped. On the CPU a training that was interrupted at any point ends with the same bits as an uninterrupted one, if
//! the number of threads is the same.
//!
//! During training the model holds Y; X is what is measured and saved.

mod batches;
mod best;
mod events;
mod folder;
mod state;

pub use batches::{Batch, Feed, Part, Unit};
pub use best::Standing;
pub use state::Saved;
pub(crate) use state::difference;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::Model;
use crate::network::Network;
use batches::Batches;
use best::Search;
use folder::Folder;
use graftage::checkpoint::{self, About, Checkpoint};
use graftage::confusion::Confusion;
use graftage::data::{Dataset, Legend, Role};
use graftage::parallel;
use graftage::training::{GroupPoint, Training, TrainingPoint};
use graftage_core::scion::Rule;
use graftage_optim::tensor::Precision;
use graftage_optim::{Telemetry, TransportedScion};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::{Kind, Tensor, nn, no_grad_guard};

/// Name of the last checkpoint in a training's folder.
pub const STATE: &str = "state.safetensors";
/// Name of the measurements in a training's folder.
pub const METRICS: &str = "metrics.jsonl";
/// Name of the weights in a training's folder.
pub const MODEL: &str = "model.safetensors";
/// Name of the best measurement's weights in a training's folder.
pub const BEST: &str = "best.safetensors";
/// Name of the averaged weights in a training's folder.
pub const AVERAGE: &str = "average.safetensors";
/// Name of the TensorBoard event file in a training's folder.
pub const EVENTS: &str = "events.out.tfevents.graftage";
/// Name of the result in a training's folder.
pub const RESULT: &str = "training.json";
/// Name of the page in a training's folder.
pub const PAGE: &str = "report.html";

/// Names of all files of a training.
pub const FILES: [&str; 8] = [STATE, METRICS, EVENTS, MODEL, BEST, AVERAGE, RESULT, PAGE];

/// A model, its data and its optimizer, advanced step by step. It writes no files.
pub struct Trainer<'a> {
    config: &'a Config,
    feed: &'a Feed,
    steps: u64,
    network: Network,
    optimizer: TransportedScion,
    batches: Batches,
    /// Losses of the steps since the last call of [`Trainer::read`], oldest first.
    losses: Vec<Tensor>,
    time: Time,
}

/// Times in seconds since the last call of [`Trainer::rate`].
#[derive(Clone, Copy, Default)]
struct Time {
    /// Time of all steps.
    steps: f64,
    /// Times of the steps in which the optimizer was timed separately: whole steps, and the optimizer's part of them.
    timed: (f64, f64),
    /// Number of all steps.
    count: u64,
}

/// Rate of a training.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Number of [units](Unit) per second.
    pub per_second: f64,
    /// Share of the time that the optimizer takes.
    pub optimizer_share: f64,
}

/// Loss and accuracy measured at X.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measurement {
    /// Mean loss in nats, per sample, or per byte of a text.
    pub loss: f32,
    /// Share of correct answers.
    pub accuracy: f32,
}

/// Sets libtorch's number of threads in this process to the configured one and returns it.
///
/// The default is half of the processors, but at least one. A single thread more than there are idle processors makes
/// all threads wait for it, so the rest is left to other programs.
pub fn threads(config: &Config) -> usize {
    let threads = config.threads.unwrap_or_else(|| (parallel::processors() / 2).max(1));
    tch::set_num_threads(threads as i32);
    threads
}

impl<'a> Trainer<'a> {
    /// Starts a new training from random weights.
    ///
    /// # Errors
    /// Returns an error if model, data and constants do not fit together.
    pub fn new(config: &'a Config, feed: &'a Feed, device: tch::Device) -> Result<Self> {
        let steps = steps(config, feed);
        config.optimizer.schedule.check(steps).map_err(|what| Error::usage(format!("[optimizer] {what}")))?;
        let rule = config.optimizer.method.rule(config.optimizer.rule(steps));
        rule.check()?;
        let store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &config.model, &feed.shape)?;
        if config.weights == Precision::Bfloat16 {
            network.round()?;
        }
        let mut optimizer = config.optimizer.create(&store, steps, config.seed)?;
        if config.precision == Precision::Bfloat16 {
            optimizer = optimizer.bfloat16();
        }
        let batches = Batches::new(&feed.train, config.seed, 0);
        Ok(Self { config, feed, steps, network, optimizer, batches, losses: Vec::new(), time: Time::default() })
    }

    /// Restores a state.
    ///
    /// # Errors
    /// Returns an error if the state belongs to another model; nothing has changed then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        self.optimizer.restore(state)?;
        let drawn = self.optimizer.steps() * self.config.training.batch as u64;
        self.batches = Batches::new(&self.feed.train, self.config.seed, drawn);
        Ok(())
    }

    /// Returns the number of steps taken.
    pub fn step(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Returns the total number of steps.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the rule.
    pub fn rule(&self) -> Rule {
        self.config.optimizer.method.rule(self.config.optimizer.rule(self.steps))
    }

    /// Returns the optimizer.
    pub fn optimizer(&self) -> &TransportedScion {
        &self.optimizer
    }

    /// Takes a step. The loss stays on the device until [`Trainer::read`].
    ///
    /// # Errors
    /// Returns an error if libtorch fails or, under exact arithmetic, if a gradient is not finite.
    pub fn advance(&mut self) -> Result<()> {
        let started = Instant::now();
        let training = &self.config.training;
        let part = training.batch / training.parts;
        let indices = self.batches.draw(training.batch);
        let mut losses = Vec::new();
        for indices in indices.chunks(part) {
            let loss = self.loss(&self.feed.train.take(indices)?)?;
            self.optimizer.accumulate(&loss, part)?;
            losses.push(loss.detach());
        }
        self.losses.push(if losses.len() == 1 {
            losses.remove(0)
        } else {
            Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?
        });
        // Waiting for a GPU costs time, so only the first step after each reading is timed there.
        let timed = match self.device() {
            tch::Device::Cuda(_) => self.losses.len() == 1,
            _ => true,
        };
        self.synchronise(timed);
        let before = started.elapsed().as_secs_f64();
        self.optimizer.step()?;
        self.synchronise(timed);
        let all = started.elapsed().as_secs_f64();
        self.time.steps += all;
        self.time.count += 1;
        if timed {
            self.time.timed = (self.time.timed.0 + all, self.time.timed.1 + all - before);
        }
        Ok(())
    }

    fn device(&self) -> tch::Device {
        match &self.feed.train {
            Part::Labelled { features, .. } => features.device(),
            Part::Text { bytes, .. } => bytes.device(),
        }
    }

    fn synchronise(&self, wanted: bool) {
        if let (true, tch::Device::Cuda(index)) = (wanted, self.device()) {
            tch::Cuda::synchronize(index as i64);
        }
    }

    /// Computes the mean loss over a batch at the weights that the model holds.
    fn loss(&self, Batch { inputs, targets }: &Batch) -> Result<Tensor> {
        let logits = self.network.forward(inputs, self.config.precision)?.f_to_kind(Kind::Float)?;
        cross_entropy(&logits.f_flatten(0, -2)?, &targets.f_flatten(0, -1)?)
    }

    /// Returns the losses at Y of the steps since the last call, oldest first. Waits for the device.
    ///
    /// # Errors
    /// Returns an error that names the first step whose loss is not finite.
    pub fn read(&mut self) -> Result<Vec<f32>> {
        if self.losses.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let losses = Vec::<f32>::try_from(Tensor::f_stack(&self.losses, 0)?)?;
        // Time of the steps that the device still had to compute.
        self.time.steps += started.elapsed().as_secs_f64();
        self.losses.clear();
        match losses.iter().position(|loss| !loss.is_finite()) {
            None => Ok(losses),
            Some(at) => {
                let step = self.step() - (losses.len() - at - 1) as u64;
                let before =
                    losses[..at].iter().rev().take(3).rev().map(|loss| format!("{loss:.4}")).collect::<Vec<_>>();
                let before = if before.is_empty() { String::new() } else { format!(", after {}", before.join(", ")) };
                Err(Error::Diverged { step, what: format!("the loss is {}{before}", losses[at]) })
            }
        }
    }

    /// Returns the rate since the last call.
    pub fn rate(&mut self) -> Rate {
        let Time { steps, timed, count } = std::mem::take(&mut self.time);
        let units = count as f64 * self.config.training.batch as f64 * self.feed.unit.per_sample as f64;
        Rate { per_second: units / steps.max(1e-9), optimizer_share: timed.1 / timed.0.max(1e-9) }
    }

    /// Measures loss and accuracy at X on the measuring samples of a part.
    ///
    /// # Errors
    /// Returns an error if libtorch fails, if the loss is not finite, or if a gradient since the last measurement was
    /// not finite.
    pub fn measure(&mut self, part: &Part) -> Result<Measurement> {
        if let Some((name, _)) = self.optimizer.refused()?.first() {
            let what = format!("the gradient of parameter {name} was not finite since the last measurement");
            return Err(Error::Diverged { step: self.step(), what });
        }
        let indices = self.feed.measuring(part, self.config.training.evaluate_samples);
        let measured = self.optimizer.evaluate(|| measured(&self.network, self.config.precision, part, &indices))??;
        if !measured.loss.is_finite() {
            let what = format!("the loss measured at X is {}", measured.loss);
            return Err(Error::Diverged { step: self.step(), what });
        }
        Ok(measured)
    }

    /// Measures loss and accuracy at the averaged weights; `None` if no average is kept.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn measure_average(&mut self, part: &Part) -> Result<Option<Measurement>> {
        if self.config.optimizer.average.is_none() {
            return Ok(None);
        }
        let indices = self.feed.measuring(part, self.config.training.evaluate_samples);
        let measure = || measured(&self.network, self.config.precision, part, &indices);
        Ok(Some(self.optimizer.evaluate_average(measure)??))
    }

    /// Returns numbers about the last step by group of parameters.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn groups(&self) -> Result<Vec<GroupPoint>> {
        let point = |told: Telemetry| {
            let Telemetry { group, step_size, gradient, dual, weights, ahead, step_over_weights, refused } = told;
            GroupPoint { group, step_size, gradient, dual, weights, ahead, step_over_weights, refused }
        };
        Ok(self.optimizer.telemetry()?.into_iter().map(point).collect())
    }

    /// Counts classes against predicted classes at X, over the measuring samples of a part; `None` for a text.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn confusion(&mut self, part: &Part, legend: &Legend) -> Result<Option<Confusion>> {
        let indices = self.feed.measuring(part, self.config.training.evaluate_samples);
        self.optimizer.evaluate(|| confusion(&self.network, self.config.precision, part, &indices, legend))?
    }
}

/// Largest number of samples measured at once, to bound the memory.
const AT_ONCE: usize = 256;

/// Counts classes against predicted classes at the weights that the model holds; `None` for a text.
fn confusion(
    network: &Network,
    precision: Precision,
    part: &Part,
    indices: &[i64],
    legend: &Legend,
) -> Result<Option<Confusion>> {
    if let Part::Text { .. } = part {
        return Ok(None);
    }
    let mut confusion = Confusion::new(legend.classes.clone());
    for indices in indices.chunks(AT_ONCE) {
        let Batch { inputs, targets } = part.take(indices)?;
        let predicted = network.forward(&inputs, precision)?.f_argmax(-1, false)?;
        let classes = |tensor: &Tensor| Ok::<_, Error>(Vec::<i64>::try_from(tensor)?);
        for (class, predicted) in classes(&targets)?.into_iter().zip(classes(&predicted)?) {
            confusion.add(class as u32, predicted as u32);
        }
    }
    Ok(Some(confusion))
}

/// Measures samples of a part at the weights that the model holds.
fn measured(network: &Network, precision: Precision, part: &Part, indices: &[i64]) -> Result<Measurement> {
    let (mut sum, mut right, mut count) = (0.0, 0, 0);
    for indices in indices.chunks(AT_ONCE) {
        let Batch { inputs, targets } = part.take(indices)?;
        let targets = targets.f_flatten(0, -1)?;
        let logits = network.forward(&inputs, precision)?.f_flatten(0, -2)?.f_to_kind(Kind::Float)?;
        let answers = targets.numel();
        sum += f64::try_from(&cross_entropy(&logits, &targets)?)? * answers as f64;
        right += i64::try_from(&logits.f_argmax(-1, false)?.f_eq_tensor(&targets)?.f_sum(Kind::Int64)?)?;
        count += answers;
    }
    Ok(Measurement { loss: (sum / count as f64) as f32, accuracy: right as f32 / count as f32 })
}

/// Measurements of a trained model.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// Loss and accuracy.
    pub measured: Measurement,
    /// Number of answers: samples, or bytes of a text.
    pub answers: usize,
    /// Counts of classes against predicted classes; `None` for a text.
    pub confusion: Option<Confusion>,
}

/// Measures the trained model in a checkpoint on one part of its data, or on all of the data if `role` is `None`.
/// `data` replaces the main file. libtorch computes on the CPU, in binary32.
///
/// # Errors
/// Returns an error if the checkpoint or the data cannot be read, or if the data do not fit or have no such part.
pub fn evaluate(checkpoint: &Path, data: Option<&Path>, role: Option<Role>) -> Result<Evaluation> {
    let _guard = no_grad_guard();
    let parameters = |about: &About| Model::of(&about.model)?.parameters(&about.shape);
    let checkpoint = Checkpoint::read_as(checkpoint, parameters)?;
    let about = &checkpoint.about;
    let dataset = match role {
        Some(_) => about.dataset(data)?,
        None => about.undivided(data)?,
    };
    let model = Model::of(&about.model)?;
    let feed = Feed::new(&dataset, &model, 0.0, 0, tch::Device::Cpu)?;
    let store = nn::VarStore::new(tch::Device::Cpu);
    let network = Network::new(&store.root(), &model, &about.shape)?;
    let mut variables = store.variables();
    for checkpoint::Tensor { name, elements, .. } in &checkpoint.tensors {
        if let Some(variable) = variables.get_mut(name) {
            variable.f_copy_(&Tensor::f_from_slice(elements)?.f_view(&variable.size()[..])?)?;
        }
    }
    let part = match role {
        Some(Role::Train) => &feed.train,
        Some(Role::Validate) => feed.validate.as_ref().ok_or_else(|| about.no_validation())?,
        Some(Role::Test) | None => &feed.test,
    };
    // For a text, windows that do not overlap.
    let indices = part.spread((part.len() / feed.unit.per_sample).max(1));
    Ok(Evaluation {
        measured: measured(&network, Precision::Float32, part, &indices)?,
        answers: indices.len() * feed.unit.per_sample,
        confusion: confusion(&network, Precision::Float32, part, &indices, &about.legend)?,
    })
}

/// Computes the mean cross-entropy, in nats, of logits [n, classes] for classes [n].
fn cross_entropy(logits: &Tensor, classes: &Tensor) -> Result<Tensor> {
    Ok(logits.f_cross_entropy_loss(classes, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0)?)
}

/// Returns the number of steps that a configuration asks for.
pub(crate) fn steps(config: &Config, feed: &Feed) -> u64 {
    let training = &config.training;
    match (training.steps, training.epochs) {
        (Some(steps), _) => steps,
        (None, epochs) => {
            // For a text, an epoch has as many samples as there are windows that do not overlap.
            let samples = feed.train.len() as f64 / feed.unit.per_sample as f64;
            ((epochs.unwrap_or(1.0) * samples / training.batch as f64).ceil() as u64).max(1)
        }
    }
}

/// Start mode of a training, in addition to its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// Resumes from the last checkpoint.
    pub resume: bool,
    /// Step of the kept checkpoint to resume from, instead of the last one.
    pub at: Option<u64>,
    /// Starts again if the folder holds files of a training. The first checkpoint replaces them.
    pub force: bool,
}

/// Progress of a training.
#[derive(Clone, Debug)]
pub struct Live {
    /// Number of steps taken.
    pub step: u64,
    /// Total number of steps.
    pub steps: u64,
    /// Loss of the last step that was looked at; NaN before the first.
    pub loss: f32,
    /// Event since the last report, if any.
    pub news: Option<News>,
}

/// Event in a training.
#[derive(Clone, Debug)]
pub enum News {
    /// The training starts. Holds the table of how each parameter is stepped.
    Starts(String),
    /// A measurement was taken; the string is the unit of its rate.
    Measured(Box<TrainingPoint>, &'static str),
    /// The training had already ended, after this number of steps. Nothing is done.
    Finished(u64),
    /// A checkpoint could not be written. The previous one is kept, and the training continues.
    NoCheckpoint(String),
}

/// Trains in the folder of the configuration. `page` draws the result as the HTML file of that folder, and `observe`
/// receives the progress. If `stop` is set, the training writes a checkpoint and ends with [`Error::Interrupted`].
///
/// A training may be resumed with another total number of steps if its schedule gives the steps already taken the same
/// sizes. It then ends with the bits of a training that had this number from the start. A training that has already
/// ended writes nothing.
///
/// # Errors
/// Returns an error if the configuration does not fit the data, the model or the machine, if the state belongs to other
/// data, if the folder holds files of a training and `start` does not say what to do with them, or if another process
/// writes there. In these cases nothing has changed. Also returns an error if the training diverges or is interrupted;
/// the folder then holds the last good checkpoint.
pub fn train(
    config: &Config,
    data: &Dataset,
    start: Start,
    stop: &AtomicBool,
    page: impl Fn(&Training) -> String,
    mut observe: impl FnMut(Live),
) -> Result<Training> {
    limits::check(config, data)?;
    let (mut folder, mut saved) = Folder::begin(config, data, start)?;
    let device = config.device()?;
    let threads = match &saved {
        // The bits depend on the number of threads.
        Some((saved, _)) if config.threads.is_none() => {
            parallel::check("its threads", saved.threads).map_err(|e| Error::content(&config.output.join(STATE), e))?;
            tch::set_num_threads(saved.threads as i32);
            saved.threads
        }
        _ => threads(config),
    };
    let feed = Feed::new(data, &config.model, config.training.wrong_labels, config.seed, device)?;
    let mut trainer = Trainer::new(config, &feed, device)?;
    folder.computed_by(threads);
    let (mut curve, mut search) = (Vec::new(), Search::default());
    if let Some((saved, state)) = &mut saved {
        let wrong = |error: Error| Error::content(&config.output.join(STATE), error);
        search = Search::restore(saved.standing.clone(), state, &trainer).map_err(wrong)?;
        trainer.restore(state).map_err(wrong)?;
        let before = self::steps(&saved.config, &feed);
        saved.check_steps(trainer.step(), before, trainer.steps()).map_err(|what| wrong(Error::usage(what)))?;
        let ended = trainer.step() == trainer.steps() || search.standing.exhausted(&config.training);
        if let Some(training) = folder.result(trainer.step()).filter(|_| ended) {
            let news = Some(News::Finished(trainer.step()));
            observe(Live { step: trainer.step(), steps: trainer.steps(), loss: f32::NAN, news });
            return Ok(training);
        }
        curve = folder.resume(trainer.step())?;
    }
    let steps = trainer.steps();
    let usual = |every: Option<u64>, part: u64| every.unwrap_or((steps / part).max(1));
    let evaluate_every = usual(config.training.evaluate_every, 40);
    let checkpoint_every = usual(config.training.checkpoint_every, 10);
    // On a GPU, reading the loss waits for the device.
    let look_every = if matches!(device, tch::Device::Cuda(_)) { 10 } else { 1 };
    let mut live =
        Live { step: trainer.step(), steps, loss: f32::NAN, news: Some(News::Starts(trainer.optimizer.table())) };
    observe(live.clone());
    if stop.load(Ordering::Relaxed) {
        return Err(match &saved {
            Some(_) => Error::Interrupted { step: trainer.step(), folder: config.output.clone() },
            None => Error::usage("stopped before the first step; nothing was written"),
        });
    }
    let (mut sum, mut count) = (0.0, 0);
    while trainer.step() < steps && !search.standing.exhausted(&config.training) {
        if let Err(error) = trainer.advance() {
            // A loss that is not finite is the more useful error.
            trainer.read()?;
            return Err(error);
        }
        let step = trainer.step();
        let end = step == steps;
        let (evaluate, checkpoint) =
            (step.is_multiple_of(evaluate_every) || end, step.is_multiple_of(checkpoint_every) || end);
        let stopping = stop.load(Ordering::Relaxed);
        if !(evaluate || checkpoint || stopping || step.is_multiple_of(look_every)) {
            continue;
        }
        for loss in trainer.read()? {
            (sum, count, live.loss) = (sum + f64::from(loss), count + 1, loss);
        }
        live.step = step;
        live.news = None;
        if evaluate {
            let groups = trainer.groups()?;
            let test = trainer.measure(&feed.test)?;
            let validation = feed.validate.as_ref().map(|part| trainer.measure(part)).transpose()?;
            let train = match config.training.evaluate_training {
                true => Some(trainer.measure(&feed.train)?.loss),
                false => None,
            };
            let average = trainer.measure_average(&feed.test)?;
            let Rate { per_second, optimizer_share } = trainer.rate();
            let point = TrainingPoint {
                step,
                loss: (sum / f64::from(count.max(1))) as f32,
                train_loss: train,
                validation_loss: validation.map(|measured| measured.loss),
                validation_accuracy: validation.map(|measured| measured.accuracy),
                test_loss: test.loss,
                accuracy: test.accuracy,
                average_loss: average.map(|measured| measured.loss),
                average_accuracy: average.map(|measured| measured.accuracy),
                rate: per_second as f32,
                optimizer_share: optimizer_share as f32,
                groups,
            };
            (sum, count) = (0.0, 0);
            folder.add(&point)?;
            search.judge(&point, &trainer)?;
            curve.push(point.clone());
            live.news = Some(News::Measured(Box::new(point), feed.unit.name));
        }
        observe(live.clone());
        let last = end || search.standing.exhausted(&config.training);
        // The last checkpoint is written with the results.
        if (checkpoint || stopping) && !last {
            match folder.save(&trainer, &search, &curve) {
                Err(error) if stopping => return Err(error),
                Err(error) => observe(Live { news: Some(News::NoCheckpoint(error.to_string())), ..live.clone() }),
                Ok(()) => {}
            }
        }
        if stopping && !last {
            return Err(Error::Interrupted { step, folder: config.output.clone() });
        }
    }
    let training = folder.end(&feed, &mut trainer, &search, &curve, page);
    if training.is_err() {
        // If only the results cannot be written, the last step is not lost. The first error is the one to report.
        let _ = folder.save(&trainer, &search, &curve);
    }
    training
}
