//! Tests of what the caller does to a model between steps: it writes weights, freezes parameters, leaves gradients out,
//! or gives a tensor to two optimizers.

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/numbers.rs"]
mod numbers;
#[path = "common/parameters.rs"]
mod parameters;

use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use graftage_optim::method::Method;
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{Error, Group, Groups, PATIENCE, TransportedScion, named};
use numbers::{ARITHMETICS, bits, elements, random, x};
use parameters::{gradients, linear_loss, model, model_on};
use tch::{Device, Kind, Tensor, no_grad};

/// All laws, without a pull and with one to the start.
fn rules() -> impl Iterator<Item = Rule> {
    let laws = [
        Transport::Fixed { theta: 0.0 },
        Transport::Fixed { theta: 1.0 },
        Transport::Lag { memory: 0.6 },
        Transport::Alignment { damping: 1.0 },
        Transport::Nesterov,
    ];
    let pulls = [Pull::None, Pull::Start { strength: 2.0 }];
    laws.into_iter().flat_map(move |transport| pulls.map(|pull| Rule { transport, pull, ..Rule::PLAIN }))
}

/// Takes three steps with gradients of their own.
fn three_steps(optimizer: &mut TransportedScion, parameters: &[Tensor], generator: &mut Generator) {
    for _ in 0..3 {
        optimizer.backward_step(&linear_loss(parameters, &gradients(generator))).unwrap();
    }
}

#[test]
fn weights_that_are_loaded_before_the_first_step_are_those_that_the_optimizer_starts_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    model(2).0.save(&path).unwrap();
    for (rule, arithmetic) in rules().flat_map(|rule| ARITHMETICS.map(|arithmetic| (rule, arithmetic))) {
        for device in cuda::devices() {
            let (mut store, loaded) = model_on(device, 1);
            let mut optimizer = TransportedScion::new(&store, rule, arithmetic).unwrap();
            store.load(&path).unwrap();
            let (twin_store, twins) = model_on(device, 2);
            let mut twin = TransportedScion::new(&twin_store, rule, arithmetic).unwrap();
            assert_eq!(optimizer.evaluate(|| bits(&loaded)).unwrap(), bits(&twins), "{rule:?}, {arithmetic}");
            three_steps(&mut optimizer, &loaded, &mut Generator::new(3, 1));
            three_steps(&mut twin, &twins, &mut Generator::new(3, 1));
            let both =
                [(&optimizer, &loaded), (&twin, &twins)].map(|(optimizer, model)| (bits(&x(optimizer)), bits(model)));
            assert_eq!(both[0], both[1], "{rule:?}, {arithmetic}");
        }
    }
}

#[test]
fn weights_that_are_written_between_steps_become_x_and_leave_the_momentum() {
    for (rule, arithmetic) in rules().flat_map(|rule| ARITHMETICS.map(|arithmetic| (rule, arithmetic))) {
        let (store, parameters) = model(4);
        let mut optimizer = TransportedScion::new(&store, rule, arithmetic).unwrap();
        let mut generator = Generator::new(5, 1);
        three_steps(&mut optimizer, &parameters, &mut generator);
        // The twin is told by its state.
        let (twin_store, twins) = model(4);
        let mut twin = TransportedScion::new(&twin_store, rule, arithmetic).unwrap();
        let values = random(&[6, 4], &mut Generator::new(6, 1));
        let mut state = optimizer.state().unwrap();
        let written: &[&str] = match rule.transport {
            // There `y` is M before the last step.
            Transport::Nesterov => &["first.x"],
            _ => &["first.x", "first.y"],
        };
        for (name, tensor) in &mut state {
            if written.contains(&name.as_str()) {
                tensor.copy_(&values);
            }
        }
        twin.restore(&state).unwrap();
        no_grad(|| parameters[1].shallow_clone().copy_(&values));
        let seen = optimizer.evaluate(|| elements(&parameters[1])).unwrap();
        assert_eq!(seen, elements(&values), "{rule:?}, {arithmetic}");
        let mut same = generator.clone();
        three_steps(&mut optimizer, &parameters, &mut generator);
        three_steps(&mut twin, &twins, &mut same);
        assert_eq!(bits(&x(&optimizer)), bits(&x(&twin)), "{rule:?}, {arithmetic}");
        assert_eq!(bits(&parameters), bits(&twins), "{rule:?}, {arithmetic}");
    }
}

#[test]
fn weights_that_an_evaluation_writes_stay() {
    for arithmetic in ARITHMETICS {
        let (store, parameters) = model(4);
        let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, arithmetic).unwrap();
        three_steps(&mut optimizer, &parameters, &mut Generator::new(5, 1));
        let before = (bits(&parameters), bits(&x(&optimizer)));
        optimizer.evaluate(|| _ = parameters[1].shallow_clone().zero_()).unwrap();
        let after = (bits(&parameters), bits(&x(&optimizer)));
        assert_eq!((&after.0[1], &after.1[1]), (&vec![0; 24], &vec![0; 24]), "{arithmetic}");
        for other in [0, 2, 3, 4, 5, 6] {
            assert_eq!((&after.0[other], &after.1[other]), (&before.0[other], &before.1[other]), "{arithmetic}");
        }
    }
}

#[test]
fn a_parameter_without_a_new_gradient_stays_and_the_others_step_as_if_it_were_not_there() {
    for (rule, arithmetic) in rules().flat_map(|rule| ARITHMETICS.map(|arithmetic| (rule, arithmetic))) {
        for device in cuda::devices() {
            let (store, parameters) = model_on(device, 7);
            let mut optimizer = TransportedScion::new(&store, rule, arithmetic).unwrap();
            let mut generator = Generator::new(8, 1);
            three_steps(&mut optimizer, &parameters, &mut generator);
            let state = |optimizer: &TransportedScion, name: &str| -> Vec<Vec<u32>> {
                let state = optimizer.state().unwrap();
                let own = state.into_iter().filter(|(found, _)| found.split('.').next() == Some(name));
                bits(&own.map(|(_, tensor)| tensor).collect::<Vec<_>>())
            };
            // What the alignment law knows of `second`, in the stack that it shares with `first`.
            let average = |optimizer: &TransportedScion| -> Option<f32> {
                let state = optimizer.state().unwrap();
                let find = |name: &str| state.iter().find(|(found, _)| found == name).map(|(_, tensor)| tensor);
                Some(elements(&(find("alignment.1.mean")? / find("alignment.1.weight")?))[1])
            };
            let known = average(&optimizer);
            // `second` shares its stack with `first`, `filter` has one of its own.
            let before = ["second", "filter"].map(|name| state(&optimizer, name));
            let (twin_store, twins) = model_on(device, 7);
            let mut twin = TransportedScion::new(&twin_store, rule, arithmetic).unwrap();
            twin.restore(&optimizer.state().unwrap()).unwrap();
            for _ in 0..12 {
                let gradients = gradients(&mut generator);
                let some = [0, 1, 2, 5, 6].map(|at| (parameters[at].shallow_clone(), gradients[at].shallow_clone()));
                let (tensors, some): (Vec<_>, Vec<_>) = some.into_iter().unzip();
                optimizer.backward_step(&linear_loss(&tensors, &some)).unwrap();
                twin.backward_step(&linear_loss(&twins, &gradients)).unwrap();
            }
            assert_eq!(["second", "filter"].map(|name| state(&optimizer, name)), before, "{rule:?}, {arithmetic}");
            let kept = average(&optimizer);
            assert_eq!(known.is_some(), matches!(rule.transport, Transport::Alignment { .. }));
            let difference = known.unwrap_or_default() - kept.unwrap_or_default();
            assert!(difference.abs() < 1e-5, "{known:?}, {kept:?}, {rule:?}, {arithmetic}");
            for name in ["scalar", "first", "bias", "head", "offset"] {
                assert_eq!(state(&optimizer, name), state(&twin, name), "{name}, {rule:?}, {arithmetic}");
            }
            assert_eq!(optimizer.refused().unwrap(), []);
        }
    }
}

#[test]
fn a_parameter_that_is_frozen_between_steps_stays_until_it_is_thawed() {
    for arithmetic in ARITHMETICS {
        let (mut store, parameters) = model(9);
        let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, arithmetic).unwrap();
        let mut generator = Generator::new(10, 1);
        three_steps(&mut optimizer, &parameters, &mut generator);
        let _ = parameters[1].shallow_clone().set_requires_grad(false);
        let before = bits(&x(&optimizer));
        three_steps(&mut optimizer, &parameters, &mut generator);
        let after = bits(&x(&optimizer));
        assert_eq!((after[1] == before[1], after[3] == before[3]), (true, false), "{arithmetic}");
        // A gradient that came before the parameter was frozen is not used.
        let _ = parameters[3].shallow_clone().set_requires_grad(true);
        optimizer.zero_grad();
        linear_loss(&parameters, &gradients(&mut generator)).backward();
        let _ = parameters[3].shallow_clone().set_requires_grad(false);
        let before_step = bits(&x(&optimizer));
        optimizer.step().unwrap();
        let after_step = bits(&x(&optimizer));
        assert_eq!((after_step[3] == before_step[3], after_step[4] == before_step[4]), (true, false), "{arithmetic}");
        let _ = parameters[3].shallow_clone().set_requires_grad(true);
        let _ = parameters[1].shallow_clone().set_requires_grad(true);
        three_steps(&mut optimizer, &parameters, &mut generator);
        assert_ne!(bits(&x(&optimizer))[1], before[1], "{arithmetic}");
        store.freeze();
        let before = bits(&x(&optimizer));
        optimizer.step().unwrap();
        assert_eq!(bits(&x(&optimizer)), before, "{arithmetic}");
    }
}

#[test]
fn gradients_that_were_zeroed_or_used_are_not_new() {
    for arithmetic in ARITHMETICS {
        let (store, parameters) = model(11);
        let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, arithmetic).unwrap();
        let mut generator = Generator::new(12, 1);
        three_steps(&mut optimizer, &parameters, &mut generator);
        let before = bits(&x(&optimizer));
        optimizer.step().unwrap();
        assert_eq!(bits(&x(&optimizer)), before, "{arithmetic}: used");
        linear_loss(&parameters, &gradients(&mut generator)).backward();
        optimizer.zero_grad();
        optimizer.step().unwrap();
        assert_eq!(bits(&x(&optimizer)), before, "{arithmetic}: zeroed");
        // A gradient that the caller writes is new.
        let _ = parameters[3].grad().fill_(1.0);
        optimizer.step().unwrap();
        let after = bits(&x(&optimizer));
        let moved: Vec<_> = (0..after.len()).filter(|at| after[*at] != before[*at]).collect();
        assert_eq!(moved, [3], "{arithmetic}");
        assert_eq!(optimizer.steps(), 6);
    }
}

#[test]
fn a_loss_that_stays_nan_is_told_and_a_gradient_that_is_finite_is_enough() {
    for device in cuda::devices() {
        // On a GPU nobody waits for the number, which is read at the next look.
        let late = if device.is_cuda() { PATIENCE } else { 0 };
        let (store, parameters) = model_on(device, 13);
        let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
        let mut generator = Generator::new(14, 1);
        let mut loss = |factor: f64| linear_loss(&parameters, &gradients(&mut generator)) * factor;
        optimizer.backward_step(&loss(1.0)).unwrap();
        let before = bits(&x(&optimizer));
        let told = (1..=4 * PATIENCE).find_map(|step| Some((step, optimizer.backward_step(&loss(f64::NAN)).err()?)));
        let (step, error) = told.unwrap();
        // The first look still sees the step with a finite loss.
        assert_eq!(step, 2 * PATIENCE + late);
        assert!(matches!(error, Error::NoFiniteGradient { steps: PATIENCE }), "{error}");
        assert!(error.to_string().contains("the loss is NaN or infinite"), "{error}");
        assert_eq!((bits(&x(&optimizer)), optimizer.steps()), (before, 2 * PATIENCE + late));
        // It goes on when the loss is finite, even for one parameter.
        for _ in 0..4 * PATIENCE {
            let only = (&parameters[0] * 2.0 + parameters[1].sum(Kind::Float) * f64::NAN).sum(Kind::Float);
            optimizer.backward_step(&only).unwrap();
        }
    }
}

#[test]
fn a_tensor_is_stepped_once_by_one_optimizer() {
    let (store, parameters) = model(15);
    let new = |parameters: Vec<(&str, &Tensor)>| {
        let parameters = parameters.into_iter().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone()));
        TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, &Groups::automatic()).map(drop)
    };
    let refused = |result: Result<(), Error>, name: &str, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(&format!("parameter {name}: ")) && error.contains(words), "{error}");
    };
    refused(new(vec![("a", &parameters[1]), ("a", &parameters[3])]), "a", "two parameters of this name");
    refused(new(vec![("a", &parameters[1]), ("b", &parameters[1])]), "b", "shares its memory with a");
    refused(new(vec![("a", &parameters[1]), ("b", &parameters[1].narrow(0, 3, 2))]), "b", "shares its memory with a");
    assert!(matches!(new(Vec::new()), Err(Error::NoParameters)));
    let first = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    refused(new(vec![("again", &parameters[3])]), "again", "another optimizer steps it");
    drop(first);
    new(vec![("again", &parameters[3])]).unwrap();
    let (mut frozen, _) = model_on(Device::Cpu, 16);
    frozen.freeze();
    let refused = TransportedScion::new(&frozen, Rule::PLAIN, Arithmetic::Fast).map(drop);
    assert!(matches!(refused, Err(Error::NoParameters)), "{refused:?}");
}

#[test]
fn a_state_of_another_law_or_norm_is_refused_and_changes_nothing() {
    let (store, parameters) = model(17);
    let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    three_steps(&mut optimizer, &parameters, &mut Generator::new(18, 1));
    let state = optimizer.state().unwrap();
    drop(optimizer);
    let before = bits(&parameters);
    let refused = |rule: Rule, groups: &Groups, expected: &str| {
        let mut other = TransportedScion::with_groups(named(&store), rule, Arithmetic::Fast, groups).unwrap();
        let error = other.restore(&state).unwrap_err().to_string();
        assert_eq!((error.as_str(), other.steps()), (expected, 0));
        assert_eq!(bits(&parameters), before);
    };
    let automatic = Groups::automatic();
    for (transport, law) in [
        (Transport::Fixed { theta: 0.0 }, "no transport"),
        (Transport::Lag { memory: 0.6 }, "lag feedback"),
        (Transport::Nesterov, "Nesterov's law"),
    ] {
        let expected = format!("parameter the rule: the state is of fixed transport, but the optimizer of {law}");
        refused(Rule { transport, ..Rule::PLAIN }, &automatic, &expected);
    }
    let other = Groups::overriding([Group { norm: Some(Norm::Sign), ..Group::new("second") }]);
    let expected = "parameter second: the state is of the norm Spectral, but the optimizer of the norm Sign";
    refused(Rule::PLAIN, &other, expected);
    // Step size, θ and radius may differ.
    let rule = Rule { step_size: 0.5, transport: Transport::Fixed { theta: 0.3 }, ..Rule::PLAIN };
    let radius = Groups::overriding([Group { radius: Some(7.0), ..Group::new("second") }]);
    let mut other = TransportedScion::with_groups(named(&store), rule, Arithmetic::Fast, &radius).unwrap();
    other.restore(&state).unwrap();
    assert_eq!(other.steps(), 3);
    // A state of a version that does not say is taken.
    let silent = state.iter().filter(|(name, _)| name != "law" && !name.ends_with(".norm"));
    let silent: Vec<_> = silent.map(|(name, tensor)| (name.clone(), tensor.copy())).collect();
    other.restore(&silent).unwrap();
}

#[test]
fn baselines_leave_parameters_without_a_new_gradient_alone() {
    for method in Method::all().filter(|method| matches!(method, Method::Baseline(_))) {
        let (store, parameters) = model(19);
        let mut optimizer = method.optimizer(&store, Rule::PLAIN, Arithmetic::Fast, &Groups::automatic(), 1).unwrap();
        let mut generator = Generator::new(20, 1);
        optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
        let before = bits(&parameters);
        let _ = parameters[3].shallow_clone().set_requires_grad(false);
        for _ in 0..3 {
            let some: Vec<_> = gradients(&mut generator).into_iter().take(2).collect();
            optimizer.backward_step(&linear_loss(&parameters[..2], &some)).unwrap();
        }
        let after = bits(&parameters);
        let moved: Vec<_> = (0..after.len()).filter(|at| after[*at] != before[*at]).collect();
        assert_eq!(moved, [0, 1], "{method}");
    }
}

#[test]
fn parts_of_a_batch_do_not_mix_with_other_gradients() {
    let (store, parameters) = model(3);
    let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap();
    let mut generator = Generator::new(20, 1);
    let [first, second, third] = [(); 3].map(|()| gradients(&mut generator));
    let start = bits(&parameters);
    // A backward pass of the caller's own, and then a part.
    linear_loss(&parameters, &first).backward();
    let held = bits(&parameters.iter().map(Tensor::grad).collect::<Vec<_>>());
    let error = optimizer.accumulate(&linear_loss(&parameters, &second), 4).unwrap_err().to_string();
    assert!(error.contains("holds a gradient that was not accumulated; call zero_grad first"), "{error}");
    assert_eq!(bits(&parameters.iter().map(Tensor::grad).collect::<Vec<_>>()), held);
    // As it says.
    optimizer.zero_grad();
    optimizer.accumulate(&linear_loss(&parameters, &second), 4).unwrap();
    // A part, and then a step of a whole batch.
    let error = optimizer.backward_step(&linear_loss(&parameters, &third)).unwrap_err().to_string();
    assert!(error.contains("would be forgotten; accumulate this one, and call step"), "{error}");
    assert_eq!((bits(&parameters), optimizer.steps()), (start, 0));
    optimizer.accumulate(&linear_loss(&parameters, &third), 4).unwrap();
    optimizer.step().unwrap();
    let mean: Vec<_> = second.iter().zip(&third).map(|(a, b)| (a + b) / 2.0).collect();
    let (other, twins) = model(3);
    let mut whole = TransportedScion::new(&other, Rule::PLAIN, Arithmetic::Fast).unwrap();
    whole.backward_step(&linear_loss(&twins, &mean)).unwrap();
    for (found, expected) in parameters.iter().zip(&twins) {
        let off = f32::try_from((found - expected).abs().max()).unwrap();
        // Measured: 1.2e-7.
        assert!(off < 1e-6, "{off:e}");
    }
    // The gradients that a step of a whole batch leaves are no part of the next one.
    for optimizer in [&mut optimizer, &mut whole] {
        optimizer.zero_grad();
    }
    let run = |optimizer: &mut TransportedScion, parameters: &[Tensor], plain: bool| {
        if plain {
            optimizer.backward_step(&linear_loss(parameters, &first)).unwrap();
        } else {
            optimizer.accumulate(&linear_loss(parameters, &first), 1).unwrap();
            optimizer.step().unwrap();
        }
        optimizer.accumulate(&linear_loss(parameters, &second), 1).unwrap();
        optimizer.step().unwrap();
        bits(parameters)
    };
    let start = |seed| {
        let (store, parameters) = model(seed);
        (TransportedScion::new(&store, Rule::PLAIN, Arithmetic::Fast).unwrap(), parameters)
    };
    let ((mut one, of_one), (mut two, of_two)) = (start(4), start(4));
    assert_eq!(run(&mut one, &of_one, true), run(&mut two, &of_two, false));
}

#[test]
fn norms_that_do_not_fit_a_parameter_are_refused() {
    let refused = |name: &str, norm| {
        let (store, _) = model(3);
        let groups = Groups::overriding([Group { norm: Some(norm), ..Group::new(name) }]);
        TransportedScion::with_groups(named(&store), Rule::PLAIN, Arithmetic::Fast, &groups).unwrap_err().to_string()
    };
    assert_eq!(
        refused("bias", Norm::Spectral),
        "parameter bias: its norm Spectral is for matrices, but it is a bias; set another norm or its role"
    );
    let error = refused("first", Norm::Convolution { taps: 7 });
    assert_eq!(error, "parameter first: its 4 columns are no multiple of the 7 taps of its norm");
}
