//! Tests of adaptation: the same stream gives the same bits, refused samples change nothing, and the network learns.

mod oracle;

use graftage_core::adapt::{Adaptation, Recipe, Replay, Report, Ring, STEPS, Score, fingerprint};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::error::{Field, Refusal};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Layer, Parameter, Prediction, Relu, Step, Target, initialise, train_last};
use graftage_core::random::Generator;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use oracle::{Pcg, Random};

type Network = chain![Dense<3, 6>, Relu<6>, Dense<6, 4>];
type Device = Adaptation<'static, Network, Ring<3, 8>, [f32; Network::SCRATCH]>;
type Stream = Vec<(Vec<f32>, u32)>;

const RECIPE: Recipe = Recipe { batch: 4, steps: 3, replay: 8, seed: 77, ..Recipe::FREE };

fn network() -> Network {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    network
}

fn device(recipe: Recipe) -> Device {
    let mut device = Device::new(network(), Ring::new(), [f32::NAN; Network::SCRATCH]);
    device.start(recipe).unwrap();
    device
}

fn stream(seed: u64, length: usize) -> Stream {
    let mut random = Random::new(seed);
    (0..length).map(|_| (random.vector(3), random.below(4) as u32)).collect()
}

/// Learns a sample; returns the prediction or refusal, and the reports of its steps.
fn learn(device: &mut Device, input: &[f32], label: u32) -> (Result<Prediction, Refusal>, Vec<Report>) {
    let mut reports = Vec::new();
    let prediction = device.learn(input, label, |report| reports.push(report));
    (prediction, reports)
}

/// Returns the first part of the digested bytes: X, Y and M of every parameter as little-endian bytes, and its
/// alignment.
fn state(network: &mut dyn Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    network.parameters(&mut |Parameter { state, alignment, .. }| {
        for part in [&state.x, &state.y, &state.m] {
            bytes.extend(part.elements().iter().flat_map(|e| e.to_le_bytes()));
        }
        let known = alignment.mean.map(|mean| [mean, alignment.weight]);
        bytes.extend(known.into_iter().flatten().flat_map(f32::to_le_bytes));
    });
    bytes
}

/// Returns the digest, computed from its definition.
fn digest(network: &mut dyn Layer, step: u64, seed: u64, position: u64) -> u64 {
    let numbers = [step, seed, 0, position].map(u64::to_le_bytes);
    oracle::xxh64(&[state(network), numbers.concat()].concat())
}

#[test]
fn two_runs_of_a_stream_agree_in_every_report() {
    let run = || {
        let mut device = device(RECIPE);
        stream(1, 30).iter().map(|(input, label)| learn(&mut device, input, *label)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn starting_again_forgets_all_but_the_weights() {
    let mut used = device(RECIPE);
    stream(2, 9).iter().for_each(|(input, label)| drop(learn(&mut used, input, *label)));
    assert_eq!((used.step(), used.score().learnt), (27, 9));
    // The same weights in a device that has seen nothing, with Y and M as a start must leave them.
    let mut fresh = Device::new(used.network().clone(), Ring::new(), [0.0; Network::SCRATCH]);
    fresh.network_mut().parameters(&mut |Parameter { mut state, .. }| {
        let x = state.x.elements().to_vec();
        state.y.elements_mut().copy_from_slice(&x);
        state.m.elements_mut().fill(0.0);
    });
    let expected = digest(fresh.network_mut(), 0, 77, 0);
    used.start(RECIPE).unwrap();
    fresh.start(RECIPE).unwrap();
    assert_eq!([used.digest(), fresh.digest()], [expected; 2]);
    assert_eq!((used.step(), used.score(), *used.recipe()), (0, Score { learnt: 0, correct: 0 }, RECIPE));
    for (input, label) in stream(7, 9) {
        assert_eq!(learn(&mut used, &input, label), learn(&mut fresh, &input, label));
    }
}

#[test]
fn the_hash_of_the_oracle_is_xxhash() {
    assert_eq!(oracle::xxh64(b""), 0xef46_db37_51d8_e999);
    assert_eq!(oracle::xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
    assert_eq!(oracle::xxh64(b"Nobody inspects the spammish repetition"), 0xfbce_a83c_8a37_8bf1);
}

#[test]
fn digests_are_xxhash_at_every_length() {
    let mut words = Pcg::new(21, 0);
    for length in 0..70 {
        let numbers: Vec<f32> = (0..length).map(|_| f32::from_bits(words.bits())).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(fingerprint(&numbers), oracle::xxh64(&bytes), "{length} numbers");
    }
}

#[test]
fn samples_are_drawn_and_steps_taken_as_the_recipe_says() {
    let alignment = Rule { transport: Transport::Alignment { damping: 1.5 }, ..Rule::PLAIN };
    for (batch, steps, replay, seed, rule) in [
        (4, 3, 8, 77, Rule::PLAIN),
        (1, 1, 1, 0, alignment),
        (8, 2, 5, u64::MAX, Rule { transport: Transport::Nesterov, ..Rule::PLAIN }),
        (3, 16, 2, 1, Rule { transport: Transport::Lag { memory: 0.6 }, ..Rule::PLAIN }),
    ] {
        let recipe = Recipe { batch, steps, replay, seed, rule, ..RECIPE };
        let mut device = device(recipe);
        // Compute the same with the steps of a network, a growing list and the published generator.
        let (mut network, mut pcg) = (network(), Pcg::new(seed, 0));
        network.parameters(&mut |mut parameter| parameter.start());
        let memory = &mut [0.0; Network::SCRATCH];
        let samples = stream(3, 20);
        let (mut t, mut position) = (0, 0);
        assert_eq!(device.digest(), digest(&mut network, 0, seed, 0));
        for (i, (input, label)) in samples.iter().enumerate() {
            let (prediction, reports) = learn(&mut device, input, *label);
            assert!(prediction.is_ok());
            assert_eq!(reports.len(), steps as usize);
            let kept = &samples[(i + 1).saturating_sub(replay as usize)..=i];
            for report in reports {
                t += 1;
                let mut step = Step::begin(&recipe.rule, Functions::Libm, recipe.cap, t, batch);
                step.add(&mut network, input, Target::Class(*label), memory).unwrap();
                for _ in 1..batch {
                    let (input, label) = &kept[pcg.below(kept.len())];
                    position += 1;
                    step.add(&mut network, input, Target::Class(*label), memory).unwrap();
                }
                let outcome = step.finish(&mut network, &recipe.rule, &[], memory).unwrap();
                let digest = digest(&mut network, t, seed, position);
                assert_eq!(report, Report { step: t, outcome, digest }, "sample {i}");
            }
        }
        assert_eq!(state(device.network_mut()), state(&mut network));
    }
}

#[test]
fn every_bit_of_the_state_is_in_the_digest() {
    // The digested bytes equal the definition above, so a bit that counts there counts everywhere.
    let bytes = [state(&mut network()), vec![7; 32]].concat();
    let whole = oracle::xxh64(&bytes);
    for bit in 0..8 * bytes.len() {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(oracle::xxh64(&other), whole, "bit {bit}");
    }
    // Check the weights through the device as well.
    let mut device = device(RECIPE);
    let whole = device.digest();
    for index in 0..Network::WEIGHTS {
        for bit in 0..32 {
            let mut left = index;
            *device.network_mut() = network();
            device.network_mut().parameters(&mut |Parameter { mut state, .. }| {
                let x = state.x.elements_mut();
                if let Some(x) = x.get_mut(left) {
                    *x = f32::from_bits(x.to_bits() ^ 1 << bit);
                }
                left = left.wrapping_sub(x.len());
            });
            device.start(RECIPE).unwrap();
            assert_ne!(device.digest(), whole, "weight {index}, bit {bit}");
        }
    }
    device.start(Recipe { seed: 78, ..RECIPE }).unwrap();
    assert_ne!(device.digest(), whole, "seed");
}

#[test]
fn refused_samples_change_nothing_now_or_later() {
    let (mut one, mut other) = (device(RECIPE), device(RECIPE));
    let bad: [(&[f32], u32, Refusal); 5] = [
        (&[0.0, f32::NAN, 0.0], 0, Refusal::NotFinite { index: 1 }),
        (&[f32::NEG_INFINITY, 0.0, 0.0], 0, Refusal::NotFinite { index: 0 }),
        (&[0.0; 2], 0, Refusal::Length { expected: 3, found: 2 }),
        (&[0.0; 3], 4, Refusal::Label { label: 4, classes: 4 }),
        (&[f32::MAX; 3], 1, Refusal::Overflow),
    ];
    let steep = [1e30, 0.0, 0.0];
    for (input, label) in stream(4, 40) {
        // A wrongly predicted sample that overflows in its gradient alone: at Y, which is X at the start.
        let wrong = (other.predict(&steep).unwrap().class + 1) % 4;
        let first = (other.step() == 0).then_some((steep.as_slice(), wrong, Refusal::Overflow));
        for (input, label, why) in bad.into_iter().chain(first) {
            let before = (other.digest(), other.step(), other.score(), state(other.network_mut()));
            assert_eq!(learn(&mut other, input, label), (Err(why), vec![]));
            assert_eq!((other.digest(), other.step(), other.score(), state(other.network_mut())), before);
        }
        assert_eq!(learn(&mut one, &input, label), learn(&mut other, &input, label));
    }
    assert_eq!((one.digest(), one.score()), (other.digest(), other.score()));
}

#[test]
fn the_digest_names_the_place_of_the_generator_even_where_a_round_takes_no_step() {
    // The first step moves the weights so far that the sample overflows in the second round.
    let recipe = Recipe { rule: Rule { step_size: 4e9, ..RECIPE.rule }, batch: 2, steps: 2, ..RECIPE };
    let mut device = device(recipe);
    let (prediction, reports) = learn(&mut device, &[1e18, -1e18, 1e18], 0);
    assert_eq!((prediction.is_ok(), reports.len()), (true, 1));
    assert_eq!(reports[0].digest, digest(device.network_mut(), 1, 77, 1));
    assert_eq!(device.digest(), digest(device.network_mut(), 1, 77, 2));
}

#[test]
fn a_separable_problem_is_learnt() {
    let mut random = Random::new(5);
    let mut sample = || {
        let label = random.below(4) as u32;
        let centre = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, -1.0, -1.0]][label as usize];
        (centre.map(|c: f32| c + 0.3 * random.uniform() as f32), label)
    };
    for (transport, pull) in [
        (Transport::Fixed { theta: 0.0 }, Pull::None),
        (Transport::Fixed { theta: 0.5 }, Pull::Zero { strength: 1.0 }),
        (Transport::Fixed { theta: 1.0 }, Pull::None),
        (Transport::Lag { memory: 0.6 }, Pull::None),
        (Transport::Alignment { damping: 1.5 }, Pull::None),
        (Transport::Nesterov, Pull::None),
    ] {
        // Three steps per sample.
        let schedule = Schedule::Linear { steps: 450 };
        let mut device = device(Recipe { rule: Rule { transport, pull, schedule, ..Rule::PLAIN }, ..RECIPE });
        for _ in 0..150 {
            let (input, label) = sample();
            device.learn(&input, label, |_| ()).unwrap();
        }
        let right = (0..200).filter(|_| {
            let (input, label) = sample();
            device.predict(&input).unwrap().class == label
        });
        let right = right.count();
        assert!(right >= 195, "{transport:?}: {right} of 200");
        let Score { learnt, correct } = device.score();
        assert!(learnt == 150 && (100..150).contains(&correct), "{correct} of {learnt}");
    }
}

#[test]
fn a_session_ends_with_its_movement_budget_and_says_so() {
    for (pull, per_step) in [(Pull::None, 0.01), (Pull::Zero { strength: 1.0 }, 0.02)] {
        // The budget suffices for ten and a half steps: three samples of three steps, and one step of the fourth.
        let rule = Rule { pull, ..Rule::PLAIN };
        let mut device = device(Recipe { rule, budget: Some(10.5 * per_step), ..RECIPE });
        let mut taken = vec![];
        for (input, label) in stream(11, 4) {
            let (prediction, reports) = learn(&mut device, &input, label);
            assert!(prediction.is_ok());
            taken.push(reports.len());
        }
        assert_eq!((taken, device.step()), (vec![3, 3, 3, 1], 10));
        assert!((device.movement() / (10.0 * per_step) - 1.0).abs() < 1e-3, "{}", device.movement());
        let before = (device.digest(), device.position(), state(device.network_mut()));
        assert_eq!(learn(&mut device, &[0.1; 3], 1), (Err(Refusal::Budget), vec![]));
        assert_eq!((device.digest(), device.position(), state(device.network_mut())), before);
        assert!(device.predict(&[0.1; 3]).is_ok());
        device.start(*device.recipe()).unwrap();
        assert!(learn(&mut device, &[0.1; 3], 1).0.is_ok());
    }
}

#[test]
fn only_the_last_layers_move_when_the_others_are_frozen() {
    for layers in 0..=3 {
        let mut device = device(RECIPE);
        train_last(device.network_mut(), layers);
        device.start(RECIPE).unwrap();
        let weights = |device: &mut Device| {
            let mut all = Vec::new();
            device.network_mut().parameters(&mut |parameter| all.push(oracle::bits(parameter.state.x.elements())));
            all
        };
        let before = weights(&mut device);
        stream(12, 10).iter().for_each(|(input, label)| drop(learn(&mut device, input, *label)));
        // Weights and bias of the first layer, then those of the last.
        let moved: Vec<_> = before.iter().zip(weights(&mut device)).map(|(a, b)| *a != b).collect();
        assert_eq!(moved, [layers >= 2, layers >= 2, layers >= 1, layers >= 1], "{layers}");
    }
}

#[test]
fn memory_by_part_is_what_the_type_takes() {
    let memory = Device::MEMORY;
    // 3·6 + 6 + 6·4 + 4 weights; a trace of 6 + 6 + 4 numbers; eight samples of three numbers and a label.
    assert_eq!((memory.weights, memory.query_points, memory.momenta), (4 * 52, 4 * 52, 4 * 52));
    assert_eq!((memory.activations, memory.scratch as usize), (2 * 4 * 16, 4 * Network::SCRATCH));
    // Oracle of the 4×6 weights, larger than that of the 6×3 ones: its direction and two squares of four rows.
    assert_eq!(memory.workspace, 4 * (24 + 2 * 16));
    assert!(memory.replay >= 8 * 16 && memory.replay < 8 * 16 + 32);
    let sum = 3 * memory.weights + memory.replay + memory.scratch + memory.rest;
    assert_eq!(sum as usize, size_of::<Device>());
}

/// Compares with an implementation in C, which takes 53 KB for weights, gradients, momentum and activations of the same
/// network.
#[test]
fn training_128_32_6_takes_at_most_56_kilobytes_without_replay_and_workspace() {
    type Mlp = graftage_core::chain![Dense<128, 32>, Relu<32>, Dense<32, 6>];
    let memory = Adaptation::<Mlp, Ring<128, 32>, [f32; Mlp::SCRATCH]>::MEMORY;
    let training = 3 * memory.weights + memory.activations + memory.rest;
    println!("{training} bytes");
    assert!(training <= 56_000, "{training}");
    assert!(training >= 3 * 4 * (128 * 32 + 32 + 32 * 6 + 6));
}

#[test]
fn a_ring_keeps_the_last_samples_oldest_first() {
    let mut ring = Ring::<2, 5>::new();
    let mut expected: Vec<([f32; 2], u32)> = Vec::new();
    assert_eq!((ring.capacity(), ring.is_empty()), (5, true));
    let mut random = Random::new(6);
    for i in 0..200 {
        let keep = 1 + random.below(5);
        let sample = ([i as f32, -1.0], i);
        ring.push(keep, sample.0, i);
        expected.push(sample);
        expected.drain(..expected.len().saturating_sub(keep));
        let found: Vec<_> = (0..ring.len()).map(|i| ring.get(i).unwrap()).collect();
        assert_eq!(found, expected.iter().map(|(input, label)| (input.as_slice(), *label)).collect::<Vec<_>>());
        assert!(ring.get(ring.len()).is_none());
    }
    ring.clear();
    assert!(ring.is_empty());
}

#[test]
fn recipes_outside_their_ranges_are_refused_and_change_nothing() {
    let mut device = device(RECIPE);
    learn(&mut device, &[0.1, 0.2, 0.3], 1).0.unwrap();
    let before = (device.digest(), device.step(), *device.recipe());
    let rule = Rule { momentum: Momentum::Constant(1.0), ..Rule::PLAIN };
    for (recipe, field) in [
        (Recipe { rule, ..RECIPE }, Field::Momentum),
        (Recipe { batch: 0, ..RECIPE }, Field::Batch),
        (Recipe { batch: 65_537, ..RECIPE }, Field::Batch),
        (Recipe { steps: 0, ..RECIPE }, Field::Steps),
        (Recipe { steps: STEPS as u32 + 1, ..RECIPE }, Field::Steps),
        (Recipe { replay: 0, ..RECIPE }, Field::Replay),
        (Recipe { replay: 9, ..RECIPE }, Field::Replay),
        (Recipe { budget: Some(0.0), ..RECIPE }, Field::Budget),
        (Recipe { budget: Some(f32::NAN), ..RECIPE }, Field::Budget),
    ] {
        assert_eq!(device.start(recipe), Err(Refusal::Recipe(field)));
        assert_eq!((device.digest(), device.step(), *device.recipe()), before);
    }
    assert_eq!(device.start(Recipe { batch: 65_536, steps: STEPS as u32, replay: 1, ..RECIPE }), Ok(()));
    assert_eq!(Recipe::default(), Recipe::DEFAULT);
    assert_eq!(Recipe::DEFAULT.check(Recipe::DEFAULT.replay as usize), Ok(()));
}

#[test]
fn nothing_is_learnt_before_the_start_or_in_too_little_memory() {
    let mut device = Device::new(network(), Ring::new(), [0.0; Network::SCRATCH]);
    assert_eq!(learn(&mut device, &[0.0; 3], 0), (Err(Refusal::NotStarted), vec![]));
    assert!(device.predict(&[0.0; 3]).is_ok());
    for length in 0..Network::SCRATCH {
        let mut device = Adaptation::with(network(), Ring::<3, 8>::new(), vec![0.0; length]);
        let (expected, found) = (Network::SCRATCH as u32, length as u32);
        assert_eq!(device.start(RECIPE), Err(Refusal::Scratch { expected, found }));
        assert_eq!(device.learn(&[0.0; 3], 0, |_| ()), Err(Refusal::NotStarted));
    }
}
