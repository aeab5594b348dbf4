//! Code shared by the fuzz targets: inputs derived from valid bytes, and a device that receives them.
#![forbid(unsafe_code)]

use graftage_core::adapt::{HoldOut, Recipe, Ring};
use graftage_core::error::Refusal;
use graftage_core::image::checksum;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Fixed, Layer, Parameter, initialise};
use graftage_core::random::Generator;
use graftage_core::scion::Rule;
use graftage_core::session::{Session, Taken};
pub use graftage_tests::every::{EveryLayer as Network, KINDS};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// Device that adapts [`Network`].
pub type Device<'i> = Session<'i, Network, Ring<6, 4>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<6, 2>>;

/// Default recipe of the device.
pub const RECIPE: Recipe = Recipe { batch: 2, steps: 2, replay: 3, seed: 9, hold_out: HOLD_OUT, ..Recipe::DEFAULT };
const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 3, keep: 2 });

/// Weights given to the device as its start: 0.5 each.
const START: [[u8; 4]; Network::WEIGHTS] = [0.5f32.to_le_bytes(); Network::WEIGHTS];

/// Sample for the device.
pub const SAMPLE: [f32; 6] = [0.5, -0.25, 1.0, 0.0, -1.0, 0.125];

/// Number of bytes before the header of an image or a snapshot: magic, version, length.
pub const PREFIX: usize = 10;

/// Number of bytes after the words of an image or a snapshot.
pub const CHECKSUM: usize = 4;

/// Bytes to parse: arbitrary ones, or valid ones with changes, so that the fuzzer reaches the last checks easily.
#[derive(Arbitrary, Debug)]
pub enum Input<'a> {
    /// Arbitrary bytes.
    Any(&'a [u8]),
    /// Valid bytes with these changes, applied one after the other.
    Changed(Vec<Change>),
}

/// Change to bytes. Positions are taken modulo the length; 256 bytes reach beyond every header.
#[derive(Arbitrary, Debug)]
pub enum Change {
    /// Replaces the byte at a position.
    Byte(u8, u8),
    /// Increments or decrements the byte at a position.
    One(u8, bool),
    /// Replaces the 32-bit number at a position.
    Word(u8, u32),
    /// Replaces the variable-length number at a position.
    Count(u8, u64),
    /// Inserts a byte at a position.
    Insert(u8, u8),
    /// Removes a number of bytes from a position on.
    Remove(u8, u8),
    /// Replaces a 32-bit number, counted in words back from the checksum.
    Number(u8, u32),
}

impl Input<'_> {
    /// Returns the bytes; `valid` is the input for changes.
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

/// Overwrites bytes from `start` on, as far as there are any.
fn put(bytes: &mut [u8], start: usize, new: &[u8]) {
    bytes.iter_mut().skip(start).zip(new).for_each(|(byte, new)| *byte = *new);
}

/// Returns the `count` bytes before the checksum of an image or a snapshot, which are its numbers.
pub fn words(bytes: &[u8], count: usize) -> &[u8] {
    let end = bytes.len() - CHECKSUM;
    &bytes[end - 4 * count..end]
}

/// Writes the correct length and checksum into an image or a snapshot, if it is long enough.
pub fn seal(bytes: &mut [u8]) {
    let length = bytes.len() as u32;
    if bytes.len() < PREFIX + CHECKSUM {
        return;
    }
    bytes[PREFIX - 4..PREFIX].copy_from_slice(&length.to_le_bytes());
    let (content, sum) = bytes.split_at_mut(bytes.len() - CHECKSUM);
    sum.copy_from_slice(&checksum(content).to_le_bytes());
}

/// Returns a device started with `rule`.
pub fn started<'i>(rule: Rule) -> Device<'i> {
    let mut device = unstarted();
    initialise(device.network_mut(), &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    device.start(Recipe { rule, ..RECIPE }).expect("the recipe is in its ranges");
    device
}

/// Returns a device that was not started.
pub fn unstarted<'i>() -> Device<'i> {
    let (scratch, in_use) = ([0.0; Network::SCRATCH], [0.0; Network::WEIGHTS]);
    let mut device = Device::new(Network::ZERO, Ring::new(), scratch, in_use, Ring::new());
    device.set_start(&START);
    device
}

/// Returns the bits of X, Y and M of all parameters.
pub fn arrays(network: &mut Network) -> [Vec<u32>; 3] {
    let mut all = [const { Vec::new() }; 3];
    network.parameters(&mut |Parameter { state, .. }| {
        for (all, array) in all.iter_mut().zip([&state.x, &state.y, &state.m]) {
            all.extend(array.elements().iter().map(|e| e.to_bits()));
        }
    });
    all
}

/// Lets a device learn [`SAMPLE`]; does nothing if its recipe requires more steps than the fuzzer has time for.
///
/// Checks that X and M stay finite, whatever state was loaded, and Y too if all numbers had the usual size. Also checks
/// that a refused sample changes nothing.
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
