//! Polar factor of a matrix, computed by products alone.
//!
//! For S = U Σ Vᵀ, polar(S) = U Vᵀ: the nearest matrix with orthonormal rows or columns, and the direction of steepest
//! ascent in the spectral norm. An odd polynomial of S acts on its singular values and leaves U and V unchanged. So a
//! sequence of quintics p(σ) = aσ + bσ³ + cσ⁵ that sends every σ in (0, 1] towards 1 computes the polar factor (Björck
//! and Bowie 1971; Jordan et al. 2024, Muon). With G = S Sᵀ of the small side (Sᵀ S of a tall matrix) and P = bG + cG²,
//! a quintic is S ← aS + PS.
//!
//! If one side of the matrix is at least twice as long as the other and its elements are precise
//! ([`Matrix::is_precise`]), the quintics run on the small side, two quintics at a time. The Gram matrix of the first
//! result is a polynomial of G, too, so S is touched only once for both. With 1 and 2 for the quintics:
//!
//! ```text
//! P₁ = b₁G + c₁G²      T = (a₁I + P₁)G      G₁ = (a₁I + P₁)T      P₂ = b₂G₁ + c₂G₁²
//! Q  = P₁P₂ + a₂P₁ + a₁P₂                   S ← a₁a₂S + QS
//! ```
//!
//! All factors are symmetric and commute, so only half of each product of the small side is computed. More than two
//! quintics at a time would lose the small singular values: G holds σ², and rounding adds some 10⁻⁷ to each.

use crate::matrix::{Group, Matrix};
use serde::{Deserialize, Serialize};

/// Coefficients (a, b, c) of p(σ) = aσ + bσ³ + cσ⁵.
pub type Quintic = (f32, f32, f32);

/// Sequence of quintics that maps singular values in [1e-3, 1] into a range around 1.
///
/// | quintics | steps | range of [1e-3, 1] | source |
/// |---|---|---|---|
/// | Jordan | 5 | 0.47–1.20 | Jordan et al. 2024, Muon |
/// | You | 5 | 0.475–1.145 | You 2025, quoted in Muon's write-up |
/// | Polar Express 5 | 5 | 0.846–1.124 | Amsel et al. 2025, "The Polar Express", Algorithm 1, safety factor 1.01 |
/// | Polar Express 8 | 8 | 0.99999–1.00001 | the same |
/// | CANS | 5 | 0.884–1.120 | Grishina et al. 2025, "Accelerating Newton–Schulz by Chebyshev polynomials" |
/// | Converged | 20 | 1 − 10⁻⁶ to 1 + 10⁻⁶, of [1e-6, 1] | Polar Express 8, then Björck and Bowie's quintic |
///
/// The ranges hold in exact arithmetic. `docs/norms.md` explains the choice of [`Quintics::DEFAULT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Quintics {
    /// One quintic, five times; fast, but never converges.
    Jordan,
    /// Five quintics; they map [1e-2, 1] into 0.978–1.032.
    You,
    /// Five quintics.
    PolarExpress5,
    /// Eight quintics.
    #[default]
    PolarExpress8,
    /// Five quintics.
    Cans,
    /// Twenty quintics, for reports: converged to rounding, even for σ as small as 10⁻⁶ of ‖S‖_F.
    Converged,
}

const POLAR_EXPRESS: [Quintic; 7] = [
    (8.2051, -22.9019, 16.4607),
    (4.0664, -2.8612, 0.5184),
    (3.9096, -2.8234, 0.5250),
    (3.2856, -2.4153, 0.4853),
    (2.2779, -1.6198, 0.3985),
    (1.8726, -1.2307, 0.3585),
    (1.8564, -1.2132, 0.3568),
];

/// Quintic whose fixed point 1 attracts: p(1) = 1, p′(1) = p″(1) = 0 (Björck and Bowie 1971).
const BJORCK_BOWIE: Quintic = (1.875, -1.25, 0.375);

const YOU: [Quintic; 5] = [
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
];

const CANS: [Quintic; 5] = [
    (8.4703, -25.1081, 18.6293),
    (4.1828, -3.1087, 0.5806),
    (3.9619, -2.9541, 0.5630),
    (3.2866, -2.4647, 0.5074),
    (2.2737, -1.6447, 0.4162),
];

const JORDAN: [Quintic; 1] = [(3.4445, -4.7750, 2.0315)];

impl Quintics {
    /// Eight steps of Polar Express.
    pub const DEFAULT: Self = Self::PolarExpress8;

    /// All chains, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Jordan, Self::You, Self::PolarExpress5, Self::PolarExpress8, Self::Cans, Self::Converged];

    /// Leading quintics, the quintic that is repeated after them, and the total number.
    fn table(self) -> (&'static [Quintic], Quintic, usize) {
        match self {
            Quintics::Jordan => (&[], JORDAN[0], 5),
            Quintics::You => (&YOU, BJORCK_BOWIE, 5),
            Quintics::PolarExpress5 => (&POLAR_EXPRESS, BJORCK_BOWIE, 5),
            Quintics::PolarExpress8 => (&POLAR_EXPRESS, BJORCK_BOWIE, 8),
            Quintics::Cans => (&CANS, BJORCK_BOWIE, 5),
            Quintics::Converged => (&POLAR_EXPRESS, BJORCK_BOWIE, 20),
        }
    }

    /// Coefficients (a, b, c) of the quintics, first to last.
    pub fn coefficients(self) -> impl Iterator<Item = Quintic> {
        let (first, last, count) = self.table();
        (0..count).map(move |step| first.get(step).copied().unwrap_or(last))
    }

    /// Largest possible singular value of the result: a step in the spectral norm is at most this many times as long as
    /// with the exact polar factor.
    // Not inlined, so that firmware has one copy of the table.
    #[inline(never)]
    pub const fn overshoot(self) -> f32 {
        match self {
            Quintics::Jordan => 1.21,
            Quintics::You => 1.15,
            Quintics::PolarExpress5 | Quintics::Cans => 1.13,
            Quintics::PolarExpress8 | Quintics::Converged => 1.0001,
        }
    }
}

/// Returns whether the quintics run on the small side, two quintics at a time.
const fn paired((m, n): (usize, usize)) -> bool {
    m >= 2 * n || n >= 2 * m
}

/// Number of squares of the small side that [`polar`] needs for a matrix of m rows and n columns.
pub const fn squares(shape: (usize, usize)) -> usize {
    if paired(shape) { 3 } else { 2 }
}

/// S ← p(S/‖S‖_F) for the composed polynomial p; 0 stays 0.
///
/// The squares are overwritten; if [`squares`] is 2, the third is not touched.
pub fn polar<M: Matrix>(s: &mut M, quintics: Quintics, squares: &mut [&mut M::Square; 3]) {
    s.normalise(Group::Whole);
    let pairs = paired(s.shape()) && s.is_precise();
    let mut quintics = quintics.coefficients();
    while let Some(first) = quintics.next() {
        match if pairs { quintics.next() } else { None } {
            Some(second) => two(s, first, second, squares),
            None => one(s, first, squares),
        }
    }
}

/// One quintic: S ← aS + PS.
fn one<M: Matrix>(s: &mut M, (a, b, c): Quintic, [gram, poly, _]: &mut [&mut M::Square; 3]) {
    s.gram(gram, poly);
    s.multiply(c, (b, gram), (0.0, gram), poly);
    s.transform(a, poly, gram);
}

/// Two quintics: S ← a₁a₂S + QS.
fn two<M: Matrix>(
    s: &mut M,
    (a1, b1, c1): Quintic,
    (a2, b2, c2): Quintic,
    [gram, poly, third]: &mut [&mut M::Square; 3],
) {
    s.gram(gram, poly);
    s.multiply(c1, (b1, gram), (0.0, gram), poly);
    s.multiply(1.0, (0.0, poly), (a1, gram), third);
    s.multiply(1.0, (0.0, poly), (a1, third), gram);
    s.multiply(c2, (b2, gram), (0.0, gram), third);
    s.multiply(1.0, (a2, poly), (a1, third), gram);
    s.transform(a1 * a2, gram, poly);
}
