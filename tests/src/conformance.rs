//! The program whose every line each target must reproduce.
//!
//! Three parts: the operations on bit patterns, subnormals among them; transported updates in every norm on matrices of
//! odd and even shapes, tiny and huge ones among them; and 200 training steps of a small network. After each step every
//! array is fingerprinted, so that two targets that part are known to part at this step, in this array.
//!
//! A [`Machine`] does the updates: [`Core`] with core's kernels, others with whatever is to be held against them.

use core::fmt;
use graftage_core::adapt::fingerprint;
use graftage_core::arithmetic::{exp, ln, magnitude, sqrt, sum};
use graftage_core::matrix::Slab;
use graftage_core::network::{Dense, Fixed, Layer, Relu, Step, initialise};
use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::scion::{Geometry, Rule, Scion, with_workspace, workspace};

/// One line: what was computed, and the fingerprint of its bits.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// Steps so far in this part, or 0.
    pub step: u32,
    /// The array, in words.
    pub array: &'a dyn fmt::Display,
    /// [`fingerprint`] of its elements.
    pub digest: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {:016x} {}", self.step, self.digest, self.array)
    }
}

/// The line after the last one: without it, the program did not come to its end.
pub const END: &str = "end of conformance";

/// Computes transported updates of one parameter at a time.
pub trait Machine {
    /// Starts with these weights of an m×n parameter: Y = X, M = 0.
    fn start(&mut self, shape: (usize, usize), x: &[f32]);
    /// M ← keep·M + weight·G.
    fn accumulate(&mut self, keep: f32, weight: f32, gradient: &[f32]);
    /// One step.
    fn advance(&mut self, geometry: Geometry, rule: &Rule);
    /// Fingerprints of X, Y and M.
    fn fingerprints(&mut self) -> [u64; 3];
}

const SHAPES: [(usize, usize); 7] = [(16, 32), (32, 8), (1, 37), (37, 1), (5, 3), (3, 7), (13, 13)];
const LARGEST: usize = 512;
const WORKSPACE: usize = workspace(16, 32);

/// Core's kernels in static memory.
pub struct Core {
    shape: (usize, usize),
    state: [[f32; LARGEST]; 3],
    workspace: [f32; WORKSPACE],
    gradient: [f32; LARGEST],
    fused: bool,
}

impl Core {
    /// As every target must compute.
    pub const fn new() -> Self {
        Self {
            shape: (0, 0),
            state: [[0.0; LARGEST]; 3],
            workspace: [0.0; WORKSPACE],
            gradient: [0.0; LARGEST],
            fused: false,
        }
    }

    /// The negative control: momentum with a fused multiply-add, which rounds once where the contract rounds twice.
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

    fn advance(&mut self, geometry: Geometry, rule: &Rule) {
        let (rows, columns) = self.shape;
        let [x, y, m] = &mut self.state;
        with_workspace(self.shape, &mut self.workspace, |work| {
            let slab = |elements| Slab::new(rows, columns, elements);
            if let (Some(x), Some(y), Some(m)) = (slab(&mut x[..]), slab(&mut y[..]), slab(&mut m[..])) {
                Scion { x, y, m }.advance(geometry, rule, work);
            }
        });
    }

    fn fingerprints(&mut self) -> [u64; 3] {
        let length = self.length();
        self.state.each_ref().map(|array| fingerprint(&array[..length]))
    }
}

/// Runs the operations and the updates.
pub fn updates(machine: &mut impl Machine, emit: &mut dyn FnMut(Line)) {
    operations(emit);
    for norm in [Norm::Spectral, Norm::Sign, Norm::Rms] {
        for shape in SHAPES {
            for constrained in [false, true] {
                update(machine, norm, shape, constrained, emit);
            }
        }
    }
}

/// Every operation on 4,096 pairs of bit patterns; results that are not finite count as zero.
fn operations(emit: &mut dyn FnMut(Line)) {
    type Operation = (&'static str, fn(f32, f32) -> f32);
    const OPERATIONS: [Operation; 8] = [
        ("a + b", |a, b| a + b),
        ("a − b", |a, b| a - b),
        ("a · b", |a, b| a * b),
        ("a ÷ b", |a, b| a / b),
        ("√|a|", |a, _| sqrt(magnitude(a))),
        ("exp a", |a, _| exp(a)),
        ("ln |a|", |a, _| ln(magnitude(a))),
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
                // Every other pair meets a number of its own size, so that sums do not just return the larger one.
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

/// Eight steps of one parameter, from gradients of a fixed generator.
fn update(
    machine: &mut impl Machine,
    norm: Norm,
    (m, n): (usize, usize),
    constrained: bool,
    emit: &mut dyn FnMut(Line),
) {
    let mut generator = Generator::new(2, (m * 64 + n) as u64);
    // Gradients near both ends of the range: the oracles do not care.
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
    let mut rule = Rule { step: 0.1, momentum: 0.9, theta: 0.5, constrained };
    for t in 1..=8 {
        rule.step *= 0.9;
        for sample in 0..2 {
            fill(scale, &mut numbers[..m * n]);
            let keep = if sample == 0 { rule.keep(t) } else { 1.0 };
            machine.accumulate(keep, rule.weight(t, 2), &numbers[..m * n]);
        }
        machine.advance(geometry, &rule);
        let kind = if constrained { "constrained" } else { "free" };
        for (array, digest) in ["X", "Y", "M"].into_iter().zip(machine.fingerprints()) {
            emit(Line { step: t as u32, array: &format_args!("{array} of {norm:?} {m}×{n} {kind}"), digest });
        }
    }
}

/// The network of the training part.
pub type Network = graftage_core::chain![Dense<16, 12>, Relu<12>, Dense<12, 5>];

/// Steps of the training part.
pub const STEPS: u64 = 200;

/// Runs the training part: 200 steps of batches of eight, three clusters of samples a class, step size falling to 0.
///
/// `network` has the architecture of [`Network`] and is initialised here. Returns how many of 100 fresh samples it then
/// predicts rightly, which shows that it has learnt.
pub fn training<N: Layer>(network: &mut N, emit: &mut dyn FnMut(Line)) -> u32 {
    let mut scratch = [0.0; Network::SCRATCH];
    let mut generator = Generator::new(3, 0);
    initialise(network, &mut generator, &mut scratch);
    let mut centres = [[0.0; 16]; 15];
    centres.as_flattened_mut().iter_mut().for_each(|e| *e = generator.uniform());
    let sample = |generator: &mut Generator| {
        let cluster = generator.below(15);
        (centres[cluster as usize].map(|c| c + 0.3 * generator.uniform()), cluster % 5)
    };
    for t in 1..=STEPS {
        let rule = Rule { step: 0.02 * (1.0 - (t - 1) as f32 / STEPS as f32), ..Rule::DEFAULT };
        let mut step = Step::begin(&rule, t, 8);
        for _ in 0..8 {
            let (input, label) = sample(&mut generator);
            // Samples of this size are always admitted.
            let _ = step.add(network, &input, label, &mut scratch);
        }
        step.finish(network, &rule, &mut scratch);
        let mut parameter = 0;
        network.parameters(&mut |_, state| {
            use graftage_core::matrix::RowMajor;
            parameter += 1;
            for (array, matrix) in [("X", &state.x), ("Y", &state.y), ("M", &state.m)] {
                let name = format_args!("{array} of training, parameter {parameter}");
                emit(Line { step: t as u32, array: &name, digest: fingerprint(matrix.elements()) });
            }
        });
    }
    let mut right = 0;
    for _ in 0..100 {
        let (input, label) = sample(&mut generator);
        let predicted = graftage_core::network::predict(network, &input, &mut scratch);
        right += u32::from(predicted.is_ok_and(|p| p.class == label));
    }
    right
}

/// All of it with core's kernels and a network in static memory; returns what [`training`] does.
pub fn run(machine: &mut impl Machine, network: &mut Network, emit: &mut dyn FnMut(Line)) -> u32 {
    updates(machine, emit);
    training(network, emit)
}
