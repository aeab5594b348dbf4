//! Optimizers beside the rule, for comparison, each in a module of its own.
//!
//! They use libtorch's equations and operations. libtorch's own optimizers give no access to their state.
//!
//! A new one is a file here, which defines a [`Baseline`], and a line in [`ALL`].

mod adamw;
mod sgd;

use super::state::{Matched, STEPS, matched};
use super::{Result, Tensors, accumulate};
use tch::{Tensor, no_grad_guard};

/// All baselines.
pub const ALL: [&Baseline; 2] = [&adamw::ADAMW, &sgd::SGD];

/// Definition of an optimizer beside the rule.
#[derive(Debug)]
pub struct Baseline {
    /// Name in configurations and options, e.g. `adamw`.
    pub key: &'static str,
    /// Name in words, e.g. `AdamW`.
    pub name: &'static str,
    /// Names of the arrays that it keeps for each parameter, in the order in which `step` gets them. They start at 0.
    pub arrays: &'static [&'static str],
    /// Step sizes that are tried where none are given, ascending.
    pub step_sizes: &'static [f32],
    /// Takes a step of one parameter X with the gradient G; both have its shape, and so do the arrays.
    step: fn(x: &mut Tensor, g: &Tensor, arrays: &mut [Tensor], moment: &Moment) -> Result<()>,
}

impl PartialEq for Baseline {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Baseline {}

/// Constants of one step.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// Step size η.
    step_size: f64,
    /// Momentum β.
    beta: f64,
    /// Number t of the step, from 1.
    step: u64,
}

/// A baseline at work on one model.
#[derive(Debug)]
pub(super) struct Running {
    baseline: &'static Baseline,
    beta: f64,
    parameters: Vec<Parameter>,
    /// Number of samples over which the parameters hold a sum of gradients.
    samples: usize,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    /// The model's own tensor.
    x: Tensor,
    arrays: Vec<Tensor>,
    /// Version of the gradient after the last step. The same version means that there is no new gradient.
    used: i64,
}

impl Running {
    /// Starts a baseline with the momentum β on these parameters.
    pub fn new(baseline: &'static Baseline, beta: f64, parameters: Tensors) -> Result<Self> {
        let of = |(name, x): (String, Tensor)| {
            let arrays = baseline.arrays.iter().map(|_| Ok(x.f_zeros_like()?)).collect::<Result<_>>()?;
            Ok(Parameter { name, x, arrays, used: -1 })
        };
        Ok(Self { baseline, beta, parameters: parameters.into_iter().map(of).collect::<Result<_>>()?, samples: 0 })
    }

    pub fn accumulate(&mut self, loss: &Tensor, samples: usize) -> Result<()> {
        accumulate(loss, samples, &mut self.samples)
    }

    /// Takes step t of size η with the mean of the accumulated gradients and clears them. A parameter without a new
    /// gradient stays unchanged.
    pub fn step(&mut self, step_size: f64, t: u64) -> Result<()> {
        let _guard = no_grad_guard();
        let moment = Moment { step_size, beta: self.beta, step: t };
        for Parameter { x, arrays, used, .. } in &mut self.parameters {
            let mut gradient = x.f_grad()?;
            if !gradient.defined() || gradient.f_internal_version()? == *used || !x.requires_grad() {
                continue;
            }
            let g = &gradient / self.samples.max(1) as f64;
            (self.baseline.step)(x, &g, arrays, &moment)?;
            let _ = gradient.f_zero_()?;
            *used = gradient.f_internal_version()?;
        }
        self.samples = 0;
        Ok(())
    }

    /// Returns the memory in addition to the model's own weights and gradients, in bytes.
    pub fn bytes(&self) -> usize {
        let arrays = self.parameters.iter().flat_map(|parameter| &parameter.arrays);
        arrays.map(|tensor| tensor.numel() * size_of::<f32>()).sum()
    }

    /// Returns copies of the weights.
    pub fn x(&self) -> Tensors {
        self.parameters.iter().map(|Parameter { name, x, .. }| (name.clone(), x.detach().copy())).collect()
    }

    /// Returns copies of the state to resume from: `steps`, `NAME.x`, and `NAME.ARRAY` for each of its arrays.
    pub fn state(&self, steps: u64) -> Tensors {
        let copies = self.arrays().into_iter().map(|(name, array)| (name, array.detach().copy()));
        [(STEPS.to_owned(), Tensor::from(steps as i64))].into_iter().chain(copies).collect()
    }

    /// Restores a state and returns its number of steps.
    ///
    /// # Errors
    /// Returns an error if the state belongs to another model; nothing has changed then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<u64> {
        let _guard = no_grad_guard();
        let Matched { steps, copies } = matched(state, self.arrays(), |_| false)?;
        for (mut to, from) in copies {
            to.f_copy_(from)?;
        }
        Ok(steps)
    }

    /// Returns the arrays themselves, not copies.
    fn arrays(&self) -> Tensors {
        let of = |Parameter { name, x, arrays, .. }: &Parameter| {
            let names = ["x"].into_iter().chain(self.baseline.arrays.iter().copied());
            let tensors = [x].into_iter().chain(arrays);
            names.zip(tensors).map(|(array, tensor)| (format!("{name}.{array}"), tensor.shallow_clone())).collect()
        };
        self.parameters.iter().flat_map(|parameter| -> Tensors { of(parameter) }).collect()
    }
}
