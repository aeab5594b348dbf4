//! Rate: error after N samples, with the theory's own α and η.
//!
//! The problem is one bowl, ψ(x) = √(1 + x²) − 1 from x = 1, with one sample per step. The theory's N^−x bounds the
//! worst noise, so each point is the worst of spikes of ten frequencies, after α and η are fixed. There are two further
//! schedules. The transported schedule without transport is only known to be bounded by its lag, N^−x/2 with the
//! transported x (in a bowl the lag stays below that because the path turns). Constant α has a floor.

use super::fit::{Estimate, PowerLaw, jackknife};
use super::implementation::Subject;
use super::noise::Law;
use super::problem::{Bowl, Errors};
use super::{Experiment, Finding, Method, Panel, Series, Settings, Shown};
use graftage::error::Result;
use graftage::statistics::mean;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;

/// Samples per run.
const SAMPLES: [u64; 5] = [10_000, 30_000, 100_000, 300_000, 1_000_000];

/// Choice of α and η.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Schedule {
    /// Own schedule of the method, by the theory.
    Own(Method),
    /// Schedule of the transported method, without transport.
    Borrowed,
    /// Step size of the plain method, with constant α.
    Constant(f64),
}

impl Schedule {
    fn rule(self, p: f64, samples: u64) -> Result<Rule> {
        Ok(match self {
            Self::Own(method) => method.rule(p, 1, samples)?,
            Self::Borrowed => {
                let rule = Method::Transported.rule(p, 1, samples)?;
                Rule { transport: Method::Plain.transport(), ..rule }
            }
            Self::Constant(alpha) => {
                let rule = Method::Plain.rule(p, 1, samples)?;
                Rule { momentum: Momentum::Constant(1.0 - alpha as f32), ..rule }
            }
        })
    }

    fn name(self) -> String {
        match self {
            Self::Own(method) => method.name().into(),
            Self::Borrowed => "plain, transported α and η".into(),
            Self::Constant(alpha) => format!("α = {alpha}"),
        }
    }

    /// Returns minus the theory's rate. On the borrowed schedule the lag is of order η/α, the root of the transported
    /// method's; constant α has a floor.
    fn exponent(self, p: f64) -> f64 {
        match self {
            Self::Own(method) => -method.rate(p),
            Self::Borrowed => -Method::Transported.rate(p) / 2.0,
            Self::Constant(_) => 0.0,
        }
    }
}

/// Set of noise laws that are tried; the worst one counts.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Adversary {
    /// Spikes of q = 10^−0.5, 10^−1, …, 10^−5.
    Spikes,
    /// Spikes of q = α of the schedule only.
    Spike,
    /// One skewed stable law, σ = ½.
    Stable,
}

/// A curve over N: one schedule against one adversary.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Curve {
    p: f64,
    schedule: Schedule,
    adversary: Adversary,
    seeds: usize,
    /// Samples N of its runs.
    samples: &'static [u64],
}

impl Curve {
    /// Returns the laws, with their bowls, of a point.
    fn laws(&self, samples: u64) -> Result<Vec<(Law, Bowl<'static>)>> {
        let p = self.p;
        Ok(match self.adversary {
            Adversary::Spikes => {
                (1..=10).map(|i| (Law::Spike { p, q: 10f64.powf(-0.5 * f64::from(i)) }, Bowl::LINE)).collect()
            }
            Adversary::Spike => {
                let alpha = 1.0 - self.schedule.rule(p, samples)?.keep(2);
                vec![(Law::Spike { p, q: f64::from(alpha) }, Bowl::LINE)]
            }
            Adversary::Stable => vec![(Law::Stable { p }, Bowl { sigma: 0.5, ..Bowl::LINE })],
        })
    }
}

struct Run {
    curve: usize,
    samples: u64,
    law: Law,
    bowl: Bowl<'static>,
    seed: usize,
}

/// Errors of a curve: for each N and each law, those of all seeds.
type Measured = Vec<(u64, Vec<Vec<Errors>>)>;

/// Runs all curves together.
fn measure<S: Subject>(settings: &Settings, curves: &[Curve]) -> Result<Vec<Measured>> {
    let mut runs = Vec::new();
    for (index, curve) in curves.iter().enumerate() {
        for samples in curve.samples {
            for (law, bowl) in curve.laws(*samples)? {
                runs.extend((0..curve.seeds).map(|seed| Run { curve: index, samples: *samples, law, bowl, seed }));
            }
        }
    }
    let errors = settings.all(&runs, |run| {
        let Curve { p, schedule, .. } = curves[run.curve];
        let rule = schedule.rule(p, run.samples)?;
        run.bowl.run::<S>(&rule, run.law, run.samples, &mut settings.generator(Experiment::Rate, run.seed))
    })?;
    let mut errors = runs.iter().zip(errors);
    let of = |curve: &Curve| {
        let mut points = Vec::new();
        for samples in curve.samples {
            let laws = curve.laws(*samples)?.len();
            let all: Vec<Errors> = errors.by_ref().take(laws * curve.seeds).map(|run| run.1).collect();
            points.push((*samples, all.chunks(curve.seeds).map(<[_]>::to_vec).collect()));
        }
        Ok(points)
    };
    curves.iter().map(of).collect()
}

/// Returns (N, worst mean error) over some seeds.
fn worst(measured: &Measured, seeds: &[usize], part: fn(&Errors) -> f64) -> Vec<(f64, f64)> {
    let of = |laws: &Vec<Vec<Errors>>| {
        let means = laws.iter().map(|errors| mean(seeds.iter().map(|seed| part(&errors[*seed]))));
        means.fold(f64::NEG_INFINITY, f64::max)
    };
    measured.iter().map(|(samples, laws)| (*samples as f64, of(laws))).collect()
}

fn slope(measured: &Measured, seeds: usize, part: fn(&Errors) -> f64) -> Estimate {
    jackknife(seeds, |seeds| PowerLaw::fit(&worst(measured, seeds, part)).slope)
}

fn whole(errors: &Errors) -> f64 {
    errors.whole
}

fn half(errors: &Errors) -> f64 {
    errors.half
}

/// Prototype's slopes: (p, schedule, whole run, second half).
type Prototype = (f64, Schedule, Option<Estimate>, Option<Estimate>);

const fn found(value: f64, interval: f64) -> Option<Estimate> {
    Some(Estimate::new(value, interval))
}

/// Creates an estimate without an interval.
const fn said(value: f64) -> Option<Estimate> {
    Some(Estimate::exact(value))
}

const PLAIN: Schedule = Schedule::Own(Method::Plain);
const TRANSPORTED: Schedule = Schedule::Own(Method::Transported);

/// Prototype's slopes against the worst spikes.
const WORST: [Prototype; 20] = [
    (1.2, PLAIN, found(-0.098, 0.004), found(-0.11, 0.02)),
    (1.2, TRANSPORTED, found(-0.120, 0.018), found(-0.16, 0.06)),
    (1.2, Schedule::Borrowed, found(-0.095, 0.014), None),
    (1.2, Schedule::Constant(1.0), said(0.005), None),
    (1.2, Schedule::Constant(0.1), None, said(0.007)),
    (1.5, PLAIN, found(-0.184, 0.007), found(-0.208, 0.034)),
    (1.5, TRANSPORTED, found(-0.207, 0.010), found(-0.224, 0.033)),
    (1.5, Schedule::Borrowed, found(-0.184, 0.011), said(-0.176)),
    (1.5, Schedule::Constant(1.0), said(0.0), None),
    (1.5, Schedule::Constant(0.1), None, said(0.015)),
    (1.8, PLAIN, found(-0.225, 0.005), found(-0.242, 0.017)),
    (1.8, TRANSPORTED, found(-0.258, 0.009), found(-0.272, 0.022)),
    (1.8, Schedule::Borrowed, found(-0.224, 0.008), said(-0.211)),
    (1.8, Schedule::Constant(1.0), said(-0.001), None),
    (1.8, Schedule::Constant(0.1), None, said(0.02)),
    (2.0, PLAIN, found(-0.240, 0.003), found(-0.253, 0.022)),
    (2.0, TRANSPORTED, found(-0.270, 0.009), found(-0.278, 0.025)),
    (2.0, Schedule::Borrowed, found(-0.238, 0.010), said(-0.226)),
    (2.0, Schedule::Constant(1.0), said(-0.001), None),
    (2.0, Schedule::Constant(0.1), None, said(0.02)),
];

/// Prototype's slopes against spikes of q = α.
const SPIKE: [Prototype; 6] = [
    (1.5, PLAIN, found(-0.190, 0.004), found(-0.209, 0.016)),
    (1.5, TRANSPORTED, found(-0.211, 0.005), found(-0.221, 0.017)),
    (1.8, PLAIN, found(-0.226, 0.004), found(-0.234, 0.015)),
    (1.8, TRANSPORTED, found(-0.260, 0.004), found(-0.271, 0.012)),
    (2.0, PLAIN, found(-0.240, 0.003), found(-0.250, 0.010)),
    (2.0, TRANSPORTED, found(-0.277, 0.003), found(-0.280, 0.009)),
];

/// Prototype's slopes against one stable law.
const STABLE: [Prototype; 8] = [
    (1.5, PLAIN, found(-0.185, 0.006), None),
    (1.5, TRANSPORTED, found(-0.205, 0.006), None),
    (1.5, Schedule::Constant(1.0), found(-0.042, 0.001), None),
    (1.5, Schedule::Constant(0.1), None, found(-0.003, 0.017)),
    (1.8, PLAIN, found(-0.224, 0.004), None),
    (1.8, TRANSPORTED, found(-0.254, 0.005), None),
    (1.8, Schedule::Constant(1.0), said(-0.120), None),
    (1.8, Schedule::Constant(0.1), None, found(-0.02, 0.03)),
];

/// Samples of the runs against spikes of q = α, which are cheaper.
const LONGER: [u64; 7] = [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// Runs the experiment. The quick extent has the worst spikes at p = 2.
///
/// # Errors
/// Returns an error if the rule is refused.
pub fn run<S: Subject>(settings: &Settings) -> Result<Shown> {
    // Curves, each with its prototype.
    let mut curves: Vec<(Curve, Prototype)> = Vec::new();
    let mut add = |adversary, seeds, samples, prototypes: &[Prototype]| {
        let curve = |prototype: &Prototype| {
            let &(p, schedule, ..) = prototype;
            (Curve { p, schedule, adversary, seeds, samples }, *prototype)
        };
        curves.extend(prototypes.iter().map(curve));
    };
    if settings.is_full() {
        add(Adversary::Spikes, 8, &SAMPLES, &WORST);
        add(Adversary::Spike, 12, &LONGER, &SPIKE);
        add(Adversary::Stable, 16, &SAMPLES, &STABLE);
    } else {
        let promised = |prototype: &&Prototype| {
            prototype.0 == 2.0 && [PLAIN, TRANSPORTED, Schedule::Constant(1.0)].contains(&prototype.1)
        };
        add(Adversary::Spikes, 8, &SAMPLES, &WORST.iter().filter(promised).copied().collect::<Vec<_>>());
    }
    let measured = measure::<S>(settings, &curves.iter().map(|curve| curve.0).collect::<Vec<_>>())?;

    let mut findings = Vec::new();
    let mut panels: Vec<((f64, Adversary), Panel)> = Vec::new();
    for ((curve, (.., prototype, prototype_half)), measured) in curves.iter().zip(&measured) {
        let Curve { p, schedule, adversary, seeds, .. } = *curve;
        let against = match adversary {
            Adversary::Spikes => "worst spikes",
            Adversary::Spike => "spikes of q = α",
            Adversary::Stable => "one stable law",
        };
        let what = |part: &str| format!("slope in N, {}, {against}, p = {p}{part}", schedule.name());
        let exponent = schedule.exponent(p);
        let of_whole = slope(measured, seeds, whole);
        let finding = Finding::new(what(""), exponent, of_whole).beside(*prototype);
        let promised = match schedule {
            _ if adversary != Adversary::Spikes => None,
            _ if p == 1.2 && schedule.exponent(p) != 0.0 => Some((-1.0, 0.0)),
            _ if p != 2.0 => None,
            PLAIN => Some((-0.265, -0.225)),
            TRANSPORTED => Some((-0.305, -0.255)),
            Schedule::Constant(1.0) => Some((-0.02, 0.02)),
            Schedule::Borrowed | Schedule::Constant(_) => None,
        };
        findings.push(match promised {
            Some((low, high)) => finding.promised(low, high),
            None => finding,
        });
        if settings.is_full() {
            let of_half = slope(measured, seeds, half);
            findings.push(Finding::new(what(", second half"), exponent, of_half).beside(*prototype_half));
        }
        let every: Vec<usize> = (0..seeds).collect();
        let series = Series::sloped(schedule.name(), worst(measured, &every, whole), Some(of_whole), exponent);
        match panels.iter_mut().find(|panel| panel.0 == (p, adversary)) {
            Some((_, panel)) => panel.series.push(series),
            None => panels.push((
                (p, adversary),
                Panel {
                    title: format!("Error after N samples, {against}, p = {p}"),
                    x: "N".into(),
                    y: "mean of ‖∇F(X)‖".into(),
                    caption: match adversary {
                        Adversary::Spikes => {
                            "Every point is the worst of ten frequencies of spikes, so α = 1 makes no progress."
                        }
                        Adversary::Spike => "Without the worst case, but with longer runs and tighter intervals.",
                        Adversary::Stable => "Noise that does not depend on N: one skewed law for all.",
                    }
                    .into(),
                    series: vec![series],
                },
            )),
        }
    }
    // Both methods see the same noise, so their difference is more precise than each slope.
    let of = |schedule| {
        curves
            .iter()
            .zip(&measured)
            .find(|((curve, _), _)| (curve.p, curve.schedule, curve.adversary) == (2.0, schedule, Adversary::Spikes))
    };
    if let (Some(((curve, _), plain)), Some((_, transported))) = (of(PLAIN), of(TRANSPORTED)) {
        let difference = jackknife(curve.seeds, |seeds| {
            let slope = |measured| PowerLaw::fit(&worst(measured, seeds, whole)).slope;
            slope(plain) - slope(transported)
        });
        let theory = Method::Transported.rate(2.0) - Method::Plain.rate(2.0);
        findings.push(
            Finding::new("how much steeper with transport, worst spikes, p = 2", theory, difference)
                .beside(found(0.03, 0.01)),
        );
    }
    Ok((findings, panels.into_iter().map(|panel| panel.1).collect()))
}
