//! AdamW and SGD with momentum, for comparison.
//!
//! They use libtorch's equations and operations. libtorch's own optimizers give no access to their state.

use super::state::{Matched, STEPS, matched};
use super::{Result, Tensors, accumulate};
use tch::{Tensor, no_grad_guard};

const BETA2: f64 = 0.95;
const EPSILON: f64 = 1e-8;

/// AdamW or SGD for one model.
#[derive(Debug)]
pub(super) struct Peer {
    /// AdamW's β₁ or SGD's β.
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
    m: Tensor,
    /// Second moment; `None` for SGD.
    v: Option<Tensor>,
}

impl Peer {
    /// Creates AdamW (Loshchilov and Hutter 2019, algorithm 2) without weight decay: M ← β₁M + (1 − β₁)G,
    /// V ← β₂V + (1 − β₂)G², X ← X − η·M/(1 − β₁ᵗ) / (√(V/(1 − β₂ᵗ)) + ε).
    pub fn adamw(beta1: f64, parameters: Tensors) -> Result<Self> {
        let mut peer = Self::sgd(beta1, parameters)?;
        for Parameter { x, v, .. } in &mut peer.parameters {
            *v = Some(x.f_zeros_like()?);
        }
        Ok(peer)
    }

    /// Creates SGD: M ← βM + G, X ← X − ηM. The velocity is a sum of gradients, not their mean.
    pub fn sgd(beta: f64, parameters: Tensors) -> Result<Self> {
        let of = |(name, x): (String, Tensor)| Ok(Parameter { name, m: x.f_zeros_like()?, v: None, x });
        Ok(Self { beta, parameters: parameters.into_iter().map(of).collect::<Result<_>>()?, samples: 0 })
    }

    pub fn accumulate(&mut self, loss: &Tensor, samples: usize) -> Result<()> {
        accumulate(loss, samples, &mut self.samples)
    }

    /// Takes step t of size η with the mean of the accumulated gradients and clears them. A parameter without a
    /// gradient stays unchanged.
    pub fn step(&mut self, eta: f64, t: u64) -> Result<()> {
        let _guard = no_grad_guard();
        for Parameter { x, m, v, .. } in &mut self.parameters {
            let mut gradient = x.f_grad()?;
            if !gradient.defined() {
                continue;
            }
            let g = &gradient / self.samples.max(1) as f64;
            match v {
                Some(v) => {
                    let corrections = [self.beta, BETA2].map(|beta| 1.0 - beta.powf(t as f64));
                    let _ = m.f_lerp_(&g, 1.0 - self.beta)?;
                    let _ = v.f_lerp_(&g.f_square()?, 1.0 - BETA2)?;
                    let size = (&*v / corrections[1]).f_sqrt()?.f_add_scalar(EPSILON)?;
                    let _ = x.f_addcdiv_(&(&*m * (-eta / corrections[0])), &size)?;
                }
                None => {
                    let _ = m.f_mul_scalar_(self.beta)?.f_add_(&g)?;
                    let _ = x.f_sub_(&(&*m * eta))?;
                }
            }
            let _ = gradient.f_zero_()?;
        }
        self.samples = 0;
        Ok(())
    }

    /// Returns the memory in addition to the model's own weights and gradients, in bytes.
    pub fn bytes(&self) -> usize {
        let arrays = self.parameters.iter().flat_map(|parameter| [Some(&parameter.m), parameter.v.as_ref()]);
        arrays.flatten().map(|tensor| tensor.numel() * size_of::<f32>()).sum()
    }

    /// Returns copies of the weights.
    pub fn x(&self) -> Tensors {
        self.parameters.iter().map(|Parameter { name, x, .. }| (name.clone(), x.detach().copy())).collect()
    }

    /// Returns copies of the state to resume from: `steps`, `NAME.x` and `NAME.m`, and for AdamW `NAME.v`.
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
        let of = |Parameter { name, x, m, v }: &Parameter| {
            let arrays = [("x", Some(x)), ("m", Some(m)), ("v", v.as_ref())]
                .map(|(array, tensor)| tensor.map(|tensor| (format!("{name}.{array}"), tensor.shallow_clone())));
            arrays.into_iter().flatten()
        };
        self.parameters.iter().flat_map(of).collect()
    }
}
