//! Networks: gradients by finite differences, what is refused, and shapes that are types or numbers.

mod oracle;

use graftage_core::chain;
use graftage_core::error::Refusal;
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::network::{
    Affine, Chain, Dense, Fixed, Kind, Layer, Point, Rectifier, Relu, Step, initialise, predict, scratch,
};
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Rule, Scion, workspace};
use nalgebra::{DMatrix, DVector};
use oracle::{Random, Worst, bits, real, tolerance};

type Network = chain![Dense<4, 6>, Relu<6>, Dense<6, 5>, Relu<5>, Dense<5, 3>];

/// max|δ|·max|a| of an admitted sample is at most this, and so is max|δ|.
const BOUND: f32 = 18_446_744_073_709_551_616.0;

/// With momentum 0 or in the first step, M is the mean gradient.
const RULE: Rule = Rule { step: 0.05, momentum: 0.9, theta: 0.5, constrained: false };

/// X, Y and M of all parameters.
fn state(network: &mut dyn Layer) -> [Vec<f32>; 3] {
    let mut all = [const { Vec::new() }; 3];
    network.parameters(&mut |_, state| {
        for (all, part) in all.iter_mut().zip([&state.x, &state.y, &state.m]) {
            all.extend_from_slice(part.elements());
        }
    });
    all
}

fn state_bits(network: &mut dyn Layer) -> [Vec<u32>; 3] {
    state(network).map(|part| bits(&part))
}

/// X, Y and M all random, M far from what a step would leave.
fn random_network(random: &mut Random) -> Network {
    let mut network = Network::ZERO;
    network.parameters(&mut |geometry, mut state| {
        *geometry = Geometry::usual(state.x.shape(), false);
        for part in [&mut state.x, &mut state.y, &mut state.m] {
            part.elements_mut().iter_mut().for_each(|e| *e = random.uniform() as f32);
        }
    });
    network
}

/// Sets a parameter's X and Y, counted in the order of visits.
fn set(network: &mut dyn Layer, parameter: usize, weights: &[f32]) {
    let mut index = 0;
    network.parameters(&mut |_, mut state| {
        if index == parameter {
            state.x.elements_mut().copy_from_slice(weights);
            state.y.elements_mut().copy_from_slice(weights);
        }
        index += 1;
    });
}

/// The layers of the oracle at Y, from all its weights.
fn layers(mut weights: &[f64]) -> Vec<(DMatrix<f64>, DVector<f64>)> {
    [(6, 4), (5, 6), (3, 5)]
        .map(|(m, n)| {
            let (w, rest) = weights.split_at(m * n);
            let (b, rest) = rest.split_at(m);
            weights = rest;
            (DMatrix::from_row_slice(m, n, w), DVector::from_row_slice(b))
        })
        .to_vec()
}

/// The derivative of the oracle's loss by each of the weights Y.
fn gradient(network: &mut Network, input: &[f32], label: u32) -> Vec<f64> {
    let y: Vec<f64> = state(network)[1].iter().map(|e| f64::from(*e)).collect();
    let at = |i: usize, h: f64| {
        let mut y = y.clone();
        y[i] += h;
        oracle::loss(&layers(&y), input, label as usize)
    };
    (0..y.len()).map(|i| (at(i, 1e-5) - at(i, -1e-5)) / 2e-5).collect()
}

fn samples(random: &mut Random, count: usize) -> Vec<(Vec<f32>, u32)> {
    (0..count).map(|_| (random.vector(4), random.below(3) as u32)).collect()
}

#[test]
fn the_momentum_of_a_first_step_is_the_mean_gradient_at_y() {
    let (mut of_gradient, mut of_loss) = (Worst::default(), Worst::default());
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut network = random_network(&mut random);
        let batch = samples(&mut random, 1 + seed as usize);
        let mut mean = vec![0.0; Network::WEIGHTS];
        let mut step = Step::begin(&RULE, 1, batch.len() as u32);
        let (mut exact_loss, memory) = (0.0, &mut [f32::NAN; Network::SCRATCH]);
        for (input, label) in &batch {
            for (mean, g) in mean.iter_mut().zip(gradient(&mut network, input, *label)) {
                *mean += g / batch.len() as f64;
            }
            let y: Vec<f64> = state(&mut network)[1].iter().map(|e| f64::from(*e)).collect();
            let exact = oracle::loss(&layers(&y), input, *label as usize);
            let found = step.add(&mut network, input, *label, memory).unwrap();
            of_loss.see((f64::from(found) - exact).abs() / (1.0 + exact));
            exact_loss += exact / batch.len() as f64;
        }
        let scale = mean.iter().fold(0.0, |l: f64, g| l.max(g.abs()));
        for (found, exact) in state(&mut network)[2].iter().zip(&mean) {
            of_gradient.see((f64::from(*found) - exact).abs() / scale);
        }
        let outcome = step.finish(&mut network, &RULE, memory).unwrap();
        assert_eq!(outcome.admitted as usize, batch.len());
        of_loss.see((f64::from(outcome.loss) - exact_loss).abs() / (1.0 + exact_loss));
    }
    of_gradient.at_most("gradient", tolerance::GRADIENT);
    of_loss.at_most("loss", tolerance::LOSS);
}

#[test]
fn a_dense_layer_has_the_bits_of_the_naive_loops() {
    const I: usize = 9;
    const O: usize = 11;
    let mut random = Random::new(18);
    let mut layer = Dense::<I, O>::ZERO;
    let [w, b, a, errors, m] = [I * O, O, I, O, I * O + O].map(|n| random.vector(n));
    layer.parameters(&mut |_, mut state| {
        let (weights, first) = if state.x.elements().len() == I * O { (&w, 0) } else { (&b, I * O) };
        state.x.elements_mut().copy_from_slice(weights);
        state.y.elements_mut().iter_mut().zip(weights).for_each(|(y, w)| *y = -2.0 * w);
        state.m.elements_mut().copy_from_slice(&m[first..first + weights.len()]);
    });
    for (point, scale) in [(Point::Iterate, 1.0), (Point::Query, -2.0)] {
        let mut trace = [f32::NAN; O];
        layer.forward(point, &a, &mut trace);
        for o in 0..O {
            let mut sum = scale * b[o];
            for i in 0..I {
                let product = scale * w[I * o + i] * a[i];
                sum += product;
            }
            assert_eq!(trace[o].to_bits(), sum.to_bits(), "output {o}");
        }
    }
    let mut back = [f32::NAN; I];
    layer.backward(&[0.0; O], &mut errors.clone(), &mut back);
    for i in 0..I {
        let mut sum = 0.0;
        for o in 0..O {
            let product = -2.0 * w[I * o + i] * errors[o];
            sum += product;
        }
        assert_eq!(back[i].to_bits(), sum.to_bits(), "input {i}");
    }
    layer.accumulate(0.9, &a, &[], &errors);
    let gradient = |i: usize| if i < I * O { errors[i / I] * a[i % I] } else { errors[i - I * O] };
    for (i, found) in state(&mut layer)[2].iter().enumerate() {
        let kept = 0.9 * m[i];
        assert_eq!(found.to_bits(), (kept + gradient(i)).to_bits(), "momentum {i}");
    }
}

#[test]
fn a_later_step_adds_its_mean_gradient_to_what_is_kept() {
    let mut random = Random::new(10);
    let mut network = random_network(&mut random);
    let [_, _, kept] = state(&mut network);
    let batch = samples(&mut random, 4);
    let mut step = Step::begin(&RULE, 2, 4);
    let mut expected: Vec<f64> = kept.iter().map(|m| 0.9 * f64::from(*m)).collect();
    for (input, label) in &batch {
        expected.iter_mut().zip(gradient(&mut network, input, *label)).for_each(|(e, g)| *e += 0.1 * g / 4.0);
        step.add(&mut network, input, *label, &mut [f32::NAN; Network::SCRATCH]).unwrap();
    }
    let mut worst = Worst::default();
    state(&mut network)[2].iter().zip(expected).for_each(|(m, e)| worst.see((f64::from(*m) - e).abs()));
    worst.at_most("momentum", tolerance::GRADIENT);
}

#[test]
fn a_step_moves_each_parameter_by_its_own_geometry() {
    let mut random = Random::new(11);
    let (mut network, memory) = (random_network(&mut random), &mut [f32::NAN; Network::SCRATCH]);
    let mut step = Step::begin(&RULE, 1, 1);
    step.add(&mut network, &[0.1, 0.2, -0.3, 0.4], 1, memory).unwrap();
    let mut expected = network.clone();
    step.finish(&mut network, &RULE, memory);
    expected.parameters(&mut |geometry, mut state| {
        let shape = RowMajor::shape(&state.x);
        let mut memory = vec![0.0; workspace(shape.0, shape.1)];
        let mut state: Scion<Slab<&mut [f32]>> = state.slabs();
        graftage_core::scion::with_workspace(shape, &mut memory, |work| state.advance(*geometry, &RULE, work));
    });
    assert_eq!(state_bits(&mut network), state_bits(&mut expected));
}

#[test]
fn the_prediction_is_the_largest_logit_at_x_and_its_probability() {
    let mut random = Random::new(12);
    let (mut network, memory) = (random_network(&mut random), &mut [f32::NAN; Network::SCRATCH]);
    let x: Vec<f64> = state(&mut network)[0].iter().map(|e| f64::from(*e)).collect();
    let mut worst = Worst::default();
    for (input, _) in samples(&mut random, 50) {
        let losses = [0, 1, 2].map(|label| oracle::loss(&layers(&x), &input, label));
        let best = (0..3).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
        let found = predict(&network, &input, memory).unwrap();
        assert_eq!(found.class as usize, best);
        worst.see((f64::from(found.probability) - (-losses[best]).exp()).abs());
    }
    worst.at_most("probability", tolerance::LOSS);
    // The first of equals.
    let class = predict(&Network::ZERO, &[1.0; 4], memory).unwrap();
    assert_eq!((class.class, class.probability), (0, 1.0 / 3.0));
}

#[test]
fn what_is_refused_changes_nothing_and_says_why() {
    let mut network = random_network(&mut Random::new(13));
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
        let mut step = Step::begin(&RULE, t, 2);
        for (input, label, why) in refusals.iter().chain([&nan]) {
            assert_eq!(step.add(&mut network, input, *label, memory), Err(*why));
        }
        assert_eq!(step.finish(&mut network, &RULE, memory), None);
        assert_eq!(state_bits(&mut network), before);
    }
}

#[test]
fn a_refused_sample_in_a_batch_leaves_no_trace() {
    let mut random = Random::new(14);
    let network = random_network(&mut random);
    let batch = samples(&mut random, 3);
    let run = |refused: &[usize]| {
        let (mut network, memory) = (network.clone(), &mut [f32::NAN; Network::SCRATCH]);
        let mut step = Step::begin(&RULE, 2, 4);
        for (i, (input, label)) in batch.iter().enumerate() {
            if refused.contains(&i) {
                assert_eq!(step.add(&mut network, &[f32::MAX; 4], *label, memory), Err(Refusal::Overflow));
            }
            step.add(&mut network, input, *label, memory).unwrap();
        }
        let outcome = step.finish(&mut network, &RULE, memory);
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
        // Weights of 0 give probabilities of ½: δ = ±1/(2B).
        Step::begin(&RULE, 1, batch).add(&mut network, &[a], 0, &mut [0.0; Head::SCRATCH]).is_ok()
    };
    for batch in [1, 8, 65_536] {
        let largest = BOUND * 2.0 * batch as f32;
        assert!(admitted(largest, batch) && admitted(-largest, batch));
        assert!(!admitted(largest.next_up(), batch) && !admitted(f32::MAX, batch));
    }
}

#[test]
fn no_admitted_samples_can_make_the_momentum_overflow() {
    // δ of the first layer is 2^128/B, and its inputs are as given: products below 2^120 that add up to more.
    type Deep = chain![Dense<1, 1>, Relu<1>, Dense<1, 1>, Relu<1>, Dense<1, 2>];
    let power = |e: i32| f64::from(e).exp2() as f32;
    for input in [0.0, power(-20), 1.0, power(60)] {
        for (middle, head) in [(37, 90), (0, 60), (30, 40), (0, 10)] {
            for (rule, batch, steps) in [(RULE, 1024, 1), (Rule { momentum: 1.0f32.next_down(), ..RULE }, 1, 1000)] {
                let mut network = Deep::ZERO;
                set(&mut network, 1, &[power(-middle)]);
                set(&mut network, 2, &[power(middle)]);
                set(&mut network, 4, &[-power(head), power(head)]);
                for t in 1..=steps {
                    let mut step = Step::begin(&rule, t, batch);
                    // Once refused, always refused.
                    for _ in 0..batch {
                        if step.add(&mut network, &[input], 0, &mut [0.0; Deep::SCRATCH]).is_err() {
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
fn shapes_that_are_numbers_give_the_bits_of_shapes_that_are_types() {
    fn affine(inputs: usize, outputs: usize) -> Affine<Slab<Vec<f32>>, Slab<Vec<f32>>> {
        let matrix = |m, n| Slab::new(m, n, vec![0.0; m * n]).unwrap();
        let state = |m, n| Scion { x: matrix(m, n), y: matrix(m, n), m: matrix(m, n) };
        Affine::new(state(outputs, inputs), state(1, outputs)).unwrap()
    }
    let rest = Chain::new(affine(6, 5), Chain::new(Rectifier(5), affine(5, 3)).unwrap()).unwrap();
    let mut dynamic = Chain::new(affine(4, 6), Chain::new(Rectifier(6), rest).unwrap()).unwrap();
    assert!(Chain::new(affine(4, 6), affine(5, 3)).is_none());
    assert_eq!((dynamic.inputs(), dynamic.outputs(), dynamic.trace()), (4, 3, Network::TRACE));

    let mut fixed = Network::ZERO;
    let memory = &mut [f32::NAN; Network::SCRATCH];
    let networks: [&mut dyn Layer; 2] = [&mut fixed, &mut dynamic];
    let [one, other] = networks.map(|network| {
        let mut random = Random::new(15);
        initialise(network, &mut Generator::new(5, 0), memory);
        for t in 1..=20 {
            let mut step = Step::begin(&RULE, t, 3);
            for (input, label) in samples(&mut random, 3) {
                step.add(network, &input, label, memory).unwrap();
            }
            step.finish(network, &RULE, memory).unwrap();
        }
        (state_bits(network), predict(network, &random.vector(4), memory))
    });
    assert_eq!(one, other);
}

#[test]
fn a_dense_layer_of_parts_that_do_not_fit_is_refused() {
    let state = |m, n| {
        let matrix = || Slab::new(m, n, vec![0.0; m * n]).unwrap();
        Scion { x: matrix(), y: matrix(), m: matrix() }
    };
    assert!(Affine::new(state(3, 2), state(1, 3)).is_some());
    assert!(Affine::new(state(3, 2), state(1, 2)).is_none());
    assert!(Affine::new(state(3, 2), state(3, 1)).is_none());
    assert!(Affine::new(state(3, 0), state(1, 3)).is_none());
    let mixed = Scion { y: Slab::new(2, 3, vec![0.0; 6]).unwrap(), ..state(3, 2) };
    assert!(Affine::new(mixed, state(1, 3)).is_none());
}

#[test]
fn the_constants_of_a_type_are_the_numbers_of_its_network() {
    fn check<N: Fixed>() {
        let mut network = N::ZERO;
        let (mut weights, mut largest) = (0, 0);
        network.parameters(&mut |geometry, state| {
            let (m, n) = RowMajor::shape(&state.x);
            weights += m * n;
            largest = largest.max(m * n + 2 * m.min(n).pow(2));
            assert_eq!(*geometry, Geometry::UNSET);
        });
        let run_time = (network.inputs(), network.outputs(), network.trace(), weights, largest);
        assert_eq!((N::INPUTS, N::OUTPUTS, N::TRACE, N::WEIGHTS, N::WORKSPACE), run_time);
        assert_eq!(N::SCRATCH, (2 * N::TRACE).max(N::WORKSPACE));
        assert_eq!(N::SCRATCH, scratch(N::TRACE, N::WORKSPACE));
        assert_eq!(
            state(&mut network).map(|part| bits(&part)),
            [const { Vec::new() }; 3].map(|mut part: Vec<u32>| {
                part.resize(weights, 0);
                part
            })
        );
    }
    check::<Network>();
    check::<Dense<1, 1>>();
    check::<Dense<64, 2>>();
    check::<chain![Relu<9>, Dense<9, 20>]>();
}

#[test]
fn the_schema_names_the_architecture() {
    let dense = |inputs, outputs| Kind::Dense { inputs, outputs };
    let relu = |width| Kind::Relu { width };
    let layers = [dense(4, 6), relu(6), dense(6, 5), relu(5), dense(5, 3)];
    assert_eq!(Kind::schema(&layers), Network::SCHEMA);
    assert_eq!(Kind::schema(&[dense(7, 2)]), Dense::<7, 2>::SCHEMA);
    assert_eq!(Kind::schema(&[relu(7)]), Relu::<7>::SCHEMA);
    let mut hashes = vec![Network::SCHEMA, Kind::schema(&[]), Kind::schema(&layers[..4]), Kind::schema(&layers[1..])];
    for i in 0..5 {
        for j in 0..i {
            let mut permuted = layers;
            permuted.swap(i, j);
            hashes.push(Kind::schema(&permuted));
        }
        let mut other = layers;
        other[i] = match layers[i] {
            Kind::Dense { inputs, outputs } => dense(inputs + 1, outputs),
            Kind::Relu { width } => dense(width, width),
        };
        hashes.push(Kind::schema(&other));
        other[i] = match layers[i] {
            Kind::Dense { inputs, outputs } => dense(outputs, inputs),
            Kind::Relu { width } => relu(width + 1),
        };
        hashes.push(Kind::schema(&other));
    }
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all, "two architectures share a hash");
}

#[test]
fn too_short_a_scratch_memory_is_an_error_and_changes_nothing() {
    let mut network = random_network(&mut Random::new(16));
    let before = state_bits(&mut network);
    for length in 0..2 * Network::TRACE {
        let mut memory = vec![0.0; length];
        let found = Step::begin(&RULE, 1, 1).add(&mut network, &[0.1; 4], 0, &mut memory);
        assert!(matches!(found, Err(Refusal::Scratch { .. })), "{length}");
        let predicted = predict(&network, &[0.1; 4], &mut memory);
        assert_eq!(predicted.is_ok(), length >= Network::TRACE, "{length}");
    }
    assert_eq!(state_bits(&mut network), before);
    let mut step = Step::begin(&RULE, 1, 1);
    step.add(&mut network, &[0.1; 4], 0, &mut [0.0; Network::SCRATCH]).unwrap();
    let before = state_bits(&mut network);
    for length in 0..Network::SCRATCH {
        assert_eq!(step.finish(&mut network, &RULE, &mut vec![0.0; length]), None, "{length}");
        assert_eq!(state_bits(&mut network), before, "{length}");
    }
}

#[test]
fn fresh_networks_start_in_their_balls_with_the_usual_geometries() {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(17, 0), &mut [0.0; Network::SCRATCH]);
    let expected = [Geometry::HIDDEN, Geometry::BIAS, Geometry::HIDDEN, Geometry::BIAS, Geometry::HEAD, Geometry::BIAS];
    let mut index = 0;
    let mut worst = Worst::default();
    network.parameters(&mut |geometry, state| {
        assert_eq!(*geometry, expected[index]);
        let x = real(RowMajor::shape(&state.x), state.x.elements());
        match index {
            0 | 2 => worst.see((oracle::Norm::Spectral.of(&x) / 3.0 - 1.0).abs()),
            4 => worst.see((oracle::Norm::Sign.of(&x) / 10.0 - 1.0).abs()),
            _ => assert_eq!(x.amax(), 0.0),
        }
        assert_eq!((state.y.elements(), state.m.elements().iter().all(|m| *m == 0.0)), (state.x.elements(), true));
        index += 1;
    });
    worst.at_most("initial norms", tolerance::POLAR);
}
