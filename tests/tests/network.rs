//! Tests of networks: a step over a batch, refusals, frozen parameters, and what their types state.

mod common;
mod oracle;

use common::{RULE, random_network, real, set, state, state_bits};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::error::Refusal;
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::network::{
    AveragePool, Chain, Clip, Convolution, Dense, Depthwise, Fixed, Kind, Layer, MaxPool, MicromathTanh, Outcome,
    Parameter, Relu, RmsNorm, Shape, Standardise, Step, Tanh, Target, Window, initialise, predict, scratch,
    scratch_length, train_last, usual_geometries,
};
use graftage_core::norm::{with_workspace, workspace};
use graftage_core::random::Generator;
use graftage_core::schedule::Momentum;
use graftage_core::scion::{Geometry, Point, Role, Rule, Scion};
use oracle::layers::{cross_entropy, gradient, outputs, squared_error};
use oracle::{Random, Worst, tolerance};
use std::cell::Cell;

type Network = chain![Dense<4, 6>, Relu<6>, Dense<6, 5>, Relu<5>, Dense<5, 3>];

/// Layers of the network for the float64 oracle.
const LAYERS: [oracle::layers::Layer; 5] = {
    use oracle::layers::Layer::{Dense, Relu};
    [Dense { inputs: 4, outputs: 6 }, Relu, Dense { inputs: 6, outputs: 5 }, Relu, Dense { inputs: 5, outputs: 3 }]
};

/// Upper bound of max|δ|·max|a| and of max|δ| for an admitted sample.
const BOUND: f32 = 18_446_744_073_709_551_616.0;

fn loss(weights: &[f64], input: &[f32], label: u32) -> f64 {
    cross_entropy(&outputs(&LAYERS, weights, &real(input)), label as usize)
}

/// Returns the derivatives of the oracle's loss with respect to the weights Y.
fn exact_gradient(network: &mut Network, input: &[f32], label: u32) -> Vec<f64> {
    gradient(|y| loss(y, input, label), &real(&state(network)[1]))
}

fn samples(random: &mut Random, count: usize) -> Vec<(Vec<f32>, u32)> {
    (0..count).map(|_| (random.vector(4), random.below(3) as u32)).collect()
}

#[test]
fn the_momentum_of_a_first_step_is_the_mean_gradient_at_y() {
    let (mut of_gradient, mut of_loss) = (Worst::default(), Worst::default());
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut network = random_network::<Network>(&mut random);
        let batch = samples(&mut random, 1 + seed as usize);
        let mut mean = vec![0.0; Network::WEIGHTS];
        let mut step = Step::begin(&RULE, Functions::Libm, None, 1, batch.len() as u32);
        let (mut exact_loss, memory) = (0.0, &mut [f32::NAN; Network::SCRATCH]);
        for (input, label) in &batch {
            for (mean, g) in mean.iter_mut().zip(exact_gradient(&mut network, input, *label)) {
                *mean += g / batch.len() as f64;
            }
            let exact = loss(&real(&state(&mut network)[1]), input, *label);
            let found = step.add(&mut network, input, Target::Class(*label), memory).unwrap();
            of_loss.see((f64::from(found) - exact).abs() / (1.0 + exact));
            exact_loss += exact / batch.len() as f64;
        }
        let scale = mean.iter().fold(0.0, |l: f64, g| l.max(g.abs()));
        for (found, exact) in state(&mut network)[2].iter().zip(&mean) {
            of_gradient.see((f64::from(*found) - exact).abs() / scale);
        }
        let outcome = step.finish(&mut network, &RULE, &[], memory).unwrap();
        assert_eq!(outcome.admitted as usize, batch.len());
        of_loss.see((f64::from(outcome.loss) - exact_loss).abs() / (1.0 + exact_loss));
    }
    of_gradient.at_most("gradient", tolerance::GRADIENT);
    of_loss.at_most("loss", tolerance::LOSS);
}

#[test]
fn a_later_step_adds_its_mean_gradient_to_what_is_kept() {
    let mut random = Random::new(10);
    let mut network = random_network::<Network>(&mut random);
    let [_, _, kept] = state(&mut network);
    let batch = samples(&mut random, 4);
    let mut step = Step::begin(&RULE, Functions::Libm, None, 2, 4);
    let mut expected: Vec<f64> = kept.iter().map(|m| 0.9 * f64::from(*m)).collect();
    for (input, label) in &batch {
        expected.iter_mut().zip(exact_gradient(&mut network, input, *label)).for_each(|(e, g)| *e += 0.1 * g / 4.0);
        step.add(&mut network, input, Target::Class(*label), &mut [f32::NAN; Network::SCRATCH]).unwrap();
    }
    let mut worst = Worst::default();
    state(&mut network)[2].iter().zip(expected).for_each(|(m, e)| worst.see((f64::from(*m) - e).abs()));
    worst.at_most("momentum", tolerance::GRADIENT);
}

#[test]
fn a_step_moves_each_parameter_by_its_own_geometry() {
    let mut random = Random::new(11);
    let (mut network, memory) = (random_network::<Network>(&mut random), &mut [f32::NAN; Network::SCRATCH]);
    let mut step = Step::begin(&RULE, Functions::Libm, None, 1, 1);
    step.add(&mut network, &[0.1, 0.2, -0.3, 0.4], Target::Class(1), memory).unwrap();
    let mut expected = network.clone();
    step.finish(&mut network, &RULE, &[], memory);
    expected.parameters(&mut |parameter| {
        let shape = parameter.shape();
        let mut memory = vec![0.0; workspace(shape.0, shape.1)];
        let Parameter { mut state, geometry, alignment, .. } = parameter;
        let mut state: Scion<Slab<&mut [f32]>> = state.slabs();
        with_workspace(shape, &mut memory, |work| state.advance(*geometry, &RULE, 1, None, alignment, work));
    });
    assert_eq!(state_bits(&mut network), state_bits(&mut expected));
}

#[test]
fn the_prediction_is_the_largest_logit_at_x_and_its_probability() {
    let mut random = Random::new(12);
    let (mut network, memory) = (random_network::<Network>(&mut random), &mut [f32::NAN; Network::SCRATCH]);
    let x = real(&state(&mut network)[0]);
    let mut worst = Worst::default();
    for (input, _) in samples(&mut random, 50) {
        let losses = [0, 1, 2].map(|label| loss(&x, &input, label));
        let best = (0..3).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
        let found = predict(&network, Functions::Libm, &input, memory).unwrap();
        assert_eq!(found.class as usize, best);
        worst.see((f64::from(found.probability) - (-losses[best]).exp()).abs());
    }
    worst.at_most("probability", tolerance::LOSS);
    // Of equal classes, the first is predicted.
    let class = predict(&Network::ZERO, Functions::Libm, &[1.0; 4], memory).unwrap();
    assert_eq!((class.class, class.probability), (0, 1.0 / 3.0));
}

#[test]
fn a_refused_sample_changes_nothing_and_says_why() {
    let mut network = random_network::<Network>(&mut Random::new(13));
    let (before, memory) = (state_bits(&mut network), &mut [f32::NAN; Network::SCRATCH]);
    let mut nan_at_2 = [0.0; 4];
    let refusals: [(&[f32], u32, Refusal); 7] = [
        (&[0.0; 3], 0, Refusal::Length { expected: 4, found: 3 }),
        (&[0.0; 5], 0, Refusal::Length { expected: 4, found: 5 }),
        (&[], 0, Refusal::Length { expected: 4, found: 0 }),
        (&[0.0, f32::INFINITY, 0.0, f32::NAN], 0, Refusal::NotFinite { index: 1 }),
        (&[0.0; 4], 3, Refusal::Label { label: 3, classes: 3 }),
        (&[0.0; 4], u32::MAX, Refusal::Label { label: u32::MAX, classes: 3 }),
        (&[f32::MAX; 4], 0, Refusal::Overflow),
    ];
    nan_at_2[2] = f32::NAN;
    let nan = (nan_at_2.as_slice(), 1, Refusal::NotFinite { index: 2 });
    for t in [1, 2] {
        let mut step = Step::begin(&RULE, Functions::Libm, None, t, 2);
        for (input, label, why) in refusals.iter().chain([&nan]) {
            assert_eq!(step.add(&mut network, input, Target::Class(*label), memory), Err(*why));
        }
        assert_eq!(step.finish(&mut network, &RULE, &[], memory), None);
        assert_eq!(state_bits(&mut network), before);
    }
}

#[test]
fn a_refused_sample_in_a_batch_leaves_no_trace() {
    let mut random = Random::new(14);
    let network = random_network::<Network>(&mut random);
    let batch = samples(&mut random, 3);
    let run = |refused: &[usize]| {
        let (mut network, memory) = (network.clone(), &mut [f32::NAN; Network::SCRATCH]);
        let mut step = Step::begin(&RULE, Functions::Libm, None, 2, 4);
        for (i, (input, label)) in batch.iter().enumerate() {
            if refused.contains(&i) {
                assert_eq!(
                    step.add(&mut network, &[f32::MAX; 4], Target::Class(*label), memory),
                    Err(Refusal::Overflow)
                );
            }
            step.add(&mut network, input, Target::Class(*label), memory).unwrap();
        }
        let outcome = step.finish(&mut network, &RULE, &[], memory);
        (outcome, state_bits(&mut network))
    };
    let expected = run(&[]);
    for refused in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        assert_eq!(run(refused), expected, "{refused:?}");
    }
}

#[test]
fn a_sample_is_admitted_up_to_the_bound_and_not_beyond() {
    type Head = Dense<1, 2>;
    let mut network = Head::ZERO;
    let mut admitted = |a: f32, batch: u32| {
        // Zero weights give probabilities of ½: δ = ±1/(2B).
        Step::begin(&RULE, Functions::Libm, None, 1, batch)
            .add(&mut network, &[a], Target::Class(0), &mut [0.0; Head::SCRATCH])
            .is_ok()
    };
    for batch in [1, 8, 65_536] {
        let largest = BOUND * 2.0 * batch as f32;
        assert!(admitted(largest, batch) && admitted(-largest, batch));
        assert!(!admitted(largest.next_up(), batch) && !admitted(f32::MAX, batch));
    }
}

#[test]
fn no_admitted_samples_can_make_the_momentum_overflow() {
    // δ of the first layer is 2^128/B, and its inputs are given: products below 2^120 whose sum exceeds it.
    type Deep = chain![Dense<1, 1>, Relu<1>, Dense<1, 1>, Relu<1>, Dense<1, 2>];
    let power = |e: i32| f64::from(e).exp2() as f32;
    for input in [0.0, power(-20), 1.0, power(60)] {
        for (middle, head) in [(37, 90), (0, 60), (30, 40), (0, 10)] {
            for (rule, batch, steps) in
                [(RULE, 1024, 1), (Rule { momentum: Momentum::Constant(1.0f32.next_down()), ..RULE }, 1, 1000)]
            {
                let mut network = Deep::ZERO;
                usual_geometries(&mut network);
                set(&mut network, 1, &[power(-middle)]);
                set(&mut network, 2, &[power(middle)]);
                set(&mut network, 4, &[-power(head), power(head)]);
                for t in 1..=steps {
                    let mut step = Step::begin(&rule, Functions::Libm, None, t, batch);
                    // After one refusal, all later samples are refused as well.
                    for _ in 0..batch {
                        if step.add(&mut network, &[input], Target::Class(0), &mut [0.0; Deep::SCRATCH]).is_err() {
                            break;
                        }
                    }
                }
                let [_, _, m] = state(&mut network);
                assert!(m.iter().all(|m| m.is_finite()), "a = {input:e}, head 2^{head}, B = {batch}: {m:?}");
            }
        }
    }
}

#[test]
fn the_constants_of_a_type_are_the_numbers_of_its_network() {
    fn check<N: Fixed>() {
        let mut network = N::ZERO;
        let (mut weights, mut largest) = (0, 0);
        network.parameters(&mut |parameter| {
            let (m, n) = parameter.shape();
            weights += m * n;
            largest = largest.max(workspace(m, n));
            assert_eq!(*parameter.geometry, Geometry::FROZEN);
        });
        assert!(!network.trains());
        let run_time = (network.inputs(), network.outputs(), network.trace(), weights, largest);
        assert_eq!((N::INPUTS, N::OUTPUTS, N::TRACE, N::WEIGHTS, N::WORKSPACE), run_time);
        assert_eq!(N::SCRATCH, (2 * N::TRACE).max(N::WORKSPACE));
        assert_eq!(N::SCRATCH, scratch(N::TRACE, N::WORKSPACE));
        assert_eq!(N::SCRATCH, scratch_length(&mut network));
        assert_eq!(state_bits(&mut network), [const { Vec::new() }; 3].map(|_: Vec<u32>| vec![0; weights]));
    }
    check::<Network>();
    check::<Dense<1, 1>>();
    check::<Dense<64, 2>>();
    check::<chain![Relu<9>, Dense<9, 20>]>();
    check::<Tanh<5>>();
    check::<Convolution<9, 2, 5, 3, 2>>();
    check::<Depthwise<9, 2, 3, 2>>();
    check::<AveragePool<9, 2, 3, 2>>();
    check::<MaxPool<9, 2, 9, 1>>();
    check::<RmsNorm<6>>();
    check::<RmsNorm<6, 3>>();
    check::<chain![Standardise<6>, Clip<6, { 5.0f32.to_bits() }>, Dense<6, 2>]>();
    assert_eq!((Convolution::<9, 2, 5, 3, 2>::INPUTS, Convolution::<9, 2, 5, 3, 2>::OUTPUTS), (18, 20));
    assert_eq!((Depthwise::<8, 2, 3, 2>::INPUTS, Depthwise::<8, 2, 3, 2>::OUTPUTS), (16, 6));
}

#[test]
fn sizes_that_are_types_cost_no_memory() {
    type Small = chain![Convolution<9, 2, 4, 3, 2>, Tanh<16>, MaxPool<4, 4, 2, 2>, RmsNorm<4, 2>, Dense<8, 2>];
    // Three arrays, and the geometry and alignment of each of five parameters.
    let beside = size_of::<Dense<1, 1>>() - 6 * size_of::<f32>();
    assert_eq!(size_of::<Small>(), 3 * 4 * Small::WEIGHTS + 5 * beside / 2);
}

#[test]
fn the_schema_names_the_architecture() {
    let dense = |inputs, outputs| Kind::Dense { inputs, outputs };
    let relu = |width| Kind::Relu { width };
    let layers = [dense(4, 6), relu(6), dense(6, 5), relu(5), dense(5, 3)];
    assert_eq!(Kind::schema(&layers), Network::SCHEMA);
    let window = Window { places: 9, channels: 2, taps: 3, stride: 2 };
    let tanh = |functions| Kind::Tanh { width: 7, functions };
    let clip = |bound: f32| Kind::Clip { width: 7, bound: bound.to_bits() };
    let kinds = [
        (dense(7, 2), Dense::<7, 2>::SCHEMA),
        (relu(7), Relu::<7>::SCHEMA),
        (tanh(Functions::Libm), Tanh::<7>::SCHEMA),
        (tanh(Functions::Micromath), MicromathTanh::<7>::SCHEMA),
        (Kind::Convolution { window, filters: 5 }, Convolution::<9, 2, 5, 3, 2>::SCHEMA),
        (Kind::Depthwise(window), Depthwise::<9, 2, 3, 2>::SCHEMA),
        (Kind::AveragePool(window), AveragePool::<9, 2, 3, 2>::SCHEMA),
        (Kind::MaxPool(window), MaxPool::<9, 2, 3, 2>::SCHEMA),
        (Kind::RmsNorm { places: 3, channels: 6 }, RmsNorm::<6, 3>::SCHEMA),
        (Kind::Standardise { width: 7 }, Standardise::<7>::SCHEMA),
        (clip(5.0), Clip::<7, { 5.0f32.to_bits() }>::SCHEMA),
        (clip(2.5), Clip::<7, { 2.5f32.to_bits() }>::SCHEMA),
    ];
    let mut hashes = vec![Network::SCHEMA, Kind::schema(&[]), Kind::schema(&layers[..4]), Kind::schema(&layers[1..])];
    for (kind, schema) in kinds {
        assert_eq!(Kind::schema(&[kind]), schema, "{kind:?}");
        hashes.push(schema);
    }
    let windows = [
        Window { places: 10, ..window },
        Window { channels: 3, ..window },
        Window { taps: 2, ..window },
        Window { stride: 1, ..window },
    ];
    for window in windows {
        let kinds = [Kind::Convolution { window, filters: 5 }, Kind::Depthwise(window), Kind::MaxPool(window)];
        hashes.extend(kinds.map(|kind| Kind::schema(&[kind])));
    }
    hashes.push(Kind::schema(&[Kind::Convolution { window, filters: 6 }]));
    hashes.push(Kind::schema(&[Kind::RmsNorm { places: 6, channels: 3 }]));
    for i in 0..5 {
        for j in 0..i {
            let mut permuted = layers;
            permuted.swap(i, j);
            hashes.push(Kind::schema(&permuted));
        }
        let mut other = layers;
        let Shape { inputs, outputs } = layers[i].shape();
        other[i] = dense(inputs + 1, outputs);
        hashes.push(Kind::schema(&other));
        other[i] = if inputs == outputs { relu(inputs + 1) } else { dense(outputs, inputs) };
        hashes.push(Kind::schema(&other));
    }
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two architectures share a hash");
}

#[test]
fn shapes_of_kinds_are_those_of_their_types() {
    let shape = |inputs, outputs| Shape { inputs, outputs };
    let window = Window { places: 9, channels: 2, taps: 3, stride: 2 };
    assert_eq!(Kind::Convolution { window, filters: 5 }.shape(), shape(18, 20));
    assert_eq!(Kind::Depthwise(window).shape(), shape(18, 8));
    assert_eq!(Kind::RmsNorm { places: 3, channels: 6 }.shape(), shape(18, 18));
    assert_eq!(Kind::Standardise { width: 7 }.shape(), shape(7, 7));
    assert_eq!(Kind::Clip { width: 7, bound: 5.0f32.to_bits() }.shape(), shape(7, 7));
    for bound in [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN] {
        assert_eq!(Kind::Clip { width: 7, bound: bound.to_bits() }.shape(), shape(7, 0), "{bound}");
    }
    // The kinds form a chain: the outputs of each are the inputs of the next.
    assert!(Kind::EACH.windows(2).all(|pair| pair[0].shape().outputs == pair[1].shape().inputs));
    for impossible in [
        Window { taps: 10, ..window },
        Window { taps: 0, ..window },
        Window { stride: 0, ..window },
        Window { channels: 0, ..window },
        Window { places: 0, ..window },
    ] {
        assert_eq!(Kind::MaxPool(impossible).shape().outputs, 0, "{impossible:?}");
        assert!(!impossible.makes(1), "{impossible:?}");
    }
    assert!(window.makes(1) && !window.makes(0) && !window.makes(u32::MAX));
    assert!(!Window { places: u32::MAX, channels: 2, taps: 1, stride: u32::MAX }.makes(1));
}

#[test]
fn too_short_a_scratch_memory_is_an_error_and_changes_nothing() {
    let mut network = random_network::<Network>(&mut Random::new(16));
    let before = state_bits(&mut network);
    for length in 0..2 * Network::TRACE {
        let mut memory = vec![0.0; length];
        let found =
            Step::begin(&RULE, Functions::Libm, None, 1, 1).add(&mut network, &[0.1; 4], Target::Class(0), &mut memory);
        assert!(matches!(found, Err(Refusal::Scratch { .. })), "{length}");
        let predicted = predict(&network, Functions::Libm, &[0.1; 4], &mut memory);
        assert_eq!(predicted.is_ok(), length >= Network::TRACE, "{length}");
    }
    assert_eq!(state_bits(&mut network), before);
    let mut step = Step::begin(&RULE, Functions::Libm, None, 1, 1);
    step.add(&mut network, &[0.1; 4], Target::Class(0), &mut [0.0; Network::SCRATCH]).unwrap();
    let before = state_bits(&mut network);
    for length in 0..Network::SCRATCH {
        assert_eq!(step.finish(&mut network, &RULE, &[], &mut vec![0.0; length]), None, "{length}");
        assert_eq!(state_bits(&mut network), before, "{length}");
    }
}

#[test]
fn fresh_networks_start_in_their_balls_with_the_usual_geometries() {
    type Mixed = chain![
        RmsNorm<2, 8>, Convolution<8, 2, 4, 3, 1>, Depthwise<6, 4, 2, 2>, RmsNorm<12>, Dense<12, 6>, Relu<6>, Dense<6, 3>
    ];
    let mut network = Mixed::ZERO;
    initialise(&mut network, &mut Generator::new(17, 0), &mut [0.0; Mixed::SCRATCH]);
    let expected = [
        Role::Gain,
        Role::Convolution { taps: 3 },
        Role::Bias,
        Role::Channels,
        Role::Bias,
        Role::Gain,
        Role::Weights,
        Role::Bias,
        Role::Weights,
        Role::Bias,
    ];
    let shapes = [(1, 2), (4, 6), (1, 4), (4, 2), (1, 4), (1, 12), (6, 12), (1, 6), (3, 6), (1, 3)];
    let mut index = 0;
    let mut worst = Worst::default();
    network.parameters(&mut |parameter| {
        let (state, shape) = (&parameter.state, parameter.shape());
        assert_eq!((parameter.role, shape), (expected[index], shapes[index]));
        assert_eq!(*parameter.geometry, Geometry::usual(expected[index], index == 8));
        let x = oracle::real(shape, state.x.elements());
        let norm = |norm: oracle::Norm| norm.of(&x);
        let spectral = |m: f64, n: f64| (m / n).sqrt();
        match index {
            1 => worst.see((norm(oracle::Norm::Spectral(spectral)) * 3.0f64.sqrt() / 3.0 - 1.0).abs()),
            3 => x.row_iter().for_each(|row| worst.see((row.norm() * 2.0f64.sqrt() / 3.0 - 1.0).abs())),
            6 => worst.see((norm(oracle::Norm::Spectral(spectral)) / 3.0 - 1.0).abs()),
            8 => worst.see((norm(oracle::Norm::Sign(|_, n| 1.0 / n)) / 10.0 - 1.0).abs()),
            _ => assert!(x.iter().all(|e| *e == f64::from(u8::from(expected[index] == Role::Gain)))),
        }
        assert_eq!((state.y.elements(), state.m.elements().iter().all(|m| *m == 0.0)), (state.x.elements(), true));
        index += 1;
    });
    assert_eq!(index, 10);
    worst.at_most("initial norms", tolerance::POLAR);
}

#[test]
fn values_are_learnt_by_their_squared_error() {
    let mut random = Random::new(19);
    let mut network = random_network::<Network>(&mut random);
    let memory = &mut [f32::NAN; Network::SCRATCH];
    let (input, target) = (random.vector(4), random.vector(3));
    let exact = |y: &[f64]| squared_error(&outputs(&LAYERS, y, &real(&input)), &real(&target));
    let y = real(&state(&mut network)[1]);
    let mut step = Step::begin(&RULE, Functions::Libm, None, 1, 1);
    let found = step.add(&mut network, &input, Target::Values(&target), memory).unwrap();
    let (mut of_loss, mut of_gradient) = (Worst::default(), Worst::default());
    of_loss.see((f64::from(found) - exact(&y)).abs() / (1.0 + exact(&y)));
    let expected = gradient(exact, &y);
    let scale = expected.iter().fold(0.0, |l: f64, g| l.max(g.abs()));
    state(&mut network)[2].iter().zip(expected).for_each(|(m, g)| of_gradient.see((f64::from(*m) - g).abs() / scale));
    of_gradient.at_most("gradient", tolerance::GRADIENT);
    of_loss.at_most("loss", tolerance::LOSS);

    let before = state_bits(&mut network);
    let refusals: [(&[f32], Refusal); 4] = [
        (&[0.0; 2], Refusal::Target { expected: 3, found: 2 }),
        (&[0.0; 4], Refusal::Target { expected: 3, found: 4 }),
        (&[0.0, f32::NAN, 0.0], Refusal::TargetNotFinite { index: 1 }),
        (&[0.0, 0.0, f32::NEG_INFINITY], Refusal::TargetNotFinite { index: 2 }),
    ];
    for (target, why) in refusals {
        let mut step = Step::begin(&RULE, Functions::Libm, None, 1, 1);
        assert_eq!(step.add(&mut network, &input, Target::Values(target), memory), Err(why));
    }
    // The value is finite, but its square is not.
    let mut step = Step::begin(&RULE, Functions::Libm, None, 1, 1);
    let found = step.add(&mut network, &input, Target::Values(&[f32::MAX; 3]), memory);
    assert_eq!((found, state_bits(&mut network)), (Err(Refusal::Overflow), before));
}

/// Layer that counts its backward passes.
struct Counting<'a, L>(L, &'a Cell<u32>);

impl<L: Layer> Layer for Counting<'_, L> {
    fn inputs(&self) -> usize {
        self.0.inputs()
    }
    fn outputs(&self) -> usize {
        self.0.outputs()
    }
    fn trace(&self) -> usize {
        self.0.trace()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        self.0.forward(at, input, trace);
    }
    fn backward(&self, at: Point, input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        self.1.set(self.1.get() + 1);
        self.0.backward(at, input, trace, errors, input_errors);
    }
    fn trains(&self) -> bool {
        self.0.trains()
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        self.0.admits(input, trace, errors)
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], trace: &[f32], errors: &[f32]) {
        self.0.accumulate(keep, input, trace, errors);
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        self.0.parameters(visit);
    }
}

#[test]
fn frozen_parameters_stay_and_layers_before_them_have_no_backward_pass() {
    type Lower = chain![Convolution<8, 2, 4, 3, 1>, Relu<24>, RmsNorm<4, 6>];
    type Upper = chain![MaxPool<6, 4, 2, 2>, Dense<12, 6>, Tanh<6>, Dense<6, 3>];
    let mut random = Random::new(20);
    let (lower, upper) = (random_network::<Lower>(&mut random), random_network::<Upper>(&mut random));
    for (layers, passes) in [(1, 0), (2, 0), (3, 1), (usize::MAX, 1)] {
        let count = Cell::new(0);
        let mut network = Chain::new(Counting(lower.clone(), &count), upper.clone()).unwrap();
        train_last(&mut network, layers);
        let before = state_bits(&mut network);
        let mut memory = vec![f32::NAN; scratch_length(&mut network)];
        let mut step = Step::begin(&RULE, Functions::Libm, None, 2, 1);
        step.add(&mut network, &random.vector(16), Target::Class(1), &mut memory).unwrap();
        step.finish(&mut network, &RULE, &[], &mut memory).unwrap();
        assert_eq!(count.get(), passes, "last {layers}");
        let after = state_bits(&mut network);
        let (mut first, mut parameter) = (0, 0);
        network.parameters(&mut |p| {
            let (m, n) = p.shape();
            let range = first..first + m * n;
            let moved = |part: usize| before[part][range.clone()] != after[part][range.clone()];
            let trains = !p.geometry.is_frozen();
            assert_eq!([moved(0), moved(1), moved(2)], [trains; 3], "last {layers}, parameter {parameter}");
            (first, parameter) = (range.end, parameter + 1);
        });
        assert_eq!((parameter, first), (7, before[0].len()));
    }
}

#[test]
fn errors_that_overflow_are_refused_where_they_arrive() {
    // The gradient of a tiny place overflows on its way to the first layer, which then refuses it.
    type Tiny = chain![Dense<2, 2>, RmsNorm<2>, Dense<2, 2>];
    let mut network = random_network::<Tiny>(&mut Random::new(21));
    let tiny = f32::from_bits(1 << 10);
    set(&mut network, 0, &[tiny, 0.0, 0.0, tiny]);
    set(&mut network, 1, &[0.0; 2]);
    let memory = &mut [f32::NAN; Tiny::SCRATCH];
    let add = |network: &mut Tiny, memory: &mut [f32]| {
        let mut step = Step::begin(&RULE, Functions::Libm, None, 2, 1);
        step.add(network, &[1.0, -0.5], Target::Class(0), memory)
    };
    let before = state_bits(&mut network);
    assert_eq!((add(&mut network, memory), state_bits(&mut network)), (Err(Refusal::Overflow), before));
    // If the first layer is frozen, its gradient is not computed.
    train_last(&mut network, 1);
    assert!(add(&mut network, memory).is_ok());

    // An error that overflows at the outputs of a gain is refused by the gain itself.
    type Steep = chain![RmsNorm<2>, Dense<2, 2>];
    let mut network = random_network::<Steep>(&mut Random::new(22));
    set(&mut network, 0, &[f32::MIN_POSITIVE; 2]);
    set(&mut network, 1, &[f32::MAX, -f32::MAX, -f32::MAX, f32::MAX]);
    let before = state_bits(&mut network);
    let mut step = Step::begin(&RULE, Functions::Libm, None, 2, 1);
    let found = step.add(&mut network, &[1.0, 2.0], Target::Class(0), &mut [0.0; Steep::SCRATCH]);
    assert_eq!((found, state_bits(&mut network)), (Err(Refusal::Overflow), before));
}

#[test]
fn a_small_convolutional_network_learns() {
    type Small = chain![
        Convolution<32, 3, 8, 5, 2>, Relu<112>, Depthwise<14, 8, 3, 1>, Convolution<12, 8, 6, 1, 1>, MaxPool<12, 6, 2, 2>,
        RmsNorm<6, 6>, Tanh<36>, AveragePool<6, 6, 3, 3>, Dense<12, 3>
    ];
    // Three frequencies with a random phase, in noise.
    let sample = |random: &mut Random| {
        let (label, phase) = (random.below(3), std::f64::consts::PI * random.uniform());
        let wave = |place: usize| (0.5 * (label + 1) as f64 * place as f64 + phase).sin();
        let input = (0..96).map(|i| (wave(i / 3 + i % 3) + 0.3 * random.uniform()) as f32).collect::<Vec<_>>();
        (input, label as u32)
    };
    let mut network = Small::ZERO;
    let memory = &mut [f32::NAN; Small::SCRATCH];
    initialise(&mut network, &mut Generator::new(1, 0), memory);
    let mut random = Random::new(23);
    for t in 1..=300 {
        let mut step = Step::begin(&Rule { step_size: 0.02, ..RULE }, Functions::Libm, None, t, 8);
        for _ in 0..8 {
            let (input, label) = sample(&mut random);
            step.add(&mut network, &input, Target::Class(label), memory).unwrap();
        }
        let Outcome { admitted, .. } =
            step.finish(&mut network, &Rule { step_size: 0.02, ..RULE }, &[], memory).unwrap();
        assert_eq!(admitted, 8);
    }
    let right = (0..300).filter(|_| {
        let (input, label) = sample(&mut random);
        predict(&network, Functions::Libm, &input, memory).unwrap().class == label
    });
    let right = right.count();
    println!("{right} of 300");
    assert!(right > 285, "{right} of 300");
}

/// Checks that the network behind a standardisation sees (a − μ)/σ and learns as if it stood alone. Errors are passed
/// back divided by σ, and the constants stay.
#[test]
fn a_standardisation_is_arithmetic_on_constants_that_never_move() {
    type Behind = chain![Dense<3, 4>, Relu<4>, Dense<4, 2>];
    type Whole = chain![Standardise<3>, Dense<3, 4>, Relu<4>, Dense<4, 2>];
    let (means, deviations) = ([0.5, -20.0, 3e-4], [0.25, 30.0, 1e-5]);
    let (mut alone, mut whole) = (Behind::ZERO, Whole::ZERO);
    initialise(&mut alone, &mut Generator::new(3, 0), &mut [0.0; Behind::SCRATCH]);
    initialise(&mut whole, &mut Generator::new(3, 0), &mut [0.0; Whole::SCRATCH]);
    let mut starts = Vec::new();
    whole.parameters(&mut |Parameter { mut state, geometry, .. }| {
        if starts.len() < 2 {
            assert!(geometry.is_frozen());
            starts.push(state.x.elements().to_vec());
            state.x.elements_mut().copy_from_slice([&means, &deviations][starts.len() - 1]);
            state.start();
        }
    });
    assert_eq!(starts, [vec![0.0; 3], vec![1.0; 3]]);
    let mut layer = Standardise::<3>::ZERO;
    let mut constants = [means, deviations].into_iter();
    layer.parameters(&mut |Parameter { mut state, .. }| {
        state.x.elements_mut().copy_from_slice(&constants.next().unwrap());
        state.start();
    });
    let rule = Rule::PLAIN;
    let mut random = Random::new(77);
    for t in 1..=5 {
        let raw: Vec<f32> = random.vector(3).iter().zip(deviations).map(|(x, d)| 2.0 * x * d).collect();
        let standard: Vec<f32> = (0..3).map(|i| (raw[i] - means[i]) / deviations[i]).collect();
        let mut output = [0.0; 3];
        layer.forward(Point::Query, &raw, &mut output);
        assert_eq!(output[..], standard[..]);
        let mut errors = [0.5, -1.0, 3.0];
        let mut asked = [f32::NAN; 3];
        layer.backward(Point::Query, &raw, &output, &mut errors, &mut asked);
        assert_eq!(asked, [0, 1, 2].map(|i| errors[i] / deviations[i]));
        let learn = |network: &mut dyn Layer, input: &[f32], memory: &mut [f32]| {
            let mut step = Step::begin(&rule, Functions::Libm, None, t, 1);
            step.add(network, input, Target::Class(1), memory).unwrap();
            step.finish(network, &rule, &[], memory).unwrap()
        };
        let expected = learn(&mut alone, &standard, &mut [0.0; Behind::SCRATCH]);
        assert_eq!(learn(&mut whole, &raw, &mut [0.0; Whole::SCRATCH]), expected);
    }
    let all = |network: &mut dyn Layer| {
        let mut all = Vec::new();
        network.parameters(&mut |Parameter { state, .. }| all.push(oracle::bits(state.x.elements())));
        all
    };
    assert_eq!(all(&mut whole)[..2], [oracle::bits(&means), oracle::bits(&deviations)]);
    assert_eq!(all(&mut whole)[2..], all(&mut alone));
}
