//! The trainer: a model in libtorch, moved by an [`Optimizer`], in a folder that survives whatever ends the process.
//!
//! | file of the folder | what it holds |
//! |---|---|
//! | `state.safetensors` | all that the training goes on from: the last checkpoint |
//! | `metrics.jsonl` | a line of JSON for each measurement |
//! | `model.safetensors` | at the end: the weights X and what they are for, see [`graftage::checkpoint`] |
//! | `best.safetensors` | the same of the best measurement, where the configuration keeps it |
//! | `training.json`, `report.html` | at the end: the measurements with what made them, and a page with curves |
//!
//! What the folder held stays until the first checkpoint, and a file that the training did not write is not replaced. Files
//! change hands at once, see [`graftage::files`], so that they are whole whenever the process ends; only `metrics.jsonl` grows, and
//! what is beyond the last checkpoint is dropped when the training goes on. On the processor a training that was interrupted
//! anywhere ends in the same bits as one that was not, if it has the same number of threads.
//!
//! While it trains, the model holds Y; what is measured and saved is X.

mod best;
mod feed;
mod folder;
mod state;

pub use best::Standing;
pub use feed::{Feed, Part};
pub use state::Saved;
pub(crate) use state::difference;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limits;
use crate::network::Network;
use best::Search;
use feed::Batches;
use folder::Folder;
use graftage::checkpoint::Checkpoint;
use graftage::confusion::Confusion;
use graftage::data::{Dataset, Legend, Role};
use graftage::parallel;
use graftage::training::{Training, TrainingPoint};
use graftage_core::scion::Rule;
use graftage_optim::method::Optimizer;
use graftage_optim::tensor::Precision;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::{Kind, Tensor, nn, no_grad_guard};

/// The last checkpoint, in the folder of a training.
pub const STATE: &str = "state.safetensors";
/// The measurements, in the folder of a training.
pub const METRICS: &str = "metrics.jsonl";
/// The weights, in the folder of a training.
pub const MODEL: &str = "model.safetensors";
/// The weights of the best measurement, in the folder of a training.
pub const BEST: &str = "best.safetensors";
/// The result, in the folder of a training.
pub const RESULT: &str = "training.json";
/// The page, in the folder of a training.
pub const PAGE: &str = "report.html";

/// All of them.
pub const FILES: [&str; 6] = [STATE, METRICS, MODEL, BEST, RESULT, PAGE];

/// A model, its data and its optimizer, step by step. It writes no files.
pub struct Trainer<'a> {
    config: &'a Config,
    feed: &'a Feed,
    steps: u64,
    network: Network,
    optimizer: Optimizer,
    batches: Batches,
    /// Those of the steps since they were last read, oldest first.
    losses: Vec<Tensor>,
    time: Time,
}

/// Seconds since they were last asked for.
#[derive(Clone, Copy, Default)]
struct Time {
    /// Of all steps.
    steps: f64,
    /// Of those in which the optimizer was timed by itself: all, and the optimizer's.
    timed: (f64, f64),
    /// How many steps.
    count: u64,
}

/// What was measured at X.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measurement {
    /// Mean loss in nats: of a sample, of a text of a byte.
    pub loss: f32,
    /// The share of right answers.
    pub accuracy: f32,
}

/// The threads of a configuration, as libtorch's own from now on in this process: where it says nothing, half of the processors,
/// but at least one. A thread more than there are idle processors makes all wait for it, so the rest is left to other programs.
pub fn threads(config: &Config) -> usize {
    let threads = config.threads.unwrap_or_else(|| (parallel::processors() / 2).max(1));
    tch::set_num_threads(threads as i32);
    threads
}

impl<'a> Trainer<'a> {
    /// Starts anew from random weights.
    ///
    /// # Errors
    /// Where model, data and constants do not go together.
    pub fn new(config: &'a Config, feed: &'a Feed, device: tch::Device) -> Result<Self> {
        let steps = steps(config, feed);
        config.optimizer.schedule.check(steps).map_err(|what| Error::usage(format!("[optimizer] {what}")))?;
        let rule = config.optimizer.method.rule(config.optimizer.rule(steps));
        rule.check()?;
        let store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &config.model, &feed.shape)?;
        let (groups, chosen) = (config.optimizer.groups(), &config.optimizer);
        let mut optimizer = Optimizer::new(&store, chosen.method, rule, chosen.arithmetic, &groups, config.seed)?;
        if config.precision == Precision::Bfloat16 {
            optimizer = optimizer.bfloat16();
        }
        let batches = Batches::new(&feed.train, config.seed, 0);
        Ok(Self { config, feed, steps, network, optimizer, batches, losses: Vec::new(), time: Time::default() })
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// Where the state is of another model: nothing has changed then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        self.optimizer.restore(state)?;
        let drawn = self.optimizer.steps() * self.config.training.batch as u64;
        self.batches = Batches::new(&self.feed.train, self.config.seed, drawn);
        Ok(())
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The rule.
    pub fn rule(&self) -> Rule {
        self.config.optimizer.method.rule(self.config.optimizer.rule(self.steps))
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Takes a step. The loss stays on the device until it is [read](Trainer::read).
    ///
    /// # Errors
    /// Where libtorch fails, or under exact arithmetic a gradient is not finite.
    pub fn advance(&mut self) -> Result<()> {
        let started = Instant::now();
        let training = &self.config.training;
        let part = training.batch / training.parts;
        let indices = self.batches.draw(training.batch);
        let mut losses = Vec::new();
        for indices in indices.chunks(part) {
            let (input, target) = self.feed.train.take(indices)?;
            let loss = self.loss(&input, &target)?;
            self.optimizer.accumulate(&loss, part)?;
            losses.push(loss.detach());
        }
        self.losses.push(if losses.len() == 1 {
            losses.remove(0)
        } else {
            Tensor::f_stack(&losses, 0)?.f_mean(Kind::Float)?
        });
        // On a GPU waiting costs time: the optimizer's share is taken from the first step after each reading.
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

    /// The mean loss over a batch, at the weights that the model holds.
    fn loss(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let logits = self.network.forward(input, self.config.precision)?.f_to_kind(Kind::Float)?;
        cross_entropy(&logits.f_flatten(0, -2)?, &target.f_flatten(0, -1)?)
    }

    /// The losses at Y of the steps since they were last read, oldest first. It waits for the device.
    ///
    /// # Errors
    /// Names the first step whose loss is not finite.
    pub fn read(&mut self) -> Result<Vec<f32>> {
        if self.losses.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let losses = Vec::<f32>::try_from(Tensor::f_stack(&self.losses, 0)?)?;
        // The steps that the device had still to do.
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

    /// Samples (of a text bytes) a second, and the share of the time that the optimizer takes, since they were last asked for.
    pub fn rate(&mut self) -> (f64, f64) {
        let Time { steps, timed, count } = std::mem::take(&mut self.time);
        let samples = count as f64 * self.config.training.batch as f64 * self.feed.unit.1 as f64;
        (samples / steps.max(1e-9), timed.1 / timed.0.max(1e-9))
    }

    /// Measures samples of a part at X.
    ///
    /// # Errors
    /// Where libtorch fails, or the loss is not finite, or a gradient since the last measurement was not.
    pub fn measure(&mut self, part: &Part) -> Result<Measurement> {
        if let Some((name, _)) = self.optimizer.refused()?.first() {
            let what = format!("since the last measurement the gradient of parameter {name} was not finite");
            return Err(Error::Diverged { step: self.step(), what });
        }
        let indices = self.feed.measuring(part, self.config.training.evaluate_samples);
        let measured = self.optimizer.evaluate(|| measured(&self.network, self.config.precision, part, &indices))??;
        if !measured.loss.is_finite() {
            let what = format!("the loss that is measured at X is {}", measured.loss);
            return Err(Error::Diverged { step: self.step(), what });
        }
        Ok(measured)
    }

    /// Which class is taken for which at X, among the samples of a part that measure; `None` of a text.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn confusion(&mut self, part: &Part, legend: &Legend) -> Result<Option<Confusion>> {
        let indices = self.feed.measuring(part, self.config.training.evaluate_samples);
        self.optimizer.evaluate(|| confusion(&self.network, self.config.precision, part, &indices, legend))?
    }
}

/// Samples that are measured at once: a bound for memory.
const AT_ONCE: usize = 256;

/// Which class is taken for which at the weights that the model holds; `None` of a text.
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
        let (input, target) = part.take(indices)?;
        let predicted = network.forward(&input, precision)?.f_argmax(-1, false)?;
        let classes = |tensor: &Tensor| Ok::<_, Error>(Vec::<i64>::try_from(tensor)?);
        for (class, predicted) in classes(&target)?.into_iter().zip(classes(&predicted)?) {
            confusion.add(class as u32, predicted as u32);
        }
    }
    Ok(Some(confusion))
}

/// Measures samples of a part at the weights that the model holds.
fn measured(network: &Network, precision: Precision, part: &Part, indices: &[i64]) -> Result<Measurement> {
    let (mut sum, mut right, mut count) = (0.0, 0, 0);
    for indices in indices.chunks(AT_ONCE) {
        let (input, target) = part.take(indices)?;
        let target = target.f_flatten(0, -1)?;
        let logits = network.forward(&input, precision)?.f_flatten(0, -2)?.f_to_kind(Kind::Float)?;
        let answers = target.numel();
        sum += f64::try_from(&cross_entropy(&logits, &target)?)? * answers as f64;
        right += i64::try_from(&logits.f_argmax(-1, false)?.f_eq_tensor(&target)?.f_sum(Kind::Int64)?)?;
        count += answers;
    }
    Ok(Measurement { loss: (sum / count as f64) as f32, accuracy: right as f32 / count as f32 })
}

/// What was measured of a trained model.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// Loss and accuracy.
    pub measured: Measurement,
    /// Samples; of a text, bytes.
    pub answers: usize,
    /// Which class is taken for which; `None` of a text.
    pub confusion: Option<Confusion>,
}

/// Measures a trained model on a part of its data, or on all of them; with another main file where that is named. It is computed
/// by libtorch on the processor, in binary32.
///
/// # Errors
/// Where the data cannot be read, are not what the model takes, or have no such part.
pub fn evaluate(checkpoint: &Checkpoint, data: Option<&Path>, role: Option<Role>) -> Result<Evaluation> {
    let _guard = no_grad_guard();
    let about = &checkpoint.about;
    let dataset = match role {
        Some(_) => about.dataset(data)?,
        None => about.undivided(data)?,
    };
    let feed = Feed::new(&dataset, &about.model, 0.0, 0, tch::Device::Cpu)?;
    let store = nn::VarStore::new(tch::Device::Cpu);
    let network = Network::new(&store.root(), &about.model, &about.shape)?;
    let mut variables = store.variables();
    for (name, _, weights) in &checkpoint.tensors {
        if let Some(variable) = variables.get_mut(name) {
            variable.f_copy_(&Tensor::f_from_slice(weights)?.f_view(&variable.size()[..])?)?;
        }
    }
    let part = match role {
        Some(Role::Train) => &feed.train,
        Some(Role::Validate) => feed.validate.as_ref().ok_or_else(|| about.no_validation())?,
        Some(Role::Test) | None => &feed.test,
    };
    // Of a text, windows that do not overlap.
    let indices = part.spread((part.len() / feed.unit.1).max(1));
    Ok(Evaluation {
        measured: measured(&network, Precision::Float32, part, &indices)?,
        answers: indices.len() * feed.unit.1,
        confusion: confusion(&network, Precision::Float32, part, &indices, &about.legend)?,
    })
}

/// The mean cross-entropy, in nats, of logits [n, classes] for classes [n].
fn cross_entropy(logits: &Tensor, classes: &Tensor) -> Result<Tensor> {
    Ok(logits.f_cross_entropy_loss(classes, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0)?)
}

/// Steps that a configuration asks for.
pub(crate) fn steps(config: &Config, feed: &Feed) -> u64 {
    let training = &config.training;
    match (training.steps, training.epochs) {
        (Some(steps), _) => steps,
        (None, epochs) => {
            // Of a text, an epoch has as many samples as windows that do not overlap.
            let samples = feed.train.len() as f64 / feed.unit.1 as f64;
            ((epochs.unwrap_or(1.0) * samples / training.batch as f64).ceil() as u64).max(1)
        }
    }
}

/// How a training is to be run, besides its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// Go on from the last checkpoint.
    pub resume: bool,
    /// Start again where the folder holds files of a training: they are replaced with the first checkpoint.
    pub force: bool,
}

/// A look at a training.
#[derive(Clone, Debug)]
pub struct Live {
    /// Steps taken.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Of the last step.
    pub loss: f32,
    /// What is new since the last look.
    pub news: Option<News>,
}

/// What happened in a training.
#[derive(Clone, Debug)]
pub enum News {
    /// It starts: how each parameter is stepped, in lines, where the rule steps them.
    Starts(Option<String>),
    /// Something was measured; the rate is in these units.
    Measured(TrainingPoint, &'static str),
    /// It had ended before, after so many steps: nothing is done.
    Finished(u64),
    /// A checkpoint could not be written; the one before it is kept, and the training goes on.
    NoCheckpoint(String),
}

/// Trains in the folder of the configuration. `page` draws the result as the HTML file of that folder, and `observe` sees the
/// training at work. Where `stop` is set, it writes a checkpoint and ends
/// with [`Error::Interrupted`].
///
/// A training that goes on may be given another number of steps where its schedule gives those that are taken the size that
/// they had: it then ends in the bits of one that had that number from its start. One that has ended writes nothing.
///
/// # Errors
/// Where the configuration fits neither data, model nor machine, where the state is of other data, where the folder holds files of
/// a training and `start` does not say what is to become of them, or where another process writes there: nothing has changed
/// then. Where it diverges or is interrupted: the folder then holds the last good checkpoint.
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
        // The bits depend on their number.
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
    // On a GPU a look at the loss waits for it.
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
            // A loss that is not finite says more.
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
            let test = trainer.measure(&feed.test)?;
            let validation = feed.validate.as_ref().map(|part| trainer.measure(part)).transpose()?;
            let train = match config.training.evaluate_training {
                true => Some(trainer.measure(&feed.train)?.loss),
                false => None,
            };
            let (rate, share) = trainer.rate();
            let point = TrainingPoint {
                step,
                loss: (sum / f64::from(count.max(1))) as f32,
                train_loss: train,
                validation_loss: validation.map(|measured| measured.loss),
                validation_accuracy: validation.map(|measured| measured.accuracy),
                test_loss: test.loss,
                accuracy: test.accuracy,
                rate: rate as f32,
                optimizer_share: share as f32,
            };
            (sum, count) = (0.0, 0);
            folder.add(&point)?;
            curve.push(point);
            search.judge(&point, &trainer)?;
            live.news = Some(News::Measured(point, feed.unit.0));
        }
        observe(live.clone());
        let last = end || search.standing.exhausted(&config.training);
        // The last one is written with the result.
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
        // Where only the results cannot be written, the last step is not lost; what kept them is what is told.
        let _ = folder.save(&trainer, &search, &curve);
    }
    training
}
