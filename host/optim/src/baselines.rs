//! Optimizers beside the rule, for comparison, each in a module of its own.
//!
//! They use libtorch's equations and operations. libtorch's own optimizers give no access to their state.
//!
//! A new one is a file here, which defines a [`Baseline`], and a line in [`ALL`].

mod adamw;
mod sgd;

use crate::Result;
use crate::decay::Decay;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use tch::Tensor;

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
pub(crate) struct Moment {
    /// Step size η.
    pub step_size: f64,
    /// Momentum β.
    pub beta: f64,
    /// Number t of the step, from 1.
    pub step: u64,
}

impl Baseline {
    /// Returns the baseline with this key, if there is one.
    pub fn find(key: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|baseline| baseline.key == key)
    }

    /// Takes a step of weights X with the gradient G and, in addition, a decoupled decay.
    pub(crate) fn advance(
        &self,
        x: &mut Tensor,
        g: &Tensor,
        arrays: &mut [Tensor],
        moment: &Moment,
        decay: Option<Decay>,
    ) -> Result<()> {
        let share = |Decay { strength, .. }: Decay| moment.step_size * f64::from(strength);
        match decay {
            Some(Decay { cautious: true, .. }) => {
                let before = x.copy();
                (self.step)(x, g, arrays, moment)?;
                // The step moves these elements towards 0.
                let shrinks = x.f_sub(&before)?.f_mul(&before)?.f_lt(0.0)?;
                let _ = x.f_sub_(&before.f_mul(&shrinks)?.f_mul_scalar(decay.map_or(0.0, share))?)?;
                Ok(())
            }
            _ => {
                if let Some(share) = decay.map(share).filter(|share| *share > 0.0) {
                    let _ = x.f_mul_scalar_(1.0 - share)?;
                }
                (self.step)(x, g, arrays, moment)
            }
        }
    }
}

impl Serialize for Baseline {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key)
    }
}

impl<'de> Deserialize<'de> for &'static Baseline {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        let key = Cow::<str>::deserialize(source)?;
        let keys = || ALL.map(|baseline| format!("`{}`", baseline.key)).join(", ");
        Baseline::find(&key)
            .ok_or_else(|| D::Error::custom(format!("unknown variant `{key}`, expected one of {}", keys())))
    }
}
