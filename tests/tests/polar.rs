//! Tests of the polar factor: the products compute U Vᵀ of the singular value decomposition.

mod oracle;

use graftage_core::matrix::square;
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::polar::{Quintics, polar};
use oracle::{Random, Worst, bits, real, singular_values, spectral, tolerance};

const SHAPES: [(usize, usize); 11] =
    [(1, 1), (1, 37), (37, 1), (3, 7), (5, 3), (4, 4), (30, 50), (50, 7), (16, 32), (64, 16), (33, 17)];

/// Returns polar(S), row by row.
fn factor(shape: (usize, usize), s: &[f32]) -> Vec<f32> {
    by(Quintics::DEFAULT, shape, s)
}

/// Returns the polar factor by quintics for S, row by row.
fn by(quintics: Quintics, (m, n): (usize, usize), s: &[f32]) -> Vec<f32> {
    let mut s = Slab::new(m, n, s.to_vec()).unwrap();
    let nan = || vec![f32::NAN; square(m.min(n))];
    polar(&mut s, quintics, &mut [&mut nan(), &mut nan(), &mut nan()]);
    s.elements().to_vec()
}

/// Evaluates the composed polynomial in float64.
fn polynomial(quintics: Quintics, s: f64) -> f64 {
    quintics.coefficients().fold(s, |s, (a, b, c)| {
        let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
        s * (a + s * s * (b + s * s * c))
    })
}

/// Returns the smallest and largest results of quintics for values from 10^−e to 1.
fn range(quintics: Quintics, e: f64) -> (f64, f64) {
    let of = |i: i32| polynomial(quintics, 10f64.powf(-e * f64::from(i) / 30_000.0));
    (0..=30_000).map(of).fold((f64::INFINITY, 0.0), |(low, high), s| (low.min(s), high.max(s)))
}

#[test]
fn the_coefficients_are_the_published_ones() {
    // Any other digit would be another arithmetic contract.
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
    let quintics = |quintics: Quintics| quintics.coefficients().map(|(a, b, c)| [a, b, c]).collect::<Vec<_>>();
    assert_eq!(quintics(Quintics::PolarExpress8), published);
    assert_eq!(quintics(Quintics::PolarExpress5), published[..5]);
    assert_eq!(quintics(Quintics::Jordan), [[3.4445, -4.7750, 2.0315]; 5]);
    let you = [
        [4.0848, -6.8946, 2.9270],
        [3.9505, -6.3029, 2.6377],
        [3.7418, -5.5913, 2.3037],
        [2.8769, -3.1427, 1.2046],
        [2.8366, -3.0525, 1.2012],
    ];
    assert_eq!(quintics(Quintics::You), you);
    let cans = [
        [8.4703, -25.1081, 18.6293],
        [4.1828, -3.1087, 0.5806],
        [3.9619, -2.9541, 0.5630],
        [3.2866, -2.4647, 0.5074],
        [2.2737, -1.6447, 0.4162],
    ];
    assert_eq!(quintics(Quintics::Cans), cans);
    let converged = quintics(Quintics::Converged);
    assert_eq!((converged.len(), &converged[..8]), (20, &published[..]));
    assert!(converged[8..].iter().all(|quintic| *quintic == published[7]));
}

#[test]
fn each_chain_sends_singular_values_into_its_range() {
    // (quintics, range of [1e-3, 1], range of [1e-2, 1]), from the literature, to the digits given.
    let table = [
        (Quintics::Jordan, (0.47, 1.20), (0.68, 1.13), 0.006),
        (Quintics::You, (0.475, 1.145), (0.978, 1.032), 0.0006),
        (Quintics::PolarExpress5, (0.846, 1.124), (0.870, 1.124), 0.0006),
        (Quintics::PolarExpress8, (1.0, 1.0), (1.0, 1.0), 1e-5),
        (Quintics::Cans, (0.884, 1.120), (0.884, 1.120), 0.0006),
        (Quintics::Converged, (1.0, 1.0), (1.0, 1.0), 1e-9),
    ];
    assert_eq!(table.map(|(quintics, ..)| quintics), Quintics::ALL);
    for (quintics, thousandth, hundredth, digits) in table {
        for (e, expected) in [(3.0, thousandth), (2.0, hundredth)] {
            let (low, high) = range(quintics, e);
            let off = (low - expected.0).abs().max((high - expected.1).abs());
            assert!(off <= digits, "{quintics:?} sends [1e-{e}, 1] into [{low}, {high}], not into {expected:?}");
        }
        // However small a value is, no quintics sends it beyond its stated overshoot.
        let (low, high) = range(quintics, 9.0);
        assert!(low >= 0.0 && high <= f64::from(quintics.overshoot()), "{quintics:?}: [{low}, {high}]");
    }
    let (low, high) = range(Quintics::Converged, 6.0);
    assert!((1.0 - low).max(high - 1.0) < 1e-6, "[{low}, {high}]");
}

#[test]
fn the_polynomials_send_all_singular_values_above_a_thousandth_to_one() {
    let quintics = |s: f64| polynomial(Quintics::PolarExpress8, s);
    let mut worst = Worst::default();
    (0..=30_000).for_each(|i| worst.see((quintics(10f64.powf(-f64::from(i) / 1e4)) - 1.0).abs()));
    worst.at_most("polynomials", tolerance::POLYNOMIAL);
    // For smaller values, no result is negative or above 1.
    assert!((0..=30_000).all(|i| (0.0..1.0 + 1e-5).contains(&quintics(f64::from(i) / 3e7))));
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
fn every_chain_computes_its_polynomial_of_the_singular_values() {
    // On one side and on both: shapes with one side at least twice the other take two quintics at once.
    for (quintics, tolerance) in Quintics::ALL.into_iter().zip(tolerance::QUINTICS) {
        let mut worst = Worst::default();
        for (seed, (m, n)) in [(8, 16), (16, 8), (32, 128), (5, 11), (12, 13), (24, 24)].into_iter().enumerate() {
            let mut random = Random::new(80 + seed as u64);
            for low in [1.0, 0.3, 1e-2, 1e-3, 1e-5] {
                let s = random.conditioned((m, n), low);
                let exact = real((m, n), &s);
                let mut svd = (&exact / exact.norm()).svd(true, true);
                svd.singular_values.apply(|sigma| *sigma = polynomial(quintics, *sigma));
                worst.see(spectral(&(real((m, n), &by(quintics, (m, n), &s)) - svd.recompose().unwrap())));
            }
        }
        worst.at_most(&format!("{quintics:?}"), tolerance);
    }
}

#[test]
fn the_converged_chain_leaves_orthogonal_matrices() {
    let mut worst = Worst::default();
    for (seed, (m, n)) in [(4, 4), (8, 16), (16, 8), (7, 9), (1, 5)].into_iter().enumerate() {
        let u = oracle::polar(&Random::new(90 + seed as u64).matrix(m, n));
        worst.see(spectral(&(real((m, n), &by(Quintics::Converged, (m, n), &oracle::rounded(&u))) - u)));
    }
    worst.at_most("idempotence", tolerance::IDEMPOTENCE);
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
        // diag(±1) S diag(±1): every product and sum changes only its sign.
        let signed = |s: &[f32]| -> Vec<f32> {
            s.iter().enumerate().map(|(i, e)| rows[i / n] * e * columns[i % n] + 0.0).collect()
        };
        assert_eq!(bits(&factor((m, n), &signed(&s))), bits(&signed(&factor((m, n), &s))), "{m}×{n}");
    }
}
