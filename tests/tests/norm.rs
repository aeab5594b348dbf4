//! The linear minimization oracles: what they minimize, over which ball, and that scale is no matter to them.

mod oracle;

use graftage_core::matrix::{Matrix, RowMajor, Slab};
use graftage_core::norm::Norm;
use oracle::{Random, Worst, bits, real, tolerance};
use proptest::prelude::*;

const NORMS: [(Norm, oracle::Norm); 3] =
    [(Norm::Spectral, oracle::Norm::Spectral), (Norm::Sign, oracle::Norm::Sign), (Norm::Rms, oracle::Norm::Rms)];

const SHAPES: [(usize, usize); 8] = [(1, 1), (1, 19), (19, 1), (3, 7), (5, 3), (4, 4), (30, 50), (33, 17)];

/// The direction U(S), row by row.
fn direction(norm: Norm, (m, n): (usize, usize), s: &[f32]) -> Vec<f32> {
    let mut s = Slab::new(m, n, s.to_vec()).unwrap();
    let k = m.min(n);
    norm.direction(&mut s, &mut vec![f32::NAN; k * k], &mut vec![f32::NAN; k * k]);
    s.elements().to_vec()
}

/// lmo(S) = −f·U(S), row by row.
fn lmo(norm: Norm, shape: (usize, usize), s: &[f32]) -> Vec<f32> {
    let factor = norm.factor(shape);
    direction(norm, shape, s).into_iter().map(|u| -factor * u).collect()
}

/// For every norm and shape, a well-conditioned gradient: the norm, the oracle's, the shape, the gradient.
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
        // Of any gradient, not of a well-conditioned one alone.
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
        // The dual norm as the core computes it: f·⟨G, U⟩.
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
            // Points all over the surface: of random directions, near the minimizer, and extreme points.
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
            // Multiples of 2^−13 below 2: at 2^−136 all are subnormal (multiples of 2^−149), at 2^127 all finite.
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
            // Of any exponent, or all of one.
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
