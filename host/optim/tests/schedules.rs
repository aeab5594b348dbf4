//! Tests of schedules that only the workstation has: of step size, momentum and rests of transport, by group.

#[path = "common/parameters.rs"]
mod common;
#[path = "common/numbers.rs"]
mod numbers;

use common::{gradients, linear_loss, model};
use graftage_core::random::Generator;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use graftage_optim::Decay;
use graftage_optim::baselines::Baseline;
use graftage_optim::schedule::{Course, Knot, Knots, Window};
use graftage_optim::{Group, Groups, Role, TransportedScion, named};
use numbers::{ARITHMETICS, bits, elements, x};
use tch::Tensor;

fn knots(pairs: &[(u64, f32)]) -> Knots {
    Knots::new(pairs.iter().map(|(step, value)| Knot { step: *step, value: *value }))
}

#[test]
fn courses_follow_their_equations() {
    let steps = 40;
    let cosine = Course::Cosine { warmup: 8, floor: 0.1 };
    let power = Course::Power { exponent: 0.5, warmup: 8, floor: 0.1 };
    let straight = Course::Power { exponent: 1.0, warmup: 0, floor: 0.0 };
    for t in 1..=50u64 {
        let done = ((t as f64 - 9.0) / 32.0).clamp(0.0, 1.0);
        let warm = (t <= 8).then_some(t as f64 / 8.0);
        let half = 0.5 + 0.5 * (std::f64::consts::PI * done).cos();
        for (course, expected) in [
            (&cosine, warm.unwrap_or(0.1 + 0.9 * half)),
            (&power, warm.unwrap_or(0.1 + 0.9 * (1.0 - done).sqrt())),
            (&straight, 1.0 - ((t as f64 - 1.0) / 40.0).min(1.0)),
            (&Course::Linear, 1.0 - ((t as f64 - 1.0) / 40.0).min(1.0)),
            (&Course::Constant, 1.0),
        ] {
            let found = course.factor(t, steps);
            assert!((f64::from(found) - expected).abs() < 1e-6, "{course:?} at {t}: {found}, expected {expected}");
        }
    }
    let polyline = Course::Knots(knots(&[(5, 0.2), (10, 1.0), (20, 0.0)]));
    for (t, expected) in [(1, 0.2), (5, 0.2), (6, 0.36), (10, 1.0), (15, 0.5), (20, 0.0), (90, 0.0)] {
        assert!((polyline.factor(t, steps) - expected).abs() < 1e-6, "{t}: {}", polyline.factor(t, steps));
    }
}

#[test]
fn courses_that_do_not_fit_are_refused() {
    let nine: Vec<_> = (1..=9).map(|step| (step, 1.0)).collect();
    for (course, expected) in [
        (Course::Cosine { warmup: 40, floor: 0.0 }, "40 steps of warmup take all 40 steps"),
        (Course::Cosine { warmup: 0, floor: 1.5 }, "the floor must be in [0, 1], found 1.5"),
        (Course::Power { exponent: 0.0, warmup: 0, floor: 0.0 }, "the exponent must be finite and > 0, found 0"),
        (Course::Power { exponent: 1.0, warmup: 0, floor: f32::NAN }, "the floor must be in [0, 1], found NaN"),
        (Course::WarmupStableDecay { warmup: 20, decay: 30 }, "do not fit into 40 steps"),
        (Course::Knots(knots(&nine)), "1 to 8 knots, not 9"),
        (Course::Knots(knots(&[(3, 1.0), (3, 0.5)])), "must ascend, but 3 follows 3"),
        (Course::Knots(knots(&[(3, f32::INFINITY)])), "inf at step 3 is not in [0, inf)"),
        (Course::Knots(knots(&[(3, -0.5)])), "-0.5 at step 3 is not in"),
    ] {
        let found = course.check(40).unwrap_err();
        assert!(found.contains(expected), "{found}");
    }
    Course::Cosine { warmup: 39, floor: 1.0 }.check(40).unwrap();
}

#[test]
fn a_group_has_a_schedule_of_its_own() {
    let course = Course::Cosine { warmup: 2, floor: 0.25 };
    for arithmetic in ARITHMETICS {
        let own = Group { schedule: Some(course.clone()), ..Group::new("first") };
        let groups = Groups::overriding([own]).over(12);
        let rule = Rule { schedule: Schedule::Linear { steps: 12 }, ..Rule::PLAIN };
        let run = |groups: &Groups, at: &dyn Fn(u64, &mut Rule)| {
            let (store, parameters) = model(3);
            let mut optimizer = TransportedScion::with_groups(named(&store), rule, arithmetic, groups).unwrap();
            let mut generator = Generator::new(17, 1);
            for t in 1..=12 {
                at(t, &mut optimizer.rule);
                optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
            }
            bits(&x(&optimizer))
        };
        let found = run(&groups, &|_, _| {});
        let others = run(&Groups::automatic(), &|_, _| {});
        let by_hand = run(&Groups::automatic(), &|t, rule| {
            rule.schedule = Schedule::Constant;
            rule.step_size = Rule::PLAIN.step_size * course.factor(t, 12);
        });
        for (at, found) in found.iter().enumerate() {
            assert_eq!(found, if at == 1 { &by_hand[at] } else { &others[at] }, "{arithmetic}, parameter {at}");
        }
        assert_ne!(by_hand[1], others[1]);
    }
}

/// Query points and weights of all parameters after each of some steps.
fn course_of(rule: Rule, groups: &Groups, steps: u64) -> Vec<(Vec<Tensor>, Vec<Tensor>)> {
    let (store, parameters) = model(3);
    let arithmetic = ARITHMETICS[0];
    let mut optimizer = TransportedScion::with_groups(named(&store), rule, arithmetic, groups).unwrap();
    let mut generator = Generator::new(17, 1);
    let mut after = |_| {
        optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
        (parameters.iter().map(|tensor| tensor.detach().copy()).collect(), x(&optimizer))
    };
    (1..=steps).map(&mut after).collect()
}

#[test]
fn momentum_goes_up_and_down_and_transport_follows_it() {
    let momentum = knots(&[(1, 0.5), (4, 0.9), (8, 0.9), (10, 0.6)]);
    let group = Group { momentum: Some(momentum.clone()), ..Group::new("*") };
    // A published step: Y = X + β/(1 − β)·D with the β of the coming step.
    let rule = Rule { transport: Transport::Fixed { theta: 1.0 }, ..Rule::PLAIN };
    let seen = course_of(rule, &Groups::overriding([group.clone()]), 12);
    for t in 2..=12usize {
        let beta = f64::from(momentum.at(t as u64 + 1));
        let ((_, before), (y, now)) = (&seen[t - 2], &seen[t - 1]);
        for ((before, y), x) in before.iter().zip(y).zip(now) {
            let expected = x + (x - before) * (beta / (1.0 - beta));
            let off = f64::try_from((y - expected).abs().max()).unwrap();
            // Measured: 1.2e-6, where β/(1 − β) is 9.
            assert!(off < 5e-6, "step {t}: {off:e}");
        }
    }
    // Without transport the same as a momentum that is set for each step.
    let still = Rule { transport: Transport::Fixed { theta: 0.0 }, ..rule };
    let seen = course_of(still, &Groups::overriding([group]), 12);
    let (store, parameters) = model(3);
    let mut optimizer = TransportedScion::new(&store, still, ARITHMETICS[0]).unwrap();
    let mut generator = Generator::new(17, 1);
    for t in 1..=12 {
        optimizer.rule.momentum = Momentum::Constant(momentum.at(t));
        optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
        assert_eq!(bits(&x(&optimizer)), bits(&seen[t as usize - 1].1), "step {t}");
    }
}

#[test]
fn transport_rests_in_its_windows() {
    for transport in
        [Transport::Fixed { theta: 1.0 }, Transport::Lag { memory: 0.6 }, Transport::Alignment { damping: 1.0 }]
    {
        let rule = Rule { transport, ..Rule::PLAIN };
        let rest = vec![Window { first: 1, last: 4 }, Window { first: 8, last: 9 }];
        let group = Group { rest, ..Group::new("first") };
        for (at, (y, x)) in course_of(rule, &Groups::overriding([group]), 12).iter().enumerate() {
            // The step after this one takes its gradient at Y.
            let coming = at + 2;
            let rests = (1..=4).contains(&coming) || (8..=9).contains(&coming);
            let is_apart = |parameter: usize| elements(&y[parameter]) != elements(&x[parameter]);
            assert_eq!(is_apart(1), !rests, "{transport:?}, step {coming}");
            assert!(is_apart(3), "{transport:?}, step {coming}: another parameter");
        }
    }
}

#[test]
fn transport_cannot_rest_under_nesterovs_law() {
    let rest = vec![Window { first: 1, last: 4 }];
    let groups = Groups::overriding([Group { rest, ..Group::new("first") }]);
    let rule = Rule { transport: Transport::Nesterov, ..Rule::PLAIN };
    let (store, _) = model(3);
    let error = TransportedScion::with_groups(named(&store), rule, ARITHMETICS[0], &groups).unwrap_err();
    assert!(error.to_string().contains("cannot rest under Nesterov's law"), "{error}");
}

#[test]
fn a_lag_longer_than_the_smallest_momentum_is_refused() {
    let groups = Groups::overriding([Group { momentum: Some(knots(&[(1, 0.5), (9, 0.95)])), ..Group::new("first") }]);
    let rule = Rule { transport: Transport::Lag { memory: 0.6 }, ..Rule::PLAIN };
    let (store, _) = model(3);
    let error = TransportedScion::with_groups(named(&store), rule, ARITHMETICS[0], &groups).unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("below every momentum"), "{error}");
}

#[test]
fn settings_survive_their_files() {
    let group = Group {
        decay: Some(Decay { strength: 0.2, cautious: true }),
        momentum: Some(knots(&[(1, 0.5), (9, 0.95)])),
        schedule: Some(Course::Cosine { warmup: 5, floor: 0.1 }),
        rest: vec![Window { first: 1, last: 4 }],
        rule: Baseline::find("adamw"),
        ..Group::new("*").of_roles(&[Role::Bias])
    };
    for group in [
        group.clone(),
        Group {
            decay: Some(Decay { strength: 0.1, cautious: false }),
            momentum: Some(Knots::constant(0.9)),
            schedule: Some(Course::Knots(knots(&[(1, 1.0)]))),
            ..group
        },
        Group::new("w"),
    ] {
        let text = serde_json::to_string(&group).unwrap();
        println!("{text}");
        assert_eq!(serde_json::from_str::<Group>(&text).unwrap(), group);
    }
}
