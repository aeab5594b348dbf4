//! What tests of networks share.
#![allow(dead_code, reason = "every test file uses its own part")]

use crate::oracle::{Random, bits};
use graftage_core::matrix::{RowMajor, Slab};
use graftage_core::network::{Fixed, Layer, usual_geometries};
use graftage_core::polar::Chain;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Rule, Scion};
use graftage_core::transport::Transport;

/// In the first step, M is the mean gradient.
pub const RULE: Rule = Rule {
    step: 0.05,
    schedule: Schedule::Constant,
    momentum: Momentum::Constant(0.9),
    transport: Transport::Fixed { theta: 0.5 },
    constrained: false,
    chain: Chain::DEFAULT,
};

/// X, Y and M of all parameters.
pub fn state(network: &mut dyn Layer) -> [Vec<f32>; 3] {
    let mut all = [const { Vec::new() }; 3];
    network.parameters(&mut |parameter| {
        let state = parameter.state;
        for (all, part) in all.iter_mut().zip([&state.x, &state.y, &state.m]) {
            all.extend_from_slice(part.elements());
        }
    });
    all
}

pub fn state_bits(network: &mut dyn Layer) -> [Vec<u32>; 3] {
    state(network).map(|part| bits(&part))
}

pub fn real(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|e| f64::from(*e)).collect()
}

/// X, Y and M from `numbers`, M far from what a step would leave; all parameters with their usual geometries.
pub fn filled<N: Fixed>(mut numbers: impl FnMut(usize) -> Vec<f32>) -> N {
    let mut network = N::ZERO;
    usual_geometries(&mut network);
    network.parameters(&mut |parameter| {
        let mut state = parameter.state;
        for part in [&mut state.x, &mut state.y, &mut state.m] {
            let elements = part.elements_mut();
            elements.copy_from_slice(&numbers(elements.len()));
        }
    });
    network
}

/// X, Y and M all random in [−1, 1).
pub fn random_network<N: Fixed>(random: &mut Random) -> N {
    filled(|n| random.vector(n))
}

/// Sets X and Y of a parameter, counted in the order of visits.
pub fn set(network: &mut dyn Layer, parameter: usize, weights: &[f32]) {
    let mut index = 0;
    network.parameters(&mut |p| {
        let mut state = p.state;
        if index == parameter {
            state.x.elements_mut().copy_from_slice(weights);
            state.y.elements_mut().copy_from_slice(weights);
        }
        index += 1;
    });
}

/// A state of zeros whose shape is known at run time.
pub fn zeros(m: usize, n: usize) -> Scion<Slab<Vec<f32>>> {
    let matrix = || Slab::new(m, n, vec![0.0; m * n]).unwrap();
    Scion { x: matrix(), y: matrix(), m: matrix() }
}
