//! Tests of averages of the weights, and of the limiter of gradients.

#[path = "common/parameters.rs"]
mod common;
#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/numbers.rs"]
mod numbers;

use common::{gradients, linear_loss, model, model_on};
use graftage_core::random::Generator;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use graftage_optim::method::Method;
use graftage_optim::{Average, Group, Groups, Tensors, TransportedScion, named};
use numbers::{ARITHMETICS, bits, elements, random, x};
use tch::{Device, Kind, Tensor, no_grad};

const RULE: Rule = Rule { transport: Transport::Lag { memory: 0.6 }, ..Rule::PLAIN };

fn tensors(named: Tensors) -> Vec<Tensor> {
    named.into_iter().map(|(_, tensor)| tensor).collect()
}

/// Moves to float64.
fn double(tensors: &[Tensor]) -> Vec<Tensor> {
    tensors.iter().map(|tensor| tensor.to_device(Device::Cpu).to_kind(Kind::Double)).collect()
}

#[test]
fn averages_are_those_of_their_equations() {
    for (device, arithmetic) in cuda::devices().flat_map(|device| ARITHMETICS.map(|arithmetic| (device, arithmetic))) {
        for average in [Average::Exponential { memory: 0.8 }, Average::Tail { from: 5 }] {
            let (store, parameters) = model_on(device, 3);
            let groups = Groups::overriding([Group { freeze: true, ..Group::new("bias") }]);
            let optimizer = TransportedScion::with_groups(named(&store), RULE, arithmetic, &groups).unwrap();
            let bytes = optimizer.bytes();
            let mut optimizer = optimizer.averaging(average).unwrap();
            // Of all 94 numbers, 6 are frozen.
            assert_eq!(optimizer.bytes() - bytes, 4 * (94 - 6));
            assert_eq!(bits(&tensors(optimizer.average().unwrap())), bits(&x(&optimizer)));
            let (mut generator, mut seen, mut expected) = (Generator::new(17, 1), Vec::new(), Vec::new());
            for t in 1..=12u64 {
                optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
                seen.push(double(&x(&optimizer)));
                let now = seen.last().unwrap();
                expected = match average {
                    Average::Tail { from } => {
                        let first = (t.max(from) - from) as usize;
                        let tail = &seen[if t < from { seen.len() - 1 } else { seen.len() - 1 - first }..];
                        let mean = |at: usize| Tensor::stack(&tail.iter().map(|x| &x[at]).collect::<Vec<_>>(), 0);
                        (0..now.len()).map(|at| mean(at).mean_dim([0i64].as_slice(), false, Kind::Double)).collect()
                    }
                    Average::Exponential { memory } => {
                        let weight = (1.0 - f64::from(memory)).max(1.0 / t as f64);
                        let before = if t == 1 { now } else { &expected };
                        before.iter().zip(now).map(|(mean, x)| mean * (1.0 - weight) + x * weight).collect()
                    }
                };
                let found = double(&tensors(optimizer.average().unwrap()));
                for (found, expected) in found.iter().zip(&expected) {
                    let off = f64::try_from((found - expected).abs().max()).unwrap();
                    // Measured: 1.8e-7.
                    assert!(off < 1e-6, "{average}, {arithmetic}, {device:?}, step {t}: {off:e}");
                }
            }
            // While the average is looked at, the model holds it; then again Y.
            let held = bits(&parameters);
            let shown = optimizer.evaluate_average(|| bits(&parameters)).unwrap();
            assert_eq!(shown, bits(&tensors(optimizer.average().unwrap())));
            assert_ne!(shown, optimizer.evaluate(|| bits(&parameters)).unwrap());
            assert_eq!(bits(&parameters), held);
        }
    }
}

#[test]
fn an_average_and_the_limiters_means_go_on_from_the_state() {
    for method in Method::all() {
        let make = || {
            let (store, parameters) = model(3);
            let optimizer = method.optimizer(&store, RULE, ARITHMETICS[0], &Groups::automatic(), 9).unwrap();
            let optimizer = optimizer.averaging(Average::Exponential { memory: 0.7 }).unwrap().limited(1.5).unwrap();
            (optimizer, parameters)
        };
        let (mut whole, parameters) = make();
        let (mut generator, mut saved) = (Generator::new(17, 1), None);
        for t in 1..=9 {
            let scale = if t == 7 { 1e4 } else { 1.0 };
            let gradients: Vec<_> = gradients(&mut generator).into_iter().map(|g| g * scale).collect();
            whole.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            if t == 4 {
                saved = Some((whole.state().unwrap(), generator.clone()));
            }
        }
        let ((mut resumed, parameters), (state, mut generator)) = (make(), saved.unwrap());
        resumed.restore(&state).unwrap();
        for t in 5..=9 {
            let scale = if t == 7 { 1e4 } else { 1.0 };
            let gradients: Vec<_> = gradients(&mut generator).into_iter().map(|g| g * scale).collect();
            resumed.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
        }
        assert_eq!(bits(&x(&resumed)), bits(&x(&whole)), "{method}");
        assert_eq!(bits(&tensors(resumed.average().unwrap())), bits(&tensors(whole.average().unwrap())), "{method}");
        // A run that keeps no average takes the state of one that does, and the other way round.
        let (store, _) = model(3);
        let mut without = method.optimizer(&store, RULE, ARITHMETICS[0], &Groups::automatic(), 9).unwrap();
        without.restore(&state).unwrap();
        let silent = without.state().unwrap();
        let (mut again, _) = make();
        again.restore(&silent).unwrap();
        assert_eq!(bits(&tensors(again.average().unwrap())), bits(&x(&again)), "{method}");
    }
}

#[test]
fn an_average_starts_from_weights_that_were_loaded_or_drawn() {
    let (store, parameters) = model(3);
    let optimizer = TransportedScion::new(&store, RULE, ARITHMETICS[0]).unwrap();
    let mut optimizer = optimizer.averaging(Average::Tail { from: 1 }).unwrap();
    no_grad(|| parameters[1].shallow_clone().copy_(&random(&[6, 4], &mut Generator::new(5, 1))));
    assert_eq!(bits(&tensors(optimizer.average().unwrap())), bits(&x(&optimizer)));
    optimizer.initialise(8).unwrap();
    assert_eq!(bits(&tensors(optimizer.average().unwrap())), bits(&x(&optimizer)));
}

#[test]
fn averages_and_limits_out_of_range_are_refused() {
    for average in [
        Average::Exponential { memory: 0.0 },
        Average::Exponential { memory: 1.0 },
        Average::Exponential { memory: f32::NAN },
        Average::Tail { from: 0 },
    ] {
        let (store, _) = model(3);
        let error = TransportedScion::new(&store, RULE, ARITHMETICS[0]).unwrap().averaging(average).unwrap_err();
        assert!(error.to_string().starts_with("parameter the average: the "), "{error}");
    }
    for factor in [1.0, 0.0, -2.0, f32::NAN, f32::INFINITY] {
        let (store, _) = model(3);
        let error = TransportedScion::new(&store, RULE, ARITHMETICS[0]).unwrap().limited(factor).unwrap_err();
        assert!(error.to_string().contains("must be finite and > 1"), "{error}");
    }
    for (text, expected) in [
        ("exponential=0.99", Some(Average::Exponential { memory: 0.99 })),
        ("tail=400", Some(Average::Tail { from: 400 })),
        ("tail=0", None),
        ("exponential=2", None),
        ("mean", None),
        ("tail=x", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text}");
    }
}

/// Limits a gradient's norm by the equations, in float64. Returns the factor of the gradient.
fn limited(mean: &mut Option<f64>, norm: f64, factor: f64) -> f64 {
    let bounded = mean.map_or(norm, |mean| norm.min(factor * mean));
    *mean = Some(mean.map_or(norm, |mean| 0.9 * mean + 0.1 * bounded));
    if norm > 0.0 { bounded / norm } else { 1.0 }
}

#[test]
fn the_limiter_scales_each_matrix_by_the_mean_of_its_norms() {
    let rule = Rule { transport: Transport::Fixed { theta: 0.0 }, ..Rule::PLAIN };
    for (device, arithmetic) in cuda::devices().flat_map(|device| ARITHMETICS.map(|arithmetic| (device, arithmetic))) {
        let (store, parameters) = model_on(device, 3);
        let optimizer = TransportedScion::new(&store, rule, arithmetic).unwrap();
        let mut optimizer = optimizer.limited(2.0).unwrap();
        let mut generator = Generator::new(17, 1);
        let mut twins: Vec<_> = parameters.iter().map(|p| (None, p.detach().zeros_like())).collect();
        // Some gradients too large for their squares, and the first of all parameters 0.
        for scale in [0.0, 1.0, 1.0, 1e6, 1e30, 1.0, 0.0, 1e-30, 3.0, 1.0] {
            let gradients: Vec<_> = gradients(&mut generator).into_iter().map(|g| g * scale).collect();
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            let keep = if optimizer.steps() == 1 { 0.0 } else { 0.9 };
            let state = optimizer.state().unwrap();
            for (at, ((mean, m), gradient)) in twins.iter_mut().zip(&gradients).enumerate() {
                let g = gradient.to_device(Device::Cpu).to_kind(Kind::Double);
                let norm = f64::try_from(g.norm()).unwrap();
                let first = mean.filter(|mean| *mean > 0.0);
                let mut kept = first;
                let share = limited(&mut kept, norm, 2.0);
                *mean = kept;
                *m = &m.to_device(Device::Cpu).to_kind(Kind::Double) * keep + g * (share * (1.0 - keep));
                let name = format!("{}.m", common::PARAMETERS[at].0);
                let found = state.iter().find(|(found, _)| *found == name).unwrap().1.to_device(Device::Cpu);
                let off = f64::try_from((found.to_kind(Kind::Double) - &*m).norm()).unwrap();
                let size = f64::try_from(m.norm()).unwrap();
                // Measured: 3e-7.
                assert!(off <= 1e-6 * size, "{name}, {arithmetic}, {device:?}, scale {scale:e}: {off:e} of {size:e}");
            }
        }
    }
}

#[test]
fn one_huge_gradient_rules_few_steps_with_the_limiter_and_many_without() {
    let rules = |limiter: Option<f32>| {
        let (store, parameters) = model(3);
        let optimizer = TransportedScion::new(&store, RULE, ARITHMETICS[0]).unwrap();
        let mut optimizer = match limiter {
            Some(factor) => optimizer.limited(factor).unwrap(),
            None => optimizer,
        };
        let mut generator = Generator::new(17, 1);
        let mut huge = Tensor::new();
        let mut ruled = 0;
        for t in 0..200 {
            let mut gradients = gradients(&mut generator);
            if t == 20 {
                huge = gradients[1].copy();
                gradients[1] *= 1e6;
            }
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            if t > 20 {
                let m = optimizer.state().unwrap().into_iter().find(|(name, _)| name == "first.m").unwrap().1;
                let cosine = f32::try_from((&m * &huge).sum(Kind::Float) / (m.norm() * huge.norm())).unwrap();
                ruled += usize::from(cosine > 0.5);
            }
        }
        // Whatever was limited, the model's gradients are the caller's.
        (ruled, elements(&parameters[1].grad()))
    };
    let ((without, own), (with, same)) = (rules(None), rules(Some(2.0)));
    println!("{without} steps without, {with} with");
    assert_eq!(own, same);
    // Measured: 134 and 9.
    assert!(without > 90 && with < 20, "{without}, {with}");
}

#[test]
fn the_limiter_leaves_usual_gradients_and_refused_ones_alone() {
    let run = |limiter: bool| {
        let (store, parameters) = model(3);
        let optimizer = TransportedScion::new(&store, RULE, ARITHMETICS[0]).unwrap();
        let mut optimizer = if limiter { optimizer.limited(50.0).unwrap() } else { optimizer };
        let mut generator = Generator::new(17, 1);
        for t in 0..12 {
            let mut gradients = gradients(&mut generator);
            if t % 3 == 1 {
                gradients[1] *= f64::NAN;
            }
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
        }
        bits(&x(&optimizer))
    };
    assert_eq!(run(true), run(false));
}
