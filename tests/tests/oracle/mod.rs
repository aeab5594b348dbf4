//! Float64 oracle: the method written from its mathematics, with helpers for the tests.
//!
//! It uses no code of `graftage-core`, so agreement with core is agreement of two independent sources.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod layers;

use nalgebra::DMatrix;
use proptest::test_runner::{Config, RngSeed};

/// Tolerances for the distance from the oracle: about twice the largest error measured over all cases of the tests that
/// use them. `cargo test -p graftage-tests -- --nocapture` prints the measured errors.
pub mod tolerance {
    /// Eight-lane sum of up to 5000 numbers, relative to Σ|e|. Measured 3.4e-8.
    pub const SUM: f64 = 7e-8;
    /// exp and ln, in units in the last place, as promised. Measured 0.86 and 0.81.
    pub const ULPS: f64 = 1.0;
    /// Products of up to 64 terms, relative to the product of the absolute values. Measured 2.8e-7.
    pub const PRODUCT: f64 = 6e-7;
    /// Distance of a normalised group's norm from 1. Measured 7.4e-8.
    pub const NORMALISED: f64 = 1.5e-7;
    /// |σ − 1| of the composed quintics in exact arithmetic on [1e-3, 1]. Measured 1.0e-15, the rounding of float64.
    pub const POLYNOMIAL: f64 = 3e-15;
    /// Polar factor if σ_min ≥ σ_max/20, in the spectral norm: 7.4e-6. Initial weights: 1.7e-6. lmo: 4.0e-6.
    pub const POLAR: f64 = 1.5e-5;
    /// Each sequence of quintics against its polynomial in float64, for singular values down to 1e-5, in the spectral
    /// norm. Measured 1.7e-5, 1.9e-5, 2.3e-4, 1.8e-4, 1.9e-4, 2.2e-3.
    pub const QUINTICS: [f64; 6] = [3.5e-5, 4e-5, 5e-4, 4e-4, 4e-4, 5e-3];
    /// Converged quintics on orthogonal matrices. Measured 3.9e-6.
    pub const IDEMPOTENCE: f64 = 8e-6;
    /// Spectral distance of polar(Sᵀ) from polar(S)ᵀ. Measured 1.4e-5.
    pub const TRANSPOSED: f64 = 3e-5;
    /// Singular values of a polar factor that should be 0. Measured 2.5e-4: the rounding of 1 times Π a = 6400.
    pub const RANK: f64 = 5e-4;
    /// ‖lmo(G)‖ − 1: measured 2.1e-7. ‖X − A‖λ/ρ − 1 under a pull: 4.5e-8.
    pub const OVERSHOOT: f64 = 5e-7;
    /// ‖Z‖ itself for all but spectral norms, and how far a power iteration may exceed it.
    pub const NORM: f64 = 5e-7;
    /// Relative amount by which a power iteration may fall short of the spectral norm.
    pub const SPECTRAL: f64 = 1e-2;
    /// ⟨G, lmo(G)⟩ + ‖G‖_*, relative to ‖G‖_*, for well-conditioned G. Measured 1.4e-7.
    pub const DUAL: f64 = 3e-7;
    /// Dual norm and Frank–Wolfe gap with the converged quintics, relative to the dual norm. Measured 5.1e-7.
    pub const GAP: f64 = 1e-6;
    /// X and Y over 50 steps, relative to radius and norm factor, and M. Measured 3.9e-5.
    pub const TRAJECTORY: f64 = 7e-5;
    /// Length of a step relative to its bound, − 1. Measured 6.4e-6: the rounding of an X that has grown to 25 radii.
    pub const MOVEMENT: f64 = 1.3e-5;
    /// Proved properties of the pull, in float64: measured 3.8e-14.
    pub const PROVED: f64 = 8e-14;
    /// Distance from the start relative to its bound, − 1: measured 9.4e-7.
    pub const BALL: f64 = 2e-6;
    /// Average of the query points against X, relative to the radius: measured 2.3e-8.
    pub const AVERAGE: f64 = 5e-8;
    /// Length of a capped error relative to the cap, − 1, and the sum of an error: measured 1.7e-7.
    pub const CAPPED: f64 = 3.5e-7;
    /// Gradient against central differences, relative to its largest element: measured 1.6e-7. Momentum: 1.2e-7.
    pub const GRADIENT: f64 = 3.5e-7;
    /// Outputs of a layer, relative to the largest. Measured 3.7e-7.
    pub const OUTPUTS: f64 = 7.5e-7;
    /// Gradients of one or more layers, relative to the largest element. Measured 9.0e-7.
    pub const LAYERS: f64 = 1.8e-6;
    /// tanh, in units in the last place, as promised. Measured 2.2.
    pub const TANH: f64 = 3.0;
    /// Micromath's exp on [-87, 0], relative, as promised. Measured 2.4e-3.
    pub const FAST_EXP: f64 = 2.5e-3;
    /// Micromath's ln on [1, 65536], as promised. Measured 6.2e-5.
    pub const FAST_LN: f64 = 7e-5;
    /// tanh of micromath's exp, as promised. Measured 1.06e-3.
    pub const FAST_TANH: f64 = 1.1e-3;
    /// Loss, relative to 1 + loss: measured 5.6e-8. Probability: 7.8e-8.
    pub const LOSS: f64 = 1.6e-7;
}

/// Largest error that a test has seen, for comparison with a tolerance.
#[derive(Default)]
pub struct Worst(f64);

impl Worst {
    /// Records an error; NaN counts as infinite.
    pub fn see(&mut self, error: f64) {
        self.0 = if error.is_nan() { f64::INFINITY } else { self.0.max(error) };
    }

    /// Fails if an error above the tolerance was recorded.
    #[track_caller]
    pub fn at_most(self, what: &str, tolerance: f64) {
        println!("{what}: measured {:.3e}, tolerated {tolerance:.1e}", self.0);
        assert!(self.0 <= tolerance, "{what}: {} > {tolerance}", self.0);
    }
}

/// Returns a configuration of proptest with a fixed seed.
pub fn cases(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(26), failure_persistence: None, ..Config::default() }
}

/// Random numbers for tests: SplitMix64 (Steele, Lea and Flood 2014). Prints its seed if the test fails.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Returns a number in [−1, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
    /// Returns a number in [0, n).
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
    pub fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.uniform() as f32).collect()
    }
    /// Returns numbers of all magnitudes from 2^−20 to 2^20, so that sums in another order have other bits.
    pub fn wide(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.uniform() * (20.0 * self.uniform()).exp2()) as f32).collect()
    }
    pub fn matrix(&mut self, m: usize, n: usize) -> DMatrix<f64> {
        DMatrix::from_fn(m, n, |_, _| self.uniform())
    }
    /// Returns a matrix with singular values from `low` to 1, rounded to binary32.
    pub fn conditioned(&mut self, (m, n): (usize, usize), low: f64) -> Vec<f32> {
        let mut svd = self.matrix(m, n).svd(true, true);
        let count = svd.singular_values.len().max(2) - 1;
        for (i, s) in svd.singular_values.iter_mut().enumerate() {
            *s = low.powf(i as f64 / count as f64);
        }
        rounded(&svd.recompose().unwrap())
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.seed);
        }
    }
}

/// Converts a matrix, given row by row, exactly.
pub fn real((m, n): (usize, usize), rows: &[f32]) -> DMatrix<f64> {
    DMatrix::from_row_iterator(m, n, rows.iter().map(|e| f64::from(*e)))
}

/// Returns a matrix row by row, rounded to binary32.
pub fn rounded(a: &DMatrix<f64>) -> Vec<f32> {
    a.transpose().iter().map(|e| *e as f32).collect()
}

/// Returns numbers as words, in the format of an image.
pub fn words(numbers: &[f32]) -> Vec<[u8; 4]> {
    numbers.iter().map(|e| e.to_le_bytes()).collect()
}

pub fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|e| e.to_bits()).collect()
}

/// Returns the eight-lane sum, computed lane by lane.
pub fn lanes(elements: &[f32]) -> f32 {
    let lane = |first: usize| {
        let mut sum = 0.0;
        for i in (first..elements.len()).step_by(8) {
            sum += elements[i];
        }
        sum
    };
    let pair = |first| lane(first) + lane(first + 4);
    (pair(0) + pair(2)) + (pair(1) + pair(3))
}

/// Returns the distance in units in the last place of the nearest binary32 number.
pub fn ulps(found: f32, exact: f64) -> f64 {
    let magnitude = (exact.abs() as f32).max(f32::MIN_POSITIVE);
    let ulp = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
    (f64::from(found) - exact).abs() / ulp
}

/// Returns the singular values of a finite matrix; for any other the decomposition would never end.
#[track_caller]
pub fn singular_values(a: &DMatrix<f64>) -> Vec<f64> {
    assert!(a.iter().all(|e| e.is_finite()), "not finite: {a}");
    a.clone().svd(false, false).singular_values.iter().copied().collect()
}

/// Returns σ_max.
pub fn spectral(a: &DMatrix<f64>) -> f64 {
    singular_values(a).into_iter().fold(0.0, f64::max)
}

/// Returns U Vᵀ of a matrix of full rank; 0 for the zero matrix.
pub fn polar(a: &DMatrix<f64>) -> DMatrix<f64> {
    if a.amax() == 0.0 {
        return a.clone();
    }
    let svd = a.clone().svd(true, true);
    svd.u.unwrap() * svd.v_t.unwrap()
}

/// Norm of m×n matrices.
#[derive(Clone, Copy, Debug)]
pub enum Norm {
    /// σ_max divided by f.
    Spectral(Factor),
    /// Largest element divided by f.
    Sign(Factor),
    /// Largest 2-norm of a column, divided by f.
    Column(Factor),
    /// Largest 2-norm of a row, divided by f.
    Row(Factor),
    /// Frobenius norm divided by f.
    Whole(Factor),
}

/// Factor f of a norm for m rows and n columns, by which the extreme points of its ball are scaled.
pub type Factor = fn(f64, f64) -> f64;

impl Norm {
    fn factor(self, z: &DMatrix<f64>) -> f64 {
        let (Self::Spectral(f) | Self::Sign(f) | Self::Column(f) | Self::Row(f) | Self::Whole(f)) = self;
        f(z.nrows() as f64, z.ncols() as f64)
    }
    /// Returns ‖Z‖.
    pub fn of(self, z: &DMatrix<f64>) -> f64 {
        let largest = match self {
            Self::Spectral(_) => spectral(z),
            Self::Sign(_) => z.amax(),
            Self::Column(_) => z.column_iter().map(|column| column.norm()).fold(0.0, f64::max),
            Self::Row(_) => z.row_iter().map(|row| row.norm()).fold(0.0, f64::max),
            Self::Whole(_) => z.norm(),
        };
        largest / self.factor(z)
    }
    /// Returns the maximum of ⟨S, Z⟩ over ‖Z‖ ≤ 1.
    pub fn dual(self, s: &DMatrix<f64>) -> f64 {
        let sum = match self {
            Self::Spectral(_) => singular_values(s).iter().sum(),
            Self::Sign(_) => s.iter().map(|e| e.abs()).sum(),
            Self::Column(_) => s.column_iter().map(|column| column.norm()).sum(),
            Self::Row(_) => s.row_iter().map(|row| row.norm()).sum(),
            Self::Whole(_) => s.norm(),
        };
        let sum: f64 = sum;
        sum * self.factor(s)
    }
    /// Returns argmin over ‖Z‖ ≤ 1 of ⟨S, Z⟩; 0 if S is 0.
    pub fn lmo(self, s: &DMatrix<f64>) -> DMatrix<f64> {
        let by = |norm: f64| if norm == 0.0 { 1.0 } else { norm };
        let mut z = s.clone();
        match self {
            Self::Spectral(_) => z = polar(s),
            Self::Sign(_) => z.apply(|e| *e = if *e == 0.0 { 0.0 } else { e.signum() }),
            Self::Column(_) => z.column_iter_mut().for_each(|mut column| column /= by(column.norm())),
            Self::Row(_) => z.row_iter_mut().for_each(|mut row| row /= by(row.norm())),
            Self::Whole(_) => z /= by(s.norm()),
        }
        -self.factor(s) * z
    }
}

/// Law of transport.
#[derive(Clone, Copy, Debug)]
pub enum Law {
    Fixed(f64),
    Lag(f64),
    Alignment(f64),
    Nesterov,
}

/// Transported Scion that keeps every quantity of its equations.
pub struct Scion {
    pub norm: Norm,
    pub radius: f64,
    /// η_t and β_t for t = 1, 2, …
    pub step: fn(u32) -> f64,
    pub momentum: fn(u32) -> f64,
    pub law: Law,
    /// Strength λ of the pull, 0 for none, and the point to which it pulls.
    pub pull: f64,
    pub anchor: DMatrix<f64>,
    pub t: u32,
    pub x: DMatrix<f64>,
    pub d: DMatrix<f64>,
    pub m: DMatrix<f64>,
    /// Short average of the iterates, for the lag law.
    pub z: DMatrix<f64>,
    /// Cosines between successive displacements, for the alignment law.
    pub cosines: Vec<f64>,
}

impl Scion {
    /// Returns β_t.
    fn beta(&self) -> f64 {
        if self.t == 1 { 0.0 } else { (self.momentum)(self.t) }
    }
    /// Returns Y_t. Z is still that of step t − 1 here.
    pub fn y(&self) -> DMatrix<f64> {
        let c = self.beta() / (1.0 - self.beta());
        match self.law {
            Law::Fixed(theta) => &self.x + theta * c * &self.d,
            Law::Lag(memory) => {
                let memory = memory.min(self.beta());
                &self.z + (1.0 - memory) / (1.0 - self.beta()) * (&self.x - &self.z)
            }
            Law::Alignment(q) => {
                // Average of the cosines with weights that decay by 0.9 and sum to 1.
                let (mut mean, mut weight) = (0.0, 0.0);
                for cosine in &self.cosines {
                    (mean, weight) = (0.9 * mean + 0.1 * cosine, 0.9 * weight + 0.1);
                }
                let a = if weight == 0.0 { 0.0 } else { mean / weight };
                &self.x + c / (1.0 + q * c * (1.0 - a)) * &self.d
            }
            Law::Nesterov => self.x.clone(),
        }
    }
    /// Computes X_{t+1}, M_{t+1} and D_{t+1} from G_t.
    pub fn advance(&mut self, gradient: &DMatrix<f64>) {
        let beta = self.beta();
        if let Law::Lag(memory) = self.law {
            self.z += (1.0 - memory.min(beta)) * (&self.x - &self.z);
        }
        self.m = beta * &self.m + (1.0 - beta) * gradient;
        let argument = match self.law {
            Law::Nesterov => beta * &self.m + (1.0 - beta) * gradient,
            _ => self.m.clone(),
        };
        let step = (self.step)(self.t);
        let pulled = step * self.pull * (&self.anchor - &self.x);
        let next = &self.x + pulled + step * self.radius * self.norm.lmo(&argument);
        let d = &next - &self.x;
        if self.t > 1 {
            self.cosines.push(d.dot(&self.d) / (d.norm() * self.d.norm()));
        }
        (self.d, self.x) = (d, next);
        self.t += 1;
    }
}

/// PCG-XSH-RR 64/32, written from its definition (O'Neill 2014).
pub struct Pcg {
    state: u64,
    increment: u64,
}

impl Pcg {
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut pcg = Self { state: 0, increment: stream << 1 | 1 };
        pcg.bits();
        pcg.state = pcg.state.wrapping_add(seed);
        pcg.bits();
        pcg
    }
    pub fn bits(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(self.increment);
        ((((old >> 18) ^ old) >> 27) as u32).rotate_right((old >> 59) as u32)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (u128::from(self.bits()) * n as u128 / (1 << 32)) as usize
    }
}

/// Returns the CRC-32/ISO-HDLC, computed bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Returns xxHash64 with seed 0, computed from its specification.
pub fn xxh64(bytes: &[u8]) -> u64 {
    const P: [u64; 5] = [
        0x9e37_79b1_85eb_ca87,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0x85eb_ca77_c2b2_ae63,
        0x27d4_eb2f_1656_67c5,
    ];
    let round = |acc: u64, word: u64| acc.wrapping_add(word.wrapping_mul(P[1])).rotate_left(31).wrapping_mul(P[0]);
    let (stripes, mut rest) = bytes.as_chunks::<32>();
    let mut hash = P[4];
    if !stripes.is_empty() {
        let mut acc = [P[0].wrapping_add(P[1]), P[1], 0, P[0].wrapping_neg()];
        for stripe in stripes {
            for (acc, word) in acc.iter_mut().zip(stripe.as_chunks::<8>().0) {
                *acc = round(*acc, u64::from_le_bytes(*word));
            }
        }
        hash = (0..4).map(|i| acc[i].rotate_left([1, 7, 12, 18][i])).fold(0, u64::wrapping_add);
        for acc in acc {
            hash = (hash ^ round(0, acc)).wrapping_mul(P[0]).wrapping_add(P[3]);
        }
    }
    hash = hash.wrapping_add(bytes.len() as u64);
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(P[0]).wrapping_add(P[3]);
        rest = tail;
    }
    if let Some((word, tail)) = rest.split_first_chunk::<4>() {
        hash = (hash ^ u64::from(u32::from_le_bytes(*word)).wrapping_mul(P[0]))
            .rotate_left(23)
            .wrapping_mul(P[1])
            .wrapping_add(P[2]);
        rest = tail;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(P[4])).rotate_left(11).wrapping_mul(P[0]);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(P[1]);
    hash = (hash ^ hash >> 29).wrapping_mul(P[2]);
    hash ^ hash >> 32
}
