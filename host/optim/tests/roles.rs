//! Tests of what an optimizer takes the parameters of well-known architectures for, and of roles that groups set.

#[path = "common/numbers.rs"]
mod numbers;

use graftage_core::random::Generator;
use graftage_core::scion::Rule;
use graftage_core::transport::Transport;
use graftage_optim::groups::roles;
use graftage_optim::tensor::Arithmetic;
use graftage_optim::{Error, Group, Groups, Parameter, Role, TransportedScion, named};
use numbers::{ARITHMETICS, bits, random, x};
use tch::{Kind, Tensor, kind::FLOAT_CPU, nn, nn::Module};

/// Returns the roles as text, with a question mark for each that is doubtful and `none` for a refused one.
fn found(parameters: &[(&str, &[i64])]) -> Vec<String> {
    let parameters: Vec<_> = parameters.iter().map(|(name, size)| Parameter { name, size }).collect();
    let text = |derived: &Option<graftage_optim::groups::Derived>| match derived {
        Some(derived) => format!("{}{}", derived.role, if derived.doubtful { "?" } else { "" }),
        None => "none".into(),
    };
    roles(&parameters).iter().map(text).collect()
}

fn assert_roles(expected: &[(&str, &[i64], &str)]) {
    let parameters: Vec<_> = expected.iter().map(|(name, size, _)| (*name, *size)).collect();
    let roles: Vec<_> = expected.iter().map(|(_, _, role)| *role).collect();
    assert_eq!(found(&parameters), roles, "{parameters:?}");
}

#[test]
fn a_residual_network_has_gains_convolutions_and_a_head() {
    assert_roles(&[
        ("conv1.weight", &[16, 3, 3, 3], "convolution"),
        ("bn1.weight", &[16], "gain"),
        ("bn1.bias", &[16], "bias"),
        ("layer1.0.downsample.1.weight", &[16], "gain"),
        ("layer1.0.conv2.weight", &[32, 16, 1, 1], "convolution"),
        // The same size as the first layer of a network for grey images.
        ("layer1.0.depthwise.weight", &[32, 1, 3, 3], "convolution?"),
        ("layer1.0.conv1d.weight", &[64, 64, 3], "convolution"),
        ("fc.weight", &[10, 32], "head?"),
        ("fc.bias", &[10], "bias"),
    ]);
}

#[test]
fn head_and_tables_are_found_by_name_before_place() {
    let (table, hidden): (&[i64], &[i64]) = (&[1000, 64], &[64, 64]);
    // A tied model has a table and no head.
    assert_roles(&[
        ("transformer.wte.weight", table, "embedding"),
        ("transformer.wpe.weight", &[128, 64], "embedding"),
        ("transformer.h_0.ln_1.weight", &[64], "gain"),
        ("transformer.h_0.ln_1.bias", &[64], "bias"),
        ("transformer.h_0.c_attn.weight", &[192, 64], "hidden"),
        ("transformer.h_0.c_proj.weight", hidden, "hidden"),
        ("transformer.ln_f.weight", &[64], "gain"),
    ]);
    // An untied one whose last matrix has a row for each word.
    assert_roles(&[("tok.weight", table, "embedding"), ("up", hidden, "hidden"), ("out.weight", table, "head?")]);
    // A projection behind a named head.
    assert_roles(&[
        ("a", hidden, "hidden"),
        ("classifier.weight", &[10, 64], "head"),
        ("proj.weight", hidden, "hidden"),
    ]);
    // Blocks have outputs, which are no heads.
    assert_roles(&[
        ("layer.0.attention.output.dense.weight", hidden, "hidden"),
        ("layer.0.output.weight", hidden, "hidden"),
        ("lm_head.weight", table, "head"),
    ]);
    // A body alone.
    assert_roles(&[
        ("h.0.up.weight", hidden, "hidden"),
        ("h.0.down.weight", hidden, "hidden"),
        ("h.1.up.weight", hidden, "hidden"),
        ("h.1.down.weight", hidden, "hidden"),
    ]);
    // A perceptron of equal layers has a head.
    assert_roles(&[("layers.0.weight", hidden, "hidden"), ("layers.2.weight", hidden, "head?")]);
}

#[test]
fn a_tensor_of_three_dimensions_needs_a_name_or_a_role_that_says_what_it_is() {
    assert_roles(&[
        ("w", &[8, 64, 32], "none"),
        ("mlp.experts.up", &[8, 64, 32], "experts"),
        ("conv", &[8, 4, 3], "convolution"),
    ]);
    let make = |groups: &Groups| {
        let parameters = [("w".to_owned(), Tensor::ones([8, 64, 32], FLOAT_CPU))];
        TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, groups)
    };
    let refused = make(&Groups::automatic()).unwrap_err().to_string();
    assert!(refused.contains("may be a convolution or a stack") && refused.contains("experts"), "{refused}");
    for (role, matrices) in [(Role::Experts, "8·64×32"), (Role::Convolution, "8×2048"), (Role::Depthwise, "8×2048")]
    {
        let table = make(&Groups::overriding([Group::new("w").role(role)])).unwrap().table();
        assert!(table.contains(&format!("{role}  ")) && table.contains(matrices), "{table}");
    }
    for (role, size) in [(Role::Experts, &[4, 4][..]), (Role::Convolution, &[4, 4]), (Role::Head, &[])] {
        let parameters = [("w".to_owned(), Tensor::ones(size, FLOAT_CPU))];
        let groups = Groups::overriding([Group::new("w").role(role)]);
        let refused = TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, &groups).map(drop);
        assert!(matches!(&refused, Err(Error::Parameter { what, .. }) if what.ends_with(&format!("is no {role}"))));
    }
    let groups = Groups::overriding([Group::new("w").geometry(Role::Convolution.usual(&[4, 2, 7]))]);
    let parameters = [("w".to_owned(), Tensor::ones([16, 4], FLOAT_CPU))];
    let refused = TransportedScion::with_groups(parameters, Rule::PLAIN, Arithmetic::Fast, &groups).map(drop);
    assert!(refused.unwrap_err().to_string().contains("its 4 columns are no multiple of the 7 taps"));
}

#[test]
fn experts_are_stepped_as_so_many_matrices_by_themselves() {
    let size = [3, 6, 4];
    let laws = [Transport::Fixed { theta: 0.5 }, Transport::Lag { memory: 0.6 }, Transport::Alignment { damping: 1.0 }];
    for (transport, arithmetic) in laws.into_iter().flat_map(|law| ARITHMETICS.map(|arithmetic| (law, arithmetic))) {
        let rule = Rule { transport, ..Rule::PLAIN };
        let (stacked, apart) = (nn::VarStore::new(tch::Device::Cpu), nn::VarStore::new(tch::Device::Cpu));
        let experts = stacked.root().zeros("experts", &size);
        let alone: Vec<_> = (0..size[0]).map(|at| apart.root().zeros(&format!("expert-{at}"), &size[1..])).collect();
        let groups = Groups::overriding([Group::new("*").role(Role::Hidden)]);
        let mut together = TransportedScion::new(&stacked, rule, arithmetic).unwrap();
        let mut single = TransportedScion::with_groups(named(&apart), rule, arithmetic, &groups).unwrap();
        together.initialise(5).unwrap();
        single.initialise(5).unwrap();
        let mut generator = Generator::new(6, 1);
        for t in 0..4 {
            let gradient = random(&size, &mut generator);
            together.backward_step(&(&experts * &gradient).sum(Kind::Float)).unwrap();
            let losses = alone.iter().enumerate().map(|(at, w)| (w * gradient.get(at as i64)).sum(Kind::Float));
            single.backward_step(&losses.sum::<Tensor>()).unwrap();
            for (whole, parts) in [
                (x(&together).remove(0), x(&single)),
                (experts.shallow_clone(), alone.iter().map(Tensor::shallow_clone).collect()),
            ] {
                assert_eq!(bits(&[whole]), bits(&[Tensor::stack(&parts, 0)]), "{transport:?}, {arithmetic}, step {t}");
            }
        }
        assert_eq!(together.refused().unwrap(), []);
        together.backward_step(&(&experts * f64::NAN).sum(Kind::Float)).err();
        if arithmetic == Arithmetic::Fast {
            assert_eq!(together.refused().unwrap(), [("experts".to_owned(), 1)]);
        }
    }
}

#[test]
fn initial_weights_never_silence_a_normalisation() {
    let store = nn::VarStore::new(tch::Device::Cpu);
    let root = store.root();
    let layers = nn::seq()
        .add(nn::linear(&root / "fc1", 8, 16, Default::default()))
        .add(nn::layer_norm(&root / "ln_1", vec![16], Default::default()))
        .add(nn::linear(&root / "fc2", 16, 4, Default::default()));
    // A gain by another name is known by its ones, unless a group says that it is a bias.
    let odd = root.ones("odd", &[4]);
    let shift = root.ones("shift", &[4]);
    let groups = Groups::overriding([Group::new("shift").role(Role::Bias)]);
    let mut optimizer = TransportedScion::with_groups(named(&store), Rule::PLAIN, Arithmetic::Fast, &groups).unwrap();
    optimizer.initialise(7).unwrap();
    let outputs = layers.forward(&random(&[32, 8], &mut Generator::new(8, 1)));
    assert!(f64::try_from(outputs.std(true)).unwrap() > 0.5, "{outputs}");
    assert_eq!(bits(&[odd, shift]), bits(&[Tensor::ones([4], FLOAT_CPU), Tensor::zeros([4], FLOAT_CPU)]));
    let table = optimizer.table();
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("ln_1.weight").contains("gain") && line("odd").contains("gain") && line("shift").contains("bias"));
}

#[test]
fn a_group_that_names_a_head_leaves_none_to_be_guessed() {
    let parameters = || ["first", "second", "last"].map(|name| (name.to_owned(), Tensor::ones([4, 4], FLOAT_CPU)));
    let groups = Groups::overriding([Group::new("second").role(Role::Head)]);
    let optimizer = TransportedScion::with_groups(parameters(), Rule::PLAIN, Arithmetic::Fast, &groups).unwrap();
    let lines: Vec<_> =
        optimizer.table().lines().map(|line| line.split_whitespace().nth(3).unwrap_or("").to_owned()).collect();
    println!("{}", optimizer.table());
    assert_eq!(optimizer.table().matches("Sign").count(), 1, "{lines:?}");
    assert!(!optimizer.table().contains('?'));
}
