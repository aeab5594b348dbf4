//! A rehearsal: its own method is core's, its controls are the published ones.

use crate::common::{checkpoint, layers, samples, with_weights};
use graftage::adaptation::{start, start_sessions, trained};
use graftage::checkpoint::{About, Checkpoint};
use graftage::data::{AgedSensor, Dataset, Normalise, Samples, Source, Split};
use graftage::network::{Layers, Update};
use graftage::rehearse::{Adam, Drifts, Groups, Sgd, Unseen};
use graftage::report::{GroupMethod, GroupRehearsal, Rehearsal};
use graftage_core::adapt::{HoldOut, Recipe};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Layer, Parameter};
use graftage_core::random::Generator;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;

const STEP: f32 = 0.03;
const RULE: Rule = Rule { step: STEP, momentum: Momentum::Constant(0.0), ..Rule::PLAIN };

/// Twelve steps from these gradients, one parameter after another; the weights after each.
fn run(update: impl FnOnce(&mut Layers) -> Box<dyn Update>, start: &[f32], gradients: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut network = Layers::new(&layers(&[3, 2])).unwrap();
    let mut numbers = start.iter();
    network.parameters(&mut |Parameter { mut state, .. }| {
        state.x.elements_mut().iter_mut().zip(&mut numbers).for_each(|(x, w)| *x = *w);
    });
    let mut update = update(&mut network);
    let step = |gradient: &Vec<f32>| {
        let mut numbers = gradient.iter();
        network.parameters(&mut |Parameter { mut state, .. }| {
            state.m.elements_mut().iter_mut().zip(&mut numbers).for_each(|(m, g)| *m = *g);
        });
        let mut index = 0..;
        network.parameters(&mut |parameter| update.advance(index.next().unwrap(), parameter, &RULE, 1));
        let mut after = Vec::new();
        network.parameters(&mut |Parameter { state, .. }| {
            assert_eq!(state.y.elements(), state.x.elements(), "gradients are taken at X");
            after.extend_from_slice(state.x.elements());
        });
        after
    };
    gradients.iter().map(step).collect()
}

/// Eight numbers of sizes from 10⁻³ to 10³.
fn numbers(generator: &mut Generator) -> Vec<f32> {
    (0..8).map(|_| (2.0 * generator.uniform() - 1.0) * 10f32.powi(generator.below(7) as i32 - 3)).collect()
}

/// One weight in binary64: each gradient to the weight after it.
type Oracle = Box<dyn FnMut(f64) -> f64>;

fn agrees(update: fn(&mut Layers) -> Box<dyn Update>, oracle: fn(f64) -> Oracle) {
    let mut generator = Generator::new(6, 0);
    let first = numbers(&mut generator);
    let gradients: Vec<_> = (0..12).map(|_| numbers(&mut generator)).collect();
    let mut oracles: Vec<_> = first.iter().map(|x| oracle(f64::from(*x))).collect();
    for (t, (gradient, found)) in gradients.iter().zip(run(update, &first, &gradients)).enumerate() {
        for ((g, x), oracle) in gradient.iter().zip(found).zip(&mut oracles) {
            let expected = oracle(f64::from(*g));
            let error = (f64::from(x) - expected).abs();
            assert!(error <= 1e-4 * expected.abs().max(0.01), "step {}: {x}, {expected} expected", t + 1);
        }
    }
}

/// V ← 0.9·V + G, X ← X − ηV.
#[test]
fn sgd_is_polyaks_heavy_ball() {
    agrees(
        |network| Box::new(Sgd::new(network)),
        |start| {
            let (mut x, mut v) = (start, 0.0);
            Box::new(move |g| {
                v = 0.9 * v + g;
                x -= f64::from(STEP) * v;
                x
            })
        },
    );
}

/// Algorithm 1 of Kingma and Ba 2015, with its recommended constants.
#[test]
fn adam_is_kingmas_and_bas() {
    agrees(
        |network| Box::new(Adam::new(network)),
        |start| {
            let (mut x, mut m, mut v, mut t) = (start, 0.0, 0.0, 0);
            Box::new(move |g| {
                t += 1;
                m = 0.9 * m + (1.0 - 0.9) * g;
                v = 0.999 * v + (1.0 - 0.999) * g * g;
                let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                x -= f64::from(STEP) * m_hat / (v_hat.sqrt() + 1e-8);
                x
            })
        },
    );
}

const RECIPE: Recipe = Recipe { batch: 4, steps: 2, replay: 16, seed: 1, ..Recipe::DEFAULT };
const SAMPLES: usize = 25;

/// A small network that has learnt its samples a little, with them.
fn story() -> (Checkpoint, Samples, Samples) {
    let (train, test) = samples(160, 6, 4).split(60, 0).unwrap();
    (taught(checkpoint(&[6, 8, 4], 60), &train, RECIPE), train, test)
}

/// A checkpoint after these samples.
fn taught(checkpoint: Checkpoint, train: &Samples, recipe: Recipe) -> Checkpoint {
    let mut teacher = start(trained(&checkpoint).unwrap(), recipe).unwrap();
    for (input, label) in train.iter() {
        teacher.learn(input, label, |_| ()).unwrap();
    }
    let mut weights = Vec::new();
    teacher.network_mut().parameters(&mut |Parameter { state, .. }| weights.push(state.x.elements().to_vec()));
    with_weights(checkpoint.about, weights)
}

fn rehearse((checkpoint, train, test): &(Checkpoint, Samples, Samples), recipe: Recipe) -> Rehearsal {
    let (tune, report) = (vec![11, 12], vec![1, 2, 3]);
    Drifts { checkpoint, train, test, samples: SAMPLES, recipe, tune, report }.run(&|_, _| ()).unwrap()
}

/// The share of the test samples that an adaptation predicts rightly after a stream, by core alone.
fn accuracy((checkpoint, train, test): &(Checkpoint, Samples, Samples), rule: Rule, seed: u64, learn: usize) -> f32 {
    let mut adaptation = start(trained(checkpoint).unwrap(), Recipe { rule, ..RECIPE }).unwrap();
    let sensor = AgedSensor::draw(6, seed);
    for (input, label) in train.arrive(SAMPLES, seed).aged(&sensor).iter().take(learn) {
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
        let rule = |step| Rule { step, transport: Transport::Fixed { theta }, ..RECIPE.rule };
        for (step, found) in &method.grid {
            let expected = [11, 12].map(|seed| accuracy(&story, rule(*step), seed, SAMPLES));
            assert_eq!(*found, mean(&expected), "{key}, step size {step}");
        }
        let expected = [1, 2, 3].map(|seed| accuracy(&story, rule(method.step), seed, SAMPLES));
        assert_eq!(method.accuracy.by_seed, expected, "{key}");
        for (learnt, found) in &method.curve {
            let expected = [1, 2, 3].map(|seed| accuracy(&story, rule(method.step), seed, *learnt));
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
        let chosen = method.grid.iter().find(|(step, _)| *step == method.step).expect("one of the grid").1;
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

// ---- people ----

const STREAMS: [u64; 2] = [5, 6];
const PER_CLASS: usize = 3;

/// A network that knows the samples as they are, and four people, each with a distortion of its own: two of one checkpoint, two
/// of another.
fn people() -> Vec<Unseen> {
    let (checkpoint, train, test) = story();
    let person = |name: &str, seed| (name.to_owned(), test.aged(&AgedSensor::draw(6, seed)));
    let more = taught(checkpoint.clone(), &train, RECIPE);
    vec![(checkpoint, vec![person("Ann", 1), person("Ben", 2)]), (more, vec![person("Cem", 3), person("Dia", 4)])]
}

fn meet(unseen: &[Unseen], recipe: Recipe) -> GroupRehearsal {
    Groups { unseen, per_class: PER_CLASS, streams: STREAMS.into(), recipe }.run(&|_, _| ()).unwrap()
}

/// The first samples of each class in the order in which all would arrive, and the others.
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

/// The accuracy of each person, the mean over the streams, by core's sessions alone.
fn by_core(unseen: &[Unseen], recipe: Recipe, prepare: fn(&mut Layers)) -> Vec<f32> {
    let people =
        unseen.iter().flat_map(|(checkpoint, people)| people.iter().map(move |person| (checkpoint, &person.1)));
    let accuracy = |(checkpoint, all): (&Checkpoint, &Samples)| {
        mean(&STREAMS.map(|seed| {
            let (stream, test) = introduced(all, seed);
            let mut network = trained(checkpoint).unwrap();
            prepare(&mut network);
            let mut session = start_sessions(network, recipe).unwrap();
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
    Recipe { rule: Rule { step, ..recipe.rule }, ..recipe }
}

fn freeze_first(network: &mut Layers) {
    let mut parameter = 0;
    network.parameters(&mut |found| {
        if parameter < 2 {
            found.geometry.radius = 0.0;
        }
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
        for (method, prepare) in [(0, nothing), (2, freeze_first)] {
            for (step, found) in &met.methods[method].grid {
                let expected = by_core(&unseen, with_step(*step, recipe), prepare);
                assert_eq!(found.by_seed, expected, "{}, step size {step}", KEYS[method]);
            }
        }
        assert_ne!(met.methods[0].grid, met.methods[2].grid, "the first layer does something");
        let people =
            unseen.iter().flat_map(|(checkpoint, people)| people.iter().map(move |person| (checkpoint, person)));
        let before = people.map(|(checkpoint, (_, all))| {
            let mut network = start(trained(checkpoint).unwrap(), RECIPE).unwrap();
            mean(&STREAMS.map(|seed| {
                share(&introduced(all, seed).1, |input, label| network.predict(input).unwrap().class == label)
            }))
        });
        assert_eq!(met.before.by_seed, before.collect::<Vec<_>>());
    }
}

#[test]
fn what_is_worse_on_held_out_samples_is_rolled_back() {
    // Steps of ten radii destroy a network; where that is seen, nobody is worse off.
    let unseen = people();
    let spoilt = |recipe| mean(&by_core(&unseen, with_step(10.0, recipe), |_| ()));
    let held_out = Recipe { hold_out: Some(HoldOut { every: 2, keep: 12 }), ..RECIPE };
    let before = meet(&unseen, RECIPE).before.mean;
    assert!(spoilt(RECIPE) < before - 0.2, "{} {before}", spoilt(RECIPE));
    assert!(spoilt(held_out) > before - 0.1, "{} {before}", spoilt(held_out));
}

#[test]
fn a_persons_step_size_is_the_best_for_the_others() {
    let met = meet(&people(), RECIPE);
    for GroupMethod { key, step, steps, accuracy, grid, .. } in &met.methods {
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
    // Somebody's own samples would have chosen otherwise.
    assert!(met.methods.iter().any(|method| method.steps.iter().any(|step| *step != method.step)));
}

#[test]
fn a_drift_budget_ends_the_learning_and_not_the_rehearsal() {
    let unseen = people();
    let met = meet(&unseen, Recipe { budget: Some(1e-6), ..RECIPE });
    for (step, found) in &met.methods[0].grid {
        assert_eq!(found.by_seed, met.before.by_seed, "step size {step}");
    }
}

#[test]
fn people_without_others_or_without_samples_are_refused() {
    let refused = |unseen: &[Unseen]| {
        let groups = Groups { unseen, per_class: 2, streams: vec![1], recipe: RECIPE };
        groups.run(&|_, _| ()).unwrap_err().to_string()
    };
    let mut unseen = people();
    unseen.truncate(1);
    unseen[0].1.truncate(1);
    assert!(refused(&unseen).contains("two or more"));
    let mut single = Samples::new(6);
    (0..4).for_each(|class| single.push(&[0.5; 6], class));
    unseen[0].1.push(("Eve".into(), single));
    assert!(refused(&unseen).contains("\"Eve\""));
}

/// Activities of people in a pocket's phone (Kwapisz, Weiss and Moore 2010); nine of them were never met.
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
    let met =
        Groups { unseen: &[(checkpoint, unseen)], per_class: 5, streams: vec![1], recipe }.run(&|_, _| ()).unwrap();
    let (before, after) = (met.before.mean, met.methods[0].accuracy.mean);
    assert!(after > before + 0.03, "{before} {after}");
}
