//! Laws of transport: where the gradient is taken, as a displacement Y − X from the weights.
//!
//! M averages gradients of the past, so to first order it is the gradient at the average of their query points. With
//! D_t = X_t − X_{t−1} as applied, c_t = β_t/(1 − β_t) and d_t = Y_t − X_t, the average Ȳ_t = β_t Ȳ_{t−1} + (1 − β_t)Y_t
//! lags behind X_t by E_t = X_t − Ȳ_t = β_t(E_{t−1} + D_t) − (1 − β_t)d_t. A law chooses d_t:
//!
//! | law | d_t | lag that is left | source |
//! |---|---|---|---|
//! | [`Transport::Fixed`] θ | θ c_t D_t | (1 − θ) of the plain lag; 0 at θ = 1 | Zhang and Lin 2026 (θ = 1); θ = 0 is Scion |
//! | [`Transport::Lag`] b′ | (κ_t − 1)(D_t + E_{t−1}), κ_t = (1 − b′)/(1 − β_t) | that of an average of memory b′ < β | derived from the line above |
//! | [`Transport::Alignment`] q | θ_t c_t D_t, θ_t = 1/(1 + q c_t (1 − a_t)) | depends on the path | heuristic |
//! | [`Transport::Nesterov`] | 0; the oracle is asked about (1 + β_t)M_{t+1} − β_t M_t | the plain lag, with more weight on the last gradient | Nesterov 1983; Jordan et al. 2024 |
//!
//! a_t is the average of cos(D_s, D_{s−1}) for s ≤ t with weights 0.1·0.9^(t−s), divided by their sum; 0 where there is
//! none. So a direction that does not persist is not followed further than it lasts: θ_t c_t = 1/(1/c_t + q(1 − a_t)).
//!
//! **Memory.** Every law does with the three arrays X, Y and M, as what it needs of the past is in Y: under the lag law
//! E_{t−1} = b′d_{t−1}/(κ_{t−1} − 1), so that d_t = (κ_t − 1)D_t + s_t d_{t−1} with s_t = b′(κ_t − 1)/(κ_{t−1} − 1); under the
//! alignment law D_{t−1} has the direction of d_{t−1}, and two numbers a parameter are added; under Nesterov's, Y = X, so its
//! array holds M_t.

use crate::error::{Field, Refusal};
use crate::matrix::Element;
use crate::schedule::Momentum;
use serde::{Deserialize, Serialize};

/// The law of transport; the table is in the [module](self).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// A fixed share of the full transport.
    Fixed {
        /// θ in [0, 1]: 0 is Scion, 1 Transported Scion as published.
        theta: f32,
    },
    /// Lag feedback: the bias of a short memory with the noise of a long one.
    Lag {
        /// b′ in [0, 1), below every β_t after the first step.
        memory: f32,
    },
    /// Damped where the path turns.
    Alignment {
        /// q, at least 0 and finite: 1.5 where nothing is known.
        damping: f32,
    },
    /// No transport, but Nesterov's argument of the oracle.
    Nesterov,
}

/// The coming query point: Y = X + `ahead`·D + `before`·(Y_old − X_old).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lead {
    /// Of the displacement D.
    pub ahead: f32,
    /// Of the displacement of the last query point.
    pub before: f32,
}

impl Transport {
    /// Says which constant is outside its range for this momentum.
    pub fn check(self, momentum: Momentum) -> Result<(), Refusal> {
        let (right, field) = match self {
            Transport::Fixed { theta } => ((0.0..=1.0).contains(&theta), Field::Theta),
            Transport::Lag { memory } => (memory >= 0.0 && memory < momentum.smallest(), Field::Memory),
            Transport::Alignment { damping } => (damping >= 0.0 && damping.is_finite(), Field::Damping),
            Transport::Nesterov => (true, Field::Theta),
        };
        if right { Ok(()) } else { Err(Refusal::Recipe(field)) }
    }

    /// How the coming query point Y_{t+1} is made of D_{t+1} and d_t, given β_t and β_{t+1}, for the laws that need no more
    /// than that.
    pub fn lead(self, beta: f32, coming: f32) -> Lead {
        match self {
            Transport::Fixed { theta } => Lead { ahead: theta * full(coming), before: 0.0 },
            Transport::Lag { memory } => {
                let gain = |beta: f32| (beta - memory) / (1.0 - beta);
                // In the first step β is 0: there is no lag yet.
                let before = if beta > memory { memory * gain(coming) / gain(beta) } else { 0.0 };
                Lead { ahead: gain(coming), before }
            }
            Transport::Alignment { .. } | Transport::Nesterov => Lead { ahead: 0.0, before: 0.0 },
        }
    }
}

/// c = β/(1 − β), the full transport.
fn full(beta: f32) -> f32 {
    beta / (1.0 - beta)
}

/// The average of the cosines between displacements that follow each other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Alignment<E> {
    /// Σ 0.1·0.9^age·cosine; `None` before the first.
    pub mean: Option<E>,
    /// The sum of the weights.
    pub weight: f32,
}

impl<E> Alignment<E> {
    /// Before the first cosine.
    pub const START: Self = Self { mean: None, weight: 0.0 };
}

impl<E: Element> Alignment<E> {
    /// Takes a cosine into the average; each of the two sums is 0.9 times itself plus 0.1 times the new.
    pub fn see(&mut self, cosine: E) {
        let new = cosine * 0.1;
        self.mean = Some(match self.mean.take() {
            Some(mean) => mean * 0.9 + new,
            None => new,
        });
        self.weight = 0.9 * self.weight + 0.1;
    }

    /// θ c = 1/(1/c + q(1 − a)) with c of β; `None` where it is c itself, as a number, or 0.
    pub fn ahead(&self, damping: f32, beta: f32) -> Ahead<E> {
        let c = full(beta);
        match &self.mean {
            _ if c == 0.0 => Ahead::Number(0.0),
            None => Ahead::Number(1.0 / (1.0 / c + damping)),
            Some(mean) => {
                let a = mean.clone() * (1.0 / self.weight);
                Ahead::Element(((a * -1.0 + 1.0) * damping + 1.0 / c).reciprocal())
            }
        }
    }
}

/// What D is multiplied by.
#[derive(Clone, Debug)]
pub enum Ahead<E> {
    /// The same number everywhere.
    Number(f32),
    /// One for each matrix of a stack.
    Element(E),
}
