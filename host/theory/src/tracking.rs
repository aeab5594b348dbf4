//! Tracking: lag and noise together, and the α that balances them.
//!
//! A point moves with step size η. The lag is of order (η/α)^k, with k = 1 plain and 2 with transport; the noise is
//! of order α^((p−1)/p). Their sum is smallest at α ~ η^(p/(2p−1)), where it is η^((p−1)/(2p−1)); with transport
//! at α ~ η^(2p/(3p−1)), where it is η^(2(p−1)/(3p−1)). On this problem a plain average reaches its bound; the lag in
//! a bowl would be smaller.

use super::fit::{Estimate, PowerLaw, jackknife, median, smallest};
use super::implementation::{Gauge, Subject, polar_geometry};
use super::noise::{Law, Noise};
use super::problem::Waves;
use super::{Experiment, Finding, Method, Panel, Series, Settings, Shown};
use graftage::error::Result;
use graftage::statistics::mean;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;

/// Number of repetitions, each with its own function and noise.
const SEEDS: usize = 8;

const STEPS: [f64; 5] = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4];

/// Shape (m, n) and amplitude of the function.
const SHAPE: (usize, usize) = (2, 4);
const AMPLITUDE: f64 = 0.04;

/// Scale of the noise.
const SIGMA: f64 = 0.1;

/// Number of values of α on each side of the expected minimum, spaced by factors of √2.
const SIDE: i32 = 5;

/// A law with its p, and the prototype's exponents of error and of α, plain and with transport.
struct Panelist {
    name: &'static str,
    law: Law,
    p: f64,
    prototype: [[Estimate; 2]; 2],
}

const fn found(value: f64, interval: f64) -> Estimate {
    Estimate::new(value, interval)
}

const LAWS: [Panelist; 3] = [
    Panelist {
        name: "Gaussian, p = 2",
        law: Law::Gaussian,
        p: 2.0,
        prototype: [[found(0.321, 0.003), found(0.665, 0.006)], [found(0.396, 0.006), found(0.755, 0.007)]],
    },
    Panelist {
        name: "stable, p = 1.8",
        law: Law::Stable { p: 1.8 },
        p: 1.8,
        prototype: [[found(0.305, 0.004), found(0.688, 0.008)], [found(0.351, 0.005), found(0.766, 0.008)]],
    },
    Panelist {
        name: "stable, p = 1.5",
        law: Law::Stable { p: 1.5 },
        p: 1.5,
        prototype: [[found(0.255, 0.003), found(0.728, 0.017)], [found(0.279, 0.009), found(0.823, 0.013)]],
    },
];

impl Method {
    /// Returns the exponents of the least error and of its α.
    fn tracking(self, p: f64) -> (f64, f64) {
        match self {
            Self::Plain => ((p - 1.0) / (2.0 * p - 1.0), p / (2.0 * p - 1.0)),
            Self::Transported => (2.0 * (p - 1.0) / (3.0 * p - 1.0), 2.0 * p / (3.0 * p - 1.0)),
        }
    }
}

struct Run {
    law: usize,
    method: Method,
    step: f64,
    alpha: f64,
    seed: usize,
}

/// Returns the median over time of ‖M_{t+1} − ∇F(X_t)‖_nuc.
fn measure<S: Subject>(run: &Run, settings: &Settings) -> Result<f64> {
    let mut generator = settings.generator(Experiment::Tracking, run.seed);
    let waves = Waves::new(SHAPE, AMPLITUDE, &mut generator)?;
    let noise = Noise::from(LAWS[run.law].law);
    let momentum = Momentum::Constant((1.0 - run.alpha) as f32);
    let rule = Rule { step_size: run.step as f32, momentum, transport: run.method.transport(), ..Rule::PLAIN };
    let zeros = [0.0; SHAPE.0 * SHAPE.1];
    let mut subject = S::start(SHAPE, polar_geometry(SHAPE), &rule, &zeros)?;
    let mut gauge = Gauge::new(SHAPE)?;
    let (mut gradient, mut sample, mut x) = ([0.0; SHAPE.0 * SHAPE.1], zeros, zeros);
    let steps = f64::max(25.0 / run.step, 150.0 / run.alpha) as u64;
    let (from, every) = ((10.0 / run.alpha) as u64, ((0.2 / run.alpha) as u64).max(1));
    let mut errors = Vec::new();
    for t in 0..steps {
        waves.gradient(subject.y(), &mut gradient);
        // Rank one, norm 1, uniformly distributed direction.
        let (left, right) = (on_sphere::<{ SHAPE.0 }>(&mut generator), on_sphere::<{ SHAPE.1 }>(&mut generator));
        let zeta = SIGMA * noise.draw(&mut generator);
        let products = left.iter().flat_map(|u| right.iter().map(move |v| zeta * u * v));
        for ((to, g), noise) in sample.iter_mut().zip(&gradient).zip(products) {
            *to = (g + noise) as f32;
        }
        if t < from || t % every != 0 {
            subject.step(&sample);
            continue;
        }
        x.copy_from_slice(subject.x());
        subject.step(&sample);
        waves.gradient(&x, &mut gradient);
        gradient.iter_mut().zip(subject.m()).for_each(|(g, m)| *g -= f64::from(*m));
        errors.push(gauge.nuclear(&gradient));
    }
    Ok(median(&mut errors))
}

/// Draws a point uniformly on the unit sphere.
fn on_sphere<const N: usize>(generator: &mut graftage_core::random::Generator) -> [f64; N] {
    let gaussian = [(); N].map(|()| Noise::Gaussian.draw(generator));
    let norm = gaussian.iter().map(|e| e * e).sum::<f64>().sqrt();
    gaussian.map(|e| e / norm)
}

/// Runs the experiment, which the quick extent leaves out.
///
/// # Errors
/// Returns an error if the rule is refused.
pub fn run<S: Subject>(settings: &Settings) -> Result<Shown> {
    let mut runs = Vec::new();
    for (law, Panelist { p, .. }) in LAWS.iter().enumerate() {
        for method in Method::ALL {
            let height = if method == Method::Plain { 0.8 } else { 0.6 };
            for step in STEPS {
                let centre = height * (4.0 * step).powf(method.tracking(*p).1);
                let alphas = (-SIDE..=SIDE).map(|i| centre * f64::powf(2.0, f64::from(i) / 2.0));
                let alphas = alphas.filter(|alpha| *alpha < 1.0);
                runs.extend(
                    alphas.flat_map(|alpha| (0..SEEDS).map(move |seed| Run { law, method, step, alpha, seed })),
                );
            }
        }
    }
    let measured = settings.all(&runs, |run| measure::<S>(run, settings))?;

    let (mut findings, mut panels) = (Vec::new(), Vec::new());
    for (index, Panelist { name, p, prototype, .. }) in LAWS.iter().enumerate() {
        let mut plots = [Vec::new(), Vec::new()];
        for (method, prototype) in Method::ALL.into_iter().zip(prototype) {
            // (α, error) at the least error, for each step size.
            let least = |seeds: &[usize]| -> Vec<(f64, (f64, f64))> {
                let of = |step: f64| {
                    let same = runs
                        .iter()
                        .zip(&measured)
                        .filter(|(run, _)| (run.law, run.method, run.step) == (index, method, step));
                    let same: Vec<_> = same.collect();
                    let points = same
                        .chunks(SEEDS)
                        .map(|chunk| (chunk[0].0.alpha, mean(seeds.iter().map(|seed| *chunk[*seed].1))));
                    smallest(&points.collect::<Vec<_>>())
                };
                STEPS.iter().map(|step| (*step, of(*step))).collect()
            };
            let every = least(&(0..SEEDS).collect::<Vec<_>>());
            let (error, alpha) = method.tracking(*p);
            type Pick = fn(&(f64, (f64, f64))) -> (f64, f64);
            let picks: [(&str, f64, Pick); 2] =
                [("least error", error, |least| (least.0, least.1.1)), ("its α", alpha, |least| (least.0, least.1.0))];
            for (((what, theory, pick), prototype), plot) in picks.into_iter().zip(prototype).zip(&mut plots) {
                let slope =
                    jackknife(SEEDS, |seeds| PowerLaw::fit(&least(seeds).iter().map(pick).collect::<Vec<_>>()).slope);
                findings.push(
                    Finding::new(format!("exponent of {what}, {}, {name}", method.name()), theory, slope)
                        .beside(Some(*prototype)),
                );
                let points = every.iter().map(pick).collect();
                plot.push(Series::sloped(method.name(), points, Some(slope), theory));
            }
        }
        let [errors, alphas] = plots;
        panels.push(Panel {
            title: format!("Least error of the momentum, {name}"),
            x: "η".into(),
            y: "‖M − ∇F(X)‖, nuclear norm, median".into(),
            caption: "Each point is the minimum of a quartic fitted to eleven values of α.".into(),
            series: errors,
        });
        panels.push(Panel {
            title: format!("The α of the least error, {name}"),
            x: "η".into(),
            y: "α".into(),
            caption: "The minimum is flat, so its position is known less precisely than its value.".into(),
            series: alphas,
        });
    }
    Ok((findings, panels))
}
