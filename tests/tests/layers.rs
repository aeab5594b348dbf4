//! Every layer and loss: outputs and gradients are those of the float64 oracle, and a network made at run time has the same
//! bits as one whose shape is a type.

mod common;
mod oracle;

use common::{RULE, random_network, real, state};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::network::{
    AveragePool, Convolution, Dense, Depthwise, Fixed, MaxPool, Relu, RmsNorm, Step, Tanh, Target, initialise, predict,
};
use graftage_core::random::Generator;
use graftage_core::schedule::Schedule;
use graftage_core::scion::{Point, Rule};
use oracle::layers::{Layer as Exact, Window, cross_entropy, gradient, outputs, squared_error};
use oracle::{Random, Worst, tolerance};

/// Numbers of scratch memory that all networks here do with.
const MEMORY: usize = 4096;

/// Outputs at X, and the gradients of both losses by Y, of a network with random weights on random samples.
fn follows<N: Fixed>(layers: &[Exact], seed: u64) {
    let (mut of_outputs, mut of_gradient) = (Worst::default(), Worst::default());
    for seed in 10 * seed..10 * seed + 4 {
        let mut random = Random::new(seed);
        let mut network = random_network::<N>(&mut random);
        let [x, y, _] = state(&mut network).map(|part| real(&part));
        let input = random.vector(N::INPUTS);
        let mut trace = vec![f32::NAN; N::TRACE];
        network.forward(Point::Iterate, &input, &mut trace);
        let exact = outputs(layers, &x, &real(&input));
        let scale = exact.iter().fold(1.0, |scale: f64, e| scale.max(e.abs()));
        for (found, exact) in trace[N::TRACE - N::OUTPUTS..].iter().zip(&exact) {
            of_outputs.see((f64::from(*found) - exact).abs() / scale);
        }
        let values = random.vector(N::OUTPUTS);
        let label = random.below(N::OUTPUTS);
        for target in [Target::Class(label as u32), Target::Values(&values)] {
            let mut step = Step::begin(&RULE, Functions::Libm, 1, 1);
            step.add(&mut network, &input, target, &mut [f32::NAN; MEMORY]).unwrap();
            let exact = gradient(
                |y| {
                    let outputs = outputs(layers, y, &real(&input));
                    match target {
                        Target::Class(_) => cross_entropy(&outputs, label),
                        Target::Values(_) => squared_error(&outputs, &real(&values)),
                    }
                },
                &y,
            );
            let scale = exact.iter().fold(1e-3, |scale: f64, e| scale.max(e.abs()));
            for (found, exact) in state(&mut network)[2].iter().zip(exact) {
                of_gradient.see((f64::from(*found) - exact).abs() / scale);
            }
        }
    }
    of_outputs.at_most(&format!("outputs of {layers:?}"), tolerance::OUTPUTS);
    of_gradient.at_most(&format!("gradient of {layers:?}"), tolerance::LAYERS);
}

#[test]
fn each_layer_follows_its_equation() {
    let window = |l, c, k, s| Window { l, c, k, s };
    follows::<chain![Dense<5, 7>, Tanh<7>, Dense<7, 3>]>(
        &[Exact::Dense { inputs: 5, outputs: 7 }, Exact::Tanh, Exact::Dense { inputs: 7, outputs: 3 }],
        1,
    );
    follows::<chain![Dense<5, 7>, Relu<7>, Dense<7, 3>]>(
        &[Exact::Dense { inputs: 5, outputs: 7 }, Exact::Relu, Exact::Dense { inputs: 7, outputs: 3 }],
        2,
    );
    // Strides that leave places over, windows that meet and that do not, one tap and all places.
    follows::<chain![Convolution<9, 2, 3, 4, 2>, Convolution<3, 3, 2, 3, 1>]>(
        &[
            Exact::Convolution { window: window(9, 2, 4, 2), filters: 3 },
            Exact::Convolution { window: window(3, 3, 3, 1), filters: 2 },
        ],
        3,
    );
    follows::<chain![Depthwise<10, 3, 3, 2>, Convolution<4, 3, 5, 1, 1>]>(
        &[Exact::Depthwise(window(10, 3, 3, 2)), Exact::Convolution { window: window(4, 3, 1, 1), filters: 5 }],
        4,
    );
    follows::<chain![Dense<4, 12>, AveragePool<6, 2, 3, 2>]>(
        &[Exact::Dense { inputs: 4, outputs: 12 }, Exact::AveragePool(window(6, 2, 3, 2))],
        5,
    );
    follows::<chain![Dense<4, 12>, MaxPool<6, 2, 3, 1>]>(
        &[Exact::Dense { inputs: 4, outputs: 12 }, Exact::MaxPool(window(6, 2, 3, 1))],
        6,
    );
    follows::<chain![Dense<4, 12>, RmsNorm<4, 3>, Dense<12, 3>]>(
        &[
            Exact::Dense { inputs: 4, outputs: 12 },
            Exact::RmsNorm { channels: 4 },
            Exact::Dense { inputs: 12, outputs: 3 },
        ],
        7,
    );
}

/// For windows of an accelerometer: 32 places of three axes.
type Small = chain![
    Convolution<32, 3, 8, 5, 2>,
    RmsNorm<8, 14>,
    Relu<112>,
    Depthwise<14, 8, 3, 1>,
    Convolution<12, 8, 8, 1, 1>,
    Relu<96>,
    MaxPool<12, 8, 2, 2>,
    AveragePool<6, 8, 6, 6>,
    Dense<8, 3>
];

#[test]
fn a_small_convolutional_network_learns_which_axis_swings() {
    let mut network = Small::ZERO;
    let memory = &mut vec![0.0; Small::SCRATCH];
    initialise(&mut network, &mut Generator::new(5, 0), memory);
    let mut random = Random::new(6);
    let mut sample = || {
        let (label, phase) = (random.below(3), random.uniform() * 3.0);
        let wave = |i: usize| (phase + i as f64 * 0.9).sin();
        let input = (0..96).map(|i| if i % 3 == label { wave(i / 3) } else { 0.0 } + 0.5 * random.uniform());
        (input.map(|e| e as f32).collect::<Vec<_>>(), label as u32)
    };
    let rule = Rule { step: 0.02, schedule: Schedule::Linear { steps: 150 }, ..Rule::DEFAULT };
    for t in 1..=150 {
        let mut step = Step::begin(&rule, Functions::Libm, t, 8);
        for _ in 0..8 {
            let (input, label) = sample();
            step.add(&mut network, &input, Target::Class(label), memory).unwrap();
        }
        step.finish(&mut network, &rule, memory).unwrap();
    }
    let right = (0..300).filter(|_| {
        let (input, label) = sample();
        predict(&network, Functions::Libm, &input, memory).unwrap().class == label
    });
    let right = right.count();
    assert!(right >= 290, "{right} of 300");
}

#[test]
fn micromath_errs_by_what_is_said() {
    // What `docs/arithmetic.md` says: the largest relative error of exp in [−10, 10], of tanh absolutely.
    let grid = || (-10_000..=10_000).map(|i| i as f32 / 1000.0);
    let worst = |error: fn(f32) -> f64| grid().map(error).fold(0.0, f64::max);
    let exp = worst(|x| (f64::from(Functions::Micromath.exp(x)) / f64::from(x).exp() - 1.0).abs());
    let tanh = worst(|x| (f64::from(Functions::Micromath.tanh(x)) - f64::from(x).tanh()).abs());
    let ln = worst(|x| (f64::from(Functions::Micromath.ln(x.abs() + 0.1)) - f64::from(x.abs() + 0.1).ln()).abs());
    println!("exp {exp:.2e}, tanh {tanh:.2e}, ln {ln:.2e}");
    assert!(exp < 3e-3 && tanh < 2e-3 && ln < 0.13, "exp {exp:.2e}, tanh {tanh:.2e}, ln {ln:.2e}");
    assert!(exp > 1e-4, "as exact as libm's: then this is not the fast path");
}
