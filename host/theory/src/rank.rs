//! Rank: dependence of the error on r = min(m, n).
//!
//! On the bowl of rank r with weight 1/r, smoothness, distance and noise are the same at every r. In the theory N/r
//! takes the place of N: at a fixed N/r the error is the same for all r, and at a fixed N it grows as r^x. In Frobenius
//! geometry, on the bowl of weight 1 that starts at ‖X‖_F = 1, the error does not depend on r.

use super::fit::{Estimate, PowerLaw, jackknife};
use super::implementation::Subject;
use super::noise::Law;
use super::problem::{Bowl, Errors, Frame};
use super::{Experiment, Finding, Method, Panel, Series, Settings, Shown};
use graftage::error::Result;
use graftage::statistics::mean;
use graftage_core::polar::Quintics;
use graftage_core::scion::Rule;

const SEEDS: usize = 8;

const RANKS: [usize; 5] = [1, 2, 4, 8, 16];

/// Samples per rank, N/r, if that is fixed.
const PER_RANK: u64 = 30_000;

/// Samples N, if that is fixed.
const SAMPLES: u64 = 1_000_000;

/// Quantity that stays fixed as r grows.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fixed {
    /// N/r, with the theory's schedule.
    PerRank,
    /// N, with the theory's schedule.
    Samples,
    /// N, with the schedule of rank 1.
    Blind,
    /// N, in Frobenius geometry, with its schedule, which does not depend on r.
    Frobenius,
}

impl Fixed {
    fn samples(self, rank: usize) -> u64 {
        if self == Self::PerRank { PER_RANK * rank as u64 } else { SAMPLES }
    }

    /// Returns the bowl, its rule and its noise.
    fn problem(self, p: f64, method: Method, rank: usize) -> Result<(Bowl<'static>, Rule, Law)> {
        let samples = self.samples(rank);
        let r = rank as f64;
        let bowl = match self {
            Self::Frobenius => Bowl { rank, start: 1.0 / r.sqrt(), spectral: false, ..Bowl::LINE },
            Self::PerRank | Self::Samples | Self::Blind => Bowl { rank, weight: 1.0 / r, ..Bowl::LINE },
        };
        let aware = matches!(self, Self::PerRank | Self::Samples);
        let rule = method.rule(p, if aware { rank } else { 1 }, samples)?;
        // q = rα with the theory's α: one spike within the memory of every direction.
        let spread = if self == Self::Frobenius { 1 } else { rank };
        let q = spread as f64 * f64::from(1.0 - method.rule(p, spread, samples)?.keep(2));
        Ok((bowl, rule, Law::Spike { p, q }))
    }

    fn name(self) -> &'static str {
        match self {
            Self::PerRank => "fixed N/r",
            Self::Samples => "fixed N",
            Self::Blind => "schedule of rank 1",
            Self::Frobenius => "Frobenius geometry",
        }
    }
}

/// Prototype's slopes in r at fixed N/r, at fixed N, with the schedule of rank 1, and in Frobenius geometry.
type Prototype = [Estimate; 4];

const fn found(value: f64, interval: f64) -> Estimate {
    Estimate::new(value, interval)
}

/// Creates an estimate without an interval.
const fn said(value: f64) -> Estimate {
    Estimate::exact(value)
}

const CASES: [(f64, Method, Prototype); 4] = [
    (1.5, Method::Plain, [found(-0.006, 0.014), found(0.188, 0.006), said(0.071), found(0.055, 0.005)]),
    (1.5, Method::Transported, [found(0.008, 0.012), found(0.214, 0.008), said(0.149), found(0.047, 0.007)]),
    (2.0, Method::Plain, [found(-0.003, 0.007), found(0.241, 0.001), said(0.116), found(0.052, 0.002)]),
    (2.0, Method::Transported, [found(-0.002, 0.007), found(0.271, 0.002), said(0.249), found(0.044, 0.002)]),
];

struct Run {
    case: usize,
    fixed: Fixed,
    rank: usize,
    seed: usize,
}

/// Runs the experiment. The quick extent has fixed N/r and fixed N at p = 2.
///
/// # Errors
/// Returns an error if the rule is refused.
pub fn run<S: Subject>(settings: &Settings) -> Result<Shown> {
    let full = settings.is_full();
    let columns: &[Fixed] = if full {
        &[Fixed::PerRank, Fixed::Samples, Fixed::Blind, Fixed::Frobenius]
    } else {
        &[Fixed::PerRank, Fixed::Samples]
    };
    let cases: Vec<_> = CASES.into_iter().filter(|case| full || case.0 == 2.0).collect();
    let mut runs = Vec::new();
    for (case, fixed) in (0..cases.len()).flat_map(|case| columns.iter().map(move |fixed| (case, *fixed))) {
        runs.extend(RANKS.into_iter().flat_map(|rank| (0..SEEDS).map(move |seed| Run { case, fixed, rank, seed })));
    }
    let errors = settings.all(&runs, |run| {
        let (p, method, _) = cases[run.case];
        let (bowl, rule, law) = run.fixed.problem(p, method, run.rank)?;
        let mut generator = settings.generator(Experiment::Rank, run.seed);
        bowl.run::<S>(&rule, law, run.fixed.samples(run.rank), &mut generator)
    })?;

    let (mut findings, mut panels) = (Vec::new(), Vec::new());
    let mut curves = errors.chunks(RANKS.len() * SEEDS);
    for (p, method, prototype) in &cases {
        let name = format!("{}, p = {p}", method.name());
        let mut plot = Vec::new();
        for (fixed, prototype) in columns.iter().zip(prototype) {
            let curve: Vec<&[Errors]> = curves.next().into_iter().flat_map(|all| all.chunks(SEEDS)).collect();
            let points = |seeds: &[usize], part: fn(&Errors) -> f64| -> Vec<(f64, f64)> {
                let of = |errors: &[Errors]| mean(seeds.iter().map(|seed| part(&errors[*seed])));
                RANKS.iter().zip(&curve).map(|(rank, errors)| (*rank as f64, of(errors))).collect()
            };
            let slope = |part: fn(&Errors) -> f64| jackknife(SEEDS, |seeds| PowerLaw::fit(&points(seeds, part)).slope);
            let of_whole = slope(|errors| errors.whole);
            let what = format!("slope in r, {}, {name}", fixed.name());
            let exponent = match fixed {
                Fixed::PerRank | Fixed::Frobenius => 0.0,
                Fixed::Samples => method.rate(*p),
                // Of the three error terms, only the noise depends on r, and it bounds the slope.
                Fixed::Blind => (*p - 1.0) / *p,
            };
            let finding = Finding::new(what, exponent, of_whole).beside(Some(*prototype));
            let promised = *p == 2.0 && matches!(fixed, Fixed::PerRank | Fixed::Samples);
            findings.push(if promised { finding.promised(exponent - 0.03, exponent + 0.03) } else { finding });
            let spread = |seeds: &[usize]| {
                let values = points(seeds, |errors| errors.whole);
                let centre = mean(values.iter().map(|point| point.1));
                values.iter().map(|point| (point.1 / centre - 1.0).abs()).fold(0.0, f64::max)
            };
            match fixed {
                Fixed::PerRank => {
                    let measured = jackknife(SEEDS, spread);
                    let finding =
                        Finding::new(format!("farthest from the mean over r, fixed N/r, {name}"), 0.0, measured);
                    findings.push(if *p == 2.0 { finding.promised(0.0, 0.04) } else { finding });
                }
                Fixed::Blind => {
                    let prototype = match (*p == 2.0, method) {
                        (false, Method::Plain) => said(0.174),
                        (false, Method::Transported) => found(0.331, 0.018),
                        (true, Method::Plain) => said(0.262),
                        (true, Method::Transported) => found(0.465, 0.011),
                    };
                    let what = format!("slope in r, {}, {name}, second half", fixed.name());
                    findings.push(Finding::new(what, exponent, slope(|errors| errors.half)).beside(Some(prototype)));
                }
                Fixed::Samples | Fixed::Frobenius => {}
            }
            let every: Vec<usize> = (0..SEEDS).collect();
            let points = points(&every, |errors| errors.whole);
            plot.push(Series::sloped(fixed.name(), points, Some(of_whole), exponent));
        }
        panels.push(Panel {
            title: format!("Error over the rank, {name}"),
            x: "r = min(m, n)".into(),
            y: "mean of ‖∇F(X)‖, dual norm".into(),
            caption: format!(
                "N/r = {PER_RANK} or N = {SAMPLES}. A spectral step costs a number of samples of the order of r."
            ),
            series: plot,
        });
    }
    if full {
        findings.extend(dense::<S>(settings)?);
    }
    Ok((findings, panels))
}

/// Compares real matrices under the spectral oracle with the diagonal recursion: largest relative difference of the
/// mean errors.
fn dense<S: Subject>(settings: &Settings) -> Result<Vec<Finding>> {
    const DENSE: [(usize, u64); 3] = [(2, 30_000), (4, 30_000), (8, 5_000)];
    let runs: Vec<_> = DENSE
        .into_iter()
        .flat_map(|size| Method::ALL.map(|method| (size, method)))
        .flat_map(|(size, method)| (0..4).map(move |seed| (size, method, seed)))
        .collect();
    let differences = settings.all(&runs, |((rank, per_rank), method, seed)| {
        let (bowl, _, _) = Fixed::PerRank.problem(2.0, *method, *rank)?;
        let samples = per_rank * *rank as u64;
        // Singular values of 10⁻⁶ of the largest must also get their sign.
        let rule = Rule { quintics: Quintics::Converged, ..method.rule(2.0, *rank, samples)? };
        let law = Law::Spike { p: 2.0, q: *rank as f64 * f64::from(1.0 - rule.keep(2)) };
        let frame = Frame::new(*rank, &mut settings.generator(Experiment::Rank, *seed))?;
        let run = |frame| {
            Bowl { frame, ..bowl }.run::<S>(&rule, law, samples, &mut settings.generator(Experiment::Rank, *seed))
        };
        let (dense, diagonal) = (run(Some(&frame))?.whole, run(None)?.whole);
        Ok((dense / diagonal - 1.0).abs())
    })?;
    let of = |(index, (rank, _)): (usize, (usize, u64))| {
        let largest = differences.chunks(2 * 4).nth(index).into_iter().flatten().copied().fold(0.0, f64::max);
        let what = format!("largest relative difference of {rank}×{} matrices from the diagonal", 2 * rank);
        Finding::new(what, 0.0, Estimate::exact(largest)).promised(0.0, 1e-3)
    };
    Ok(DENSE.into_iter().enumerate().map(of).collect())
}
