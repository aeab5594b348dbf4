//! Noise of the average.
//!
//! M is the average of ζ_t e_i f_iᵀ with a random i of 1, …, r: noise of rank one, spread over all directions, with
//! E‖ζ_t e_i f_iᵀ‖^p = E|ζ|^p in every norm. In the nuclear norm the theory bounds it by a multiple of
//! σ(rα/B)^((p−1)/p). In the Frobenius norm it does not depend on r. All matrices stay diagonal, so M is stored as an
//! r-vector.

use super::fit::{Estimate, PowerLaw, jackknife, median};
use super::implementation::Subject;
use super::noise::{Law, Noise};
use super::{Experiment, Finding, Panel, Series, Settings, Shown};
use graftage::error::Result;
use graftage::statistics::mean;
use graftage_core::norm::Norm;
use graftage_core::schedule::Momentum;
use graftage_core::scion::{Geometry, Rule};
use graftage_core::transport::Transport;

/// Number of repetitions with different noise.
const SEEDS: usize = 8;

/// Steps before the first sample and between two samples, in units of 1/α.
const BURN_IN: f64 = 8.0;
const BETWEEN: f64 = 0.5;

/// Rank r of the experiments over α and α/B.
const RANK: usize = 4;

/// Kind of noise. Together with r and α it determines the law.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// Spikes with q = rα, the worst case: one spike within the memory of every direction.
    Spike(f64),
    Stable(f64),
    Gaussian,
}

impl Kind {
    fn law(self, rank: usize, alpha: f64) -> Law {
        match self {
            Self::Spike(p) => Law::Spike { p, q: rank as f64 * alpha },
            Self::Stable(p) => Law::Stable { p },
            Self::Gaussian => Law::Gaussian,
        }
    }

    /// Returns the theory's exponent (p−1)/p.
    fn exponent(self) -> f64 {
        match self {
            Self::Spike(p) | Self::Stable(p) => (p - 1.0) / p,
            Self::Gaussian => 0.5,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Spike(p) => format!("spike, p = {p}"),
            Self::Stable(p) => format!("stable, p = {p}"),
            Self::Gaussian => "Gaussian".into(),
        }
    }
}

/// Parameters of one run.
#[derive(Clone, Copy)]
struct Run {
    kind: Kind,
    rank: usize,
    alpha: f64,
    batch: usize,
    samples: usize,
    seed: usize,
}

/// Statistics of M over the samples of a run: median and mean of the nuclear norm, mean of the Frobenius norm.
#[derive(Clone, Copy)]
struct Noisiness {
    median: f64,
    mean: f64,
    frobenius: f64,
}

fn measure<S: Subject>(run: &Run, settings: &Settings) -> Result<Noisiness> {
    let Run { kind, rank, alpha, batch, samples, seed } = *run;
    let noise = Noise::from(kind.law(rank, alpha));
    let mut generator = settings.generator(Experiment::Average, seed);
    let momentum = Momentum::Constant((1.0 - alpha) as f32);
    let rule = Rule { momentum, transport: Transport::Fixed { theta: 0.0 }, ..Rule::PLAIN };
    let geometry = Geometry { norm: Norm::SignPlain, radius: 1.0 };
    let mut gradients = vec![0.0; rank * batch];
    let mut subject = S::start((1, rank), geometry, &rule, &vec![0.0; rank])?;
    let (mut nuclear, mut frobenius) = (Vec::with_capacity(samples), 0.0);
    let mut t = 0u64;
    for sample in 0..samples {
        let until = (BURN_IN + BETWEEN * sample as f64) / alpha;
        while t <= until as u64 {
            gradients.fill(0.0);
            for gradient in gradients.chunks_exact_mut(rank) {
                gradient[generator.below(rank as u32) as usize] = noise.draw(&mut generator) as f32;
            }
            subject.step(&gradients);
            t += 1;
        }
        let elements = || subject.m().iter().map(|e| f64::from(*e));
        nuclear.push(elements().map(f64::abs).sum::<f64>());
        frobenius += elements().map(|e| e * e).sum::<f64>().sqrt();
    }
    Ok(Noisiness {
        mean: mean(nuclear.iter().copied()),
        median: median(&mut nuclear),
        frobenius: frobenius / samples as f64,
    })
}

/// Points over x for one kind of noise, each with the runs of all seeds.
type Curve = Vec<(f64, Vec<Noisiness>)>;

/// Returns the points averaged over some seeds.
fn points(curve: &Curve, seeds: &[usize], y: fn(&Noisiness) -> f64) -> Vec<(f64, f64)> {
    curve.iter().map(|(x, runs)| (*x, mean(seeds.iter().map(|seed| y(&runs[*seed]))))).collect()
}

fn slope(curve: &Curve, y: fn(&Noisiness) -> f64) -> Estimate {
    jackknife(SEEDS, |seeds| PowerLaw::fit(&points(curve, seeds, y)).slope)
}

/// Creates a series from all seeds.
fn series(name: String, curve: &Curve, y: fn(&Noisiness) -> f64, theory: f64) -> Series {
    let every: Vec<usize> = (0..SEEDS).collect();
    Series::sloped(name, points(curve, &every, y), Some(slope(curve, y)), theory)
}

/// Runs the experiment. The quick extent covers only the spikes over α.
///
/// # Errors
/// Returns an error if the rule is refused.
pub fn run<S: Subject>(settings: &Settings) -> Result<Shown> {
    // Measures the runs of some abscissae with all seeds.
    let curve = |points: &[(f64, Run)]| -> Result<Curve> {
        let runs: Vec<Run> =
            points.iter().flat_map(|(_, run)| (0..SEEDS).map(move |seed| Run { seed, ..*run })).collect();
        let measured = settings.all(&runs, |run| measure::<S>(run, settings))?;
        Ok(points.iter().map(|point| point.0).zip(measured.chunks(SEEDS).map(<[_]>::to_vec)).collect())
    };
    let base = Run { kind: Kind::Gaussian, rank: RANK, alpha: 1e-3, batch: 1, samples: 400, seed: 0 };
    let (mut findings, mut panels) = (Vec::new(), Vec::new());

    let spikes = [(1.2, 0.161, 0.005), (1.5, 0.328, 0.005), (1.8, 0.439, 0.005), (2.0, 0.495, 0.005)];
    let mut kinds: Vec<_> = spikes.map(|(p, value, interval)| (Kind::Spike(p), Estimate::new(value, interval))).into();
    if settings.is_full() {
        let stable = [(1.2, 0.172, 0.003), (1.5, 0.332, 0.005), (1.8, 0.440, 0.005)];
        kinds.extend(stable.map(|(p, value, interval)| (Kind::Stable(p), Estimate::new(value, interval))));
        kinds.push((Kind::Gaussian, Estimate::new(0.499, 0.004)));
    }
    let mut plots = [Vec::new(), Vec::new()];
    for (kind, prototype) in kinds {
        let is_stable = matches!(kind, Kind::Stable(_));
        let (low, high) = if is_stable { (1e-3, 1e-1) } else { (1e-4, 2e-2) };
        let alphas = (0..8).map(|i| low * f64::powf(high / low, f64::from(i) / 7.0));
        let curve = curve(&alphas.map(|alpha| (alpha, Run { kind, alpha, ..base })).collect::<Vec<_>>())?;
        // The mean hardly converges if the moment is only weak.
        let y: fn(&Noisiness) -> f64 = if is_stable { |run| run.median } else { |run| run.mean };
        let (name, exponent) = (kind.name(), kind.exponent());
        let finding = Finding::new(format!("slope in α, {name}"), exponent, slope(&curve, y)).beside(Some(prototype));
        findings.push(match kind {
            Kind::Spike(_) => finding.promised(exponent - 0.02, exponent + 0.02),
            Kind::Stable(_) | Kind::Gaussian => finding,
        });
        plots[usize::from(!matches!(kind, Kind::Spike(_)))].push(series(name, &curve, y, exponent));
    }
    for (series, which, y) in plots
        .into_iter()
        .zip(["spikes", "other laws"])
        .zip(["mean", "median, Gaussian: mean"])
        .map(|((series, which), y)| (series, which, y))
    {
        if !series.is_empty() {
            panels.push(Panel {
                title: format!("Noise of the average over α: {which}"),
                x: "α = 1 − β".into(),
                y: format!("‖M‖, nuclear norm, {y}"),
                caption: "The theory's slope is (p−1)/p: the heavier the tail, the less a longer average helps.".into(),
                series,
            });
        }
    }
    if !settings.is_full() {
        return Ok((findings, panels));
    }

    let kinds = [
        (Kind::Spike(1.2), Some(Estimate::new(0.164, 0.008)), None),
        (Kind::Spike(1.5), Some(Estimate::new(0.331, 0.008)), Some(-0.10)),
        (Kind::Spike(1.8), Some(Estimate::new(0.442, 0.008)), Some(0.02)),
        (Kind::Spike(2.0), Some(Estimate::new(0.498, 0.008)), None),
        (Kind::Stable(1.5), Some(Estimate::new(0.349, 0.010)), Some(0.02)),
        (Kind::Gaussian, Some(Estimate::new(0.498, 0.010)), Some(0.07)),
    ];
    let mut plot = Vec::new();
    for (kind, nuclear, frobenius) in kinds {
        let ranks = [1, 2, 4, 8, 16];
        let runs = ranks.map(|rank| (rank as f64, Run { kind, rank, samples: 800, ..base }));
        let curve = curve(&runs)?;
        let (name, exponent) = (kind.name(), kind.exponent());
        let in_rank = slope(&curve, |run| run.mean);
        findings.push(Finding::new(format!("slope in r, {name}"), exponent, in_rank).beside(nuclear));
        let flat = slope(&curve, |run| run.frobenius);
        let frobenius = frobenius.map(Estimate::exact);
        findings.push(Finding::new(format!("slope in r, {name}, Frobenius norm"), 0.0, flat).beside(frobenius));
        plot.push(series(name, &curve, |run| run.mean, exponent));
    }
    panels.push(Panel {
        title: "Noise of the average over the rank".into(),
        x: "r = min(m, n)".into(),
        y: "‖M‖, nuclear norm, mean".into(),
        caption: "α = 0.001. Noise in every direction adds up in the nuclear norm as r^((p−1)/p).".into(),
        series: plot,
    });

    let mut plot = Vec::new();
    for (kind, prototype) in
        [(Kind::Gaussian, [0.0343, 0.0343, 0.0343, 0.0350]), (Kind::Stable(1.5), [0.1763, 0.1763, 0.1772, 0.1776])]
    {
        let batches = [1, 4, 16, 64];
        let run = |batch: usize| Run { kind, batch, alpha: 1e-3 * batch as f64, samples: 800, ..base };
        let curve = curve(&batches.map(|batch| (batch as f64, run(batch))))?;
        let y: fn(&Noisiness) -> f64 = |run| run.median;
        for ((batch, runs), prototype) in curve.iter().zip(prototype) {
            let of = |seeds: &[usize], runs: &[Noisiness]| mean(seeds.iter().map(|seed| y(&runs[*seed])));
            let measured = jackknife(SEEDS, |seeds| of(seeds, runs));
            let first = of(&(0..SEEDS).collect::<Vec<_>>(), &curve[0].1);
            let interval = if kind == Kind::Gaussian { 0.0007 } else { 0.0025 };
            findings.push(
                Finding::new(format!("‖M‖ at α/B = 0.001, {}, B = {batch}", kind.name()), first, measured)
                    .beside(Some(Estimate::new(prototype, interval))),
            );
        }
        plot.push(series(kind.name(), &curve, y, 0.0));
    }
    panels.push(Panel {
        title: "Noise of the average over the batch, α/B fixed".into(),
        x: "B".into(),
        y: "‖M‖, nuclear norm, median".into(),
        caption: "Only α/B matters: B samples per step with Bα give the same average.".into(),
        series: plot,
    });
    Ok((findings, panels))
}
