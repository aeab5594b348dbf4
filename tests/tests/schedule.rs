//! Tests of step sizes and momenta over the steps, and of their values according to the theory.

mod oracle;

use graftage_core::error::{Field, Refusal};
use graftage_core::schedule::{Momentum, Schedule, Theory, theory};
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;

/// Returns the factors of steps 1 to n.
fn factors(schedule: Schedule, n: u64) -> Vec<f32> {
    (1..=n).map(|t| schedule.factor(t)).collect()
}

#[test]
fn step_sizes_follow_their_lines_and_end_at_zero() {
    assert_eq!(factors(Schedule::Constant, 3), [1.0; 3]);
    assert_eq!(factors(Schedule::Linear { steps: 4 }, 6), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
    assert_eq!(factors(Schedule::Linear { steps: 0 }, 2), [0.0; 2]);
    let up_and_down = Schedule::WarmupStableDecay { warmup: 2, stable: 3, decay: 4 };
    assert_eq!(factors(up_and_down, 11), [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
    let at_once = Schedule::WarmupStableDecay { warmup: 0, stable: 0, decay: 2 };
    assert_eq!(factors(at_once, 3), [1.0, 0.5, 0.0]);
    let never_down = Schedule::WarmupStableDecay { warmup: 0, stable: u32::MAX, decay: 0 };
    assert_eq!(never_down.factor(u64::from(u32::MAX)), 1.0);
    assert_eq!(never_down.factor(u64::from(u32::MAX) + 1), 0.0);
    let [inverse, at_once_inverse] = [1, 0].map(|steps| Schedule::Inverse { steps });
    // Step 0 occurs only if a counter wraps.
    for schedule in [
        Schedule::Linear { steps: u32::MAX },
        Schedule::Linear { steps: 0 },
        Schedule::Inverse { steps: u32::MAX },
        inverse,
        at_once_inverse,
        up_and_down,
        at_once,
        never_down,
    ] {
        assert!([0, 1, 7, 1 << 24, 1 << 40, u64::MAX].iter().all(|t| (0.0..=1.0).contains(&schedule.factor(*t))));
    }
}

#[test]
fn step_sizes_without_a_horizon_fall_with_the_root_of_the_steps() {
    for steps in [1, 3, 40, 1 << 20, u32::MAX] {
        let schedule = Schedule::Inverse { steps };
        assert_eq!((schedule.factor(0), schedule.factor(1)), (1.0, 1.0));
        for t in [2, 3, 41, 1000, (1 << 24) + 1, 1 << 40, u64::MAX] {
            let exact = 1.0 / (1.0 + (t - 1) as f64 / f64::from(steps)).sqrt();
            let found = f64::from(schedule.factor(t));
            assert!((found / exact - 1.0).abs() < 2.5e-7, "{found} at {t} of {steps}, not {exact}");
        }
        assert_eq!(schedule.factor(1 + 3 * u64::from(steps)), 0.5);
    }
    assert_eq!(factors(Schedule::Inverse { steps: 0 }, 3), [0.0; 3]);
}

#[test]
fn momentum_starts_at_zero_and_goes_its_way() {
    let betas = |momentum: Momentum, n| (1..=n).map(|t| momentum.at(t)).collect::<Vec<_>>();
    assert_eq!(betas(Momentum::Constant(0.9), 3), [0.0, 0.9, 0.9]);
    let ramp = Momentum::Ramp { from: 0.5, to: 0.75, steps: 4 };
    assert_eq!(betas(ramp, 6), [0.0, 0.5625, 0.625, 0.6875, 0.75, 0.75]);
    for exponent in [0.25f32, 0.5, 1.0] {
        let power = Momentum::Power { exponent };
        assert_eq!((power.at(0), power.at(1)), (0.0, 0.0));
        for t in [2u32, 3, 10, 1000, 1 << 20] {
            let exact = 1.0 - f64::from(t).powf(-f64::from(exponent));
            assert!((f64::from(power.at(t.into())) - exact).abs() < 3e-7, "1 − {t}^−{exponent}");
        }
        // c = β/(1 − β) stays finite for any number of steps.
        for t in [1 << 26, 1 << 40, u64::MAX] {
            assert!((0.9..1.0).contains(&power.at(t)), "1 − {t}^−{exponent} = {}", power.at(t));
        }
    }
    let falling = Momentum::Ramp { from: 0.9, to: 0.2, steps: 9 };
    for momentum in [Momentum::Constant(0.9), ramp, falling, Momentum::Power { exponent: 0.5 }] {
        assert!((2..100).all(|t| momentum.at(t) >= momentum.smallest()), "{momentum:?}");
    }
}

#[test]
fn the_theory_balances_noise_lag_and_progress() {
    for p in [1.2f32, 1.5, 1.8, 2.0] {
        for (rank, samples) in [(1u32, 1e4f32), (1, 1e6), (16, 1e6), (300, 300.0)] {
            for transported in [false, true] {
                let Theory { alpha, step_size } = theory(p, rank, samples, transported).unwrap();
                let (p64, r, n) = (f64::from(p), f64::from(rank), f64::from(samples) / f64::from(rank));
                let (alpha, step) = (f64::from(alpha) * r, f64::from(step_size) * r);
                // Noise α^((p−1)/p), lag (η/α)^1 or ^2, and progress 1/(ηN) are all of one size, with N samples per
                // rank.
                let noise = alpha.powf((p64 - 1.0) / p64);
                let lag = (step / alpha).powi(if transported { 2 } else { 1 });
                let progress = 1.0 / (step * n);
                for (what, value) in [("lag", lag), ("progress", progress)] {
                    assert!(
                        (value / noise).ln().abs() < 1e-4,
                        "{what} at p = {p}, r = {rank}: {value} against {noise}"
                    );
                }
            }
        }
    }
    // N^(−1/2) and N^(−3/4) at p = 2 without transport.
    let Theory { alpha, step_size } = theory(2.0, 1, 1e4, false).unwrap();
    assert!((alpha - 1e-2).abs() < 1e-7 && (step_size - 1e-3).abs() < 1e-8, "{alpha} {step_size}");
    let rule = Rule::theory(1.5, 4, 1e5, true).unwrap();
    assert_eq!((rule.check(), rule.transport), (Ok(()), Transport::Fixed { theta: 1.0 }));
    for (p, rank, samples) in [(1.0, 1, 1e4), (2.1, 1, 1e4), (f32::NAN, 1, 1e4), (1.5, 0, 1e4), (1.5, 9, 8.0)] {
        assert_eq!(theory(p, rank, samples, true), Err(Refusal::Recipe(Field::Theory)), "{p} {rank} {samples}");
    }
    assert_eq!(theory(1.5, 1, f32::INFINITY, true), Err(Refusal::Recipe(Field::Theory)));
}
