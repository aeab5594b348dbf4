//! Tests of snapshots: an interrupted run ends in the same bits as an uninterrupted one, and nothing else is taken for
//! a snapshot.

mod oracle;

use graftage_core::adapt::{HoldOut, Recipe, Replay, Ring};
use graftage_core::chain;
use graftage_core::error::{Field, ImageError, Refusal};
use graftage_core::image::Source;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Dense, Fixed, Layer, Parameter, Relu, initialise};
use graftage_core::random::Generator;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::session::{Session, Taken, Verdict};
use graftage_core::snapshot::{length, restore, write};
use graftage_core::transport::Transport;
use oracle::Random;

type Network = chain![Dense<3, 6>, Relu<6>, Dense<6, 4>];
type Device<const K: usize = 8, const H: usize = 4> =
    Session<'static, Network, Ring<3, K>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<3, H>>;

const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 4, keep: 3 });
const RECIPE: Recipe =
    Recipe { batch: 3, steps: 2, replay: 5, seed: 9, budget: Some(0.5), hold_out: HOLD_OUT, ..Recipe::FREE };
/// Number of values before the checksum of the snapshot of one long session: four arrays, five samples in the replay
/// buffer and two held-out samples, half of those that are kept.
const NUMBERS: usize = 4 * Network::WEIGHTS + 7 * 4;

fn fresh<const K: usize, const H: usize>() -> Device<K, H> {
    let mut device = Device::new(
        Network::ZERO,
        Ring::new(),
        [f32::NAN; Network::SCRATCH],
        [f32::NAN; Network::WEIGHTS],
        Ring::new(),
    );
    device.set_start(oracle::words(&weights()).leak());
    device
}

/// Returns the weights with which every device starts.
fn weights() -> Vec<f32> {
    let (mut network, mut all) = (Network::ZERO, Vec::new());
    initialise(&mut network, &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    network.parameters(&mut |parameter| all.extend_from_slice(parameter.state.x.elements()));
    all
}

fn started(rule: Rule) -> Device {
    let mut device: Device = fresh();
    initialise(device.network_mut(), &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    device.start(Recipe { rule, ..RECIPE }).unwrap();
    device
}

fn samples() -> Vec<(Vec<f32>, u32)> {
    let mut random = Random::new(3);
    (0..16).map(|_| (random.vector(3), random.below(4) as u32)).collect()
}

fn bytes(device: &mut Device) -> Vec<u8> {
    let mut memory = vec![0xee; length(Network::WEIGHTS, Network::INPUTS, 8 + 4)];
    write(device, Network::SCHEMA, &mut memory).unwrap().to_vec()
}

/// Returns the whole state: digest, position, recipe, the state of its session, and the bits of the arrays.
fn whole(device: &mut Device) -> (u64, String, Vec<u32>) {
    let adaptation = device.adaptation();
    let all = (adaptation.position(), adaptation.recipe(), device.counts());
    let samples = |ring: &dyn Fn(usize) -> Option<(Vec<f32>, u32)>| (0..8).map(ring).collect::<Vec<_>>();
    let kept = samples(&|at| adaptation.replay().get(at).map(|(x, y)| (x.to_vec(), y)));
    let held_out = samples(&|at| device.held_out().get(at).map(|(x, y)| (x.to_vec(), y)));
    let about = format!("{all:?} {kept:?} {held_out:?} {:?}", [true, false].map(|held_out| device.newest(held_out)));
    let mut arrays = oracle::bits(device.in_use());
    device.network_mut().parameters(&mut |Parameter { state, .. }| {
        arrays.extend([&state.x, &state.y, &state.m].into_iter().flat_map(|array| oracle::bits(array.elements())));
    });
    (device.adaptation().digest(), about, arrays)
}

/// Takes the sample with this index; every eleventh sample begins a new session.
fn take(device: &mut Device, at: usize, (x, y): &(Vec<f32>, u32)) -> (Option<Verdict>, Result<Taken, Refusal>) {
    let verdict = (at > 0 && at.is_multiple_of(11)).then(|| device.end());
    (verdict, device.learn(x, *y, |_| ()))
}

/// Returns the samples of eight sessions; the middle ones have other labels.
fn sessions() -> Vec<(Vec<f32>, u32)> {
    let mut random = Random::new(4);
    let sample = |at| {
        let (mut numbers, label) = (random.vector(3), random.below(4) as u32);
        numbers[0] = 2.0 * label as f32 - 3.0;
        (numbers, if (33..66).contains(&at) { (label + at as u32) % 4 } else { label })
    };
    (0..88).map(sample).collect()
}

#[test]
fn an_interrupted_run_ends_in_the_bits_of_one_that_was_not() {
    let schedule = Schedule::WarmupStableDecay { warmup: 3, stable: 100, decay: 150 };
    let momentum = Momentum::Ramp { from: 0.7, to: 0.9, steps: 20 };
    let [mut committed, mut rolled_back_twice] = [false; 2];
    for (transport, pull, cap) in [
        (Transport::Fixed { theta: 0.5 }, Pull::Start { strength: 1.0 }, Some(0.35)),
        (Transport::Lag { memory: 0.5 }, Pull::Zero { strength: 0.3 }, None),
        (Transport::Alignment { damping: 1.5 }, Pull::Start { strength: 2.0 }, None),
        (Transport::Nesterov, Pull::None, Some(1.0)),
    ] {
        let rule = Rule { schedule, momentum, transport, pull, step_size: 0.05, ..Rule::PLAIN };
        let started = || {
            let mut device = started(Rule::PLAIN);
            device.start(Recipe { rule, cap, budget: None, ..RECIPE }).unwrap();
            device
        };
        let mut unbroken = started();
        let samples = sessions();
        let expected: Vec<_> = samples.iter().enumerate().map(|(at, sample)| take(&mut unbroken, at, sample)).collect();
        let verdicts: Vec<_> = expected.iter().filter_map(|(verdict, _)| verdict.map(|it| it.committed)).collect();
        committed |= verdicts.contains(&true);
        rolled_back_twice |= verdicts.windows(2).any(|pair| pair == [false; 2]);
        for interrupted in 0..=samples.len() {
            let mut device = started();
            let mut found = Vec::new();
            for (at, sample) in samples.iter().enumerate() {
                if at == interrupted {
                    let snapshot = bytes(&mut device);
                    let before = whole(&mut device);
                    device = fresh();
                    restore(&mut device, Network::SCHEMA, &snapshot[..]).unwrap();
                    assert_eq!(whole(&mut device), before, "{transport:?} at {at}");
                    assert_eq!(bytes(&mut device), snapshot);
                }
                found.push(take(&mut device, at, sample));
            }
            assert_eq!(found, expected, "{transport:?} at {interrupted}");
            assert_eq!(whole(&mut device), whole(&mut unbroken), "{transport:?} at {interrupted}");
        }
    }
    assert!(committed && rolled_back_twice);
}

/// Returns a snapshot of a device that has learnt something, and another device.
fn cases() -> (Vec<u8>, Device) {
    let rule = Rule { transport: Transport::Alignment { damping: 1.5 }, ..Rule::PLAIN };
    let (mut device, mut other) = (started(rule), started(Rule::PLAIN));
    samples().iter().for_each(|(x, y)| assert!(device.learn(x, *y, |_| ()).is_ok()));
    other.learn(&[0.5; 3], 1, |_| ()).unwrap();
    (bytes(&mut device), other)
}

/// Writes the correct length and checksum into changed bytes.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u32;
    bytes[6..10].copy_from_slice(&length.to_le_bytes());
    let end = bytes.len() - 4;
    let sum = oracle::crc32(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&sum);
    bytes
}

#[test]
fn damaged_or_foreign_bytes_are_refused_and_change_nothing() {
    let (good, mut device) = cases();
    let before = whole(&mut device);
    let mut refused = |bytes: &[u8]| {
        let error = restore(&mut device, Network::SCHEMA, bytes).unwrap_err();
        assert_eq!(whole(&mut device), before);
        error
    };
    for cut in 0..good.len() {
        refused(&good[..cut]);
    }
    for byte in 0..good.len() {
        let mut bytes = good.clone();
        bytes[byte] ^= 1 << (byte % 8);
        refused(&bytes);
    }
    assert_eq!(restore(&mut device, 7, &good[..]), Err(ImageError::Schema { expected: 7, found: Network::SCHEMA }));
    // More samples than there is memory for.
    let full = |field| Err(ImageError::Recipe(Refusal::Recipe(field)));
    assert_eq!(restore(&mut fresh::<4, 4>(), Network::SCHEMA, &good[..]), full(Field::Replay));
    assert_eq!(restore(&mut fresh::<8, 2>(), Network::SCHEMA, &good[..]), full(Field::HoldOut));
    assert!(restore(&mut device, Network::SCHEMA, &good[..]).is_ok());
}

/// Bytes that cannot be borrowed. One of them reads differently, or not at all, after `steady` reads.
struct Weak<'a> {
    bytes: &'a [u8],
    at: usize,
    reads: usize,
    steady: usize,
    lost: bool,
}

impl Source for Weak<'_> {
    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Option<()> {
        bytes.copy_from_slice(self.bytes.get(at..at + bytes.len())?);
        if let Some(weak) = self.at.checked_sub(at).and_then(|at| bytes.get_mut(at)) {
            self.reads += 1;
            let failing = self.reads > self.steady;
            *weak ^= u8::from(failing);
            return (!failing || !self.lost).then_some(());
        }
        Some(())
    }
}

#[test]
fn a_memory_that_fails_while_it_is_read_restores_nothing_or_stops_the_sessions() {
    let (good, mut device) = cases();
    let before = whole(&mut device);
    let [mut whole_ones, mut refused, mut stopped] = [0; 3];
    for (at, lost) in (0..good.len()).flat_map(|at| [(at, false), (at, true)]) {
        // Every byte is read three times: for the checksum, for the check and for the restore.
        for steady in 0..4 {
            let (_, mut device) = cases();
            let weak = Weak { bytes: &good, at, reads: 0, steady, lost };
            let restored = restore(&mut device, Network::SCHEMA, weak);
            let context = format!("byte {at} after {steady} reads: {restored:?}");
            if restored.is_ok() {
                assert_eq!(bytes(&mut device), good, "{context}");
                whole_ones += 1;
            } else if device.adaptation().position().is_some() {
                assert_eq!(whole(&mut device), before, "{context}");
                refused += 1;
            } else {
                assert_eq!(device.learn(&[0.5; 3], 1, |_| ()), Err(Refusal::NotStarted), "{context}");
                stopped += 1;
            }
            assert!(steady > 0 || restored.is_err(), "{context}");
            assert!(steady < 3 || restored.is_ok(), "{context}");
        }
    }
    println!("{whole_ones} restored, {refused} refused, {stopped} stopped");
    assert!(stopped >= 2 * 4 * NUMBERS);
}

#[test]
fn sealed_nonsense_is_refused_or_taken_whole_and_never_panics() {
    let (good, mut device) = cases();
    let arrays = good.len() - 4 - 4 * NUMBERS;
    let nan = f32::NAN.to_le_bytes();
    for at in (arrays..good.len() - 4).step_by(4) {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&nan);
        let before = whole(&mut device);
        assert_eq!(restore(&mut device, Network::SCHEMA, &seal(bytes)[..]), Err(ImageError::NotFinite), "word at {at}");
        assert_eq!(whole(&mut device), before);
    }
    let mut taken = 0;
    for at in 10..arrays {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let before = whole(&mut device);
            match restore(&mut device, Network::SCHEMA, &seal(bytes)[..]) {
                Ok(()) => taken += 1,
                Err(_) => assert_eq!(whole(&mut device), before),
            }
            let _ = device.learn(&[0.1, 0.2, 0.3], 1, |_| ());
        }
    }
    assert!(taken > 0);
}

#[test]
fn a_session_that_no_samples_can_have_is_refused() {
    // Five samples in the replay buffer, two held-out samples of this session and one of the session before it.
    let mut device = started(Rule { transport: Transport::Fixed { theta: 0.0 }, ..Rule::PLAIN });
    samples().iter().take(6).for_each(|(x, y)| assert!(device.learn(x, *y, |_| ()).is_ok()));
    assert!(device.end().committed);
    samples().iter().for_each(|(x, y)| assert!(device.learn(x, *y, |_| ()).is_ok()));
    let good = bytes(&mut device);
    let alarms = device.counts().alarms as u8;
    assert_eq!((device.held_out().len(), device.adaptation().replay().len()), (3, 5));
    // Taken, committed, rolled back, alarms; learnt, held out, rolled back in a row; replay buffer, held-out samples;
    // parameters.
    let counts = [22, 1, 0, alarms, 12, 4, 0, 5, 3, 4];
    let at = good.windows(counts.len()).position(|window| window == counts).unwrap();
    let with = |place: usize, count: u8| {
        let mut bytes = good.clone();
        bytes[at + place] = count;
        seal(bytes)
    };
    for (place, count, taken) in [
        // A session with fewer samples learnt or held out; the others are from sessions before it.
        (4, 5, true),
        (4, 0, true),
        (5, 2, true),
        (5, 127, true),
        (6, 9, true),
        // Two held-out samples would be from sessions before it, but half of three is one.
        (5, 1, false),
        (5, 0, false),
        // More samples than there are words for.
        (7, 6, false),
        (8, 2, false),
    ] {
        let before = whole(&mut device);
        let restored = restore(&mut device, Network::SCHEMA, &with(place, count)[..]);
        assert_eq!(restored, if taken { Ok(()) } else { Err(ImageError::Malformed) }, "{count} at {place}");
        assert!(taken || whole(&mut device) == before);
    }
    // More samples learnt than the replay buffer shows, or more held out than there are, with the matching number of
    // words.
    let short = |words: usize, changes: &[(usize, u8)]| {
        let mut bytes = good.clone();
        changes.iter().for_each(|(place, count)| bytes[at + place] = *count);
        let end = bytes.len() - 4;
        bytes.drain(end - 4 * words..end);
        seal(bytes)
    };
    let sample = Network::INPUTS + 1;
    for (taken, words, changes) in [
        (true, sample, &[(8, 2)][..]),
        (false, 2 * sample, &[(8, 1)]),
        (false, sample, &[(7, 4)]),
        (true, sample, &[(7, 4), (4, 4)]),
        (false, 5 * sample, &[(7, 0), (4, 1)]),
    ] {
        let before = whole(&mut device);
        let restored = restore(&mut device, Network::SCHEMA, &short(words, changes)[..]);
        assert_eq!(restored, if taken { Ok(()) } else { Err(ImageError::Malformed) }, "{changes:?}");
        assert!(taken || whole(&mut device) == before);
    }
}

/// Returns the snapshot of [`cases`] with another number at a place of its arrays.
fn with_number(good: &[u8], place: usize, number: f32) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let at = good.len() - 4 - 4 * NUMBERS + 4 * place;
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    seal(bytes)
}

#[test]
fn a_momentum_larger_than_any_gradient_makes_is_refused() {
    let (good, mut device) = cases();
    // Number of weights in the first layer, whose X, Y and M come first.
    let weights = 3 * 6;
    let most = (1u128 << 120) as f32;
    for (place, number, taken) in [
        (0, f32::MAX, true),
        (weights, f32::MAX, true),
        (2 * weights, most, true),
        (2 * weights, -most, true),
        (2 * weights, most.next_up(), false),
        (3 * weights - 1, f32::MIN, false),
        (3 * weights, f32::MIN, true),
        (3 * Network::WEIGHTS - 1, most.next_up(), false),
        // The first weight in use.
        (3 * Network::WEIGHTS, f32::MAX, true),
    ] {
        let before = whole(&mut device);
        let restored = restore(&mut device, Network::SCHEMA, &with_number(&good, place, number)[..]);
        assert_eq!(restored, if taken { Ok(()) } else { Err(ImageError::NotFinite) }, "{number} at {place}");
        assert!(taken || whole(&mut device) == before);
    }
}

#[test]
fn an_alignment_that_no_two_steps_have_is_refused() {
    // The last step's alignment: mean and weight are the eight bytes before the arrays.
    let (good, mut device) = cases();
    let at = good.len() - 4 - 4 * NUMBERS - 8;
    let (mean, weight) = (&good[at..at + 4], &good[at + 4..at + 8]);
    let (mean, weight) = [mean, weight].map(|e| f32::from_le_bytes(e.try_into().unwrap())).into();
    assert!(weight > 0.9 && mean.abs() <= weight);
    for (mean, weight, taken) in [
        (mean, weight, true),
        (-1.0, 1.0, true),
        (mean, -0.1 / 0.9, false),
        (mean, 1.5, false),
        (f32::MAX, weight, false),
        (f32::NAN, weight, false),
        (mean, f32::NAN, false),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&f32::to_le_bytes(mean));
        bytes[at + 4..at + 8].copy_from_slice(&f32::to_le_bytes(weight));
        let restored = restore(&mut device, Network::SCHEMA, &seal(bytes)[..]);
        assert_eq!(restored, if taken { Ok(()) } else { Err(ImageError::NotFinite) }, "alignment {mean} of {weight}");
    }
}

#[test]
fn too_little_memory_writes_nothing_and_what_was_not_started_has_no_state() {
    let mut device = started(Rule::PLAIN);
    let needed = bytes(&mut device).len();
    assert!(needed <= length(Network::WEIGHTS, Network::INPUTS, 0));
    for short in 0..needed {
        assert!(write(&mut device, Network::SCHEMA, &mut vec![0; short]).is_none());
    }
    assert!(write(&mut fresh::<8, 4>(), Network::SCHEMA, &mut vec![0; 4096]).is_none());
}
