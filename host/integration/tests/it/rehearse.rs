//! Tests of rehearsals: their own method is core's, and their controls are the published ones.

use crate::common::{self, Folder, bits, checkpoint, layers, samples, with_weights};
use graftage::checkpoint::{About, Checkpoint, Trained};
use graftage::data::{AgedSensor, AgeingSensor, Dataset, Legend, Normalise, Samples, Source, Split};
use graftage::network::{Layers, Update};
use graftage::rehearse::{Adam, AgedSensors, Attack, AttackRehearsal, Groups, Life, LifeRehearsal, Sgd, Unseen};
use graftage::rehearse::{GroupMethod, GroupRehearsal, Rehearsal};
use graftage::workstation::{start, start_sessions, trained};
use graftage_core::adapt::{HoldOut, Recipe};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Layer, Parameter};
use graftage_core::random::Generator;
use graftage_core::schedule::Momentum;
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;

const STEP: f32 = 0.03;
const RULE: Rule = Rule { step_size: STEP, momentum: Momentum::Constant(0.0), ..Rule::PLAIN };

/// Takes steps with these gradients, parameter by parameter. Returns the weights after each step.
fn run(
    update: impl FnOnce(&mut Layers) -> Box<dyn Update>,
    rule: &Rule,
    start: &[f32],
    gradients: &[Vec<f32>],
) -> Vec<Vec<f32>> {
    let mut network = Layers::new(&layers(&[3, 2])).unwrap();
    let mut numbers = start.iter();
    network.parameters(&mut |Parameter { mut state, .. }| {
        state.x.elements_mut().iter_mut().zip(&mut numbers).for_each(|(x, w)| *x = *w);
    });
    let words: Vec<_> = start.iter().map(|weight| weight.to_le_bytes()).collect();
    let mut update = update(&mut network);
    let step = |gradient: &Vec<f32>| {
        let mut numbers = gradient.iter();
        network.parameters(&mut |Parameter { mut state, .. }| {
            state.m.elements_mut().iter_mut().zip(&mut numbers).for_each(|(m, g)| *m = *g);
        });
        let (mut index, mut rest) = (0.., &words[..]);
        network.parameters(&mut |parameter| {
            let (own, after) = rest.split_at(parameter.state.x.elements().len());
            rest = after;
            update.advance(index.next().unwrap(), parameter, rule, 1, Some(own));
        });
        let mut after = Vec::new();
        network.parameters(&mut |Parameter { state, .. }| {
            assert_eq!(state.y.elements(), state.x.elements(), "gradients are taken at X");
            after.extend_from_slice(state.x.elements());
        });
        after
    };
    gradients.iter().map(step).collect()
}

/// Returns eight numbers of sizes from 10⁻³ to 10³.
fn numbers(generator: &mut Generator) -> Vec<f32> {
    (0..8).map(|_| (2.0 * generator.uniform() - 1.0) * 10f32.powi(generator.below(7) as i32 - 3)).collect()
}

/// Update of one weight in binary64: maps each gradient to the move of the weight.
type Oracle = Box<dyn FnMut(f64) -> f64>;

/// Compares an update with its oracle, without a pull and with one of a quarter of the way.
fn agrees(update: fn(&mut Layers) -> Box<dyn Update>, oracle: fn() -> Oracle) {
    let mut generator = Generator::new(6, 0);
    let first = numbers(&mut generator);
    let gradients: Vec<_> = (0..12).map(|_| numbers(&mut generator)).collect();
    for (pull, share) in [(Pull::None, 0.0), (Pull::Start { strength: 0.25 / STEP }, 0.25)] {
        let found = run(update, &Rule { pull, ..RULE }, &first, &gradients);
        for (index, start) in first.iter().map(|x| f64::from(*x)).enumerate() {
            let (mut oracle, mut expected) = (oracle(), start);
            for (t, (gradient, found)) in gradients.iter().zip(&found).enumerate() {
                expected += oracle(f64::from(gradient[index]));
                expected += share * (start - expected);
                let x = found[index];
                let error = (f64::from(x) - expected).abs();
                assert!(error <= 1e-4 * expected.abs().max(0.01), "{pull:?}, step {}: {x}, {expected} expected", t + 1);
            }
        }
    }
}

/// V ← 0.9·V + G, X ← X − ηV.
#[test]
fn sgd_is_polyaks_heavy_ball() {
    agrees(
        |network| Box::new(Sgd::new(network)),
        || {
            let mut v = 0.0;
            Box::new(move |g| {
                v = 0.9 * v + g;
                -f64::from(STEP) * v
            })
        },
    );
}

/// Algorithm 1 of Kingma and Ba 2015, with its recommended constants.
#[test]
fn adam_is_kingmas_and_bas() {
    agrees(
        |network| Box::new(Adam::new(network)),
        || {
            let (mut m, mut v, mut t) = (0.0, 0.0, 0);
            Box::new(move |g| {
                t += 1;
                m = 0.9 * m + (1.0 - 0.9) * g;
                v = 0.999 * v + (1.0 - 0.999) * g * g;
                let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                -f64::from(STEP) * m_hat / (v_hat.sqrt() + 1e-8)
            })
        },
    );
}

const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 16, seed: 1, ..Recipe::DEFAULT };
const SAMPLES: usize = 25;

/// Returns a small network that has learnt its samples a little, and its training and test samples.
fn story() -> Trained {
    story_of(6)
}

/// Like [`story`], with `inputs` features.
fn story_of(inputs: usize) -> Trained {
    let (train, test) = samples(160, inputs, 4).split(60, 0).unwrap();
    Trained { checkpoint: taught(checkpoint(&[inputs as u32, 8, 4], 60), &train, RECIPE), train, test }
}

/// Returns a checkpoint that has learnt these samples.
fn taught(checkpoint: Checkpoint, train: &Samples, recipe: Recipe) -> Checkpoint {
    let words = checkpoint.words();
    let mut teacher = start(trained(&checkpoint).unwrap(), recipe, &words).unwrap();
    for (input, label) in train.iter() {
        teacher.learn(input, label, |_| ()).unwrap();
    }
    let mut weights = Vec::new();
    teacher.network_mut().parameters(&mut |Parameter { state, .. }| weights.push(state.x.elements().to_vec()));
    with_weights(checkpoint.about, weights)
}

fn rehearse(story: &Trained, recipe: Recipe) -> Rehearsal {
    rehearse_wrong(story, recipe, 0.0)
}

fn rehearse_wrong(trained: &Trained, recipe: Recipe, wrong_labels: f32) -> Rehearsal {
    let (tune, report) = (vec![11, 12], vec![1, 2, 3]);
    AgedSensors { trained, samples: SAMPLES, wrong_labels, recipe, tune, report }.run(&|_, _| ()).unwrap()
}

/// Returns the share of the test samples that an adaptation predicts rightly after a stream, by core alone.
fn accuracy(story: &Trained, rule: Rule, seed: u64, learn: usize) -> f32 {
    accuracy_wrong(story, rule, seed, learn, 0.0)
}

/// Like [`accuracy`], with the share `wrong` of wrong labels.
fn accuracy_wrong(
    Trained { checkpoint, train, test }: &Trained,
    rule: Rule,
    seed: u64,
    learn: usize,
    wrong: f32,
) -> f32 {
    let words = checkpoint.words();
    let mut adaptation = start(trained(checkpoint).unwrap(), Recipe { rule, ..RECIPE }, &words).unwrap();
    let sensor = AgedSensor::draw(6, seed);
    let mut stream = train.arrive(SAMPLES, seed).aged(&sensor);
    stream.mislabel(wrong, 4, seed);
    for (input, label) in stream.iter().take(learn) {
        adaptation.learn(input, label, |_| ()).unwrap();
    }
    let test = test.aged(&sensor);
    let right = test.iter().filter(|(input, label)| adaptation.predict(input).unwrap().class == *label).count();
    right as f32 / test.len() as f32
}

fn mean(numbers: &[f32]) -> f32 {
    numbers.iter().sum::<f32>() / numbers.len() as f32
}

#[test]
fn its_own_methods_are_cores_adaptation_with_and_without_transport() {
    let story = story();
    let rehearsal = rehearse(&story, RECIPE);
    for (method, theta, key) in [(0, 1.0, "transported_scion"), (1, 0.0, "scion")] {
        let method = &rehearsal.methods[method];
        assert_eq!(method.key, key);
        let rule = |step| Rule { step_size: step, transport: Transport::Fixed { theta }, ..RECIPE.rule };
        for (step, found) in &method.grid {
            let expected = [11, 12].map(|seed| accuracy(&story, rule(*step), seed, SAMPLES));
            assert_eq!(*found, mean(&expected), "{key}, step size {step}");
        }
        let expected = [1, 2, 3].map(|seed| accuracy(&story, rule(method.step_size), seed, SAMPLES));
        assert_eq!(method.accuracy.by_seed, expected, "{key}");
        for (learnt, found) in &method.curve {
            let expected = [1, 2, 3].map(|seed| accuracy(&story, rule(method.step_size), seed, *learnt));
            assert_eq!(*found, mean(&expected), "{key} after {learnt}");
        }
        assert_eq!(method.curve.iter().map(|(learnt, _)| *learnt).collect::<Vec<_>>(), [0, 10, 20, 25]);
    }
    let untouched = [1, 2, 3].map(|seed| accuracy(&story, RECIPE.rule, seed, 0));
    assert_eq!(rehearsal.aged.by_seed, untouched);
    assert_ne!(rehearsal.methods[0].grid, rehearsal.methods[1].grid, "the transport does something");
}

#[test]
fn a_step_size_is_the_best_of_its_grid_on_the_tuning_seeds() {
    let rehearsal = rehearse(&story(), RECIPE);
    assert_eq!((rehearsal.tuned_on, rehearsal.reported_on), (vec![11, 12], vec![1, 2, 3]));
    let keys: Vec<_> = rehearsal.methods.iter().map(|method| method.key.as_str()).collect();
    assert_eq!(keys, KEYS);
    for method in &rehearsal.methods {
        let chosen = method.grid.iter().find(|(step, _)| *step == method.step_size).expect("one of the grid").1;
        assert!(method.grid.iter().all(|(_, accuracy)| *accuracy <= chosen), "{}", method.key);
        assert!(method.grid.windows(2).all(|pair| pair[1].0 == 2.0 * pair[0].0), "{}", method.key);
        let Spreads { mean, deviation } = spread(&method.accuracy.by_seed);
        assert!((method.accuracy.mean - mean).abs() < 1e-6 && (method.accuracy.deviation - deviation).abs() < 1e-6);
    }
}

const KEYS: [&str; 6] = ["transported_scion", "scion", "head_only", "sgd_momentum", "adam", "from_scratch"];

struct Spreads {
    mean: f32,
    deviation: f32,
}

/// Mean and sample standard deviation of three numbers.
fn spread(numbers: &[f32]) -> Spreads {
    let [a, b, c] = [0, 1, 2].map(|i| f64::from(numbers[i]));
    let mean = (a + b + c) / 3.0;
    let variance = ((a - mean).powi(2) + (b - mean).powi(2) + (c - mean).powi(2)) / 2.0;
    Spreads { mean: mean as f32, deviation: variance.sqrt() as f32 }
}

#[test]
fn a_rehearsal_is_the_same_every_time() {
    let story = story();
    assert_eq!(rehearse(&story, RECIPE), rehearse(&story, RECIPE));
    // With θ = 0, the board's method is batched Scion.
    let still =
        rehearse(&story, Recipe { rule: Rule { transport: Transport::Fixed { theta: 0.0 }, ..RECIPE.rule }, ..RECIPE });
    assert_eq!(still.methods[0].grid, still.methods[1].grid);
}

// ---- wrong labels ----

#[test]
fn wrong_labels_are_learnt_and_test_samples_stay_right() {
    let (story, wrong) = (story(), 0.6);
    let [right, spoilt] = [0.0, wrong].map(|wrong| rehearse_wrong(&story, RECIPE, wrong));
    assert_eq!((right.clean, &right.aged), (spoilt.clean, &spoilt.aged));
    let rule = |step, theta| Rule { step_size: step, transport: Transport::Fixed { theta }, ..RECIPE.rule };
    for (method, theta) in [(0, 1.0), (1, 0.0)] {
        let method = &spoilt.methods[method];
        for (step, found) in &method.grid {
            let expected = [11, 12].map(|seed| accuracy_wrong(&story, rule(*step, theta), seed, SAMPLES, wrong));
            assert_eq!(*found, mean(&expected), "{}, step size {step}", method.key);
        }
        let expected =
            [1, 2, 3].map(|seed| accuracy_wrong(&story, rule(method.step_size, theta), seed, SAMPLES, wrong));
        assert_eq!(method.accuracy.by_seed, expected, "{}", method.key);
    }
    for (right, spoilt) in right.methods.iter().zip(&spoilt.methods) {
        assert!(spoilt.accuracy.mean < right.accuracy.mean, "{}", right.key);
    }
}

#[test]
fn people_are_labelled_wrongly_when_they_are_held_out_too() {
    let unseen = people();
    let recipe = Recipe { hold_out: Some(HoldOut { every: 3, keep: 4 }), ..RECIPE };
    let [right, spoilt] = [0.0, 0.6].map(|wrong| meet_wrong(&unseen, recipe, wrong));
    assert_eq!(right.before, spoilt.before);
    for (step, found) in &spoilt.methods[0].grid {
        assert_eq!(found.by_seed, by_core_wrong(&unseen, with_step(*step, recipe), 0.6, |_| ()), "step size {step}");
    }
    assert_ne!(right.methods[0].grid, spoilt.methods[0].grid);
}

#[test]
fn from_scratch_and_the_controls_are_pulled_nowhere_and_only_the_cap_is_theirs() {
    let story = story();
    let pulled = |pull, cap| rehearse_wrong(&story, Recipe { rule: Rule { pull, ..RECIPE.rule }, cap, ..RECIPE }, 0.4);
    let (near, free) = (pulled(Pull::Start { strength: 4.0 }, Some(0.1)), pulled(Pull::None, Some(0.1)));
    let uncapped = pulled(Pull::None, None);
    for (method, key) in KEYS.into_iter().enumerate() {
        let same = matches!(key, "sgd_momentum" | "adam" | "from_scratch");
        assert_eq!(near.methods[method] == free.methods[method], same, "{key}");
        assert_ne!(free.methods[method].grid, uncapped.methods[method].grid, "{key}");
    }
}

// ---- a long life ----

/// Returns gain and offset of each element, measured on samples of zeros and of ones.
fn response(sensor: &AgedSensor) -> (Vec<f32>, Vec<f32>) {
    let mut probes = Samples::new(6);
    probes.push(&[0.0; 6], 0);
    probes.push(&[1.0; 6], 0);
    let aged = probes.aged(sensor);
    let (offsets, sums) = aged.features().split_at(6);
    (offsets.iter().zip(sums).map(|(offset, sum)| sum - offset).collect(), offsets.to_vec())
}

#[test]
fn a_sensor_goes_on_ageing_along_lines_from_one_draw_to_the_next() {
    let sensor = AgeingSensor::draw(6, 3, 9000);
    // Pairs of gain and offset in the generator's order, after those of a new sensor.
    let mut generator = Generator::new(3, 2);
    let mut states = vec![([1.0; 6], [0.0; 6])];
    for _ in 0..3 {
        let (mut gains, mut offsets) = ([0.0; 6], [0.0; 6]);
        for element in 0..6 {
            (gains[element], offsets[element]) = (0.2 + generator.uniform(), 0.5 * generator.uniform());
        }
        states.push((gains, offsets));
    }
    for samples in [0, 1, 1000, 3999, 4000, 5000, 8000, 8999, 9000, 12000, 12001, 40_000] {
        let place = (samples as f64 / 4000.0).min(3.0);
        let (before, share) = (&states[place.floor() as usize], place.fract());
        let after = &states[(place.floor() as usize + 1).min(3)];
        let expected = |from: f32, to: f32| f64::from(from) + share * (f64::from(to) - f64::from(from));
        let (gains, offsets) = response(&sensor.after(samples));
        for element in 0..6 {
            let gain = expected(before.0[element], after.0[element]);
            let offset = expected(before.1[element], after.1[element]);
            assert!((f64::from(gains[element]) - gain).abs() < 1e-6, "{samples}: {} {gain}", gains[element]);
            assert!((f64::from(offsets[element]) - offset).abs() < 1e-6, "{samples}: {} {offset}", offsets[element]);
        }
    }
    assert_eq!(sensor.after(4000), AgedSensor::draw(6, 3));
    // Samples age one after another.
    let stream = samples(20, 6, 4).arrive(4100, 1);
    let ageing = stream.ageing(&sensor);
    for index in [0, 7, 4000, 4099] {
        let one = stream.iter().nth(index).unwrap();
        let mut alone = Samples::new(6);
        alone.push(one.0, one.1);
        assert_eq!(ageing.iter().nth(index).unwrap(), alone.aged(&sensor.after(index)).iter().next().unwrap());
    }
}

#[test]
fn all_samples_come_again_in_another_order_each_time() {
    let all = samples(9, 1, 9);
    let arrived = all.arrive(24, 5);
    assert_eq!(arrived.labels()[..9], *all.arrive(9, 5).labels());
    let rounds: Vec<_> = arrived.labels().chunks(9).collect();
    for round in &rounds[..2] {
        let mut sorted = round.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..9).collect::<Vec<_>>());
    }
    assert!(rounds[0] != rounds[1] && rounds[1][..6] != *rounds[2] && rounds[2].len() == 6);
    assert!(Samples::new(1).arrive(3, 5).is_empty());
}

fn live(trained: &Trained, samples: usize, recipe: Recipe) -> graftage::error::Result<LifeRehearsal> {
    Life { trained, samples, wrong_labels: 0.2, recipe, seeds: vec![1, 2] }.run(&|_, _| ())
}

#[test]
fn a_life_is_sessions_of_core_tested_through_the_sensor_of_the_moment() {
    let story = story();
    let recipe = Recipe { steps: 1, hold_out: Some(HoldOut { every: 4, keep: 10 }), ..RECIPE };
    let (samples, ends) = (2750, [500, 1000, 1500, 2000, 2500, 2750]);
    let lived = live(&story, samples, recipe).unwrap();
    let Trained { checkpoint, train, test } = &story;
    let words = checkpoint.words();
    let (mut unadapted, mut adapted) = (Vec::new(), Vec::new());
    for seed in [1, 2] {
        let sensor = AgeingSensor::draw(6, seed, samples);
        let mut stream = train.arrive(samples, seed).ageing(&sensor);
        stream.mislabel(0.2, 4, seed);
        let stream: Vec<_> = stream.iter().collect();
        let mut session = start_sessions(trained(checkpoint).unwrap(), recipe, &words).unwrap();
        let mut untouched = start(trained(checkpoint).unwrap(), recipe, &words).unwrap();
        let (mut from, mut before, mut after) = (0, Vec::new(), Vec::new());
        for end in ends {
            for (input, label) in &stream[from..end] {
                session.learn(input, *label, |_| ()).unwrap();
            }
            session.end();
            let test = test.aged(&sensor.after(end));
            before.push(share(&test, |input, label| untouched.predict(input).unwrap().class == label));
            after.push(share(&test, |input, label| session.predict(input).unwrap().class == label));
            from = end;
        }
        unadapted.push(before);
        adapted.push(after);
    }
    assert_eq!(lived.methods.iter().map(|method| method.key.as_str()).collect::<Vec<_>>(), KEYS);
    assert_eq!(lived.methods[0].sessions, adapted);
    assert_ne!(lived.methods[0].sessions, lived.methods[1].sessions);
    // The first quarter ends at 687.5, the second at 1375, the third at 2062.5.
    let quarters = |sessions: &[f32]| [sessions[0], sessions[1], mean(&sessions[2..4]), mean(&sessions[4..])];
    for (found, lives) in [(&lived.unadapted, unadapted), (&lived.methods[0].accuracy, adapted)] {
        for (quarter, found) in found.iter().enumerate() {
            let expected: Vec<_> = lives.iter().map(|sessions| quarters(sessions)[quarter]).collect();
            assert_eq!(found.by_seed, expected, "quarter {quarter}");
        }
    }
    let step = RECIPE.rule.step_size;
    let steps: Vec<_> = lived.methods.iter().map(|method| method.step_size).collect();
    assert_eq!(steps, [step, step, step, 0.000_781_25, 0.001_4, step]);
    let refused = live(&story, 1999, RECIPE).unwrap_err().to_string();
    assert!(refused.contains("1999 samples") && refused.contains("2000"), "{refused}");
}

// ---- attacks ----

fn attack(trained: &Trained, samples: usize, hold_out: Option<HoldOut>) -> graftage::error::Result<AttackRehearsal> {
    let recipe = Recipe { hold_out, ..RECIPE };
    Attack { trained, samples, recipe, seeds: vec![1, 2, 3, 4] }.run(&|_, _| ())
}

const HELD_OUT: HoldOut = HoldOut { every: 4, keep: 20 };

#[test]
fn wrong_labels_alone_are_rolled_back_and_core_says_the_same() {
    let story = story();
    let Trained { checkpoint, train, test } = &story;
    let found = attack(&story, 50, Some(HELD_OUT)).unwrap();
    let rolled_back = found.attacked.iter().filter(|attacked| !attacked.attack.committed).count();
    assert!(rolled_back >= 3, "{rolled_back} of 4 rolled back");
    let (words, recipe) = (checkpoint.words(), Recipe { hold_out: Some(HELD_OUT), ..RECIPE });
    for (seed, attacked) in [1, 2, 3, 4].into_iter().zip(&found.attacked) {
        let sensor = AgedSensor::draw(6, seed);
        let (right, test) = (train.arrive(150, seed).aged(&sensor), test.aged(&sensor));
        let mut wrong = right.clone();
        wrong.mislabel(1.0, 4, seed);
        assert!(wrong.labels().iter().zip(right.labels()).all(|(wrong, right)| wrong != right));
        let mut session = start_sessions(trained(checkpoint).unwrap(), recipe, &words).unwrap();
        let (mut verdicts, mut recovery) = (Vec::new(), Vec::new());
        for (index, (input, label)) in right.iter().enumerate() {
            let label = if (50..100).contains(&index) { wrong.labels()[index] } else { label };
            session.learn(input, label, |_| ()).unwrap();
            if [110, 120, 130, 140].contains(&(index + 1)) {
                // Measures the weights that learn, before their session has ended.
                let mut learning = Vec::new();
                session.network_mut().parameters(&mut |parameter| learning.push(parameter.state.x.elements().to_vec()));
                let learning = with_weights(checkpoint.about.clone(), learning);
                let mut learning = start(trained(&learning).unwrap(), RECIPE, &words).unwrap();
                recovery.push(share(&test, |input, label| learning.predict(input).unwrap().class == label));
            }
            if (index + 1) % 50 == 0 {
                verdicts.push((session.end(), share(&test, |i, label| session.predict(i).unwrap().class == label)));
            }
        }
        let expected = [verdicts[0].0, verdicts[1].0, verdicts[2].0];
        assert_eq!([attacked.before, attacked.attack, attacked.after], expected, "seed {seed}");
        assert_eq!((attacked.accuracy, &attacked.recovery), (verdicts[1].1, &recovery), "seed {seed}");
    }
    assert_eq!(found.after.by_seed.len(), 4);
    assert_eq!(found.recovery.iter().map(|(labels, _)| *labels).collect::<Vec<_>>(), [10, 20, 30, 40]);
    assert!(found.recovery.iter().all(|(_, accuracy)| accuracy.by_seed.len() == rolled_back));
}

#[test]
fn another_ageing_is_followed_and_images_are_mounted_otherwise() {
    let found = attack(&story(), 50, Some(HELD_OUT)).unwrap();
    let names = |found: &AttackRehearsal| found.changes.iter().map(|change| change.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), ["another ageing"], "six features are no square image");
    let found = attack(&story_of(9), 50, Some(HELD_OUT)).unwrap();
    assert_eq!(names(&found), ["another ageing", "shifted by a pixel", "mirrored"]);
    for change in &found.changes {
        let followed = change.committed.iter().flatten().count();
        assert!(followed >= 3, "{}: {:?}", change.name, change.committed);
        assert!(change.committed.iter().flatten().all(|session| (1..=3).contains(session)));
    }
}

#[test]
fn an_image_is_mounted_pixel_by_pixel() {
    let mut images = Samples::new(9);
    images.push(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 2);
    let mirrored = images.mounted(3, |row, column| Some((row, 2 - column)));
    assert_eq!(mirrored.features(), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0, 9.0, 8.0, 7.0]);
    let shifted = images.mounted(3, |row, column| Some((row, column.checked_sub(1)?)));
    assert_eq!(shifted.features(), [0.0, 1.0, 2.0, 0.0, 4.0, 5.0, 0.0, 7.0, 8.0]);
    let beyond = images.mounted(3, |row, column| Some((row + 1, column)));
    assert_eq!(beyond.features(), [4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 0.0, 0.0, 0.0]);
    assert_eq!((beyond.labels(), images.mounted(2, |_, _| None)), (&[2][..], images));
}

#[test]
fn an_attack_without_held_out_samples_or_in_short_sessions_is_refused() {
    let story = story();
    let refused = |samples, hold_out| attack(&story, samples, hold_out).unwrap_err().to_string();
    assert!(refused(50, None).contains("--hold-out EVERY,KEEP"));
    assert!(refused(39, Some(HELD_OUT)).contains("at least 40"));
}

#[test]
fn a_rehearsal_without_seeds_is_refused() {
    let trained = &story();
    let (samples, wrong_labels, seeds) = (500, 0.0, Vec::new());
    let recipe = Recipe { hold_out: Some(HELD_OUT), ..RECIPE };
    let sensors = AgedSensors { trained, samples, wrong_labels, recipe, tune: vec![1], report: seeds.clone() };
    let life = Life { trained, samples: 2000, wrong_labels, recipe, seeds: seeds.clone() };
    let attack = Attack { trained, samples, recipe, seeds };
    let refused = [
        sensors.run(&|_, _| ()).map(drop).unwrap_err(),
        life.run(&|_, _| ()).map(drop).unwrap_err(),
        attack.run(&|_, _| ()).map(drop).unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.to_string().contains("at least one seed")), "{refused:?}");
}

// ---- the command ----

/// Creates a folder with a checkpoint for nine features and four classes, and with its data.
fn folder() -> Folder {
    let folder = Folder::empty();
    let Trained { checkpoint, .. } = story_of(9);
    checkpoint.write(&folder.path("good.safetensors")).unwrap();
    samples(160, 9, 4).write(&folder.path("samples.csv"), common::SCALE, &Legend::default()).unwrap();
    folder
}

#[test]
fn rehearse_prints_its_measurements() {
    let folder = folder();
    let rehearse = |options: &str| {
        let few = "--batch 2 --steps 1 --force -o measured.json";
        folder.graftage(&format!("rehearse good.safetensors {options} {few}")).succeeded()
    };
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
    let output = rehearse("--life 2000 --report 1..2");
    let life: LifeRehearsal = serde_json::from_str(&read("measured.json")).unwrap();
    assert_eq!((life.wrong_labels, &life.seeds[..], life.session), (0.05, &[1, 2][..], 500));
    for quarters in life.methods.iter().map(|method| &method.accuracy).chain([&life.unadapted]) {
        let line = quarters.each_ref().map(|spread| format!("{:.3} ± {:.3}", spread.mean, spread.deviation)).join("  ");
        assert!(output.contains(&line), "{line}\n{output}");
    }
    assert!(output.contains("2 lives of 2000 samples"), "{output}");
    rehearse("--life 2000 --wrong-labels 0.7 --report 1..2");
    let wrong: LifeRehearsal = serde_json::from_str(&read("measured.json")).unwrap();
    assert_eq!(wrong.unadapted, life.unadapted);
    assert_ne!(wrong.methods, life.methods);
    let output = rehearse("--attack --hold-out 4,20 --samples 40 --report 1..3");
    let attack: AttackRehearsal = serde_json::from_str(&read("measured.json")).unwrap();
    let rolled_back = attack.attacked.iter().filter(|attacked| !attacked.attack.committed).count();
    assert!(output.contains(&format!("attacks rolled back: {rolled_back} of 3")), "{output}");
    assert!(output.contains("mirrored, committed within 3 sessions"), "{output}");
    let output = rehearse("--samples 20 --tune 11 --report 1 --wrong-labels 0.5");
    let wrong: Rehearsal = serde_json::from_str(&read("measured.json")).unwrap();
    assert!(output.contains(&format!("{:.3}", wrong.methods[0].accuracy.mean)), "{output}");
}

#[test]
fn options_that_make_no_sense_are_refused_in_one_line() {
    let folder = folder();
    let before = folder.files();
    let cases = [
        ("rehearse good.safetensors --life 1999 -o a.json", "at least 2000"),
        ("rehearse good.safetensors --attack -o a.json", "--hold-out EVERY,KEEP"),
        ("rehearse good.safetensors --attack --hold-out 5,20 --samples 39 -o a.json", "at least 40"),
        ("age good.safetensors --life 0 --stream a.csv --test b.csv", "--life 0"),
    ];
    for (arguments, words) in cases {
        let run = folder.graftage(arguments);
        assert_eq!(run.errors.lines().count(), 1, "{arguments}: {}", run.errors);
        assert!(run.errors.contains(words), "{arguments}: {}", run.errors);
        assert_eq!(run.status, Some(1), "{arguments}");
    }
    // The command-line parser's own refusals stand above its usage.
    let cases = [
        ("rehearse good.safetensors --wrong-labels 1.5 -o a.json", "a share must be a number from 0 to 1"),
        ("rehearse good.safetensors --wrong-labels -0.1 -o a.json", "a share must be a number from 0 to 1"),
        ("rehearse good.safetensors --wrong-labels NaN -o a.json", "a share must be a number from 0 to 1"),
        ("rehearse good.safetensors --life 2000 --per-class 5 -o a.json", "cannot be used with"),
        ("rehearse good.safetensors --life 2000 --attack -o a.json", "cannot be used with"),
        ("rehearse good.safetensors --attack --wrong-labels 0.1 -o a.json", "cannot be used with"),
        ("age good.safetensors --life 10 --samples 10 --stream a.csv --test b.csv", "cannot be used with"),
        ("age good.safetensors --wrong-labels 2 --stream a.csv --test b.csv", "a share must be a number from 0 to 1"),
    ];
    for (arguments, words) in cases {
        let run = folder.graftage(arguments);
        assert!(run.errors.lines().next().unwrap_or_default().contains(words), "{arguments}: {}", run.errors);
        assert_eq!(run.status, Some(2), "{arguments}");
    }
    assert_eq!(folder.files(), before);
}

#[test]
fn age_writes_a_life_that_rehearse_lives() {
    let folder = folder();
    let life = "age good.safetensors --life 5000 --wrong-labels 0.05 --seed 9 --stream a.csv --test b.csv";
    assert!(folder.graftage(life).succeeded().contains("5000 samples"));
    let (train, test) = samples(160, 9, 4).split(60, 3).unwrap();
    let sensor = AgeingSensor::draw(9, 9, 5000);
    let mut stream = train.arrive(5000, 9).ageing(&sensor);
    let right = stream.clone();
    stream.mislabel(0.05, 4, 9);
    for (file, expected) in [("a.csv", &stream), ("b.csv", &test.aged(&sensor.after(5000)))] {
        let read = Samples::read(&folder.path(file), 9, &Legend::numbered(4)).unwrap().divided(common::SCALE);
        assert_eq!((bits(read.features()), read.labels()), (bits(expected.features()), expected.labels()), "{file}");
    }
    let wrong = stream.labels().iter().zip(right.labels()).filter(|(wrong, right)| wrong != right).count();
    assert!((200..300).contains(&wrong), "{wrong} of 5000 labels are wrong");
}

// ---- people ----

const STREAMS: [u64; 2] = [5, 6];
const PER_CLASS: usize = 3;

/// Returns four people, two for each of two networks. Each person's samples have a distortion of their own, which the
/// networks do not know.
fn people() -> Vec<Unseen> {
    let Trained { checkpoint, train, test } = story();
    let person = |name: &str, seed| (name.to_owned(), test.aged(&AgedSensor::draw(6, seed)));
    let more = taught(checkpoint.clone(), &train, RECIPE);
    vec![(checkpoint, vec![person("Ann", 1), person("Ben", 2)]), (more, vec![person("Cem", 3), person("Dia", 4)])]
}

fn meet(unseen: &[Unseen], recipe: Recipe) -> GroupRehearsal {
    meet_wrong(unseen, recipe, 0.0)
}

fn meet_wrong(unseen: &[Unseen], recipe: Recipe, wrong_labels: f32) -> GroupRehearsal {
    let groups = Groups { unseen, per_class: PER_CLASS, streams: STREAMS.into(), wrong_labels, recipe };
    groups.run(&|_, _| ()).unwrap()
}

/// Returns the first samples of each class, in the order in which all would arrive, and the others.
fn introduced(all: &Samples, seed: u64) -> (Samples, Samples) {
    let mut seen = [0; 4];
    let (mut stream, mut rest) = (Samples::new(6), Samples::new(6));
    for (input, label) in all.arrive(all.len(), seed).iter() {
        seen[label as usize] += 1;
        if seen[label as usize] <= PER_CLASS { &mut stream } else { &mut rest }.push(input, label);
    }
    (stream, rest)
}

fn share(samples: &Samples, mut right: impl FnMut(&[f32], u32) -> bool) -> f32 {
    samples.iter().filter(|(input, label)| right(input, *label)).count() as f32 / samples.len() as f32
}

/// Returns the accuracy of each person, mean over the streams, by core's sessions alone.
fn by_core(unseen: &[Unseen], recipe: Recipe, prepare: fn(&mut Layers)) -> Vec<f32> {
    by_core_wrong(unseen, recipe, 0.0, prepare)
}

/// Like [`by_core`], with the share `wrong` of wrong labels.
fn by_core_wrong(unseen: &[Unseen], recipe: Recipe, wrong: f32, prepare: fn(&mut Layers)) -> Vec<f32> {
    let people =
        unseen.iter().flat_map(|(checkpoint, people)| people.iter().map(move |person| (checkpoint, &person.1)));
    let accuracy = |(checkpoint, all): (&Checkpoint, &Samples)| {
        mean(&STREAMS.map(|seed| {
            let (mut stream, test) = introduced(all, seed);
            stream.mislabel(wrong, 4, seed);
            let mut network = trained(checkpoint).unwrap();
            prepare(&mut network);
            let words = checkpoint.words();
            let mut session = start_sessions(network, recipe, &words).unwrap();
            for (input, label) in stream.iter() {
                session.learn(input, label, |_| ()).unwrap();
            }
            session.end();
            share(&test, |input, label| session.predict(input).unwrap().class == label)
        }))
    };
    people.map(accuracy).collect()
}

fn with_step(step: f32, recipe: Recipe) -> Recipe {
    Recipe { rule: Rule { step_size: step, ..recipe.rule }, ..recipe }
}

/// Lets only the head learn. The radius of its weights is their norm, eight inputs times the largest of them. The
/// radius of its bias is larger or smaller than usual by the same factor.
fn head_alone(network: &mut Layers) {
    let (mut parameter, mut norm) = (0, 0.0);
    network.parameters(&mut |found| {
        found.geometry.radius = match parameter {
            0 | 1 => 0.0,
            2 => {
                norm = 8.0 * found.state.x.elements().iter().fold(0.0, |largest, w| w.abs().max(largest));
                norm
            }
            _ => norm / 10.0,
        };
        parameter += 1;
    });
}

#[test]
fn unseen_people_are_adapted_to_by_cores_sessions_from_some_samples_a_class() {
    let unseen = people();
    let held_out = Recipe { hold_out: Some(HoldOut { every: 3, keep: 4 }), ..RECIPE };
    for recipe in [RECIPE, held_out] {
        let met = meet(&unseen, recipe);
        assert_eq!(met.groups, ["Ann", "Ben", "Cem", "Dia"]);
        assert_eq!((met.per_class, &met.streams[..], &met.samples[..]), (PER_CLASS, &STREAMS[..], &[(12, 88); 4][..]));
        assert_eq!(met.methods.iter().map(|method| method.key.as_str()).collect::<Vec<_>>(), KEYS);
        let nothing: fn(&mut Layers) = |_| ();
        for (method, prepare) in [(0, nothing), (2, head_alone)] {
            for (step, found) in &met.methods[method].grid {
                let expected = by_core(&unseen, with_step(*step, recipe), prepare);
                assert_eq!(found.by_seed, expected, "{}, step size {step}", KEYS[method]);
            }
        }
        assert_ne!(met.methods[0].grid, met.methods[2].grid, "the first layer does something");
        let people =
            unseen.iter().flat_map(|(checkpoint, people)| people.iter().map(move |person| (checkpoint, person)));
        let before = people.map(|(checkpoint, (_, all))| {
            let words = checkpoint.words();
            let mut network = start(trained(checkpoint).unwrap(), RECIPE, &words).unwrap();
            mean(&STREAMS.map(|seed| {
                share(&introduced(all, seed).1, |input, label| network.predict(input).unwrap().class == label)
            }))
        });
        assert_eq!(met.before.by_seed, before.collect::<Vec<_>>());
    }
}

#[test]
fn a_session_that_is_worse_on_held_out_samples_is_rolled_back() {
    // Steps of ten radii destroy a network. With held-out samples this is seen, and nobody is worse off.
    let unseen = people();
    let spoilt = |recipe| mean(&by_core(&unseen, with_step(10.0, recipe), |_| ()));
    let free = Recipe { rule: Recipe::FREE.rule, cap: None, ..RECIPE };
    let held_out = Recipe { hold_out: Some(HoldOut { every: 2, keep: 12 }), ..free };
    let before = meet(&unseen, RECIPE).before.mean;
    assert!(spoilt(free) < before - 0.2, "{} {before}", spoilt(free));
    assert!(spoilt(held_out) > before - 0.1, "{} {before}", spoilt(held_out));
}

#[test]
fn a_persons_step_size_is_the_best_for_the_others() {
    let met = meet(&people(), RECIPE);
    for GroupMethod { key, step_size: step, step_sizes: steps, accuracy, grid, .. } in &met.methods {
        let best = |counts: &dyn Fn(usize) -> bool| {
            let score = |spread: &[f32]| {
                let counted: Vec<_> =
                    (0..4).filter(|person| counts(*person)).map(|person| f64::from(spread[person])).collect();
                counted.iter().sum::<f64>() / counted.len() as f64
            };
            grid.iter().map(|(_, spread)| score(&spread.by_seed)).fold(0.0, f64::max)
        };
        assert_eq!(steps.len(), 4);
        for (person, step) in steps.iter().enumerate() {
            let chosen = &grid.iter().find(|row| row.0 == *step).expect("one of the grid").1;
            assert_eq!(accuracy.by_seed[person], chosen.by_seed[person], "{key}");
            let others: f32 = (0..4).filter(|other| *other != person).map(|other| chosen.by_seed[other]).sum();
            assert!((f64::from(others) / 3.0 - best(&|other| other != person)).abs() < 1e-6, "{key}, person {person}");
        }
        let all = &grid.iter().find(|row| row.0 == *step).expect("one of the grid").1;
        assert!((f64::from(all.mean) - best(&|_| true)).abs() < 1e-6, "{key}");
    }
    // Each person's own samples would have chosen otherwise.
    assert!(met.methods.iter().any(|method| method.step_sizes.iter().any(|step| *step != method.step_size)));
}

#[test]
fn a_movement_budget_ends_the_learning_and_not_the_rehearsal() {
    let unseen = people();
    let met = meet(&unseen, Recipe { budget: Some(1e-6), ..RECIPE });
    for (step, found) in &met.methods[0].grid {
        assert_eq!(found.by_seed, met.before.by_seed, "step size {step}");
    }
}

#[test]
fn people_without_others_or_without_samples_are_refused() {
    let refused = |unseen: &[Unseen]| {
        let groups = Groups { unseen, per_class: 2, streams: vec![1], wrong_labels: 0.0, recipe: RECIPE };
        groups.run(&|_, _| ()).unwrap_err().to_string()
    };
    let mut unseen = people();
    unseen.truncate(1);
    unseen[0].1.truncate(1);
    assert!(refused(&unseen).contains("at least two groups"));
    let mut single = Samples::new(6);
    (0..4).for_each(|class| single.push(&[0.5; 6], class));
    unseen[0].1.push(("Eve".into(), single));
    assert!(refused(&unseen).contains("\"Eve\""));
}

/// Checks activities of people with a phone in their pocket (Kwapisz, Weiss and Moore 2010). Training left nine of them
/// out.
#[test]
fn nine_real_people_are_better_served_after_five_samples_an_activity() {
    let path = crate::common::root().join("../shared/data/wisdm/WISDM_ar_v1.1_transformed.arff");
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    let about = serde_json::json!({
        "model": { "mlp": { "hidden": [32] } },
        "shape": { "features": { "shape": [43], "classes": 6 } },
        "data": { "arff": { "path": path, "label": "45", "group": "1", "ignore": ["0"] } },
        "split": { "group": { "test": ["4", "8", "12", "16", "20", "24", "28", "32", "36"] } },
        "normalisation": null,
        "classes": [],
    });
    let keys = |key: &str| about[key].clone();
    let source: Source = serde_json::from_value(keys("data")).unwrap();
    let split: Split = serde_json::from_value(keys("split")).unwrap();
    let Dataset::Labelled(labelled) = source.load(&split, &Normalise::Features).unwrap() else { panic!() };
    let mut about = about.clone();
    about["normalisation"] = serde_json::to_value(&labelled.normalisation).unwrap();
    about["classes"] = serde_json::to_value(&labelled.legend.classes).unwrap();
    let about: About = serde_json::from_value(about).unwrap();
    let first = checkpoint(&[43, 32, 6], 1);
    let untaught = with_weights(about, first.weights().map(<[f32]>::to_vec).collect());
    let recipe = Recipe { batch: 8, replay: 128, ..RECIPE };
    let checkpoint = taught(untaught, &labelled.train.arrive(2000, 1), recipe);
    let unseen = checkpoint.about.unseen(None).unwrap();
    assert_eq!(
        unseen.iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(),
        [60, 168, 168, 102, 273, 131, 107, 171, 163]
    );
    let unseen = &[(checkpoint, unseen)];
    let met = Groups { unseen, per_class: 5, streams: vec![1], wrong_labels: 0.0, recipe }.run(&|_, _| ()).unwrap();
    let (before, after) = (met.before.mean, met.methods[0].accuracy.mean);
    assert!(after > before + 0.03, "{before} {after}");
}
