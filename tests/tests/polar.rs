//! The polar factor: what the products compute is U Vᵀ of the singular value decomposition.

mod oracle;

use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::polar::{POLAR_EXPRESS, polar};
use oracle::{Random, Worst, bits, real, singular_values, spectral, tolerance};

const SHAPES: [(usize, usize); 11] =
    [(1, 1), (1, 37), (37, 1), (3, 7), (5, 3), (4, 4), (30, 50), (50, 7), (16, 32), (64, 16), (33, 17)];

/// polar(S), row by row.
fn factor((m, n): (usize, usize), s: &[f32]) -> Vec<f32> {
    let mut s = Slab::new(m, n, s.to_vec()).unwrap();
    let k = m.min(n);
    polar(&mut s, &POLAR_EXPRESS, &mut vec![f32::NAN; k * k], &mut vec![f32::NAN; k * k]);
    s.elements().to_vec()
}

#[test]
fn the_coefficients_are_the_published_ones() {
    // One other digit is another arithmetic contract.
    let published = [
        [8.2051, -22.9019, 16.4607],
        [4.0664, -2.8612, 0.5184],
        [3.9096, -2.8234, 0.5250],
        [3.2856, -2.4153, 0.4853],
        [2.2779, -1.6198, 0.3985],
        [1.8726, -1.2307, 0.3585],
        [1.8564, -1.2132, 0.3568],
        [1.875, -1.25, 0.375],
    ];
    assert_eq!(POLAR_EXPRESS.map(|(a, b, c)| [a, b, c]), published);
}

#[test]
fn the_polynomials_send_all_singular_values_above_a_thousandth_to_one() {
    let chain = |s: f64| {
        POLAR_EXPRESS.iter().fold(s, |s, (a, b, c)| {
            let (a, b, c) = (f64::from(*a), f64::from(*b), f64::from(*c));
            s * (a + s * s * (b + s * s * c))
        })
    };
    let mut worst = Worst::default();
    (0..=30_000).for_each(|i| worst.see((chain(10f64.powf(-f64::from(i) / 1e4)) - 1.0).abs()));
    worst.at_most("polynomials", tolerance::POLYNOMIAL);
    // Below, no value comes out negative or above 1.
    assert!((0..=30_000).all(|i| (0.0..1.0 + 1e-5).contains(&chain(f64::from(i) / 3e7))));
}

#[test]
fn well_conditioned_matrices_get_the_polar_factor_of_their_decomposition() {
    let mut worst = Worst::default();
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let mut random = Random::new(seed as u64);
        for _ in 0..3 {
            let s = random.conditioned(shape, 0.05);
            worst.see(spectral(&(real(shape, &factor(shape, &s)) - oracle::polar(&real(shape, &s)))));
        }
    }
    worst.at_most("polar", tolerance::POLAR);
}

#[test]
fn a_matrix_of_lower_rank_keeps_its_rank() {
    let mut worst = Worst::default();
    for (seed, shape) in [(3, 7), (5, 3), (4, 4), (16, 32)].into_iter().enumerate() {
        let mut random = Random::new(20 + seed as u64);
        for rank in 1..shape.0.min(shape.1) {
            // Small integers: the product is exact, and so is the rank.
            let mut integers = |m, n| random.matrix(m, n).map(|e| (8.0 * e).round());
            let s = integers(shape.0, rank) * integers(rank, shape.1);
            let u = real(shape, &factor(shape, &oracle::rounded(&s)));
            for (i, sigma) in singular_values(&u).into_iter().enumerate() {
                worst.see(if i < rank { (sigma - 1.0).max(0.0) } else { sigma });
            }
            // The part in the row space of S is its whole polar factor: U Uᵀ S = S.
            worst.see(spectral(&(&u * u.transpose() * &s - &s)) / spectral(&s));
        }
    }
    worst.at_most("rank", tolerance::RANK);
}

#[test]
fn zero_stays_zero() {
    for (m, n) in SHAPES {
        assert!(factor((m, n), &vec![0.0; m * n]).iter().all(|e| *e == 0.0));
    }
}

#[test]
fn a_single_number_becomes_its_sign_and_a_vector_a_unit_vector() {
    let mut worst = Worst::default();
    for x in [1e-45, 1e-42, 0.3, 1.0, 1.999, 7.0, 3e38] {
        worst.see(f64::from(factor((1, 1), &[x])[0] - 1.0).abs());
        worst.see(f64::from(factor((1, 1), &[-x])[0] + 1.0).abs());
    }
    for shape in [(1, 37), (37, 1), (1, 2), (2, 1)] {
        let s = Random::new(30).vector(37);
        let exact = real(shape, &s[..shape.0 * shape.1]);
        worst.see((real(shape, &factor(shape, &s)) - &exact / exact.norm()).norm());
    }
    worst.at_most("vectors", tolerance::POLAR);
}

#[test]
fn the_factor_of_the_transpose_is_the_transpose_of_the_factor() {
    let mut worst = Worst::default();
    for (seed, (m, n)) in SHAPES.into_iter().enumerate() {
        let s = Random::new(40 + seed as u64).conditioned((m, n), 0.1);
        let transposed = oracle::rounded(&real((m, n), &s).transpose());
        let back = real((n, m), &factor((n, m), &transposed)).transpose();
        worst.see(spectral(&(back - real((m, n), &factor((m, n), &s)))));
    }
    worst.at_most("transposed", tolerance::TRANSPOSED);
}

#[test]
fn signs_pass_through_to_the_bit() {
    for (seed, (m, n)) in SHAPES.into_iter().enumerate() {
        let mut random = Random::new(50 + seed as u64);
        let s = random.vector(m * n);
        let [rows, columns] = [m, n].map(|n| (0..n).map(|_| random.uniform().signum() as f32).collect::<Vec<_>>());
        // diag(±1) S diag(±1): every product and sum changes its sign alone.
        let signed = |s: &[f32]| -> Vec<f32> {
            s.iter().enumerate().map(|(i, e)| rows[i / n] * e * columns[i % n] + 0.0).collect()
        };
        assert_eq!(bits(&factor((m, n), &signed(&s))), bits(&signed(&factor((m, n), &s))), "{m}×{n}");
    }
}
