//! Conformance program; every target must reproduce each of its lines.
//!
//! It has four parts:
//!
//! - the operations on bit patterns, including subnormals;
//! - transported updates in every norm, on matrices of odd and even shapes, including tiny and huge ones;
//! - updates with all quintics, and with every law of transport under every schedule, momentum and pull;
//! - 200 training steps each of a small network, of the same with a cap and a pull to its start, of a convolutional
//!   network, and of one whose features are standardised and clipped.
//!
//! Every array is fingerprinted after each step. If two targets diverge, the first differing line names the step and
//! the array.
//!
//! A [`Machine`] does the updates: [`Core`] with core's kernels, others with implementations to compare with them.

use core::fmt;
use graftage_core::adapt::fingerprint;
use graftage_core::arithmetic::{Functions, exp, ln, magnitude, sqrt, sum, tanh};
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::network::{
    AveragePool, Clip, Convolution, Dense, Depthwise, Fixed, Kind, Layer, MaxPool, Parameter, Relu, RmsNorm,
    Standardise, Step, Tanh, Target, Window, initialise, predict,
};
use graftage_core::norm::{Norm, with_workspace, workspace};
use graftage_core::polar::Quintics;
use graftage_core::random::Generator;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Geometry, Pull, Role, Rule, Scion};
use graftage_core::transport::{Alignment, Transport};

/// Output line: an array or result, and the fingerprint of its bits.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// Number of steps so far in this part, or 0.
    pub step: u32,
    /// Name of the array.
    pub array: &'a dyn fmt::Display,
    /// [`fingerprint`] of its elements.
    pub digest: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {:016x} {}", self.step, self.digest, self.array)
    }
}

/// Last line of the output; without it, the program did not run to its end.
pub const END: &str = "end of conformance";

/// Implementation of transported updates, one parameter at a time.
pub trait Machine {
    /// Starts an m×n parameter with weights `x`: Y = X, M = 0, and X₀ = X, to which a rule may pull.
    fn start(&mut self, shape: (usize, usize), x: &[f32]);
    /// Accumulates a gradient: M ← keep·M + weight·G.
    fn accumulate(&mut self, keep: f32, weight: f32, gradient: &[f32]);
    /// Takes step `t`.
    fn advance(&mut self, geometry: Geometry, rule: &Rule, t: u64);
    /// Returns the fingerprints of X, Y and M.
    fn fingerprints(&mut self) -> [u64; 3];
}

const SHAPES: [(usize, usize); 7] = [(16, 32), (32, 8), (1, 37), (37, 1), (5, 3), (3, 7), (13, 13)];
const LARGEST: usize = 512;
const WORKSPACE: usize = workspace(16, 32);

/// Machine that uses core's kernels, in static memory.
pub struct Core {
    shape: (usize, usize),
    state: [[f32; LARGEST]; 3],
    start: [[u8; 4]; LARGEST],
    workspace: [f32; WORKSPACE],
    gradient: [f32; LARGEST],
    alignment: Alignment<f32>,
    fused: bool,
}

impl Core {
    /// Creates the machine that every target must reproduce.
    pub const fn new() -> Self {
        Self {
            shape: (0, 0),
            state: [[0.0; LARGEST]; 3],
            start: [[0; 4]; LARGEST],
            workspace: [0.0; WORKSPACE],
            gradient: [0.0; LARGEST],
            alignment: Alignment::START,
            fused: false,
        }
    }

    /// Creates the negative control: momentum with a fused multiply-add, which rounds once where the contract rounds
    /// twice.
    pub const fn fused() -> Self {
        let mut core = Self::new();
        core.fused = true;
        core
    }

    fn length(&self) -> usize {
        self.shape.0 * self.shape.1
    }
}

impl Default for Core {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine for Core {
    fn start(&mut self, shape: (usize, usize), x: &[f32]) {
        self.shape = shape;
        let length = self.length();
        self.state[0][..length].copy_from_slice(x);
        self.state[1][..length].copy_from_slice(x);
        self.state[2][..length].fill(0.0);
        write_words(&mut self.start, x);
        self.alignment = Alignment::START;
    }

    fn accumulate(&mut self, keep: f32, weight: f32, gradient: &[f32]) {
        if self.fused {
            for (m, g) in self.state[2].iter_mut().zip(gradient) {
                *m = libm::fmaf(weight, *g, keep * *m);
            }
            return;
        }
        self.gradient[..gradient.len()].copy_from_slice(gradient);
        let (rows, columns) = self.shape;
        let [x, y, m] = &mut self.state;
        let slab = |elements| Slab::new(rows, columns, elements);
        if let (Some(x), Some(y), Some(m), Some(gradient)) =
            (slab(&mut x[..]), slab(&mut y[..]), slab(&mut m[..]), slab(&mut self.gradient[..]))
        {
            Scion { x, y, m }.accumulate(keep, weight, &gradient);
        }
    }

    fn advance(&mut self, geometry: Geometry, rule: &Rule, t: u64) {
        let (rows, columns) = self.shape;
        let ([x, y, m], alignment) = (&mut self.state, &mut self.alignment);
        let start = self.start.get(..rows * columns);
        with_workspace(self.shape, &mut self.workspace, |work| {
            let slab = |elements| Slab::new(rows, columns, elements);
            if let (Some(x), Some(y), Some(m)) = (slab(&mut x[..]), slab(&mut y[..]), slab(&mut m[..])) {
                Scion { x, y, m }.advance(geometry, rule, t, start, alignment, work);
            }
        });
    }

    fn fingerprints(&mut self) -> [u64; 3] {
        let length = self.length();
        self.state.each_ref().map(|array| fingerprint(&array[..length]))
    }
}

/// Writes numbers as words, in the format of an image.
fn write_words(words: &mut [[u8; 4]], numbers: &[f32]) {
    words.iter_mut().zip(numbers).for_each(|(word, number)| *word = number.to_le_bytes());
}

/// Runs the operations and the updates.
pub fn updates(machine: &mut impl Machine, emit: &mut dyn FnMut(Line)) {
    operations(emit);
    let rule = |pull, transport| Rule { step_size: 0.1, pull, transport, ..Rule::PLAIN };
    let constrained = Pull::Zero { strength: 1.0 };
    for (index, norm) in Norm::ALL.into_iter().enumerate() {
        for (at, shape) in SHAPES.into_iter().enumerate() {
            let pull = if (index + at) % 2 == 0 { constrained } else { Pull::None };
            let rule = rule(pull, Transport::Fixed { theta: 0.5 });
            update(machine, norm, shape, &rule, &format_args!("{norm:?}"), emit);
        }
    }
    for quintics in Quintics::ALL {
        for shape in [(8, 16), (37, 1), (13, 13)] {
            let rule = Rule { quintics, ..rule(constrained, Transport::Fixed { theta: 1.0 }) };
            update(machine, Norm::Spectral, shape, &rule, &format_args!("{quintics:?}"), emit);
        }
    }
    for (law, transport) in [
        ("no transport", Transport::Fixed { theta: 0.0 }),
        ("full transport", Transport::Fixed { theta: 1.0 }),
        ("lag feedback", Transport::Lag { memory: 0.3 }),
        ("alignment", Transport::Alignment { damping: 1.5 }),
        ("Nesterov", Transport::Nesterov),
    ] {
        for (course, schedule, momentum) in [
            ("constant", Schedule::Constant, Momentum::Constant(0.9)),
            ("linear, ramp", Schedule::Linear { steps: 7 }, Momentum::Ramp { from: 0.5, to: 0.95, steps: 5 }),
            (
                "up, stable, down, power",
                Schedule::WarmupStableDecay { warmup: 2, stable: 3, decay: 3 },
                Momentum::Power { exponent: 0.7 },
            ),
        ] {
            let rule = Rule { schedule, momentum, ..rule(Pull::None, transport) };
            update(machine, Norm::Row, (7, 5), &rule, &format_args!("{law}, {course},"), emit);
        }
        for strength in [0.3, 1.0, 2.0] {
            for pull in [Pull::Zero { strength }, Pull::Start { strength }] {
                let name = format_args!("{law}, strength {strength},");
                update(machine, Norm::Spectral, (7, 5), &rule(pull, transport), &name, emit);
            }
        }
    }
}

/// Runs every operation on 4,096 pairs of bit patterns; results that are not finite count as zero.
fn operations(emit: &mut dyn FnMut(Line)) {
    type Operation = (&'static str, fn(f32, f32) -> f32);
    const OPERATIONS: [Operation; 11] = [
        ("a + b", |a, b| a + b),
        ("a − b", |a, b| a - b),
        ("a · b", |a, b| a * b),
        ("a ÷ b", |a, b| a / b),
        ("√|a|", |a, _| sqrt(magnitude(a))),
        ("exp a", |a, _| exp(a)),
        ("ln |a|", |a, _| ln(magnitude(a))),
        ("tanh a", |a, _| tanh(a)),
        ("fast exp a", |a, _| Functions::Micromath.exp(a)),
        ("fast tanh a", |a, _| Functions::Micromath.tanh(a)),
        ("sum of 37", |a, b| sum((0..37).map(|i| if i % 3 == 0 { a } else { b }))),
    ];
    for (name, operation) in OPERATIONS {
        let mut generator = Generator::new(1, 100);
        let mut results = [0.0; 512];
        let mut digest = 0;
        for _ in 0..8 {
            for result in &mut results {
                let mut pattern = |subnormal: bool| {
                    let bits = generator.bits();
                    f32::from_bits(if subnormal { bits & 0x807f_ffff } else { bits })
                };
                let (a, b) = (pattern(false), pattern(true));
                // In half of the pairs, the second number has the size of the first, so that sums do not just return
                // the larger one.
                let b = if generator.bits().is_multiple_of(2) {
                    f32::from_bits(a.to_bits() ^ (b.to_bits() & 0x803f_ffff))
                } else {
                    b
                };
                let value = operation(a, b);
                *result = if value.is_finite() { value } else { 0.0 };
            }
            digest ^= fingerprint(&results).rotate_left(digest as u32 % 64);
        }
        emit(Line { step: 0, array: &format_args!("operation {name}"), digest });
    }
}

/// Takes eight steps of one parameter, with gradients from a fixed generator.
fn update(
    machine: &mut impl Machine,
    norm: Norm,
    (m, n): (usize, usize),
    rule: &Rule,
    name: &dyn fmt::Display,
    emit: &mut dyn FnMut(Line),
) {
    let mut generator = Generator::new(2, (m * 64 + n) as u64);
    // Gradients near both ends of the range: the direction does not depend on their scale.
    let scale = match (m, n) {
        (5, 3) => 1e-42,
        (3, 7) => 1e37,
        _ => 1.0,
    };
    let mut numbers = [0.0; LARGEST];
    let mut fill = |scale: f32, numbers: &mut [f32]| {
        for e in numbers.iter_mut() {
            *e = (2.0 * generator.uniform() - 1.0) * scale;
        }
    };
    fill(0.1, &mut numbers[..m * n]);
    machine.start((m, n), &numbers[..m * n]);
    let geometry = Geometry { norm, radius: 3.0 };
    for t in 1..=8 {
        for sample in 0..2 {
            fill(scale, &mut numbers[..m * n]);
            let keep = if sample == 0 { rule.keep(t) } else { 1.0 };
            machine.accumulate(keep, rule.weight(t, 2), &numbers[..m * n]);
        }
        machine.advance(geometry, rule, t);
        let kind = match rule.pull {
            Pull::None => "free",
            Pull::Zero { .. } => "pulled to zero",
            Pull::Start { .. } => "pulled to the start",
        };
        for (array, digest) in ["X", "Y", "M"].into_iter().zip(machine.fingerprints()) {
            emit(Line { step: t as u32, array: &format_args!("{array} of {name} {m}×{n} {kind}"), digest });
        }
    }
}

/// Dense network of the training part.
pub type DenseNetwork = graftage_core::chain![Dense<16, 12>, Relu<12>, Dense<12, 5>];

/// Convolutional network of the training part, with every kind of layer that [`StandardisedNetwork`] lacks.
pub type ConvolutionalNetwork = graftage_core::chain![
    Convolution<16, 2, 6, 3, 2>,
    RmsNorm<6, 7>,
    Relu<42>,
    Depthwise<7, 6, 3, 1>,
    Tanh<30>,
    Convolution<5, 6, 5, 1, 1>,
    MaxPool<5, 5, 2, 1>,
    AveragePool<4, 5, 4, 4>,
    Dense<5, 4>
];

/// Network whose features are standardised and clipped, and the outputs of its first layer likewise.
pub type StandardisedNetwork = graftage_core::chain![
    Standardise<16>,
    Clip<16, FEATURES>,
    Dense<16, 12>,
    Standardise<12>,
    Clip<12, HIDDEN>,
    Dense<12, 5>
];

/// Bits of the bounds at which features and outputs of the first layer are clipped: some numbers of each sample, not
/// all.
const FEATURES: u32 = 1.0f32.to_bits();
const HIDDEN: u32 = 0.75f32.to_bits();

/// Layer kinds of [`DenseNetwork`], [`ConvolutionalNetwork`] and [`StandardisedNetwork`], for networks built at run
/// time.
pub const KINDS: [&[Kind]; 3] = [
    &[Kind::Dense { inputs: 16, outputs: 12 }, Kind::Relu { width: 12 }, Kind::Dense { inputs: 12, outputs: 5 }],
    &[
        Kind::Convolution { window: Window { places: 16, channels: 2, taps: 3, stride: 2 }, filters: 6 },
        Kind::RmsNorm { places: 7, channels: 6 },
        Kind::Relu { width: 42 },
        Kind::Depthwise(Window { places: 7, channels: 6, taps: 3, stride: 1 }),
        Kind::Tanh { width: 30, functions: Functions::Libm },
        Kind::Convolution { window: Window { places: 5, channels: 6, taps: 1, stride: 1 }, filters: 5 },
        Kind::MaxPool(Window { places: 5, channels: 5, taps: 2, stride: 1 }),
        Kind::AveragePool(Window { places: 4, channels: 5, taps: 4, stride: 4 }),
        Kind::Dense { inputs: 5, outputs: 4 },
    ],
    &[
        Kind::Standardise { width: 16 },
        Kind::Clip { width: 16, bound: FEATURES },
        Kind::Dense { inputs: 16, outputs: 12 },
        Kind::Standardise { width: 12 },
        Kind::Clip { width: 12, bound: HIDDEN },
        Kind::Dense { inputs: 12, outputs: 5 },
    ],
];

/// Networks of the training part.
pub struct Networks<D, C, S> {
    /// Network like [`DenseNetwork`].
    pub dense: D,
    /// Network like [`ConvolutionalNetwork`].
    pub convolutional: C,
    /// Network like [`StandardisedNetwork`].
    pub standardised: S,
}

/// Networks in static memory.
pub type Static = Networks<DenseNetwork, ConvolutionalNetwork, StandardisedNetwork>;

impl Static {
    /// Networks before their initialisation.
    pub const ZERO: Self = Self {
        dense: DenseNetwork::ZERO,
        convolutional: ConvolutionalNetwork::ZERO,
        standardised: StandardisedNetwork::ZERO,
    };
}

/// Number of training steps of each network.
pub const STEPS: u32 = 200;

/// Length of scratch memory that suffices for every network.
const SCRATCH: usize = most([DenseNetwork::SCRATCH, ConvolutionalNetwork::SCRATCH, StandardisedNetwork::SCRATCH]);

/// Largest number of weights of a network.
const WEIGHTS: usize = most([DenseNetwork::WEIGHTS, ConvolutionalNetwork::WEIGHTS, StandardisedNetwork::WEIGHTS]);

const fn most(all: [usize; 3]) -> usize {
    let (mut most, mut i) = (0, 0);
    while i < all.len() {
        most = if all[i] > most { all[i] } else { most };
        i += 1;
    }
    most
}

/// Number of samples that the networks predict at the end; the dense one predicts after each of its two trainings.
pub const ASKED: u32 = 100 * (KINDS.len() as u32 + 1);

/// Initialises and trains the networks. Returns the number of [`ASKED`] fresh samples that they then predict correctly,
/// which shows that they have learnt.
pub fn training<D: Layer, C: Layer, S: Layer>(networks: &mut Networks<D, C, S>, emit: &mut dyn FnMut(Line)) -> u32 {
    let (free, near) = ((Pull::None, None), (Pull::Start { strength: 1.0 }, Some(0.35)));
    let dense = train::<16>(&mut networks.dense, 5, "dense", free, emit);
    let dense_near = train::<16>(&mut networks.dense, 5, "capped, pulled dense", near, emit);
    let convolutional = train::<32>(&mut networks.convolutional, 4, "convolutional", free, emit);
    let standardised = train::<16>(&mut networks.standardised, 5, "standardised", free, emit);
    dense + dense_near + convolutional + standardised
}

/// Takes 200 steps with batches of eight, three clusters of samples per class, and a step size that falls to 0.
fn train<const I: usize>(
    network: &mut impl Layer,
    classes: u32,
    name: &str,
    (pull, cap): (Pull, Option<f32>),
    emit: &mut dyn FnMut(Line),
) -> u32 {
    let mut scratch = [0.0; SCRATCH];
    let mut generator = Generator::new(3, 0);
    initialise(network, &mut generator, &mut scratch);
    // Use constants that are not powers of two, like those that a normalisation learns.
    network.parameters(&mut |Parameter { mut state, role, .. }| {
        let least = match role {
            Role::Mean => 0.0,
            Role::Deviation => 0.25,
            _ => return,
        };
        state.x.elements_mut().iter_mut().for_each(|e| *e = least + generator.uniform());
        state.start();
    });
    let mut start = [[0; 4]; WEIGHTS];
    let mut rest = &mut start[..];
    network.parameters(&mut |Parameter { state, .. }| {
        let x = state.x.elements();
        let (own, after) = core::mem::take(&mut rest).split_at_mut(x.len());
        write_words(own, x);
        rest = after;
    });
    let mut centres = [[0.0; I]; 15];
    centres.as_flattened_mut().iter_mut().for_each(|e| *e = generator.uniform());
    let sample = |generator: &mut Generator| {
        let cluster = generator.below(3 * classes);
        (centres[cluster as usize].map(|c| c + 0.3 * generator.uniform()), cluster % classes)
    };
    let rule = Rule { step_size: 0.02, schedule: Schedule::Linear { steps: STEPS }, pull, ..Rule::PLAIN };
    for t in 1..=STEPS {
        let mut step = Step::begin(&rule, Functions::Libm, cap, t.into(), 8);
        for _ in 0..8 {
            let (input, label) = sample(&mut generator);
            // Samples of this size are always admitted.
            let _ = step.add(network, &input, Target::Class(label), &mut scratch);
        }
        step.finish(network, &rule, &start, &mut scratch);
        let mut digests = [0; 3];
        network.parameters(&mut |Parameter { state, .. }| {
            for (digest, matrix) in digests.iter_mut().zip([&state.x, &state.y, &state.m]) {
                *digest = fingerprint(matrix.elements()) ^ u64::rotate_left(*digest, 1);
            }
        });
        for (array, digest) in ["X", "Y", "M"].into_iter().zip(digests) {
            emit(Line { step: t, array: &format_args!("{array} of {name} training"), digest });
        }
    }
    let mut right = 0;
    for _ in 0..100 {
        let (input, label) = sample(&mut generator);
        let predicted = predict(network, Functions::Libm, &input, &mut scratch);
        right += u32::from(predicted.is_ok_and(|p| p.class == label));
    }
    right
}

/// Runs all parts with networks in static memory; returns the result of [`training`].
pub fn run(machine: &mut impl Machine, networks: &mut Static, emit: &mut dyn FnMut(Line)) -> u32 {
    updates(machine, emit);
    training(networks, emit)
}
