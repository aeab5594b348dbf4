//! Tests of the store in a flash whose power is cut at every single operation.

mod flash;

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use flash::{Cut, Flash, Random, SEED, TORN, Torn};
use graftage_core::adapt::{HoldOut, Recipe, Ring};
use graftage_core::chain;
use graftage_core::image::Source;
use graftage_core::network::{Dense, Fixed, Relu, initialise};
use graftage_core::random::Generator;
use graftage_core::session::Session;
use graftage_core::snapshot;
use graftage_firmware::store::{Store, StoreError};
use std::fmt::Debug;

/// Opens a store that begins with the second block of the flash and leaves out the last one.
fn store<const R: usize, const W: usize, const E: usize>(flash: &mut Flash<R, W, E>) -> Store<&mut Flash<R, W, E>> {
    let end = flash.capacity() - E;
    Store::new(flash, E as u32..end as u32).unwrap()
}

/// Saves `bytes` in pieces of unequal length.
fn save<F: NorFlash<Error: PartialEq + Debug>>(store: &mut Store<F>, bytes: &[u8]) -> Result<u64, StoreError> {
    store.save(|sink| {
        let (mut rest, mut length) = (bytes, 1);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(length));
            sink.put(piece)?;
            (rest, length) = (later, length * 7 % 1009);
        }
        Some(())
    })
}

/// Returns the contents that a start finds.
fn found<F: NorFlash<Error: PartialEq + Debug>>(store: &mut Store<F>) -> Option<Vec<u8>> {
    let (_, mut contents) = store.newest()?;
    let mut bytes = vec![0xa5; contents.length()];
    contents.read(0, &mut bytes)?;
    Some(bytes)
}

/// Contents allowed after a cut, with the number of times that each was found.
struct Tally {
    states: Vec<(Option<Vec<u8>>, usize)>,
}

impl Tally {
    fn of(states: &[Option<&[u8]>]) -> Self {
        Self { states: states.iter().map(|state| (state.map(<[u8]>::to_vec), 0)).collect() }
    }
    fn count(&mut self, found: &Option<Vec<u8>>, context: &dyn Debug) {
        let state = self.states.iter_mut().find(|(state, _)| state == found);
        let (_, count) = state.unwrap_or_else(|| panic!("{context:?}: a mix, or an older one, or nothing"));
        *count += 1;
    }
    fn counts(&self) -> Vec<usize> {
        self.states.iter().map(|(_, count)| *count).collect()
    }
}

/// Returns all cuts of a save of `operations` operations: torn in one random way each, or in every way if `every` is
/// set.
fn cuts(operations: usize, every: bool) -> Vec<Cut> {
    let mut random = Random(SEED);
    let mut torn = |at| {
        let ways = if every { &TORN[..] } else { &TORN[random.below(TORN.len())..][..1] };
        ways.iter().map(move |torn| Cut::Inside(at, *torn))
    };
    (0..operations).flat_map(|at| [Cut::Before(at)].into_iter().chain(torn(at))).collect()
}

/// Saves `new` over what was saved, with a cut at every operation, and checks that the next start finds the old or the
/// new contents and that `newer` can be saved afterwards. With `twice`, tears every operation in every way and cuts
/// that second save likewise. Returns the number of cuts.
fn cut_everywhere<const R: usize, const W: usize, const E: usize>(
    blocks: usize,
    saved: &[&[u8]],
    new: &[u8],
    newer: &[u8],
    twice: bool,
) -> usize {
    let mut before = Flash::<R, W, E>::new(blocks);
    for state in saved {
        save(&mut store(&mut before), state).unwrap();
    }
    let old = saved.last().copied();
    let rest = |flash: &Flash<R, W, E>| {
        let end = flash.bytes.len() - E;
        (flash.bytes[..E].to_vec(), flash.bytes[end..].to_vec(), flash.erases[0], flash.erases[blocks - 1])
    };
    let outside = rest(&before);
    let operations = |before: &Flash<R, W, E>, state: &[u8]| {
        let mut flash = before.clone();
        flash.operations = 0;
        save(&mut store(&mut flash), state).unwrap();
        flash.operations
    };
    let (mut once, mut again, mut total) = (Tally::of(&[old, Some(new)]), Tally::of(&[old, Some(new), Some(newer)]), 0);
    for first in cuts(operations(&before, new), twice) {
        let mut flash = before.clone();
        flash.cut(first);
        assert!(save(&mut store(&mut flash), new).is_err(), "{first:?}");
        flash.power();
        // Unstable bits may read differently at every start.
        let unstable = matches!(first, Cut::Inside(_, Torn::Unstable));
        for _ in 0..if unstable { 3 } else { 1 } {
            once.count(&found(&mut store(&mut flash)), &first);
        }
        total += 1;
        for second in cuts(if twice { operations(&flash, newer) } else { 0 }, twice) {
            let mut flash = flash.clone();
            flash.cut(second);
            assert!(save(&mut store(&mut flash), newer).is_err(), "{first:?} {second:?}");
            flash.power();
            again.count(&found(&mut store(&mut flash)), &(first, second));
            assert!(save(&mut store(&mut flash), newer).is_ok(), "{first:?} {second:?}");
            assert_eq!(found(&mut store(&mut flash)).as_deref(), Some(newer), "{first:?} {second:?}");
            assert!(rest(&flash) == outside);
            total += 1;
        }
        assert!(save(&mut store(&mut flash), newer).is_ok(), "{first:?}");
        assert_eq!(found(&mut store(&mut flash)).as_deref(), Some(newer), "{first:?}");
        assert!(rest(&flash) == outside, "{first:?}: something outside the region was touched");
    }
    println!(
        "read {R} write {W} erase {E}, {} bytes over {:?}: {total} cuts, found old/new {:?}, after two old/new/newer {:?}",
        new.len(),
        old.map(<[u8]>::len),
        once.counts(),
        again.counts()
    );
    total
}

/// Tests every pair of cuts, with short contents.
fn pairs<const R: usize, const W: usize, const E: usize>() -> usize {
    let mut random = Random(SEED);
    let [oldest, old, new, newer] = [30, 21, 27, 19].map(|length| random.bytes(length));
    [&[][..], &[&old[..]], &[&oldest, &old]]
        .iter()
        .map(|saved| cut_everywhere::<R, W, E>(6, saved, &new, &newer, true))
        .sum()
}

#[test]
fn two_cuts_in_a_row_on_every_kind_of_part_leave_a_state_that_was_saved() {
    println!("seed {SEED}");
    let counts = [
        pairs::<1, 1, 512>(),
        pairs::<1, 4, 1024>(),
        pairs::<4, 8, 256>(),
        pairs::<16, 8, 512>(),
        pairs::<8, 16, 2048>(),
        pairs::<1, 256, 1024>(),
    ];
    println!("{} cuts", counts.iter().sum::<usize>());
}

/// Cuts the power while the last byte of the first header is programmed. One start may read the header correctly, and
/// the start after the next cut may not: until the second header is there, the earlier state must not be erased.
#[test]
fn a_header_that_was_read_right_once_settles_nothing() {
    println!("seed {SEED}");
    let mut random = Random(SEED);
    let [oldest, old, new, newer] = [30, 21, 27, 19].map(|length| random.bytes(length));
    let mut before = Flash::<1, 1, 512>::new(6);
    for state in [&oldest, &old] {
        save(&mut store(&mut before), state).unwrap();
    }
    let mut measured = before.clone();
    measured.operations = 0;
    save(&mut store(&mut measured), &new).unwrap();
    // With words of one byte, the second header takes the last 32 operations.
    before.cut(Cut::Inside(measured.operations - 32 - 1, Torn::Unstable));
    assert!(save(&mut store(&mut before), &new).is_err());
    let mut right = 0;
    for draw in 0..400 {
        let mut flash = before.clone();
        flash.power();
        flash.random = Random(SEED + draw);
        // Only the first block is erased.
        flash.cut(Cut::Before(1));
        let mut store = store(&mut flash);
        if found(&mut store).as_ref() != Some(&new) {
            continue;
        }
        right += 1;
        assert!(save(&mut store, &newer).is_err());
        for _ in 0..10 {
            flash.power();
            let found = found(&mut self::store(&mut flash));
            assert!([&old, &new].map(Some).contains(&found.as_ref()), "draw {draw}: {found:?}");
        }
    }
    println!("{right} of 400 starts read the torn header right");
    assert!(right > 10, "{right}");
}

#[test]
fn blocks_of_128_kib_are_erased_and_written_like_small_ones() {
    let mut random = Random(SEED);
    let [old, new] = [100_000, 100_003].map(|length| random.bytes(length));
    let mut flash = Flash::<4, 32, 0x20000>::new(4);
    assert_eq!(save(&mut store(&mut flash), &old), Ok(1));
    let before = flash.clone();
    for torn in TORN {
        for at in [0, 1, 1000, 3124, 3125, 3126, 3127] {
            let mut flash = before.clone();
            flash.cut(Cut::Inside(at, torn));
            let saved = save(&mut store(&mut flash), &new);
            flash.power();
            let found = found(&mut store(&mut flash)).unwrap();
            assert!(found == old || found == new && at > 3125, "{torn:?} at {at}: {saved:?}");
            assert_eq!(saved.is_ok(), at > 3127);
        }
    }
}

type Network = chain![Dense<64, 32>, Relu<32>, Dense<32, 10>];
type Device = Session<'static, Network, Ring<64, 128>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<64, 8>>;

const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 5, keep: 8 });
const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 16, seed: 3, hold_out: HOLD_OUT, ..Recipe::FREE };

/// Returns a device in factory state.
fn device() -> Device {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(7, 0), &mut [0.0; Network::SCRATCH]);
    let (scratch, in_use) = ([0.0; Network::SCRATCH], [0.0; Network::WEIGHTS]);
    let mut device = Device::new(network, Ring::new(), scratch, in_use, Ring::new());
    device.start(RECIPE).unwrap();
    device
}

/// Learns the n-th sample of a stream; every twelve samples form a session.
fn learn(device: &mut Device, n: u64) {
    if n > 0 && n.is_multiple_of(12) {
        device.end();
    }
    let mut generator = Generator::new(100 + n, 0);
    let label = (n % 10) as u32;
    let input: [f32; 64] =
        core::array::from_fn(|i| generator.uniform() + if i as u32 / 6 == label { 1.0 } else { 0.0 });
    device.learn(&input, label, |_| ()).unwrap();
}

fn snapshot(device: &mut Device) -> Vec<u8> {
    let mut memory = vec![0; snapshot::length(Network::WEIGHTS, Network::INPUTS, 128 + 8)];
    snapshot::write(device, Network::SCHEMA, &mut memory).unwrap().to_vec()
}

/// Blocks for two snapshots, one block at either end and one to spare.
const BLOCKS: usize = 2 * 23 + 3;

#[test]
fn every_cut_of_a_save_of_an_adaptation_leaves_the_old_or_the_new_one() {
    println!("seed {SEED}");
    let mut device = device();
    let states: Vec<_> = (0..32)
        .map(|n| {
            learn(&mut device, n);
            snapshot(&mut device)
        })
        .collect();
    let [oldest, old, new, newer] = [16, 20, 24, 28].map(|at| &states[at][..]);
    assert!(
        old.len() > 43_000,
        "X, Y, M and what is in use of 2410 weights, 16 samples of 64 numbers and some held out"
    );
    // Each operation is torn in a random way; the pairs above cover all ways.
    cut_everywhere::<1, 8, 2048>(BLOCKS, &[oldest, old], new, newer, false);
}

#[test]
fn an_adaptation_that_is_cut_at_random_ends_in_the_bits_of_one_that_was_not() {
    println!("seed {SEED}");
    let mut unbroken = device();
    (0..40).for_each(|n| learn(&mut unbroken, n));
    let (mut random, mut cuts, mut from_factory) = (Random(SEED), 0, 0);
    for _ in 0..20 {
        let mut flash = Flash::<1, 8, 2048>::new(BLOCKS);
        let finished = 'boots: loop {
            flash.power();
            let (mut device, mut store) = (device(), store(&mut flash));
            match found(&mut store) {
                Some(bytes) => snapshot::restore(&mut device, Network::SCHEMA, &bytes[..]).unwrap(),
                None => from_factory += 1,
            }
            let flash = store.into_flash();
            // A save takes about 5600 operations.
            let at = random.below(15_000);
            flash.cut(if random.below(2) == 0 { Cut::Before(at) } else { Cut::Inside(at, TORN[random.below(5)]) });
            let mut store = self::store(flash);
            while device.counts().taken < 40 {
                let number = device.counts().taken;
                learn(&mut device, number);
                let mut save = || store.save(|sink| snapshot::write_to(&mut device, Network::SCHEMA, sink));
                if number % 4 == 3 && save().is_err() {
                    cuts += 1;
                    continue 'boots;
                }
            }
            break device;
        };
        let mut finished = finished;
        assert_eq!(finished.adaptation().digest(), unbroken.adaptation().digest());
        assert_eq!(snapshot(&mut finished), snapshot(&mut unbroken));
    }
    println!(
        "{cuts} cuts in 20 runs of 40 samples, {from_factory} starts from the factory image, all ended in {:016x}",
        unbroken.adaptation().digest()
    );
    assert!(cuts > 100);
}

#[test]
fn ten_thousand_saves_wear_all_blocks_alike() {
    let mut flash = Flash::<1, 8, 256>::new(10);
    let mut random = Random(SEED);
    let mut store = store(&mut flash);
    let bytes = random.bytes(store.room());
    for n in 0..10_000 {
        let length = store.room() - (n % 100);
        assert_eq!(save(&mut store, &bytes[..length]), Ok(n as u64 + 1));
    }
    assert_eq!(found(&mut store).as_deref(), Some(&bytes[..store.room() - 99]));
    assert_eq!(store.slots(), [Some(9_999), Some(10_000)]);
    let erases = &flash.erases[1..9];
    let (least, most) = (erases.iter().min().unwrap(), erases.iter().max().unwrap());
    println!("10000 saves: each block of the region was erased {least} to {most} times");
    assert!(*least == 5000 && *most == 5000);
    assert_eq!((flash.erases[0], flash.erases[9]), (0, 0));
}

#[test]
fn a_save_that_is_too_large_or_empty_or_fails_loses_nothing() {
    let mut flash = Flash::<1, 8, 256>::new(10);
    let mut store = store(&mut flash);
    let room = store.room();
    assert_eq!(room, 4 * 256 - 2 * 32);
    let bytes = Random(SEED).bytes(room + 1);
    assert_eq!((found(&mut store), store.slots()), (None, [None; 2]));
    assert_eq!(save(&mut store, &bytes[..room]), Ok(1));
    assert_eq!(store.slots(), [Some(1), None]);
    assert_eq!(save(&mut store, &bytes), Err(StoreError::TooLarge { length: room + 1, room }));
    assert_eq!(store.save(|_| None), Err(StoreError::Contents));
    // Contents that change between measuring and writing.
    let mut calls = 0u8;
    let changing = store.save(|sink| {
        calls += 1;
        sink.put(&[calls; 20])
    });
    assert_eq!((changing, calls), (Err(StoreError::Unverified), 2));
    for longer in [19, 21] {
        let mut length = 20;
        assert!(store.save(|sink| sink.put(&vec![1; std::mem::replace(&mut length, longer)])).is_err());
    }
    assert_eq!(found(&mut store).as_deref(), Some(&bytes[..room]));
    // Empty contents can be stored, too.
    assert_eq!(save(&mut store, &[]), Ok(2));
    assert_eq!(found(&mut store), Some(vec![]));
    // A block that can no longer be programmed.
    assert_eq!(save(&mut store, &bytes[..room]), Ok(3));
    let flash = store.into_flash();
    flash.cut(Cut::Before(30));
    let mut store = self::store(flash);
    assert_eq!(save(&mut store, &bytes[1..room]), Err(StoreError::Flash));
}

#[test]
fn a_region_that_is_not_two_blocks_of_the_flash_is_refused() {
    for region in [0..256, 0..511, 128..1024, 0..640, 0..2816, 2560..3072, 0..0] {
        let flash = Flash::<1, 8, 256>::new(10);
        assert_eq!(Store::new(flash, region.clone()).err(), Some(StoreError::Region), "{region:?}");
    }
    assert!(Store::new(Flash::<1, 8, 256>::new(10), 2048..2560).is_ok());
}

#[test]
fn no_flipped_bit_is_taken_for_what_was_saved() {
    let mut random = Random(SEED);
    let [old, new] = [50, 40].map(|length| random.bytes(length));
    let mut before = Flash::<1, 1, 256>::new(4);
    assert_eq!((save(&mut store(&mut before), &old), save(&mut store(&mut before), &new)), (Ok(1), Ok(2)));
    let slot = 2 * 256;
    for bit in 0..8 * (64 + 40) {
        let mut flash = before.clone();
        flash.bytes[slot + bit / 8] ^= 1 << (bit % 8);
        // The header is there twice.
        let expected = if bit < 8 * 64 { &new } else { &old };
        assert_eq!(found(&mut store(&mut flash)).as_ref(), Some(expected), "bit {bit}");
    }
    for (first, second) in (0..32).flat_map(|first| (32..64).map(move |second| (first, second))) {
        let mut flash = before.clone();
        flash.bytes[slot + first] ^= 1;
        flash.bytes[slot + second] ^= 0x80;
        assert_eq!(found(&mut store(&mut flash)).as_ref(), Some(&old), "bytes {first} and {second}");
    }
    // Random bytes are not taken for contents.
    for seed in 0..1000 {
        let mut flash = Flash::<1, 1, 256>::new(4);
        flash.bytes = Random(seed).bytes(1024);
        assert_eq!(found(&mut store(&mut flash)), None);
    }
}
