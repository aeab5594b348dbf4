//! The noise of a gradient: laws with a p-th moment, 1 < p ≤ 2, and mean 0.
//!
//! | law | a number ζ | moment |
//! |---|---|---|
//! | [`Law::Gaussian`] | N(0, 1), as sin V·√(2W) | all |
//! | [`Law::Stable`] of p | stable with index p and skewness 1 (Chambers, Mallows and Stuck 1976), scale 1 | weak p-th: P(ζ > z) ~ z^−p |
//! | [`Law::Spike`] of p and q | s(1−q)/q with probability q, else −s, where s = q^((p−1)/p) | E\|ζ\|^p = (1−q)q^(p−1) + (1−q)^p ≤ 1.5 |
//!
//! V is uniform in (−π/2, π/2), W exponential with mean 1. A spike is what a long average is there for: seldom, large and to
//! one side. With q as free as an adversary's choice it is the worst of these laws; the stable law is one and the same at
//! every length of the average, as an average of it is stable with the same index.

use graftage_core::random::Generator;
use std::f64::consts::{FRAC_PI_2, PI};

/// A law of noise, scale σ = 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Law {
    /// N(0, 1).
    Gaussian,
    /// Stable and skewed.
    Stable {
        /// Its index p in (1, 2).
        p: f64,
    },
    /// Seldom and large, else small and to the other side.
    Spike {
        /// The moment p in (1, 2] that stays near 1 whatever q is.
        p: f64,
        /// How probable it is, in (0, 1).
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
        /// p.
        p: f64,
        /// b.
        angle: f64,
        /// S.
        scale: f64,
    },
    /// Two values.
    Spike {
        /// Draws of 32 bits below this are spikes.
        below: u64,
        /// s(1−q)/q.
        high: f64,
        /// −s.
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
    /// The next number.
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

/// V and W.
fn angle_and_weight(generator: &mut Generator) -> (f64, f64) {
    (PI * (uniform(generator) - 0.5), -uniform(generator).ln())
}

/// A number in (0, 1), the middle of one of 2⁵² equal pieces.
pub fn uniform(generator: &mut Generator) -> f64 {
    let bits = u64::from(generator.bits()) << 32 | u64::from(generator.bits());
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}
