//! Ways to train that are compared: choices of the one rule, and AdamW and SGD beside them.

use super::peer::Peer;
use super::{Group, Groups, Result, TransportedScion, named};
use crate::tensor::Arithmetic;
use graftage_core::norm::Norm;
use graftage_core::polar::Chain;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Tensor, nn, no_grad};

/// A way to train.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Transported Scion, with the rule's own law of transport.
    #[default]
    Transported,
    /// Scion (Pethick et al. 2025): the same without transport.
    Scion,
    /// Muon (Jordan et al. 2024): Nesterov's argument, Jordan's five quintics, matrices by max(1, √(m/n)). What is no hidden
    /// matrix, for which Muon takes AdamW, gets what is usual for the rule.
    Muon,
    /// AdamW as libtorch has it: β₁ the momentum, β₂ 0.95, ε 1e-8, no weight decay.
    #[serde(rename = "adamw")]
    AdamW,
    /// SGD with momentum as libtorch has it: the velocity is a sum of gradients, not their mean.
    Sgd,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Transported, Self::Scion, Self::Muon, Self::AdamW, Self::Sgd];

    /// Returns the name that configurations and commands use.
    pub fn key(self) -> &'static str {
        match self {
            Self::Transported => "transported",
            Self::Scion => "scion",
            Self::Muon => "muon",
            Self::AdamW => "adamw",
            Self::Sgd => "sgd",
        }
    }

    /// The method's choice of a rule with these constants. Of AdamW and SGD, step size, momentum and schedule count.
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
    Peer(Peer),
}

impl Optimizer {
    /// For all trainable parameters of a store in these groups, which start anew from random weights inside the balls of
    /// their geometries: from the same bits by every method. Step size, momentum and schedule are the rule's.
    ///
    /// Of the groups, AdamW and SGD know no more than where weights start.
    ///
    /// # Errors
    /// As [`TransportedScion::with_groups`]; where AdamW or SGD is given a momentum that varies.
    pub fn new(
        store: &nn::VarStore,
        method: Method,
        rule: Rule,
        arithmetic: Arithmetic,
        groups: &Groups,
        seed: u64,
    ) -> Result<Self> {
        let rule = method.rule(rule);
        TransportedScion::with_groups(named(store), rule, arithmetic, groups)?.initialise(seed)?;
        let inner = match (method, rule.momentum) {
            (Method::AdamW, Momentum::Constant(beta)) => Inner::Peer(Peer::adamw(beta.into(), named(store))?),
            (Method::Sgd, Momentum::Constant(beta)) => Inner::Peer(Peer::sgd(beta.into(), named(store))?),
            (Method::AdamW | Method::Sgd, _) => {
                let what = "takes only a momentum that is constant".into();
                return Err(super::Error::Parameter { name: method.to_string(), what });
            }
            _ => {
                let groups = if method == Method::Muon { muon(store, groups) } else { groups.clone() };
                Inner::Rule(Box::new(TransportedScion::with_groups(named(store), rule, arithmetic, &groups)?))
            }
        };
        Ok(Self { rule, steps: 0, inner })
    }

    /// Computes spectral directions in bfloat16, see [`TransportedScion::bfloat16`]; AdamW and SGD have none.
    pub fn bfloat16(self) -> Self {
        let inner = match self.inner {
            Inner::Rule(optimizer) => Inner::Rule(Box::new(optimizer.bfloat16())),
            peer => peer,
        };
        Self { inner, ..self }
    }

    /// Takes the gradient of a loss, which is the mean over a batch, and a step with it.
    ///
    /// # Errors
    /// As [`TransportedScion::backward_step`].
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.accumulate(loss, 1)?;
        self.step()
    }

    /// Takes the gradient of a loss, which is the mean over so many samples, as a part of the coming step's; see
    /// [`TransportedScion::accumulate`].
    ///
    /// # Errors
    /// Where the part has no samples, or the loss has no gradient.
    pub fn accumulate(&mut self, loss: &Tensor, samples: usize) -> Result<()> {
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.accumulate(loss, samples),
            Inner::Peer(peer) => peer.accumulate(loss, samples),
        }
    }

    /// A step with the mean of what was accumulated, which is forgotten.
    ///
    /// # Errors
    /// As [`TransportedScion::step`].
    pub fn step(&mut self) -> Result<()> {
        let t = self.steps + 1;
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.step()?,
            Inner::Peer(peer) => peer.step(self.rule.step_at(t).into(), t)?,
        }
        self.steps = t;
        Ok(())
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What a later run goes on from, see [`TransportedScion::state`]; of AdamW and SGD X, M, and of AdamW V.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.state(),
            Inner::Peer(peer) => Ok(peer.state(self.steps)),
        }
    }

    /// Takes up a state, see [`TransportedScion::restore`].
    ///
    /// # Errors
    /// As there: nothing has changed then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        match &mut self.inner {
            Inner::Rule(optimizer) => {
                optimizer.restore(state)?;
                self.steps = optimizer.steps();
            }
            Inner::Peer(peer) => self.steps = peer.restore(state)?,
        }
        Ok(())
    }

    /// Bytes that it keeps between steps beside the model's own weights and gradients: see [`TransportedScion::bytes`]; of
    /// AdamW two numbers for each parameter, of SGD one.
    pub fn bytes(&self) -> usize {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.bytes(),
            Inner::Peer(peer) => peer.bytes(),
        }
    }

    /// How each parameter is stepped, see [`TransportedScion::table`]; `None` of AdamW and SGD.
    pub fn table(&self) -> Option<String> {
        match &self.inner {
            Inner::Rule(optimizer) => Some(optimizer.table()),
            Inner::Peer(_) => None,
        }
    }

    /// Runs `f` while the model holds the weights that count, see [`TransportedScion::evaluate`].
    ///
    /// # Errors
    /// Where libtorch fails, before `f` has run.
    pub fn evaluate<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.evaluate(f),
            Inner::Peer(_) => Ok(no_grad(f)),
        }
    }

    /// The weights that count as (name, tensor): copies of the sizes that the model has.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn x(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.x(),
            Inner::Peer(peer) => Ok(peer.x()),
        }
    }

    /// Parameters whose gradient was not finite, see [`TransportedScion::refused`]; AdamW and SGD do not look.
    ///
    /// # Errors
    /// Where libtorch fails.
    pub fn refused(&mut self) -> Result<Vec<(String, u64)>> {
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.refused(),
            Inner::Peer(_) => Ok(Vec::new()),
        }
    }
}

/// These groups, with Muon's scale for all matrices that are usually spectral and whose norm no group says.
fn muon(store: &nn::VarStore, groups: &Groups) -> Groups {
    let parameters = named(store);
    let head = parameters.iter().rposition(|(_, tensor)| tensor.dim() >= 2);
    let scaled = parameters.iter().enumerate().filter_map(|(at, (name, tensor))| {
        let usual = super::Parameter { name, size: &tensor.size(), last: head == Some(at) }.usual();
        let group = groups.find(name).cloned().unwrap_or_else(|| Group::new(name));
        let open = usual.norm == Norm::Spectral && group.norm.is_none();
        open.then(|| Group { pattern: name.clone(), norm: Some(Norm::SpectralAtLeastOne), ..group })
    });
    groups.after(scaled)
}
