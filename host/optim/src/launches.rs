//! Number of kernels that a step launches, counted in the trace of libtorch's tracer. The arrays must be inputs of the
//! traced function, because the tracer drops writes to other tensors as unused.

use super::{Groups, RULE, Role, TransportedScion, groups::Group, place::Place};
use crate::tensor::Arithmetic;
use flate2::read::DeflateDecoder;
use graftage_core::polar::Quintics;
use graftage_core::scion::{Geometry, Rule};
use graftage_core::transport::Transport;
use std::collections::BTreeMap;
use std::io::Read;
use tch::{CModule, Kind, Tensor, kind::FLOAT_CPU};

/// Returns the number of kernels that libtorch launches on a GPU for an operation; 0 for operations that only change
/// the view.
fn kernels(operation: &str) -> usize {
    match operation {
        "select" | "narrow" | "slice" | "view" | "reshape" | "transpose" | "transpose_" | "diagonal" | "unsqueeze"
        | "flatten" | "detach" | "empty" | "alias" | "view_as" | "mT" | "device" => 0,
        // The CPU takes amin and amax where a GPU takes one norm. A GPU does not check whether all parameters are
        // admitted.
        "amin" | "neg" | "maximum" | "all" => 0,
        "amax" | "lt" | "add" | "add_" | "sub" | "mul" | "mul_" | "div" | "div_" | "lerp" | "where" | "norm"
        | "clamp_min" | "bmm" | "to" | "copy_" | "sum" | "sqrt" | "gt" | "reciprocal" | "zeros_like" | "zero_"
        | "addcmul" | "addcmul_" | "full" => 1,
        // The addend is copied to the destination of the result.
        "baddbmm" => 2,
        unknown => panic!("{unknown}: how many kernels does it launch?"),
    }
}

/// Counts the operations by name in the third step of `count` matrices in one stack.
fn operations(count: usize, size: [i64; 2], rule: Rule, kind: Kind) -> BTreeMap<String, usize> {
    operations_of(&vec![size; count], &Group::new("*"), rule, kind)
}

/// Counts the operations by name in the third step of spectral matrices of these sizes, in this group.
fn operations_of(sizes: &[[i64; 2]], group: &Group, rule: Rule, kind: Kind) -> BTreeMap<String, usize> {
    tch::manual_seed(1);
    let parameters = sizes.iter().enumerate();
    let parameters =
        parameters.map(|(index, size)| (format!("{index}"), Tensor::randn(size, FLOAT_CPU).set_requires_grad(true)));
    let groups = Groups::only([group.clone().role(Role::Hidden).geometry(Geometry::HIDDEN)]);
    let optimizer = TransportedScion::with_groups(parameters, rule, Arithmetic::Fast, &groups).unwrap();
    let mut optimizer = if kind == Kind::BFloat16 { optimizer.bfloat16() } else { optimizer };
    for _ in 0..2 {
        let product = |place: &Place| (&place.tensor * Tensor::randn(&place.size[..], FLOAT_CPU)).sum(Kind::Float);
        let sums = optimizer.places.iter().map(product);
        optimizer.backward_step(&sums.reduce(|a, b| a + b).unwrap()).unwrap();
    }
    // New gradients, and a NaN, which makes the CPU use masks for refused gradients, too.
    optimizer.places.iter().for_each(|place| _ = place.tensor.grad().fill_(f64::NAN));
    let mut inputs: Vec<_> = optimizer.places.iter().map(|place| place.tensor.shallow_clone()).collect();
    for stack in &optimizer.stacks {
        let others = [&stack.x, &stack.before, &stack.average, &stack.norms, &stack.gradient].into_iter().flatten();
        let arrays = [&stack.model, &stack.admitted].into_iter().chain(&stack.arrays).chain(others);
        inputs.extend(arrays.map(Tensor::shallow_clone));
    }
    let mut step = |inputs: &[Tensor]| {
        optimizer.step().unwrap();
        vec![inputs[0].shallow_clone()]
    };
    let module = CModule::create_by_tracing("Step", "forward", &inputs, &mut step).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step.pt");
    module.save(&path).unwrap();
    let code = code(&std::fs::read(&path).unwrap());
    let mut counts = BTreeMap::new();
    for (at, found) in code.match_indices("torch.").chain(code.match_indices("ops.aten.")) {
        let call = &code[at + found.len()..];
        let end = call.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(call.len());
        let (name, rest) = call.split_at(end);
        if rest.starts_with('(') {
            // Without an addend nothing is copied.
            let addend = rest.split("alpha=").next().is_some_and(|arguments| !arguments.contains("beta=0.,"));
            let name = if name == "baddbmm" && !addend { "bmm" } else { name };
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Returns the TorchScript code in a module's archive, which is a zip file.
fn code(archive: &[u8]) -> String {
    let number = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let starts = (0..archive.len() - 30).filter(|at| archive[*at..].starts_with(b"PK\x03\x04"));
    let mut code = String::new();
    for start in starts {
        let (deflated, name, extra) = (number(start + 8) == 8, number(start + 26), number(start + 28));
        let content = start + 30 + name;
        if archive[start + 30..content].ends_with(b".py") {
            assert!(deflated, "the code is longer than what is stored as it is");
            DeflateDecoder::new(&archive[content + extra..]).read_to_string(&mut code).unwrap();
        }
    }
    code
}

#[test]
fn a_step_launches_as_many_kernels_for_many_matrices_as_for_one() {
    let (float, bfloat) = (Kind::Float, Kind::BFloat16);
    let fixed = Rule::PLAIN.transport;
    for (quintics, size, kind, transport, expected) in [
        (RULE.quintics, [8, 8], float, RULE.transport, 43),
        (RULE.quintics, [8, 32], float, RULE.transport, 45),
        (RULE.quintics, [32, 8], float, RULE.transport, 45),
        (RULE.quintics, [8, 8], bfloat, RULE.transport, 44),
        (RULE.quintics, [8, 32], bfloat, RULE.transport, 44),
        (RULE.quintics, [8, 8], float, fixed, 42),
        (RULE.quintics, [8, 32], float, fixed, 44),
        (RULE.quintics, [8, 8], float, Transport::Fixed { theta: 0.0 }, 39),
        (RULE.quintics, [8, 8], float, Transport::Alignment { damping: 1.5 }, 75),
        (Quintics::Jordan, [8, 8], float, fixed, 42),
        (Quintics::Jordan, [8, 8], float, Transport::Nesterov, 42),
        (Quintics::Jordan, [8, 32], float, Transport::Nesterov, 44),
        (Quintics::PolarExpress8, [8, 8], float, fixed, 57),
        (Quintics::PolarExpress8, [8, 32], float, fixed, 61),
        (Quintics::PolarExpress8, [8, 32], bfloat, fixed, 58),
    ] {
        let rule = Rule { quintics, transport, ..Rule::PLAIN };
        let launches = [1, 2, 12].map(|count| {
            let operations = operations(count, size, rule, kind);
            if count == 1 {
                println!("{quintics:?}, {size:?}, {kind:?}, {transport:?}: {operations:?}");
            }
            operations.iter().map(|(name, times)| times * kernels(name)).sum::<usize>()
        });
        println!("{launches:?}");
        assert_eq!(launches, [expected; 3], "{quintics:?}, {size:?}, {kind:?}, {transport:?}");
    }
}

#[test]
fn a_part_that_is_no_view_takes_two_copies_more_than_a_parameter_of_its_own() {
    let count = |sizes: &[[i64; 2]], group: &Group| -> usize {
        let operations = operations_of(sizes, group, RULE, Kind::Float);
        println!("{group:?}: {operations:?}");
        operations.iter().map(|(name, times)| times * kernels(name)).sum()
    };
    let group = Group::new("*");
    let apart = count(&[[6, 8], [2, 8]], &group);
    assert_eq!(count(&[[8, 8]], &group.clone().split(&[6, 2])), apart + 2 * 2);
    let apart = count(&[[4, 8], [4, 8]], &group);
    assert_eq!(count(&[[8, 8]], &Group { interleaved: Some(2), ..group.clone() }), apart + 2 * 2);
    // Equal parts that follow each other are views.
    assert_eq!(count(&[[8, 8]], &group.split(&[4, 4])), apart);
}
