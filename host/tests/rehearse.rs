//! A rehearsal: its own method is core's, its controls are the published ones.

mod common;

use common::{checkpoint, layers, samples};
use graftage::adaptation::{start, trained};
use graftage::checkpoint::Checkpoint;
use graftage::data::{AgedSensor, Samples};
use graftage::network::{Layers, Update};
use graftage::rehearse::{Adam, Rehearse, Sgd};
use graftage::report::Rehearsal;
use graftage_core::adapt::Recipe;
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Layer, Parameter};
use graftage_core::random::Generator;
use graftage_core::schedule::Momentum;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;

const STEP: f32 = 0.03;
const RULE: Rule = Rule { step: STEP, momentum: Momentum::Constant(0.0), ..Rule::DEFAULT };

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
        update.advance(&mut network, &RULE, 1);
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
    let mut checkpoint = checkpoint(&[6, 8, 4], 60);
    let (train, test) = samples(160, 6, 4).split(60, 0).unwrap();
    let mut teacher = start(trained(&checkpoint).unwrap(), RECIPE).unwrap();
    for (input, label) in train.iter() {
        teacher.learn(input, label, |_| ()).unwrap();
    }
    let mut weights = Vec::new();
    teacher.network_mut().parameters(&mut |Parameter { state, .. }| weights.push(state.x.elements().to_vec()));
    for (tensor, weights) in checkpoint.tensors.iter_mut().zip(weights) {
        tensor.2 = weights;
    }
    (checkpoint, train, test)
}

fn rehearse((checkpoint, train, test): &(Checkpoint, Samples, Samples), recipe: Recipe) -> Rehearsal {
    let (tune, report) = (vec![11, 12], vec![1, 2, 3]);
    Rehearse { checkpoint, train, test, samples: SAMPLES, recipe, tune, report }.run(&|_, _| ()).unwrap()
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
    for (method, theta, key) in [(0, 0.5, "transported_scion"), (1, 0.0, "scion")] {
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
    assert_eq!(keys, ["transported_scion", "scion", "sgd_momentum", "adam", "from_scratch"]);
    for method in &rehearsal.methods {
        let chosen = method.grid.iter().find(|(step, _)| *step == method.step).expect("one of the grid").1;
        assert!(method.grid.iter().all(|(_, accuracy)| *accuracy <= chosen), "{}", method.key);
        assert!(method.grid.windows(2).all(|pair| pair[1].0 == 2.0 * pair[0].0), "{}", method.key);
        let Spreads { mean, deviation } = spread(&method.accuracy.by_seed);
        assert!((method.accuracy.mean - mean).abs() < 1e-6 && (method.accuracy.deviation - deviation).abs() < 1e-6);
    }
}

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
