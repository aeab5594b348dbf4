//! Lag: distance of the momentum from the gradient at X, without noise.
//!
//! The momentum averages gradients at points of the past. While the steps have one direction U, step t − j was taken
//! from X_t + jηU, and its query point was c = β/α steps ahead of that. With the weights αβ^j of the average
//!
//! ```text
//! plain        M_{t+1} − ∇F(X_t) ≈ η Σ αβ^j j ∇²F[U]             = (ηβ/α) ∇²F[U]
//! transported  M_{t+1} − ∇F(X_t) ≈ η²/2 Σ αβ^j (j − c)² ∇³F[U, U] = (η²β/(2α²)) ∇³F[U, U]
//! ```
//!
//! because j has the mean c, so that the first-order term vanishes, and the variance β/α². Both hold for an average
//! that began long ago. If it began with the first gradient, untransported, they are multiplied by 1 − β^(t−1). A
//! transport of θ leaves |1 − θ| of the first line.

use super::fit::{Estimate, PowerLaw, jackknife};
use super::implementation::{Gauge, Subject, polar_geometry};
use super::problem::Waves;
use super::{Experiment, Finding, Method, Panel, Series, Settings, Shown};
use graftage::error::Result;
use graftage::statistics::mean;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;

/// Step size η of the experiment.
const STEP: f32 = 1e-3;

/// Ratios η/α, in units of 0.01.
const RATIOS: [u32; 5] = [1, 2, 4, 8, 16];

/// Number of random functions.
const FUNCTIONS: usize = 8;

/// (r, n) and the amplitude of the sines, for each problem.
const SHAPES: [((usize, usize), f64); 3] = [((4, 8), 0.02), ((2, 4), 0.04), ((8, 16), 0.01)];

/// Shares of transport θ, and the prototype's ratio of measured to predicted plain lag at η/α = 0.01.
const SHARES: [(f32, f64); 5] = [(0.25, 0.7498), (0.5, 0.4999), (0.9, 0.1003), (0.99, 0.0137), (1.0, 0.0092)];

/// Measured part of a run, as path lengths ηt.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Start of the measurements, which are taken every 10 steps.
    pub from: f64,
    /// End of the run.
    pub to: f64,
}

/// Mean errors over a part of a run.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Errors {
    /// Measured ‖M_{t+1} − ∇F(X_t)‖_nuc.
    pub measured: f64,
    /// Prediction without transport.
    pub plain: f64,
    /// Prediction with transport.
    pub transported: f64,
}

impl Errors {
    /// Returns measured divided by predicted.
    pub fn ratio(&self, method: Method) -> f64 {
        self.measured / self.predicted(method)
    }

    fn predicted(&self, method: Method) -> f64 {
        match method {
            Method::Plain => self.plain,
            Method::Transported => self.transported,
        }
    }
}

/// Sums of [`Errors`] and their number.
#[derive(Default)]
struct Sums(Errors, f64);

impl Sums {
    fn add(&mut self, measured: f64, plain: f64, transported: f64) {
        self.0.measured += measured;
        self.0.plain += plain;
        self.0.transported += transported;
        self.1 += 1.0;
    }

    fn mean(self) -> Errors {
        let Self(Errors { measured, plain, transported }, count) = self;
        Errors { measured: measured / count, plain: plain / count, transported: transported / count }
    }
}

/// Lag of one run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lag {
    /// Errors while the average is young: all steps from the second on in which the first gradient has a weight of e^−5
    /// or more.
    pub start: Errors,
    /// Errors on the path.
    pub steady: Errors,
}

/// Runs on a function from X = 0, with step size η = 0.001 and α = η/ratio.
///
/// # Errors
/// Returns an error if the rule is refused.
pub fn measure<S: Subject>(waves: &Waves, transport: Transport, ratio: f64, path: Path) -> Result<Lag> {
    let beta = (1.0 - f64::from(STEP) / ratio) as f32;
    let rule = Rule { step_size: STEP, momentum: Momentum::Constant(beta), transport, ..Rule::PLAIN };
    let shape = waves.shape;
    let zeros = vec![0.0; shape.0 * shape.1];
    let mut subject = S::start(shape, polar_geometry(shape), &rule, &zeros)?;
    let mut gauge = Gauge::new(shape)?;
    let (step, beta) = (f64::from(STEP), f64::from(beta));
    let alpha = 1.0 - beta;
    let (plain, transported) = (step * beta / alpha, step * step * beta / (2.0 * alpha * alpha));
    let young = (5.0 / alpha) as u64;
    let (mut start, mut steady) = (Sums::default(), Sums::default());
    let mut gradient = vec![0.0; zeros.len()];
    let (mut direction, mut derivative, mut sample) = (gradient.clone(), gradient.clone(), zeros.clone());
    let mut x = zeros;
    for t in 1..=(path.to / step).round() as u64 {
        waves.gradient(subject.y(), &mut gradient);
        sample.iter_mut().zip(&gradient).for_each(|(to, from)| *to = *from as f32);
        let on_path = t as f64 * step >= path.from && t.is_multiple_of(10);
        let is_young = t > 1 && t <= young;
        if !on_path && !is_young {
            subject.step(&sample);
            continue;
        }
        x.copy_from_slice(subject.x());
        subject.step(&sample);
        waves.gradient(&x, &mut gradient);
        gradient.iter_mut().zip(subject.m()).for_each(|(g, m)| *g = f64::from(*m) - *g);
        let measured = gauge.nuclear(&gradient);
        gauge.polar(subject.m(), &mut direction);
        waves.second(&x, &direction, &mut derivative);
        let age = 1.0 - beta.powf(t as f64 - 1.0);
        let plain = plain * age * gauge.nuclear(&derivative);
        waves.third(&x, &direction, &mut derivative);
        let transported = transported * age * gauge.nuclear(&derivative);
        if on_path {
            steady.add(measured, plain, transported);
        }
        if is_young {
            start.add(measured, plain, transported);
        }
    }
    Ok(Lag { start: start.mean(), steady: steady.mean() })
}

/// One run of the experiment.
struct Run {
    shape: usize,
    function: usize,
    theta: f32,
    ratio: u32,
}

/// Runs the experiment. The quick extent has one shape, shorter paths and no shares of transport.
///
/// # Errors
/// Returns an error if the rule is refused.
pub fn run<S: Subject>(settings: &Settings) -> Result<Shown> {
    let shapes = if settings.is_full() { &SHAPES[..] } else { &SHAPES[..1] };
    let mut runs = Vec::new();
    for (shape, function) in (0..shapes.len()).flat_map(|shape| (0..FUNCTIONS).map(move |function| (shape, function))) {
        for ratio in RATIOS {
            runs.extend([0.0, 1.0].map(|theta| Run { shape, function, theta, ratio }));
        }
        if shape == 0 && settings.is_full() {
            let between = SHARES.iter().map(|share| share.0).filter(|theta| *theta < 1.0);
            runs.extend(between.map(|theta| Run { shape, function, theta, ratio: RATIOS[0] }));
        }
    }
    let lags = settings.all(&runs, |run| {
        let (shape, amplitude) = shapes[run.shape];
        let waves = Waves::new(shape, amplitude, &mut settings.generator(Experiment::Lag, run.function))?;
        // The quantities with promised ranges have settled long before the end.
        let path = Path { from: 10.0, to: if settings.is_full() { 40.0 } else { 16.0 } };
        measure::<S>(&waves, Transport::Fixed { theta: run.theta }, f64::from(run.ratio) / 100.0, path)
    })?;
    // Selects the lags of all functions, in order.
    let of = |shape: usize, theta: f32, ratio: u32| -> Vec<Lag> {
        let same = |run: &&(&Run, &Lag)| (run.0.shape, run.0.theta, run.0.ratio) == (shape, theta, ratio);
        runs.iter().zip(&lags).collect::<Vec<_>>().iter().filter(same).map(|(_, lag)| **lag).collect()
    };

    let (mut slopes, mut findings, mut panels) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (shape, _)) in shapes.iter().enumerate() {
        let mut series = Vec::new();
        for method in Method::ALL {
            let theta = if method == Method::Plain { 0.0 } else { 1.0 };
            let all: Vec<(f64, Vec<Lag>)> =
                RATIOS.iter().map(|ratio| (abscissa(method, *ratio), of(index, theta, *ratio))).collect();
            let points = |seeds: &[usize], y: fn(&Errors, Method) -> f64| -> Vec<(f64, f64)> {
                all.iter().map(|(x, lags)| (*x, mean(seeds.iter().map(|s| y(&lags[*s].steady, method))))).collect()
            };
            let slope = jackknife(FUNCTIONS, |seeds| PowerLaw::fit(&points(seeds, |errors, _| errors.measured)).slope);
            let every: Vec<usize> = (0..FUNCTIONS).collect();
            let (m, n) = shape;
            let (theory, tolerance) = if method == Method::Plain { (1.0, 0.03) } else { (2.0, 0.05) };
            let prototype = match (method, index) {
                (Method::Plain, 0) => Some(Estimate::new(0.989, 0.006)),
                (Method::Transported, 0) => Some(Estimate::new(1.981, 0.007)),
                _ => None,
            };
            slopes.push(
                Finding::new(format!("slope, {}, {m}×{n}", method.name()), theory, slope)
                    .beside(prototype)
                    .promised(theory - tolerance, theory + tolerance),
            );
            for (place, ratio) in RATIOS.iter().enumerate() {
                let at = |seeds: &[usize], part: fn(&Lag) -> Errors| {
                    let lags = &all[place].1;
                    let sum = |y: fn(&Errors, Method) -> f64| mean(seeds.iter().map(|s| y(&part(&lags[*s]), method)));
                    sum(|errors, _| errors.measured) / sum(Errors::predicted)
                };
                let name = |part: &str| format!("{part}, {}, {m}×{n}, η/α = 0.{ratio:02}", method.name());
                let steady = jackknife(FUNCTIONS, |seeds| at(seeds, |lag| lag.steady));
                let prototype = match (index, ratio, method) {
                    (0, 1, _) => Some(1.000),
                    (0, 4, _) => Some(0.997),
                    (0, 16, Method::Plain) => Some(0.956),
                    (0, 16, Method::Transported) => Some(0.947),
                    _ => None,
                };
                let finding =
                    Finding::new(name("measured/predicted"), 1.0, steady).beside(prototype.map(Estimate::exact));
                findings.push(if *ratio <= 4 { finding.promised(0.98, 1.02) } else { finding });
                if *ratio <= 4 {
                    let start = jackknife(FUNCTIONS, |seeds| at(seeds, |lag| lag.start));
                    findings
                        .push(Finding::new(name("measured/predicted at the start"), 1.0, start).promised(0.95, 1.05));
                }
            }
            series.push(Series {
                name: format!("{} ({theory})", method.name()),
                points: points(&every, |errors, _| errors.measured),
                slope: Some(slope),
                theory: points(&every, Errors::predicted),
            });
        }
        panels.push(Panel {
            title: format!("Error of the momentum, {}×{}", shape.0, shape.1),
            x: "η√β/α; plain: ηβ/α".into(),
            y: "‖M − ∇F(X)‖, nuclear norm".into(),
            caption:
                "Without noise. The theory's lines have no free constants: they are computed from the second and third \
                      derivatives along the path."
                    .into(),
            series,
        });
    }
    if settings.is_full() {
        for (theta, prototype) in SHARES {
            let lags = of(0, theta, RATIOS[0]);
            let ratio = |seeds: &[usize], method: Method| {
                let sum = |y: fn(&Errors, Method) -> f64| mean(seeds.iter().map(|s| y(&lags[*s].steady, method)));
                sum(|errors, _| errors.measured) / sum(Errors::predicted)
            };
            let left = f64::from(1.0 - theta);
            let measured = jackknife(FUNCTIONS, |seeds| ratio(seeds, Method::Plain));
            let finding = Finding::new(format!("share of the plain lag, θ = {theta}, η/α = 0.01"), left, measured)
                .beside(Some(Estimate::exact(prototype)));
            // If less is left, the second-order term shows.
            findings.push(if left > 0.05 { finding.promised(left - 0.005, left + 0.005) } else { finding });
            if theta == 0.99 {
                let measured = jackknife(FUNCTIONS, |seeds| ratio(seeds, Method::Transported));
                findings.push(
                    Finding::new("measured/predicted, transported, θ = 0.99, η/α = 0.01", 1.0, measured)
                        .beside(Some(Estimate::exact(1.57))),
                );
            }
        }
    }
    slopes.append(&mut findings);
    Ok((slopes, panels))
}

/// Returns η√β/α, or ηβ/α for the plain method: the predictions are pure powers of it.
fn abscissa(method: Method, ratio: u32) -> f64 {
    let ratio = f64::from(ratio) / 100.0;
    let beta = 1.0 - f64::from(STEP) / ratio;
    ratio * if method == Method::Plain { beta } else { beta.sqrt() }
}
