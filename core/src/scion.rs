//! The transported step of one parameter (Zhang and Lin 2026, arXiv 2605.18528).
//!
//! With weights X, momentum M, step size η, momentum factor β, radius ρ, a norm with its lmo, and B samples a step:
//!
//! ```text
//! Y_t     = X_t + θ c_t D_t             D_t = X_t − X_{t−1} as applied, c_t = β_t/(1−β_t), D_1 = 0
//! G_t     = (1/B) Σ_i ∇f(Y_t; ξ_i)
//! M_{t+1} = β_t M_t + (1−β_t) G_t       β_1 = 0, so that M_2 = G_1
//! X_{t+1} = X_t + η ρ lmo(M_{t+1})                 unconstrained
//! X_{t+1} = (1−η) X_t + η ρ lmo(M_{t+1})           constrained: stays in the ball of radius ρ that it started in
//! ```
//!
//! θ = 1 is Transported Scion as published, θ = 0 batched Scion; between them the transport is damped. The average M is
//! taken along a moving point: to first order its bias is that of the averaged query point, and Y is chosen so that this
//! average is X itself. The first gradient has no past, so it is taken at X and starts M whole.
//!
//! The state is three arrays: D lives only inside [`Scion::advance`], as Y of the coming step is formed while D is at
//! hand, and gradients accumulate into M. Gradients are taken at Y; what is evaluated, reported or saved is X.

use crate::error::{Field, Refusal};
use crate::matrix::{Matrix, RowMajor, Slab};
use crate::norm::Norm;
use crate::random::Generator;
use serde::{Deserialize, Serialize};

/// The most that a step size or a radius can be: X stays finite for more steps than a device will ever take.
pub const LARGEST: f32 = 4_294_967_296.0;

/// The constants of the rule, one for a whole model.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// The step size η: > 0, at most [`LARGEST`], at most 1 when constrained.
    pub step: f32,
    /// The momentum factor β, in [0, 1).
    pub momentum: f32,
    /// The share θ of the transport, in [0, 1]: 0 is Scion, 1 Transported Scion as published.
    pub theta: f32,
    /// Whether X shrinks by 1 − η, which keeps it in the ball of radius ρ.
    pub constrained: bool,
}

impl Default for Rule {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Rule {
    /// θ = ½, β = 0.9, unconstrained, η = 0.01.
    pub const DEFAULT: Self = Self { step: 0.01, momentum: 0.9, theta: 0.5, constrained: false };

    /// Says which constant is outside its range.
    pub fn check(&self) -> Result<(), Refusal> {
        let Self { step, momentum, theta, constrained } = *self;
        let largest = if constrained { 1.0 } else { LARGEST };
        if !(step > 0.0 && step <= largest) {
            return Err(Refusal::Recipe(Field::Step));
        }
        if !(0.0..1.0).contains(&momentum) {
            return Err(Refusal::Recipe(Field::Momentum));
        }
        if !(0.0..=1.0).contains(&theta) {
            return Err(Refusal::Recipe(Field::Theta));
        }
        Ok(())
    }

    /// β_t for step t = 1, 2, …: 0 in the first, so that momentum starts as the first gradient.
    pub fn keep(&self, t: u64) -> f32 {
        if t <= 1 { 0.0 } else { self.momentum }
    }

    /// The weight (1 − β_t)/B of each sample's gradient in step t.
    pub fn weight(&self, t: u64, batch: u32) -> f32 {
        (1.0 - self.keep(t)) / batch as f32
    }

    /// θ c_{t+1} = θ β/(1−β): how far the coming step's query point lies ahead, in units of the last displacement.
    pub fn transport(&self) -> f32 {
        self.theta * (self.momentum / (1.0 - self.momentum))
    }
}

/// How one parameter's steps are measured. [`Geometry::UNSET`] is all zeros, so that static memory starts as zeros.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// The norm.
    pub norm: Norm,
    /// The radius ρ of the ball: > 0, at most [`LARGEST`].
    pub radius: f32,
}

impl Geometry {
    /// Not chosen yet: a radius of 0, with which nothing moves.
    pub const UNSET: Self = Self { norm: Norm::Spectral, radius: 0.0 };
    /// For the weights of a layer that is not the last: spectral, radius 3.
    pub const HIDDEN: Self = Self { norm: Norm::Spectral, radius: 3.0 };
    /// For the weights of the last layer: sign, radius 10.
    pub const HEAD: Self = Self { norm: Norm::Sign, radius: 10.0 };
    /// For biases: RMS, radius 1.
    pub const BIAS: Self = Self { norm: Norm::Rms, radius: 1.0 };

    /// The usual geometry of a parameter by its shape: a single row is a bias; `last` says that no weights follow.
    pub fn usual((rows, _): (usize, usize), last: bool) -> Self {
        match (rows, last) {
            (1, _) => Self::BIAS,
            (_, true) => Self::HEAD,
            (_, false) => Self::HIDDEN,
        }
    }

    /// Says when the radius is outside its range.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.radius > 0.0 && self.radius <= LARGEST { Ok(()) } else { Err(Refusal::Recipe(Field::Radius)) }
    }
}

/// The caller's memory for one step of one parameter; all parameters of a shape may share it. It is overwritten.
pub struct Workspace<'a, M: Matrix> {
    /// As large as the parameter.
    pub direction: &'a mut M,
    /// k×k, k the smaller side.
    pub gram: &'a mut M::Square,
    /// k×k.
    pub poly: &'a mut M::Square,
}

/// Numbers that [`with_workspace`] needs for a matrix of m rows and n columns: mn + 2·min(m, n)².
pub const fn workspace(m: usize, n: usize) -> usize {
    let k = if m < n { m } else { n };
    m * n + 2 * k * k
}

/// The state of one parameter: weights X, query point Y, momentum M, all of one shape.
#[derive(Clone, PartialEq, Debug)]
pub struct Scion<M> {
    /// The weights X.
    pub x: M,
    /// The query point Y, where gradients are taken.
    pub y: M,
    /// The momentum M.
    pub m: M,
}

impl<M: Matrix> Scion<M> {
    /// M ← keep·M + weight·G. `keep` is [`Rule::keep`] with the first gradient of a step and 1 with each further one.
    ///
    /// The gradient must be finite.
    pub fn accumulate(&mut self, keep: f32, weight: f32, gradient: &M) {
        self.m.combine(keep, weight, gradient);
    }

    /// X ← X + ηρ lmo(M), or (1−η)X + ηρ lmo(M) when constrained; D = X_new − X_old; Y ← X_new + θ c D.
    ///
    /// One rounding an operation: X·k, U·g, their sum, the difference D, D·θc, the sum Y; with k = 1 or 1 − η and
    /// g = −((η·ρ)·f). A step moves X by at most ηρ in the norm (2ηρ constrained), times the overshoot of the polar
    /// iteration.
    pub fn advance(&mut self, geometry: Geometry, rule: &Rule, work: &mut Workspace<M>) {
        let direction = &mut *work.direction;
        direction.copy(&self.m);
        geometry.norm.direction(direction, work.gram, work.poly);
        let keep = if rule.constrained { 1.0 - rule.step } else { 1.0 };
        let gain = -(rule.step * geometry.radius * geometry.norm.factor(direction.shape()));
        let transport = rule.transport();
        M::map(&mut self.x, &mut self.y, direction, |x, u| {
            let next = x.clone() * keep + u * gain;
            let query = next.clone() + (next.clone() - x) * transport;
            (next, query)
        });
    }
}

impl<M: RowMajor> Scion<M> {
    /// The same state as matrices whose shape is known at run time.
    pub fn slabs(&mut self) -> Scion<Slab<&mut [f32]>> {
        Scion { x: self.x.slab(), y: self.y.slab(), m: self.m.slab() }
    }

    /// Starts from weights: Y ← X, M ← 0.
    pub fn start(&mut self) {
        for (y, x) in self.y.elements_mut().iter_mut().zip(self.x.elements()) {
            *y = *x;
        }
        self.m.elements_mut().fill(0.0);
    }

    /// Starts from random weights inside the ball: X ← −ρ lmo(R), R uniform in [−1, 1), row by row; a vector in the RMS
    /// norm starts at 0. `scratch` holds [`workspace`] numbers and is overwritten; with less, nothing is changed.
    pub fn initialise(&mut self, geometry: Geometry, generator: &mut Generator, scratch: &mut [f32]) {
        let drawn = with_workspace(self.x.shape(), scratch, |work| {
            let x = &mut self.x.slab();
            if geometry.norm == Norm::Rms {
                x.elements_mut().fill(0.0);
            } else {
                x.elements_mut().iter_mut().for_each(|e| *e = 2.0 * generator.uniform() - 1.0);
                geometry.norm.direction(x, work.gram, work.poly);
                let gain = geometry.radius * geometry.norm.factor(RowMajor::shape(x));
                x.elements_mut().iter_mut().for_each(|e| *e *= gain);
            }
        });
        if drawn.is_some() {
            self.start();
        }
    }
}

/// Carves a workspace for one matrix of m rows and n columns out of memory that all share, and uses it.
///
/// `None`, and nothing is done, where the memory is shorter than [`workspace`].
pub fn with_workspace<'a, T>(
    (m, n): (usize, usize),
    memory: &'a mut [f32],
    f: impl FnOnce(&mut Workspace<Slab<&'a mut [f32]>>) -> T,
) -> Option<T> {
    let k = if m < n { m } else { n };
    let (direction, rest) = memory.split_at_mut_checked(m * n)?;
    let (gram, rest) = rest.split_at_mut_checked(k * k)?;
    let (poly, _) = rest.split_at_mut_checked(k * k)?;
    let mut direction = Slab::new(m, n, direction)?;
    Some(f(&mut Workspace { direction: &mut direction, gram, poly }))
}
