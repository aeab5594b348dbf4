//! Functions and constants shared by the tests.
#![allow(dead_code, reason = "every test file uses its own part")]

use crate::oracle::{self, Law, Random, bits};
use graftage_core::matrix::{FixedMatrix, RowMajor, Slab, square};
use graftage_core::network::{Fixed, Layer, usual_geometries};
use graftage_core::norm::{Norm, Workspace};
use graftage_core::polar::Quintics;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Geometry, Pull, Rule, Scion};
use graftage_core::transport::{Alignment, Transport};
use nalgebra::DMatrix;

/// Norms, each with its definition in the oracle.
pub const NORMS: [(Norm, oracle::Norm); 5] = [
    (Norm::Spectral, oracle::Norm::Spectral(|m, n| (m / n).sqrt())),
    (Norm::Sign, oracle::Norm::Sign(|_, n| 1.0 / n)),
    (Norm::Column, oracle::Norm::Column(|m, _| m.sqrt())),
    (Norm::Row, oracle::Norm::Row(|_, n| 1.0 / n.sqrt())),
    (Norm::Rms, oracle::Norm::Whole(|m, n| (m * n).sqrt())),
];

/// No pull, and pulls to zero and to the start of different strengths.
pub const PULLS: [Pull; 5] = [
    Pull::None,
    Pull::Zero { strength: 1.0 },
    Pull::Zero { strength: 0.3 },
    Pull::Start { strength: 1.0 },
    Pull::Start { strength: 2.0 },
];

/// Returns the strength and the target of a pull for the oracle.
pub fn pull(pull: Pull, start: &DMatrix<f64>) -> (f64, DMatrix<f64>) {
    match pull {
        Pull::None => (0.0, 0.0 * start),
        Pull::Zero { strength } => (strength.into(), 0.0 * start),
        Pull::Start { strength } => (strength.into(), start.clone()),
    }
}

/// Laws of transport, each with its definition in the oracle.
pub const LAWS: [(Transport, Law); 6] = [
    (Transport::Fixed { theta: 0.0 }, Law::Fixed(0.0)),
    (Transport::Fixed { theta: 0.25 }, Law::Fixed(0.25)),
    (Transport::Fixed { theta: 1.0 }, Law::Fixed(1.0)),
    (Transport::Lag { memory: 0.4 }, Law::Lag(0.4f32 as f64)),
    (Transport::Alignment { damping: 1.5 }, Law::Alignment(1.5)),
    (Transport::Nesterov, Law::Nesterov),
];

/// Returns a parameter of shape m×n that starts from `x`.
pub fn started<const M: usize, const N: usize>(x: &[f32]) -> Scion<FixedMatrix<M, N>> {
    let mut state = Scion { x: fixed(x), y: [[f32::NAN; N]; M], m: [[f32::NAN; N]; M] };
    state.start();
    state
}

pub fn fixed<const M: usize, const N: usize>(rows: &[f32]) -> FixedMatrix<M, N> {
    let mut fixed = [[0.0; N]; M];
    fixed.elements_mut().copy_from_slice(rows);
    fixed
}

/// Calls [`Scion::advance`] with a workspace of its own and the start weights X₀.
pub fn advance<const M: usize, const N: usize>(
    state: &mut Scion<FixedMatrix<M, N>>,
    geometry: Geometry,
    rule: &Rule,
    t: u64,
    start: &FixedMatrix<M, N>,
    alignment: &mut Alignment<f32>,
) {
    let nan = || vec![f32::NAN; square(M.min(N))];
    let squares = [&mut nan()[..], &mut nan(), &mut nan()];
    let work = &mut Workspace { direction: &mut [[f32::NAN; N]; M], squares };
    state.advance(geometry, rule, t, Some(&oracle::words(start.elements())), alignment, work);
}

pub fn exact<const M: usize, const N: usize>(a: &FixedMatrix<M, N>) -> DMatrix<f64> {
    oracle::real((M, N), a.elements())
}

/// Rule of the tests. In the first step, M is the mean gradient.
pub const RULE: Rule = Rule {
    step_size: 0.05,
    schedule: Schedule::Constant,
    momentum: Momentum::Constant(0.9),
    transport: Transport::Fixed { theta: 0.5 },
    pull: Pull::None,
    quintics: Quintics::DEFAULT,
};

/// Returns X, Y and M of all parameters.
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

/// Returns a network with X, Y and M from `numbers`, so that M is unlike any that a step leaves. All parameters have
/// their usual geometries.
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

/// Returns a network with random X, Y and M in [−1, 1).
pub fn random_network<N: Fixed>(random: &mut Random) -> N {
    filled(|n| random.vector(n))
}

/// Sets X and Y of the parameter with this index, in the order of visits.
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

/// Returns a state of zeros whose shape is known at run time.
pub fn zeros(m: usize, n: usize) -> Scion<Slab<Vec<f32>>> {
    let matrix = || Slab::new(m, n, vec![0.0; m * n]).unwrap();
    Scion { x: matrix(), y: matrix(), m: matrix() }
}
