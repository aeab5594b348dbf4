//! Noise of a gradient: laws with a p-th moment, 1 < p ≤ 2, and mean 0.
//!
//! | law | number ζ | moment |
//! |---|---|---|
//! | [`Law::Gaussian`] | N(0, 1), as sin V·√(2W) | all |
//! | [`Law::Stable`] of p | stable, index p, skewness 1, scale 1 | weak p-th: P(ζ > z) ~ z^−p |
//! | [`Law::Spike`] of p, q | s(1−q)/q with probability q, else −s | E\|ζ\|^p = (1−q)q^(p−1) + (1−q)^p ≤ 1.5 |
//!
//! V is uniform in (−π/2, π/2), W exponential with mean 1, and s = q^((p−1)/p). Stable numbers are drawn by the method
//! of Chambers, Mallows and Stuck (1976). A spike is what a long average is meant for: rare, large and one-sided. If q
//! is chosen by an adversary, it is the worst of these laws. The stable law is the same for every length of the
//! average, because its averages are stable with the same index.

use graftage_core::random::Generator;
use std::f64::consts::{FRAC_PI_2, PI};

/// Law of noise with scale σ = 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Law {
    /// N(0, 1).
    Gaussian,
    /// Stable and skewed.
    Stable {
        /// Index p in (1, 2).
        p: f64,
    },
    /// Rare and large, otherwise small with the other sign.
    Spike {
        /// Order p in (1, 2] of the moment that stays near 1 for every q.
        p: f64,
        /// Probability of a spike, in (0, 1).
        q: f64,
    },
}

/// A law with the constants of its formula.
#[derive(Clone, Copy, Debug)]
pub enum Noise {
    /// See [`Law::Gaussian`].
    Gaussian,
    /// S·sin(p(V + b))/cos(V)^(1/p)·(cos(V − p(V + b))/W)^((1−p)/p), with t = tan(πp/2), b = arctan(t)/p and
    /// S = (1 + t²)^(1/(2p)).
    Stable {
        /// Index p.
        p: f64,
        /// Angle b.
        angle: f64,
        /// Scale S.
        scale: f64,
    },
    /// Two values.
    Spike {
        /// Bound on draws of 32 bits: smaller ones are spikes.
        below: u64,
        /// Value of a spike, s(1−q)/q.
        high: f64,
        /// Value of all other draws, −s.
        low: f64,
    },
}

impl From<Law> for Noise {
    fn from(law: Law) -> Self {
        match law {
            Law::Gaussian => Self::Gaussian,
            Law::Stable { p } => {
                let t = (FRAC_PI_2 * p).tan();
                Self::Stable { p, angle: t.atan() / p, scale: (1.0 + t * t).powf(0.5 / p) }
            }
            Law::Spike { p, q } => {
                let s = q.powf((p - 1.0) / p);
                Self::Spike { below: (q * (1u64 << 32) as f64).round() as u64, high: s * (1.0 - q) / q, low: -s }
            }
        }
    }
}

impl Noise {
    /// Draws the next number.
    pub fn draw(&self, generator: &mut Generator) -> f64 {
        match self {
            Self::Gaussian => {
                let (angle, weight) = angle_and_weight(generator);
                angle.sin() * (2.0 * weight).sqrt()
            }
            Self::Stable { p, angle, scale } => {
                let (v, w) = angle_and_weight(generator);
                let turned = p * (v + angle);
                let tail = ((v - turned).cos() / w).powf((1.0 - p) / p);
                scale * turned.sin() / v.cos().powf(1.0 / p) * tail
            }
            Self::Spike { below, high, low } => {
                if u64::from(generator.bits()) < *below {
                    *high
                } else {
                    *low
                }
            }
        }
    }
}

/// Draws V and W.
fn angle_and_weight(generator: &mut Generator) -> (f64, f64) {
    (PI * (uniform(generator) - 0.5), -uniform(generator).ln())
}

/// Draws a number in (0, 1): the middle of one of 2⁵² equal intervals.
pub fn uniform(generator: &mut Generator) -> f64 {
    let bits = u64::from(generator.bits()) << 32 | u64::from(generator.bits());
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}
