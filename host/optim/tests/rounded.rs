//! Tests of models whose matrices are in bfloat16, with X in binary32. The oracle is an optimizer of the same matrices
//! in binary32 whose model is rounded by hand before each gradient.

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/numbers.rs"]
mod numbers;

use graftage_core::random::Generator;
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use graftage_optim::baselines::Baseline;
use graftage_optim::{Average, Group, Groups, Role, TransportedScion};
use numbers::{ARITHMETICS, bits, elements, random, x};
use tch::{Device, Kind, Tensor, no_grad};

const PARAMETERS: [(&str, &[i64], Role); 5] = [
    ("first", &[6, 4], Role::Hidden),
    ("second", &[6, 4], Role::Hidden),
    ("fused", &[9, 4], Role::Hidden),
    ("head", &[3, 6], Role::Head),
    ("bias", &[6], Role::Bias),
];

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

/// Groups with unequal parts, and a head that AdamW steps.
fn groups() -> Groups {
    Groups::overriding([
        Group::new("fused").role(Role::Hidden).split(&[6, 2, 1]),
        Group { rule: Baseline::find("adamw"), ..Group::new("head").role(Role::Head) },
    ])
}

/// A model, its matrices in one kind and its vectors in binary32, with weights that bfloat16 holds exactly.
fn model(device: Device, kind: Kind) -> Vec<(String, Tensor)> {
    let mut generator = Generator::new(3, 1);
    let make = |(name, size, role): &(&str, &[i64], Role)| {
        let start = random(size, &mut generator).to_kind(Kind::BFloat16);
        let kind = if *role == Role::Bias { Kind::Float } else { kind };
        ((*name).to_owned(), start.to_kind(kind).to_device(device).set_requires_grad(true))
    };
    PARAMETERS.iter().map(make).collect()
}

fn tensors(model: &[(String, Tensor)]) -> Vec<Tensor> {
    model.iter().map(|(_, tensor)| tensor.shallow_clone()).collect()
}

/// Rounds to bfloat16.
fn rounded(tensor: &Tensor) -> Tensor {
    tensor.to_kind(Kind::BFloat16).to_kind(Kind::Float)
}

/// Gradients that depend on the weights, for weights of either kind: those of a quartic, times random numbers.
fn loss(parameters: &[Tensor], generator: &mut Generator) -> Tensor {
    let of = |tensor: &Tensor| {
        let r = random(&tensor.size(), generator).to_device(tensor.device());
        let w = tensor.to_kind(Kind::Float);
        (&w * &w * &r + &w * r).sum(Kind::Float)
    };
    parameters.iter().map(of).reduce(|a, b| a + b).unwrap()
}

#[test]
fn steps_are_those_of_binary32_with_the_gradients_of_rounded_weights() {
    for (device, rule) in cuda::devices().flat_map(|device| rules().map(move |rule| (device, rule))) {
        let (half, whole) = (model(device, Kind::BFloat16), model(device, Kind::Float));
        let make = |model: &[(String, Tensor)]| {
            let named = model.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
            TransportedScion::with_groups(named, rule, ARITHMETICS[0], &groups()).unwrap()
        };
        let (mut optimizer, mut twin) = (make(&half), make(&whole));
        let (half, whole) = (tensors(&half), tensors(&whole));
        let (mut generator, mut other) = (Generator::new(17, 1), Generator::new(17, 1));
        for t in 1..=8 {
            optimizer.backward_step(&loss(&half, &mut generator)).unwrap();
            // The same gradients, rounded, at the rounded weights.
            let shown: Vec<_> = whole
                .iter()
                .enumerate()
                .map(|(at, tensor)| {
                    let tensor = tensor.detach();
                    let shown = if at == 4 { tensor.copy() } else { rounded(&tensor) };
                    shown.set_requires_grad(true)
                })
                .collect();
            loss(&shown, &mut other).backward();
            for (at, (tensor, shown)) in whole.iter().zip(&shown).enumerate() {
                let gradient = if at == 4 { shown.grad() } else { rounded(&shown.grad()) };
                let mut own = tensor.grad();
                if own.defined() { own.copy_(&gradient) } else { (tensor * gradient).sum(Kind::Float).backward() }
            }
            twin.step().unwrap();
            for (at, (found, expected)) in x(&optimizer).iter().zip(&x(&twin)).enumerate() {
                let off = f32::try_from((found - expected).abs().max()).unwrap();
                // Lag feedback and alignment look back at Y as the model had it, here rounded. Measured: 5e-4.
                let most = match rule.transport {
                    Transport::Lag { .. } | Transport::Alignment { .. } => 2e-3,
                    _ => 0.0,
                };
                assert!(off <= most, "{rule:?} on {device:?}, step {t}, {}: {off:e}", PARAMETERS[at].0);
            }
            if rule.transport == (Transport::Fixed { theta: 0.0 }) || rule.transport == Transport::Nesterov {
                for (at, (shown, x)) in half.iter().zip(x(&optimizer)).enumerate() {
                    let x = if at == 4 { x } else { rounded(&x) };
                    assert_eq!(elements(&shown.to_kind(Kind::Float)), elements(&x), "{rule:?}, step {t}");
                }
            }
        }
    }
}

#[test]
fn small_steps_are_not_lost() {
    // A step of a thousandth of a weight is lost in bfloat16, which has eight bits.
    let rule = Rule { step_size: 1e-4, transport: Transport::Fixed { theta: 0.0 }, ..Rule::PLAIN };
    let w = Tensor::ones([8, 8], (Kind::BFloat16, Device::Cpu)).set_requires_grad(true);
    let groups = Groups::only([Group::new("w").role(Role::Hidden)]);
    let named = [("w".to_owned(), w.shallow_clone())];
    let mut optimizer = TransportedScion::with_groups(named, rule, ARITHMETICS[0], &groups).unwrap();
    let pushes = Tensor::eye(8, (Kind::Float, Device::Cpu));
    for _ in 0..100 {
        optimizer.backward_step(&(w.to_kind(Kind::Float) * &pushes).sum(Kind::Float)).unwrap();
    }
    let moved = 1.0 - w.to_kind(Kind::Float).diagonal(0, 0, 1);
    // 100 steps of 3e-4.
    assert!(elements(&moved).iter().all(|moved| (moved - 0.03).abs() < 0.005), "{moved:?}");
}

#[test]
fn parts_of_a_batch_are_summed_in_binary32() {
    let mut generator = Generator::new(5, 1);
    let parts: Vec<_> = (0..64).map(|_| random(&[6, 4], &mut generator)).collect();
    let mean = |kind: Kind| {
        let w = random(&[6, 4], &mut Generator::new(3, 1)).to_kind(kind).set_requires_grad(true);
        let named = [("w".to_owned(), w.shallow_clone())];
        let groups = Groups::only([Group::new("w").role(Role::Hidden)]);
        let mut optimizer = TransportedScion::with_groups(named, Rule::PLAIN, ARITHMETICS[0], &groups).unwrap();
        for part in &parts {
            optimizer.accumulate(&(w.to_kind(Kind::Float) * part).sum(Kind::Float), 3).unwrap();
        }
        optimizer.step().unwrap();
        let m = optimizer.state().unwrap().into_iter().find(|(name, _)| name == "w.m").unwrap().1;
        // A second step of one part alone has nothing of the first.
        optimizer.accumulate(&(w.to_kind(Kind::Float) * &parts[0]).sum(Kind::Float), 1).unwrap();
        optimizer.step().unwrap();
        let last = w.grad().to_kind(Kind::Float);
        let off = f64::try_from((last - rounded(&parts[0])).abs().max()).unwrap();
        assert!(off < 0.004, "{off:e}");
        m
    };
    let exact = parts.iter().map(|part| part.to_kind(Kind::Double)).reduce(|a, b| a + b).unwrap() / 64.0;
    let off = |m: Tensor| f64::try_from((m.to_kind(Kind::Double) - &exact).norm() / exact.norm()).unwrap();
    let (half, whole) = (off(mean(Kind::BFloat16)), off(mean(Kind::Float)));
    println!("{half:e}, {whole:e}");
    // Measured: 2.5e-3, from rounding each part; 3e-2 if the sum is in bfloat16.
    assert!(half < 6e-3 && whole < 1e-6, "{half:e}, {whole:e}");
}

#[test]
fn a_state_goes_on_and_weights_are_loaded_and_shown() {
    for rule in rules() {
        let make = || {
            let model = model(Device::Cpu, Kind::BFloat16);
            let named = model.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
            let optimizer = TransportedScion::with_groups(named, rule, ARITHMETICS[0], &groups()).unwrap();
            (optimizer.averaging(Average::Tail { from: 2 }).unwrap(), tensors(&model))
        };
        let (mut whole, parameters) = make();
        let mut generator = Generator::new(17, 1);
        for _ in 0..3 {
            whole.backward_step(&loss(&parameters, &mut generator)).unwrap();
        }
        let (state, mut again) = (whole.state().unwrap(), generator.clone());
        for _ in 0..3 {
            whole.backward_step(&loss(&parameters, &mut generator)).unwrap();
        }
        let (mut resumed, others) = make();
        resumed.restore(&state).unwrap();
        for _ in 0..3 {
            resumed.backward_step(&loss(&others, &mut again)).unwrap();
        }
        assert_eq!(bits(&x(&resumed)), bits(&x(&whole)), "{rule:?}");
        let floats = |all: &[Tensor]| bits(&all.iter().map(|t| t.to_kind(Kind::Float)).collect::<Vec<_>>());
        assert_eq!(floats(&others), floats(&parameters), "{rule:?}");
        // Evaluation shows X, rounded, and puts back what was there.
        let before = floats(&parameters);
        let shown = whole.evaluate(|| floats(&parameters)).unwrap();
        let expected: Vec<_> =
            x(&whole).iter().enumerate().map(|(at, x)| if at == 4 { x.copy() } else { rounded(x) }).collect();
        assert_eq!(shown, bits(&expected), "{rule:?}");
        assert_eq!(floats(&parameters), before);
        // Written weights become X.
        let _ = no_grad(|| parameters[0].shallow_clone().fill_(0.5));
        assert!(elements(&x(&whole)[0]).iter().all(|e| *e == 0.5), "{rule:?}");
    }
}

#[test]
fn memory_is_what_the_documentation_says() {
    let bytes = |kind: Kind, transport: Transport| {
        let model = model(Device::Cpu, kind);
        let named = model.iter().take(2).map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        let rule = Rule { transport, ..Rule::PLAIN };
        let optimizer = TransportedScion::with_groups(named, rule, ARITHMETICS[0], &Groups::automatic()).unwrap();
        optimizer.bytes() / 48
    };
    for (transport, float, rounded) in [
        (Transport::Fixed { theta: 0.0 }, 4, 8),
        (Transport::Lag { memory: 0.6 }, 8, 8),
        (Transport::Alignment { damping: 1.0 }, 8, 8),
        (Transport::Nesterov, 8, 12),
    ] {
        assert_eq!(
            (bytes(Kind::Float, transport), bytes(Kind::BFloat16, transport)),
            (float, rounded),
            "{transport:?}"
        );
    }
}

#[test]
fn what_cannot_be_in_bfloat16_is_refused() {
    let refused = |name: &str, size: &[i64], kind, arithmetic| {
        let tensor = Tensor::zeros(size, (kind, Device::Cpu)).set_requires_grad(true);
        let named = [(name.to_owned(), tensor)];
        let groups = Groups::automatic();
        TransportedScion::with_groups(named, Rule::PLAIN, arithmetic, &groups).unwrap_err().to_string()
    };
    assert_eq!(
        refused("norm.gain", &[4], Kind::BFloat16, ARITHMETICS[0]),
        "parameter norm.gain: is a gain of kind BFloat16, but only matrices can be; make it Float"
    );
    let error = refused("w", &[4, 4], Kind::BFloat16, ARITHMETICS[1]);
    assert!(error.contains("exact arithmetic takes only Float"), "{error}");
    let error = refused("w", &[4, 4], Kind::Half, ARITHMETICS[0]);
    assert!(error.contains("only Float and, for matrices, BFloat16 are supported"), "{error}");
}
