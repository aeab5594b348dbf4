//! Tests of single layers: against the float64 oracle, bit for bit in the promised order, and at run-time sizes.

mod common;
mod oracle;

use common::{RULE, filled, random_network, real, state, state_bits, zeros};
use graftage_core::arithmetic::{Functions, sqrt};
use graftage_core::chain;
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::network::activation::Function;
use graftage_core::network::pooling::{Average, Maximum};
use graftage_core::network::{
    Activation, Affine, AveragePool, Chain, ChannelFilters, Clip, Convolution, Dense, Depthwise, Filters, Fixed, Goal,
    Layer, MaxPool, MicromathTanh, Normalisation, Parameter, Pool, Relu, RmsNorm, Standardisation, Standardise, Step,
    Tanh, Target, Weight, Window, initialise, predict,
};
use graftage_core::random::Generator;
use graftage_core::scion::{Point, Role, Scion};
use oracle::layers::{capped, cross_entropy, gradient, outputs, squared_error};
use oracle::{Random, Worst, bits, lanes, tolerance, ulps};

/// Outputs of a layer for an input with the weights X or Y, and the errors passed back for errors at its outputs.
struct Pass {
    out: Vec<f32>,
    back: Vec<f32>,
}

fn pass(layer: &dyn Layer, at: Point, input: &[f32], errors: &[f32]) -> Pass {
    let (mut out, mut back) = (vec![f32::NAN; layer.trace()], vec![f32::NAN; layer.inputs()]);
    layer.forward(at, input, &mut out);
    layer.backward(at, input, &out, &mut errors.to_vec(), &mut back);
    // Without room for the errors nothing is written, and nothing fails.
    layer.backward(at, input, &out, &mut errors.to_vec(), &mut []);
    Pass { out, back }
}

/// Compares outputs at X and Y, errors of the inputs and the momentum with the oracle.
fn holds<N: Fixed>(exact: oracle::layers::Layer, worst: &mut [Worst; 2]) {
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let mut layer = random_network::<N>(&mut random);
        let (input, errors) = (random.vector(N::INPUTS), random.vector(N::OUTPUTS));
        let [x, y, m] = state(&mut layer).map(|part| real(&part));
        let a = real(&input);
        for (at, weights) in [(Point::Iterate, &x), (Point::Query, &y)] {
            let Pass { out, back } = pass(&layer, at, &input, &errors);
            compare(&out, &exact.forward(weights, &a), &mut worst[0]);
            let product = |out: Vec<f64>| out.iter().zip(real(&errors)).map(|(o, e)| o * e).sum::<f64>();
            compare(&back, &gradient(|a| product(exact.forward(weights, a)), &a), &mut worst[1]);
            if at == Point::Query {
                layer.accumulate(0.75, &input, &out, &errors);
                let kept = gradient(|y| product(exact.forward(y, &a)), &y);
                let expected = kept.iter().zip(&m).map(|(g, m)| 0.75 * m + g).collect::<Vec<_>>();
                compare(&state(&mut layer)[2], &expected, &mut worst[1]);
            }
        }
    }
}

/// Records errors relative to the largest expected value.
fn compare(found: &[f32], exact: &[f64], worst: &mut Worst) {
    assert_eq!(found.len(), exact.len());
    let scale = exact.iter().fold(0.0, |l: f64, e| l.max(e.abs()));
    found.iter().zip(exact).for_each(|(f, e)| worst.see((f64::from(*f) - e).abs() / scale));
}

#[test]
fn every_layer_is_its_equation_and_its_derivative() {
    use oracle::layers::{Layer as Exact, Window};
    let mut worst = [Worst::default(), Worst::default()];
    holds::<Dense<7, 4>>(Exact::Dense { inputs: 7, outputs: 4 }, &mut worst);
    holds::<Relu<9>>(Exact::Relu, &mut worst);
    holds::<Tanh<9>>(Exact::Tanh, &mut worst);
    holds::<Clip<9, { 0.5f32.to_bits() }>>(Exact::Clip { bound: 0.5 }, &mut worst);
    // Windows that overlap, touch, leave places out, leave a rest, cover everything, or are one place wide.
    macro_rules! windows {
        ($(($l:literal, $c:literal, $k:literal, $s:literal)),*) => {$(
            let window = Window { l: $l, c: $c, k: $k, s: $s };
            holds::<Convolution<$l, $c, 5, $k, $s>>(Exact::Convolution { window, filters: 5 }, &mut worst);
            holds::<Convolution<$l, $c, 1, $k, $s>>(Exact::Convolution { window, filters: 1 }, &mut worst);
            holds::<Depthwise<$l, $c, $k, $s>>(Exact::Depthwise(window), &mut worst);
            holds::<AveragePool<$l, $c, $k, $s>>(Exact::AveragePool(window), &mut worst);
            holds::<MaxPool<$l, $c, $k, $s>>(Exact::MaxPool(window), &mut worst);
        )*};
    }
    windows!((9, 3, 4, 1), (9, 2, 3, 3), (11, 3, 2, 4), (10, 1, 3, 2), (6, 3, 6, 1), (5, 4, 1, 1), (1, 1, 1, 1));
    holds::<RmsNorm<7>>(Exact::RmsNorm { channels: 7 }, &mut worst);
    holds::<RmsNorm<5, 4>>(Exact::RmsNorm { channels: 5 }, &mut worst);
    let [forward, backward] = worst;
    forward.at_most("outputs of layers", tolerance::OUTPUTS);
    backward.at_most("derivatives of layers", tolerance::LAYERS);
}

/// Tests a standardisation. Its constants are not weights: nothing accumulates for them, and a deviation is > 0.
#[test]
fn a_standardisation_is_its_equation_and_its_derivative() {
    let exact = oracle::layers::Layer::Standardise { width: 7 };
    let (mut forward, mut backward) = (Worst::default(), Worst::default());
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let mut layer = random_network::<Standardise<7>>(&mut random);
        layer.parameters(&mut |Parameter { mut state, role, .. }| {
            if role == Role::Deviation {
                let all = [&mut state.x, &mut state.y].into_iter().flat_map(RowMajor::elements_mut);
                all.for_each(|deviation| *deviation = 0.01 + deviation.abs());
            }
        });
        let (input, errors) = (random.vector(7), random.vector(7));
        let [x, y, m] = state(&mut layer);
        let a = real(&input);
        for (at, weights) in [(Point::Iterate, real(&x)), (Point::Query, real(&y))] {
            let Pass { out, back } = pass(&layer, at, &input, &errors);
            compare(&out, &exact.forward(&weights, &a), &mut forward);
            let product = |out: Vec<f64>| out.iter().zip(real(&errors)).map(|(o, e)| o * e).sum::<f64>();
            compare(&back, &gradient(|a| product(exact.forward(&weights, a)), &a), &mut backward);
            layer.accumulate(0.75, &input, &out, &errors);
        }
        assert!(!layer.trains());
        assert_eq!(bits(&state(&mut layer)[2]), bits(&m));
    }
    forward.at_most("outputs of a standardisation", tolerance::OUTPUTS);
    backward.at_most("derivatives of a standardisation", tolerance::LAYERS);
}

#[test]
fn a_number_is_clipped_at_its_bounds_and_has_a_derivative_between_them() {
    const C: f32 = 1.5;
    let input = [-f32::MAX, -C.next_up(), -C, -C.next_down(), -0.0, 0.0, C.next_down(), C, C.next_up(), f32::MAX];
    let out = [-C, -C, -C, -C.next_down(), -0.0, 0.0, C.next_down(), C, C, C];
    let found = pass(&Clip::<10, { C.to_bits() }>::ZERO, Point::Query, &input, &[-0.25; 10]);
    assert_eq!(bits(&found.out), bits(&out));
    // At the bound and beyond it, no error passes.
    let back = [0.0, 0.0, 0.0, -0.25, -0.25, -0.25, -0.25, 0.0, 0.0, 0.0];
    assert_eq!(bits(&found.back), bits(&back));
    let infinite =
        pass(&Clip::<2, { C.to_bits() }>::ZERO, Point::Query, &[f32::INFINITY, f32::NEG_INFINITY], &[1.0; 2]);
    assert_eq!(infinite.out, [C, -C]);
}

#[test]
fn both_losses_are_their_equations_and_their_derivatives() {
    let (mut of_loss, mut of_errors) = (Worst::default(), Worst::default());
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let (a, values) = (random.vector(5), random.vector(5));
        let a = a.iter().map(|a| 6.0 * a).collect::<Vec<_>>();
        for target in [Target::Class(seed as u32 % 5), Target::Values(&values)] {
            let exact = |a: &[f64]| match target {
                Target::Class(label) => cross_entropy(a, label as usize),
                Target::Values(values) => squared_error(a, &real(values)),
            };
            for cap in [f32::INFINITY, 1.5, 0.35, 0.01] {
                let mut errors = [f32::NAN; 5];
                let found = target.loss(Functions::Libm, &a, Weight { share: 0.25, cap }, &mut errors);
                // The loss itself is not capped, nor are the errors of targets that are values.
                let expected = exact(&real(&a));
                of_loss.see((f64::from(found) - expected).abs() / (1.0 + expected));
                let expected = gradient(exact, &real(&a));
                let expected = if let Target::Class(_) = target { capped(&expected, cap.into()) } else { expected };
                // The errors of an almost certain class almost cancel, so the comparison is absolute.
                errors.iter().zip(expected).for_each(|(f, e)| of_errors.see((f64::from(*f) - 0.25 * e).abs() / 0.25));
            }
        }
    }
    of_loss.at_most("losses", tolerance::LOSS);
    of_errors.at_most("errors of losses", tolerance::GRADIENT);
}

/// Result in the promised order, computed with plain loops from X = Y and M: outputs, errors of the inputs, and M.
struct Naive {
    out: Vec<f32>,
    back: Vec<f32>,
    m: Vec<f32>,
}

/// Checks that a layer has the same bits as the loops.
fn has_the_bits_of<N: Fixed>(naive: impl Fn(&[f32], &[f32], f32, &[f32], &[f32]) -> Naive) {
    for seed in 30..34 {
        let mut random = Random::new(seed);
        let mut layer = filled::<N>(|n| random.wide(n));
        let (input, errors) = (random.wide(N::INPUTS), random.wide(N::OUTPUTS));
        let [_, y, m] = state(&mut layer);
        let expected = naive(&y, &m, 0.9, &input, &errors);
        let found = pass(&layer, Point::Query, &input, &errors);
        assert_eq!(bits(&found.out), bits(&expected.out), "outputs");
        assert_eq!(bits(&found.back), bits(&expected.back), "errors");
        layer.accumulate(0.9, &input, &found.out, &errors);
        assert_eq!(bits(&state(&mut layer)[2]), bits(&expected.m), "momentum");
    }
}

#[test]
fn dense_layers_and_convolutions_have_the_bits_of_the_naive_loops() {
    // A dense layer is a convolution with a single window.
    fn naive<const L: usize, const C: usize, const F: usize, const K: usize, const S: usize>(
        w: &[f32],
        m: &[f32],
        keep: f32,
        a: &[f32],
        errors: &[f32],
    ) -> Naive {
        let places = (L - K) / S + 1;
        let mut naive = Naive { out: vec![0.0; places * F], back: vec![0.0; L * C], m: m.to_vec() };
        for p in 0..places {
            for f in 0..F {
                let error = errors[p * F + f];
                let keep = if p == 0 { keep } else { 1.0 };
                let mut sum = w[F * K * C + f];
                for i in 0..K * C {
                    let product = w[f * K * C + i] * a[p * S * C + i];
                    sum += product;
                    let product = w[f * K * C + i] * error;
                    naive.back[p * S * C + i] += product;
                    let (kept, product) = (keep * naive.m[f * K * C + i], error * a[p * S * C + i]);
                    naive.m[f * K * C + i] = kept + product;
                }
                naive.out[p * F + f] = sum;
                let kept = keep * naive.m[F * K * C + f];
                naive.m[F * K * C + f] = kept + error;
            }
        }
        naive
    }
    has_the_bits_of::<Dense<9, 11>>(naive::<1, 9, 11, 1, 1>);
    has_the_bits_of::<Convolution<11, 3, 5, 4, 2>>(naive::<11, 3, 5, 4, 2>);
    has_the_bits_of::<Convolution<9, 2, 3, 5, 1>>(naive::<9, 2, 3, 5, 1>);
    has_the_bits_of::<Convolution<7, 4, 3, 1, 1>>(naive::<7, 4, 3, 1, 1>);
}

#[test]
fn depthwise_convolutions_have_the_bits_of_the_naive_loops() {
    const L: usize = 11;
    const C: usize = 3;
    const K: usize = 5;
    const S: usize = 2;
    has_the_bits_of::<Depthwise<L, C, K, S>>(|w, m, keep, a, errors| {
        let mut naive = Naive { out: vec![], back: vec![0.0; L * C], m: m.to_vec() };
        for p in 0..(L - K) / S + 1 {
            for c in 0..C {
                let error = errors[p * C + c];
                let keep = if p == 0 { keep } else { 1.0 };
                let mut sum = w[C * K + c];
                for k in 0..K {
                    let place = (p * S + k) * C + c;
                    let product = w[c * K + k] * a[place];
                    sum += product;
                    let product = w[c * K + k] * error;
                    naive.back[place] += product;
                    let (kept, product) = (keep * naive.m[c * K + k], error * a[place]);
                    naive.m[c * K + k] = kept + product;
                }
                naive.out.push(sum);
                let kept = keep * naive.m[C * K + c];
                naive.m[C * K + c] = kept + error;
            }
        }
        naive
    });
}

#[test]
fn pools_have_the_bits_of_the_naive_loops() {
    const L: usize = 12;
    const C: usize = 3;
    const K: usize = 5;
    const S: usize = 2;
    const P: usize = (L - K) / S + 1;
    has_the_bits_of::<AveragePool<L, C, K, S>>(|_, _, _, a, errors| {
        let mut naive = Naive { out: vec![], back: vec![0.0; L * C], m: vec![] };
        for p in 0..P {
            for c in 0..C {
                let mut sum = 0.0;
                for k in 0..K {
                    sum += a[(p * S + k) * C + c];
                    naive.back[(p * S + k) * C + c] += errors[p * C + c] / K as f32;
                }
                naive.out.push(sum / K as f32);
            }
        }
        naive
    });
    has_the_bits_of::<MaxPool<L, C, K, S>>(|_, _, _, a, errors| {
        let mut naive = Naive { out: vec![], back: vec![0.0; L * C], m: vec![] };
        for p in 0..P {
            for c in 0..C {
                let mut best = p * S * C + c;
                for k in 1..K {
                    let place = (p * S + k) * C + c;
                    if a[place] > a[best] {
                        best = place;
                    }
                }
                naive.back[best] += errors[p * C + c];
                naive.out.push(a[best]);
            }
        }
        naive
    });
}

#[test]
fn rms_normalisation_has_the_bits_of_the_naive_loops() {
    const C: usize = 11;
    const L: usize = 3;
    has_the_bits_of::<RmsNorm<C, L>>(|g, m, keep, a, errors| {
        let mut naive = Naive { out: vec![], back: vec![], m: m.to_vec() };
        for p in 0..L {
            let (a, errors) = (&a[p * C..(p + 1) * C], &errors[p * C..(p + 1) * C]);
            let largest = a.iter().fold(0.0f32, |l, e| if e.abs() > l { e.abs() } else { l });
            // 2^−⌊log₂ largest⌋: exact, and here small enough for a single number.
            let power = (-largest.log2().floor()).exp2();
            assert!((1.0..2.0).contains(&(largest * power)));
            let squares: Vec<f32> = a.iter().map(|a| (a * power) * (a * power)).collect();
            let r = sqrt(lanes(&squares) / C as f32);
            let n: Vec<f32> = a.iter().map(|a| a * power / r).collect();
            let h: Vec<f32> = errors.iter().zip(g).map(|(e, g)| g * e).collect();
            let products: Vec<f32> = h.iter().zip(&n).map(|(h, n)| h * n).collect();
            let mean = lanes(&products) / C as f32;
            for c in 0..C {
                naive.out.push(g[c] * n[c]);
                let product = n[c] * mean;
                naive.back.push((h[c] - product) / r * power);
                let keep = if p == 0 { keep } else { 1.0 };
                let (kept, product) = (keep * naive.m[c], errors[c] * n[c]);
                naive.m[c] = kept + product;
            }
        }
        naive
    });
}

#[test]
fn powers_of_two_pass_a_normalisation_without_a_trace() {
    let mut random = Random::new(40);
    let layer = random_network::<RmsNorm<9, 2>>(&mut random);
    // Multiples of 2^−8, which lose nothing when they are scaled to the smallest binary32 numbers.
    let input: Vec<f32> = random.vector(18).iter().map(|a| (a * 256.0).round() / 256.0).collect();
    let errors = random.vector(18);
    let plain = pass(&layer, Point::Query, &input, &errors);
    for k in [-141, -126, -60, -1, 1, 30, 100, 126] {
        let power = |k: i32| f64::from(k).exp2();
        let scaled: Vec<f32> = input.iter().map(|a| (f64::from(*a) * power(k)) as f32).collect();
        let found = pass(&layer, Point::Query, &scaled, &errors);
        assert_eq!(bits(&found.out), bits(&plain.out), "2^{k}");
        let expected: Vec<f32> = plain.back.iter().map(|e| (f64::from(*e) * power(-k)) as f32).collect();
        if k <= 100 {
            assert_eq!(bits(&found.back), bits(&expected), "2^{k}");
        }
    }
}

#[test]
fn a_place_of_zeros_stays_and_has_no_derivative() {
    let mut layer = random_network::<RmsNorm<3, 2>>(&mut Random::new(41));
    let before = state(&mut layer)[2].clone();
    let input = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0];
    let Pass { out, back } = pass(&layer, Point::Query, &input, &[0.5; 6]);
    assert!(
        out[..3].iter().chain(&back[..3]).all(|e| *e == 0.0) && out[3..].iter().chain(&back[3..]).all(|e| *e != 0.0)
    );
    layer.accumulate(1.0, &[0.0; 6], &[0.0; 6], &[0.5; 6]);
    assert_eq!(bits(&state(&mut layer)[2]), bits(&before));
}

#[test]
fn the_first_of_equals_takes_the_error() {
    type Pooled = MaxPool<4, 1, 3, 1>;
    let found = pass(&Pooled::ZERO, Point::Query, &[-0.0, 0.0, -1.0, 0.0], &[1.0, 2.0]);
    assert_eq!((bits(&found.out), found.back), (bits(&[-0.0, 0.0]), vec![1.0, 2.0, 0.0, 0.0]));
    let found = pass(&Pooled::ZERO, Point::Query, &[5.0, 7.0, 7.0, 7.0], &[1.0, 2.0]);
    assert_eq!((found.out, found.back), (vec![7.0; 2], vec![0.0, 3.0, 0.0, 0.0]));
}

/// Checks the largest |δ| and |a'| that a layer admits: anything larger is refused.
fn bounded<N: Fixed>(bound: f32) {
    let layer = N::ZERO;
    let admits = |a: f32, error: f32| layer.admits(&vec![a; N::INPUTS], &vec![0.0; N::TRACE], &vec![error; N::TRACE]);
    assert!(admits(0.5, bound) && admits(0.5, -bound) && !admits(0.5, bound.next_up()));
    assert!(!admits(0.5, f32::NAN) && !admits(0.5, f32::INFINITY));
    let mut trace = vec![0.0; N::TRACE];
    trace[0] = f32::NAN;
    assert!(!layer.admits(&vec![0.5; N::INPUTS], &trace, &vec![0.0; N::TRACE]));
}

#[test]
fn gradients_are_admitted_by_the_number_of_places_that_share_the_weights() {
    const BOUND: f32 = 18_446_744_073_709_551_616.0;
    bounded::<Dense<3, 2>>(BOUND);
    bounded::<Convolution<9, 2, 3, 2, 1>>(BOUND / 8.0);
    bounded::<Depthwise<9, 2, 3, 2>>(BOUND / 4.0);
    bounded::<RmsNorm<4, 2>>(BOUND / 4.0);
    // Products with the inputs count if the inputs are above 1.
    let layer = Convolution::<9, 2, 3, 2, 1>::ZERO;
    let admits = |a: f32| layer.admits(&[a; 18], &[0.0; 24], &[4.0; 24]);
    assert!(admits(BOUND / 32.0) && !admits((BOUND / 32.0).next_up()) && !admits(f32::NAN));
    // M stays finite for the largest number of samples, all at the bound.
    let mut layer = Convolution::<9, 2, 3, 2, 1>::ZERO;
    (0..65536).for_each(|_| layer.accumulate(1.0, &[1.0; 18], &[], &[BOUND / 8.0; 24]));
    assert!(state(&mut layer)[2].iter().all(|m| m.is_finite() && *m >= BOUND));
}

#[test]
fn a_layer_without_parameters_admits_all_and_changes_nothing() {
    fn check<N: Fixed>() {
        let mut layer = N::ZERO;
        assert!(layer.admits(&[f32::NAN], &[f32::INFINITY], &[f32::NAN]) && !layer.trains());
        layer.accumulate(f32::NAN, &[1.0], &[1.0], &[1.0]);
        layer.parameters(&mut |_| panic!("no parameters"));
    }
    check::<Relu<3>>();
    check::<Tanh<3>>();
    check::<Clip<3, { 2.0f32.to_bits() }>>();
    check::<AveragePool<4, 2, 2, 2>>();
    check::<MaxPool<4, 2, 2, 2>>();
}

#[test]
fn sizes_that_are_numbers_give_the_bits_of_sizes_that_are_types() {
    type Network = chain![
        Standardise<48>, Convolution<16, 3, 6, 5, 2>, Relu<36>, Clip<36, { 0.5f32.to_bits() }>, Depthwise<6, 6, 3, 1>, Convolution<4, 6, 8, 1, 1>, RmsNorm<8, 4>,
        MaxPool<4, 8, 2, 1>, Tanh<24>, AveragePool<3, 8, 2, 1>, MicromathTanh<16>, Dense<16, 3>
    ];
    macro_rules! layers {
        ($last:expr $(,)?) => { $last };
        ($first:expr, $($rest:expr),+ $(,)?) => { Chain::new($first, layers![$($rest),+]).unwrap() };
    }
    let window = |places, channels, taps, stride| Window { places, channels, taps, stride };
    let mut dynamic = layers![
        Standardisation::new(zeros(1, 48), zeros(1, 48)).unwrap(),
        Filters::new(window(16, 3, 5, 2), zeros(6, 15), zeros(1, 6)).unwrap(),
        Activation::new(Function::Rectifier, 36),
        Activation::new(Function::Clip { bound: 0.5f32.to_bits() }, 36),
        ChannelFilters::new(window(6, 6, 3, 1), zeros(6, 3), zeros(1, 6)).unwrap(),
        Filters::new(window(4, 6, 1, 1), zeros(8, 6), zeros(1, 8)).unwrap(),
        Normalisation::new(4, zeros(1, 8)).unwrap(),
        Pool::<_, Maximum>::new(window(4, 8, 2, 1)).unwrap(),
        Activation::new(Function::Tanh(Functions::Libm), 24),
        Pool::<_, Average>::new(window(3, 8, 2, 1)).unwrap(),
        Activation::new(Function::Tanh(Functions::Micromath), 16),
        Affine::new(zeros(3, 16), zeros(1, 3)).unwrap(),
    ];
    let mut fixed = Network::ZERO;
    assert_eq!((dynamic.inputs(), dynamic.outputs(), dynamic.trace()), (48, 3, Network::TRACE));
    let memory = &mut [f32::NAN; Network::SCRATCH];
    let networks: [&mut dyn Layer; 2] = [&mut fixed, &mut dynamic];
    let [one, other] = networks.map(|network| {
        let mut random = Random::new(15);
        initialise(network, &mut Generator::new(5, 0), memory);
        for t in 1..=20 {
            let mut step = Step::begin(&RULE, Functions::Libm, None, t, 3);
            for _ in 0..3 {
                let (input, label) = (random.vector(48), random.below(3) as u32);
                step.add(network, &input, Target::Class(label), memory).unwrap();
            }
            step.finish(network, &RULE, &[], memory).unwrap();
        }
        (state_bits(network), predict(network, Functions::Libm, &random.vector(48), memory))
    });
    assert_eq!(one, other);
    assert!(one.0[2].iter().any(|m| *m != 0));
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let mixed =
        |m, n, y: (usize, usize)| Scion { y: Slab::new(y.0, y.1, vec![0.0; y.0 * y.1]).unwrap(), ..zeros(m, n) };
    assert!(Affine::new(zeros(3, 2), zeros(1, 3)).is_some());
    assert!(Affine::new(zeros(3, 2), zeros(1, 2)).is_none());
    assert!(Affine::new(zeros(3, 2), zeros(3, 1)).is_none());
    assert!(Affine::new(zeros(3, 0), zeros(1, 3)).is_none());
    assert!(Affine::new(mixed(3, 2, (2, 3)), zeros(1, 3)).is_none());
    let rest = || Affine::new(zeros(5, 3), zeros(1, 5)).unwrap();
    assert!(Chain::new(Affine::new(zeros(6, 4), zeros(1, 6)).unwrap(), rest()).is_none());

    let window = Window { places: 9, channels: 2, taps: 3, stride: 2 };
    let long = Window { taps: 10, ..window };
    assert!(Filters::new(window, zeros(5, 6), zeros(1, 5)).is_some());
    assert!(Filters::new(window, zeros(5, 4), zeros(1, 5)).is_none());
    assert!(Filters::new(window, zeros(5, 6), zeros(1, 4)).is_none());
    assert!(Filters::new(window, zeros(0, 6), zeros(1, 0)).is_none());
    assert!(Filters::new(long, zeros(5, 20), zeros(1, 5)).is_none());
    assert!(ChannelFilters::new(window, zeros(2, 3), zeros(1, 2)).is_some());
    assert!(ChannelFilters::new(window, zeros(3, 2), zeros(1, 2)).is_none());
    assert!(ChannelFilters::new(window, zeros(2, 3), zeros(1, 3)).is_none());
    assert!(ChannelFilters::new(long, zeros(2, 10), zeros(1, 2)).is_none());
    assert!(ChannelFilters::new(window, mixed(2, 3, (3, 2)), zeros(1, 2)).is_none());
    assert!(Pool::<_, Average>::new(window).is_some() && Pool::<_, Average>::new(long).is_none());
    assert!(Normalisation::new(2, zeros(1, 3)).is_some());
    assert!(Normalisation::new(2, zeros(3, 1)).is_none());
    assert!(Normalisation::new(0, zeros(1, 3)).is_none());
    assert!(Normalisation::new(2, zeros(1, 0)).is_none());
    assert!(Normalisation::new(usize::MAX, zeros(1, 3)).is_none());
}

/// Returns every 97th binary32 number between two magnitudes.
fn between(first: f32, last: f32) -> impl Iterator<Item = f32> {
    (first.to_bits()..=last.to_bits()).step_by(97).map(f32::from_bits)
}

#[test]
fn fast_functions_err_no_more_than_documented() {
    let fast = Functions::Micromath;
    let (mut exp, mut ln, mut tanh) = (Worst::default(), Worst::default(), Worst::default());
    // exp over the arguments of a softmax, and ln over its sums.
    for x in between(0.0, 87.0) {
        let exact = (-f64::from(x)).exp();
        exp.see((f64::from(fast.exp(-x)) - exact).abs() / exact);
    }
    between(1.0, 65536.0).for_each(|x| ln.see((f64::from(fast.ln(x)) - f64::from(x).ln()).abs()));
    for x in between(0.0, 20.0).flat_map(|x| [x, -x]) {
        tanh.see((f64::from(fast.tanh(x)) - f64::from(x).tanh()).abs());
    }
    exp.at_most("fast exp", tolerance::FAST_EXP);
    ln.at_most("fast ln", tolerance::FAST_LN);
    tanh.at_most("fast tanh", tolerance::FAST_TANH);
    let mut slow = Worst::default();
    between(0.0, 20.0).for_each(|x| slow.see(ulps(Functions::Libm.tanh(x), f64::from(x).tanh())));
    slow.at_most("tanh", tolerance::TANH);
}

#[test]
fn fast_functions_have_these_bits() {
    let fast = Functions::Micromath;
    let expected = [
        (0.1, 0x3f8d_763d, 0x3dc3_1370, 0x3dcc_1e28),
        (0.5, 0x3fd3_0000, 0x3ecf_96e8, 0x3eec_9a9e),
        (-0.5, 0x3f1b_5555, 0x3ecf_96e8, 0xbeec_9aa0),
        (1.0, 0x402d_f854, 0x3f31_7610, 0x3f42_f1d2),
        (-1.0, 0x3ebc_5ab2, 0x3f31_7610, 0xbf42_e720),
        (-2.5, 0x3da8_22e4, 0x3fa0_59f6, 0xbf7c_92c2),
        (3.0, 0x41a0_af00, 0x3fb1_7414, 0x3f7e_bbdf),
        (7.9f32, 0x4528_9413, 0x400b_e762, 0x3f7f_fffb),
    ];
    for (x, exp, ln, tanh) in expected {
        let found = [fast.exp(x), fast.ln(x.abs() + 1.0), fast.tanh(x)].map(f32::to_bits);
        assert_eq!(found, [exp, ln, tanh], "{x}");
    }
    // A NaN of either sign stays a NaN. Its sign differs between targets and is not checked.
    for nan in [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xffff_ffff].map(f32::from_bits) {
        for found in [fast.exp(nan), fast.ln(nan), fast.tanh(nan)] {
            assert!(found.is_nan());
        }
    }
    assert_eq!([fast.tanh(9.0), fast.tanh(-9.0), fast.tanh(f32::INFINITY)], [1.0, -1.0, 1.0]);
    let found = pass(&MicromathTanh::<2>::ZERO, Point::Query, &[0.5, -0.5], &[1.0, 2.0]);
    assert_eq!(bits(&found.out), [0x3eec_9a9e, 0xbeec_9aa0]);
    let slope = |a: f32| 1.0 - a * a;
    assert_eq!(found.back, [slope(found.out[0]), 2.0 * slope(found.out[1])]);
}

#[test]
fn the_gradient_of_a_network_of_many_layers_is_the_oracles() {
    use oracle::layers::{Layer as Exact, Window};
    type Network = chain![Convolution<8, 2, 4, 3, 1>, Tanh<24>, RmsNorm<4, 6>, AveragePool<6, 4, 3, 3>, Dense<8, 3>];
    let layers = [
        Exact::Convolution { window: Window { l: 8, c: 2, k: 3, s: 1 }, filters: 4 },
        Exact::Tanh,
        Exact::RmsNorm { channels: 4 },
        Exact::AveragePool(Window { l: 6, c: 4, k: 3, s: 3 }),
        Exact::Dense { inputs: 8, outputs: 3 },
    ];
    let mut random = Random::new(42);
    let mut network = random_network::<Network>(&mut random);
    let (input, y) = (random.vector(16), real(&state(&mut network)[1]));
    let loss = |y: &[f64]| cross_entropy(&outputs(&layers, y, &real(&input)), 2);
    let mut step = Step::begin(&RULE, Functions::Libm, None, 1, 1);
    let found = step.add(&mut network, &input, Target::Class(2), &mut [f32::NAN; Network::SCRATCH]).unwrap();
    let (mut of_loss, mut of_gradient) = (Worst::default(), Worst::default());
    of_loss.see((f64::from(found) - loss(&y)).abs() / (1.0 + loss(&y)));
    compare(&state(&mut network)[2], &gradient(loss, &y), &mut of_gradient);
    of_loss.at_most("loss", tolerance::LOSS);
    of_gradient.at_most("gradient", tolerance::LAYERS);
}
