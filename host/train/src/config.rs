//! Configuration of `graftage train`, as a TOML file.
//!
//! ```
//! # fn main() -> Result<(), String> {
//! let text = r#"
//! seed = 1
//! output = "digits"                   # a folder
//!
//! [data.csv]
//! path = "digits.csv.gz"
//!
//! [split.seed]
//! train = 1400
//!
//! [normalise]
//! divide = 16.0
//!
//! [model.mlp]
//! hidden = [32]
//!
//! [optimizer]
//! method = "transported"
//! step-size = 0.015
//!
//! [training]
//! steps = 1000
//! batch = 32
//! "#;
//! let config = graftage_train::config::Config::parse(text)?;
//! assert_eq!(config.optimizer.momentum, graftage_core::schedule::Momentum::Constant(0.9));
//! # Ok(())
//! # }
//! ```
//!
//! Paths are relative to the folder in which the command runs. An unknown key is an error that names the nearest known
//! one.

use crate::error::{Error, Result};
use crate::model::Model;
use graftage::data::{Normalise, Source, Split};
use graftage::{files, rule};
use graftage_core::polar::Quintics;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use graftage_optim::Decay;
use graftage_optim::groups::Scale;
use graftage_optim::method::Method;
use graftage_optim::schedule::{Course, Window};
use graftage_optim::tensor::{Arithmetic, Precision};
use graftage_optim::text::Text;
use graftage_optim::{Average, Group, Groups, RULE, TransportedScion, cuda};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::nn;

/// Configuration of a training. The training stores it as JSON in its files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Seed of weights and batches.
    #[serde(default = "one")]
    pub seed: u64,
    /// Folder for checkpoints, weights, metrics and report. Created if missing.
    pub output: PathBuf,
    /// Device that computes.
    #[serde(default)]
    pub device: Device,
    /// Number of CPU threads. Default: half of the processors, at least one. Another number gives other bits.
    #[serde(default)]
    pub threads: Option<usize>,
    /// Number format of the model's products and of spectral directions. Updates of the weights are always in binary32.
    #[serde(default)]
    pub precision: Precision,
    /// Number format in which the model holds its matrices. With bfloat16, the optimizer keeps the weights themselves
    /// in binary32, and the model has them rounded; the precision must be bfloat16 as well.
    #[serde(default)]
    pub weights: Precision,
    /// Source of the samples.
    pub data: Source,
    /// Division of the samples into training, validation and test parts.
    #[serde(default)]
    pub split: Split,
    /// Scaling of the features.
    #[serde(default)]
    pub normalise: Normalise,
    /// Model to train.
    pub model: Model,
    /// Optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Further optimizers for `compare` and `transfer`, by name, each in the form of `[optimizer]`.
    #[serde(default)]
    pub variants: BTreeMap<String, Optimizer>,
    /// Length of the training, and how often it is evaluated and checkpointed.
    pub training: Training,
}

/// Device that computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// A CUDA device if there is one, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device. It is an error if there is none.
    Cuda,
}

/// The optimizer and its constants.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Optimizer {
    /// Training method.
    pub method: Method,
    /// Largest step size η of the schedule.
    pub step_size: f32,
    /// Momentum β: a number, `ramp=FROM,TO,STEPS` or `power=EXPONENT`.
    #[serde(deserialize_with = "momentum", serialize_with = "momentum_text")]
    pub momentum: Momentum,
    /// Law of transport: `theta=SHARE`, `lag=MEMORY`, `alignment=DAMPING` or `nesterov`. Only for the method
    /// `transported`.
    #[serde(deserialize_with = "transport", serialize_with = "transport_text")]
    pub transport: Transport,
    /// Schedule of the step size.
    pub schedule: Course,
    /// Quintics that compute spectral directions.
    #[serde(deserialize_with = "quintics", serialize_with = "quintics_text")]
    pub quintics: Quintics,
    /// Pull on the weights: `none`, `zero` or `zero=LAMBDA`, `start` or `start=LAMBDA`. Only for methods of the rule.
    #[serde(deserialize_with = "pull", serialize_with = "pull_text")]
    pub pull: Pull,
    /// Arithmetic: `fast`, or `exact` for core's order of evaluation.
    pub arithmetic: Arithmetic,
    /// Decoupled weight decay of all parameters whose groups set none, instead of the pull.
    pub decay: Option<Decay>,
    /// Scale of the steps of all parameters with spectral norms whose groups set neither scale nor radius.
    pub scale: Option<Scale>,
    /// Windows of steps in which transport rests, of all parameters whose groups set none.
    pub rest: Vec<Window>,
    /// Start of the momentum: the first gradient, or 0 as in the published code of Scion and Muon.
    pub momentum_start: MomentumStart,
    /// Factor κ of the limiter of gradients.
    pub limiter: Option<f32>,
    /// Average of the weights, measured and saved beside X: `exponential=MEMORY` or `tail=STEP`.
    pub average: Option<Average>,
    /// Settings by parameter names and roles. The first group that matches applies.
    pub groups: Vec<Group>,
}

/// Start of the momentum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MomentumStart {
    /// The first gradient.
    #[default]
    Gradient,
    /// 0.
    Zero,
}

impl Default for Optimizer {
    fn default() -> Self {
        let Rule { step_size: step, momentum, transport, pull, quintics, .. } = RULE;
        Self {
            method: Method::default(),
            step_size: step,
            momentum,
            transport,
            schedule: Course::default(),
            quintics,
            pull,
            arithmetic: Arithmetic::default(),
            decay: None,
            scale: None,
            rest: Vec::new(),
            momentum_start: MomentumStart::default(),
            limiter: None,
            average: None,
            groups: Vec::new(),
        }
    }
}

impl Optimizer {
    /// Returns the groups of parameters for a training of `steps` steps: these first, then the settings of all.
    pub fn groups(&self, steps: u64) -> Groups {
        let usual = Group {
            decay: self.decay,
            scale: self.scale,
            rest: self.rest.clone(),
            schedule: Some(self.schedule.clone()).filter(|course| course.in_core(steps).is_none()),
            ..Group::new("*")
        };
        Groups::overriding(self.groups.iter().cloned()).usually([usual]).over(steps)
    }

    /// Returns the rule for a training of `steps` steps. A schedule that core does not have is left to the
    /// [groups](Optimizer::groups).
    pub fn rule(&self, steps: u64) -> Rule {
        let Self { step_size: step, momentum, transport, pull, quintics, .. } = *self;
        let schedule = self.schedule.in_core(steps).unwrap_or(Schedule::Constant);
        Rule { step_size: step, schedule, momentum, transport, pull, quintics }
    }

    /// Returns words for settings that the rule does not hold.
    pub fn words(&self) -> Vec<String> {
        let settings = [
            self.decay.map(|decay| format!("decay {decay}")),
            self.scale.map(|_| "steps scaled to match AdamW's".to_owned()),
            (!self.rest.is_empty()).then(|| "with rests of transport".to_owned()),
            (self.momentum_start == MomentumStart::Zero).then(|| "momentum started at 0".to_owned()),
            self.limiter.map(|factor| format!("gradients limited to {factor} times their mean")),
            self.average.map(|average| format!("averaged weights ({average})")),
        ];
        settings.into_iter().flatten().collect()
    }

    /// Returns the optimizer of a store for a training of `steps` steps.
    ///
    /// # Errors
    /// Same as [`Method::optimizer`]; also if start, limiter or average do not fit the method.
    pub fn create(&self, store: &nn::VarStore, steps: u64, seed: u64) -> Result<TransportedScion> {
        let mut optimizer =
            self.method.optimizer(store, self.rule(steps), self.arithmetic, &self.groups(steps), seed)?;
        if self.momentum_start == MomentumStart::Zero {
            optimizer = optimizer.from_zero()?;
        }
        if let Some(factor) = self.limiter {
            optimizer = optimizer.limited(factor)?;
        }
        if let Some(average) = self.average {
            optimizer = optimizer.averaging(average)?;
        }
        Ok(optimizer)
    }
}

/// Length of a training run and how often it is evaluated and checkpointed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Training {
    /// Number of steps. Alternative: [`Training::epochs`].
    #[serde(default)]
    pub steps: Option<u64>,
    /// Number of passes over the training part, rounded up to whole steps.
    #[serde(default)]
    pub epochs: Option<f64>,
    /// Samples per step; for a text, windows of the model's context.
    pub batch: usize,
    /// Number of equal parts into which a step's samples are divided if memory is short. The gradient is the mean over
    /// all of them.
    #[serde(default = "one_part")]
    pub parts: usize,
    /// Steps between two measurements. Default: a fortieth of the training; in `compare` and `transfer` a sixtieth.
    #[serde(default)]
    pub evaluate_every: Option<u64>,
    /// Largest number of samples per part and measurement: always the same ones, spread evenly. Default: all samples,
    /// for a text 256 windows.
    #[serde(default)]
    pub evaluate_samples: Option<usize>,
    /// True if the training part is measured, too.
    #[serde(default)]
    pub evaluate_training: bool,
    /// Steps between two checkpoints. Default: a tenth of the training.
    #[serde(default)]
    pub checkpoint_every: Option<u64>,
    /// Number of checkpoints to keep. With more than 1, each is also kept as `state-STEP.safetensors`.
    #[serde(default = "one_part")]
    pub checkpoints: usize,
    /// True if the measurements are also written as a TensorBoard event file.
    #[serde(default)]
    pub tensorboard: bool,
    /// Share of training labels that are replaced by wrong ones, to test how a method copes with them.
    #[serde(default)]
    pub wrong_labels: f32,
    /// Weights to keep. `compare` and `transfer` only look at the last ones.
    #[serde(default)]
    pub keep: Keep,
    /// Ends the training after this many measurements in a row without a better one. `compare` and `transfer` take all
    /// steps.
    #[serde(default)]
    pub stop_after: Option<u64>,
}

/// Weights that a training leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The last weights.
    #[default]
    Last,
    /// The last weights, and those with the lowest loss on the validation part or, if there is none, on the test part.
    Best,
}

/// Largest number of steps of a training: a schedule counts in 32 bits.
const LONGEST: u64 = u32::MAX as u64;

fn one() -> u64 {
    1
}

fn one_part() -> usize {
    1
}

impl Config {
    /// Returns the device that [`Config::device`](field@Config::device) asks for.
    ///
    /// # Errors
    /// If it asks for a CUDA device and there is none.
    pub fn device(&self) -> Result<tch::Device> {
        match self.device {
            Device::Cpu => Ok(tch::Device::Cpu),
            Device::Auto => Ok(cuda::device().unwrap_or(tch::Device::Cpu)),
            Device::Cuda => cuda::device().ok_or_else(|| Error::usage(
                "device = \"cuda\": libtorch sees no CUDA device on this machine; device = \"auto\" would fall back to the processor"
            )),
        }
    }

    /// Reads a configuration from a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is not a valid configuration. The message names file, line and
    /// column.
    pub fn read(path: &Path) -> Result<Self> {
        let text = String::from_utf8(files::read(path)?).map_err(|_| Error::content(path, "is not UTF-8 text"))?;
        Self::parse(&text).map_err(|what| Error::content(path, what))
    }

    /// Parses a configuration.
    ///
    /// # Errors
    /// Returns one line with the place and the problem.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| explain(text, &error))?;
        config.check()?;
        Ok(config)
    }

    /// Checks constraints that involve several keys or that the types do not enforce.
    fn check(&self) -> std::result::Result<(), String> {
        let Training { steps, epochs, batch, parts, wrong_labels, .. } = self.training;
        match (steps, epochs) {
            (None, None) => return Err("[training] must have either steps or epochs".into()),
            (Some(_), Some(_)) => return Err("[training] has both steps and epochs; remove one of them".into()),
            (Some(0), None) => return Err("[training] steps must be at least 1".into()),
            (Some(steps), None) if steps > LONGEST => {
                return Err(format!("[training] steps must be at most {LONGEST}, found {steps}"));
            }
            (None, Some(epochs)) if !(epochs > 0.0 && epochs.is_finite()) => {
                return Err(format!("[training] epochs must be finite and > 0, found {epochs}"));
            }
            _ => {}
        }
        if batch == 0 || parts == 0 || !batch.is_multiple_of(parts) {
            return Err(format!(
                "[training] a batch of {batch} cannot be divided into {parts} equal parts of at least one sample"
            ));
        }
        let every =
            [("evaluate-every", self.training.evaluate_every), ("checkpoint-every", self.training.checkpoint_every)];
        if let Some((key, _)) = every.into_iter().find(|(_, every)| *every == Some(0)) {
            return Err(format!("[training] {key} must be at least 1; omit it for the default"));
        }
        if self.training.checkpoints == 0 {
            return Err("[training] checkpoints must be at least 1: the last one is always kept".into());
        }
        if self.training.stop_after == Some(0) {
            return Err("[training] stop-after must be at least 1; omit it to take all steps".into());
        }
        if self.training.evaluate_samples == Some(0) {
            return Err("[training] evaluate-samples must be at least 1".into());
        }
        if !(0.0..1.0).contains(&wrong_labels) {
            return Err(format!("[training] wrong-labels must be in [0, 1), found {wrong_labels}"));
        }
        if self.weights == Precision::Bfloat16 && self.precision != Precision::Bfloat16 {
            return Err(
                "weights = \"bfloat16\" needs precision = \"bfloat16\", too: products take them as they are".into()
            );
        }
        if self.weights == Precision::Bfloat16 && self.optimizer.arithmetic == Arithmetic::Exact {
            return Err("weights = \"bfloat16\" cannot be used with arithmetic = \"exact\"".into());
        }
        if self.threads == Some(0) {
            return Err("threads must be at least 1".into());
        }
        let variants = self.variants.iter().map(|(name, variant)| (format!("[variants.{name}]"), variant));
        for (table, optimizer) in [("[optimizer]".to_owned(), &self.optimizer)].into_iter().chain(variants) {
            if let Some(steps) = steps {
                optimizer.schedule.check(steps).map_err(|what| format!("{table} {what}"))?;
            }
            let constants = optimizer.method.rule(optimizer.rule(1));
            constants.check().map_err(|refusal| format!("{table} {refusal}"))?;
        }
        Ok(())
    }
}

/// Formats an error in one line, with its place and a suggestion.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    let Some(span) = error.span() else { return unknown(&message).unwrap_or(message) };
    let before = &text[..span.start.min(text.len())];
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count();
    let header = before.lines().rev().map(str::trim).find(|line| line.starts_with('['));
    let found = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let what = match (header, found) {
        (_, Some(found)) if former(found).is_some() => former(found).unwrap_or_default().to_owned(),
        (Some(header), Some(found)) if top_level().iter().any(|key| key == found) => {
            let header = header.split('#').next().unwrap_or_default().trim();
            format!("{found:?} is not a key of {header}: it belongs above the first [table] of the file")
        }
        _ if message.starts_with("invalid type: unit variant") => {
            "this value needs a table of settings, as in { cosine = { warmup = 10, floor = 0.1 } }".to_owned()
        }
        _ => unknown(&message).unwrap_or_else(|| message.clone()),
    };
    format!("line {line}, column {column}: {what}")
}

/// Returns the present equivalent of a key that no longer exists.
pub(crate) fn former(key: &str) -> Option<&'static str> {
    (key == "constrained").then_some(
        "the key \"constrained\" no longer exists: instead of true, use pull = \"zero\"; instead of false, pull = \"none\"",
    )
}

/// Returns the top-level keys above the tables, as the deserializer lists them.
fn top_level() -> Vec<String> {
    let error = toml::from_str::<Config>("\"\" = 0").err();
    let message = error.map(|error| error.message().to_owned()).unwrap_or_default();
    message.split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect()
}

/// Suggests the known key or value that is nearest to an unknown one.
fn unknown(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let found = names.next().unwrap_or_default();
    let known: Vec<_> = names.collect();
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(found, name), name)).min();
    let what = if message.starts_with("unknown field") { "key" } else { "value" };
    Some(match near {
        Some((distance, name)) if distance <= 1 + found.len() / 3 => {
            format!("unknown {what} {found:?}; did you mean {name:?}?")
        }
        Some(_) => format!("unknown {what} {found:?}; expected one of {}", known.join(", ")),
        None => format!("unknown {what} {found:?}"),
    })
}

/// Defines the (reading, writing) functions of a value that has a text form in [`rule`].
macro_rules! in_words {
    ($read:ident, $write:ident, $type:ty, $from:path, $to:path) => {
        fn $read<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<$type, D::Error> {
            $from(&Text::deserialize(source)?.0).map_err(serde::de::Error::custom)
        }
        fn $write<S: Serializer>(value: &$type, target: S) -> std::result::Result<S::Ok, S::Error> {
            target.serialize_str(&$to(*value))
        }
    };
}

in_words!(momentum, momentum_text, Momentum, rule::momentum, rule::momentum_argument);
in_words!(transport, transport_text, Transport, rule::transport, rule::transport_argument);
in_words!(pull, pull_text, Pull, rule::pull, rule::pull_argument);
in_words!(quintics, quintics_text, Quintics, rule::quintics, rule::quintics_argument);
