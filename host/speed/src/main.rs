//! Times of core's products on this processor, one thread, beside those of faer and ndarray. `cargo xtask bench core`
//! prints this table.
//!
//! Each time is the least of many runs. The runs of both sides alternate, so that a ratio compares the same minute; the
//! times themselves hold for this machine only. `--json` prints an array of {name, ours, peer, ratio, goal}, times in
//! microseconds.

mod simd;

use std::hint::black_box;
use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use graftage_core::matrix::{Group, Matrix, RowMajor, Slab, kernel};
use graftage_core::polar::{Quintics, polar};
use graftage_core::random::Generator;
use ndarray::{Array2, ArrayView2, linalg::general_mat_mul};
use simd::Wide;

/// One comparison, with times in microseconds.
#[derive(serde::Serialize)]
struct Row {
    name: String,
    ours: f64,
    peer: f64,
    /// Peer's time divided by ours. Above 1, core is faster.
    ratio: f64,
    goal: f64,
}

fn main() {
    let mut rows = Vec::new();
    for (n, goal) in [(64, 0.8), (128, 0.8), (256, 0.8), (512, 0.8), (63, 0.6), (127, 0.6), (255, 0.6)] {
        rows.push(product(n, goal));
    }
    for n in [64, 128, 256, 512] {
        rows.push(avx2_product(n));
    }
    for n in [32, 64, 128, 256] {
        rows.push(polar_steps(n));
    }
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", serde_json::json!(rows));
        return;
    }
    println!("{:<44} {:>10} {:>10} {:>6} {:>6}", "one thread", "ours, µs", "peer, µs", "ratio", "goal");
    for Row { name, ours, peer, ratio, goal } in rows {
        println!("{name:<44} {ours:>10.1} {peer:>10.1} {ratio:>6.2} {goal:>6.2}");
    }
}

fn random(length: usize) -> Vec<f32> {
    let mut generator = Generator::new(1, 1);
    (0..length).map(|_| 2.0 * generator.uniform() - 1.0).collect()
}

/// Measures the least time of each side, in runs that alternate for a second or so.
fn compare(name: String, goal: f64, mut ours: impl FnMut(), mut peer: impl FnMut()) -> Row {
    let time = |f: &mut dyn FnMut()| {
        let started = Instant::now();
        f();
        started.elapsed().as_secs_f64() * 1e6
    };
    let (mut best_ours, mut best_peer) = (f64::INFINITY, f64::INFINITY);
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < 1.0 {
        best_ours = best_ours.min(time(&mut ours));
        best_peer = best_peer.min(time(&mut peer));
    }
    Row { name, ours: best_ours, peer: best_peer, ratio: best_peer / best_ours, goal }
}

/// Computes faer's product of square matrices, row by row.
fn faer_product(n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    let of = |e| MatRef::from_row_major_slice(e, n, n);
    matmul(MatMut::from_row_major_slice_mut(c, n, n), Accum::Replace, of(a), of(b), 1.0, Par::Seq);
}

fn product(n: usize, goal: f64) -> Row {
    let (a, b) = (random(n * n), random(n * n));
    let (mut c, mut d, mut scratch) = (vec![0.0; n * n], vec![0.0; n * n], vec![0.0; simd::product_scratch(n, n)]);
    compare(
        format!("product {n}×{n}, by faer"),
        goal,
        || simd::product((n, n, n), black_box(&a), black_box(&b), &mut c, &mut scratch),
        || faer_product(n, black_box(&a), black_box(&b), &mut d),
    )
}

#[multiversion::multiversion(targets("x86_64+avx2"))]
fn product_in_sixteens(n: usize, a: &[f32], b: &[f32], c: &mut [f32], scratch: &mut [f32]) {
    kernel::product::<16>((n, n, n), a, b, c, scratch);
}

fn avx2_product(n: usize) -> Row {
    let (a, b) = (random(n * n), random(n * n));
    let (mut c, mut d, mut scratch) = (vec![0.0; n * n], vec![0.0; n * n], vec![0.0; simd::product_scratch(n, n)]);
    compare(
        format!("product {n}×{n} with AVX2 alone, by faer"),
        0.4,
        || product_in_sixteens(n, black_box(&a), black_box(&b), &mut c, &mut scratch),
        || faer_product(n, black_box(&a), black_box(&b), &mut d),
    )
}

/// Compares five quintics of Polar Express with the same ones built on ndarray's product.
fn polar_steps(n: usize) -> Row {
    let s = random(n * n);
    let mut squares = [(); 3].map(|()| vec![0.0; simd::square(n)]);
    let mut start = Slab::new(n, n, s.clone()).expect("n² numbers");
    start.normalise(Group::Whole);
    let start = Array2::from_shape_vec((n, n), start.elements().to_vec()).expect("n² numbers");
    compare(
        format!("five polar steps {n}×{n}, by ndarray"),
        1.0,
        || {
            let mut ours = Wide(Slab::new(n, n, s.clone()).expect("n² numbers"));
            let [first, second, third] = &mut squares;
            polar(&mut ours, Quintics::PolarExpress5, &mut [first, second, third]);
            black_box(ours);
        },
        || {
            let mut x = start.clone();
            for (a, b, c) in Quintics::PolarExpress5.coefficients() {
                let gram = x.dot(&x.t());
                let mut p = gram.clone();
                add_product(c, gram.view(), gram.view(), b, &mut p);
                let mut next = x.clone();
                add_product(1.0, p.view(), x.view(), a, &mut next);
                x = next;
            }
            black_box(x);
        },
    )
}

/// Computes c ← alpha·a b + beta·c.
fn add_product(alpha: f32, a: ArrayView2<f32>, b: ArrayView2<f32>, beta: f32, c: &mut Array2<f32>) {
    general_mat_mul(alpha, &a, &b, beta, c);
}
