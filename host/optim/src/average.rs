//! Averages of the weights, which are evaluated and saved beside X.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Average X̄ of the weights X over the steps, X̄ ← X̄ + a_t (X − X̄). Files hold `exponential=MEMORY` or `tail=STEP`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Average {
    /// a_t = max(1 − d, 1/t): a mean of all steps, and then of the last 1/(1 − d) ones.
    Exponential {
        /// Memory d, in (0, 1).
        memory: f32,
    },
    /// Mean of X after step `from` and all later ones; X itself before.
    Tail {
        /// First step of the mean, from 1.
        from: u64,
    },
}

impl Average {
    /// Checks that the constants are in range.
    ///
    /// # Errors
    /// Returns a message if one is not.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Exponential { memory } if !(memory > 0.0 && memory < 1.0) => {
                Err(format!("the memory of an average must be in (0, 1), found {memory}"))
            }
            Self::Tail { from: 0 } => Err("the first step of an average must be at least 1".into()),
            _ => Ok(()),
        }
    }

    /// Returns the weight a_t of X after step t.
    pub(crate) fn weight(self, t: u64) -> f64 {
        match self {
            Self::Exponential { memory } => (1.0 - f64::from(memory)).max(1.0 / t.max(1) as f64),
            Self::Tail { from } => 1.0 / (t.saturating_sub(from) + 1) as f64,
        }
    }
}

impl fmt::Display for Average {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Exponential { memory } => write!(f, "exponential={memory}"),
            Self::Tail { from } => write!(f, "tail={from}"),
        }
    }
}

impl FromStr for Average {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no average: use exponential=MEMORY or tail=STEP");
        let average = match text.split_once('=') {
            Some(("exponential", memory)) => Self::Exponential { memory: memory.parse().map_err(|_| wrong())? },
            Some(("tail", from)) => Self::Tail { from: from.parse().map_err(|_| wrong())? },
            _ => return Err(wrong()),
        };
        average.check().map(|()| average)
    }
}

impl Serialize for Average {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Average {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}
