//! Controls for adaptation: the published methods, on the same gradients. If the rule pulls to the start, a method's
//! step is followed by X ← X + κ_t(X₀ − X).

use crate::network::{Layers, Update, View};
use graftage_core::matrix::RowMajor;
use graftage_core::network::{Layer, Parameter};
use graftage_core::scion::{Pull, Rule};

/// Stochastic gradient descent: V ← μV + G, X ← X − ηV (Polyak 1964).
#[derive(Debug)]
pub struct Sgd {
    velocity: Vec<Vec<f32>>,
}

impl Sgd {
    /// Creates the method at rest, for a network of this shape.
    pub fn new(network: &mut Layers) -> Self {
        Self { velocity: zeros(network, 0.0) }
    }
}

impl Update for Sgd {
    fn advance(
        &mut self,
        index: usize,
        Parameter { mut state, .. }: Parameter,
        rule: &Rule,
        t: u64,
        start: Option<&[[u8; 4]]>,
    ) {
        let velocity = &mut self.velocity[index];
        for ((x, g), v) in state.x.elements_mut().iter_mut().zip(state.m.elements()).zip(velocity) {
            *v = 0.9 * *v + g;
            *x -= rule.step_size_at(t) * *v;
        }
        settle(&mut state, rule, t, start);
    }
}

/// Adam (Kingma and Ba 2015, Algorithm 1).
#[derive(Debug)]
pub struct Adam {
    moments: Vec<Vec<(f32, f32)>>,
    step: i32,
}

impl Adam {
    /// Creates the method before its first step, for a network of this shape.
    pub fn new(network: &mut Layers) -> Self {
        Self { moments: zeros(network, (0.0, 0.0)), step: 0 }
    }
}

impl Update for Adam {
    fn advance(
        &mut self,
        index: usize,
        Parameter { mut state, .. }: Parameter,
        rule: &Rule,
        t: u64,
        start: Option<&[[u8; 4]]>,
    ) {
        self.step += i32::from(index == 0);
        let (first, second) = (1.0 - 0.9f32.powi(self.step), 1.0 - 0.999f32.powi(self.step));
        let moments = &mut self.moments[index];
        for ((x, g), (m, v)) in state.x.elements_mut().iter_mut().zip(state.m.elements()).zip(moments) {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            *x -= rule.step_size_at(t) * (*m / first) / ((*v / second).sqrt() + 1e-8);
        }
        settle(&mut state, rule, t, start);
    }
}

/// Applies the rule's pull to the start, if any, and sets the query point to X.
fn settle(state: &mut View, rule: &Rule, t: u64, start: Option<&[[u8; 4]]>) {
    if let (Pull::Start { .. }, Some(start)) = (rule.pull, start) {
        let pull = rule.pull_at(t);
        for (x, start) in state.x.elements_mut().iter_mut().zip(start) {
            *x += pull * (f32::from_le_bytes(*start) - *x);
        }
    }
    for (y, x) in state.y.elements_mut().iter_mut().zip(state.x.elements()) {
        *y = *x;
    }
}

fn zeros<T: Clone>(network: &mut Layers, zero: T) -> Vec<Vec<T>> {
    let mut all = Vec::new();
    network.parameters(&mut |parameter| all.push(vec![zero.clone(); parameter.state.x.elements().len()]));
    all
}
