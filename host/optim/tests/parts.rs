//! Tests of parameters that are stepped in parts: each part is stepped like a parameter of its own.

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/numbers.rs"]
mod numbers;

use graftage_core::norm::Norm;
use graftage_core::random::Generator;
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{Error, Group, Groups, Role, TransportedScion};
use numbers::{ARITHMETICS, bits, elements, random, x};
use tch::{Device, Kind, Tensor, no_grad};

/// Size of the fused matrix.
const SIZE: [i64; 2] = [12, 5];

/// Ways to divide [`SIZE`], each as group and rows of the parts.
fn divisions() -> Vec<(Group, Vec<Vec<i64>>)> {
    let group = || Group::new("fused").role(Role::Hidden);
    vec![
        (group().split(&[4, 4, 4]), vec![(0..4).collect(), (4..8).collect(), (8..12).collect()]),
        // Grouped queries: more of them than of keys and values.
        (group().split(&[8, 2, 2]), vec![(0..8).collect(), (8..10).collect(), (10..12).collect()]),
        (Group { interleaved: Some(2), ..group() }, [0, 1].map(|turn| (turn..12).step_by(2).collect()).into()),
        (Group { heads: Some(3), ..group() }, vec![(0..4).collect(), (4..8).collect(), (8..12).collect()]),
        (
            Group { heads: Some(2), ..group().split(&[8, 4]) },
            vec![(0..4).collect(), (4..8).collect(), (8..10).collect(), (10..12).collect()],
        ),
    ]
}

fn rules() -> impl Iterator<Item = Rule> {
    let laws = [
        Transport::Fixed { theta: 0.0 },
        Transport::Lag { memory: 0.6 },
        Transport::Alignment { damping: 1.0 },
        Transport::Nesterov,
    ];
    let pulls = [Pull::None, Pull::Start { strength: 2.0 }];
    laws.into_iter().flat_map(move |transport| pulls.map(|pull| Rule { transport, pull, ..Rule::PLAIN }))
}

fn rows(tensor: &Tensor, rows: &[i64]) -> Tensor {
    tensor.index_select(0, &Tensor::from_slice(rows).to_device(tensor.device()))
}

/// A fused matrix beside another parameter, and the same as matrices of their own.
struct Both {
    fused: (TransportedScion, Tensor, Tensor),
    apart: (TransportedScion, Vec<Tensor>, Tensor),
    parts: Vec<Vec<i64>>,
}

impl Both {
    fn new(group: &Group, parts: &[Vec<i64>], rule: Rule, arithmetic: Arithmetic, device: Device) -> Self {
        let mut generator = Generator::new(1, 1);
        let leaf = |tensor: &Tensor| tensor.to_device(device).copy().set_requires_grad(true);
        let (fused, other) = (random(&SIZE, &mut generator), random(&[4, 5], &mut generator));
        let apart: Vec<_> = parts.iter().map(|part| leaf(&rows(&fused, part))).collect();
        let (fused, others) = (leaf(&fused), [leaf(&other), leaf(&other)]);
        let named = |name: &str, tensor: &Tensor| (name.to_owned(), tensor.shallow_clone());
        let hidden = Group::new("*").role(Role::Hidden);
        let first = TransportedScion::with_groups(
            [named("fused", &fused), named("other", &others[0])],
            rule,
            arithmetic,
            &Groups::only([group.clone(), hidden.clone()]),
        );
        let alone = apart.iter().enumerate().map(|(at, part)| named(&format!("part-{at}"), part));
        let alone = alone.chain([named("other", &others[1])]);
        let second = TransportedScion::with_groups(alone, rule, arithmetic, &Groups::only([hidden]));
        let [other, twin] = others;
        Self { fused: (first.unwrap(), fused, other), apart: (second.unwrap(), apart, twin), parts: parts.to_vec() }
    }

    /// Takes a step with gradients, the same for both.
    fn step(&mut self, generator: &mut Generator) {
        let (gradient, other) = (random(&SIZE, generator), random(&[4, 5], generator));
        let device = self.fused.1.device();
        let loss = |tensor: &Tensor, gradient: &Tensor| (tensor * gradient.to_device(device)).sum(Kind::Float);
        let (optimizer, fused, own) = &mut self.fused;
        optimizer.backward_step(&(loss(fused, &gradient) + loss(own, &other))).unwrap();
        let (optimizer, apart, own) = &mut self.apart;
        let losses = apart.iter().zip(&self.parts).map(|(part, at)| loss(part, &rows(&gradient, at)));
        optimizer.backward_step(&(losses.sum::<Tensor>() + loss(own, &other))).unwrap();
    }

    fn assert_equal(&self, what: &str) {
        let ((first, fused, _), (second, apart, _)) = (&self.fused, &self.apart);
        let (xs, ys) = (x(first), x(second));
        for (at, part) in self.parts.iter().enumerate() {
            assert_eq!(
                bits(&[rows(fused, part)]),
                bits(&[apart[at].shallow_clone()]),
                "{what}: part {at} of the model"
            );
            assert_eq!(bits(&[rows(&xs[0], part)]), bits(&[ys[at].shallow_clone()]), "{what}: part {at} of X");
        }
        assert_eq!(bits(&xs[1..]), bits(&ys[self.parts.len()..]), "{what}: the other parameter");
    }
}

#[test]
fn parts_end_in_the_bits_of_parameters_of_their_own() {
    for (group, parts) in divisions() {
        for (rule, arithmetic) in rules().flat_map(|rule| ARITHMETICS.map(|arithmetic| (rule, arithmetic))) {
            for device in cuda::devices() {
                let what = format!("{group:?}, {rule:?}, {arithmetic}, {device:?}");
                let mut both = Both::new(&group, &parts, rule, arithmetic, device);
                let mut generator = Generator::new(2, 1);
                for _ in 0..20 {
                    both.step(&mut generator);
                }
                both.assert_equal(&what);
                let seen = both.fused.0.evaluate(|| elements(&both.fused.1)).unwrap();
                assert_eq!(seen, elements(&x(&both.fused.0)[0]), "{what}: evaluation sees X");
                both.assert_equal(&what);
                assert_eq!(both.fused.0.refused().unwrap(), []);
            }
        }
    }
}

#[test]
fn parts_start_from_the_bits_of_parameters_of_their_own_and_go_on_from_a_state() {
    for (group, parts) in divisions() {
        for arithmetic in ARITHMETICS {
            let rule = Rule { transport: Transport::Lag { memory: 0.6 }, ..Rule::PLAIN };
            let what = format!("{group:?}, {arithmetic}");
            let mut both = Both::new(&group, &parts, rule, arithmetic, Device::Cpu);
            both.fused.0.initialise(3).unwrap();
            both.apart.0.initialise(3).unwrap();
            both.assert_equal(&what);
            let mut generator = Generator::new(4, 1);
            both.step(&mut generator);
            let state = both.fused.0.state().unwrap();
            let mut again = Both::new(&group, &parts, rule, arithmetic, Device::Cpu);
            again.fused.0.restore(&state).unwrap();
            again.apart.0.restore(&both.apart.0.state().unwrap()).unwrap();
            again.assert_equal(&what);
            for both in [&mut both, &mut again] {
                let mut generator = generator.clone();
                (0..3).for_each(|_| both.step(&mut generator));
                both.assert_equal(&what);
            }
            assert_eq!(bits(&x(&both.fused.0)), bits(&x(&again.fused.0)), "{what}");
        }
    }
}

#[test]
fn written_weights_and_missing_gradients_of_parts_are_noticed() {
    for (group, parts) in divisions() {
        for arithmetic in ARITHMETICS {
            let what = format!("{group:?}, {arithmetic}");
            let mut both = Both::new(&group, &parts, Rule::PLAIN, arithmetic, Device::Cpu);
            let mut generator = Generator::new(5, 1);
            both.step(&mut generator);
            let values = random(&SIZE, &mut generator);
            no_grad(|| {
                both.fused.1.shallow_clone().copy_(&values);
                let apart = both.apart.1.iter().zip(&both.parts);
                apart.for_each(|(part, at)| part.shallow_clone().copy_(&rows(&values, at)));
            });
            both.assert_equal(&what);
            both.step(&mut generator);
            both.assert_equal(&what);
            let before = bits(&x(&both.fused.0));
            let (optimizer, _, other) = &mut both.fused;
            optimizer.backward_step(&other.sum(Kind::Float)).unwrap();
            let after = bits(&x(&both.fused.0));
            assert_eq!((after[0] == before[0], after[1] == before[1]), (true, false), "{what}");
            // Values that an evaluation writes stay.
            both.fused.0.evaluate(|| _ = both.fused.1.shallow_clone().fill_(0.5)).unwrap();
            assert_eq!(elements(&both.fused.1), [0.5; 60], "{what}");
            assert_eq!(elements(&x(&both.fused.0)[0]), [0.5; 60], "{what}");
        }
    }
}

#[test]
fn each_part_has_its_line_and_may_have_a_group() {
    let make = |groups: Vec<Group>| {
        let parameters = [("w".to_owned(), Tensor::ones(SIZE, tch::kind::FLOAT_CPU))];
        TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, &Groups::overriding(groups))
    };
    let group = || Group::new("w").role(Role::Hidden);
    let lines = |groups| -> Vec<String> {
        let table = make(groups).unwrap().table();
        table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let equal = lines(vec![Group { heads: Some(2), ..group().split(&[4, 4, 4]) }]);
    assert_eq!(equal, [0, 1, 2].map(|at| format!("w[{at}] [12, 5] hidden 2·2×5 Spectral 3 1 0")));
    let own = Group { radius: Some(7.0), step_factor: 0.5, ..Group::new("w[1]") };
    let different = lines(vec![own.clone(), group().split(&[4, 4, 4])]);
    let [first, second, third] = [
        "w[0] [12, 5] hidden 4×5 Spectral 3 1 0",
        "w[1] [12, 5] hidden 4×5 Spectral 7 0.5 1",
        "w[2] [12, 5] hidden 4×5 Spectral 3 1 0",
    ];
    assert_eq!(different, [first, second, third]);
    let bias = [("b".to_owned(), Tensor::zeros([8], tch::kind::FLOAT_CPU))];
    let groups = Groups::overriding([Group::new("b").split(&[2, 2, 2, 2])]);
    let table = TransportedScion::with_groups(bias, Rule::PLAIN, Arithmetic::Fast, &groups).unwrap().table();
    assert!(table.contains("b[3]") && table.matches("1×2").count() == 4, "{table}");
    // Four bytes each for M and X; parts that are no views keep their weights and gradients, too.
    let bytes = |groups| make(groups).unwrap().bytes() as i64 / (SIZE[0] * SIZE[1]);
    assert_eq!((bytes(vec![group().split(&[6, 6])]), bytes(vec![group().split(&[8, 4])])), (8, 16));
    for (groups, expected) in [
        (vec![group().split(&[4, 4])], "its 12 rows cannot be split into [4, 4], which makes 8"),
        (vec![group().split(&[12, 0])], "its 12 rows cannot be split into [12, 0]"),
        (vec![Group { interleaved: Some(5), ..group() }], "its 12 rows cannot be divided into 5 interleaved parts"),
        (vec![Group { interleaved: Some(2), ..group().split(&[6, 6]) }], "both split and interleaved"),
        (vec![Group { heads: Some(5), ..group() }], "its 12 rows cannot be divided into 5 heads"),
        (vec![Group { heads: Some(0), ..group() }], "its 12 rows cannot be divided into 0 heads"),
        (vec![own, group()], "the group \"w[1]\" matches no parameter"),
    ] {
        let refused = make(groups).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    let convolution = Group { norm: Some(Norm::Convolution { taps: 3 }), ..group() };
    assert!(matches!(make(vec![convolution]), Err(Error::Parameter { .. })));
}
