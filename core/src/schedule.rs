//! Schedules of step size and momentum over the steps t = 1, 2, …
//!
//! η is the largest step size, α = 1 − β, p the order of the moment that the noise has, r = min(m, n) and N the number
//! of samples:
//!
//! | schedule | value at t |
//! |---|---|
//! | [`Schedule::Constant`] | η |
//! | [`Schedule::Linear`] over T | η·(1 − (t−1)/T), then 0 (Defazio et al. 2023, "When, why and how much?") |
//! | [`Schedule::WarmupStableDecay`] over w, s, d | η·t/w, then η, then η·(1 − (j−1)/d) at decay step j, then 0 |
//! | [`Schedule::Inverse`] over τ | η/√(1 + (t−1)/τ): no horizon, half at t = 1 + 3τ |
//! | [`Momentum::Constant`] | β |
//! | [`Momentum::Ramp`] over T | linear from β₀ to β₁ in T steps |
//! | [`Momentum::Power`] of a | 1 − t^−a, at most 1 − 2⁻²⁴: an average over a growing past |
//! | [`theory`], batched Scion | α = (N/r)^(−p/(3p−2))/r, η = (N/r)^(−(2p−1)/(3p−2))/r |
//! | [`theory`], Transported Scion | α = (N/r)^(−2p/(5p−3))/r, η = (N/r)^(−(3p−1)/(5p−3))/r |
//!
//! In the first step β is always 0: momentum starts as the first gradient. So the weights of all gradients in M sum to
//! W_t = β_t W_{t−1} + (1 − β_t) = 1 from the first step on. The transport β_t W_{t−1}/(1 − β_t) is therefore
//! c_t = β_t/(1 − β_t) for any course of β, as long as β_t is that of the coming step.
//!
//! The theory's values balance noise, lag and progress at the rates of Zhang and Lin 2026 (ε^(−(3p−2)/(p−1))
//! samples for batched Scion, ε^(−(5p−3)/(2p−2)) for the transported one), with all constants set to 1.

use crate::arithmetic::{exp, ln, sqrt};
use crate::error::{Field, Refusal};
use serde::{Deserialize, Serialize};

/// Factor by which the step size η is multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Schedule {
    /// Constant factor of 1.
    Constant,
    /// Linear decay from 1 to 0.
    Linear {
        /// Number of steps T, at least 1.
        steps: u32,
    },
    /// Linear warm-up to 1, then 1, then linear decay to 0.
    WarmupStableDecay {
        /// Number of warm-up steps; with 0, the schedule starts at 1.
        warmup: u32,
        /// Number of steps at 1.
        stable: u32,
        /// Number of decay steps.
        decay: u32,
    },
    /// 1/√(1 + (t−1)/τ), for streams of unknown length.
    Inverse {
        /// Number of steps τ, at least 1.
        steps: u32,
    },
}

impl Schedule {
    /// Factor at step t = 1, 2, …; in [0, 1] also at 0, to which a counter of steps wraps.
    pub fn factor(self, t: u64) -> f32 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear { steps } => line(t, steps),
            Schedule::WarmupStableDecay { warmup, stable, decay } => {
                let top = u64::from(warmup) + u64::from(stable);
                if t <= u64::from(warmup) && warmup > 0 {
                    share(t + 1, warmup)
                } else if t <= top {
                    1.0
                } else {
                    line(t - top, decay)
                }
            }
            Schedule::Inverse { steps: 0 } => 0.0,
            Schedule::Inverse { steps } => 1.0 / sqrt(1.0 + share(t, steps)),
        }
    }
}

/// 1 − (j−1)/T for j = 1, …, T, then 0.
fn line(j: u64, steps: u32) -> f32 {
    let done = share(j, steps);
    if done < 1.0 { 1.0 - done } else { 0.0 }
}

/// (j−1)/T; NaN or infinite if T is 0.
#[inline(never)]
fn share(j: u64, steps: u32) -> f32 {
    j.saturating_sub(1) as f32 / steps as f32
}

/// Largest β. In binary32, 1 − t^−a rounds to 1 for large t, which would make β/(1 − β) infinite.
const LONGEST: f32 = 1.0f32.next_down();

/// Momentum factor β_t over the steps.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Momentum {
    /// Constant β in [0, 1).
    Constant(f32),
    /// Linear ramp from β₀ to β₁.
    Ramp {
        /// β₀, in [0, 1).
        from: f32,
        /// β₁, in [0, 1).
        to: f32,
        /// Number of steps T, at least 1.
        steps: u32,
    },
    /// 1 − t^−a, always below 1.
    Power {
        /// Exponent a in (0, 1].
        exponent: f32,
    },
}

impl Momentum {
    /// Momentum factor β_t for t = 1, 2, …: 0 in the first step.
    pub fn at(self, t: u64) -> f32 {
        if t <= 1 {
            return 0.0;
        }
        match self {
            Momentum::Constant(beta) => beta,
            Momentum::Ramp { to, steps, .. } if t > u64::from(steps) => to,
            Momentum::Ramp { from, to, steps } => from + (to - from) * share(t, steps),
            Momentum::Power { exponent } => {
                let beta = 1.0 - power(t as f32, -exponent);
                if beta < LONGEST { beta } else { LONGEST }
            }
        }
    }

    /// The smallest β_t after the first step.
    pub fn smallest(self) -> f32 {
        match self {
            Momentum::Constant(beta) => beta,
            Momentum::Ramp { from, to, .. } => {
                if from < to {
                    from
                } else {
                    to
                }
            }
            Momentum::Power { .. } => self.at(2),
        }
    }

    /// Checks that the constants are in range.
    ///
    /// # Errors
    /// [`Refusal::Recipe`] with [`Field::Momentum`] if one is out of range.
    pub fn check(self) -> Result<(), Refusal> {
        let fits = |beta: f32| (0.0..1.0).contains(&beta);
        let right = match self {
            Momentum::Constant(beta) => fits(beta),
            Momentum::Ramp { from, to, steps } => fits(from) && fits(to) && steps > 0,
            Momentum::Power { exponent } => exponent > 0.0 && exponent <= 1.0,
        };
        if right { Ok(()) } else { Err(Refusal::Recipe(Field::Momentum)) }
    }
}

/// Values of the theory, both at most 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Theory {
    /// α = 1 − β, the weight of a new gradient in the momentum.
    pub alpha: f32,
    /// Step size η.
    pub step_size: f32,
}

/// Values of the theory for noise with a finite p-th moment, 1 < p ≤ 2, matrices of rank up to r and N samples, one
/// per step: those of Transported Scion if `transported`, else of batched Scion.
///
/// # Errors
/// [`Field::Theory`] if p is outside (1, 2], r is 0, or N is smaller than r or not finite.
pub fn theory(p: f32, rank: u32, samples: f32, transported: bool) -> Result<Theory, Refusal> {
    let r = rank as f32;
    if !(p > 1.0 && p <= 2.0 && r >= 1.0 && samples >= r && samples.is_finite()) {
        return Err(Refusal::Recipe(Field::Theory));
    }
    let (a, e) = if transported {
        (2.0 * p / (5.0 * p - 3.0), (3.0 * p - 1.0) / (5.0 * p - 3.0))
    } else {
        (p / (3.0 * p - 2.0), (2.0 * p - 1.0) / (3.0 * p - 2.0))
    };
    let per_rank = samples / r;
    Ok(Theory { alpha: power(per_rank, -a) / r, step_size: power(per_rank, -e) / r })
}

/// x^y for a positive x, by the pinned exp and ln.
fn power(x: f32, y: f32) -> f32 {
    exp(y * ln(x))
}
