//! What the fuzz targets share: inputs that start from valid bytes, and a device to take them.
#![forbid(unsafe_code)]

use graftage_core::adapt::{HoldOut, Recipe, Ring};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::error::Refusal;
use graftage_core::image::checksum;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{
    AveragePool, Clip, Convolution, Dense, Depthwise, Fixed, Kind, Layer, MaxPool, Parameter, Relu, RmsNorm,
    Standardise, Tanh, Window, initialise,
};
use graftage_core::random::Generator;
use graftage_core::scion::Rule;
use graftage_core::session::{Session, Taken};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// A small network with every kind of layer.
pub type Network = chain![
    Standardise<6>,
    Clip<6, BOUND>,
    Convolution<6, 1, 2, 3, 1>,
    RmsNorm<2, 4>,
    Tanh<8>,
    Depthwise<4, 2, 2, 1>,
    Relu<6>,
    MaxPool<3, 2, 2, 1>,
    AveragePool<2, 2, 2, 1>,
    Dense<2, 3>,
];

/// Its architecture.
pub const KINDS: [Kind; 10] = [
    Kind::Standardise { width: 6 },
    Kind::Clip { width: 6, bound: BOUND },
    Kind::Convolution { window: window(6, 1, 3), filters: 2 },
    Kind::RmsNorm { places: 4, channels: 2 },
    Kind::Tanh { width: 8, functions: Functions::Libm },
    Kind::Depthwise(window(4, 2, 2)),
    Kind::Relu { width: 6 },
    Kind::MaxPool(window(3, 2, 2)),
    Kind::AveragePool(window(2, 2, 2)),
    Kind::Dense { inputs: 2, outputs: 3 },
];

/// Where it clips.
const BOUND: u32 = 0.75f32.to_bits();

const fn window(places: u32, channels: u32, taps: u32) -> Window {
    Window { places, channels, taps, stride: 1 }
}

/// A device that adapts it.
pub type Device<'i> = Session<'i, Network, Ring<6, 4>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<6, 2>>;

/// What the device learns when nothing else is said.
pub const RECIPE: Recipe = Recipe { batch: 2, steps: 2, replay: 3, seed: 9, hold_out: HOLD_OUT, ..Recipe::DEFAULT };
const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 3, keep: 2 });

/// The weights from which it is said to have started: 0.5 each.
const START: [[u8; 4]; Network::WEIGHTS] = [0.5f32.to_le_bytes(); Network::WEIGHTS];

/// A sample for the device.
pub const SAMPLE: [f32; 6] = [0.5, -0.25, 1.0, 0.0, -1.0, 0.125];

/// Bytes before the header of an image or a snapshot: magic, version, length.
pub const PREFIX: usize = 10;

/// Bytes after its words.
pub const CHECKSUM: usize = 4;

/// Bytes to be parsed: any, or valid ones with changes, so that the fuzzer need not find the way to the last check.
#[derive(Arbitrary, Debug)]
pub enum Input<'a> {
    /// As they come.
    Any(&'a [u8]),
    /// Valid ones, changed one after the other.
    Changed(Vec<Change>),
}

/// A change to bytes. Places are taken modulo the length; 256 bytes reach beyond every header.
#[derive(Arbitrary, Debug)]
pub enum Change {
    /// Another byte at a place.
    Byte(u8, u8),
    /// The byte at a place one more, or one less.
    One(u8, bool),
    /// Another number of 32 bits at a place.
    Word(u8, u32),
    /// Another number of variable length at a place.
    Count(u8, u64),
    /// One byte more at a place.
    Insert(u8, u8),
    /// So many bytes fewer from a place on.
    Remove(u8, u8),
    /// Another number of 32 bits, counted in words back from the checksum.
    Number(u8, u32),
}

impl Input<'_> {
    /// The bytes; `valid` is what is changed.
    pub fn bytes(&self, valid: &[u8]) -> Vec<u8> {
        match self {
            Input::Any(bytes) => bytes.to_vec(),
            Input::Changed(changes) => {
                let mut bytes = valid.to_vec();
                changes.iter().for_each(|change| change.make(&mut bytes));
                bytes
            }
        }
    }
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |at: u8| usize::from(at) % length.max(1);
        match *self {
            Change::Byte(at, new) => put(bytes, place(at), &[new]),
            Change::One(at, more) => {
                let old = bytes.get(place(at)).copied().unwrap_or(0);
                put(bytes, place(at), &[if more { old.wrapping_add(1) } else { old.wrapping_sub(1) }]);
            }
            Change::Word(at, word) => put(bytes, place(at), &word.to_le_bytes()),
            Change::Count(at, count) => {
                let start = place(at);
                let found = bytes[start..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
                let count = postcard::to_allocvec(&count).expect("there is memory for it");
                bytes.splice(start..(start + found).min(length), count);
            }
            Change::Insert(at, new) => bytes.insert(place(at), new),
            Change::Remove(at, count) => {
                let start = place(at);
                bytes.drain(start..(start + usize::from(count)).min(length));
            }
            Change::Number(at, word) => {
                if let Some(start) = length.checked_sub(CHECKSUM + 4 * (1 + usize::from(at))) {
                    put(bytes, start, &word.to_le_bytes());
                }
            }
        }
    }
}

/// Puts bytes over those from a place on, as far as there are any.
fn put(bytes: &mut [u8], start: usize, new: &[u8]) {
    bytes.iter_mut().skip(start).zip(new).for_each(|(byte, new)| *byte = *new);
}

/// So many bytes before the checksum of an image or a snapshot: its numbers.
pub fn words(bytes: &[u8], count: usize) -> &[u8] {
    let end = bytes.len() - CHECKSUM;
    &bytes[end - 4 * count..end]
}

/// Puts the right length and checksum on an image or a snapshot, where there is room for them.
pub fn seal(bytes: &mut [u8]) {
    let length = bytes.len() as u32;
    if bytes.len() < PREFIX + CHECKSUM {
        return;
    }
    bytes[PREFIX - 4..PREFIX].copy_from_slice(&length.to_le_bytes());
    let (content, sum) = bytes.split_at_mut(bytes.len() - CHECKSUM);
    sum.copy_from_slice(&checksum(content).to_le_bytes());
}

/// A device that was started with this rule.
pub fn started<'i>(rule: Rule) -> Device<'i> {
    let mut device = unstarted();
    initialise(device.network_mut(), &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    device.start(Recipe { rule, ..RECIPE }).expect("the recipe is in its ranges");
    device
}

/// A device that was not started.
pub fn unstarted<'i>() -> Device<'i> {
    let (scratch, in_use) = ([0.0; Network::SCRATCH], [0.0; Network::WEIGHTS]);
    let mut device = Device::new(Network::ZERO, Ring::new(), scratch, in_use, Ring::new());
    device.set_start(&START);
    device
}

/// The bits of X, Y and M of all parameters.
pub fn arrays(network: &mut Network) -> [Vec<u32>; 3] {
    let mut all = [const { Vec::new() }; 3];
    network.parameters(&mut |Parameter { state, .. }| {
        for (all, array) in all.iter_mut().zip([&state.x, &state.y, &state.m]) {
            all.extend(array.elements().iter().map(|e| e.to_bits()));
        }
    });
    all
}

/// Lets a device learn the sample, where its recipe does not ask for more steps than the fuzzer has time for. Whatever it
/// was loaded with, X and M stay finite, Y as well if all were of a size that a network has; a sample that is refused
/// changes nothing.
pub fn learn(device: &mut Device) -> Option<Result<Taken, Refusal>> {
    let recipe = *device.adaptation().recipe();
    if recipe.batch.saturating_mul(recipe.steps) > 64 {
        return None;
    }
    let before = (arrays(device.network_mut()), device.adaptation().position());
    let usual = before.0.iter().flatten().all(|bits| f32::from_bits(*bits).abs() < 1e6);
    let learnt = device.learn(&SAMPLE, 1, |_| ());
    let after = (arrays(device.network_mut()), device.adaptation().position());
    if learnt.is_err() {
        assert_eq!(after, before, "{learnt:?}");
    }
    for (array, name) in after.0.iter().zip(["X", "Y", "M"]) {
        let finite = array.iter().all(|bits| f32::from_bits(*bits).is_finite());
        assert!(finite || (name == "Y" && !usual), "{name} after {learnt:?} at {:?} by {recipe:?}", before.1);
    }
    Some(learnt)
}
