//! Norms of a matrix of shape (m, n) = (d_out, d_in), with their linear minimization oracles and dual norms.
//!
//! The oracle of a norm is lmo(S) = argmin over ‖Z‖ ≤ 1 of ⟨S, Z⟩ = −f·U(S), with a factor f that depends on the shape
//! alone and a direction U; the dual norm is ‖S‖_* = −⟨S, lmo(S)⟩ = f·⟨S, U⟩ (Pethick et al. 2025, "Scion", Table 2):
//!
//! | norm | ‖Z‖ | direction U | factor f | dual norm |
//! |---|---|---|---|---|
//! | spectral | √(n/m)·σ_max(Z) | polar(S) | √(m/n) | f·Σσ(S) |
//! | sign | n·max\|z\| | sign(S) | 1/n | f·Σ\|s\| |
//! | RMS | ‖Z‖_F/√(mn) | S/‖S‖_F | √(mn) | f·‖S‖_F |
//!
//! lmo(0) = 0, and lmo(2ᵏ S) = lmo(S) to the bit. To add a norm, add a variant and its arm in each `match` below.

use crate::arithmetic::sqrt;
use crate::matrix::{Group, Matrix};
use crate::polar::{POLAR_EXPRESS, polar};
use serde::{Deserialize, Serialize};

/// The norm in which a parameter's steps are measured; the table is in the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Norm {
    /// For the weights of hidden layers.
    Spectral,
    /// For the head, and for inputs that are one-hot.
    Sign,
    /// For vectors: biases and gains.
    Rms,
}

impl Norm {
    /// S ← the direction U(S): lmo(S) = −factor·U. `gram` and `poly` are overwritten.
    pub fn direction<M: Matrix>(self, s: &mut M, gram: &mut M::Square, poly: &mut M::Square) {
        match self {
            Norm::Spectral => polar(s, &POLAR_EXPRESS, gram, poly),
            Norm::Sign => s.sign(),
            Norm::Rms => s.normalise(Group::Whole),
        }
    }

    /// The factor f for a matrix of m rows and n columns. The dual norm of G is f·⟨G, U⟩.
    pub fn factor(self, (m, n): (usize, usize)) -> f32 {
        let (m, n) = (m as f32, n as f32);
        match self {
            Norm::Spectral => sqrt(m / n),
            Norm::Sign => 1.0 / n,
            Norm::Rms => sqrt(m * n),
        }
    }
}
