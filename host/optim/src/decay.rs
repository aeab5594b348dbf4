//! Decoupled weight decay.

use crate::text::Text;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Decoupled weight decay X ← X − ηλX in addition to the step (Loshchilov and Hutter 2019). For parameters of the rule
/// it is a [pull](graftage_core::scion::Pull) to zero. A file holds λ, or
/// `cautious=LAMBDA`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Decay {
    /// Strength λ: finite, ≥ 0, and ηλ at most 1.
    pub strength: f32,
    /// True if only those elements decay that the step itself moves towards 0 (Chen et al. 2025, "Cautious weight
    /// decay").
    pub cautious: bool,
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { strength, cautious } = self;
        if *cautious { write!(f, "cautious={strength}") } else { write!(f, "{strength}") }
    }
}

impl FromStr for Decay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (cautious, number) = text.strip_prefix("cautious=").map_or((false, text), |number| (true, number));
        match number.parse() {
            Ok(strength) => Ok(Self { strength, cautious }),
            Err(_) => Err(format!("{text:?} is no decay: use LAMBDA or cautious=LAMBDA")),
        }
    }
}

impl Serialize for Decay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Decay {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        Text::deserialize(source)?.0.parse().map_err(D::Error::custom)
    }
}
