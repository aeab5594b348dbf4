//! The transported step of one parameter (Zhang and Lin 2026, arXiv 2605.18528).
//!
//! With weights X, momentum M, step size η_t, momentum factor β_t, radius ρ, a norm with its lmo, and B samples a step:
//!
//! ```text
//! Y_t     = X_t + d_t                   the law of transport; as published d_t = c_t D_t, with D_t = X_t − X_{t−1} as
//!                                       applied, c_t = β_t/(1−β_t), D_1 = 0
//! G_t     = (1/B) Σ_i ∇f(Y_t; ξ_i)
//! M_{t+1} = β_t M_t + (1−β_t) G_t       β_1 = 0, so that M_2 = G_1
//! X_{t+1} = X_t + κ_t (A − X_t) + η_t ρ lmo(M_{t+1})      κ_t = λη_t ≤ 1, the pull towards A; 0 as published
//! ```
//!
//! The pull ([`Pull`]) is towards A = 0, which with λ = 1 is Scion's constrained step, or towards the weights that X
//! started from: X stays in the ball of radius ρ/λ around A that it has once been in, as each step is a mean of X and
//! of a point of that ball with weights 1 − κ_t and κ_t.
//!
//! The laws are those of [`transport`](crate::transport), the values of η_t and β_t those of
//! [`schedule`](crate::schedule). The average M is taken along a moving point: to first order its bias is that of the
//! averaged query point, and Y is chosen so that this average is X itself, or near it. The first gradient has no past, so
//! it is taken at X and starts M whole.
//!
//! The state is three arrays: D lives only inside [`Scion::advance`], as Y of the coming step is formed while D is at
//! hand, and gradients accumulate into M. Gradients are taken at Y; what is evaluated, reported or saved is X.

use crate::error::{Field, Refusal};
use crate::matrix::{Matrix, RowMajor, Slab};
use crate::norm::{Norm, Workspace, with_workspace};
use crate::polar::Chain;
use crate::random::Generator;
use crate::schedule::{Momentum, Schedule, theory};
use crate::transport::{Ahead, Alignment, Transport};
use serde::{Deserialize, Serialize};

/// The most that a step size or a radius can be: X stays finite for more steps than a device will ever take.
pub const LARGEST: f32 = 4_294_967_296.0;

/// The constants of the rule, one for a whole model.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// The largest step size η: > 0 and at most [`LARGEST`].
    pub step: f32,
    /// How η_t goes from there.
    pub schedule: Schedule,
    /// The momentum factors β_t.
    pub momentum: Momentum,
    /// The law of transport.
    pub transport: Transport,
    /// Towards what X is pulled.
    pub pull: Pull,
    /// How spectral directions are computed.
    pub chain: Chain,
}

impl Rule {
    /// η = 0.01 constant, β = 0.9, θ = ½, no pull: what others are written as changes of. A device's default is that of
    /// `Recipe::DEFAULT`, a trainer's its own.
    pub const PLAIN: Self = Self {
        step: 0.01,
        schedule: Schedule::Constant,
        momentum: Momentum::Constant(0.9),
        transport: Transport::Fixed { theta: 0.5 },
        pull: Pull::None,
        chain: Chain::DEFAULT,
    };

    /// The theory's rule for noise with a p-th moment, rank r and N samples, one a step; see [`theory`]. Transported
    /// Scion as published where `transported`, else Scion; times the radius, η is in the units of the problem.
    ///
    /// # Errors
    /// As [`theory`].
    pub fn theory(p: f32, rank: u32, samples: f32, transported: bool) -> Result<Self, Refusal> {
        let (alpha, step) = theory(p, rank, samples, transported)?;
        let transport = Transport::Fixed { theta: if transported { 1.0 } else { 0.0 } };
        Ok(Self { step, momentum: Momentum::Constant(1.0 - alpha), transport, ..Self::PLAIN })
    }

    /// Says which constant is outside its range.
    #[inline]
    pub fn check(&self) -> Result<(), Refusal> {
        if !(self.step > 0.0 && self.step <= LARGEST) {
            return Err(Refusal::Recipe(Field::Step));
        }
        if let Some(strength) = self.pull.strength()
            && !(strength > 0.0 && strength * self.step <= 1.0)
        {
            return Err(Refusal::Recipe(Field::Pull));
        }
        self.momentum.check()?;
        self.transport.check(self.momentum)
    }

    /// β_t for step t = 1, 2, …: 0 in the first, so that momentum starts as the first gradient.
    pub fn keep(&self, t: u64) -> f32 {
        self.momentum.at(t)
    }

    /// The weight (1 − β_t)/B of each sample's gradient in step t.
    pub fn weight(&self, t: u64, batch: u32) -> f32 {
        weight(self.keep(t), batch)
    }

    /// η_t.
    pub fn step_at(&self, t: u64) -> f32 {
        self.step * self.schedule.factor(t)
    }

    /// κ_t = λη_t, the share of the way to A that step t goes; at most 1.
    pub fn pull_at(&self, t: u64) -> f32 {
        self.pull.strength().map_or(0.0, |strength| strength * self.step_at(t))
    }

    /// The most that step t can move a parameter that is in its ball, in radii of its norm: η_t, 2η_t under a pull, times the
    /// overshoot of the polar iteration; to rounding. Under a pull to zero, weights X outside the ball of radius ρ/λ move by
    /// up to (η_t + κ_t‖X‖/ρ)·overshoot.
    pub fn drift(&self, t: u64) -> f32 {
        let step = self.step_at(t) * self.chain.overshoot();
        if self.pull == Pull::None { step } else { step + step }
    }

    /// The most that any number of steps can move a parameter, in radii of its norm: from one side of the ball around the
    /// start to the other, 2/λ times the overshoot of the polar iteration; infinite where there is no such ball.
    pub fn reach(&self) -> f32 {
        match self.pull {
            Pull::Start { strength } => 2.0 / strength * self.chain.overshoot(),
            Pull::None | Pull::Zero { .. } => f32::INFINITY,
        }
    }

    /// Where gradients are taken.
    pub fn point(&self) -> Point {
        if self.transport == Transport::Nesterov { Point::Iterate } else { Point::Query }
    }
}

/// [`Rule::weight`] of a step with this momentum factor.
pub(crate) fn weight(keep: f32, batch: u32) -> f32 {
    (1.0 - keep) / batch as f32
}

/// Towards what every step pulls the weights, as κ_t (A − X) with κ_t = λη_t; λ > 0 is finite, and λη at most 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Pull {
    /// Nothing, as published unconstrained.
    None,
    /// A = 0: λ = 1 keeps X in the ball of radius ρ around 0 that it started in, Scion's constrained step; another λ is
    /// decoupled weight decay.
    Zero {
        /// λ.
        strength: f32,
    },
    /// A = the weights X₀ that it started from: X stays in the ball of radius ρ/λ around them, times the overshoot of the
    /// polar iteration, for ever and to rounding.
    Start {
        /// λ.
        strength: f32,
    },
}

impl Pull {
    /// λ; `None` where nothing pulls.
    pub fn strength(self) -> Option<f32> {
        match self {
            Pull::None => None,
            Pull::Zero { strength } | Pull::Start { strength } => Some(strength),
        }
    }
}

/// Where a forward pass takes the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// At X: what predicts.
    Iterate,
    /// At Y: where gradients are taken.
    Query,
}

/// How one parameter's steps are measured. [`Geometry::FROZEN`] is all zeros, so that static memory starts as zeros.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// The norm.
    pub norm: Norm,
    /// The radius ρ of the ball: > 0 and at most [`LARGEST`], or 0 where the parameter is never to move.
    pub radius: f32,
}

impl Geometry {
    /// Does not move.
    pub const FROZEN: Self = Self { norm: Norm::Spectral, radius: 0.0 };
    /// For the weights of a layer that is not the last: spectral, radius 3.
    pub const HIDDEN: Self = Self { norm: Norm::Spectral, radius: 3.0 };
    /// For the weights of the last layer: sign, radius 10.
    pub const HEAD: Self = Self { norm: Norm::Sign, radius: 10.0 };
    /// For biases and gains: RMS, radius 1.
    pub const BIAS: Self = Self { norm: Norm::Rms, radius: 1.0 };

    /// The usual geometry of a parameter by its role; `last` says that no weights follow.
    pub fn usual(role: Role, last: bool) -> Self {
        match role {
            Role::Weights if last => Self::HEAD,
            Role::Weights => Self::HIDDEN,
            Role::Convolution { taps } => Self { norm: Norm::Convolution { taps }, radius: Self::HIDDEN.radius },
            Role::Channels => Self { norm: Norm::Row, radius: Self::HIDDEN.radius },
            Role::Bias | Role::Gain => Self::BIAS,
            Role::Mean | Role::Deviation => Self::FROZEN,
        }
    }

    /// Whether the parameter never moves.
    pub fn is_frozen(&self) -> bool {
        self.radius == 0.0
    }

    /// Says when the radius is outside its range, or the norm is of a convolution without taps.
    pub fn check(&self) -> Result<(), Refusal> {
        if !(0.0..=LARGEST).contains(&self.radius) {
            return Err(Refusal::Recipe(Field::Radius));
        }
        if self.norm == (Norm::Convolution { taps: 0 }) {
            // Its factor is NaN.
            return Err(Refusal::Recipe(Field::Taps));
        }
        Ok(())
    }
}

/// What a parameter is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Every output from every input; starts at random on the sphere.
    Weights,
    /// The same at every place: m filters, n = inputs·taps; starts at random on the sphere.
    Convolution {
        /// Taps of the kernel.
        taps: u32,
    },
    /// One filter for each channel, as a row; starts at random on the sphere.
    Channels,
    /// Added; starts at 0.
    Bias,
    /// Multiplied; starts at 1.
    Gain,
    /// Of a feature, subtracted: a constant; starts at 0.
    Mean,
    /// Of a feature, divided by: a constant; starts at 1.
    Deviation,
}

impl Role {
    /// Whether it mixes or filters, rather than adds or scales.
    pub fn is_weights(self) -> bool {
        matches!(self, Role::Weights | Role::Convolution { .. } | Role::Channels)
    }
}

/// The state of one parameter: weights X, query point Y, momentum M, all of one shape.
#[derive(Clone, PartialEq, Debug)]
pub struct Scion<M> {
    /// The weights X.
    pub x: M,
    /// The query point Y, where gradients are taken; under [`Transport::Nesterov`], the momentum before the last step.
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

    /// Step t: X ← X + κ_t(A − X) + η_tρ lmo(M); D = X_new − X_old; then the query point of step t + 1. A frozen parameter
    /// stays. `start` is X₀, used by the pull towards it alone; without one that pull is left out.
    ///
    /// One rounding an operation: V = g·U, or under a pull g·U, A − X, κ·(A − X) and their sum (to zero g·U, (−κ)·X and
    /// their sum); then X + V, the difference D; then D·a, under the lag law d·s where s is not 0, and the sums from left to
    /// right; with g = −((η_t·ρ)·f) and κ = λ·η_t. A step moves X by at most [`Rule::drift`] times ρ in the norm. `alignment`
    /// is the parameter's own, and used by the law of that name alone.
    pub fn advance(
        &mut self,
        geometry: Geometry,
        rule: &Rule,
        t: u64,
        start: Option<&M::Start>,
        alignment: &mut Alignment<M::Element>,
        work: &mut Workspace<M>,
    ) {
        if geometry.is_frozen() {
            return;
        }
        let (beta, coming) = (rule.keep(t), rule.keep(t.wrapping_add(1)));
        let Self { x, y, m } = self;
        let argument = if rule.transport == Transport::Nesterov {
            y.combine(-beta, 1.0 + beta, m);
            &*y
        } else {
            &*m
        };
        geometry.norm.direction(argument, rule.chain, work);
        let direction = &mut *work.direction;
        let step = rule.step_at(t);
        let gain = -(step * geometry.radius * geometry.norm.factor(direction.shape()));
        let gain = match (rule.pull, start) {
            (Pull::Zero { strength }, _) => {
                direction.combine(gain, -(strength * step), x);
                1.0
            }
            (Pull::Start { strength }, Some(start)) => {
                direction.pull(gain, strength * step, start, x);
                1.0
            }
            (Pull::None, _) | (Pull::Start { .. }, None) => gain,
        };
        let next = |x: M::Element, u: M::Element| x + u * gain;
        let lead = rule.transport.lead(beta, coming);
        match rule.transport {
            Transport::Fixed { .. } | Transport::Lag { .. } => {
                M::step_ahead(x, y, direction, gain, (lead.ahead, lead.before));
            }
            Transport::Alignment { damping } => {
                // Y holds d, and the direction D, until both have met.
                y.combine(1.0, -1.0, x);
                M::map(x, direction, y, |x, u, _| {
                    let next = next(x.clone(), u);
                    (next.clone(), next - x)
                });
                if t > 1 {
                    alignment.see(direction.cosine(y));
                }
                let ahead = alignment.ahead(damping, coming);
                let ahead = |d: M::Element| match &ahead {
                    Ahead::Number(ahead) => d * *ahead,
                    Ahead::Element(ahead) => d * ahead.clone(),
                };
                M::map(y, direction, x, |_, d, x| (x + ahead(d.clone()), d));
            }
            Transport::Nesterov => {
                y.copy(m);
                M::map(x, direction, m, |x, u, _| (next(x, u.clone()), u));
            }
        }
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

    /// Starts from new weights: as its [`Role`] says; random ones are X ← −ρ lmo(R), R uniform in [−1, 1), row by row.
    /// Then as [`Scion::start`]. `scratch` holds [`workspace`](crate::norm::workspace) numbers and is
    /// overwritten; with less, nothing is changed.
    pub fn initialise(&mut self, geometry: Geometry, role: Role, generator: &mut Generator, scratch: &mut [f32]) {
        let drawn = with_workspace(self.x.shape(), scratch, |work| {
            let x = &mut self.x.slab();
            match role {
                Role::Bias | Role::Mean => x.elements_mut().fill(0.0),
                Role::Gain | Role::Deviation => x.elements_mut().fill(1.0),
                Role::Weights | Role::Convolution { .. } | Role::Channels => {
                    x.elements_mut().iter_mut().for_each(|e| *e = 2.0 * generator.uniform() - 1.0);
                    geometry.norm.direction(x, Chain::DEFAULT, work);
                    let gain = geometry.radius * geometry.norm.factor(RowMajor::shape(x));
                    let direction = work.direction.elements();
                    x.elements_mut().iter_mut().zip(direction).for_each(|(x, u)| *x = u * gain);
                }
            }
        });
        if drawn.is_some() {
            self.start();
        }
    }
}
