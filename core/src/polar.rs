//! The polar factor of a matrix, by products alone.
//!
//! Where S = U Σ Vᵀ, polar(S) = U Vᵀ: the nearest matrix with orthonormal rows or columns, and the direction of steepest
//! ascent in the spectral norm. An odd polynomial of S acts on its singular values and leaves U and V, so a chain of
//! quintics that sends every σ in (0, 1] towards 1 computes it (Björck and Bowie 1971; Jordan et al. 2024, Muon).

use crate::matrix::{Group, Matrix};

/// p(σ) = aσ + bσ³ + cσ⁵ as (a, b, c).
pub type Quintic = (f32, f32, f32);

/// Polar Express (Amsel et al. 2025, "The Polar Express", Algorithm 1), eight steps with a safety factor of 1.01,
/// rounded to four decimals: maps [1e-3, 1] into [0.99999, 1.00001] in exact arithmetic.
pub const POLAR_EXPRESS: [Quintic; 8] = [
    (8.2051, -22.9019, 16.4607),
    (4.0664, -2.8612, 0.5184),
    (3.9096, -2.8234, 0.5250),
    (3.2856, -2.4153, 0.4853),
    (2.2779, -1.6198, 0.3985),
    (1.8726, -1.2307, 0.3585),
    (1.8564, -1.2132, 0.3568),
    (1.875, -1.25, 0.375),
];

/// S ← polar(S) for every singular value above about 1e-3 of ‖S‖_F; smaller ones end between 0 and 1; 0 stays 0.
///
/// S ← S/‖S‖_F, then for each quintic (a, b, c), with G the Gram matrix of the small side and P = bG + cG²:
/// S ← aS + PS (or aS + SP), which maps every singular value σ to p(σ). `gram` and `poly` are overwritten.
pub fn polar<M: Matrix>(s: &mut M, steps: &[Quintic], gram: &mut M::Square, poly: &mut M::Square) {
    s.normalise(Group::Whole);
    for &(a, b, c) in steps {
        s.gram(gram, poly);
        s.quadratic(b, c, gram, poly);
        s.transform(a, poly, gram);
    }
}
