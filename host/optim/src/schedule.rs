//! Schedules of step size, momentum and transport that only the workstation has, in addition to those of
//! [`graftage_core::schedule`]. Each group of parameters may have its own.
//!
//! With T steps, w of them for the warm-up, s = (t − 1 − w)/(T − w) and a floor F:
//!
//! | course | factor at t > w |
//! |---|---|
//! | [`Course::Constant`] | 1 |
//! | [`Course::Linear`] | 1 − s, w = 0 |
//! | [`Course::WarmupStableDecay`] | 1, then linear to 0 over the last steps |
//! | [`Course::Cosine`] | F + (1 − F)·(1 + cos πs)/2 (Loshchilov and Hutter 2017, "SGDR", one period) |
//! | [`Course::Power`] of a | F + (1 − F)·(1 − s)^a |
//! | [`Course::Knots`] | a polyline |
//!
//! A warm-up is linear: t/w.

use crate::text::Text;
use graftage_core::schedule::Schedule;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Schedule of the step size, independent of the length of the training.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Course {
    /// Constant.
    Constant,
    /// Linear decay to 0.
    #[default]
    Linear,
    /// Linear warm-up, constant, and linear decay at the end.
    WarmupStableDecay {
        /// Number of warm-up steps.
        warmup: u32,
        /// Number of decay steps.
        decay: u32,
    },
    /// Linear warm-up, then half a period of a cosine.
    Cosine {
        /// Number of warm-up steps.
        #[serde(default)]
        warmup: u32,
        /// Factor at the end, in [0, 1].
        #[serde(default)]
        floor: f32,
    },
    /// Linear warm-up, then a power of what is left: 1 is a line, less stays high for longer.
    Power {
        /// Exponent a, finite and > 0.
        exponent: f32,
        /// Number of warm-up steps.
        #[serde(default)]
        warmup: u32,
        /// Factor at the end, in [0, 1].
        #[serde(default)]
        floor: f32,
    },
    /// A polyline over the steps, which the length of the training does not stretch.
    Knots(Knots),
}

impl Course {
    /// Checks that the constants are in range and that the course fits into `steps` steps.
    ///
    /// # Errors
    /// Returns a message if a constant is out of range, or if the step size would not reach its largest value or not
    /// come down again.
    pub fn check(&self, steps: u64) -> Result<(), String> {
        let (warmup, decay) = match self {
            Self::WarmupStableDecay { warmup, decay } => (*warmup, *decay),
            Self::Cosine { warmup, .. } | Self::Power { warmup, .. } => (*warmup, 1),
            Self::Constant | Self::Linear | Self::Knots(_) => (0, 0),
        };
        if let Self::Cosine { floor, .. } | Self::Power { floor, .. } = self
            && !(0.0..=1.0).contains(floor)
        {
            return Err(format!("schedule: the floor must be in [0, 1], found {floor}"));
        }
        match self {
            Self::Power { exponent, .. } if !(*exponent > 0.0 && exponent.is_finite()) => {
                Err(format!("schedule: the exponent must be finite and > 0, found {exponent}"))
            }
            Self::Knots(knots) => knots.check(f32::INFINITY).map_err(|what| format!("schedule: {what}")),
            _ if u64::from(warmup) + u64::from(decay) > steps && decay > 1 => Err(format!(
                "schedule: {warmup} steps of warmup and {decay} of decay do not fit into {steps} steps of training"
            )),
            _ if warmup > 0 && u64::from(warmup) >= steps => {
                Err(format!("schedule: {warmup} steps of warmup take all {steps} steps of the training; use fewer"))
            }
            _ => Ok(()),
        }
    }

    /// Returns core's schedule of a training of `steps` steps; `None` if core has none like it.
    pub fn in_core(&self, steps: u64) -> Option<Schedule> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        match *self {
            Self::Constant => Some(Schedule::Constant),
            Self::Linear => Some(Schedule::Linear { steps }),
            Self::WarmupStableDecay { warmup, decay } => {
                let stable = steps.saturating_sub(warmup).saturating_sub(decay);
                Some(Schedule::WarmupStableDecay { warmup, stable, decay })
            }
            Self::Cosine { .. } | Self::Power { .. } | Self::Knots(_) => None,
        }
    }

    /// Returns the factor of the step size at step t = 1, 2, … of a training of `steps` steps. It is ≥ 0, and after the
    /// last step that of the end.
    pub fn factor(&self, t: u64, steps: u64) -> f32 {
        if let Some(schedule) = self.in_core(steps) {
            return schedule.factor(t);
        }
        let (warmup, floor) = match *self {
            Self::Cosine { warmup, floor } | Self::Power { warmup, floor, .. } => (u64::from(warmup), floor),
            _ => (0, 0.0),
        };
        if t <= warmup {
            return t as f32 / warmup as f32;
        }
        let done = (t - 1 - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        let left = match *self {
            Self::Knots(ref knots) => return knots.at(t),
            Self::Power { exponent, .. } => (1.0 - done.min(1.0)).powf(exponent.into()),
            _ => (1.0 + (std::f64::consts::PI * done.min(1.0)).cos()) / 2.0,
        };
        floor + (1.0 - floor) * left as f32
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let after = |f: &mut fmt::Formatter, warmup: u32| match warmup {
            0 => Ok(()),
            warmup => write!(f, " after {warmup} steps of warm-up"),
        };
        match self {
            Self::Constant => f.write_str("throughout"),
            Self::Linear => f.write_str("falling along a line"),
            Self::WarmupStableDecay { warmup, decay } => {
                write!(f, "falling in the last {decay} steps")?;
                after(f, *warmup)
            }
            Self::Cosine { warmup, floor } => {
                write!(f, "falling to {floor} of it along a cosine")?;
                after(f, *warmup)
            }
            Self::Power { exponent, warmup, floor } => {
                write!(f, "falling to {floor} of it with a power of {exponent}")?;
                after(f, *warmup)
            }
            Self::Knots(knots) => write!(f, "times the polyline {knots}"),
        }
    }
}

/// Largest number of knots of a polyline.
pub const KNOTS: usize = 8;

/// Polyline over the steps: linear from each knot to the next, constant before the first and after the last. A file
/// holds a number for a constant, or `STEP:VALUE,STEP:VALUE,…`.
#[derive(Clone, PartialEq, Debug)]
pub struct Knots(Vec<Knot>);

/// Knot of a polyline.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Knot {
    /// Step, from 1.
    pub step: u64,
    /// Value at that step.
    pub value: f32,
}

impl Knots {
    /// Creates a polyline.
    pub fn new(knots: impl IntoIterator<Item = Knot>) -> Self {
        Self(knots.into_iter().collect())
    }

    /// Creates a constant.
    pub fn constant(value: f32) -> Self {
        Self(vec![Knot { step: 1, value }])
    }

    /// Checks that there are 1 to [`KNOTS`] knots, at ascending steps and with values in [0, `limit`).
    ///
    /// # Errors
    /// Returns a message that names the first knot that is wrong.
    pub fn check(&self, limit: f32) -> Result<(), String> {
        let Self(knots) = self;
        if knots.is_empty() || knots.len() > KNOTS {
            return Err(format!("a polyline has 1 to {KNOTS} knots, not {}", knots.len()));
        }
        if let Some(pair) = knots.windows(2).find(|pair| pair[0].step >= pair[1].step) {
            return Err(format!("the steps of knots must ascend, but {} follows {}", pair[1].step, pair[0].step));
        }
        match knots.iter().find(|knot| !(0.0..limit).contains(&knot.value)) {
            Some(Knot { step, value }) => Err(format!("{value} at step {step} is not in [0, {limit})")),
            None => Ok(()),
        }
    }

    /// Returns the value at step t.
    pub fn at(&self, t: u64) -> f32 {
        let Self(knots) = self;
        let after = knots.iter().position(|knot| knot.step > t).unwrap_or(knots.len());
        match (after.checked_sub(1).and_then(|before| knots.get(before)), knots.get(after)) {
            (Some(from), Some(to)) => {
                let share = (t - from.step) as f32 / (to.step - from.step) as f32;
                from.value + (to.value - from.value) * share
            }
            (Some(knot), None) | (None, Some(knot)) => knot.value,
            (None, None) => 0.0,
        }
    }

    /// Returns the smallest value.
    pub fn smallest(&self) -> f32 {
        self.0.iter().map(|knot| knot.value).fold(f32::INFINITY, f32::min)
    }

    /// Returns the value if it is constant.
    pub fn as_constant(&self) -> Option<f32> {
        match self.0[..] {
            [Knot { value, .. }] => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Knots {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.as_constant() {
            Some(value) => write!(f, "{value}"),
            None => {
                let knots: Vec<_> = self.0.iter().map(|knot| format!("{}:{}", knot.step, knot.value)).collect();
                f.write_str(&knots.join(","))
            }
        }
    }
}

impl FromStr for Knots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(value) = text.parse() {
            return Ok(Self::constant(value));
        }
        let knot = |part: &str| {
            let (step, value) = part.split_once(':')?;
            Some(Knot { step: step.trim().parse().ok()?, value: value.trim().parse().ok()? })
        };
        let knots: Option<Vec<_>> = text.split(',').map(knot).collect();
        knots.map(Self).ok_or_else(|| format!("{text:?} is neither a number nor a list STEP:VALUE,STEP:VALUE,…"))
    }
}

impl Serialize for Knots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Knots {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        Text::deserialize(source)?.0.parse().map_err(D::Error::custom)
    }
}

/// Steps from the first to the last, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Window {
    /// First step, from 1.
    pub first: u64,
    /// Last step.
    pub last: u64,
}

impl Window {
    /// Returns whether step t is in the window.
    pub fn contains(&self, t: u64) -> bool {
        (self.first..=self.last).contains(&t)
    }
}

impl From<(u64, u64)> for Window {
    fn from((first, last): (u64, u64)) -> Self {
        Self { first, last }
    }
}

impl From<Window> for (u64, u64) {
    fn from(Window { first, last }: Window) -> Self {
        (first, last)
    }
}
