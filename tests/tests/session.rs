//! Sessions: the weights in use answer until others have proved no worse on held-out samples.
//!
//! The oracle is made of parts that know nothing of sessions: an adaptation that is fed the learnt samples alone, and a
//! network that keeps the weights in use.

mod oracle;

use graftage_core::adapt::{Adaptation, HoldOut, Recipe, Replay, Ring};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::error::{Field, Refusal};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Layer, Parameter, Relu, initialise, predict};
use graftage_core::random::Generator;
use graftage_core::scion::Rule;
use graftage_core::session::{Counts, Session, Verdict, is_multiple};
use oracle::Random;

type Network = chain![Dense<3, 6>, Relu<6>, Dense<6, 4>];
type Learner = Adaptation<Network, Ring<3, 8>, [f32; Network::SCRATCH]>;
type Device = Session<Network, Ring<3, 8>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<3, { HELD + 2 }>>;

/// The most samples that judge a session.
const HELD: usize = 6;
const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 4, keep: HELD as u32 });
const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 8, seed: 5, hold_out: HOLD_OUT, ..Recipe::DEFAULT };

fn network() -> Network {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    network
}

fn device(recipe: Recipe) -> Device {
    let mut device =
        Device::new(network(), Ring::new(), [f32::NAN; Network::SCRATCH], [f32::NAN; Network::WEIGHTS], Ring::new());
    device.start(recipe).unwrap();
    device
}

fn learner(recipe: Recipe) -> Learner {
    let mut learner = Learner::new(network(), Ring::new(), [0.0; Network::SCRATCH]);
    learner.start(recipe).unwrap();
    learner
}

/// Samples of which the first number tells the class, save for those that lie.
fn stream(seed: u64, length: usize, lies: bool) -> Vec<(Vec<f32>, u32)> {
    let mut random = Random::new(seed);
    let sample = |_| {
        let label = random.below(4) as u32;
        let mut input = random.vector(3);
        input[0] = label as f32 - 1.5;
        (input, if lies { (label + 1) % 4 } else { label })
    };
    (0..length).map(sample).collect()
}

fn weights(network: &mut Network) -> Vec<f32> {
    let mut all = Vec::new();
    network.parameters(&mut |parameter| all.extend_from_slice(parameter.state.x.elements()));
    all
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|e| e.to_bits()).collect()
}

fn right(network: &Network, samples: &[(Vec<f32>, u32)]) -> u32 {
    let scratch = &mut [0.0; Network::SCRATCH];
    let right =
        |(input, label): &&(Vec<f32>, u32)| predict(network, Functions::Libm, input, scratch).unwrap().class == *label;
    samples.iter().filter(right).count() as u32
}

#[test]
fn sessions_are_an_adaptation_beside_the_weights_in_use() {
    // Honest and lying sessions in turn: both verdicts come about.
    let (mut device, mut learner, mut in_use) = (device(RECIPE), learner(RECIPE), network());
    let mut held: Vec<(Vec<f32>, u32)> = Vec::new();
    let (mut taken, mut verdicts) = (0, [0, 0]);
    for session in 0..12 {
        for (input, label) in stream(session, 21, session % 3 == 2) {
            let expected = predict(&in_use, Functions::Libm, &input, &mut [0.0; Network::SCRATCH]).unwrap();
            assert_eq!(device.predict(&input), Ok(expected));
            taken += 1;
            let found = device.learn(&input, label, |_| ()).unwrap();
            assert_eq!(found.held_out, taken % 4 == 0);
            if found.held_out {
                assert_eq!(learner.predict(&input), Ok(found.prediction));
                held.push((input, label));
                held.drain(..held.len().saturating_sub(HELD));
            } else {
                assert_eq!(learner.learn(&input, label, |_| ()), Ok(found.prediction));
            }
            assert_eq!(device.adaptation().digest(), learner.digest());
        }
        let (before, after) = (right(&in_use, &held), right(learner.network(), &held));
        let committed = after >= before;
        verdicts[usize::from(committed)] += 1;
        assert_eq!(device.end(), Verdict { committed, held_out: held.len() as u32, before, after });
        if committed {
            in_use = learner.network().clone();
        } else {
            let mut kept = weights(&mut in_use).into_iter();
            learner.network_mut().parameters(&mut |mut parameter| {
                parameter.state.x.elements_mut().iter_mut().zip(&mut kept).for_each(|(x, w)| *x = w);
                parameter.start();
            });
        }
        assert_eq!(bits(device.in_use()), bits(&weights(&mut in_use)));
        let counts = Counts { taken, rolled_back: verdicts[0], committed: verdicts[1] };
        assert_eq!(device.counts(), counts);
    }
    println!("{} committed, {} rolled back", verdicts[1], verdicts[0]);
    assert!(verdicts.iter().all(|count| *count > 0), "{verdicts:?}");
}

/// X, Y and M.
fn state(network: &Network) -> Vec<u32> {
    let mut all = Vec::new();
    network.clone().parameters(&mut |Parameter { state, .. }| {
        [&state.x, &state.y, &state.m].into_iter().for_each(|matrix| all.extend(bits(matrix.elements())));
    });
    all
}

#[test]
fn a_session_that_was_rolled_back_leaves_no_trace_in_weights_and_momentum() {
    let mut device = device(RECIPE);
    for (input, label) in stream(1, 80, false) {
        device.learn(&input, label, |_| ()).unwrap();
    }
    assert!(device.end().committed);
    let in_use = bits(device.in_use());
    for (input, label) in stream(2, 80, true) {
        device.learn(&input, label, |_| ()).unwrap();
    }
    // Samples that do not lie judge it.
    for (input, label) in stream(3, 4 * HELD, false) {
        device.learn(&input, label, |_| ()).unwrap();
    }
    let step = device.adaptation().step();
    assert!(!device.end().committed);
    assert_eq!(bits(device.in_use()), in_use);
    let zeros = vec![0; in_use.len()];
    let mut expected = Vec::new();
    let mut weights = in_use.iter();
    device.adaptation().network().clone().parameters(&mut |parameter| {
        let x: Vec<u32> = weights.by_ref().take(parameter.state.x.elements().len()).copied().collect();
        expected.extend([&x[..], &x[..], &zeros[..x.len()]].concat());
    });
    assert_eq!(state(device.adaptation().network()), expected);
    assert_eq!(device.adaptation().step(), step, "steps are counted on");
}

#[test]
fn each_session_has_the_whole_drift_budget() {
    let rule = Rule::PLAIN;
    let recipe = Recipe { rule, budget: Some(6.5 * rule.drift(1)), hold_out: None, ..RECIPE };
    let mut device = device(recipe);
    let samples = stream(4, 10, false);
    let learnt = |device: &mut Device| {
        let learnt = samples.iter().take_while(|(input, label)| device.learn(input, *label, |_| ()).is_ok()).count();
        let (input, label) = &samples[learnt];
        assert_eq!(device.learn(input, *label, |_| ()), Err(Refusal::Budget));
        learnt
    };
    // Six steps, two a sample.
    assert_eq!(learnt(&mut device), 3);
    let verdict = device.end();
    assert_eq!(verdict, Verdict { committed: true, held_out: 0, before: 0, after: 0 });
    assert_eq!(learnt(&mut device), 3);
}

#[test]
fn a_refused_sample_is_not_counted_and_changes_nothing() {
    let mut device = device(RECIPE);
    for (input, label) in stream(5, 7, false) {
        device.learn(&input, label, |_| ()).unwrap();
    }
    // The next one would be held out, the one after it learnt.
    for _ in 0..2 {
        let before = (
            state(device.adaptation().network()),
            device.counts(),
            device.held_out().len(),
            device.adaptation().digest(),
        );
        let refused = |device: &mut Device, input: &[f32], label| device.learn(input, label, |_| ()).unwrap_err();
        assert_eq!(refused(&mut device, &[f32::NAN, 0.0, 0.0], 0), Refusal::NotFinite { index: 0 });
        assert_eq!(refused(&mut device, &[0.0, 0.0], 0), Refusal::Length { expected: 3, found: 2 });
        assert_eq!(refused(&mut device, &[0.0, 0.0, 0.0], 4), Refusal::Label { label: 4, classes: 4 });
        assert_eq!(device.predict(&[f32::INFINITY, 0.0, 0.0]), Err(Refusal::NotFinite { index: 0 }));
        let after = (
            state(device.adaptation().network()),
            device.counts(),
            device.held_out().len(),
            device.adaptation().digest(),
        );
        assert_eq!(before, after);
        device.learn(&[1.0, 0.0, 0.0], 2, |_| ()).unwrap();
    }
}

#[test]
fn what_cannot_be_started_says_why() {
    let mut device = Session::with(learner(RECIPE), [0.0; 3], Ring::<3, 2>::new());
    let expected = Network::WEIGHTS as u32;
    assert_eq!(device.start(RECIPE), Err(Refusal::Scratch { expected, found: 3 }));
    let mut device = self::device(RECIPE);
    for (every, keep) in [(0, 1), (1, 1), (2, 0), (2, HELD as u32 + 3)] {
        let recipe = Recipe { hold_out: Some(HoldOut { every, keep }), ..RECIPE };
        assert_eq!(device.start(recipe), Err(Refusal::Recipe(Field::HoldOut)), "{every}, {keep}");
        assert_eq!(*device.adaptation().recipe(), RECIPE);
    }
}

#[test]
fn multiples_are_those_of_the_remainder() {
    let mut random = Random::new(20261126);
    let mut number = || (random.uniform() * 2f64.powf(64.0 * random.uniform())) as u64;
    for _ in 0..10_000 {
        let (factor, of) = (number() >> 32, number() >> 32);
        for multiple in [factor * of, factor, of, u64::MAX, 0] {
            // The remainder says that 0 is a multiple of 0.
            assert_eq!(is_multiple(multiple, of), of > 0 && multiple % of == 0, "{multiple}, {of}");
        }
    }
}
