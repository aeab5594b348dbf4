//! Laws of transport: the points at which gradients are taken, as displacements Y − X from the weights.
//!
//! M averages past gradients, so to first order it is the gradient at the average of their query points. With
//! D_t = X_t − X_{t−1} as applied, c_t = β_t/(1 − β_t) and d_t = Y_t − X_t, the average Ȳ_t = β_t
//! Ȳ_{t−1} + (1 − β_t)Y_t lags behind X_t by E_t = X_t − Ȳ_t = β_t(E_{t−1} + D_t) − (1 − β_t)d_t. A law chooses d_t:
//!
//! | law | d_t | remaining lag | source |
//! |---|---|---|---|
//! | [`Transport::Fixed`] θ | θ c_t D_t | (1 − θ) of the plain lag | Zhang and Lin 2026 (θ = 1); θ = 0 is Scion |
//! | [`Transport::Lag`] b′ | (κ_t − 1)(D_t + E_{t−1}) | that of an average of memory b′ < β | from the equation above |
//! | [`Transport::Alignment`] q | θ_t c_t D_t | depends on the path | heuristic |
//! | [`Transport::Nesterov`] | 0 | the plain lag; the last gradient weighs more | Nesterov 1983; Jordan et al. 2024 |
//!
//! Under the lag law, κ_t = (1 − b′)/(1 − β_t). Under Nesterov's law, the argument of the oracle is
//! (1 + β_t)M_{t+1} − β_t M_t. Under the alignment law, θ_t = 1/(1 + q c_t (1 − a_t)), where a_t is the average of
//! cos(D_s, D_{s−1}) for s ≤ t with weights 0.1·0.9^(t−s), divided by their sum; 0 if there is none. So a direction
//! that does not persist is not followed further than it lasts: θ_t c_t = 1/(1/c_t + q(1 − a_t)).
//!
//! **Memory.** Every law works with the three arrays X, Y and M, because Y carries what it needs of the past. Under the
//! lag law, E_{t−1} = b′d_{t−1}/(κ_{t−1} − 1), so d_t = (κ_t − 1)D_t + s_t d_{t−1} with
//! s_t = b′(κ_t − 1)/(κ_{t−1} − 1). Under the alignment law, D_{t−1} has the direction of d_{t−1}, and two numbers per
//! parameter are added. Under Nesterov's law, Y = X, so the array of Y holds M_t.

use crate::error::{Field, Refusal};
use crate::matrix::Element;
use crate::schedule::Momentum;
use serde::{Deserialize, Serialize};

/// Law of transport; see the table in the [module](self).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Transport {
    /// A fixed share of the full transport.
    Fixed {
        /// θ in [0, 1]: 0 is Scion, 1 is Transported Scion as published.
        theta: f32,
    },
    /// Lag feedback: the bias of a short memory with the noise of a long one.
    Lag {
        /// b′ in [0, 1), below every β_t after the first step.
        memory: f32,
    },
    /// Transport that is damped when the path turns.
    Alignment {
        /// q, at least 0 and finite: 1.5 if nothing better is known.
        damping: f32,
    },
    /// No transport; the oracle gets Nesterov's argument instead.
    Nesterov,
}

/// Coefficients of the coming query point: Y = X + `ahead`·D + `before`·(Y_old − X_old).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lead {
    /// Factor of the displacement D.
    pub ahead: f32,
    /// Factor of the displacement of the last query point.
    pub before: f32,
}

impl Transport {
    /// Checks that the constants are in range for this momentum.
    ///
    /// # Errors
    /// [`Refusal::Recipe`] with the first field that is out of range.
    pub fn check(self, momentum: Momentum) -> Result<(), Refusal> {
        let (right, field) = match self {
            Transport::Fixed { theta } => ((0.0..=1.0).contains(&theta), Field::Theta),
            Transport::Lag { memory } => (memory >= 0.0 && memory < momentum.smallest(), Field::Memory),
            Transport::Alignment { damping } => (damping >= 0.0 && damping.is_finite(), Field::Damping),
            Transport::Nesterov => (true, Field::Theta),
        };
        if right { Ok(()) } else { Err(Refusal::Recipe(field)) }
    }

    /// Coefficients that form the coming query point Y_{t+1} from D_{t+1} and d_t, given β_t and β_{t+1}; both are 0
    /// for the laws that need more than that.
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

/// Full transport c = β/(1 − β).
fn full(beta: f32) -> f32 {
    beta / (1.0 - beta)
}

/// Average of the cosines between successive displacements.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Alignment<E> {
    /// Σ 0.1·0.9^age·cosine; `None` before the first cosine.
    pub mean: Option<E>,
    /// Sum of the weights.
    pub weight: f32,
}

impl<E> Alignment<E> {
    /// State before the first cosine.
    pub const START: Self = Self { mean: None, weight: 0.0 };
}

impl<E: Element> Alignment<E> {
    /// Adds a cosine to the average: each of the two sums becomes 0.9 times itself plus 0.1 times the new value.
    pub fn see(&mut self, cosine: E) {
        let new = cosine * 0.1;
        self.mean = Some(match self.mean.take() {
            Some(mean) => mean * 0.9 + new,
            None => new,
        });
        self.weight = 0.9 * self.weight + 0.1;
    }

    /// θ c = 1/(1/c + q(1 − a)) with q = `damping` and c of `beta`. It is a plain number if c is 0, or before the first
    /// cosine, when a is 0.
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

/// Factor of D.
#[derive(Clone, Debug)]
pub enum Ahead<E> {
    /// One number for all matrices.
    Number(f32),
    /// One number for each matrix of a stack.
    Element(E),
}
