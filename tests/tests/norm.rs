//! Tests of the linear minimization oracles: their minimum, the ball, and their invariance to scale.

mod oracle;

use graftage_core::matrix::{Matrix, RowMajor, Slab};
use graftage_core::norm::{Norm, with_workspace, workspace};
use graftage_core::polar::Quintics;
use oracle::{Random, Worst, bits, real, tolerance};
use proptest::prelude::*;

/// All norms, each with its definition in the oracle.
const NORMS: [(Norm, oracle::Norm); 14] = [
    (Norm::Spectral, oracle::Norm::Spectral(|m, n| (m / n).sqrt())),
    (Norm::SpectralAtLeastOne, oracle::Norm::Spectral(|m, n| (m / n).sqrt().max(1.0))),
    (Norm::SpectralOutputs, oracle::Norm::Spectral(|m, _| m.sqrt())),
    // m filters with n/3 inputs per tap.
    (Norm::Convolution { taps: 3 }, oracle::Norm::Spectral(|m, n| (m / (n / 3.0)).sqrt() / 3.0)),
    (Norm::Sign, oracle::Norm::Sign(|_, n| 1.0 / n)),
    (Norm::SignPlain, oracle::Norm::Sign(|_, _| 1.0)),
    (Norm::Column, oracle::Norm::Column(|m, _| m.sqrt())),
    (Norm::ColumnInputs, oracle::Norm::Column(|m, n| m.sqrt() / n)),
    (Norm::Row, oracle::Norm::Row(|_, n| 1.0 / n.sqrt())),
    (Norm::RowPlain, oracle::Norm::Row(|_, _| 1.0)),
    (Norm::EmbeddingColumn, oracle::Norm::Row(|_, n| n.sqrt())),
    (Norm::EmbeddingRow, oracle::Norm::Column(|m, _| 1.0 / m.sqrt())),
    (Norm::Rms, oracle::Norm::Whole(|m, n| (m * n).sqrt())),
    (Norm::Frobenius, oracle::Norm::Whole(|_, _| 1.0)),
];

const SHAPES: [(usize, usize); 8] = [(1, 1), (1, 19), (19, 1), (3, 7), (5, 3), (4, 4), (30, 50), (33, 17)];

/// Returns the direction U(S), row by row.
fn direction(norm: Norm, (m, n): (usize, usize), s: &[f32]) -> Vec<f32> {
    let mut s = s.to_vec();
    let mut memory = vec![f32::NAN; workspace(m, n)];
    with_workspace((m, n), &mut memory, |work| {
        norm.direction(&Slab::new(m, n, &mut s[..]).unwrap(), Quintics::DEFAULT, work);
        work.direction.elements().to_vec()
    })
    .unwrap()
}

/// Returns lmo(S) = −f·U(S), row by row.
fn lmo(norm: Norm, shape: (usize, usize), s: &[f32]) -> Vec<f32> {
    let factor = norm.factor(shape);
    direction(norm, shape, s).into_iter().map(|u| -factor * u).collect()
}

/// Copies a matrix into a slab of its own.
fn slab_of(matrix: &impl RowMajor) -> Slab<&'static mut [f32]> {
    let (m, n) = matrix.shape();
    Slab::new(m, n, matrix.elements().to_vec().leak()).unwrap()
}

/// Returns, for every norm and shape, a well-conditioned gradient: the norm, the oracle's norm, the shape, the
/// gradient.
fn gradients() -> impl Iterator<Item = (Norm, oracle::Norm, (usize, usize), Vec<f32>)> {
    NORMS.into_iter().flat_map(|(norm, exact)| {
        SHAPES
            .into_iter()
            .enumerate()
            .map(move |(seed, shape)| (norm, exact, shape, Random::new(seed as u64).conditioned(shape, 0.05)))
    })
}

#[test]
fn the_oracle_lies_in_the_unit_ball() {
    let mut worst = Worst::default();
    for (norm, exact, shape, _) in gradients() {
        // Holds for any gradient, not only for well-conditioned ones.
        for seed in 0..4 {
            let g = Random::new(seed).wide(shape.0 * shape.1);
            worst.see(exact.of(&real(shape, &lmo(norm, shape, &g))) - 1.0);
        }
    }
    worst.at_most("‖lmo‖", tolerance::OVERSHOOT);
}

#[test]
fn the_inner_product_with_the_oracle_is_minus_the_dual_norm() {
    let mut worst = Worst::default();
    for (norm, exact, shape, g) in gradients() {
        let dual = exact.dual(&real(shape, &g));
        worst.see((real(shape, &g).dot(&real(shape, &lmo(norm, shape, &g))) / dual + 1.0).abs());
        // Dual norm as core computes it: f·⟨G, U⟩.
        let [g, u] = [g.clone(), direction(norm, shape, &g)].map(|e| Slab::new(shape.0, shape.1, e).unwrap());
        worst.see((f64::from(norm.factor(shape) * g.inner(&u)) / dual - 1.0).abs());
    }
    worst.at_most("dual norm", tolerance::DUAL);
}

#[test]
fn no_point_of_the_ball_does_better_than_the_oracle() {
    for (norm, exact, shape, g) in gradients() {
        let mut random = Random::new(99);
        let g64 = real(shape, &g);
        let found = g64.dot(&real(shape, &lmo(norm, shape, &g)));
        let slack = tolerance::DUAL * exact.dual(&g64);
        for i in 0..30 {
            // Points all over the surface: random directions, points near the minimizer, and extreme points.
            let near = [0.0, 0.01, 0.3][i % 3] * random.matrix(shape.0, shape.1);
            let z = match i % 2 {
                0 => random.matrix(shape.0, shape.1),
                _ => exact.lmo(&(&g64 + near)),
            };
            let z = &z / exact.of(&z);
            assert!(g64.dot(&z) >= found - slack, "{norm:?} {shape:?}");
        }
    }
}

#[test]
fn the_oracle_is_that_of_the_mathematics() {
    let mut worst = Worst::default();
    for (norm, exact, shape, g) in gradients() {
        worst.see(exact.of(&(real(shape, &lmo(norm, shape, &g)) - exact.lmo(&real(shape, &g)))));
    }
    worst.at_most("lmo", tolerance::POLAR);
}

#[test]
fn a_power_of_two_changes_no_bit_over_the_whole_range_of_floats() {
    for (norm, _) in NORMS {
        for shape in [(1, 1), (3, 4), (5, 2), (1, 7)] {
            let mut random = Random::new(60);
            // Multiples of 2^−13 below 2: at 2^−136 all are subnormal (multiples of 2^−149), at 2^127 all are finite.
            let g: Vec<f64> = (0..shape.0 * shape.1).map(|_| (16_383.0 * random.uniform()).round() / 8192.0).collect();
            let scaled = |k: i32| -> Vec<f32> { g.iter().map(|e| (e * f64::from(k).exp2()) as f32).collect() };
            let expected = bits(&lmo(norm, shape, &scaled(0)));
            for k in -136..=127 {
                assert!(scaled(k).iter().zip(&g).all(|(s, g)| f64::from(*s) == g * f64::from(k).exp2()), "2^{k}");
                assert_eq!(bits(&lmo(norm, shape, &scaled(k))), expected, "{norm:?} {shape:?} 2^{k}");
            }
        }
    }
}

#[test]
fn every_norm_is_in_the_table() {
    assert_eq!(NORMS.map(|(norm, _)| norm), Norm::ALL);
}

#[test]
fn dual_norm_and_gap_come_from_the_oracle() {
    let mut worst = Worst::default();
    for (norm, exact, (m, n), g) in gradients() {
        let g64 = real((m, n), &g);
        // A point inside the ball of radius 2, and the point of the ball at which the gap is 0.
        let inside = exact.lmo(&Random::new(7).matrix(m, n)) * 1.5;
        for (x, at_the_minimizer) in [(inside, false), (exact.lmo(&g64) * 2.0, true)] {
            let (mut g, mut x32, mut memory) = (g.clone(), oracle::rounded(&x), vec![f32::NAN; workspace(m, n)]);
            let slab = |elements| Slab::new(m, n, elements).unwrap();
            let (g, x32) = (slab(&mut g[..]), slab(&mut x32[..]));
            let mut found = (0.0, 0.0);
            with_workspace((m, n), &mut memory, |work| {
                found.0 = f64::from(norm.dual(&slab_of(&g), Quintics::Converged, work));
                found.1 = f64::from(norm.gap(&slab_of(&g), &slab_of(&x32), 2.0, Quintics::Converged, work));
            });
            let dual = exact.dual(&g64);
            worst.see((found.0 / dual - 1.0).abs());
            worst.see((found.1 - (g64.dot(&x) + 2.0 * dual)).abs() / dual);
            assert!(if at_the_minimizer { found.1.abs() < 1e-5 * dual } else { found.1 > 0.0 }, "{norm:?}");
        }
    }
    worst.at_most("dual norm and gap", tolerance::GAP);
}

#[test]
fn the_norm_itself_is_that_of_the_mathematics() {
    let (mut exactly, mut spectral) = (Worst::default(), Worst::default());
    for (norm, exact, (m, n), g) in gradients() {
        for z in [g, Random::new(3).matrix(m, n).transpose().iter().map(|e| *e as f32 * 1e-30).collect()] {
            let z32 = Slab::new(m, n, z.clone()).unwrap();
            let found = f64::from(norm.of(&z32, &mut vec![f32::NAN; m + n]).unwrap());
            let error = found / exact.of(&real((m, n), &z)) - 1.0;
            match exact {
                oracle::Norm::Spectral(_) => {
                    assert!(error < tolerance::NORM, "{norm:?} is {error} too large");
                    spectral.see(-error);
                }
                _ => exactly.see(error.abs()),
            }
            assert_eq!(norm.of(&z32, &mut vec![0.0; m + n - 1]), None);
        }
        let zeros = vec![0.0; m * n];
        assert_eq!(norm.of(&Slab::new(m, n, zeros).unwrap(), &mut vec![f32::NAN; m + n]), Some(0.0));
    }
    exactly.at_most("a norm", tolerance::NORM);
    spectral.at_most("a spectral norm", tolerance::SPECTRAL);
}

#[test]
fn the_norms_of_an_embedding_are_those_of_its_transpose() {
    let mut random = Random::new(71);
    for (m, n) in SHAPES {
        let s = random.vector(m * n);
        let transposed =
            |(m, n): (usize, usize), s: &[f32]| -> Vec<f32> { (0..m * n).map(|i| s[i % m * n + i / m]).collect() };
        for (norm, of_transpose) in [(Norm::EmbeddingColumn, Norm::Column), (Norm::EmbeddingRow, Norm::Row)] {
            let back = transposed((n, m), &lmo(of_transpose, (n, m), &transposed((m, n), &s)));
            assert_eq!(bits(&lmo(norm, (m, n), &s)), bits(&back), "{norm:?} {m}×{n}");
        }
    }
}

#[test]
fn signs_pass_through_every_oracle_to_the_bit() {
    for (norm, _) in NORMS {
        for (m, n) in SHAPES {
            let mut random = Random::new(72);
            let s = random.vector(m * n);
            let [rows, columns] = [m, n].map(|n| (0..n).map(|_| random.uniform().signum() as f32).collect::<Vec<_>>());
            let signed = |s: &[f32]| -> Vec<f32> {
                s.iter().enumerate().map(|(i, e)| rows[i / n] * e * columns[i % n] + 0.0).collect()
            };
            let found = direction(norm, (m, n), &signed(&s));
            assert_eq!(bits(&found), bits(&signed(&direction(norm, (m, n), &s))), "{norm:?} {m}×{n}");
        }
    }
}

#[test]
fn sign_descent_sees_the_least_element_beside_the_largest() {
    let g = [f32::MAX, f32::from_bits(1), -f32::from_bits(1), f32::MIN];
    assert_eq!(direction(Norm::Sign, (2, 2), &g), [1.0, 1.0, -1.0, -1.0]);
}

#[test]
fn the_oracle_of_zero_is_zero() {
    for (norm, _) in NORMS {
        for zero in [0.0, -0.0] {
            assert_eq!(lmo(norm, (3, 4), &[zero; 12]), [0.0; 12], "{norm:?}");
        }
    }
}

proptest! {
    #![proptest_config(oracle::cases(400))]

    #[test]
    fn any_finite_matrix_has_a_finite_oracle(
        bits in proptest::collection::vec(any::<u32>(), 12),
        shape in proptest::sample::select(vec![(3, 4), (6, 2), (1, 12), (12, 1)]),
        common in proptest::option::of(0u32..255),
    ) {
        let s: Vec<f32> = bits
            .into_iter()
            // Any exponent, or one exponent for all.
            .map(|b| common.map_or(b, |e| b & 0x807f_ffff | e << 23))
            .map(|b| f32::from_bits(if b >> 23 & 255 == 255 { b ^ 1 << 30 } else { b }))
            .collect();
        for (norm, exact) in NORMS {
            let z = lmo(norm, shape, &s);
            prop_assert!(z.iter().all(|e| e.is_finite()), "{norm:?}");
            prop_assert!(exact.of(&real(shape, &z)) <= 1.0 + tolerance::OVERSHOOT, "{norm:?}");
        }
    }
}
