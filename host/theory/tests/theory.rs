//! Tests that the theory's experiments find wrong updates, and that their noise has its laws.

mod mistakes;

use graftage::error::Result;
use graftage::statistics::mean;
use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Rule};
use graftage_theory::implementation::{Core, Subject};
use graftage_theory::noise::{Law, Noise};
use graftage_theory::{Experiment, Extent, Results, Settings, Verdict, run};
use mistakes::{FromZero, Overshot};

/// Seed of all random numbers here.
const SEED: u64 = 1;

/// Returns the complaints of an experiment of the quick run.
fn complaints<S: Subject>(experiment: Experiment) -> Vec<String> {
    let settings = Settings { extent: Extent::Quick, seed: SEED, threads: 2, progress: &|_, _| () };
    let mut results = Results::new(Extent::Quick, SEED);
    results.add(run::<S>(experiment, &settings).unwrap());
    let Verdict { promised, complaints } = results.verdict();
    println!("seed {SEED}: {} of {promised} promises fail", complaints.len());
    complaints
}

/// Implementation that takes normalised gradients for every oracle.
struct Normalised(Core);

impl Subject for Normalised {
    fn start(shape: (usize, usize), geometry: Geometry, rule: &Rule, x: &[f32]) -> Result<Self> {
        Core::start(shape, Geometry { norm: Norm::Frobenius, ..geometry }, rule, x).map(Self)
    }
    fn step(&mut self, gradients: &[f32]) {
        self.0.step(gradients);
    }
    fn x(&self) -> &[f32] {
        self.0.x()
    }
    fn y(&self) -> &[f32] {
        self.0.y()
    }
    fn m(&self) -> &[f32] {
        self.0.m()
    }
}

/// Asserts that one of the complaints begins with `beginning`.
#[track_caller]
fn assert_complains(complaints: &[String], beginning: &str) {
    assert!(complaints.iter().any(|complaint| complaint.starts_with(beginning)), "{beginning}: {complaints:#?}");
}

#[test]
fn a_transport_that_is_one_percent_too_long_is_found_out() {
    let complaints = complaints::<Overshot<Core>>(Experiment::Lag);
    assert_complains(&complaints, "measured/predicted, transported, 4×8, η/α = 0.01");
    // Without transport there is nothing to overshoot.
    assert!(!complaints.iter().any(|complaint| complaint.contains("plain")), "{complaints:#?}");
}

#[test]
fn a_momentum_that_starts_at_zero_is_found_out() {
    let complaints = complaints::<FromZero<Core>>(Experiment::Lag);
    assert_complains(&complaints, "measured/predicted at the start, transported, 4×8, η/α = 0.01");
    assert_complains(&complaints, "measured/predicted at the start, plain, 4×8, η/α = 0.01");
}

#[test]
fn normalised_gradients_are_found_out() {
    let complaints = complaints::<Normalised>(Experiment::Rank);
    assert_complains(&complaints, "slope in r, fixed N/r, plain");
    assert_complains(&complaints, "slope in r, fixed N/r, transported");
}

/// Estimates the characteristic function E e^{iuζ} of a law, as a mean over draws.
fn characteristic(law: Law, u: f64) -> (f64, f64) {
    const DRAWS: usize = 400_000;
    let (noise, mut generator) = (Noise::from(law), Generator::new(SEED, 9));
    let draws: Vec<f64> = (0..DRAWS).map(|_| noise.draw(&mut generator)).collect();
    (mean(draws.iter().map(|z| (u * z).cos())), mean(draws.iter().map(|z| (u * z).sin())))
}

#[test]
fn noise_has_the_laws_that_it_is_named_after() {
    // Means of 400,000 numbers in [−1, 1] are within 4 deviations, 0.0064.
    let close = |law: Law, u: f64, expected: (f64, f64)| {
        let found = characteristic(law, u);
        let distance = (found.0 - expected.0).abs().max((found.1 - expected.1).abs());
        assert!(distance < 0.0064, "seed {SEED}, {law:?} at {u}: {found:?}, {expected:?}");
    };
    for u in [0.3, 1.0, 2.0f64] {
        close(Law::Gaussian, u, ((-u * u / 2.0).exp(), 0.0));
        for p in [1.2, 1.5, 1.8f64] {
            // exp(−u^p (1 − i tan(πp/2))) of scale 1, skewness 1 and mean 0 (Samorodnitsky and Taqqu 1994, definition
            // 1.1.6).
            let (size, angle) = ((-u.powf(p)).exp(), u.powf(p) * (std::f64::consts::FRAC_PI_2 * p).tan());
            close(Law::Stable { p }, u, (size * angle.cos(), size * angle.sin()));
            // Two values with mean 0, one of which has the probability q, and E|ζ|^p = (1−q)q^(p−1) + (1−q)^p.
            let q = 0.1f64;
            let s = q.powf((p - 1.0) / p);
            let (high, low) = (s * (1.0 - q) / q, -s);
            let moment = q * high.powf(p) + (1.0 - q) * s.powf(p);
            assert!((moment - ((1.0 - q).powf(p) + (1.0 - q) * q.powf(p - 1.0))).abs() < 1e-12);
            let part = |f: fn(f64) -> f64| q * f(u * high) + (1.0 - q) * f(u * low);
            close(Law::Spike { p, q }, u, (part(f64::cos), part(f64::sin)));
        }
    }
}
