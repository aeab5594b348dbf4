//! Training methods to compare: variants of the rule, and the [baselines] beside it.

use super::{Error, Group, Groups, Result, Role, TransportedScion, named};
use crate::baselines::{self, Baseline};
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
use tch::nn;

/// Training method. Files hold its [key](Method::key).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Method {
    /// Transported Scion, with the law of transport that the rule sets.
    #[default]
    Transported,
    /// Scion (Pethick et al. 2025): the same without transport. M starts as the first gradient; that of the published
    /// code starts at 0, as after [`TransportedScion::from_zero`]. The same holds for Muon.
    Scion,
    /// Muon (Jordan et al. 2024): Nesterov's argument, Jordan's five quintics, hidden matrices scaled by max(1,
    /// √(m/n)). Parameters other than hidden matrices, for which Muon uses AdamW, get the rule's usual settings; a
    /// group with
    /// `rule = "adamw"` for their roles gives them AdamW. The usual radius is 3, so η is a third of Muon's learning
    /// rate.
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

    /// Creates an optimizer for all trainable parameters of a store in these groups, which take precedence over what
    /// the method sets.
    ///
    /// The parameters start from new random weights inside the balls of their geometries, with the same bits for every
    /// method.
    ///
    /// # Errors
    /// Same as [`TransportedScion::with_groups`]; also if a baseline gets a momentum that varies.
    pub fn optimizer(
        self,
        store: &nn::VarStore,
        rule: Rule,
        arithmetic: Arithmetic,
        groups: &Groups,
        seed: u64,
    ) -> Result<TransportedScion> {
        let rule = self.rule(rule);
        TransportedScion::with_groups(named(store), rule, arithmetic, groups)?.initialise(seed)?;
        let own = match self {
            Self::Transported | Self::Scion => None,
            Self::Muon => {
                let hidden = Group::new("*").of_roles(&[Role::Hidden, Role::Experts]);
                Some(Group { norm: Some(Norm::SpectralAtLeastOne), ..hidden })
            }
            Self::Baseline(_) if !matches!(rule.momentum, Momentum::Constant(_)) => {
                return Err(Error::wrong(&self.to_string(), "takes only a constant momentum"));
            }
            Self::Baseline(baseline) => Some(Group { rule: Some(baseline), ..Group::new("*") }),
        };
        TransportedScion::with_groups(named(store), rule, arithmetic, &groups.clone().usually(own))
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
