//! Tests of learning in slices: the same bits as at once, whatever is called in between, and no slice of more than one
//! sample or parameter.
//!
//! The reference is learning at once, which the tests of adaptation and sessions compare with its definition.

mod oracle;

use core::cell::Cell;
use core::ops::Range;
use graftage_core::adapt::{Adaptation, HoldOut, Recipe, Ring, Slice};
use graftage_core::error::Refusal;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Layer, Parameter, Relu, initialise};
use graftage_core::random::Generator;
use graftage_core::scion::{Point, Rule};
use graftage_core::session::Session;
use graftage_core::{chain, snapshot};
use oracle::Random;

type Network = chain![Dense<3, 6>, Relu<6>, Dense<6, 4>];
type Device<N = Network> = Session<'static, N, Ring<3, 8>, Forgetful, [f32; Network::WEIGHTS], Ring<3, 6>>;
/// Number of parameters: weights and bias of two layers.
const PARAMETERS: usize = 4;

const RECIPE: Recipe =
    Recipe { batch: 4, steps: 2, replay: 8, seed: 5, hold_out: Some(HoldOut { every: 4, keep: 6 }), ..Recipe::FREE };

/// Scratch memory that loses its contents between uses.
#[derive(Debug)]
struct Forgetful([f32; Network::SCRATCH]);

impl AsMut<[f32]> for Forgetful {
    fn as_mut(&mut self) -> &mut [f32] {
        self.0.fill(f32::NAN);
        &mut self.0
    }
}

fn network() -> Network {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    network
}

fn device<N: Layer>(network: N, recipe: Recipe) -> Device<N> {
    let adaptation = Adaptation::with(network, Ring::new(), Forgetful([0.0; Network::SCRATCH]));
    let mut device = Session::with(adaptation, [0.0; Network::WEIGHTS], Ring::new());
    device.start(recipe).unwrap();
    device
}

fn stream(length: usize) -> Vec<(Vec<f32>, u32)> {
    let mut random = Random::new(9);
    (0..length).map(|_| (random.vector(3), random.below(4) as u32)).collect()
}

/// Returns the whole state, without finishing a sample that is being learnt.
fn whole(device: &mut Device) -> impl PartialEq + core::fmt::Debug + use<> {
    let mut arrays = oracle::bits(device.in_use());
    device.network_mut().parameters(&mut |Parameter { state, .. }| {
        arrays.extend([&state.x, &state.y, &state.m].into_iter().flat_map(|array| oracle::bits(array.elements())));
    });
    let adaptation = device.adaptation();
    (adaptation.digest(), adaptation.position(), device.counts(), arrays)
}

fn bytes(device: &mut Device) -> Vec<u8> {
    let mut memory = vec![0; snapshot::length(Network::WEIGHTS, 3, 14)];
    snapshot::write(device, Network::SCHEMA, &mut memory).unwrap().to_vec()
}

#[test]
fn slices_with_predictions_between_them_bring_the_bits_of_learning_at_once() {
    let rule = Rule::PLAIN;
    for (batch, steps) in [(1, 1), (4, 2), (8, 3)] {
        // The budget suffices for ten and a half steps per session.
        let recipe = Recipe { batch, steps, budget: Some(10.5 * rule.movement(1)), rule, ..RECIPE };
        let [mut at_once, mut sliced] = [(); 2].map(|()| device(network(), recipe));
        let mut budget = 0;
        // A wrongly predicted sample that overflows in its gradient alone.
        let steep = [1e30, 0.0, 0.0];
        let wrong = (at_once.predict(&steep).unwrap().class + 1) % 4;
        let mut samples = vec![(steep.to_vec(), wrong)];
        for (input, label) in stream(60) {
            let bad: [(&[f32], u32); 5] = [
                (&[0.0, f32::NAN, 0.0], 0),
                (&[f32::NEG_INFINITY, 0.0, 0.0], 0),
                (&[0.0; 2], 0),
                (&[0.0; 3], 4),
                (&[f32::MAX; 3], 1),
            ];
            samples.extend(bad.map(|(input, label)| (input.to_vec(), label)));
            samples.push((input, label));
        }
        for (at, (input, label)) in samples.iter().enumerate() {
            let before = whole(&mut sliced);
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            let taken = sliced.begin(input, *label);
            assert_eq!(taken, at_once.learn(input, *label, |report| expected.push(report)));
            if taken.is_err() {
                assert_eq!(whole(&mut sliced), before, "{taken:?}");
            }
            if at == 0 {
                assert_eq!(taken, Err(Refusal::Overflow));
            }
            budget += u32::from(taken == Err(Refusal::Budget));
            loop {
                assert_eq!(sliced.predict(&[0.3, -0.2, 0.1]), at_once.predict(&[0.3, -0.2, 0.1]));
                assert_eq!(sliced.predict(&[f32::NAN; 3]), Err(Refusal::NotFinite { index: 0 }));
                match sliced.advance() {
                    Slice::Part => {}
                    Slice::Step(report) => found.push(report),
                    Slice::Idle => break,
                }
            }
            assert_eq!(found, expected);
            assert_eq!(whole(&mut sliced), whole(&mut at_once));
            if at % 100 == 99 {
                assert_eq!(sliced.end(), at_once.end());
            }
        }
        assert!(budget > 0, "no session came to the end of its budget");
        assert_eq!(bytes(&mut sliced), bytes(&mut at_once));
    }
}

#[test]
fn a_call_that_needs_a_whole_sample_finishes_it_first() {
    let samples = stream(4);
    let [.., (last, label)] = samples.as_slice() else { unreachable!() };
    let learnt = |count: usize| {
        let mut device = device(network(), Recipe { hold_out: None, ..RECIPE });
        samples[..count].iter().for_each(|(input, label)| assert!(device.learn(input, *label, |_| ()).is_ok()));
        device
    };
    let all = (RECIPE.steps as usize) * (RECIPE.batch as usize + PARAMETERS) - 1;
    for taken in 0..=all {
        let begun = || {
            let mut device = learnt(3);
            device.begin(last, *label).unwrap();
            (0..taken).for_each(|_| assert_ne!(device.advance(), Slice::Idle));
            device
        };
        // A snapshot finishes the sample.
        let (mut sliced, mut at_once) = (begun(), learnt(4));
        assert_eq!(bytes(&mut sliced), bytes(&mut at_once), "{taken}");
        assert_eq!(sliced.advance(), Slice::Idle);
        // The end of the session finishes the sample.
        let (mut sliced, mut at_once) = (begun(), learnt(4));
        assert_eq!(sliced.end(), at_once.end());
        assert_eq!(whole(&mut sliced), whole(&mut at_once), "{taken}");
        // Another sample finishes the one before, even if it is refused itself.
        let (mut sliced, mut at_once) = (begun(), learnt(4));
        assert_eq!(sliced.begin(&[f32::NAN; 3], 0), Err(Refusal::NotFinite { index: 0 }));
        assert_eq!(whole(&mut sliced), whole(&mut at_once), "{taken}");
        let mut sliced = begun();
        assert_eq!(sliced.begin(&[0.5; 3], 1), at_once.learn(&[0.5; 3], 1, |_| ()));
        sliced.finish(|_| ());
        assert_eq!(whole(&mut sliced), whole(&mut at_once), "{taken}");
        // A start drops the sample, even in the middle of a step.
        let mut sliced = begun();
        let mut fresh = device(sliced.adaptation().network().clone(), RECIPE);
        sliced.start(RECIPE).unwrap();
        assert_eq!((sliced.advance(), whole(&mut sliced)), (Slice::Idle, whole(&mut fresh)), "{taken}");
    }
}

/// Numbers of forward passes, of backward passes and of moves of a parameter.
type Passes = [u32; 3];

/// Network that counts its passes.
#[derive(Debug)]
struct Counted(Network, Cell<Passes>);

impl Counted {
    fn count(&self, at: usize) {
        let mut passes = self.1.get();
        passes[at] += 1;
        self.1.set(passes);
    }
}

impl Layer for Counted {
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
        self.count(0);
        self.0.forward(at, input, trace);
    }
    fn backward(&self, at: Point, input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        self.count(1);
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
    fn advance(&mut self, places: Range<usize>, rule: &Rule, t: u64, start: &[[u8; 4]], scratch: &mut [f32]) {
        places.clone().for_each(|_| self.count(2));
        self.0.advance(places, rule, t, start, scratch);
    }
}

#[test]
fn the_longest_slice_is_one_sample_or_one_parameter() {
    let mut device = device(Counted(network(), Cell::default()), RECIPE);
    let (sample, parameter) = ([1, 1, 0], [0, 0, 1]);
    let (batch, idle) = (RECIPE.batch as usize, [0; 3]);
    for (number, (input, label)) in (1..).zip(stream(20)) {
        let taken = device.begin(&input, label).unwrap();
        let mut found = vec![device.adaptation().network().1.take()];
        let mut steps = 0;
        loop {
            let slice = device.advance();
            found.push(device.adaptation().network().1.take());
            match slice {
                Slice::Part => {}
                Slice::Step(_) => steps += 1,
                Slice::Idle => break,
            }
        }
        assert_eq!(taken.held_out, number % 4 == 0);
        let expected = if taken.held_out {
            vec![[1, 0, 0], idle]
        } else {
            // The first slice predicts the sample and takes it into the first step.
            let first = [vec![[2, 1, 0]], vec![sample; batch - 1], vec![parameter; PARAMETERS]].concat();
            [first, vec![sample; batch], vec![parameter; PARAMETERS], vec![idle]].concat()
        };
        assert_eq!((found, steps), (expected, if taken.held_out { 0 } else { RECIPE.steps }), "sample {number}");
    }
}
