//! Tests of the matrix operations: each has the same bits as a naive scalar loop in the order of the contract.

mod oracle;

use graftage_core::matrix::{FixedMatrix, Group, Matrix, RowMajor, Slab};
use nalgebra::DMatrix;
use oracle::{Random, Worst, bits, lanes, real, tolerance};
use proptest::prelude::*;

/// Reference implementation with plain loops in binary32.
mod naive {
    /// Returns Σ a(l)·b(l) over ascending l, starting from +0.
    pub fn dot(terms: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f32 {
        let mut sum = 0.0;
        for l in 0..terms {
            sum += a(l) * b(l);
        }
        sum
    }

    /// Returns all elements of an m×n matrix, row by row.
    pub fn table(m: usize, n: usize, element: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        (0..m * n).map(|i| element(i / n, i % n)).collect()
    }

    pub fn gram((m, n): (usize, usize), s: &[f32]) -> Vec<f32> {
        if m <= n {
            table(m, m, |i, j| dot(n, |l| s[i * n + l], |l| s[j * n + l]))
        } else {
            table(n, n, |i, j| dot(m, |l| s[l * n + i], |l| s[l * n + j]))
        }
    }

    /// Returns c·LR + a·L + b·R on and above the diagonal, without terms of factor 0, and mirrors it below.
    pub fn multiply(k: usize, c: f32, (a, l): (f32, &[f32]), (b, r): (f32, &[f32])) -> Vec<f32> {
        table(k, k, |i, j| {
            let (i, j) = (i.min(j), i.max(j));
            let mut sum = c * dot(k, |m| l[i * k + m], |m| r[m * k + j]);
            if a != 0.0 {
                sum += a * l[i * k + j];
            }
            if b != 0.0 {
                sum += b * r[i * k + j];
            }
            sum
        })
    }

    pub fn transform((m, n): (usize, usize), a: f32, s: &[f32], p: &[f32]) -> Vec<f32> {
        if m <= n {
            table(m, n, |i, j| a * s[i * n + j] + dot(m, |l| p[i * m + l], |l| s[l * n + j]))
        } else {
            table(m, n, |i, j| a * s[i * n + j] + dot(n, |l| s[i * n + l], |l| p[l * n + j]))
        }
    }

    /// Returns the indices of each group.
    pub fn groups((m, n): (usize, usize), group: super::Group) -> Vec<Vec<usize>> {
        match group {
            super::Group::Whole => vec![(0..m * n).collect()],
            super::Group::Row => (0..m).map(|i| (i * n..(i + 1) * n).collect()).collect(),
            super::Group::Column => (0..n).map(|j| (j..m * n).step_by(n).collect()).collect(),
        }
    }

    /// Divides each group by its 2-norm, with the power of two computed in float64.
    pub fn normalise(shape: (usize, usize), group: super::Group, s: &[f32]) -> Vec<f32> {
        let mut out = s.to_vec();
        for group in groups(shape, group) {
            let largest = group.iter().fold(0.0, |l: f64, i| l.max(f64::from(s[*i]).abs()));
            if largest > 0.0 {
                let power = f64::from_bits(largest.to_bits() & !((1 << 52) - 1));
                let scaled: Vec<f32> = group.iter().map(|i| (f64::from(s[*i]) / power) as f32).collect();
                let squares: Vec<f32> = scaled.iter().map(|e| e * e).collect();
                let norm = f64::from(super::lanes(&squares)).sqrt() as f32;
                group.iter().zip(scaled).for_each(|(i, e)| out[*i] = e / norm);
            }
        }
        out
    }
}

const GROUPS: [Group; 3] = [Group::Whole, Group::Row, Group::Column];

/// Calls a function for every shape: `shapes!(name)` calls `name::<M, N>()`.
macro_rules! shapes {
    ($name:ident) => {
        shapes!($name: 1 1, 1 37, 37 1, 3 7, 5 3, 4 4, 2 9, 30 50, 50 7, 32 64, 64 16, 33 17)
    };
    ($name:ident: $($m:literal $n:literal),*) => { $($name::<$m, $n>();)* };
}

fn fixed<const M: usize, const N: usize>(rows: &[f32]) -> FixedMatrix<M, N> {
    let mut fixed = [[0.0; N]; M];
    fixed.elements_mut().copy_from_slice(rows);
    fixed
}

/// Returns a slab in memory longer than the matrix needs, with the rest poisoned.
fn slab((m, n): (usize, usize), rows: &[f32]) -> Slab<Vec<f32>> {
    Slab::new(m, n, [rows, &[f32::NAN; 3]].concat()).unwrap()
}

/// Returns poisoned memory for a square matrix of the smaller side.
fn square((m, n): (usize, usize)) -> Vec<f32> {
    vec![f32::NAN; graftage_core::matrix::square(m.min(n))]
}

/// Returns the elements of a square matrix, row by row, whatever its storage order: 0·I + P I.
fn read(k: usize, square: &[f32]) -> Vec<f32> {
    let mut unit = slab((k, k), &naive::table(k, k, |i, j| f32::from(i == j)));
    unit.transform(0.0, square, &mut self::square((k, k)));
    unit.elements().to_vec()
}

/// Applies an operation to a fixed matrix, a slab and a view of a fixed matrix, and checks the bits of each.
macro_rules! each {
    ($m:ident $n:ident, $rows:expr, $expected:expr, |$s:ident| $operation:expr) => {{
        let (mut a, mut b, mut c) = (fixed::<$m, $n>($rows), slab(($m, $n), $rows), fixed::<$m, $n>($rows));
        each!(@ a, $expected, |$s| $operation);
        each!(@ b, $expected, |$s| $operation);
        each!(@ c.slab(), $expected, |$s| $operation);
    }};
    (@ $matrix:expr, $expected:expr, |$s:ident| $operation:expr) => {{
        let $s = &mut $matrix;
        $operation;
        assert_eq!(bits($s.elements()), bits($expected), "{:?}", RowMajor::shape($s));
    }};
}

#[test]
fn products_have_the_bits_of_the_naive_loops() {
    fn products<const M: usize, const N: usize>() {
        let mut random = Random::new((100 * M + N) as u64);
        for wide in [false, true] {
            let s = if wide { random.wide(M * N) } else { random.vector(M * N) };
            let [a, b, c] = [3.4445f32, -4.775, 2.0315];
            let k = M.min(N);
            let (g, gram, poly) = (naive::gram((M, N), &s), &mut square((M, N)), &mut square((M, N)));
            slab((M, N), &s).gram(gram, poly);
            assert_eq!(bits(&read(k, gram)), bits(&g), "gram {M}×{N}");
            let p = naive::multiply(k, c, (b, &g), (0.0, &g));
            slab((M, N), &s).multiply(c, (b, gram), (0.0, gram), poly);
            assert_eq!(bits(&read(k, poly)), bits(&p), "multiply {M}×{N}");
            // Two different factors, with every term and with only one.
            for (left, right) in [(0.0, a), (a, b), (0.0, 0.0)] {
                let third = &mut square((M, N));
                slab((M, N), &s).multiply(1.5, (left, poly), (right, gram), third);
                let expected = naive::multiply(k, 1.5, (left, &p), (right, &g));
                assert_eq!(bits(&read(k, third)), bits(&expected), "multiply {M}×{N}");
            }
            let expected = naive::transform((M, N), a, &s, &p);
            each!(M N, &s, &expected, |s| {
                s.gram(gram, poly);
                s.multiply(c, (b, gram), (0.0, gram), poly);
                s.transform(a, poly, gram);
            });
        }
    }
    shapes!(products);
}

#[test]
fn the_order_of_a_product_shows_in_its_bits() {
    let s = Random::new(7).wide(33 * 17);
    let mirrored: Vec<f32> = s.rchunks(17).flatten().copied().collect();
    let changed = naive::gram((33, 17), &s).into_iter().zip(naive::gram((33, 17), &mirrored)).filter(|(a, b)| a != b);
    assert!(changed.count() > 50, "the tests of products would not see another order");
}

#[test]
fn a_square_is_symmetric_to_the_bit() {
    fn symmetric<const M: usize, const N: usize>() {
        let s = Random::new(8).wide(M * N);
        let (k, gram, poly) = (M.min(N), &mut square((M, N)), &mut square((M, N)));
        slab((M, N), &s).gram(gram, poly);
        slab((M, N), &s).multiply(-0.7, (0.3, gram), (0.0, gram), poly);
        for square in [gram, poly] {
            let p = read(k, square);
            assert_eq!(p, naive::table(k, k, |i, j| p[j * k + i]));
        }
    }
    shapes!(symmetric);
}

#[test]
fn products_are_close_to_the_exact_ones() {
    fn close<const M: usize, const N: usize>() -> f64 {
        let mut random = Random::new((M + 100 * N) as u64);
        let (s, k) = (random.vector(M * N), M.min(N));
        let (gram, poly) = (&mut square((M, N)), &mut square((M, N)));
        slab((M, N), &s).gram(gram, poly);
        let exact = real((M, N), &s);
        let small = |a: &DMatrix<f64>| if M <= N { a * a.transpose() } else { a.transpose() * a };
        let error = real((k, k), &read(k, gram)) - small(&exact);
        let scale = small(&exact.abs());
        let g = real((k, k), &read(k, gram));
        slab((M, N), &s).multiply(0.25, (-0.5, gram), (0.0, gram), poly);
        let p = real((k, k), &read(k, poly));
        let squared = &p - (0.25 * &g * &g - 0.5 * &g);
        let squared = squared.component_div(&(0.25 * g.abs() * g.abs() + 0.5 * g.abs()));
        let mut moved = slab((M, N), &s);
        moved.transform(1.5, poly, gram);
        let by = |p: &DMatrix<f64>, s: &DMatrix<f64>| 1.5 * s + if M <= N { p * s } else { s * p };
        let moved = (real((M, N), moved.elements()) - by(&p, &exact)).component_div(&by(&p.abs(), &exact.abs()));
        [error.component_div(&scale), squared, moved].iter().map(|e| e.amax()).fold(0.0, f64::max)
    }
    let mut worst = Worst::default();
    macro_rules! see { ($($m:literal $n:literal),*) => { $(worst.see(close::<$m, $n>());)* } }
    see!(1 1, 1 37, 37 1, 3 7, 5 3, 4 4, 30 50, 50 7, 32 64, 64 16, 33 17);
    worst.at_most("products", tolerance::PRODUCT);
}

#[test]
fn elementwise_operations_round_each_product_and_sum_once() {
    fn elementwise<const M: usize, const N: usize>() {
        let mut random = Random::new((M * N) as u64);
        let (x, other) = (random.wide(M * N), random.wide(M * N));
        let zip = |f: fn(f32, f32) -> f32| -> Vec<f32> { x.iter().zip(&other).map(|(x, d)| f(*x, *d)).collect() };
        let like = |s: &dyn RowMajor| s.shape() == (M, N);
        let given: FixedMatrix<M, N> = fixed(&other);
        assert!(like(&given) && like(&slab((M, N), &x)));
        let mut a: FixedMatrix<M, N> = fixed(&x);
        let mut b = slab((M, N), &x);
        let expected = zip(|x, d| {
            let (p, q) = (0.9 * x, 0.1 * d);
            p + q
        });
        a.combine(0.9, 0.1, &given);
        b.combine(0.9, 0.1, &slab((M, N), &other));
        assert_eq!([bits(a.elements()), bits(b.elements())], [bits(&expected), bits(&expected)], "combine {M}×{N}");

        let direction = random.wide(M * N);
        let pulls = zip(|x, d| 0.3 * (x - d));
        let expected: Vec<f32> = direction.iter().zip(pulls).map(|(u, pull)| -0.7 * u + pull).collect();
        let mut a: FixedMatrix<M, N> = fixed(&direction);
        let mut b = slab((M, N), &direction);
        // Pulls from `other` towards the start x.
        let towards = oracle::words(&x);
        a.pull(-0.7, 0.3, &towards, &given);
        b.pull(-0.7, 0.3, &towards, &slab((M, N), &other));
        assert_eq!([bits(a.elements()), bits(b.elements())], [bits(&expected), bits(&expected)], "pull {M}×{N}");
        // Y equals X in both.
        let (mut y, mut z) = (fixed::<M, N>(&x), slab((M, N), &x));
        let f = |x: f32, y: f32, d: f32| (x * 0.75 + d * -3.0, (x - d) * 7.0 + y * y);
        let mut x_and_y = (fixed::<M, N>(&x), &mut y);
        Matrix::map(&mut x_and_y.0, x_and_y.1, &given, f);
        b.copy(&slab((M, N), &x));
        assert_eq!(bits(b.elements()), bits(&x), "copy {M}×{N}");
        Matrix::map(&mut b, &mut z, &slab((M, N), &other), f);
        for (found, expected) in [
            (x_and_y.0.elements(), zip(|x, d| x * 0.75 + d * -3.0)),
            (b.elements(), zip(|x, d| x * 0.75 + d * -3.0)),
            (y.elements(), zip(|x, d| (x - d) * 7.0 + x * x)),
            (z.elements(), zip(|x, d| (x - d) * 7.0 + x * x)),
        ] {
            assert_eq!(bits(found), bits(&expected), "map {M}×{N}");
        }

        let inner = lanes(&zip(|x, d| x * d)).to_bits();
        assert_eq!(fixed::<M, N>(&x).inner(&given).to_bits(), inner, "inner {M}×{N}");
        assert_eq!(slab((M, N), &x).inner(&slab((M, N), &other)).to_bits(), inner, "inner {M}×{N}");

        let mut signs = x.clone();
        signs[0] = -0.0;
        signs[M * N / 2] = -f32::from_bits(1);
        let expected: Vec<f32> = signs.iter().map(|e| if *e == 0.0 { 0.0 } else { e.signum() }).collect();
        let poison = vec![7.0; M * N];
        let (mut a, mut b) = (fixed::<M, N>(&poison), slab((M, N), &poison));
        a.sign(&fixed(&signs));
        b.sign(&slab((M, N), &signs));
        assert_eq!([bits(a.elements()), bits(b.elements())], [bits(&expected), bits(&expected)]);
    }
    shapes!(elementwise);
}

#[test]
fn normalised_groups_have_the_bits_of_the_naive_loop() {
    fn normalised<const M: usize, const N: usize>() {
        let mut random = Random::new((M ^ N << 8) as u64);
        for scale in [1.0, 1e-42, 1e-38, 1e-20, 1e37] {
            let mut s = random.vector(M * N);
            s.iter_mut().for_each(|e| *e *= scale);
            for zeros in [0, M / 2 * N] {
                // Zeros in the first half of the rows: groups of zeros, and columns that begin with zeros.
                s[..zeros].fill(-0.0);
                for group in GROUPS {
                    let expected = naive::normalise((M, N), group, &s);
                    each!(M N, &s, &expected, |s| s.normalise(group));
                }
            }
        }
    }
    shapes!(normalised);
}

#[test]
fn normalised_groups_have_norm_one_whatever_their_scale() {
    let mut random = Random::new(9);
    let mut worst = Worst::default();
    for scale in [1.0, 1e-42, 1e-30, 1e37] {
        for group in GROUPS {
            let mut s = slab((5, 9), &random.vector(45));
            s.elements_mut().iter_mut().for_each(|e| *e *= scale);
            s.normalise(group);
            for group in naive::groups((5, 9), group) {
                let square: f64 = group.into_iter().map(|i| f64::from(s.elements()[i]).powi(2)).sum();
                worst.see((square.sqrt() - 1.0).abs());
            }
        }
    }
    worst.at_most("normalised", tolerance::NORMALISED);
}

#[test]
fn a_group_of_zeros_stays_and_an_empty_matrix_is_no_matter() {
    for group in GROUPS {
        let mut s = [[0.0f32, -0.0, 0.0], [0.0; 3]];
        let before = bits(s.elements());
        s.normalise(group);
        assert_eq!(bits(s.elements()), before);
        for shape in [(0, 0), (0, 5), (5, 0)] {
            slab(shape, &[]).normalise(group);
        }
    }
}

#[test]
fn a_slab_never_reaches_beyond_its_memory() {
    assert!(Slab::new(2, 3, vec![0.0f32; 5]).is_none());
    assert!(Slab::new(usize::MAX, 2, vec![0.0f32; 5]).is_none());
    let mut slab = Slab::new(2, 2, vec![1.0f32, 2.0, 3.0, 4.0, 5.0]).unwrap();
    slab.combine(2.0, 0.0, &slab.clone());
    assert_eq!((RowMajor::shape(&slab), slab.elements()), ((2, 2), [2.0, 4.0, 6.0, 8.0].as_slice()));
}

proptest! {
    #![proptest_config(oracle::cases(300))]

    #[test]
    fn normalising_any_finite_matrix_gives_finite_elements_of_at_most_one(
        bits in proptest::collection::vec(any::<u32>(), 12)
    ) {
        let s: Vec<f32> = bits.into_iter().map(|b| f32::from_bits(b & !(1 << 23))).collect();
        for group in GROUPS {
            let mut s = slab((3, 4), &s);
            s.normalise(group);
            prop_assert!(s.elements().iter().all(|e| e.abs() <= 1.0 + f32::EPSILON));
        }
    }
}
