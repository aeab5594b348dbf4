//! Tests of the peers as people know them: the published steps of Scion and Muon, AdamW and SGD with decay, and several
//! of them in one optimizer. The oracle is float64 code written from the papers and shares nothing with the crate.

#[path = "common/parameters.rs"]
mod common;
#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/numbers.rs"]
mod numbers;

use common::{gradients, linear_loss, model, model_on};
use graftage_core::polar::Quintics;
use graftage_core::random::Generator;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use graftage_optim::Decay;
use graftage_optim::groups::Scale;
use graftage_optim::method::Method;
use graftage_optim::schedule::{Knots, Window};
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{Group, Groups, Role, TransportedScion};
use numbers::{ARITHMETICS, bits, elements, random, x};
use tch::nn::OptimizerConfig;
use tch::{Device, Kind, Tensor, nn, no_grad};

/// Steps of the comparisons with published code.
const STEPS: usize = 20;
const BETA: f64 = 0.9;

/// A parameter with its role, and its published step in float64.
struct Published {
    size: &'static [i64],
    role: Role,
    lmo: fn(&Tensor) -> Tensor,
}

/// Five steps of X ← aX + bXXᵀX + c(XXᵀ)²X with Jordan's coefficients, from X/‖X‖_F; on the transpose if it is tall.
/// The published code adds ε to the norm and computes in bfloat16; here ε = 0.
fn newton_schulz(g: &Tensor) -> Tensor {
    let tall = g.size()[0] > g.size()[1];
    let mut x = if tall { g.tr() } else { g.shallow_clone() };
    x = &x / x.norm();
    for _ in 0..5 {
        let a = x.matmul(&x.tr());
        let b = &a * -4.7750 + a.matmul(&a) * 2.0315;
        x = &x * 3.4445 + b.matmul(&x);
    }
    if tall { x.tr() } else { x }
}

fn outputs(g: &Tensor) -> f64 {
    g.size()[0] as f64
}

fn inputs(g: &Tensor) -> f64 {
    g.size()[1] as f64
}

/// Scion's `Spectral`: √(out/in) of the polar factor.
fn spectral(g: &Tensor) -> Tensor {
    newton_schulz(g) * (outputs(g) / inputs(g)).sqrt()
}

/// Scion's `SpectralConv`: the flattened filters, √(out/in)/k².
fn convolution(g: &Tensor) -> Tensor {
    let [out, channels, k, l] = g.size()[..] else { panic!("{g:?}") };
    newton_schulz(&g.view([out, -1])).view([out, channels, k, l]) * (out as f64 / channels as f64).sqrt()
        / (k * l) as f64
}

/// Scion's `Sign`.
fn sign(g: &Tensor) -> Tensor {
    g.sign() / inputs(g)
}

/// Scion's `BiasRMS`.
fn rms(g: &Tensor) -> Tensor {
    g / g.square().mean(Kind::Double).sqrt()
}

/// Scion's `ColNorm` of an embedding, whose columns are the words: each with root mean square 1.
fn words(g: &Tensor) -> Tensor {
    g / g.square().mean_dim([1i64].as_slice(), true, Kind::Double).sqrt()
}

/// Muon's step: max(1, √(m/n)) of the polar factor.
fn muon(g: &Tensor) -> Tensor {
    newton_schulz(g) * (outputs(g) / inputs(g)).max(1.0).sqrt()
}

const SCION: [Published; 7] = [
    Published { size: &[64, 64], role: Role::Hidden, lmo: spectral },
    Published { size: &[256, 64], role: Role::Hidden, lmo: spectral },
    Published { size: &[64, 256], role: Role::Hidden, lmo: spectral },
    Published { size: &[32, 16, 3, 3], role: Role::Convolution, lmo: convolution },
    Published { size: &[64], role: Role::Bias, lmo: rms },
    Published { size: &[100, 32], role: Role::Embedding, lmo: words },
    Published { size: &[10, 64], role: Role::Head, lmo: sign },
];

const MUON: [Published; 3] = [
    Published { size: &[64, 64], role: Role::Hidden, lmo: muon },
    Published { size: &[256, 64], role: Role::Hidden, lmo: muon },
    Published { size: &[64, 256], role: Role::Hidden, lmo: muon },
];

/// Returns gradients with columns whose scales differ by a factor of up to 100.
fn uneven(size: &[i64], generator: &mut Generator) -> Tensor {
    let last = size.last().copied().unwrap_or(1);
    let scales: Vec<f32> = (0..last).map(|column| 0.01f32.powf(column as f32 / last as f32)).collect();
    random(size, generator) * Tensor::from_slice(&scales)
}

/// Takes 20 steps by a method and by its published equations in float64. Returns the largest ratio of the distance
/// between the results to the distance moved.
fn parity(method: Method, all: &[Published], pull: Pull, device: Device, kind: Kind) -> f64 {
    let rule = Rule {
        step_size: 0.02,
        quintics: Quintics::Jordan,
        pull,
        momentum: Momentum::Constant(BETA as f32),
        ..Rule::PLAIN
    };
    let radius = 3.0;
    let store = nn::VarStore::new(device);
    let mut generator = Generator::new(20_261_201, 1);
    let parameters: Vec<_> = (0..)
        .zip(all)
        .map(|(at, published)| {
            store.root().var_copy(&format!("p{at}"), &(random(published.size, &mut generator) * 0.1))
        })
        .collect();
    let starts: Vec<_> =
        parameters.iter().map(|tensor| tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double)).collect();
    let groups = (0..)
        .zip(all)
        .map(|(at, published)| Group { radius: Some(radius), ..Group::new(&format!("p{at}")).role(published.role) });
    let groups = Groups::overriding(groups);
    let mut optimizer = method.optimizer(&store, rule, Arithmetic::Fast, &groups, 1).unwrap().from_zero().unwrap();
    if kind == Kind::BFloat16 {
        optimizer = optimizer.bfloat16();
    }
    // The method starts from weights of its own; these are the same for both sides.
    no_grad(|| parameters.iter().zip(&starts).for_each(|(tensor, start)| tensor.shallow_clone().copy_(start)));
    let (eta, beta) = (f64::from(rule.step_size) * radius as f64, f64::from(BETA as f32));
    let mut twins: Vec<_> = starts.iter().map(|start| (start.copy(), start.zeros_like())).collect();
    for _ in 0..STEPS {
        let gradients: Vec<_> = all.iter().map(|published| uneven(published.size, &mut generator)).collect();
        optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
        for ((published, (x, m)), g) in all.iter().zip(&mut twins).zip(&gradients) {
            let g = g.to_kind(Kind::Double);
            *m = &*m * beta + &g * (1.0 - beta);
            let argument = if method == Method::Muon { &g * (1.0 - beta) + &*m * beta } else { m.shallow_clone() };
            if let Pull::Zero { .. } = pull {
                *x = &*x * (1.0 - f64::from(rule.step_size));
            }
            *x = &*x - (published.lmo)(&argument) * eta;
        }
    }
    let mut worst = 0.0f64;
    for (((published, found), (expected, _)), start) in all.iter().zip(x(&optimizer)).zip(&twins).zip(&starts) {
        let off = (found.to_device(Device::Cpu).to_kind(Kind::Double) - expected).norm();
        let ratio = f64::try_from(off / (expected - start).norm()).unwrap();
        println!("{method} on {device:?}, {:?} {:?}: {ratio:e}", published.role, published.size);
        worst = worst.max(ratio);
    }
    worst
}

#[test]
fn scion_and_muon_take_their_published_steps() {
    for device in cuda::devices() {
        for (method, all, pull) in [
            (Method::Scion, &SCION[..], Pull::None),
            (Method::Scion, &SCION, Pull::Zero { strength: 1.0 }),
            (Method::Muon, &MUON, Pull::None),
        ] {
            let worst = parity(method, all, pull, device, Kind::Float);
            assert!(worst < 2e-6, "{method}, {pull:?}: {worst:e}");
        }
    }
}

#[test]
fn directions_in_bfloat16_stay_near_the_published_steps() {
    for device in cuda::devices() {
        let worst = parity(Method::Muon, &MUON, Pull::None, device, Kind::BFloat16);
        // Measured: 0.0052; 0.021 if aI is added to the squares in bfloat16.
        assert!(worst < 1e-2, "{worst:e}");
    }
}

/// Returns the largest difference of any element.
fn largest_difference(found: &[Tensor], expected: &[Tensor]) -> f64 {
    let off = |(found, expected): (&Tensor, &Tensor)| {
        f64::try_from((found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max()).unwrap()
    };
    found.iter().zip(expected).map(off).fold(0.0, f64::max)
}

fn adamw() -> Method {
    Method::find("adamw").unwrap()
}

fn sgd() -> Method {
    Method::find("sgd").unwrap()
}

/// Groups of all parameters with a decay.
fn decaying(strength: f32, cautious: bool) -> Groups {
    Groups::automatic().usually([Group { decay: Some(Decay { strength, cautious }), ..Group::new("*") }])
}

#[test]
fn adamw_with_decay_is_libtorchs_own() {
    for device in cuda::devices() {
        let rule = Rule { step_size: 0.05, schedule: Schedule::Linear { steps: 30 }, ..Rule::PLAIN };
        let (store, parameters) = model_on(device, 3);
        let mut optimizer = adamw().optimizer(&store, rule, Arithmetic::Fast, &decaying(0.3, false), 9).unwrap();
        let (store, twins) = model_on(device, 3);
        twins.iter().zip(x(&optimizer)).for_each(|(twin, x)| no_grad(|| twin.shallow_clone().copy_(&x)));
        let own = nn::AdamW { beta1: 0.9, beta2: 0.95, wd: 0.3, eps: 1e-8, amsgrad: false };
        let mut own = own.build(&store, 1.0).unwrap();
        let mut generator = Generator::new(17, 1);
        for t in 1..=20 {
            let gradients = gradients(&mut generator);
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            own.set_lr(rule.step_size_at(t).into());
            own.backward_step(&linear_loss(&twins, &gradients));
        }
        let worst = largest_difference(&parameters, &twins);
        println!("{device:?}: {worst:e}");
        // Measured: 2.4e-7.
        assert!(worst < 1e-6, "{device:?}: {worst:e}");
    }
}

/// Float64 steps of AdamW and SGD by their equations, with decoupled decay.
struct Twin {
    x: Tensor,
    m: Tensor,
    v: Tensor,
}

impl Twin {
    fn step(&mut self, method: Method, g: &Tensor, t: i32, eta: f64, decay: Decay) {
        let g = g.to_kind(Kind::Double);
        let beta = f64::from(0.9f32);
        let direction = if method == adamw() {
            self.m = &self.m * beta + &g * (1.0 - beta);
            self.v = &self.v * 0.95 + &g * &g * 0.05;
            let (m, v) = (&self.m / (1.0 - beta.powi(t)), &self.v / (1.0 - 0.95f64.powi(t)));
            m / (v.sqrt() + 1e-8)
        } else {
            self.m = &self.m * beta + &g;
            self.m.shallow_clone()
        };
        let strength = f64::from(decay.strength);
        let decayed = match decay.cautious {
            // Where the step itself, −η·direction, moves an element towards 0.
            true => (&self.x * &direction).gt(0.0).to_kind(Kind::Double) * &self.x,
            false => self.x.shallow_clone(),
        };
        self.x = &self.x - direction * eta - decayed * (eta * strength);
    }
}

#[test]
fn decay_is_decoupled_and_a_cautious_one_only_helps_the_step() {
    for (method, cautious) in [(adamw(), false), (adamw(), true), (sgd(), false), (sgd(), true)] {
        let decay = Decay { strength: 2.0, cautious };
        let rule = Rule { step_size: 0.02, ..Rule::PLAIN };
        let (store, parameters) = model(3);
        let groups = decaying(decay.strength, cautious);
        let mut optimizer = method.optimizer(&store, rule, Arithmetic::Fast, &groups, 9).unwrap();
        let double = |x: Tensor| x.to_kind(Kind::Double);
        let start = |x: Tensor| Twin { m: x.zeros_like(), v: x.zeros_like(), x };
        let mut twins: Vec<_> = x(&optimizer).into_iter().map(double).map(start).collect();
        let mut generator = Generator::new(17, 1);
        for t in 1..=20 {
            let gradients = gradients(&mut generator);
            optimizer.backward_step(&linear_loss(&parameters, &gradients)).unwrap();
            twins.iter_mut().zip(&gradients).for_each(|(twin, g)| twin.step(method, g, t, f64::from(0.02f32), decay));
        }
        let expected: Vec<_> = twins.into_iter().map(|twin| twin.x).collect();
        let worst = largest_difference(&parameters, &expected);
        println!("{method}, {cautious}: {worst:e}");
        // Measured: 6.9e-7.
        assert!(worst < 2e-6, "{method}, {cautious}: {worst:e}");
    }
}

#[test]
fn decay_of_the_rules_parameters_is_its_pull_to_zero_or_a_cautious_one() {
    let own = Rule { step_size: 0.02, transport: Transport::Lag { memory: 0.6 }, ..Rule::PLAIN };
    let run = |rule: Rule, groups: &Groups| {
        let (store, parameters) = model(3);
        let named = graftage_optim::named(&store);
        let mut optimizer = TransportedScion::with_groups(named, rule, Arithmetic::Fast, groups).unwrap();
        let (mut generator, mut before) = (Generator::new(17, 1), Vec::new());
        for _ in 0..8 {
            before = x(&optimizer);
            optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
        }
        (before, x(&optimizer))
    };
    let pulled = run(Rule { pull: Pull::Zero { strength: 3.0 }, ..own }, &Groups::automatic());
    assert_eq!(bits(&run(own, &decaying(3.0, false)).1), bits(&pulled.1));
    // The pull of all others does not add to it, and a decay of 0 takes it away.
    assert_eq!(
        bits(&run(Rule { pull: Pull::Zero { strength: 1.0 }, ..own }, &decaying(3.0, false)).1),
        bits(&pulled.1)
    );
    let free = run(own, &Groups::automatic());
    let none = run(Rule { pull: Pull::Zero { strength: 1.0 }, ..own }, &decaying(0.0, false));
    assert_eq!(bits(&none.1), bits(&free.1));
    assert_ne!(bits(&pulled.1), bits(&free.1));
    // One step from the same state: without decay, and with a cautious one.
    let step = |groups: &Groups| {
        let (store, parameters) = model(3);
        let named = graftage_optim::named(&store);
        let mut optimizer = TransportedScion::with_groups(named, own, Arithmetic::Fast, groups).unwrap();
        let before = x(&optimizer);
        optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut Generator::new(17, 1)))).unwrap();
        (before, x(&optimizer))
    };
    let ((before, free), (_, cautious)) = (step(&Groups::automatic()), step(&decaying(3.0, true)));
    let mut decayed = 0;
    for ((before, free), cautious) in before.iter().zip(&free).zip(&cautious) {
        for ((x, free), found) in elements(before).into_iter().zip(elements(free)).zip(elements(cautious)) {
            let helps = (free - x) * x < 0.0;
            decayed += usize::from(helps);
            let expected = if helps { free - 0.02 * 3.0 * x } else { free };
            // Measured: 9e-8.
            assert!((found - expected).abs() < 5e-7, "{x}: {free}, {expected}, found {found}");
        }
    }
    assert!(decayed > 20, "{decayed}");
}

#[test]
fn muon_with_adamw_for_the_rest_is_one_optimizer() {
    let rule = Rule { step_size: 0.02, ..Rule::PLAIN };
    let rest = Group {
        rule: adamw().baseline(),
        step_factor: 0.25,
        momentum: Some(Knots::constant(0.8)),
        decay: Some(Decay { strength: 0.1, cautious: false }),
        ..Group::new("*").of_roles(&[Role::Head, Role::Embedding, Role::Bias, Role::Gain])
    };
    let run = |method: Method, rule: Rule, groups: &Groups| {
        let (store, parameters) = model(3);
        let mut optimizer = method.optimizer(&store, rule, Arithmetic::Fast, groups, 9).unwrap();
        println!("{}", optimizer.table());
        let mut generator = Generator::new(17, 1);
        for _ in 0..6 {
            optimizer.backward_step(&linear_loss(&parameters, &gradients(&mut generator))).unwrap();
        }
        (optimizer.table(), bits(&x(&optimizer)))
    };
    let (table, both) = run(Method::Muon, rule, &Groups::overriding([rest]));
    let (_, alone) = run(Method::Muon, rule, &Groups::automatic());
    let quarter = Rule { step_size: 0.25 * 0.02, momentum: Momentum::Constant(0.8), ..rule };
    let (_, others) = run(adamw(), quarter, &decaying(0.1, false));
    for (at, line) in table.lines().skip(1).enumerate() {
        let by_adamw = line.contains("AdamW");
        let hidden = line.contains("hidden") || line.contains("convolution");
        assert_eq!(by_adamw, !hidden, "{line}");
        assert_eq!(both[at], if by_adamw { &others } else { &alone }[at], "{line}");
    }
    assert_eq!(table.matches("AdamW").count(), 4, "{table}");
}

#[test]
fn a_matched_step_has_the_root_mean_square_of_adamws() {
    // The directions of eight quintics are polar factors to rounding.
    let rule = Rule {
        step_size: 0.05,
        quintics: Quintics::PolarExpress8,
        transport: Transport::Fixed { theta: 0.0 },
        ..Rule::PLAIN
    };
    let mut generator = Generator::new(5, 1);
    for (size, role) in [
        (vec![8, 32], Role::Hidden),
        (vec![32, 8], Role::Hidden),
        (vec![12, 12], Role::Hidden),
        (vec![8, 3, 2, 2], Role::Convolution),
    ] {
        let tensor = random(&size, &mut generator).set_requires_grad(true);
        let group = Group { scale: Some(Scale::RmsMatch), ..Group::new("w").role(role) };
        let named = [("w".to_owned(), tensor.shallow_clone())];
        let mut optimizer =
            TransportedScion::with_groups(named, rule, Arithmetic::Fast, &Groups::only([group.clone()])).unwrap();
        let before = tensor.detach().copy();
        optimizer.backward_step(&(&tensor * random(&size, &mut generator)).sum(Kind::Float)).unwrap();
        let moved = f64::try_from((tensor.detach() - before).square().mean(Kind::Double).sqrt()).unwrap();
        assert!((moved / (0.2 * 0.05) - 1.0).abs() < 1e-4, "{size:?}: {moved}");
        drop(optimizer);
        let both = Group { radius: Some(1.0), ..group };
        let named = [("w".to_owned(), tensor)];
        let error = TransportedScion::with_groups(named, rule, Arithmetic::Fast, &Groups::only([both])).unwrap_err();
        assert_eq!(error.to_string(), "parameter w: its group has both a radius and a scale; use one");
    }
}

#[test]
fn momentum_starts_at_zero_only_where_no_transport_cancels_its_bias() {
    let of = |transport, arithmetic| {
        let (store, _) = model(3);
        TransportedScion::new(&store, Rule { transport, ..Rule::PLAIN }, arithmetic).unwrap().from_zero()
    };
    let make = |transport| ARITHMETICS.map(|arithmetic| of(transport, arithmetic)).into_iter().next().unwrap();
    for transport in
        [Transport::Fixed { theta: 0.5 }, Transport::Lag { memory: 0.6 }, Transport::Alignment { damping: 1.0 }]
    {
        let error = make(transport).unwrap_err().to_string();
        assert!(error.contains("only without transport or under Nesterov's law"), "{error}");
    }
    make(Transport::Fixed { theta: 0.0 }).unwrap();
    make(Transport::Nesterov).unwrap();
}

#[test]
fn settings_of_groups_that_cannot_be_are_refused() {
    let refused = |group: Group| {
        let (store, _) = model(3);
        let groups = Groups::overriding([group]);
        let named = graftage_optim::named(&store);
        TransportedScion::with_groups(named, Rule::PLAIN, Arithmetic::Fast, &groups).unwrap_err().to_string()
    };
    let group = || Group::new("first");
    for (group, expected) in [
        (
            Group { decay: Some(Decay { strength: -1.0, cautious: false }), ..group() },
            "decay must be finite and ≥ 0, found -1",
        ),
        (Group { decay: Some(Decay { strength: f32::NAN, cautious: false }), ..group() }, "decay must be finite"),
        (
            Group { decay: Some(Decay { strength: 200.0, cautious: true }), ..group() },
            "the decay: times a step size of 0.01 it must be at most 1, found 200",
        ),
        (Group { momentum: Some(Knots::constant(1.0)), ..group() }, "momentum: 1 at step 1 is not in [0, 1)"),
        (Group { momentum: Some(Knots::new([])), ..group() }, "1 to 8 knots, not 0"),
        (Group { rest: vec![Window { first: 5, last: 4 }], ..group() }, "its rest [5, 4] is no window"),
        (Group { rest: vec![Window { first: 0, last: 4 }], ..group() }, "its rest [0, 4] is no window"),
        (group().of_roles(&[Role::Head]).role(Role::Hidden), "both sets a role and is for given roles"),
        (Group { schedule: Some(Default::default()), ..group() }, "no number of steps is set"),
    ] {
        let found = refused(group);
        assert!(found.contains(expected), "{found}");
    }
}
