//! Test functions on which the exponents show.

use super::implementation::{Gauge, Subject, polar_geometry};
use super::noise::{Law, Noise, uniform};
use graftage::error::Result;
use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Rule};
use std::f64::consts::TAU;

/// F(X) = ⟨C, X⟩ + Σ a·sin(⟨G_k, X⟩ + φ_k), k = 1, …, 8, with C = polar(Gaussian)/r, so that ‖C‖_nuc = 1, G_k Gaussian
/// with variance 1/r, and φ_k uniform. It decreases without end, and its derivatives are known. r = m ≤ n.
#[derive(Debug)]
pub struct Waves {
    /// Shape (r, n).
    pub shape: (usize, usize),
    amplitude: f64,
    linear: Vec<f64>,
    waves: Vec<(Vec<f64>, f64)>,
}

/// Number of sines.
const WAVES: usize = 8;

impl Waves {
    /// Draws a random function.
    ///
    /// # Errors
    /// Does not fail for a shape that fits into memory.
    pub fn new(shape: (usize, usize), amplitude: f64, generator: &mut Generator) -> Result<Self> {
        let (r, size) = (shape.0 as f64, shape.0 * shape.1);
        let noise = Noise::from(Law::Gaussian);
        let random: Vec<f32> = (0..size).map(|_| noise.draw(generator) as f32).collect();
        let mut linear = vec![0.0; size];
        Gauge::new(shape)?.polar(&random, &mut linear);
        linear.iter_mut().for_each(|c| *c /= r);
        let waves = (0..WAVES).map(|_| {
            let wave = (0..size).map(|_| noise.draw(generator) / r.sqrt()).collect();
            (wave, TAU * uniform(generator))
        });
        Ok(Self { shape, amplitude, linear, waves: waves.collect() })
    }

    /// Computes into ← ∇F(X) = C + Σ a·cos(⟨G_k, X⟩ + φ_k)·G_k.
    pub fn gradient(&self, x: &[f32], into: &mut [f64]) {
        into.copy_from_slice(&self.linear);
        self.add(x, into, |phase, _| self.amplitude * phase.cos());
    }

    /// Computes into ← ∇²F(X)\[U\] = −Σ a·sin(⟨G_k, X⟩ + φ_k)⟨G_k, U⟩·G_k.
    pub fn second(&self, x: &[f32], u: &[f64], into: &mut [f64]) {
        into.fill(0.0);
        self.add(x, into, |phase, wave| -self.amplitude * phase.sin() * inner(wave, u));
    }

    /// Computes into ← ∇³F(X)[U, U] = −Σ a·cos(⟨G_k, X⟩ + φ_k)⟨G_k, U⟩²·G_k.
    pub fn third(&self, x: &[f32], u: &[f64], into: &mut [f64]) {
        into.fill(0.0);
        self.add(x, into, |phase, wave| -self.amplitude * phase.cos() * inner(wave, u).powi(2));
    }

    fn add(&self, x: &[f32], into: &mut [f64], factor: impl Fn(f64, &[f64]) -> f64) {
        for (wave, shift) in &self.waves {
            let inner: f64 = wave.iter().zip(x).map(|(g, x)| g * f64::from(*x)).sum();
            let factor = factor(inner + shift, wave);
            into.iter_mut().zip(wave).for_each(|(to, g)| *to += factor * g);
        }
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A bowl of rank r: F(X) = w Σ ψ(⟨u_i v_iᵀ, X⟩), i = 1, …, r, with ψ(x) = √(1 + x²) − 1 and orthonormal u_i and v_i.
/// It starts at X = s·Σ u_i v_iᵀ, and every gradient has noise ζ u_i v_iᵀ with one random i.
///
/// In the coordinates x_i = ⟨u_i v_iᵀ, X⟩ everything stays diagonal, and there the spectral oracle is that of the sign
/// norm. An r-vector can therefore represent an r×n matrix. [`Frame`] turns it into a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Bowl<'a> {
    /// Rank r.
    pub rank: usize,
    /// Weight w.
    pub weight: f64,
    /// Start s.
    pub start: f64,
    /// Scale σ, which multiplies the noise.
    pub sigma: f64,
    /// True for spectral geometry and nuclear norm; false for the Frobenius norm in both roles.
    pub spectral: bool,
    /// Frame that maps coordinates to a matrix. Without it, the coordinates are the weights.
    pub frame: Option<&'a Frame>,
}

/// Means of the gradient's dual norm at X_t, from which step t starts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Errors {
    /// Mean over the whole run.
    pub whole: f64,
    /// Mean over the second half, in which the start no longer matters.
    pub half: f64,
}

impl Bowl<'_> {
    /// The function ψ of one number.
    pub const LINE: Self = Self { rank: 1, weight: 1.0, start: 1.0, sigma: 1.0, spectral: true, frame: None };

    /// Takes `steps` steps with one sample each.
    ///
    /// # Errors
    /// Returns an error if the rule is refused.
    pub fn run<S: Subject>(&self, rule: &Rule, law: Law, steps: u64, generator: &mut Generator) -> Result<Errors> {
        let Self { rank, weight, start, sigma, spectral, frame } = *self;
        let noise = Noise::from(law);
        let (shape, geometry) = match frame {
            Some(Frame { shape, .. }) => (*shape, polar_geometry(*shape)),
            None if spectral => ((1, rank), Geometry { norm: Norm::SignPlain, radius: 1.0 }),
            None => ((1, rank), Geometry { norm: Norm::Frobenius, radius: 1.0 }),
        };
        let mut gradient = vec![0.0; shape.0 * shape.1];
        let mut coordinates = vec![start; rank];
        embed(frame, &coordinates, &mut gradient);
        let mut subject = S::start(shape, geometry, rule, &gradient)?;
        let slope = |x: f64| weight * x / (1.0 + x * x).sqrt();
        let mut sums = [0.0; 2];
        for t in 0..steps {
            project(frame, subject.x(), &mut coordinates);
            let slopes = coordinates.iter().map(|x| slope(*x));
            let error: f64 =
                if spectral { slopes.map(f64::abs).sum() } else { slopes.map(|g| g * g).sum::<f64>().sqrt() };
            sums[usize::from(2 * t >= steps)] += error;
            project(frame, subject.y(), &mut coordinates);
            coordinates.iter_mut().for_each(|x| *x = slope(*x));
            coordinates[generator.below(rank as u32) as usize] += sigma * noise.draw(generator);
            embed(frame, &coordinates, &mut gradient);
            subject.step(&gradient);
        }
        let second = steps - steps.div_ceil(2);
        Ok(Errors { whole: (sums[0] + sums[1]) / steps as f64, half: sums[1] / second as f64 })
    }
}

/// Orthonormal vectors u_i in r dimensions and v_i in n dimensions.
#[derive(Debug)]
pub struct Frame {
    /// Shape (r, n).
    shape: (usize, usize),
    /// Products u_i v_iᵀ one after another, each row by row.
    products: Vec<Vec<f64>>,
}

impl Frame {
    /// Draws a random frame for r×2r matrices: U and V are the polar factors of Gaussian matrices.
    ///
    /// # Errors
    /// Does not fail for a rank that fits into memory.
    pub fn new(rank: usize, generator: &mut Generator) -> Result<Self> {
        let noise = Noise::from(Law::Gaussian);
        let mut orthonormal = |shape: (usize, usize)| -> Result<Vec<f64>> {
            let random: Vec<f32> = (0..shape.0 * shape.1).map(|_| noise.draw(generator) as f32).collect();
            let mut polar = vec![0.0; random.len()];
            Gauge::new(shape)?.polar(&random, &mut polar);
            Ok(polar)
        };
        let shape = (rank, 2 * rank);
        let (u, v) = (orthonormal((rank, rank))?, orthonormal(shape)?);
        let product = |(u, v): (&[f64], &[f64])| u.iter().flat_map(|u| v.iter().map(move |v| u * v)).collect();
        let products = u.chunks_exact(rank).zip(v.chunks_exact(2 * rank)).map(product).collect();
        Ok(Self { shape, products })
    }
}

/// Computes the matrix of these coordinates.
fn embed(frame: Option<&Frame>, coordinates: &[f64], into: &mut [f32]) {
    let Some(Frame { products, .. }) = frame else {
        into.iter_mut().zip(coordinates).for_each(|(to, from)| *to = *from as f32);
        return;
    };
    for (index, to) in into.iter_mut().enumerate() {
        *to = products.iter().zip(coordinates).map(|(product, x)| product[index] * x).sum::<f64>() as f32;
    }
}

/// Computes the coordinates of a matrix.
fn project(frame: Option<&Frame>, matrix: &[f32], into: &mut [f64]) {
    let Some(Frame { products, .. }) = frame else {
        into.iter_mut().zip(matrix).for_each(|(to, from)| *to = f64::from(*from));
        return;
    };
    for (to, product) in into.iter_mut().zip(products) {
        *to = product.iter().zip(matrix).map(|(p, x)| p * f64::from(*x)).sum();
    }
}
