//! Tests of the journal in a flash whose power is cut at every single operation: everything noted is there, in order,
//! and the learner resumes from it.

mod flash;

use flash::{Cut, Flash, Random, SEED, TORN};
use graftage_core::adapt::{HoldOut, Recipe, Ring, STEPS};
use graftage_core::chain;
use graftage_core::error::Refusal;
use graftage_core::image::{self, Header};
use graftage_core::network::{Dense, Fixed, Kind, Relu};
use graftage_core::scion::Geometry;
use graftage_core::session::Session;
use graftage_firmware::journal::{Full, Journal, entry};
use graftage_firmware::learner::{Event, Learn, Learner, Slice};
use graftage_firmware::store::{Store, StoreError};
use graftage_link::journal::{Entry, PIECE, largest, open, read};
use graftage_link::{Array, Learnt};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

const INPUTS: usize = 4;
const SAMPLES: usize = 12;
type Network = chain![Dense<INPUTS, 3>, Relu<3>, Dense<3, 3>];
type Core<'i> =
    Session<'i, Network, Ring<INPUTS, SAMPLES>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<INPUTS, 4>>;
type Kept<'a, const R: usize, const W: usize, const E: usize> =
    Option<Journal<&'a mut Flash<R, W, E>, INPUTS, { entry(INPUTS) }>>;
type Adaptive<'a, const R: usize, const W: usize, const E: usize> =
    Learner<'a, 'a, Core<'a>, Kept<'a, R, W, E>, &'a dyn Fn(Event)>;

const RECIPE: Recipe =
    Recipe { batch: 2, steps: 2, replay: 3, seed: 5, hold_out: Some(HoldOut { every: 5, keep: 2 }), ..Recipe::DEFAULT };
/// Size of a saved state, in bytes.
const STATE: usize = 1400;
const SAVE_EVERY: u64 = 4;

fn core<'i>() -> Core<'i> {
    Core::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new())
}

fn image(seed: u64) -> Vec<u8> {
    let layers =
        [Kind::Dense { inputs: 4, outputs: 3 }, Kind::Relu { width: 3 }, Kind::Dense { inputs: 3, outputs: 3 }];
    let (schema, layers) = (Kind::schema(&layers), layers.into_iter().collect());
    let geometries = [Geometry::HEAD; 4].into_iter().collect();
    let header = Header { schema, layers, geometries, recipe: Recipe { seed, ..RECIPE }, scale: 1.0, centred: false };
    let mut random = Random(seed);
    let weights: Vec<f32> = (0..Network::WEIGHTS).map(|_| random.below(1000) as f32 / 500.0 - 1.0).collect();
    image::write(&header, weights, &mut [0; 1024]).unwrap().to_vec()
}

/// Request to a learner.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Ask {
    Learn([f32; INPUTS], u32),
    /// A sample to be refused: all its bits are set.
    Refuse,
    End,
}

/// Returns samples, ends of sessions and samples to be refused, each with the number of samples taken and sessions
/// ended before it.
fn asked(count: usize) -> Vec<(u64, Ask)> {
    let (mut random, mut before, mut all) = (Random(SEED), 0, Vec::new());
    for index in 0..count {
        if index % 5 == 3 {
            all.push((before, Ask::Refuse));
        }
        let sample = [0; INPUTS].map(|_| random.below(1000) as f32 / 250.0 - 2.0);
        all.push((before, if index % 7 == 6 { Ask::End } else { Ask::Learn(sample, index as u32 % 3) }));
        before += 1;
    }
    all
}

/// Returns the digests that core alone reaches, one after each number of samples and ends of sessions.
fn digests(image: &[u8], asked: &[(u64, Ask)]) -> Vec<u64> {
    let mut session = core();
    let parsed = image::Image::parse(image).unwrap();
    parsed.load(Network::SCHEMA, session.network_mut()).unwrap();
    session.set_start(parsed.start());
    session.start(parsed.header.recipe).unwrap();
    let mut digests = vec![session.adaptation().digest()];
    for (_, ask) in asked {
        match ask {
            Ask::Learn(sample, label) => {
                session.learn(sample, *label, |_| ()).unwrap();
            }
            Ask::End => {
                session.end();
            }
            Ask::Refuse => continue,
        }
        digests.push(session.adaptation().digest());
    }
    digests
}

fn events<L: Learn>(learner: &L) -> u64 {
    learner.counts().taken + u64::from(learner.counts().sessions())
}

/// Result of a run: the number of samples and ends of sessions that are certainly noted, and the first failure.
#[derive(Default, Debug)]
struct Told {
    noted: u64,
    failed: Option<StoreError>,
}

/// Starts a learner, resumes from what is there, and passes it to `use_it`.
fn start<const R: usize, const W: usize, const E: usize, T>(
    flash: &mut Flash<R, W, E>,
    (image, room, full): (&[u8], usize, Full),
    use_it: impl FnOnce(&mut Adaptive<R, W, E>, &RefCell<Vec<StoreError>>) -> T,
) -> T {
    let slots = Store::<Flash<R, W, E>>::region(STATE) as u32;
    let store = Store::new(flash, 0..slots).unwrap();
    let journal = Journal::new(store, slots..slots + room as u32, full).unwrap();
    let failures = RefCell::new(Vec::new());
    let observe = |event: Event| {
        if let Event::NotNoted(error) | Event::NotSaved(error) = event {
            failures.borrow_mut().push(error);
        }
    };
    let mut sessions = core();
    let observe: &dyn Fn(Event) = &observe;
    let mut learner = Learner::start(&mut sessions, image, SAVE_EVERY, Some(journal), observe).unwrap();
    let _ = learner.resume();
    learner.recall();
    use_it(&mut learner, &failures)
}

/// Makes the remaining requests to a started learner, until all are done or something fails.
fn go_on<L: Learn>(learner: &mut L, failures: &RefCell<Vec<StoreError>>, asked: &[(u64, Ask)]) -> Told {
    let from = events(learner);
    // The last entry that a start found may be the one that a cut left in doubt. Only what was noted since is certain.
    let mut told = Told { noted: 0, failed: failures.borrow().first().copied() };
    for (_, ask) in asked.iter().filter(|(before, _)| *before >= from) {
        if told.failed.is_some() {
            return told;
        }
        match ask {
            Ask::Learn(sample, label) => {
                learner.learn(sample, *label).unwrap();
            }
            Ask::Refuse => assert!(learner.learn(&[f32::from_bits(u32::MAX); INPUTS], 0).is_err()),
            Ask::End => {
                learner.end();
            }
        }
        told.failed = failures.borrow().first().copied();
        // If a save fails, the sample was noted before it, but that cannot be seen here.
        told.noted = if told.failed.is_none() { events(learner) } else { told.noted };
    }
    told
}

/// Returns the unit of a journal and all its bytes, as handed out over the link; no bytes if there is no journal.
fn bytes<L: Learn>(learner: &mut L) -> (usize, Vec<u8>) {
    let mut all = Vec::new();
    loop {
        let piece = learner.journal(all.len() as u32);
        all.extend_from_slice(&piece.bytes);
        if piece.bytes.len() < PIECE {
            return (piece.unit.map_or(1, NonZeroU32::get) as usize, all);
        }
    }
}

type Noted = Entry<graftage_link::Vec<f32, INPUTS>, Learnt>;

/// Returns the valid entries: the last one of each number, unless an entry with a smaller number follows it.
fn entries(identity: u32, (unit, bytes): (usize, Vec<u8>)) -> Vec<Noted> {
    let mut all = BTreeMap::new();
    for at in (0..bytes.len()).step_by(unit) {
        if let Some(frame) = open(identity, &bytes[at..]) {
            all.retain(|number, _| *number < frame.number);
            all.insert(frame.number, read(frame.content).unwrap());
        }
    }
    assert!(all.keys().copied().eq(0..all.len() as u32), "an entry is missing: {:?}", all.keys());
    all.into_values().collect()
}

fn identity(image: &[u8]) -> u32 {
    u32::from_le_bytes(*image.last_chunk().unwrap())
}

/// Checks that a journal holds exactly what was requested, with core's digests.
fn assert_noted(noted: &[Noted], asked: &[(u64, Ask)], digests: &[u64]) {
    assert!(matches!(noted[0], Entry::Start { digest, .. } if digest == digests[0]));
    let mut found = Vec::new();
    let mut digest = digests[0];
    for entry in &noted[1..] {
        match entry {
            Entry::Sample { label, sample, learnt } => {
                digest = learnt.reports.last().map_or(digest, |report| report.digest);
                found.push((Ask::Learn(sample[..].try_into().unwrap(), *label), digest));
            }
            Entry::End(ended) => {
                digest = ended.digest;
                found.push((Ask::End, digest));
            }
            Entry::Refused { sample, why, .. } => {
                assert_eq!((sample.len(), *why), (INPUTS, Refusal::NotFinite { index: 0 }));
            }
            Entry::Start { .. } | Entry::Gap => panic!("{entry:?}"),
        }
    }
    let taken = asked.iter().filter(|(_, ask)| *ask != Ask::Refuse);
    let expected: Vec<_> = taken.zip(&digests[1..]).map(|((_, ask), digest)| (*ask, *digest)).collect();
    assert_eq!(found, expected);
}

/// Cuts a life at every operation in every way, cuts the life after it at random, and lets the third one complete.
/// Returns the number of cuts.
fn cut_everywhere<const R: usize, const W: usize, const E: usize>() -> usize {
    let (image, asked) = (image(5), asked(SAMPLES));
    let digests = digests(&image, &asked);
    let room = (6 * SAMPLES * largest(INPUTS, STEPS).max(3 * W)).next_multiple_of(E);
    let blocks = (Store::<Flash<R, W, E>>::region(STATE) + room) / E;
    let fresh = Flash::<R, W, E>::new(blocks);
    let setup = (&image[..], room, Full::Stop);
    let live = |flash: &mut Flash<R, W, E>, least: u64, context: &dyn std::fmt::Debug| {
        let (mut told, read) = start(flash, setup, |learner, failures| {
            let found = events(learner);
            let digest = learner.session().adaptation().digest();
            assert!(found >= least, "{context:?}: {least} were noted, {found} are there");
            assert_eq!(digest, digests[found as usize], "{context:?}");
            (go_on(learner, failures, &asked), bytes(learner))
        });
        // The cut may also come while the journal is read.
        if !flash.powered {
            told.failed.get_or_insert(StoreError::Flash);
        }
        if told.failed.is_none() {
            assert_noted(&entries(identity(&image), read), &asked, &digests);
        }
        told
    };
    let mut uncut = fresh.clone();
    uncut.operations = 0;
    assert!(live(&mut uncut, 0, &"uncut").failed.is_none());
    let (mut random, mut cuts, mut learnt_twice) = (Random(SEED), 0, 0);
    for at in 0..uncut.operations {
        for first in [Cut::Before(at)].into_iter().chain(TORN.map(|torn| Cut::Inside(at, torn))) {
            let mut flash = fresh.clone();
            flash.cut(first);
            let told = live(&mut flash, 0, &first);
            assert!(told.failed.is_some(), "{first:?}");
            flash.power();
            let torn = TORN[random.below(TORN.len())];
            let second = Cut::Inside(random.below(40), torn);
            flash.cut(second);
            let again = live(&mut flash, told.noted, &(first, second));
            cuts += 1 + usize::from(again.failed.is_some());
            flash.power();
            let last = live(&mut flash, told.noted.max(again.noted), &(first, second));
            assert!(last.failed.is_none(), "{first:?} {second:?}: {last:?}");
            learnt_twice += usize::from(again.noted > told.noted);
        }
    }
    println!("read {R} write {W} erase {E}: {cuts} cuts, {learnt_twice} second lives that got further");
    cuts
}

#[test]
fn no_cut_loses_what_was_noted_or_breaks_the_order() {
    println!("seed {SEED}");
    let counts = [cut_everywhere::<1, 4, 1024>(), cut_everywhere::<16, 8, 512>(), cut_everywhere::<1, 128, 128>()];
    println!("{} cuts", counts.iter().sum::<usize>());
}

type Part = Flash<1, 8, 512>;

fn part(room: usize) -> Part {
    Part::new((Store::<Part>::region(STATE) + room) / 512)
}

type Log = Journal<Part, INPUTS, { entry(INPUTS) }>;

#[test]
fn samples_learnt_in_slices_are_noted_and_saved_as_at_once() {
    let (image, room, all) = (image(5), 16 << 10, asked(40));
    let life = |learn: &dyn Fn(&mut Adaptive<1, 8, 512>, &[f32], u32)| {
        let mut flash = part(room);
        let read = start(&mut flash, (&image, room, Full::Stop), |learner, failures| {
            for (_, ask) in &all {
                match ask {
                    Ask::Learn(sample, label) => learn(learner, sample, *label),
                    Ask::Refuse => assert!(learner.begin(&[f32::NAN; INPUTS], 0).is_err()),
                    Ask::End => _ = learner.end(),
                }
            }
            assert_eq!(*failures.borrow(), []);
            (learner.session().adaptation().digest(), learner.status(), bytes(learner))
        });
        (read, flash.bytes)
    };
    let at_once = life(&|learner, sample, label| _ = learner.learn(sample, label).unwrap());
    let learnt = RefCell::new(0);
    let in_slices = life(&|learner, sample, label| {
        let before = learner.predict(sample).unwrap();
        let taken = learner.begin(sample, label).unwrap();
        let mut parts = 0;
        loop {
            // In between, the weights in use answer, as before.
            assert_eq!(learner.predict(sample).unwrap(), before);
            match learner.advance() {
                Slice::Part => parts += 1,
                Slice::Learnt(done) => break assert_eq!(done.taken, taken),
                Slice::Idle => panic!("it ends without a word"),
            }
        }
        // Two steps with two samples and four parameters each; a held-out sample takes no parts.
        assert_eq!(parts, if taken.held_out { 0 } else { 2 * (2 + 4) - 1 });
        assert_eq!(learner.advance(), Slice::Idle);
        *learnt.borrow_mut() += 1;
    });
    assert_eq!((in_slices == at_once, *learnt.borrow()), (true, 35));
    // Every other call finishes the sample that has begun.
    let unfinished = life(&|learner, sample, label| {
        learner.begin(sample, label).unwrap();
        learner.advance();
    });
    assert!(unfinished == at_once);
}

#[test]
fn a_full_journal_stops_the_adaptation_where_that_is_chosen() {
    let (image, room) = (image(5), 2048);
    let mut flash = part(room);
    let capacity = Log::capacity(room, RECIPE.steps as usize) as u64;
    assert!(capacity > 5);
    let all = asked(200);
    let stopped = start(&mut flash, (&image, room, Full::Stop), |learner, failures| {
        for (_, ask) in &all {
            let Ask::Learn(sample, label) = ask else { continue };
            let before = (learner.session().adaptation().digest(), learner.counts());
            match learner.learn(sample, *label) {
                Ok(_) => {}
                Err(why) => {
                    assert_eq!(why, Refusal::Unrecorded);
                    assert_eq!((learner.session().adaptation().digest(), learner.counts()), before);
                    break;
                }
            }
        }
        let taken = learner.counts().taken;
        assert!(taken >= capacity && taken < 100, "{taken} of {capacity}");
        // There is still room for the end of the session.
        learner.end();
        assert_eq!(*failures.borrow(), []);
        let noted = entries(identity(&image), bytes(learner));
        assert_eq!(noted.len() as u64, 1 + taken + 1);
        assert!(matches!(noted.last(), Some(Entry::End(_))));
        (taken, learner.session().adaptation().digest())
    });
    start(&mut flash, (&image, room, Full::Stop), |learner, _| {
        assert_eq!((learner.counts().taken, learner.session().adaptation().digest()), stopped);
        assert_eq!(learner.learn(&[0.5; INPUTS], 1), Err(Refusal::Unrecorded));
        assert_eq!(learner.session().adaptation().digest(), stopped.1);
    });
}

#[test]
fn a_full_journal_has_a_gap_where_that_is_chosen() {
    let (image, room) = (image(5), 2048);
    let mut flash = part(room);
    let all = asked(60);
    let digests = digests(&image, &all);
    let noted = start(&mut flash, (&image, room, Full::Gap), |learner, failures| {
        for (_, ask) in &all {
            match ask {
                Ask::Learn(sample, label) => {
                    learner.learn(sample, *label).unwrap();
                }
                Ask::Refuse => assert!(learner.learn(&[f32::NAN; INPUTS], 0).is_err()),
                Ask::End => {
                    learner.end();
                }
            }
        }
        assert_eq!(learner.session().adaptation().digest(), digests[60]);
        assert!(matches!(failures.borrow()[..], [StoreError::TooLarge { .. }]), "told once: {failures:?}");
        let noted = entries(identity(&image), bytes(learner));
        assert_eq!(noted.last(), Some(&Entry::Gap));
        noted
    });
    // The saved state is ahead of the journal: it is resumed, and nothing more is noted.
    start(&mut flash, (&image, room, Full::Gap), |learner, failures| {
        assert_eq!(events(learner), 60);
        learner.learn(&[0.5; INPUTS], 1).unwrap();
        assert_eq!(*failures.borrow(), []);
        // Compare the text, as NaNs are not equal.
        assert_eq!(format!("{:?}", entries(identity(&image), bytes(learner))), format!("{noted:?}"));
    });
}

#[test]
fn another_image_begins_the_journal_anew() {
    let (first, second, room) = (image(5), image(6), 4096);
    let mut flash = part(room);
    let all = asked(SAMPLES);
    for image in [&first, &second] {
        start(&mut flash, (image, room, Full::Stop), |learner, failures| {
            assert_eq!(events(learner), 0);
            assert!(go_on(learner, failures, &all).failed.is_none());
            assert_noted(&entries(identity(image), bytes(learner)), &all, &digests(image, &all));
        });
    }
}

#[test]
fn a_state_without_its_journal_and_a_damaged_entry_are_gaps() {
    let (image, room) = (image(5), 4096);
    let mut flash = part(room);
    let all = asked(SAMPLES);
    let slots = Store::<Part>::region(STATE);
    start(&mut flash, (&image, room, Full::Gap), |learner, failures| go_on(learner, failures, &all));
    // The journal is lost.
    let mut lost = flash.clone();
    lost.bytes[slots..].fill(0);
    for full in [Full::Gap, Full::Stop] {
        start(&mut lost.clone(), (&image, room, full), |learner, failures| {
            // The state saved after the eighth sample, with the end of the first session.
            assert_eq!(events(learner), 9);
            assert_eq!(*failures.borrow(), [StoreError::Gap]);
            let noted = entries(identity(&image), bytes(learner));
            assert!(matches!(noted[..], [Entry::Start { .. }, Entry::Gap]), "{noted:?}");
            assert_eq!(learner.learn(&[0.5; INPUTS], 1).is_ok(), full == Full::Gap);
        });
    }
    // An old entry is damaged.
    let mut damaged = flash.clone();
    // Damages more bytes than the padding of an entry.
    damaged.bytes[slots + 300..slots + 316].iter_mut().for_each(|byte| *byte ^= 4);
    start(&mut damaged, (&image, room, Full::Gap), |_, failures| {
        assert_eq!(*failures.borrow(), [StoreError::Gap]);
    });
}

fn in_use<L: Learn>(learner: &mut L) -> Vec<u32> {
    learner.numbers(Array::InUse, 0).iter().map(|e| e.to_bits()).collect()
}

/// Returns everything that a learner would answer after a start: count of events, digest, weights in use, journal.
fn standing<const R: usize, const W: usize, const E: usize>(
    flash: &mut Flash<R, W, E>,
    setup: (&[u8], usize, Full),
) -> (u64, u64, Vec<u32>, String) {
    start(flash, setup, |learner, _| {
        let (in_use, digest) = (in_use(learner), learner.session().adaptation().digest());
        let noted = entries(identity(setup.0), bytes(learner));
        // Compare the text, as NaNs are not equal. The number of resets is irrelevant.
        let noted = noted.into_iter().map(|entry| match entry {
            Entry::Start { digest, .. } => Entry::Start { digest, life: 0 },
            other => other,
        });
        (events(learner), digest, in_use, format!("{:?}", noted.collect::<Vec<_>>()))
    })
}

/// Cuts a reset at every operation in every way, after `count` requests, with a journal of `room` bytes. Checks that
/// the next start finds the old or the factory state, with its journal, and keeps it over another cut while it learns.
/// Returns the number of cuts, and the number of those that left the old state.
fn cut_resets<const R: usize, const W: usize, const E: usize>(count: usize, room: usize, full: Full) -> (usize, usize) {
    let (image, asked) = (image(5), asked(count));
    let digests = digests(&image, &asked);
    let setup = (&image[..], room, full);
    let fresh = Flash::<R, W, E>::new((Store::<Flash<R, W, E>>::region(STATE) + room) / E);
    let factory = standing(&mut fresh.clone(), setup);
    let mut before = fresh;
    start(&mut before, setup, |learner, _| {
        for (_, ask) in &asked {
            match ask {
                Ask::Learn(sample, label) => _ = learner.learn(sample, *label).unwrap(),
                Ask::Refuse => assert!(learner.learn(&[f32::NAN; INPUTS], 0).is_err()),
                Ask::End => _ = learner.end(),
            }
        }
    });
    let old = standing(&mut before, setup);
    assert_eq!((old.0, old.1), (count as u64, digests[count]));
    let mut uncut = before.clone();
    uncut.operations = 0;
    start(&mut uncut, setup, |learner, failures| {
        assert_eq!(learner.reset(), Ok(digests[0]));
        assert_eq!((learner.session().adaptation().digest(), &*failures.borrow()), (digests[0], &vec![]));
    });
    let operations = uncut.operations;
    assert_eq!(standing(&mut uncut, setup), factory);
    let (mut random, mut cuts, mut olds) = (Random(SEED), 0, 0);
    for at in 0..operations {
        for cut in [Cut::Before(at)].into_iter().chain(TORN.map(|torn| Cut::Inside(at, torn))) {
            let mut flash = before.clone();
            flash.cut(cut);
            assert!(start(&mut flash, setup, |learner, _| learner.reset()).is_err(), "{cut:?}");
            flash.power();
            let found = standing(&mut flash, setup);
            assert!(found == old || found == factory, "{cut:?}: {found:?}");
            (cuts, olds) = (cuts + 1, olds + usize::from(found == old));
            if found == factory && room > 0 {
                // Entries noted from now on are not lost, whatever the next start reads from torn words.
                flash.cut(Cut::Inside(random.below(60), TORN[random.below(TORN.len())]));
                let told = start(&mut flash, setup, |learner, failures| {
                    assert_eq!(learner.session().adaptation().digest(), digests[0], "{cut:?}");
                    go_on(learner, failures, &asked[..asked.len().min(SAMPLES)])
                });
                flash.power();
                start(&mut flash, setup, |learner, _| {
                    let found = events(learner);
                    assert!(found >= told.noted, "{cut:?}: {} were noted, {found} are there", told.noted);
                    assert_eq!(learner.session().adaptation().digest(), digests[found as usize], "{cut:?}");
                });
            }
            // A second reset succeeds from any state.
            start(&mut flash, setup, |learner, _| assert_eq!(learner.reset(), Ok(digests[0]), "{cut:?}"));
            assert_eq!(standing(&mut flash, setup), factory, "{cut:?}");
        }
    }
    println!("read {R} write {W} erase {E}, {count} asks: {cuts} cuts of a reset, {olds} left the old state");
    (cuts, olds)
}

#[test]
fn every_cut_of_a_reset_leaves_the_old_state_or_the_factorys_with_its_journal() {
    println!("seed {SEED}");
    let room = |block: usize, least: usize| (6 * SAMPLES * largest(INPUTS, STEPS).max(least)).next_multiple_of(block);
    for (cuts, olds) in [
        cut_resets::<1, 4, 1024>(SAMPLES, room(1024, 12), Full::Stop),
        cut_resets::<16, 8, 512>(SAMPLES, room(512, 24), Full::Stop),
        cut_resets::<1, 128, 128>(SAMPLES, room(128, 384), Full::Stop),
        // The journal has a gap: what was learnt after it is in the store alone.
        cut_resets::<1, 8, 512>(60, 2048, Full::Gap),
        // There is no journal.
        cut_resets::<1, 8, 512>(4, 0, Full::Gap),
    ] {
        assert!(olds > 0 && olds < cuts, "{olds} of {cuts}");
    }
}

/// Tests a flash that stops erasing and programming at some operation: the reset reports it, and the learner is in the
/// state that the next start finds, whether or not the flash works again by then.
#[test]
fn a_reset_that_the_flash_refuses_leaves_what_a_restart_finds() {
    let (image, room) = (image(5), 8192);
    let (setup, all) = ((&image[..], room, Full::Gap), asked(SAMPLES));
    let mut before = part(room);
    let factory = standing(&mut before.clone(), setup);
    start(&mut before, setup, |learner, failures| assert!(go_on(learner, failures, &all).failed.is_none()));
    let old = standing(&mut before, setup);
    let mut uncut = before.clone();
    uncut.operations = 0;
    start(&mut uncut, setup, |learner, _| learner.reset()).unwrap();
    let mut found = [0, 0];
    for at in 0..uncut.operations {
        let mut flash = before.clone();
        flash.cut(Cut::Refused(at));
        let stands = start(&mut flash, setup, |learner, _| {
            assert!(learner.reset().is_err(), "{at}");
            (events(learner), learner.session().adaptation().digest(), in_use(learner))
        });
        let state = |(events, digest, in_use, _): (u64, u64, Vec<u32>, String)| (events, digest, in_use);
        assert_eq!(state(standing(&mut flash.clone(), setup)), stands, "{at}");
        flash.power();
        let restarted = standing(&mut flash, setup);
        assert!(restarted == old || restarted == factory, "{at}: {restarted:?}");
        found[usize::from(restarted == factory)] += 1;
        assert_eq!(state(restarted), stands, "{at}");
    }
    println!("of {} operations refused, {} left the old state, {} the factory's", uncut.operations, found[0], found[1]);
    assert!(found.iter().all(|count| *count > 0));
}

/// Tests that a board with a full journal that must record everything learns again only after a reset.
#[test]
fn a_reset_begins_the_journal_anew_and_twice_is_as_once() {
    let (image, room, all) = (image(5), 2048, asked(SAMPLES));
    let setup = (&image[..], room, Full::Stop);
    let mut flash = part(room);
    let factory = standing(&mut flash, setup);
    for _ in 0..2 {
        start(&mut flash, setup, |learner, failures| {
            while learner.learn(&[0.5; INPUTS], 1).is_ok() {}
            // A reset drops the sample that has begun, like everything else.
            assert_eq!(learner.begin(&[0.5; INPUTS], 1), Err(Refusal::Unrecorded));
            for _ in 0..2 {
                assert_eq!(learner.reset(), Ok(factory.1));
                assert_eq!(learner.begin(&[0.5; INPUTS], 1).map(|taken| taken.held_out), Ok(false));
            }
            assert_eq!(learner.reset(), Ok(factory.1));
            assert_eq!(learner.advance(), Slice::Idle);
            assert_eq!((learner.status().latest, failures.borrow().is_empty()), (None, true));
        });
        assert_eq!(standing(&mut flash, setup), factory);
        let digests = digests(&image, &all);
        start(&mut flash, setup, |learner, failures| {
            for (_, ask) in &all[..3] {
                let Ask::Learn(sample, label) = ask else { panic!("{ask:?}") };
                learner.learn(sample, *label).unwrap();
            }
            assert_eq!((learner.session().adaptation().digest(), failures.borrow().is_empty()), (digests[3], true));
        });
        start(&mut flash, setup, |learner, _| assert_eq!(learner.session().adaptation().digest(), digests[3]));
    }
}

/// Tests a reset without storage and journal.
#[test]
fn a_learner_that_keeps_nothing_is_reset_to_its_image() {
    let (image, all, mut sessions) = (image(5), asked(SAMPLES), core());
    let mut learner = Learner::start(&mut sessions, &image, SAVE_EVERY, (), |_| ()).unwrap();
    let new = learner.status();
    for _ in 0..2 {
        for (_, ask) in &all {
            if let Ask::Learn(sample, label) = ask {
                learner.learn(sample, *label).unwrap();
            }
        }
        learner.end();
        assert_ne!(learner.status(), new);
        assert_eq!(learner.reset(), Ok(new.digest));
        assert_eq!(learner.status(), new);
    }
}
