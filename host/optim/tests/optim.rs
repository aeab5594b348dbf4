//! Tests that the optimizer on a tch model is core's recurrence.

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/numbers.rs"]
mod numbers;
#[path = "common/parameters.rs"]
mod parameters;

use graftage_core::error::{Field, Refusal};
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::norm::Norm;
use graftage_core::norm::{with_workspace, workspace};
use graftage_core::polar::Quintics;
use graftage_core::random::Generator;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Geometry, Point, Pull, Rule, Scion};
use graftage_core::transport::{Alignment, Transport};
use graftage_optim::method::Method;
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{Error, Group, Groups, TransportedScion, named};
use numbers::{ARITHMETICS, bits, elements, random, x};
use parameters::{PARAMETERS, gradients, linear_loss, model, model_on};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use tch::nn::OptimizerConfig;
use tch::{Device, Kind, Tensor, nn};

const FULL: Transport = Transport::Fixed { theta: 1.0 };

/// Usual geometries of [`PARAMETERS`].
const GEOMETRIES: [Geometry; 7] = [
    Geometry { norm: Norm::Rms, radius: 1.0 },
    Geometry { norm: Norm::Spectral, radius: 3.0 },
    Geometry { norm: Norm::Rms, radius: 1.0 },
    Geometry { norm: Norm::Spectral, radius: 3.0 },
    Geometry { norm: Norm::Convolution { taps: 3 }, radius: 3.0 },
    Geometry { norm: Norm::Sign, radius: 10.0 },
    Geometry { norm: Norm::Rms, radius: 1.0 },
];

/// Returns groups with one geometry for every parameter.
fn all(geometry: Geometry) -> Groups {
    Groups::only([Group::new("*").geometry(geometry)])
}

type State = Scion<Slab<Vec<f32>>>;

const START: Pull = Pull::Start { strength: 2.0 };

/// Returns weights as an image holds them.
fn words(tensor: &Tensor) -> Vec<[u8; 4]> {
    elements(tensor).iter().map(|e| e.to_le_bytes()).collect()
}

fn core_state(tensor: &Tensor, (m, n): (usize, usize)) -> State {
    let start = Slab::new(m, n, elements(tensor)).unwrap();
    Scion { x: start.clone(), y: start, m: Slab::new(m, n, vec![0.0; m * n]).unwrap() }
}

/// Takes step t of a parameter that started from these weights.
fn core_step(
    (state, start): (&mut State, &[[u8; 4]]),
    alignment: &mut Alignment<f32>,
    geometry: Geometry,
    rule: &Rule,
    t: u64,
    gradient: &Tensor,
) {
    let (m, n) = state.x.shape();
    let gradient = Slab::new(m, n, elements(gradient)).unwrap();
    state.accumulate(rule.keep(t), rule.weight(t, 1), &gradient);
    let mut memory = vec![0.0; workspace(m, n)];
    with_workspace((m, n), &mut memory, |work| {
        state.slabs().advance(geometry, rule, t, Some(start), alignment, work);
    })
    .unwrap();
}

/// Asserts equal bits in exact arithmetic, and closeness in fast.
fn assert_agrees(arithmetic: Arithmetic, what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        match arithmetic {
            Arithmetic::Exact => assert_eq!(found.to_bits(), expected.to_bits(), "{what}: {found:e}, {expected:e}"),
            // The tolerance is for weights up to 10.
            Arithmetic::Fast => assert!((found - expected).abs() < 1e-4, "{what}: {found:e}, {expected:e}"),
        }
    }
}

#[test]
fn steps_are_cores_recurrence() {
    cuda::devices().for_each(steps_are_cores_recurrence_on);
}

fn steps_are_cores_recurrence_on(device: Device) {
    for arithmetic in ARITHMETICS {
        let fast = Rule { step_size: 0.1, momentum: Momentum::Constant(0.8), ..Rule::PLAIN };
        for rule in [
            Rule { step_size: 0.05, ..Rule::PLAIN },
            Rule { transport: FULL, pull: Pull::Zero { strength: 1.0 }, ..fast },
            Rule { transport: FULL, pull: START, ..fast },
            Rule { transport: Transport::Fixed { theta: 0.0 }, pull: START, ..fast },
            Rule { transport: Transport::Lag { memory: 0.6 }, ..fast },
            Rule { transport: Transport::Alignment { damping: 1.5 }, ..fast },
            Rule { transport: Transport::Nesterov, ..fast },
        ] {
            let (store, parameters) = model_on(device, 1);
            let mut generator = Generator::new(2, 1);
            let mut optimizer = TransportedScion::new(&store, rule, arithmetic).unwrap();
            assert_eq!(optimizer.names().collect::<Vec<_>>(), PARAMETERS.map(|(name, ..)| name));
            let mut expected: Vec<_> =
                parameters.iter().zip(PARAMETERS).map(|(p, (_, _, shape))| core_state(p, shape)).collect();
            let starts: Vec<_> = parameters.iter().map(words).collect();
            let mut alignments = [const { Alignment::START }; PARAMETERS.len()];
            for t in 1..=8 {
                // The step size follows a schedule.
                let rule = Rule { step_size: rule.step_size / t as f32, ..rule };
                let gradients = gradients(&mut generator);
                optimizer.rule = rule;
                optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
                assert_eq!(optimizer.steps(), t);
                let state = optimizer.state().unwrap();
                for (i, (name, size, _)) in PARAMETERS.iter().enumerate() {
                    core_step(
                        (&mut expected[i], &starts[i]),
                        &mut alignments[i],
                        GEOMETRIES[i],
                        &rule,
                        t,
                        &gradients[i],
                    );
                    let array = |array: &str| {
                        let tensor = &state.iter().find(|(found, _)| *found == format!("{name}.{array}")).unwrap().1;
                        assert_eq!(tensor.size(), *size);
                        elements(tensor)
                    };
                    let what = |array: &str| format!("{array} of {name} after step {t}, {arithmetic}");
                    assert_agrees(arithmetic, &what("X"), &array("x"), expected[i].x.elements());
                    assert_agrees(arithmetic, &what("Y"), &array("y"), expected[i].y.elements());
                    assert_agrees(arithmetic, &what("M"), &array("m"), expected[i].m.elements());
                    assert_agrees(arithmetic, &what("x()"), &elements(&x(&optimizer)[i]), expected[i].x.elements());
                    // Nesterov's law takes gradients at X.
                    let query = if rule.point() == Point::Query { &expected[i].y } else { &expected[i].x };
                    assert_agrees(arithmetic, &what("the model"), &elements(&parameters[i]), query.elements());
                }
            }
        }
    }
}

#[test]
fn gradients_are_taken_at_y() {
    cuda::devices().for_each(gradients_are_taken_at_y_on);
}

fn gradients_are_taken_at_y_on(device: Device) {
    let rule = Rule { step_size: 0.05, transport: FULL, ..Rule::PLAIN };
    let (store, parameters) = model_on(device, 3);
    let mut optimizer = TransportedScion::new(&store, rule, Arithmetic::Exact).unwrap();
    let mut expected: Vec<_> =
        parameters.iter().zip(PARAMETERS).map(|(p, (_, _, shape))| core_state(p, shape)).collect();
    for t in 1..=6 {
        // The gradient of ½ Σ w² is the weights at which it is taken.
        let loss: Tensor = parameters.iter().map(|p| p.square().sum(Kind::Float) * 0.5).sum();
        optimizer.backward_step(&loss).unwrap();
        for (state, geometry) in expected.iter_mut().zip(GEOMETRIES) {
            let y = Tensor::from_slice(state.y.elements());
            core_step((state, &[]), &mut { Alignment::START }, geometry, &rule, t, &y);
        }
    }
    for ((found, model), expected) in x(&optimizer).iter().zip(&parameters).zip(&expected) {
        assert_agrees(Arithmetic::Exact, "X", &elements(found), expected.x.elements());
        assert_agrees(Arithmetic::Exact, "Y", &elements(model), expected.y.elements());
        assert_ne!(expected.x, expected.y);
    }
}

#[test]
fn evaluation_sees_x_and_puts_y_back() {
    cuda::devices().for_each(evaluation_sees_x_and_puts_y_back_on);
}

fn evaluation_sees_x_and_puts_y_back_on(device: Device) {
    let (store, parameters) = model_on(device, 4);
    let mut generator = Generator::new(5, 1);
    let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    for _ in 0..3 {
        optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
    }
    let (x, y) = (bits(&x(&optimizer)), bits(&parameters));
    assert_ne!(x, y);
    let seen = optimizer.evaluate(|| {
        assert!(!parameters[1].square().requires_grad(), "gradients are tracked");
        bits(&parameters)
    });
    assert_eq!(seen.unwrap(), x);
    assert_eq!(bits(&parameters), y);
    // The closure ends early, or panics.
    assert_eq!(optimizer.evaluate(|| None::<()>).unwrap(), None);
    assert_eq!(bits(&parameters), y);
    let panicked = catch_unwind(AssertUnwindSafe(|| optimizer.evaluate(|| panic!("of the closure"))));
    assert!(panicked.is_err());
    assert_eq!(bits(&parameters), y);
    assert!(parameters[1].square().requires_grad(), "gradients are no longer tracked");
}

#[test]
fn in_exact_arithmetic_a_gradient_that_is_not_finite_changes_nothing() {
    cuda::devices().for_each(in_exact_arithmetic_a_gradient_that_is_not_finite_changes_nothing_on);
}

fn in_exact_arithmetic_a_gradient_that_is_not_finite_changes_nothing_on(device: Device) {
    let arithmetic = Arithmetic::Exact;
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (store, parameters) = model_on(device, 6);
        let (twin_store, twin) = model_on(device, 6);
        let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, arithmetic).unwrap();
        let mut twin_optimizer = TransportedScion::new(&twin_store, Rule::PLAIN, arithmetic).unwrap();
        let mut generator = Generator::new(7, 1);
        for t in 0..4 {
            // `second` is in a stack with `first`, but not its first member.
            let poisoned = gradients(&mut Generator::new(8, 1));
            let _ = poisoned[3].get(5).get(3).fill_(poison);
            let refused = optimizer.backward_step(&linear_loss(&parameters, &poisoned));
            assert!(matches!(&refused, Err(Error::NotFinite { name }) if name == "second"), "{refused:?}");
            assert_eq!(optimizer.steps(), t);
            assert_eq!(bits(&parameters), bits(&twin));
            assert_eq!(bits(&x(&optimizer)), bits(&x(&twin_optimizer)));
            let gradients = gradients(&mut generator);
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            twin_optimizer.backward_step(&linear_loss(&twin, &gradients)).unwrap();
        }
        assert_eq!(bits(&parameters), bits(&twin));
    }
}

#[test]
fn in_fast_arithmetic_a_gradient_that_is_not_finite_leaves_its_parameter_and_is_told() {
    cuda::devices().for_each(in_fast_arithmetic_a_gradient_that_is_not_finite_leaves_its_parameter_and_is_told_on);
}

fn in_fast_arithmetic_a_gradient_that_is_not_finite_leaves_its_parameter_and_is_told_on(device: Device) {
    let laws = [FULL, Transport::Lag { memory: 0.5 }, Transport::Alignment { damping: 1.0 }, Transport::Nesterov];
    for transport in laws {
        // The last one is finite, but too large.
        for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2e36] {
            let rule = Rule { transport, ..Rule::PLAIN };
            let (store, parameters) = model_on(device, 6);
            let (twin_store, twin) = model_on(device, 6);
            let mut optimizer = TransportedScion::new(&store, rule, Arithmetic::Fast).unwrap();
            let mut twin_optimizer = TransportedScion::new(&twin_store, rule, Arithmetic::Fast).unwrap();
            let mut generator = Generator::new(7, 1);
            for _ in 0..3 {
                let gradients = gradients(&mut generator);
                optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
                twin_optimizer.backward_step(&linear_loss(&twin, &gradients)).unwrap();
            }
            assert_eq!(optimizer.refused().unwrap(), []);
            let before = bits(&parameters);
            let gradients = gradients(&mut generator);
            twin_optimizer.backward_step(&linear_loss(&twin, &gradients)).unwrap();
            // `second` is in a stack with `first`, but not its first member.
            let _ = gradients[3].get(5).get(3).fill_(poison);
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            let (after, expected) = (bits(&parameters), bits(&twin));
            for (index, (name, ..)) in PARAMETERS.iter().enumerate() {
                let expected = if index == 3 { &before[index] } else { &expected[index] };
                assert_eq!(&after[index], expected, "{name} under {transport:?} with {poison}");
            }
            assert_eq!(optimizer.refused().unwrap(), [("second".to_owned(), 1)]);
            assert_eq!(optimizer.refused().unwrap(), [], "it is told once");
        }
    }
}

#[test]
fn a_rule_that_goes_out_of_range_changes_nothing() {
    let (store, parameters) = model(6);
    let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    let before = bits(&parameters);
    optimizer.rule.step_size = -0.1;
    let refused = optimizer.backward_step(&linear_loss(&parameters, &parameters));
    assert!(matches!(refused, Err(Error::Rule(Refusal::Recipe(Field::Step)))), "{refused:?}");
    // A loss of many numbers has no gradient.
    optimizer.rule.step_size = 0.1;
    assert!(matches!(optimizer.backward_step(&parameters[1].square()), Err(Error::Torch(_))));
    assert_eq!((bits(&parameters), optimizer.steps()), (before, 0));
}

#[test]
fn at_a_step_size_of_zero_only_the_momentum_moves() {
    for arithmetic in ARITHMETICS {
        let (store, parameters) = model(21);
        let rule = Rule { transport: FULL, pull: START, ..Rule::PLAIN };
        let mut optimizer = TransportedScion::new(&store, rule, arithmetic).unwrap();
        let mut generator = Generator::new(22, 1);
        optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
        let momenta = |optimizer: &TransportedScion| -> Vec<Vec<u32>> {
            let state = optimizer.state().unwrap();
            bits(&state.into_iter().filter(|(name, _)| name.ends_with(".m")).map(|(_, m)| m).collect::<Vec<_>>())
        };
        let before = (bits(&x(&optimizer)), momenta(&optimizer));
        optimizer.rule.step_size = 0.0;
        optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
        assert_eq!(bits(&x(&optimizer)), before.0, "{arithmetic}");
        assert!(momenta(&optimizer).iter().zip(&before.1).all(|(after, before)| after != before), "{arithmetic}");
        for step_size in [-0.1, f32::NAN, f32::INFINITY] {
            optimizer.rule.step_size = step_size;
            assert!(matches!(optimizer.step(), Err(Error::Rule(_))), "{step_size}");
        }
        drop(optimizer);
        // A training that begins with it would never learn.
        let never = Rule { step_size: 0.0, ..rule };
        assert!(matches!(TransportedScion::new(&store, never, arithmetic).map(drop), Err(Error::Rule(_))));
    }
}

#[test]
fn a_restored_optimizer_goes_on_as_if_nothing_had_been() {
    cuda::devices().for_each(a_restored_optimizer_goes_on_as_if_nothing_had_been_on);
}

fn a_restored_optimizer_goes_on_as_if_nothing_had_been_on(device: Device) {
    let run = |optimizer: &mut TransportedScion, parameters: &[Tensor], generator: &mut Generator| {
        for _ in 0..3 {
            optimizer.backward_step(&linear_loss(parameters, &gradients(generator))).unwrap();
        }
    };
    let rule = Rule { pull: START, ..Rule::PLAIN };
    let (store, parameters) = model_on(device, 10);
    let mut optimizer = TransportedScion::new(&store, rule, Arithmetic::Fast).unwrap();
    let mut generator = Generator::new(11, 1);
    run(&mut optimizer, &parameters, &mut generator);
    let state = optimizer.state().unwrap();
    let (again_store, again) = model_on(device, 12);
    let mut restored = TransportedScion::new(&again_store, rule, Arithmetic::Fast).unwrap();
    // A state that is incomplete or of another model is refused and changes nothing.
    let before = bits(&again);
    let refused = restored.restore(&state[..state.len() - 1]);
    assert!(matches!(&refused, Err(Error::Parameter { name, .. }) if name == "offset.start"), "{refused:?}");
    let resized = state.iter().map(|(name, t)| (name.clone(), if name == "head.y" { t.tr() } else { t.copy() }));
    let refused = restored.restore(&resized.collect::<Vec<_>>());
    assert!(matches!(&refused, Err(Error::Parameter { name, .. }) if name == "head.y"), "{refused:?}");
    assert_eq!((bits(&again), restored.steps()), (before, 0));

    restored.restore(&state).unwrap();
    let mut continued = generator.clone();
    run(&mut optimizer, &parameters, &mut generator);
    run(&mut restored, &again, &mut continued);
    assert_eq!(restored.steps(), 6);
    assert_eq!(bits(&again), bits(&parameters));
    assert_eq!(bits(&x(&restored)), bits(&x(&optimizer)));
    // If nothing pulls to the start, the start is not needed.
    let with_start = restored.bytes();
    drop(restored);
    let mut free = TransportedScion::new(&again_store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    free.restore(&state).unwrap();
    assert_eq!((free.steps(), free.bytes() < with_start), (3, true));
}

#[test]
fn a_pull_to_the_start_keeps_weights_near_those_that_the_optimizer_was_given() {
    let rule = Rule { step_size: 0.1, pull: Pull::Start { strength: 4.0 }, transport: FULL, ..Rule::PLAIN };
    for arithmetic in ARITHMETICS {
        let (store, parameters) = model(19);
        let given: Vec<_> = parameters.iter().map(|tensor| tensor.detach().copy()).collect();
        let mut optimizer = TransportedScion::new(&store, rule, arithmetic).unwrap();
        let gradients = gradients(&mut Generator::new(20, 1));
        for _ in 0..60 {
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
        }
        for (((x, given), geometry), (name, _, (m, n))) in
            x(&optimizer).iter().zip(&given).zip(GEOMETRIES).zip(PARAMETERS)
        {
            let moved = Slab::new(m, n, elements(&(x - given))).unwrap();
            let radii = geometry.norm.of(&moved, &mut vec![0.0; m + n]).unwrap() / geometry.radius;
            // The direction is always the same: the weights move a quarter of a radius, up to the overshoot of the
            // polar iteration.
            assert!((0.24..0.25 * rule.quintics.overshoot() * 1.001).contains(&radii), "{name}, {arithmetic}: {radii}");
        }
    }
}

#[test]
fn a_tensor_that_cannot_be_stepped_is_named() {
    let make = |tensor: Tensor, geometry: Geometry| {
        let parameters = [("good".to_owned(), Tensor::zeros([2, 2], tch::kind::FLOAT_CPU)), ("bad".to_owned(), tensor)];
        TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, &all(geometry))
    };
    let float = |size: &[i64]| Tensor::zeros(size, tch::kind::FLOAT_CPU);
    assert!(make(float(&[2, 3]), Geometry::HIDDEN).is_ok());
    for (tensor, expected) in [
        (float(&[2, 0]), "has no elements: [2, 0]"),
        (
            float(&[2, 3]).to_kind(Kind::Double),
            "is of kind Double, but only Float and, for matrices, BFloat16 are supported",
        ),
        (
            float(&[2, 3]).to_kind(Kind::Half),
            "is of kind Half, but only Float and, for matrices, BFloat16 are supported",
        ),
    ] {
        let refused = make(tensor, Geometry::HIDDEN).map(|_| ());
        assert!(
            matches!(&refused, Err(Error::Parameter { name, what }) if name == "bad" && what == expected),
            "{refused:?}"
        );
    }
    let refused = make(float(&[2, 3]), Geometry { radius: -1.0, ..Geometry::HIDDEN }).map(|_| ());
    assert!(matches!(&refused, Err(Error::Parameter { name, .. }) if name == "good"), "{refused:?}");
    let (store, _) = model(1);
    let refused =
        TransportedScion::new(&store, Rule { momentum: Momentum::Constant(1.0), ..Rule::PLAIN }, Arithmetic::Fast)
            .map(|_| ());
    assert!(matches!(refused, Err(Error::Rule(Refusal::Recipe(Field::Momentum)))), "{refused:?}");
}

#[test]
fn a_frozen_parameter_stays() {
    let (store, parameters) = model(1);
    let _ = parameters[3].shallow_clone().set_requires_grad(false);
    let optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    assert_eq!(optimizer.names().collect::<Vec<_>>(), ["scalar", "first", "bias", "filter", "head", "offset"]);
}

/// Takes one step of a model of zeros with gradients of 1, in these groups. Returns how far each parameter's elements
/// moved.
fn moved(groups: &Groups, sizes: &[(&str, &[i64])]) -> Result<Vec<f32>, Error> {
    let parameters =
        sizes.iter().map(|(name, size)| ((*name).to_owned(), Tensor::zeros(*size, (Kind::Float, Device::Cpu))));
    let parameters: Vec<_> = parameters.collect();
    let rule = Rule { step_size: 0.5, transport: Transport::Fixed { theta: 0.0 }, ..Rule::PLAIN };
    let mut optimizer = TransportedScion::with_groups(
        parameters.iter().map(|(name, tensor)| (name.clone(), tensor.set_requires_grad(true))),
        rule,
        Arithmetic::Fast,
        groups,
    )?;
    let sum = parameters.iter().map(|(_, tensor)| tensor.sum(Kind::Float)).reduce(|a, b| a + b).unwrap();
    optimizer.backward_step(&sum)?;
    Ok(x(&optimizer).iter().map(|tensor| -f32::try_from(tensor.flatten(0, -1).get(0)).unwrap()).collect())
}

#[test]
fn a_group_says_norm_radius_and_step_of_what_fits_its_pattern_and_the_first_counts() {
    let sizes: &[(&str, &[i64])] =
        &[("a.weight", &[4, 9]), ("b.weight", &[4, 9]), ("b.bias", &[4]), ("c.weight", &[4, 9])];
    let sign = |radius| Geometry { norm: Norm::Sign, radius };
    let groups = Groups::overriding([
        Group { freeze: true, ..Group::new("c.*") },
        Group { step_factor: 3.0, ..Group::new("b.weight").geometry(sign(2.0)) },
        Group::new("*.weight").geometry(sign(18.0)),
    ]);
    // η·ρ·f·1: f is 1/9 for sign. For RMS with n = 4, f is 2, and each element of the direction is a half.
    let found = moved(&groups, sizes).unwrap();
    let expected = [0.5 * 18.0 / 9.0, 3.0 * 0.5 * 2.0 / 9.0, 0.5, 0.0];
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
}

#[test]
fn the_usual_geometry_follows_name_and_dimensions() {
    let parameters = PARAMETERS.map(|(name, size, _)| (name.to_owned(), Tensor::zeros(size, tch::kind::FLOAT_CPU)));
    let embedding = ("embedding.weight".to_owned(), Tensor::zeros([5, 3], tch::kind::FLOAT_CPU));
    let optimizer = TransportedScion::with_groups(
        [embedding].into_iter().chain(parameters),
        Rule::PLAIN,
        Arithmetic::Fast,
        &Groups::automatic(),
    )
    .unwrap();
    let table = optimizer.table();
    println!("{table}");
    let lines: Vec<_> = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let found = |name: &str| lines.iter().find(|line| line[0] == name).unwrap().join(" ");
    assert!(found("embedding.weight").ends_with("5×3 EmbeddingColumn 1 1 0"), "{table}");
    assert!(found("filter").contains("3×6 Convolution { taps: 3 } 3 1 "), "{table}");
    assert!(found("head").contains("3×6 Sign 10 1 "), "{table}");
    assert_eq!(found("first").split(' ').next_back(), found("second").split(' ').next_back(), "one stack");
    // X and M have 15 + 1 + 24 + 6 + 24 + 18 + 18 + 3 numbers each.
    assert_eq!(optimizer.bytes(), 2 * 4 * 109);
}

#[test]
fn gains_start_at_one_biases_at_zero_and_the_frozen_as_they_are() {
    let sizes = [("norm.weight", &[3][..]), ("a.gain", &[3]), ("bias", &[3]), ("frozen", &[2, 3]), ("head", &[2, 3])];
    let parameters = sizes.map(|(name, size)| (name.to_owned(), Tensor::full(size, 0.5, tch::kind::FLOAT_CPU)));
    let groups = Groups::overriding([Group { freeze: true, ..Group::new("frozen") }]);
    let mut optimizer = TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, &groups).unwrap();
    optimizer.initialise(1).unwrap();
    let x: Vec<_> = x(&optimizer).iter().map(elements).collect();
    assert_eq!(x[..4], [vec![1.0; 3], vec![1.0; 3], vec![0.0; 3], vec![0.5; 6]]);
    // With sign and radius 10, every element is ±10/3.
    assert!(x[4].iter().all(|e| (e.abs() - 10.0 / 3.0).abs() < 1e-6), "{:?}", x[4]);
}

#[test]
fn groups_that_do_not_fit_the_model_say_so() {
    let sizes: &[(&str, &[i64])] = &[("a.weight", &[4, 9]), ("a.bias", &[4])];
    let message = |groups: &Groups| moved(groups, sizes).unwrap_err().to_string();
    assert_eq!(
        message(&Groups::only([Group::new("*.weight")])),
        "parameter a.bias: no group matches it; add a last group \"*\" for all other parameters"
    );
    assert_eq!(
        message(&Groups::overriding([Group::new("encoder*")])),
        "the group \"encoder*\" matches no parameter; the parameters are a.weight, a.bias"
    );
    for step in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let message = message(&Groups::overriding([Group { step_factor: step, ..Group::new("*") }]));
        assert!(message.contains("a.weight") && message.contains("its step factor must be"), "{message}");
    }
}

#[test]
fn parts_of_a_batch_make_the_mean_over_its_samples_however_they_are_parted() {
    cuda::devices().for_each(parts_of_a_batch_make_the_mean_over_its_samples_however_they_are_parted_on);
}

fn parts_of_a_batch_make_the_mean_over_its_samples_however_they_are_parted_on(device: Device) {
    let inputs = random(&[12, 4], &mut Generator::new(5, 0)).to_device(device);
    let step = |parts: &[i64]| {
        let store = nn::VarStore::new(device);
        let layer =
            nn::linear(store.root(), 4, 3, nn::LinearConfig { ws_init: nn::Init::Const(0.5), ..Default::default() });
        store.trainable_variables().iter_mut().for_each(|tensor| drop(tch::no_grad(|| tensor.fill_(0.25))));
        let mut optimizer = TransportedScion::with_groups(
            named(&store),
            Rule::PLAIN,
            Arithmetic::Fast,
            &all(Geometry { norm: Norm::Frobenius, radius: 1.0 }),
        )
        .unwrap();
        let mut start = 0;
        for _ in 0..2 {
            for part in parts {
                let loss = inputs.narrow(0, start % 12, *part).apply(&layer).square().mean(Kind::Float);
                optimizer.accumulate(&loss, *part as usize).unwrap();
                start += part;
            }
            optimizer.step().unwrap();
        }
        x(&optimizer).iter().flat_map(elements).collect::<Vec<_>>()
    };
    let whole = step(&[12]);
    for parts in [&[5, 7][..], &[1, 1, 10], &[4, 4, 4]] {
        let found = step(parts);
        assert!(whole.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6), "{parts:?}: {found:?} {whole:?}");
    }
    let store = nn::VarStore::new(device);
    let layer = nn::linear(store.root(), 4, 3, Default::default());
    let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    let loss = inputs.apply(&layer).mean(Kind::Float);
    assert!(optimizer.accumulate(&loss, 0).unwrap_err().to_string().contains("at least one sample"));
}

#[test]
fn a_saved_optimizer_is_loaded_only_into_its_own_model() {
    cuda::devices().for_each(a_saved_optimizer_is_loaded_only_into_its_own_model_on);
}

fn a_saved_optimizer_is_loaded_only_into_its_own_model_on(device: Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let mut generator = Generator::new(8, 1);
    for transport in [Transport::Nesterov, Transport::Alignment { damping: 1.0 }, FULL] {
        let rule = Rule { transport, ..Rule::PLAIN };
        let make = || {
            let (store, parameters) = model_on(device, 3);
            (TransportedScion::new(&store, rule, Arithmetic::Fast).unwrap(), parameters)
        };
        let ((mut optimizer, parameters), (mut other, others)) = (make(), make());
        let before = [gradients(&mut generator), gradients(&mut generator)];
        before.iter().for_each(|g| optimizer.backward_step(&linear_loss(&parameters, g)).unwrap());
        optimizer.save(&path).unwrap();
        other.load(&path).unwrap();
        let after = gradients(&mut generator);
        optimizer.backward_step(&linear_loss(&parameters, &after)).unwrap();
        other.backward_step(&linear_loss(&others, &after)).unwrap();
        assert_eq!((bits(&others), bits(&x(&other))), (bits(&parameters), bits(&x(&optimizer))), "{transport:?}");
    }
    let refused = |size: &[i64], name: &str| {
        let parameters = [(name.to_owned(), Tensor::zeros(size, tch::kind::FLOAT_CPU))];
        let mut other =
            TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, &Groups::automatic()).unwrap();
        let message = other.load(&path).unwrap_err().to_string();
        assert_eq!(other.steps(), 0);
        message
    };
    assert!(refused(&[6, 4], "elsewhere").ends_with("parameter elsewhere.x: is missing from the state"));
    assert!(refused(&[4, 6], "first").ends_with("parameter first.x: has a different size in the state"));
    assert!(refused(&[6, 4], "first").ends_with("is in the state, but not in the model"));
    let (store, _) = model_on(device, 3);
    let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    let mut state = optimizer.state().unwrap();
    state.push(("alignment.9.mean".into(), Tensor::from(0.5f32)));
    let message = optimizer.restore(&state).unwrap_err().to_string();
    assert_eq!(message, "parameter alignment.9.mean: is in the state, but not in the model");
    std::fs::write(&path, b"no tensors").unwrap();
    assert!(refused(&[6, 4], "first").contains("not a safetensors file"));
}

/// Returns an optimizer of `count` matrices of a size, which are one stack, after two steps.
fn one_stack(device: Device, count: usize, size: [i64; 2], rule: Rule) -> (TransportedScion, Vec<Tensor>) {
    let mut generator = Generator::new(1, 1);
    let tensors: Vec<_> =
        (0..count).map(|_| random(&size, &mut generator).to_device(device).copy().set_requires_grad(true)).collect();
    let names = (0..).map(|index| format!("matrix-{index}"));
    let parameters = names.zip(&tensors).map(|(name, tensor)| (name, tensor.shallow_clone()));
    let groups = all(Geometry::HIDDEN);
    let mut optimizer = TransportedScion::with_groups(parameters, rule, Arithmetic::Fast, &groups).unwrap();
    for _ in 0..2 {
        let sums =
            tensors.iter().map(|tensor| (tensor * random(&size, &mut generator).to_device(device)).sum(Kind::Float));
        optimizer.backward_step(&sums.reduce(|a, b| a + b).unwrap()).unwrap();
    }
    (optimizer, tensors)
}

/// Returns the resident memory of the process in bytes: the peak, and the current size.
fn resident() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
    };
    (field("VmHWM:"), field("VmRSS:"))
}

/// Environment variable that selects law and pull in the process whose memory is measured.
const LAW: &str = "GRAFTAGE_TEST_LAW";
/// Environment variable that makes a gradient in that process not finite.
const REFUSED: &str = "GRAFTAGE_TEST_REFUSED";

#[test]
fn memory_is_what_the_documentation_says() {
    // Bytes by law and pull, for each number of the parameters of one stack: kept beside weights and gradients, and the
    // most that a step takes meanwhile. The latter is for finite gradients, and for one that is not, for which masks
    // are used as on a GPU.
    let laws = [
        ("theta=0 none", 4.0, [9.0, 13.0]),
        ("theta=1 none", 8.0, [9.0, 13.0]),
        ("lag=0.5 none", 8.0, [9.0, 13.0]),
        ("alignment=1 none", 8.0, [21.0, 21.0]),
        ("nesterov none", 8.0, [17.0, 17.0]),
        ("theta=1 zero", 8.0, [17.0, 17.0]),
        ("theta=1 start", 12.0, [17.0, 17.0]),
    ];
    if let Ok(law) = std::env::var(LAW) {
        let (transport, pull) = law.split_once(' ').unwrap();
        let (transport, pull) = (graftage::rule::transport(transport).unwrap(), graftage::rule::pull(pull).unwrap());
        let rule = Rule { transport, pull, quintics: Quintics::Jordan, ..Rule::PLAIN };
        // Each array has 9 MB, so that what libtorch keeps for itself shows as a tenth of a byte.
        let (count, size) = (17, [64, 2048]);
        let numbers = (count * size[0] * size[1]) as f64;
        // libtorch keeps some memory for itself after the first use.
        drop(one_stack(Device::Cpu, count as usize, size, rule));
        let (_, before) = resident();
        let (mut optimizer, tensors) = one_stack(Device::Cpu, count as usize, size, rule);
        // The gradients are new, and one is not finite.
        tensors.iter().for_each(|tensor| _ = tensor.grad().g_mul_scalar_(1.0));
        if std::env::var(REFUSED).is_ok() {
            let _ = tensors[0].grad().fill_(f64::NAN);
        }
        let (_, after) = resident();
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        optimizer.step().unwrap();
        let (peak, _) = resident();
        let kept = (after - before) / numbers - 8.0;
        println!(
            "of {law}: kept {kept:.2} transient {:.2} stated {}",
            (peak - after) / numbers,
            optimizer.bytes() as f64 / numbers
        );
        drop(tensors);
        return;
    }
    let cases = laws.iter().flat_map(|(law, stated, most)| {
        [false, true].map(|refused| (law, *stated, most[usize::from(refused)], refused))
    });
    for (law, stated, transient, refused) in cases {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "memory_is_what_the_documentation_says", "--nocapture"]).env(LAW, law);
        // This makes the C library give memory back as soon as it is freed.
        child.env("MALLOC_MMAP_THRESHOLD_", "65536");
        if refused {
            child.env(REFUSED, "");
        }
        let child = child.output().unwrap();
        let output = String::from_utf8_lossy(&child.stdout).into_owned();
        let line = output
            .lines()
            .find_map(|line| line.split_once("of ").map(|(_, line)| line.to_owned()))
            .unwrap_or_else(|| panic!("{output}"));
        println!("{line}");
        let number = |name: &str| {
            let mut words = line.split_whitespace().skip_while(|word| *word != name);
            words.nth(1).unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(number("stated"), stated, "{line}");
        assert!((number("kept") - stated).abs() < 0.5, "{line}");
        assert!((transient - 2.0..transient).contains(&number("transient")), "{line}");
    }
}

#[test]
fn the_model_and_its_gradients_share_memory_with_the_stacks() {
    cuda::devices().for_each(the_model_and_its_gradients_share_memory_with_the_stacks_on);
}

fn the_model_and_its_gradients_share_memory_with_the_stacks_on(device: Device) {
    let (mut optimizer, tensors) = one_stack(device, 3, [4, 6], Rule { transport: FULL, ..Rule::PLAIN });
    let bytes = 4 * 4 * 6;
    let addresses = |of: fn(&Tensor) -> Tensor| tensors.iter().map(|t| of(t).data_ptr() as usize).collect::<Vec<_>>();
    let distances =
        |addresses: &[usize]| addresses.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect::<Vec<_>>();
    let (weights, gradients) = (addresses(Tensor::shallow_clone), addresses(Tensor::grad));
    assert_eq!((distances(&weights), distances(&gradients)), (vec![bytes; 2], vec![bytes; 2]));
    // A step, an evaluation and another backward pass leave them there.
    let loss = || tensors.iter().map(|t| t.square().sum(Kind::Float)).reduce(|a, b| a + b).unwrap();
    optimizer.backward_step(&loss()).unwrap();
    optimizer.evaluate(|| ()).unwrap();
    assert_eq!((addresses(Tensor::shallow_clone), addresses(Tensor::grad)), (weights, gradients));
}

#[test]
fn a_tensor_that_got_other_memory_is_taken_back_with_what_it_holds() {
    cuda::devices().for_each(a_tensor_that_got_other_memory_is_taken_back_with_what_it_holds_on);
}

fn a_tensor_that_got_other_memory_is_taken_back_with_what_it_holds_on(device: Device) {
    let rule = Rule { transport: FULL, ..Rule::PLAIN };
    let ((mut optimizer, tensors), (mut twin, twins)) =
        (one_stack(device, 3, [4, 6], rule), one_stack(device, 3, [4, 6], rule));
    let loss = |tensors: &[Tensor]| tensors.iter().map(|t| t.square().sum(Kind::Float)).reduce(|a, b| a + b).unwrap();
    for _ in 0..3 {
        // Other weights, and gradients elsewhere in memory.
        tensors[1].shallow_clone().set_data(&(tensors[1].detach() * 2.0));
        let _ = twins[1].detach().g_mul_scalar_(2.0);
        let gradient = tensors[2].grad();
        gradient.shallow_clone().set_data(&gradient.copy());
        optimizer.backward_step(&loss(&tensors)).unwrap();
        twin.backward_step(&loss(&twins)).unwrap();
        assert_eq!((bits(&tensors), bits(&x(&optimizer))), (bits(&twins), bits(&x(&twin))));
    }
    // A tensor of another size is named, and nothing is changed.
    let before = bits(&x(&optimizer));
    let held = tensors[2].detach().copy();
    tensors[2].shallow_clone().set_data(&Tensor::zeros([6, 4], (Kind::Float, device)));
    let refused = optimizer.step();
    assert!(matches!(&refused, Err(Error::Parameter { name, .. }) if name == "matrix-2"), "{refused:?}");
    tensors[2].shallow_clone().set_data(&held);
    assert_eq!((bits(&x(&optimizer)), optimizer.steps()), (before, 5));
}

#[test]
fn a_graph_from_before_a_step_has_no_gradient() {
    let (mut optimizer, tensors) = one_stack(Device::Cpu, 2, [4, 6], Rule::PLAIN);
    let loss = tensors[0].square().sum(Kind::Float);
    optimizer.step().unwrap();
    let refused = loss.f_backward().unwrap_err().to_string();
    assert!(refused.contains("modified by an inplace operation"), "{refused}");
}

#[test]
fn without_transport_the_model_holds_x_and_transport_can_begin_later() {
    cuda::devices().for_each(without_transport_the_model_holds_x_and_transport_can_begin_later_on);
}

fn without_transport_the_model_holds_x_and_transport_can_begin_later_on(device: Device) {
    let still = Rule { transport: Transport::Fixed { theta: 0.0 }, ..Rule::PLAIN };
    let moving = Rule { transport: FULL, ..Rule::PLAIN };
    for arithmetic in ARITHMETICS {
        let (store, parameters) = model_on(device, 3);
        let (twin_store, twin_parameters) = model_on(device, 3);
        let mut optimizer = TransportedScion::new(&store, still, arithmetic).unwrap();
        let mut twin = TransportedScion::new(&twin_store, moving, arithmetic).unwrap();
        assert_eq!((optimizer.bytes(), twin.bytes()), (4 * 94, 8 * 94));
        let mut generator = Generator::new(4, 1);
        for t in 1..=4 {
            let gradients = gradients(&mut generator);
            (optimizer.rule, twin.rule) = if t < 3 { (still, still) } else { (moving, moving) };
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            twin.backward_step(&linear_loss(&twin_parameters, &gradients)).unwrap();
            assert_eq!(bits(&x(&optimizer)), bits(&x(&twin)), "{arithmetic}, {t}");
            assert_eq!(bits(&parameters), bits(&twin_parameters), "{arithmetic}, {t}");
            assert_eq!(bits(&parameters) == bits(&x(&optimizer)), t < 3, "{arithmetic}, {t}");
        }
        optimizer.rule.transport = Transport::Nesterov;
        let (before, refused) = (bits(&parameters), optimizer.step().unwrap_err().to_string());
        assert!(refused.starts_with("parameter the rule: its law of transport"), "{refused}");
        assert_eq!((bits(&parameters), optimizer.steps()), (before, 4));
    }
}

#[test]
fn a_refused_gradient_leaves_what_the_alignment_law_knows() {
    cuda::devices().for_each(a_refused_gradient_leaves_what_the_alignment_law_knows_on);
}

fn a_refused_gradient_leaves_what_the_alignment_law_knows_on(device: Device) {
    let rule = Rule { transport: Transport::Alignment { damping: 1.0 }, ..Rule::PLAIN };
    let (store, parameters) = model_on(device, 6);
    let mut optimizer = TransportedScion::new(&store, rule, Arithmetic::Fast).unwrap();
    let mut generator = Generator::new(7, 1);
    let average = |optimizer: &TransportedScion| {
        let state = optimizer.state().unwrap();
        let find = |name: &str| &state.iter().find(|(found, _)| found == name).unwrap().1;
        // `first` and `second` form the second stack.
        elements(&(find("alignment.1.mean") / find("alignment.1.weight")))
    };
    let mut before = Vec::new();
    for t in 1..=5 {
        let gradients = gradients(&mut generator);
        if t == 5 {
            before = average(&optimizer);
            let _ = gradients[3].get(5).get(3).fill_(f64::NAN);
        }
        optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
    }
    let after = average(&optimizer);
    assert!((before[1] - after[1]).abs() < 1e-6, "{before:?} {after:?}");
    assert!((before[0] - after[0]).abs() > 1e-4, "{before:?} {after:?}");
}

#[test]
fn a_step_does_not_wait_for_the_device() {
    let Some(device) = cuda::devices().find(|device| device.is_cuda()) else { return };
    let rule = Rule { transport: FULL, ..Rule::PLAIN };
    let (mut optimizer, _tensors) = one_stack(device, 12, [384, 384], rule);
    let large = Tensor::randn([4096, 4096], (Kind::Float, device));
    let out = large.zeros_like();
    let mut seconds = |products| {
        tch::Cuda::synchronize(0);
        let start = Instant::now();
        for _ in 0..products {
            let _ = large.matmul_out(&out, &large);
        }
        optimizer.step().unwrap();
        let asked = start.elapsed().as_secs_f64();
        tch::Cuda::synchronize(0);
        (asked, start.elapsed().as_secs_f64())
    };
    seconds(1);
    // The device is busy for a long time before it reaches the step.
    let (asked, done) = seconds(100);
    println!("asked for within {asked:.4} s, done after {done:.4} s");
    assert!(asked < done / 3.0, "{asked} {done}");
}

#[test]
fn a_quadratic_converges() {
    cuda::devices().for_each(a_quadratic_converges_on);
}

fn a_quadratic_converges_on(device: Device) {
    let target = random(&[8, 5], &mut Generator::new(13, 1)).to_device(device);
    for arithmetic in ARITHMETICS {
        for norm in [Norm::Spectral, Norm::Sign, Norm::Rms] {
            let store = nn::VarStore::new(device);
            let w = store.root().zeros("w", &[8, 5]);
            let geometry = Geometry { norm, radius: 1.0 };
            let parameters = named(&store);
            let mut optimizer =
                TransportedScion::with_groups(parameters, Rule::PLAIN, arithmetic, &all(geometry)).unwrap();
            let loss = || (&w - &target).square().sum(Kind::Float);
            let start = f64::try_from(loss()).unwrap();
            for t in 0..300 {
                // A step of this size would cross the whole distance in ten steps.
                optimizer.rule.step_size =
                    0.1 * (1.0 - t as f32 / 300.0) / norm.factor((8, 5)) * if norm == Norm::Rms { 2.5 } else { 1.0 };
                optimizer.backward_step(&loss()).unwrap();
            }
            let end = f64::try_from(optimizer.evaluate(loss).unwrap()).unwrap();
            assert!(end < 1e-4 * start, "{arithmetic}, {norm:?}: {start} to {end}");
        }
    }
}

/// Trains a model of a hidden matrix, a head and a bias by a method. Returns its weights at the start and after each
/// gradient.
fn by(method: Method, rule: Rule, gradients: &[f32]) -> Vec<Vec<Tensor>> {
    let store = nn::VarStore::new(Device::Cpu);
    let zero = nn::Init::Const(0.0);
    let parameters = [("hidden", &[8, 4][..]), ("bias", &[8]), ("head", &[3, 8])];
    let parameters = parameters.map(|(name, size)| store.root().var(name, size, zero));
    let mut optimizer = method.optimizer(&store, rule, Arithmetic::Fast, &Groups::automatic(), 9).unwrap();
    let weights = |optimizer: &TransportedScion| optimizer.x().unwrap().into_iter().map(|(_, tensor)| tensor).collect();
    let mut seen = vec![weights(&optimizer)];
    for scale in gradients {
        let mut generator = Generator::new(31, 1);
        let all = parameters.iter().map(|tensor| random(&tensor.size(), &mut generator) * f64::from(*scale));
        let loss = all.zip(&parameters).map(|(g, tensor)| (g * tensor).sum(Kind::Float)).reduce(|a, b| a + b).unwrap();
        optimizer.backward_step(&loss).unwrap();
        seen.push(weights(&optimizer));
    }
    seen
}

fn adamw() -> Method {
    Method::find("adamw").unwrap()
}

fn sgd() -> Method {
    Method::find("sgd").unwrap()
}

#[test]
fn every_method_starts_from_the_same_bits() {
    let starts: Vec<_> = Method::all().map(|method| bits(&by(method, Rule::PLAIN, &[])[0])).collect();
    assert!(starts.iter().all(|start| *start == starts[0]));
    assert!(starts[0][0].iter().any(|e| *e != 0));
}

#[test]
fn scion_is_the_rule_without_transport() {
    let still = Rule { transport: Transport::Fixed { theta: 0.0 }, ..Rule::PLAIN };
    let gradients = [1.0, -0.3, 0.7, 0.7];
    let last = |method, rule| bits(by(method, rule, &gradients).last().unwrap());
    assert_eq!(last(Method::Scion, Rule { transport: FULL, ..Rule::PLAIN }), last(Method::Transported, still));
    // The gradients do not depend on where they are taken, so transport does not change X here.
    assert_eq!(last(Method::Transported, Rule { transport: FULL, ..Rule::PLAIN }), last(Method::Transported, still));
    assert_ne!(last(Method::Muon, still), last(Method::Transported, still));
}

/// Returns how far a parameter moved in the last step.
fn last_move(seen: &[Vec<Tensor>], parameter: usize) -> Tensor {
    &seen[seen.len() - 1][parameter] - &seen[seen.len() - 2][parameter]
}

#[test]
fn muon_moves_a_hidden_matrix_by_its_own_scale() {
    let rule = Rule { step_size: 0.01, ..Rule::PLAIN };
    let singular = |tensor: &Tensor| Vec::<f32>::try_from(tensor.svd(true, false).1).unwrap();
    let found = singular(&last_move(&by(Method::Muon, rule, &[1.0]), 0));
    // √(8/4)·3·η, times what Jordan's five quintics map singular values to: 0.68 to 1.13.
    let scale = 0.01 * 3.0 * 2.0f32.sqrt();
    assert!(found.iter().all(|s| (0.65 * scale..1.2 * scale).contains(s)), "{found:?} {scale}");
    assert!(found[0] / found[3] > 1.02, "Jordan's quintics are no polar factor: {found:?}");
}

#[test]
fn adamw_and_sgd_follow_their_equations_and_the_schedule() {
    let rule = Rule { step_size: 0.1, schedule: Schedule::Linear { steps: 4 }, ..Rule::PLAIN };
    // AdamW first moves every element by η·sign(g), and by 0.75 of it in the second of four steps with the same
    // gradient.
    for (gradients, expected) in [(&[2.0][..], 0.1), (&[2.0, 2.0], 0.075)] {
        let moved = elements(&last_move(&by(adamw(), rule, gradients), 0));
        assert!(moved.iter().all(|e| (e.abs() - expected).abs() < 1e-5), "{expected}: {moved:?}");
    }
    // SGD: −η g, then −0.75 η (0.9 g + g).
    let seen = by(sgd(), rule, &[1.0, 1.0]);
    let (first, second) = (elements(&last_move(&seen[..2], 2)), elements(&last_move(&seen, 2)));
    assert!(first.iter().zip(&second).all(|(a, b)| (a * 0.75 * 1.9 - b).abs() < 1e-6), "{first:?} {second:?}");
    let store = nn::VarStore::new(Device::Cpu);
    let _ = store.root().zeros("w", &[2, 2]);
    let varying = Rule { momentum: Momentum::Power { exponent: 0.5 }, ..rule };
    let refused =
        adamw().optimizer(&store, varying, Arithmetic::Fast, &Groups::automatic(), 1).unwrap_err().to_string();
    assert_eq!(refused, "parameter AdamW: takes only a constant momentum");
}

#[test]
fn adamw_and_sgd_are_libtorchs_own_and_go_on_from_their_state() {
    cuda::devices().for_each(adamw_and_sgd_are_libtorchs_own_and_go_on_from_their_state_on);
}

fn adamw_and_sgd_are_libtorchs_own_and_go_on_from_their_state_on(device: Device) {
    let rule = Rule { step_size: 0.05, schedule: Schedule::Linear { steps: 30 }, ..Rule::PLAIN };
    for method in [adamw(), sgd()] {
        let make = || {
            let (store, parameters) = model_on(device, 3);
            let optimizer = method.optimizer(&store, rule, Arithmetic::Fast, &Groups::automatic(), 9).unwrap();
            (optimizer, parameters)
        };
        let (mut optimizer, parameters) = make();
        let (store, twins) = model_on(device, 3);
        for (twin, (_, x)) in twins.iter().zip(optimizer.x().unwrap()) {
            tch::no_grad(|| twin.shallow_clone().copy_(&x));
        }
        let usual = nn::AdamW { beta1: 0.9, beta2: 0.95, wd: 0.0, eps: 1e-8, amsgrad: false };
        let mut own = match method {
            method if method == adamw() => usual.build(&store, 1.0).unwrap(),
            _ => nn::Sgd { momentum: 0.9, ..nn::Sgd::default() }.build(&store, 1.0).unwrap(),
        };
        let (mut generator, mut saved, mut worst) = (Generator::new(17, 1), None, 0.0f32);
        for t in 1..=20 {
            let gradients = gradients(&mut generator);
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            own.set_lr(rule.step_size_at(t).into());
            own.backward_step(&linear_loss(&twins, &gradients));
            for (found, expected) in parameters.iter().zip(&twins) {
                let off = f32::try_from((found - expected).abs().max()).unwrap();
                worst = worst.max(off);
                // Measured: 2.4e-7.
                assert!(off < 1e-6, "{method} on {device:?}, step {t}: off by {off:e}");
            }
            if t == 10 {
                saved = Some((optimizer.state().unwrap(), generator.clone()));
            }
        }
        println!("{method} on {device:?}: off by at most {worst:e}");
        let ((mut restored, again), (state, mut generator)) = (make(), saved.unwrap());
        let refused = restored.restore(&state[..state.len() - 1]).unwrap_err().to_string();
        assert!(refused.ends_with("is missing from the state"), "{refused}");
        restored.restore(&state).unwrap();
        for _ in 11..=20 {
            restored.backward_step(&linear_loss(&again, &gradients(&mut generator))).unwrap();
        }
        assert_eq!((restored.steps(), bits(&again)), (20, bits(&parameters)), "{method} on {device:?}");
        let arrays = if method == adamw() { 2 } else { 1 };
        assert_eq!(restored.bytes(), arrays * 4 * 94);
    }
}
