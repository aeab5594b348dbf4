//! Tuned: error after N samples with the best α and η, chosen against the worst noise.
//!
//! α = f·N^−a and η = g·N^−e with the theory's a and e; f and g come from a grid of factors of 2. If the theory is
//! right, the best f and g do not change with N.

use super::fit::{Estimate, PowerLaw};
use super::implementation::Subject;
use super::noise::Law;
use super::problem::Bowl;
use super::{Experiment, Finding, Method, Panel, Series, Settings, Shown};
use graftage::error::Result;
use graftage::statistics::mean;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;

const SEEDS: usize = 6;

const SAMPLES: [u64; 4] = [1_000, 10_000, 100_000, 300_000];

/// Factors g of η.
const STEP_FACTORS: [f64; 5] = [0.5, 1.0, 2.0, 4.0, 8.0];

/// p, method, and the prototype's slope.
const CASES: [(f64, Method, f64); 4] = [
    (2.0, Method::Plain, -0.232),
    (2.0, Method::Transported, -0.302),
    (1.5, Method::Plain, -0.190),
    (1.5, Method::Transported, -0.217),
];

/// Returns the factors f of α.
fn factors(method: Method) -> &'static [f64] {
    match method {
        Method::Plain => &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
        Method::Transported => &[0.25, 0.5, 1.0, 2.0, 4.0],
    }
}

struct Run {
    case: usize,
    samples: u64,
    f: f64,
    g: f64,
    q: f64,
    seed: usize,
}

/// Runs the experiment, which the quick extent leaves out.
///
/// # Errors
/// Returns an error if the rule is refused.
pub fn run<S: Subject>(settings: &Settings) -> Result<Shown> {
    let mut runs = Vec::new();
    for (case, (_, method, _)) in CASES.iter().enumerate() {
        for samples in SAMPLES {
            let pairs = factors(*method).iter().flat_map(|f| STEP_FACTORS.map(|g| (*f, g)));
            for (f, g) in pairs {
                let qs = (1..=9).map(|i| 10f64.powf(-0.5 * f64::from(i)));
                runs.extend(qs.flat_map(|q| (0..SEEDS).map(move |seed| Run { case, samples, f, g, q, seed })));
            }
        }
    }
    let errors = settings.all(&runs, |run| {
        let Run { case, samples, f, g, q, seed } = *run;
        let (p, method, _) = CASES[case];
        let theory = Rule::theory(p as f32, 1, samples as f32, method == Method::Transported)?;
        let alpha = f64::min(f * f64::from(1.0 - theory.keep(2)), 1.0);
        let momentum = Momentum::Constant((1.0 - alpha) as f32);
        let rule = Rule { step_size: g as f32 * theory.step_size, momentum, ..theory };
        let mut generator = settings.generator(Experiment::Tuned, seed);
        Ok(Bowl::LINE.run::<S>(&rule, Law::Spike { p, q }, samples, &mut generator)?.whole)
    })?;

    // For each case, N and (f, g): the largest, over q, of the mean errors over the seeds. Below, the best of them is
    // chosen.
    let mut worst: Vec<(usize, u64, (f64, f64), f64)> = Vec::new();
    for (runs, errors) in runs.chunks(SEEDS).zip(errors.chunks(SEEDS)) {
        let (run, error) = (&runs[0], mean(errors.iter().copied()));
        let place = (run.case, run.samples, (run.f, run.g));
        match worst.last_mut().filter(|last| (last.0, last.1, last.2) == place) {
            Some(last) => last.3 = last.3.max(error),
            None => worst.push((place.0, place.1, place.2, error)),
        }
    }
    let (mut findings, mut panels) = (Vec::new(), Vec::new());
    for (index, (p, method, prototype)) in CASES.into_iter().enumerate() {
        let best = SAMPLES.map(|samples| {
            let same = worst.iter().filter(|at| (at.0, at.1) == (index, samples));
            let best =
                same.fold(((0.0, 0.0), f64::INFINITY), |best, at| if at.3 < best.1 { (at.2, at.3) } else { best });
            (samples, best)
        });
        let points: Vec<_> = best.iter().map(|(samples, (_, error))| (*samples as f64, *error)).collect();
        let name = format!("{}, p = {p}", method.name());
        let slope = Estimate::exact(PowerLaw::fit(&points).slope);
        findings.push(
            Finding::new(format!("slope in N, tuned, {name}"), -method.rate(p), slope)
                .beside(Some(Estimate::new(prototype, 0.03))),
        );
        // The theory's schedule is the best if its factors do not change with N.
        for (what, factor) in [("α", (|best| best.0) as fn((f64, f64)) -> f64), ("η", |best| best.1)] {
            let octaves = best.map(|(_, (pair, _))| factor(pair).log2());
            let (low, high) = octaves.iter().fold((f64::MAX, f64::MIN), |(low, high), o| (o.min(low), o.max(high)));
            let what = format!("octaves by which the best {what} over the theory's moves with N, {name}");
            findings.push(Finding::new(what, 0.0, Estimate::exact(high - low)));
        }
        panels.push(Series::sloped(name, points, Some(slope), -method.rate(p)));
    }
    let caption = "Each point is the best α and η of a grid by factors of 2, after the worst frequency of spikes. No interval, \
                   because the best is chosen on the same seeds on which it is measured.";
    let panel = Panel {
        title: "Error after N samples, tuned".into(),
        x: "N".into(),
        y: "mean of ‖∇F(X)‖".into(),
        caption: caption.into(),
        series: panels,
    };
    Ok((findings, vec![panel]))
}
