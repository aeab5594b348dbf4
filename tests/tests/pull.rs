//! Tests of the pull and the cap: their proved properties, in float64 and in core itself, and the promises to a device.

mod common;
mod oracle;

use common::{LAWS, NORMS, PULLS, advance, exact, fixed, pull, started};
use graftage_core::adapt::{Adaptation, HoldOut, Recipe, Ring};
use graftage_core::arithmetic::Functions;
use graftage_core::chain;
use graftage_core::error::{Field, ImageError, Refusal};
use graftage_core::image::{self, Header, Image};
use graftage_core::matrix::{FixedMatrix, RowMajor};
use graftage_core::network::{Class, Dense, Fixed, Goal, Kind, Layer, Parameter, Relu, Weight, initialise};
use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Geometry, Pull, Rule, Scion};
use graftage_core::session::Session;
use graftage_core::snapshot;
use graftage_core::transport::{Alignment, Transport};
use nalgebra::DMatrix;
use oracle::layers::{capped, gradient};
use oracle::{Law, Random, Worst, bits, lanes, rounded, tolerance};

const RADIUS: f64 = 2.5;
/// η and β of all rules here.
const STEP: f64 = 0.05f32 as f64;
const BETA: f64 = 0.8f32 as f64;
const RULE: Rule = Rule { step_size: 0.05, momentum: Momentum::Constant(0.8), ..Rule::PLAIN };

/// Returns the method in float64 with the given pull.
fn method(x: &DMatrix<f64>, norm: oracle::Norm, law: Law, (pull, anchor): (f64, DMatrix<f64>)) -> oracle::Scion {
    let zeros = 0.0 * x;
    oracle::Scion {
        norm,
        radius: RADIUS,
        step: |_| STEP,
        momentum: |_| BETA,
        law,
        pull,
        anchor,
        t: 1,
        x: x.clone(),
        d: zeros.clone(),
        m: zeros,
        z: x.clone(),
        cosines: Vec::new(),
    }
}

/// Parameter that core updates.
struct Core<const M: usize, const N: usize> {
    state: Scion<FixedMatrix<M, N>>,
    start: FixedMatrix<M, N>,
    geometry: Geometry,
    rule: Rule,
    alignment: Alignment<f32>,
    t: u64,
}

impl<const M: usize, const N: usize> Core<M, N> {
    fn new(x: &[f32], norm: Norm, rule: Rule) -> Self {
        let state = started(x);
        let geometry = Geometry { norm, radius: RADIUS as f32 };
        Self { start: state.x, state, geometry, rule, alignment: Alignment::START, t: 1 }
    }
    /// Returns the point at which gradients are taken.
    fn query(&self) -> DMatrix<f64> {
        exact(if self.rule.transport == Transport::Nesterov { &self.state.x } else { &self.state.y })
    }
    fn advance(&mut self, gradient: &DMatrix<f64>) {
        self.state.accumulate(self.rule.keep(self.t), self.rule.weight(self.t, 1), &fixed(&rounded(gradient)));
        self.move_on();
    }
    /// Takes a step with the present M.
    fn move_on(&mut self) {
        let Self { state, start, geometry, rule, alignment, t } = self;
        advance(state, *geometry, rule, *t, start, alignment);
        *t += 1;
    }
}

#[test]
fn a_pull_to_the_start_is_a_pull_to_zero_of_the_distance_from_it() {
    let (mut in_float64, mut in_core) = (Worst::default(), Worst::default());
    for ((norm, exact_norm), (transport, law)) in NORMS.into_iter().flat_map(|norm| LAWS.map(|law| (norm, law))) {
        for strength in [0.3f32, 1.0, 2.0] {
            let mut random = Random::new(1);
            let start = random.vector(12);
            let (target, x) = (random.matrix(3, 4), oracle::real((3, 4), &start));
            let zeros = 0.0 * &x;
            let mut near = method(&x, exact_norm, law, (strength.into(), x.clone()));
            let mut moved = method(&zeros, exact_norm, law, (strength.into(), zeros.clone()));
            let rule = |pull| Rule { transport, pull, ..RULE };
            let mut core_near: Core<3, 4> = Core::new(&start, norm, rule(Pull::Start { strength }));
            let mut core_moved: Core<3, 4> = Core::new(&[0.0; 12], norm, rule(Pull::Zero { strength }));
            for _ in 0..50 {
                // Gradients of f and of f(X₀ + ·), with the same noise.
                let noise = random.matrix(3, 4) - &target;
                near.advance(&(near.y() + &noise));
                moved.advance(&(moved.y() + &x + &noise));
                core_near.advance(&(core_near.query() + &noise));
                core_moved.advance(&(core_moved.query() + &x + &noise));
                in_float64.see((&near.x - &x - &moved.x).amax());
                let distance = exact(&core_near.state.x) - &x - exact(&core_moved.state.x);
                in_core.see(distance.amax() / (RADIUS * f64::from(norm.factor((3, 4)))));
            }
        }
    }
    in_float64.at_most("moved to zero, in float64", tolerance::PROVED);
    in_core.at_most("moved to zero, in core", tolerance::TRAJECTORY);
}

#[test]
fn the_distance_from_the_start_is_bounded_by_the_pulls_so_far_and_a_constant_direction_reaches_that() {
    let (mut beyond, mut reached) = (Worst::default(), Worst::default());
    let schedule = Schedule::Linear { steps: 200 };
    for ((norm, exact_norm), (transport, law)) in NORMS.into_iter().flat_map(|norm| LAWS.map(|law| (norm, law))) {
        for (strength, pushed) in [(0.3f32, true), (1.0, false), (1.0, true), (2.0, true), (2.0, false)] {
            let mut random = Random::new(2);
            let start = random.vector(12);
            let (x, push) = (oracle::real((3, 4), &start), random.matrix(3, 4));
            let mut in_float64 = method(&x, exact_norm, law, (strength.into(), x.clone()));
            in_float64.step = |t| STEP * (1.0 - f64::from(t - 1) / 200.0);
            let pull = Pull::Start { strength };
            let mut core: Core<3, 4> = Core::new(&start, norm, Rule { transport, pull, schedule, ..RULE });
            let (mut rest, ball) = (1.0, RADIUS / f64::from(strength));
            for t in 1..=150 {
                rest *= 1.0 - f64::from(strength) * (in_float64.step)(t);
                let gradient = if pushed { push.clone() } else { 3.0 * random.matrix(3, 4) + &push };
                in_float64.advance(&gradient);
                core.advance(&gradient);
                for found in [&in_float64.x, &exact(&core.state.x)] {
                    let share = exact_norm.of(&(found - &x)) / (ball * (1.0 - rest));
                    beyond.see(share - 1.0);
                    if pushed {
                        reached.see((share - 1.0).abs());
                    }
                }
            }
        }
    }
    beyond.at_most("beyond the ball", tolerance::BALL);
    reached.at_most("a constant direction", tolerance::BALL);
}

#[test]
fn the_distance_from_the_start_is_the_sum_of_the_steps_less_what_pulls_took_back() {
    let mut worst = Worst::default();
    for ((_, norm), (_, law)) in NORMS.into_iter().flat_map(|norm| LAWS.map(|law| (norm, law))) {
        for strength in [0.3, 1.0, 2.0] {
            let mut random = Random::new(3);
            let (x, target) = (random.matrix(3, 4), random.matrix(3, 4));
            let mut method = method(&x, norm, law, (strength, x.clone()));
            let mut sum = 0.0 * &x;
            for t in 1..=60 {
                let gradient = method.y() - &target + random.matrix(3, 4);
                method.advance(&gradient);
                let beta = if t == 1 { 0.0 } else { BETA };
                let argument = match law {
                    Law::Nesterov => beta * &method.m + (1.0 - beta) * &gradient,
                    _ => method.m.clone(),
                };
                sum = (1.0 - strength * STEP) * sum + STEP * RADIUS * norm.lmo(&argument);
                worst.see((&method.x - &x - &sum).amax());
            }
        }
    }
    worst.at_most("sum of steps", tolerance::PROVED);
}

#[test]
fn with_full_transport_the_average_of_the_query_points_is_x_whatever_pulls() {
    let (mut in_float64, mut in_core) = (Worst::default(), Worst::default());
    for ((norm, exact_norm), towards) in NORMS.into_iter().flat_map(|norm| PULLS.map(|pull| (norm, pull))) {
        let mut random = Random::new(4);
        let start = random.vector(12);
        let (x, target) = (oracle::real((3, 4), &start), random.matrix(3, 4));
        let mut method = method(&x, exact_norm, Law::Fixed(1.0), pull(towards, &x));
        let transport = Transport::Fixed { theta: 1.0 };
        let mut core: Core<3, 4> = Core::new(&start, norm, Rule { transport, pull: towards, ..RULE });
        let [mut average, mut core_average] = [x.clone(), x.clone()];
        for t in 1..=100 {
            let beta = if t == 1 { 0.0 } else { BETA };
            average = beta * average + (1.0 - beta) * method.y();
            core_average = beta * core_average + (1.0 - beta) * core.query();
            in_float64.see((&average - &method.x).amax());
            in_core.see((&core_average - exact(&core.state.x)).amax() / RADIUS);
            let noise = random.matrix(3, 4) - &target;
            method.advance(&(method.y() + &noise));
            core.advance(&(core.query() + &noise));
        }
    }
    in_float64.at_most("average of query points, in float64", tolerance::PROVED);
    in_core.at_most("average of query points, in core", tolerance::AVERAGE);
}

/// Returns core's output errors for a class with weight 1.
fn errors(logits: &[f32], label: u32, cap: f32) -> Vec<f32> {
    let mut errors = vec![f32::NAN; logits.len()];
    Class(label).loss(Functions::Libm, logits, Weight { share: 1.0, cap }, &mut errors);
    errors
}

/// Returns the output errors in float64, from the equation of softmax.
fn exact_errors(logits: &[f64], label: usize) -> Vec<f64> {
    let total: f64 = logits.iter().map(|a| a.exp()).sum();
    logits.iter().enumerate().map(|(j, a)| a.exp() / total - f64::from(u8::from(j == label))).collect()
}

#[test]
fn the_capped_error_of_two_classes_is_the_gradient_of_a_loss_that_continues_as_a_line() {
    let (mut in_float64, mut in_core) = (Worst::default(), Worst::default());
    for cap in [0.2f32, 0.35, 0.5, 1.0, 1.3] {
        let (slope, logistic) = (f64::from(cap) / 2f64.sqrt(), |margin: f64| (-margin).exp().ln_1p());
        // Margin at which p_y = 1 − c/√2.
        let knee = ((1.0 - slope) / slope).ln();
        let loss = |a: &[f64]| {
            let margin = a[0] - a[1];
            if margin >= knee { logistic(margin) } else { logistic(knee) + slope * (knee - margin) }
        };
        let mut random = Random::new(5);
        for _ in 0..500 {
            let logits = random.vector(2).iter().map(|a| 6.0 * a).collect::<Vec<_>>();
            let exact = common::real(&logits);
            let expected = gradient(loss, &exact);
            let found = capped(&exact_errors(&exact, 0), cap.into());
            for ((expected, in_oracle), core) in expected.iter().zip(found).zip(errors(&logits, 0, cap)) {
                in_float64.see((expected - in_oracle).abs());
                in_core.see((expected - f64::from(core)).abs());
            }
        }
    }
    in_float64.at_most("errors of two classes, in float64", 4e-10);
    in_core.at_most("errors of two classes, in core", tolerance::GRADIENT);
}

/// Returns the largest difference between ∂e_i/∂a_j and ∂e_j/∂a_i.
fn asymmetry(logits: &[f64], cap: f64) -> f64 {
    let classes = logits.len();
    let error = |i: usize| gradient(|a| capped(&exact_errors(a, 0), cap)[i], logits);
    let jacobian: Vec<_> = (0..classes).map(error).collect();
    (0..classes).flat_map(|i| (0..i).map(move |j| (i, j))).fold(0.0, |worst: f64, (i, j)| {
        let apart: f64 = jacobian[i][j] - jacobian[j][i];
        worst.max(apart.abs())
    })
}

#[test]
fn the_capped_error_of_three_classes_is_the_gradient_of_no_loss() {
    let (mut random, mut capped, mut whole, mut of_two) = (Random::new(6), 0.0f64, 0.0f64, 0.0f64);
    for _ in 0..200 {
        let logits = [(); 3].map(|()| 3.0 * random.uniform());
        capped = capped.max(asymmetry(&logits, 0.35));
        whole = whole.max(asymmetry(&logits, 1.5));
        of_two = of_two.max(asymmetry(&logits[..2], 0.35));
    }
    println!("{capped} of three classes; {whole} without a cap, {of_two} of two classes");
    assert!(capped > 0.01);
    // Error of central differences, which is larger if a difference crosses the cap.
    assert!(whole < 1e-8 && of_two < 1e-4);
}

#[test]
fn a_capped_error_is_no_longer_than_the_cap_and_sums_up_to_nothing() {
    let (mut length, mut sum) = (Worst::default(), Worst::default());
    let mut random = Random::new(7);
    for classes in [1, 2, 3, 7, 8, 9, 10, 33] {
        for wide in [1.0f32, 10.0, 100.0] {
            for number in 0..100 {
                let logits = random.vector(classes).iter().map(|a| wide * a).collect::<Vec<_>>();
                let label = (number % classes) as u32;
                let free = errors(&logits, label, f32::INFINITY);
                for cap in [1.5, 2.0, f32::MAX] {
                    assert_eq!(bits(&errors(&logits, label, cap)), bits(&free), "a cap of {cap}");
                }
                for cap in [1e-6f32, 0.2, 0.35, 1.0] {
                    let found = common::real(&errors(&logits, label, cap));
                    length.see(found.iter().map(|e| e * e).sum::<f64>().sqrt() / f64::from(cap) - 1.0);
                    sum.see(found.iter().sum::<f64>().abs());
                    let own = free.iter().map(|e| f64::from(*e).powi(2)).sum::<f64>().sqrt();
                    if own < f64::from(cap) * 0.999 {
                        assert_eq!(bits(&errors(&logits, label, cap)), bits(&free), "shorter than {cap}");
                    }
                }
            }
        }
    }
    length.at_most("beyond the cap", tolerance::CAPPED);
    sum.at_most("sum of an error", tolerance::CAPPED);
}

#[test]
fn a_capped_error_has_the_bits_of_the_promised_order() {
    let mut random = Random::new(10);
    for classes in 1..40 {
        let logits = random.vector(classes).iter().map(|a| 5.0 * a).collect::<Vec<_>>();
        let free = errors(&logits, 0, f32::INFINITY);
        let (share, square) = (0.0125f32, lanes(&free.iter().map(|e| e * e).collect::<Vec<_>>()));
        // The last cap is the length itself, or next to it.
        for cap in [0.1, 0.35, 1.0, square.sqrt()] {
            let weight = if square > cap * cap { share * (cap / square.sqrt()) } else { share };
            let expected: Vec<_> = free.iter().map(|e| weight * e).collect();
            let mut found = vec![f32::NAN; classes];
            Class(0).loss(Functions::Libm, &logits, Weight { share, cap }, &mut found);
            assert_eq!(bits(&found), bits(&expected), "{classes} classes, a cap of {cap}");
        }
    }
}

#[test]
fn the_scale_of_the_momentum_changes_no_bit_of_a_step() {
    for norm in Norm::ALL {
        for (towards, (transport, _)) in PULLS.into_iter().flat_map(|pull| LAWS.map(|law| (pull, law))) {
            let mut random = Random::new(8);
            let (start, momenta) = (random.vector(65), random.vector(130));
            let stepped = |exponent: i32| {
                let scaled = momenta.iter().map(|e| (f64::from(*e) * 2f64.powi(exponent)) as f32).collect::<Vec<_>>();
                let mut core: Core<13, 5> = Core::new(&start, norm, Rule { transport, pull: towards, ..RULE });
                core.t = 2;
                core.state.m = fixed(&scaled[..65]);
                if transport == Transport::Nesterov {
                    core.state.y = fixed(&scaled[65..]);
                }
                core.move_on();
                let query = core.query();
                (bits(core.state.x.elements()), query)
            };
            let expected = stepped(0);
            for exponent in [-76, -80, 60] {
                assert_eq!(stepped(exponent), expected, "{norm:?}, {towards:?}, {transport:?}: 2^{exponent}");
            }
        }
    }
}

#[test]
fn a_start_without_a_direction_stays_to_the_bit() {
    for norm in Norm::ALL {
        for (strength, (transport, _)) in [0.3, 1.0, 2.0, 20.0].into_iter().flat_map(|s| LAWS.map(|law| (s, law))) {
            let start = Random::new(9).wide(12);
            let pull = Pull::Start { strength };
            let mut core: Core<3, 4> = Core::new(&start, norm, Rule { transport, pull, ..RULE });
            for _ in 0..50 {
                core.advance(&DMatrix::zeros(3, 4));
                assert_eq!(bits(core.state.x.elements()), bits(&start), "{norm:?}, {transport:?}, {strength}");
            }
        }
    }
}

type Network = chain![Dense<3, 6>, Relu<6>, Dense<6, 4>];
type Learner = Adaptation<'static, Network, Ring<3, 8>, [f32; Network::SCRATCH]>;
type Device<'i> = Session<'i, Network, Ring<3, 8>, [f32; Network::SCRATCH], [f32; Network::WEIGHTS], Ring<3, 6>>;

const RECIPE: Recipe = Recipe { batch: 4, replay: 8, seed: 5, ..Recipe::DEFAULT };

fn network() -> Network {
    let mut network = Network::ZERO;
    initialise(&mut network, &mut Generator::new(1, 0), &mut [0.0; Network::SCRATCH]);
    network
}

/// Returns the image of the network with this recipe.
fn image(recipe: Recipe) -> Vec<u8> {
    let layers =
        [Kind::Dense { inputs: 3, outputs: 6 }, Kind::Relu { width: 6 }, Kind::Dense { inputs: 6, outputs: 4 }];
    let mut network = network();
    let (mut weights, mut geometries) = (vec![], vec![]);
    network.parameters(&mut |Parameter { state, geometry, .. }| {
        weights.extend_from_slice(state.x.elements());
        geometries.push(*geometry);
    });
    let header = Header {
        schema: Network::SCHEMA,
        layers: layers.into_iter().collect(),
        geometries: geometries.into_iter().collect(),
        recipe,
        scale: 1.0,
        centred: false,
    };
    image::write(&header, weights, &mut [0; 1024]).unwrap().to_vec()
}

/// Returns X of every parameter in float64, its norm in the oracle, and its radius.
fn parameters(network: &Network) -> Vec<(DMatrix<f64>, oracle::Norm, f64)> {
    let mut all = Vec::new();
    network.clone().parameters(&mut |parameter| {
        let (_, norm) = NORMS.into_iter().find(|(norm, _)| *norm == parameter.geometry.norm).unwrap();
        let x = oracle::real(parameter.shape(), parameter.state.x.elements());
        all.push((x, norm, parameter.geometry.radius.into()));
    });
    all
}

/// Returns the largest distance between parameters of two networks, in radii.
fn distance(network: &Network, from: &Network) -> f64 {
    let pairs = parameters(network).into_iter().zip(parameters(from));
    pairs.map(|((x, norm, radius), (from, ..))| norm.of(&(x - from)) / radius).fold(0.0, f64::max)
}

/// Returns samples whose labels the network would not predict, so that it moves as far as it can.
fn mislabelled(seed: u64, length: usize) -> impl Iterator<Item = ([f32; 3], u32)> {
    let mut random = Random::new(seed);
    (0..length).map(move |_| {
        let label = random.below(4) as u32;
        let numbers = random.vector(3);
        ([label as f32 - 1.5, numbers[1], numbers[2]], 3 - label)
    })
}

#[test]
fn the_ball_is_around_the_image_through_roll_back_snapshot_and_start() {
    for (strength, step) in [(1.0f32, 0.05), (2.0, 0.1)] {
        let rule = Rule { step_size: step, pull: Pull::Start { strength }, ..RECIPE.rule };
        let recipe = Recipe { rule, hold_out: Some(HoldOut { every: 9, keep: 6 }), ..RECIPE };
        let bytes = image(recipe);
        let image = Image::parse(&bytes).unwrap();
        let of_image = network();
        let bound = 1.0001 / f64::from(strength);
        let fresh = || {
            let mut device: Device =
                Device::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new());
            image.load(Network::SCHEMA, device.network_mut()).unwrap();
            device.set_start(image.start());
            device
        };
        let mut device = fresh();
        device.start(recipe).unwrap();
        let mut farthest = 0.0f64;
        let learn = |device: &mut Device, seed, length, farthest: &mut f64| {
            for (input, label) in mislabelled(seed, length) {
                device.learn(&input, label, |_| ()).unwrap();
                let found = distance(device.adaptation().network(), &of_image);
                assert!(found <= bound, "{found} radii, and not {bound}");
                *farthest = farthest.max(found);
            }
        };
        learn(&mut device, 1, 200, &mut farthest);
        assert!(farthest > 0.9 * bound, "{farthest} radii");
        // A restored device continues in the same bits.
        let mut memory = vec![0; snapshot::length(Network::WEIGHTS, 3, 14)];
        let saved = snapshot::write(&mut device, Network::SCHEMA, &mut memory).unwrap();
        let mut restored = fresh();
        snapshot::restore(&mut restored, Network::SCHEMA, saved).unwrap();
        learn(&mut device, 2, 100, &mut farthest);
        learn(&mut restored, 2, 100, &mut farthest);
        assert_eq!(device.adaptation().digest(), restored.adaptation().digest());
        // After a commit, a rollback or a new start from its present weights, the device stays in the ball around the
        // image.
        let mut verdicts = [0, 0];
        for seed in 3..13 {
            let committed = device.end().committed;
            verdicts[usize::from(committed)] += 1;
            assert!(distance(device.adaptation().network(), &of_image) <= bound);
            // Correct labels in between make the sessions differ.
            for (input, label) in mislabelled(seed, 30) {
                device.learn(&input, if seed % 2 == 0 { label } else { 3 - label }, |_| ()).unwrap();
                assert!(distance(device.adaptation().network(), &of_image) <= bound);
            }
        }
        assert!(verdicts.iter().all(|count| *count > 0), "{verdicts:?}");
        device.start(recipe).unwrap();
        farthest = 0.0;
        learn(&mut device, 13, 200, &mut farthest);
        assert!(farthest > 0.9 * bound, "{farthest} radii");
        // Without the weights of its image, such a snapshot is refused.
        let mut stranger: Device =
            Device::new(Network::ZERO, Ring::new(), [0.0; Network::SCRATCH], [0.0; Network::WEIGHTS], Ring::new());
        let refused = Err(ImageError::Recipe(Refusal::Recipe(Field::Start)));
        assert_eq!(snapshot::restore(&mut stranger, Network::SCHEMA, saved), refused);
    }
}

#[test]
fn a_pull_that_all_parameters_share_takes_each_to_its_own_start() {
    // All parameters but one are frozen; the start weights of the others lie before and after its own.
    for own in 0..4 {
        let mut network = network();
        let mut at = 0;
        network.parameters(&mut |parameter| {
            if at != own {
                *parameter.geometry = Geometry::FROZEN;
            }
            at += 1;
        });
        let start = oracle::words(&common::state(&mut network)[0]);
        let x = parameters(&self::network());
        let rule = Rule { step_size: 0.5, pull: Pull::Start { strength: 2.0 }, ..Rule::PLAIN };
        // The weights begin far away and M is 0: with κ = 1, one step reaches the start.
        network.parameters(&mut |parameter| {
            let mut state = parameter.state;
            state.x.elements_mut().iter_mut().for_each(|e| *e += 64.0);
            state.m.elements_mut().fill(0.0);
        });
        network.advance(0..4, &rule, 1, &start, &mut [0.0; Network::SCRATCH]);
        let mut at = 0;
        network.parameters(&mut |parameter| {
            let found = oracle::real(parameter.shape(), parameter.state.x.elements());
            let far = (found - &x[at].0).amax();
            assert!(if at == own { far < 1e-5 } else { (far - 64.0).abs() < 1e-5 }, "{far} of {at}");
            at += 1;
        });
    }
}

#[test]
fn no_session_moves_further_than_it_tells() {
    for (pull, step) in [
        (Pull::None, 0.02),
        (Pull::Zero { strength: 1.0 }, 0.02),
        (Pull::Start { strength: 1.0 }, 0.02),
        (Pull::Start { strength: 2.0 }, 0.05),
    ] {
        let rule = Rule { step_size: step, pull, ..RECIPE.rule };
        let mut device = Learner::new(network(), Ring::new(), [0.0; Network::SCRATCH]);
        device.set_start(oracle::words(&common::state(&mut network())[0]).leak());
        device.start(Recipe { rule, ..RECIPE }).unwrap();
        // The radii are those of the ball around zero.
        let mut path = vec![network()];
        let (mut sum, mut told) = (0.0, vec![0.0]);
        for (number, (input, label)) in mislabelled(20, 120).enumerate() {
            // The labels are reversed halfway, so that weights go from one side to the other.
            let label = if number < 60 { label } else { 3 - label };
            let mut steps = 0;
            device.learn(&input, label, |_| steps += 1).unwrap();
            for t in device.step() - steps + 1..=device.step() {
                sum += rule.movement(t);
            }
            let expected = if sum < rule.reach() { sum } else { rule.reach() };
            assert_eq!(device.movement().to_bits(), expected.to_bits());
            told.push(device.movement().into());
            path.push(device.network().clone());
            let moved = path.iter().map(|from| distance(device.network(), from)).fold(0.0, f64::max);
            assert!(moved <= f64::from(device.movement()) * 1.0001, "{moved} of {}", device.movement());
        }
        let reach = f64::from(rule.reach());
        match pull {
            Pull::Start { strength } => {
                let exact = 2.0 / f64::from(strength);
                assert!(reach >= exact && reach < 1.001 * exact && told.last() == Some(&reach), "{reach}");
                // A budget beyond the reach is never exhausted.
                let mut device = device;
                device.start(Recipe { rule, budget: Some(1.001 * rule.reach()), ..RECIPE }).unwrap();
                assert!(mislabelled(21, 200).all(|(input, label)| device.learn(&input, label, |_| ()).is_ok()));
            }
            Pull::None | Pull::Zero { .. } => assert_eq!(reach, f64::INFINITY),
        }
    }
}

#[test]
fn a_cap_or_a_pull_that_cannot_be_is_refused_and_changes_nothing() {
    let mut device = Learner::new(network(), Ring::new(), [0.0; Network::SCRATCH]);
    device.start(Recipe { batch: 4, replay: 8, ..Recipe::FREE }).unwrap();
    for (input, label) in mislabelled(1, 5) {
        device.learn(&input, label, |_| ()).unwrap();
    }
    let words = oracle::words(&common::state(&mut network())[0]);
    let refused = |device: &mut Learner, recipe: Recipe, field| {
        let before = (device.digest(), device.position(), *device.recipe(), common::state_bits(device.network_mut()));
        assert_eq!(device.start(recipe), Err(Refusal::Recipe(field)), "{recipe:?}");
        let after = (device.digest(), device.position(), *device.recipe(), common::state_bits(device.network_mut()));
        assert_eq!(before, after);
    };
    // No start, or the start of another network.
    refused(&mut device, RECIPE, Field::Start);
    for length in [0, 1, Network::WEIGHTS - 1] {
        device.set_start(words[..length].to_vec().leak());
        refused(&mut device, RECIPE, Field::Start);
    }
    device.set_start([&words[..], &[[0; 4]]].concat().leak());
    refused(&mut device, RECIPE, Field::Start);
    device.set_start(words.leak());
    for strength in [0.0, -1.0, f32::NAN, f32::INFINITY, 1.0 / 0.015 + 0.1] {
        let pull = Pull::Start { strength };
        refused(&mut device, Recipe { rule: Rule { pull, ..RECIPE.rule }, ..RECIPE }, Field::Pull);
    }
    for cap in [0.0, -0.0, -0.35, f32::NEG_INFINITY, f32::NAN] {
        refused(&mut device, Recipe { cap: Some(cap), ..RECIPE }, Field::Cap);
    }
    for cap in [1e-45, f32::INFINITY] {
        assert_eq!(Recipe { cap: Some(cap), ..RECIPE }.check(8), Ok(()));
    }
    assert_eq!(device.start(RECIPE), Ok(()));
    // Rules without a pull, or with a pull to zero, need no start.
    let mut device = Learner::new(network(), Ring::new(), [0.0; Network::SCRATCH]);
    for pull in [Pull::None, Pull::Zero { strength: 1.0 }] {
        assert_eq!(device.start(Recipe { rule: Rule { pull, ..RECIPE.rule }, ..RECIPE }), Ok(()));
    }
}

#[test]
fn a_cap_beyond_the_longest_error_learns_in_the_bits_of_none() {
    let learnt = |cap| {
        let mut device = Learner::new(network(), Ring::new(), [0.0; Network::SCRATCH]);
        device.start(Recipe { batch: 4, replay: 8, cap, ..Recipe::FREE }).unwrap();
        mislabelled(2, 50).for_each(|(input, label)| assert!(device.learn(&input, label, |_| ()).is_ok()));
        device.digest()
    };
    let free = learnt(None);
    assert_eq!([1.5, f32::INFINITY].map(|cap| learnt(Some(cap))), [free; 2]);
    assert_ne!(learnt(Some(0.35)), free);
}
