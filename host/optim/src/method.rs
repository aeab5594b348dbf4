//! Training methods to compare: variants of the rule, and the [baselines] beside it.

use super::{Group, Groups, Parameter, Result, TransportedScion, named};
use crate::baselines::{self, Baseline, Running};
use crate::groups::roles;
use crate::tensor::Arithmetic;
use graftage_core::norm::Norm;
use graftage_core::polar::Quintics;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use tch::{Tensor, nn, no_grad};

/// Training method. Files hold its [key](Method::key).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Method {
    /// Transported Scion, with the law of transport that the rule sets.
    #[default]
    Transported,
    /// Scion (Pethick et al. 2025): the same without transport.
    Scion,
    /// Muon (Jordan et al. 2024): Nesterov's argument, Jordan's five quintics, matrices scaled by max(1, √(m/n)).
    /// Parameters other than hidden matrices, for which Muon uses AdamW, get the rule's usual settings.
    Muon,
    /// An optimizer beside the rule.
    Baseline(&'static Baseline),
}

impl Method {
    /// Returns all methods.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Transported, Self::Scion, Self::Muon].into_iter().chain(baselines::ALL.map(Self::Baseline))
    }

    /// Returns the method with this key, if there is one.
    pub fn find(key: &str) -> Option<Self> {
        Self::all().find(|method| method.key() == key)
    }

    /// Returns the name that configurations and commands use.
    pub fn key(self) -> &'static str {
        match self {
            Self::Transported => "transported",
            Self::Scion => "scion",
            Self::Muon => "muon",
            Self::Baseline(baseline) => baseline.key,
        }
    }

    /// Returns the baseline; `None` for variants of the rule.
    pub fn baseline(self) -> Option<&'static Baseline> {
        match self {
            Self::Baseline(baseline) => Some(baseline),
            Self::Transported | Self::Scion | Self::Muon => None,
        }
    }

    /// Returns the method's variant of a rule with these constants. Baselines use only step size, momentum and
    /// schedule.
    pub fn rule(self, rule: Rule) -> Rule {
        match self {
            Self::Transported => rule,
            Self::Scion | Self::Baseline(_) => Rule { transport: Transport::Fixed { theta: 0.0 }, ..rule },
            Self::Muon => Rule { transport: Transport::Nesterov, quintics: Quintics::Jordan, ..rule },
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Transported => "Transported Scion",
            Self::Scion => "Scion",
            Self::Muon => "Muon",
            Self::Baseline(baseline) => baseline.name,
        })
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        let key = Cow::<str>::deserialize(source)?;
        let keys = || Self::all().map(|method| format!("`{}`", method.key())).collect::<Vec<_>>().join(", ");
        Self::find(&key).ok_or_else(|| D::Error::custom(format!("unknown variant `{key}`, expected one of {}", keys())))
    }
}

/// Optimizer of one model by any [`Method`].
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    steps: u64,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Rule(Box<TransportedScion>),
    Baseline(Running),
}

impl Optimizer {
    /// Creates an optimizer for all trainable parameters of a store in these groups.
    ///
    /// The parameters start from new random weights inside the balls of their geometries, with the same bits for every
    /// method. Step size, momentum and schedule are the rule's. Baselines use the groups only for the initial weights.
    ///
    /// # Errors
    /// Same as [`TransportedScion::with_groups`]; also if a baseline gets a momentum that varies.
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
            (Method::Baseline(baseline), Momentum::Constant(beta)) => {
                Inner::Baseline(Running::new(baseline, beta.into(), named(store))?)
            }
            (Method::Baseline(_), _) => {
                let what = "takes only a constant momentum".into();
                return Err(super::Error::Parameter { name: method.to_string(), what });
            }
            _ => {
                let groups = if method == Method::Muon { muon(store, groups) } else { groups.clone() };
                Inner::Rule(Box::new(TransportedScion::with_groups(named(store), rule, arithmetic, &groups)?))
            }
        };
        Ok(Self { rule, steps: 0, inner })
    }

    /// Computes spectral directions in bfloat16, see [`TransportedScion::bfloat16`]. No effect for baselines.
    pub fn bfloat16(self) -> Self {
        let inner = match self.inner {
            Inner::Rule(optimizer) => Inner::Rule(Box::new(optimizer.bfloat16())),
            baseline => baseline,
        };
        Self { inner, ..self }
    }

    /// Computes the gradient of `loss`, the mean over a batch, and takes a step with it.
    ///
    /// # Errors
    /// Same as [`TransportedScion::backward_step`].
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.accumulate(loss, 1)?;
        self.step()
    }

    /// Computes the gradient of `loss`, the mean over `samples` samples, as one part of the next step's gradient; see
    /// [`TransportedScion::accumulate`].
    ///
    /// # Errors
    /// Returns an error if the part has no samples or the loss has no gradient.
    pub fn accumulate(&mut self, loss: &Tensor, samples: usize) -> Result<()> {
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.accumulate(loss, samples),
            Inner::Baseline(running) => running.accumulate(loss, samples),
        }
    }

    /// Takes a step with the mean of the accumulated gradients and clears them.
    ///
    /// # Errors
    /// Same as [`TransportedScion::step`].
    pub fn step(&mut self) -> Result<()> {
        let t = self.steps + 1;
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.step()?,
            Inner::Baseline(running) => running.step(self.rule.step_size_at(t).into(), t)?,
        }
        self.steps = t;
        Ok(())
    }

    /// Returns the number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the state from which a later run resumes, see [`TransportedScion::state`]. For a baseline it holds X and
    /// the [arrays](Baseline::arrays).
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.state(),
            Inner::Baseline(running) => Ok(running.state(self.steps)),
        }
    }

    /// Restores a state, see [`TransportedScion::restore`].
    ///
    /// # Errors
    /// Same as [`TransportedScion::restore`]; nothing has changed then.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        match &mut self.inner {
            Inner::Rule(optimizer) => {
                optimizer.restore(state)?;
                self.steps = optimizer.steps();
            }
            Inner::Baseline(running) => self.steps = running.restore(state)?,
        }
        Ok(())
    }

    /// Returns the memory kept between steps in addition to the model's own weights and gradients, in bytes: see
    /// [`TransportedScion::bytes`]. A baseline keeps its [arrays](Baseline::arrays).
    pub fn bytes(&self) -> usize {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.bytes(),
            Inner::Baseline(running) => running.bytes(),
        }
    }

    /// Returns the table of how each parameter is stepped, see [`TransportedScion::table`]; `None` for baselines.
    pub fn table(&self) -> Option<String> {
        match &self.inner {
            Inner::Rule(optimizer) => Some(optimizer.table()),
            Inner::Baseline(_) => None,
        }
    }

    /// Runs `f` while the model holds the weights to evaluate, see [`TransportedScion::evaluate`].
    ///
    /// # Errors
    /// Returns an error if libtorch fails; `f` has not run then.
    pub fn evaluate<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.evaluate(f),
            Inner::Baseline(_) => Ok(no_grad(f)),
        }
    }

    /// Returns copies of the weights to evaluate as (name, tensor), with the sizes that the model uses.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn x(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.inner {
            Inner::Rule(optimizer) => optimizer.x(),
            Inner::Baseline(running) => Ok(running.x()),
        }
    }

    /// Returns the parameters whose gradient was not finite, see [`TransportedScion::refused`]. Baselines do not
    /// check this.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn refused(&mut self) -> Result<Vec<(String, u64)>> {
        match &mut self.inner {
            Inner::Rule(optimizer) => optimizer.refused(),
            Inner::Baseline(_) => Ok(Vec::new()),
        }
    }
}

/// Returns the groups with Muon's scale added for all matrices that are usually spectral and whose norm is left open.
fn muon(store: &nn::VarStore, groups: &Groups) -> Groups {
    let parameters: Vec<_> = named(store).into_iter().map(|(name, tensor)| (name, tensor.size())).collect();
    let parameters: Vec<_> = parameters.iter().map(|(name, size)| Parameter { name, size }).collect();
    let scaled = parameters.iter().zip(roles(&parameters)).filter_map(|(Parameter { name, size }, derived)| {
        let group = groups.find(name).cloned().unwrap_or_else(|| Group::new(name));
        let role = group.role.or(derived.map(|derived| derived.role))?;
        let open = role.usual(size).norm == Norm::Spectral && group.norm.is_none();
        open.then(|| Group { pattern: (*name).to_owned(), norm: Some(Norm::SpectralAtLeastOne), ..group })
    });
    groups.after(scaled)
}
