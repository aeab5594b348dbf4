//! Norms of a matrix of shape (m, n) = (d_out, d_in), with their linear minimization oracles and dual norms.
//!
//! The oracle (lmo) of a norm is lmo(S) = argmin over ‖Z‖ ≤ 1 of ⟨S, Z⟩ = −f·U(S), with a factor f that depends only on
//! the shape, and a direction U. The dual norm is ‖S‖_* = −⟨S, lmo(S)⟩ = f·⟨S, U⟩ (Pethick et al. 2025, "Training deep
//! learning models with norm-constrained LMOs", Scion, Table 2):
//!
//! | norm | ‖Z‖ | direction U | factor f | dual norm |
//! |---|---|---|---|---|
//! | spectral | σ_max(Z)/f | polar(S) | √(m/n) | f·Σσ(S) |
//! | spectral, at least 1 | the same | the same | max(1, √(m/n)) | the same |
//! | spectral, outputs | the same | the same | √m | the same |
//! | convolution of k taps | the same | the same | √(m·k/n)/k | the same |
//! | sign | max\|z\|/f | sign(S) | 1/n | f·Σ\|s\| |
//! | sign, plain | the same | the same | 1 | the same |
//! | column | max_j ‖z_j‖/f | each column s_j/‖s_j‖ | √m | f·Σ_j ‖s_j‖ |
//! | column, inputs | the same | the same | √m/n | the same |
//! | row | max_i ‖z_i‖/f | each row s_i/‖s_i‖ | 1/√n | f·Σ_i ‖s_i‖ |
//! | row, plain | the same | the same | 1 | the same |
//! | embedding column | max_i ‖z_i‖/f | each row | √n | f·Σ_i ‖s_i‖ |
//! | embedding row | max_j ‖z_j‖/f | each column | 1/√m | f·Σ_j ‖s_j‖ |
//! | RMS | ‖Z‖_F/f | S/‖S‖_F | √(mn) | f·‖S‖_F |
//! | Frobenius | ‖Z‖_F | S/‖S‖_F | 1 | ‖S‖_F |
//!
//! An embedding is a table of m words with n numbers each; its norms are the column and the row norm of its transpose.
//! The weights of a convolution are flattened: m filters, n = inputs·taps.
//!
//! lmo(0) = 0, and lmo(2ᵏ S) = lmo(S) to the bit. To add a norm, add a variant with its line in `Norm::table`, and a
//! line in the table of `tests/tests/norm.rs`.

use crate::arithmetic::{largest, sqrt, sum_over};
use crate::matrix::{Group, Matrix, RowMajor, Slab, square};
use crate::polar::{Quintics, polar, squares};
use serde::{Deserialize, Serialize};

/// Norm in which a parameter's steps are measured; see the table in the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Operator norm from RMS to RMS, for the weights of hidden layers.
    Spectral,
    /// For the first layer: a layer with fewer outputs than inputs moves as much as a square one.
    SpectralAtLeastOne,
    /// Operator norm from 2-norm to RMS, for one-hot inputs.
    SpectralOutputs,
    /// For the flattened weights of a convolution.
    Convolution {
        /// Number of taps of the kernel: its length, or the product of its sides.
        taps: u32,
    },
    /// For the head, the last layer.
    Sign,
    /// For one-hot inputs.
    SignPlain,
    /// Operator norm from 1-norm to RMS, for one-hot inputs.
    Column,
    /// Like [`Norm::Column`], with the factor divided by the number of inputs.
    ColumnInputs,
    /// Operator norm from RMS to the largest output; exact for layers that do not mix channels, such as a depthwise
    /// convolution.
    Row,
    /// Operator norm from 2-norm to the largest output.
    RowPlain,
    /// The column norm of the transpose: each word of an embedding by itself.
    EmbeddingColumn,
    /// The row norm of the transpose.
    EmbeddingRow,
    /// For vectors: biases and gains.
    Rms,
    /// The Euclidean norm: normalised gradient descent.
    Frobenius,
}

/// Method by which a direction is computed.
enum Direction {
    Polar,
    Sign,
    Normalised(Group),
}

impl Norm {
    /// One of each norm, in the order of the table; the convolution has three taps.
    pub const ALL: [Self; 14] = [
        Self::Spectral,
        Self::SpectralAtLeastOne,
        Self::SpectralOutputs,
        Self::Convolution { taps: 3 },
        Self::Sign,
        Self::SignPlain,
        Self::Column,
        Self::ColumnInputs,
        Self::Row,
        Self::RowPlain,
        Self::EmbeddingColumn,
        Self::EmbeddingRow,
        Self::Rms,
        Self::Frobenius,
    ];

    /// Direction and factor for a matrix of m rows and n columns.
    fn table(self, (m, n): (usize, usize)) -> (Direction, f32) {
        use Direction::{Normalised, Polar, Sign};
        let (m, n) = (m as f32, n as f32);
        match self {
            Norm::Spectral => (Polar, sqrt(m / n)),
            Norm::SpectralAtLeastOne => (Polar, if m > n { sqrt(m / n) } else { 1.0 }),
            Norm::SpectralOutputs => (Polar, sqrt(m)),
            Norm::Convolution { taps } => (Polar, sqrt(m * taps as f32 / n) / taps as f32),
            Norm::Sign => (Sign, 1.0 / n),
            Norm::SignPlain => (Sign, 1.0),
            Norm::Column => (Normalised(Group::Column), sqrt(m)),
            Norm::ColumnInputs => (Normalised(Group::Column), sqrt(m) / n),
            Norm::Row => (Normalised(Group::Row), 1.0 / sqrt(n)),
            Norm::RowPlain => (Normalised(Group::Row), 1.0),
            Norm::EmbeddingColumn => (Normalised(Group::Row), sqrt(n)),
            Norm::EmbeddingRow => (Normalised(Group::Column), 1.0 / sqrt(m)),
            Norm::Rms => (Normalised(Group::Whole), sqrt(m * n)),
            Norm::Frobenius => (Normalised(Group::Whole), 1.0),
        }
    }

    /// Returns whether the direction is a polar factor.
    pub fn is_spectral(self) -> bool {
        matches!(self.table((1, 1)).0, Direction::Polar)
    }

    /// Writes the direction U(S) to `work.direction`: lmo(S) = −factor·U. A spectral direction is computed by
    /// `quintics`.
    pub fn direction<M: Matrix>(self, s: &M, quintics: Quintics, work: &mut Workspace<M>) {
        let Workspace { direction, squares } = work;
        match self.table(s.shape()).0 {
            Direction::Polar => {
                direction.copy(s);
                polar(*direction, quintics, squares);
            }
            Direction::Sign => direction.sign(s),
            Direction::Normalised(group) => {
                direction.copy(s);
                direction.normalise(group);
            }
        }
    }

    /// Factor f for a matrix of m rows and n columns, which bounds how far an lmo reaches.
    pub fn factor(self, shape: (usize, usize)) -> f32 {
        self.table(shape).1
    }

    /// Dual norm ‖G‖_* = f·⟨G, U(G)⟩: how far an unconstrained problem is from stationary. `work` is overwritten.
    ///
    /// For reports, use [`Quintics::Converged`]: with other quintics, a spectral dual norm is off by a factor of
    /// Σp(σ)σ/Σσ. The result is infinite if it exceeds the largest binary32.
    pub fn dual<M: Matrix>(self, g: &M, quintics: Quintics, work: &mut Workspace<M>) -> M::Element {
        self.direction(g, quintics, work);
        g.inner(work.direction) * self.factor(g.shape())
    }

    /// Frank–Wolfe gap max over ‖Z‖ ≤ ρ of ⟨G, X − Z⟩ = ⟨G, X⟩ + ρ‖G‖_*: how far a problem constrained to the ball of
    /// radius ρ is from stationary at X; at least 0 inside the ball. The notes on [`Norm::dual`] apply here, too.
    pub fn gap<M: Matrix>(self, g: &M, x: &M, radius: f32, quintics: Quintics, work: &mut Workspace<M>) -> M::Element {
        self.dual(g, quintics, work) * radius + g.inner(x)
    }
}

/// Number of rounds of the power iteration in [`Norm::of`].
const ROUNDS: usize = 200;

impl Norm {
    /// Computes ‖Z‖ itself, for reports. `memory` holds one number for each row and each column, and is overwritten;
    /// `None` if it is shorter.
    ///
    /// A spectral norm comes from a power iteration. It exceeds the true one only by rounding, and is below it by less
    /// than a hundredth.
    pub fn of(self, z: &impl RowMajor, memory: &mut [f32]) -> Option<f32> {
        let (m, n) = z.shape();
        let (columns, rows) = memory.get_mut(..m + n)?.split_at_mut(n);
        let largest_element = largest(z.elements());
        if largest_element == 0.0 {
            return Some(0.0);
        }
        // Relative to the largest element, no square overflows, and none that matters vanishes.
        let unit = |e: f32| e / largest_element;
        let (direction, factor) = self.table((m, n));
        let length = |numbers: &[f32]| sqrt(sum_over(numbers, numbers, |a, b| a * b));
        let reach = match direction {
            Direction::Sign => 1.0,
            Direction::Polar => {
                // Unequal numbers, so that no singular vector of a usual matrix is orthogonal to the start.
                columns.iter_mut().enumerate().for_each(|(j, v)| *v = 1.0 / (1.0 + (j % 61) as f32));
                let mut reach = 0.0;
                for _ in 0..ROUNDS {
                    let scale = length(columns);
                    for (row, u) in z.elements().chunks_exact(n).zip(&mut *rows) {
                        *u = sum_over(row, columns, |e, v| unit(e) * (v / scale));
                    }
                    reach = length(rows);
                    columns.fill(0.0);
                    for (row, u) in z.elements().chunks_exact(n).zip(&*rows) {
                        columns.iter_mut().zip(row).for_each(|(v, e)| *v += unit(*e) * *u);
                    }
                    if largest(&*columns) == 0.0 {
                        break;
                    }
                }
                reach
            }
            Direction::Normalised(group) => {
                // Sums of squares of each column and each row.
                columns.fill(0.0);
                for (row, sum) in z.elements().chunks_exact(n).zip(&mut *rows) {
                    columns.iter_mut().zip(row).for_each(|(sum, e)| *sum += unit(*e) * unit(*e));
                    *sum = sum_over(row, row, |a, b| unit(a) * unit(b));
                }
                sqrt(match group {
                    Group::Column => largest(&*columns),
                    Group::Row => largest(&*rows),
                    Group::Whole => sum_over(rows, rows, |a, _| a),
                })
            }
        };
        Some(reach / factor * largest_element)
    }
}

/// Memory of the caller for computing one direction; parameters of one shape may share it. It is overwritten.
pub struct Workspace<'a, M: Matrix> {
    /// Matrix of the parameter's shape.
    pub direction: &'a mut M,
    /// Squares of k×k, where k is the smaller side; the third may be empty if [`squares`] is 2.
    pub squares: [&'a mut M::Square; 3],
}

/// Number of `f32` values that [`with_workspace`] needs for a matrix of m rows and n columns.
pub const fn workspace(m: usize, n: usize) -> usize {
    m * n + squares((m, n)) * square(if m < n { m } else { n })
}

/// Carves a workspace for one matrix of m rows and n columns out of shared memory, and calls `f` with it.
///
/// Returns `None`, without calling `f`, if the memory is shorter than [`workspace`].
pub fn with_workspace<'a, T>(
    (m, n): (usize, usize),
    memory: &'a mut [f32],
    f: impl FnOnce(&mut Workspace<Slab<&'a mut [f32]>>) -> T,
) -> Option<T> {
    let length = square(if m < n { m } else { n });
    let (direction, rest) = memory.split_at_mut_checked(m * n)?;
    let (first, rest) = rest.split_at_mut_checked(length)?;
    let (second, rest) = rest.split_at_mut_checked(length)?;
    let (third, _) = rest.split_at_mut_checked(length * (squares((m, n)) - 2))?;
    let mut direction = Slab::new(m, n, direction)?;
    Some(f(&mut Workspace { direction: &mut direction, squares: [first, second, third] }))
}
