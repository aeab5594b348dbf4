//! Ways to train that are compared: choices of the one rule, and libtorch's own optimizers beside them.

use super::{Group, Groups, Result, TransportedScion, named};
use crate::tensor::Arithmetic;
use graftage_core::norm::Norm;
use graftage_core::polar::Chain;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use std::fmt;
use tch::nn::{self, OptimizerConfig};
use tch::{Tensor, no_grad};

/// A way to train.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Method {
    /// Transported Scion, with the rule's own law of transport.
    #[default]
    Transported,
    /// Scion (Pethick et al. 2025): the same without transport.
    Scion,
    /// Muon (Jordan et al. 2024): Nesterov's argument, Jordan's five quintics, matrices by max(1, √(m/n)). What is no hidden
    /// matrix, for which Muon takes AdamW, gets what is usual for the rule.
    Muon,
    /// libtorch's AdamW: β₁ the momentum, β₂ 0.95, ε 1e-8, no weight decay.
    #[value(name = "adamw")]
    AdamW,
    /// libtorch's SGD with momentum: the velocity is a sum of gradients, not their mean.
    Sgd,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Transported, Self::Scion, Self::Muon, Self::AdamW, Self::Sgd];

    /// The method's choice of a rule with these constants. Of libtorch's own, step size, momentum and schedule count.
    pub fn rule(self, rule: Rule) -> Rule {
        match self {
            Self::Transported => rule,
            Self::Scion | Self::AdamW | Self::Sgd => Rule { transport: Transport::Fixed { theta: 0.0 }, ..rule },
            Self::Muon => Rule { transport: Transport::Nesterov, chain: Chain::Jordan, ..rule },
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Transported => "Transported Scion",
            Self::Scion => "Scion",
            Self::Muon => "Muon",
            Self::AdamW => "AdamW",
            Self::Sgd => "SGD",
        })
    }
}

/// The optimizer of one model by any [`Method`].
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    steps: u64,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Rule(Box<TransportedScion>),
    Torch { optimizer: nn::Optimizer, parameters: Vec<(String, Tensor)> },
}

impl Optimizer {
    /// For all trainable parameters of a store, which start anew from random weights inside the balls of their usual
    /// geometries: from the same bits by every method. Step size, momentum and schedule are the rule's.
    ///
    /// # Errors
    /// As [`TransportedScion::new`]; where libtorch's own optimizers are given a momentum that varies.
    pub fn new(store: &nn::VarStore, method: Method, rule: Rule, arithmetic: Arithmetic, seed: u64) -> Result<Self> {
        let rule = method.rule(rule);
        TransportedScion::new(store, rule, arithmetic)?.initialise(seed)?;
        let inner = match (method, rule.momentum) {
            (Method::AdamW, Momentum::Constant(beta)) => {
                let usual = nn::AdamW { beta1: beta.into(), beta2: 0.95, wd: 0.0, eps: 1e-8, amsgrad: false };
                Self::torch(store, usual, rule)?
            }
            (Method::Sgd, Momentum::Constant(beta)) => {
                Self::torch(store, nn::Sgd { momentum: beta.into(), ..nn::Sgd::default() }, rule)?
            }
            (Method::AdamW | Method::Sgd, _) => {
                let what = "takes only a momentum that is constant".into();
                return Err(super::Error::Parameter { name: method.to_string(), what });
            }
            _ => {
                let groups = if method == Method::Muon { muon(store) } else { Groups::automatic() };
                Inner::Rule(Box::new(TransportedScion::with_groups(named(store), rule, arithmetic, &groups)?))
            }
        };
        Ok(Self { rule, steps: 0, inner })
    }

    fn torch(store: &nn::VarStore, config: impl OptimizerConfig, rule: Rule) -> Result<Inner> {
        Ok(Inner::Torch { optimizer: config.build(store, rule.step.into())?, parameters: named(store) })
    }

    /// Takes the gradient of a loss, which is the mean over a batch, and a step with it.
    ///
    /// # Errors
    /// As [`TransportedScion::backward_step`].
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        let t = self.steps + 1;
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.backward_step(loss)?,
            Inner::Torch { optimizer, .. } => {
                optimizer.set_lr((self.rule.step * self.rule.schedule.factor(t)).into());
                optimizer.zero_grad();
                loss.f_backward()?;
                optimizer.step();
            }
        }
        self.steps = t;
        Ok(())
    }

    /// Runs `f` while the model holds the weights that count, see [`TransportedScion::evaluate`].
    ///
    /// # Errors
    /// Where libtorch fails, before `f` has run.
    pub fn evaluate<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.evaluate(f),
            Inner::Torch { .. } => Ok(no_grad(f)),
        }
    }

    /// The weights that count as (name, tensor): copies of the sizes that the model has.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn x(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.x(),
            Inner::Torch { parameters, .. } => {
                Ok(parameters.iter().map(|(name, tensor)| (name.clone(), tensor.detach().copy())).collect())
            }
        }
    }

    /// Parameters whose gradient was not finite, see [`TransportedScion::refused`]; libtorch's own optimizers do not tell.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn refused(&mut self) -> Result<Vec<(String, u64)>> {
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.refused(),
            Inner::Torch { .. } => Ok(Vec::new()),
        }
    }
}

/// Muon's scale for all matrices that are usually spectral.
fn muon(store: &nn::VarStore) -> Groups {
    let parameters = named(store);
    let head = parameters.iter().rposition(|(_, tensor)| tensor.dim() >= 2);
    let hidden = parameters.iter().enumerate().filter(|(at, (name, tensor))| {
        let parameter = super::Parameter { name, size: &tensor.size(), last: head == Some(*at) };
        parameter.usual().norm == Norm::Spectral
    });
    Groups::overriding(hidden.map(|(_, (name, _))| Group { norm: Some(Norm::SpectralAtLeastOne), ..Group::new(name) }))
}
