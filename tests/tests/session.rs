//! Tests of sessions: the weights in use answer until others have proved no worse on held-out samples.
//!
//! The reference is a model made of plain lists: the steps of a network, the published generator, and sessions as the
//! documentation describes them.

mod oracle;

use graftage_core::adapt::{Adaptation, HoldOut, Recipe, Replay, Ring};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::error::{Field, Refusal};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Class, Dense, Fixed, Layer, Parameter, Relu, Step, initialise, predict};
use graftage_core::random::Generator;
use graftage_core::scion::Rule;
use graftage_core::session::{Counts, Judged, Session, Verdict, is_multiple};
use oracle::{Pcg, Random, bits};

type Network = chain![Dense<3, 6>, Relu<6>, Dense<6, 4>];
type Learner = Adaptation<'static, Network, Ring<3, 8>, [f32; Network::SCRATCH]>;
type Device =
    Session<'static, Network, Ring<3, 8>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<3, { HELD + 2 }>>;

/// Maximum number of samples that judge a session.
const HELD: usize = 6;
const HOLD_OUT: Option<HoldOut> = Some(HoldOut { every: 4, keep: HELD as u32 });
const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 8, seed: 5, hold_out: HOLD_OUT, ..Recipe::FREE };

fn network() -> Network {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    network
}

fn device(recipe: Recipe) -> Device {
    let mut device =
        Device::new(network(), Ring::new(), [f32::NAN; Network::SCRATCH], [f32::NAN; Network::WEIGHTS], Ring::new());
    let start = oracle::words(&weights(device.network_mut()));
    device.set_start(start.leak());
    device.start(recipe).unwrap();
    device
}

fn learner(recipe: Recipe) -> Learner {
    let mut learner = Learner::new(network(), Ring::new(), [0.0; Network::SCRATCH]);
    learner.start(recipe).unwrap();
    learner
}

/// Returns samples whose first number gives the class, with wrong labels if `lies` is set.
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

fn right(network: &Network, samples: &[(Vec<f32>, u32)]) -> u32 {
    let scratch = &mut [0.0; Network::SCRATCH];
    let right =
        |(input, label): &&(Vec<f32>, u32)| predict(network, Functions::Libm, input, scratch).unwrap().class == *label;
    samples.iter().filter(right).count() as u32
}

type Sample = (Vec<f32>, u32);

/// Model of sessions, written from their description without regard to memory.
struct Model {
    recipe: Recipe,
    network: Network,
    in_use: Network,
    start: Vec<[u8; 4]>,
    pcg: Pcg,
    step: u64,
    /// Samples in the replay buffer, from committed sessions and from the open one.
    learnt: Vec<Sample>,
    newly_learnt: Vec<Sample>,
    /// Held-out samples, from committed sessions and from the open one.
    kept: Vec<Sample>,
    newest: Vec<Sample>,
    /// Number of samples that the open session has held out, including those since replaced.
    held_out: usize,
    rolled_back_in_a_row: u32,
    counts: Counts,
}

impl Model {
    fn new(recipe: Recipe) -> Self {
        let mut network = network();
        let start = oracle::words(&weights(&mut network));
        network.parameters(&mut |mut parameter| parameter.start());
        Self {
            recipe,
            in_use: network.clone(),
            network,
            start,
            pcg: Pcg::new(recipe.seed, 0),
            step: 0,
            learnt: vec![],
            newly_learnt: vec![],
            kept: vec![],
            newest: vec![],
            held_out: 0,
            rolled_back_in_a_row: 0,
            counts: Counts::default(),
        }
    }

    /// Returns the samples in the replay buffer, oldest first.
    fn replay(&self) -> Vec<Sample> {
        [&self.learnt[..], &self.newly_learnt].concat()
    }

    /// Takes a sample; returns whether it was held out.
    fn learn(&mut self, sample: &Sample) -> bool {
        let Recipe { batch, steps, replay, rule, cap, hold_out, .. } = self.recipe;
        self.counts.taken += 1;
        if let Some(HoldOut { every, keep }) = hold_out
            && self.counts.taken.is_multiple_of(every.into())
        {
            let half = keep.div_ceil(2) as usize;
            if self.newest.len() < half {
                self.newest.push(sample.clone());
            } else {
                self.newest[self.held_out % half] = sample.clone();
            }
            self.held_out += 1;
            return true;
        }
        self.newly_learnt.push(sample.clone());
        // The oldest sample goes, whether it is from this session or an earlier one.
        if self.learnt.len() + self.newly_learnt.len() > replay as usize {
            let from = if self.learnt.is_empty() { &mut self.newly_learnt } else { &mut self.learnt };
            from.remove(0);
        }
        let (all, memory) = (self.replay(), &mut [0.0; Network::SCRATCH]);
        for _ in 0..steps {
            self.step += 1;
            let mut step = Step::begin(&rule, Functions::Libm, cap, self.step, batch);
            for place in 0..batch {
                let (input, label) = if place == 0 { sample } else { &all[self.pcg.below(all.len())] };
                step.add(&mut self.network, input, Class(*label), memory).unwrap();
            }
            step.finish(&mut self.network, &rule, &self.start, memory).unwrap();
        }
        false
    }

    fn end(&mut self) -> Verdict {
        let judged = |samples: &[Sample]| Judged {
            held_out: samples.len() as u32,
            before: right(&self.in_use, samples),
            after: right(&self.network, samples),
        };
        let (newest, kept) = (judged(&self.newest), judged(&self.kept));
        let no_better_than_chance = f64::from(newest.before) <= f64::from(newest.held_out) / 4.0;
        let kept_decides = self.rolled_back_in_a_row < 2 || no_better_than_chance;
        let committed = newest.after >= newest.before && (!kept_decides || kept.after >= kept.before);
        if committed {
            self.in_use = self.network.clone();
            self.learnt.append(&mut self.newly_learnt);
            self.kept.append(&mut self.newest);
            let keep = self.recipe.hold_out.map_or(0, |HoldOut { keep, .. }| keep / 2) as usize;
            self.kept.drain(..self.kept.len().saturating_sub(keep));
            self.rolled_back_in_a_row = 0;
            self.counts.committed += 1;
        } else {
            let mut used = weights(&mut self.in_use).into_iter();
            self.network.parameters(&mut |mut parameter| {
                parameter.state.x.elements_mut().iter_mut().zip(&mut used).for_each(|(x, w)| *x = w);
                parameter.start();
            });
            self.rolled_back_in_a_row += 1;
            self.counts.rolled_back += 1;
        }
        self.newly_learnt.clear();
        self.newest.clear();
        self.held_out = 0;
        let alarm = newest.held_out > 0 && no_better_than_chance;
        self.counts.alarms += u32::from(alarm);
        Verdict { committed, alarm, newest, kept }
    }
}

fn samples(replay: &impl Replay) -> Vec<Sample> {
    (0..replay.len()).map(|at| replay.get(at).map(|(input, label)| (input.to_vec(), label)).unwrap()).collect()
}

/// Labels of a session: correct, all wrong, or those of a world that has changed in half of its classes.
#[derive(Clone, Copy, Debug)]
enum World {
    Right,
    Wrong,
    Changed,
}

fn session(seed: u64, length: usize, world: World) -> Vec<Sample> {
    let mut samples = stream(seed, length, matches!(world, World::Wrong));
    if let World::Changed = world {
        samples.iter_mut().for_each(|(_, label)| *label = [1, 0, 2, 3][*label as usize]);
    }
    samples
}

/// Counts of cases that must occur for the comparison to be meaningful.
#[derive(Default, Debug)]
struct Seen {
    committed: u32,
    rolled_back: u32,
    /// Rolled-back sessions with more samples than the replay buffer holds, and with fewer than it held.
    rolled_back_long: u32,
    rolled_back_short: u32,
    /// Sessions rolled back because of the kept samples, although their own half was no worse.
    rolled_back_by_kept: u32,
    /// Sessions committed against the kept samples, after two rollbacks in a row.
    committed_alone: u32,
    /// Sessions rolled back after two rollbacks in a row, as their own half found the weights in use at chance.
    alarms: u32,
    /// Sessions that held out nothing while some samples were kept.
    empty: u32,
    replaced: u32,
}

#[test]
fn sessions_do_what_a_model_in_plain_lists_does() {
    let mut seen = Seen::default();
    let near = Recipe { batch: 4, replay: 8, seed: 6, ..Recipe::DEFAULT };
    for (case, (base, every, keep)) in
        [(RECIPE, 4, HELD as u32), (RECIPE, 2, 5), (near, 3, 4), (RECIPE, 3, 1), (near, 2, 2), (RECIPE, 2, 8)]
            .into_iter()
            .enumerate()
    {
        let recipe = Recipe { hold_out: Some(HoldOut { every, keep }), ..base };
        let (mut device, mut model) = (device(recipe), Model::new(recipe));
        let mut random = Random::new(case as u64);
        for number in 0..60u64 {
            // Three sessions of a kind follow each other, so that two rollbacks in a row occur; after forty the change
            // is permanent.
            let world = match (number, number / 3 % 4) {
                (40.., _) => World::Changed,
                (_, 3) => World::Wrong,
                (_, 2) => World::Changed,
                _ => World::Right,
            };
            let length = [0, 1, 3, 6, 12, 21, 40][random.below(7)];
            for sample in session(100 * case as u64 + number, length, world) {
                let expected =
                    predict(&model.in_use, Functions::Libm, &sample.0, &mut [0.0; Network::SCRATCH]).unwrap();
                assert_eq!(device.predict(&sample.0), Ok(expected));
                let held_out = model.learn(&sample);
                assert_eq!(device.learn(&sample.0, sample.1, |_| ()).map(|taken| taken.held_out), Ok(held_out));
                let newest = device.newest(held_out).map(|(input, label)| (input.to_vec(), label));
                assert_eq!(newest, Some(sample));
                seen.replaced += u32::from(held_out && model.held_out > model.newest.len());
            }
            assert_eq!(device.newest(true).is_some(), !model.newest.is_empty());
            assert_eq!(device.newest(false).is_some(), !model.newly_learnt.is_empty());
            let (long, short) = (
                model.newly_learnt.len() > 7 && model.learnt.is_empty(),
                !model.newly_learnt.is_empty() && !model.learnt.is_empty(),
            );
            let in_a_row = model.rolled_back_in_a_row;
            let verdict = model.end();
            assert_eq!(device.end(), verdict, "session {number} of case {case}, {world:?}");
            assert_eq!((device.newest(true), device.newest(false)), (None, None));
            assert_eq!(samples(device.adaptation().replay()), model.replay());
            assert_eq!(samples(device.held_out()), model.kept);
            assert_eq!(state(device.adaptation().network()), state(&model.network));
            assert_eq!(bits(device.in_use()), bits(&weights(&mut model.in_use)));
            assert_eq!((device.counts(), device.adaptation().step()), (model.counts, model.step));
            let Verdict { committed, newest, kept, alarm } = verdict;
            let all = verdict.all();
            assert_eq!(all.held_out, newest.held_out + kept.held_out);
            assert_eq!((all.before, all.after), (newest.before + kept.before, newest.after + kept.after));
            let against_kept = newest.after >= newest.before && kept.after < kept.before;
            seen.committed += u32::from(committed);
            seen.rolled_back += u32::from(!committed);
            seen.rolled_back_long += u32::from(!committed && long);
            seen.rolled_back_short += u32::from(!committed && short);
            seen.rolled_back_by_kept += u32::from(!committed && against_kept);
            seen.committed_alone += u32::from(committed && against_kept);
            seen.alarms += u32::from(!committed && against_kept && alarm && in_a_row >= 2);
            seen.empty += u32::from(newest.held_out == 0 && kept.held_out > 0 && length > 0);
        }
    }
    println!("{seen:?}");
    let Seen { committed, rolled_back, rolled_back_long, rolled_back_short, .. } = seen;
    let Seen { rolled_back_by_kept, committed_alone, alarms, empty, replaced, .. } = seen;
    let all = [committed, rolled_back, rolled_back_long, rolled_back_short];
    assert!(all.into_iter().chain([rolled_back_by_kept, committed_alone, alarms, empty, replaced]).all(|n| n > 0));
}

/// Returns the bits of X, Y and M.
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
    // Samples with correct labels judge the session.
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
fn each_session_has_the_whole_movement_budget() {
    let rule = Rule::PLAIN;
    let recipe = Recipe { rule, budget: Some(6.5 * rule.movement(1)), hold_out: None, ..RECIPE };
    let mut device = device(recipe);
    let samples = stream(4, 10, false);
    let learnt = |device: &mut Device| {
        let learnt = samples.iter().take_while(|(input, label)| device.learn(input, *label, |_| ()).is_ok()).count();
        let (input, label) = &samples[learnt];
        assert_eq!(device.learn(input, *label, |_| ()), Err(Refusal::Budget));
        learnt
    };
    // Six steps, two per sample.
    assert_eq!(learnt(&mut device), 3);
    let verdict = device.end();
    let nobody = Judged::default();
    assert_eq!(verdict, Verdict { committed: true, alarm: false, newest: nobody, kept: nobody });
    assert_eq!(learnt(&mut device), 3);
}

#[test]
fn a_refused_sample_is_not_counted_and_changes_nothing() {
    let mut device = device(RECIPE);
    for (input, label) in stream(5, 7, false) {
        device.learn(&input, label, |_| ()).unwrap();
    }
    // The next sample would be held out, and the one after it learnt.
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
fn a_session_that_cannot_be_started_says_why() {
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
            // Nothing is a multiple of 0, not even 0.
            assert_eq!(is_multiple(multiple, of), of > 0 && multiple % of == 0, "{multiple}, {of}");
        }
    }
}
