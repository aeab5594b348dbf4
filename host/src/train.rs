//! The trainer: an MLP with ReLU and softmax cross-entropy in libtorch, moved by an [`Optimizer`].

use crate::checkpoint::{About, Checkpoint};
use crate::data::{Samples, Stream};
use crate::error::{Error, Result};
use crate::optim::method::{Method, Optimizer};
use crate::report::{Training, TrainingPoint};
use crate::tensor::Arithmetic;
use graftage_core::network::Kind;
use graftage_core::random::Generator;
use graftage_core::schedule::Schedule;
use graftage_core::scion::Rule;
use std::iter::once;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::nn::{self, Module};
use tch::{Device, Tensor};

/// What [`train`] is told.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Steps: 1 or more.
    pub steps: u64,
    /// Samples a step: 1 or more.
    pub batch: usize,
    /// By which optimizer.
    pub method: Method,
    /// The rule; its step size falls linearly to 0 whatever its schedule says.
    pub rule: Rule,
    /// Seed of the weights and of the batches.
    pub seed: u64,
    /// How the rule is computed.
    pub arithmetic: Arithmetic,
    /// Samples that train; the others test.
    pub train: usize,
    /// Seed of the split.
    pub split_seed: u64,
    /// What the samples' features were divided by: kept with the weights.
    pub scale: f32,
}

impl Default for Options {
    /// For the digits: 64-32-10 from 1400 samples of features from 0 to 16.
    fn default() -> Self {
        Self {
            hidden: vec![32],
            steps: 1000,
            batch: 32,
            method: Method::Transported,
            rule: Rule { step: 0.015, ..Rule::DEFAULT },
            seed: 1,
            arithmetic: Arithmetic::Fast,
            train: 1400,
            split_seed: 1,
            scale: 16.0,
        }
    }
}

impl Options {
    /// The layers of the network, where there is one.
    fn layers(&self, samples: &Samples) -> Result<Vec<Kind>> {
        let usage = |what: &str| Err(Error::Usage(what.into()));
        let widths: Vec<_> =
            once(samples.inputs()).chain(self.hidden.iter().copied()).chain([samples.classes()]).collect();
        if self.steps == 0 || self.batch == 0 {
            return usage("a training has at least one step, and a step at least one sample");
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return usage("the scale of the features must be finite and > 0");
        }
        let mut layers = Vec::new();
        for pair in widths.windows(2) {
            let (Ok(inputs @ 1..), Ok(outputs @ 1..)) = (u32::try_from(pair[0]), u32::try_from(pair[1])) else {
                return usage("a layer has at least one input and one output, and fewer than 2^32");
            };
            layers.extend([Kind::Dense { inputs, outputs }, Kind::Relu { width: outputs }]);
        }
        layers.pop();
        Ok(layers)
    }
}

/// Steps between two measurements of the accuracy.
const EVERY: u64 = 25;

/// Trains an MLP on the first part of a [split](Samples::split); the other part measures it.
///
/// `observe` sees every step as it is taken. The same options on the same machine give the same weights: batches come
/// from [`Stream::Batches`], epoch by epoch in a new order, and libtorch computes on one thread of the CPU meanwhile, as
/// its sums depend on their number. A second training in the process waits for the first; `observe` cannot start one.
///
/// # Errors
/// Where the options do not go together or do not fit the samples; where a loss or a gradient is not finite, which the
/// message says with its step.
pub fn train(
    samples: &Samples,
    options: &Options,
    mut observe: impl FnMut(&TrainingPoint),
) -> Result<(Checkpoint, Training)> {
    let layers = options.layers(samples)?;
    let (training, testing) = samples.split(options.train, options.split_seed)?;
    let _threads = OneThread::new();
    let store = nn::VarStore::new(Device::cuda_if_available());
    let model = model(&store.root(), &layers);
    let rule =
        Rule { schedule: Schedule::Linear { steps: options.steps.try_into().unwrap_or(u32::MAX) }, ..options.rule };
    let rule = options.method.rule(rule);
    let mut optimizer = Optimizer::new(&store, options.method, rule, options.arithmetic, options.seed)?;

    let (inputs, labels) = upload(&training, store.device())?;
    let (test_inputs, test_labels) = upload(&testing, store.device())?;
    let accuracy = |optimizer: &Optimizer| -> Result<f32> {
        let right = optimizer
            .evaluate(|| model.forward(&test_inputs).argmax(-1, false).eq_tensor(&test_labels).sum(tch::Kind::Int64))?;
        Ok(i64::try_from(right)? as f32 / testing.len() as f32)
    };
    let mut batches = Batches::new(training.len(), Stream::Batches.generator(options.seed));
    let mut curve = Vec::new();
    for step in 1..=options.steps {
        let failed = |what: String| Error::Usage(format!("step {step}: {what}; a smaller step size may help"));
        let batch = Tensor::from_slice(&batches.draw(options.batch)).to_device(store.device());
        let logits = model.forward(&inputs.index_select(0, &batch));
        let loss = logits.cross_entropy_for_logits(&labels.index_select(0, &batch));
        let value = f32::try_from(&loss)?;
        if !value.is_finite() {
            return Err(failed("the loss is not finite".into()));
        }
        optimizer.backward_step(&loss).map_err(|error| failed(error.to_string()))?;
        let measured = step % EVERY == 0 || step == options.steps;
        if measured && let Some((name, _)) = optimizer.refused()?.first() {
            return Err(failed(format!("since the last measurement the gradient of parameter {name} was not finite")));
        }
        let accuracy = if measured { Some(accuracy(&optimizer)?) } else { None };
        let point = TrainingPoint { step, loss: value, accuracy };
        observe(&point);
        curve.push(point);
    }

    let weights = weights(&optimizer, &layers)?;
    let widths: Vec<_> = once(layers[0].shape().0).chain(layers.iter().step_by(2).map(|kind| kind.shape().1)).collect();
    let report = Training {
        network: widths.iter().map(u32::to_string).collect::<Vec<_>>().join("-"),
        parameters: weights.iter().map(Vec::len).sum(),
        optimizer: options.method.to_string(),
        arithmetic: options.arithmetic.to_string(),
        steps: options.steps,
        batch: options.batch,
        rule,
        seed: options.seed,
        samples: (training.len(), testing.len()),
        accuracy: curve.last().and_then(|point| point.accuracy).unwrap_or_default(),
        curve,
    };
    let about = About { layers, scale: options.scale, train: options.train, split_seed: options.split_seed };
    Ok((Checkpoint { about, weights }, report))
}

/// The name of a tensor of layer `index`, as a checkpoint has it.
fn name(index: usize, tensor: &str) -> String {
    format!("layers.{index}.{tensor}")
}

/// The model in libtorch, as [`Options::layers`] says; all weights are 0.
fn model(root: &nn::Path, layers: &[Kind]) -> nn::Sequential {
    let zeros = nn::LinearConfig { ws_init: nn::Init::Const(0.0), bs_init: Some(nn::Init::Const(0.0)), bias: true };
    layers.iter().enumerate().fold(nn::seq(), |model, (index, kind)| match *kind {
        Kind::Dense { inputs, outputs } => {
            model.add(nn::linear(root / "layers" / index, inputs.into(), outputs.into(), zeros))
        }
        _ => model.add_fn(Tensor::relu),
    })
}

/// X in the order of core's network: of each dense layer its weights, then its bias.
fn weights(optimizer: &Optimizer, layers: &[Kind]) -> Result<Vec<Vec<f32>>> {
    let x = optimizer.x()?;
    let dense = layers.iter().enumerate().filter(|(_, kind)| matches!(kind, Kind::Dense { .. }));
    let names = dense.flat_map(|(index, _)| ["weight", "bias"].map(|tensor| name(index, tensor)));
    let mut weights = Vec::new();
    for name in names {
        if let Some((_, tensor)) = x.iter().find(|(found, _)| *found == name) {
            weights.push(Vec::try_from(tensor.f_flatten(0, -1)?)?);
        }
    }
    Ok(weights)
}

/// Features [samples, inputs] and labels [samples].
fn upload(samples: &Samples, device: Device) -> Result<(Tensor, Tensor)> {
    let labels: Vec<_> = samples.labels().iter().map(|label| i64::from(*label)).collect();
    let features = Tensor::f_from_slice(samples.features())?.f_view([-1, samples.inputs() as i64])?;
    Ok((features.f_to_device(device)?, Tensor::f_from_slice(&labels)?.f_to_device(device)?))
}

/// Indices of samples, epoch by epoch in a new random order.
struct Batches {
    order: Vec<i64>,
    used: usize,
    generator: Generator,
}

impl Batches {
    fn new(samples: usize, generator: Generator) -> Self {
        Self { order: (0..samples as i64).collect(), used: samples, generator }
    }

    fn draw(&mut self, batch: usize) -> Vec<i64> {
        let mut drawn = Vec::new();
        while drawn.len() < batch {
            if self.used == self.order.len() {
                self.generator.shuffle(&mut self.order);
                self.used = 0;
            }
            drawn.push(self.order[self.used]);
            self.used += 1;
        }
        drawn
    }
}

/// libtorch on one thread, until this is dropped. The number of threads is the process's, so trainings wait for each
/// other.
struct OneThread {
    before: i32,
    _alone: MutexGuard<'static, ()>,
}

impl OneThread {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tch::get_num_threads();
        tch::set_num_threads(1);
        Self { before, _alone: alone }
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        tch::set_num_threads(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::OneThread;

    #[test]
    fn one_thread_until_it_is_dropped() {
        tch::set_num_threads(3);
        let one = OneThread::new();
        assert_eq!(tch::get_num_threads(), 1);
        drop(one);
        assert_eq!(tch::get_num_threads(), 3);
    }
}
