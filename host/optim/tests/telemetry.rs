//! Tests of the numbers by which one watches a training, against float64 computations from the optimizer's state.

#[path = "common/parameters.rs"]
mod common;
#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/numbers.rs"]
mod numbers;

use common::{PARAMETERS, gradients, linear_loss, model, model_on};
use graftage_core::polar::Quintics;
use graftage_core::random::Generator;
use graftage_core::schedule::Schedule;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use graftage_optim::baselines::Baseline;
use graftage_optim::{Group, Groups, TransportedScion, named};
use numbers::{ARITHMETICS, bits, elements, x};
use tch::{Device, Kind, Tensor};

fn norm(tensors: &[&Tensor]) -> f64 {
    let square = |tensor: &&Tensor| f64::try_from(tensor.to_kind(Kind::Double).square().sum(Kind::Double)).unwrap();
    tensors.iter().map(square).sum::<f64>().sqrt()
}

fn assert_near(what: &str, found: f32, expected: f64) {
    // Measured: 3e-7; the quintics leave 1e-4 of a nuclear norm.
    assert!(
        (f64::from(found) - expected).abs() <= 3e-4 * expected.abs() + 1e-9,
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn numbers_are_those_of_the_last_step_by_group() {
    for (device, arithmetic) in cuda::devices().flat_map(|device| ARITHMETICS.map(|arithmetic| (device, arithmetic))) {
        let rule = Rule {
            step_size: 0.1,
            quintics: Quintics::PolarExpress8,
            schedule: Schedule::Linear { steps: 10 },
            transport: Transport::Lag { memory: 0.6 },
            ..Rule::PLAIN
        };
        let (store, parameters) = model_on(device, 3);
        let groups = Groups::overriding([
            Group { step_factor: 0.5, ..Group::new("?????") },
            Group { rule: Baseline::find("adamw"), ..Group::new("head") },
            Group { freeze: true, ..Group::new("filter") },
        ]);
        let mut optimizer = TransportedScion::with_groups(named(&store), rule, arithmetic, &groups).unwrap();
        let mut generator = Generator::new(17, 1);
        let mut last = Vec::new();
        for _ in 0..4 {
            last = gradients(&mut generator);
            optimizer.accumulate(&linear_loss(&parameters, &last), 3).unwrap();
            optimizer.step().unwrap();
        }
        let before = bits(&parameters);
        let told = optimizer.telemetry().unwrap();
        assert_eq!(bits(&parameters), before);
        let names: Vec<_> = told.iter().map(|numbers| numbers.group.as_str()).collect();
        // In the order of the parameters: scalar, first, bias, second, filter, head, offset.
        assert_eq!(names, ["bias", "?????", "hidden", "filter", "head"]);
        let x: Vec<_> = x(&optimizer).iter().map(|x| x.to_device(Device::Cpu)).collect();
        let y: Vec<_> = parameters.iter().map(|y| y.detach().to_device(Device::Cpu)).collect();
        let state = optimizer.state().unwrap();
        let m = |at: usize| {
            let name = format!("{}.m", PARAMETERS[at].0);
            state.iter().find(|(found, _)| *found == name).unwrap().1.to_device(Device::Cpu).to_kind(Kind::Double)
        };
        // The fourth of ten steps.
        let step_size = 0.1 * 0.7;
        for (group, members, factor) in
            [("bias", &[0usize, 2, 6][..], 1.0), ("?????", &[1], 0.5), ("hidden", &[3], 1.0), ("head", &[5], 1.0)]
        {
            let numbers = told.iter().find(|numbers| numbers.group == group).unwrap();
            println!("{numbers:?}");
            let of = |tensors: &[Tensor]| members.iter().map(|at| tensors[*at].shallow_clone()).collect::<Vec<_>>();
            let (g, weights, query) = (of(&last), of(&x), of(&y));
            let refs = |tensors: &[Tensor]| norm(&tensors.iter().collect::<Vec<_>>());
            let ahead: Vec<_> = query.iter().zip(&weights).map(|(y, x)| y - x).collect();
            assert_near("step size", numbers.step_size, step_size * factor);
            assert_near("gradient", numbers.gradient, refs(&g));
            assert_near("weights", numbers.weights, refs(&weights));
            assert_near("ahead", numbers.ahead, refs(&ahead));
            assert_eq!(numbers.refused, 0);
            if group == "head" {
                assert_eq!((numbers.dual, numbers.step_over_weights), (None, None));
                continue;
            }
            // Dual norms: √(m/n)·3 times the nuclear norm, and √n times the 2-norm for vectors. The norms of steps
            // follow from directions whose singular values, or root mean squares, are 1.
            let (mut dual, mut square) = (0.0, 0.0);
            for at in members {
                let m = m(*at);
                let count = elements(&m).len() as f64;
                match m.size()[..] {
                    [rows, columns] => {
                        let scale = 3.0 * (rows as f64 / columns as f64).sqrt();
                        dual += scale * f64::try_from(m.svd(true, false).1.sum(Kind::Double)).unwrap();
                        square += scale * scale * rows.min(columns) as f64;
                    }
                    _ => {
                        dual += count.sqrt() * norm(&[&m]);
                        square += count;
                    }
                }
            }
            assert_near("dual", numbers.dual.unwrap(), dual);
            let step = step_size * factor * square.sqrt();
            assert_near("step over weights", numbers.step_over_weights.unwrap(), step / refs(&weights));
        }
        let frozen = told.iter().find(|numbers| numbers.group == "filter").unwrap();
        assert_eq!((frozen.ahead, frozen.dual, frozen.step_over_weights), (0.0, None, None));
    }
}

#[test]
fn refused_gradients_are_counted_and_stay_counted() {
    let (store, parameters) = model(3);
    let mut optimizer = TransportedScion::new(&store, Rule::PLAIN, ARITHMETICS[0]).unwrap();
    let mut generator = Generator::new(17, 1);
    for t in 0..5 {
        let mut gradients = gradients(&mut generator);
        if t % 2 == 1 {
            gradients[1] *= f64::NAN;
        }
        optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
    }
    for _ in 0..2 {
        let told = optimizer.telemetry().unwrap();
        let refused: Vec<_> = told.iter().map(|numbers| (numbers.group.as_str(), numbers.refused)).collect();
        assert_eq!(refused, [("bias", 0), ("hidden", 2), ("convolution", 0), ("head", 0)]);
    }
    assert_eq!(optimizer.refused().unwrap(), [("first".to_owned(), 2)]);
}

#[test]
fn there_are_numbers_before_the_first_step() {
    let (store, _) = model(3);
    let optimizer = TransportedScion::new(&store, Rule::PLAIN, ARITHMETICS[0]).unwrap();
    for numbers in optimizer.telemetry().unwrap() {
        assert_eq!((numbers.gradient, numbers.dual, numbers.ahead), (0.0, Some(0.0), 0.0), "{numbers:?}");
        assert!(numbers.weights > 0.0, "{numbers:?}");
    }
}
