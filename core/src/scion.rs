//! Transported step of one parameter (Zhang and Lin 2026, arXiv 2605.18528).
//!
//! With weights X, momentum M, step size η_t, momentum factor β_t, radius ρ, a norm with its lmo, and B samples per
//! step:
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
//! started from. Once X is in the ball of radius ρ/λ around A, it stays there, because each step is a mean of X and a
//! point of that ball with weights 1 − κ_t and κ_t.
//!
//! The laws are those of [`transport`](crate::transport); the values of η_t and β_t are those of
//! [`schedule`](crate::schedule). The average M is taken along a moving point: to first order, its bias is that of the
//! averaged query point. Y is chosen so that this average is X itself, or near it. The first gradient has no past, so
//! it is taken at X and becomes the whole of M.
//!
//! The state is three arrays. D lives only inside [`Scion::advance`], because Y of the coming step is formed while D is
//! at hand, and gradients accumulate into M. Gradients are taken at Y; X is what is evaluated, reported and saved.

use crate::error::{Field, Refusal};
use crate::matrix::{Matrix, RowMajor, Slab};
use crate::norm::{Norm, Workspace, with_workspace};
use crate::polar::Quintics;
use crate::random::Generator;
use crate::schedule::{Momentum, Schedule, Theory, theory};
use crate::transport::{Ahead, Alignment, Transport};
use serde::{Deserialize, Serialize};

/// Largest step size and largest radius: X stays finite for more steps than a device will ever take.
pub const LARGEST: f32 = 4_294_967_296.0;

/// Constants of the rule, shared by a whole model.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Largest step size η: > 0 and at most [`LARGEST`].
    pub step_size: f32,
    /// Schedule of the step sizes η_t.
    pub schedule: Schedule,
    /// Schedule of the momentum factors β_t.
    pub momentum: Momentum,
    /// The law of transport.
    pub transport: Transport,
    /// Pull on X.
    pub pull: Pull,
    /// Quintics that compute spectral directions.
    pub quintics: Quintics,
}

impl Rule {
    /// Base from which other rules are derived: η = 0.01 constant, β = 0.9, θ = ½, no pull. A device's default is the
    /// rule of `Recipe::DEFAULT`, and a trainer has its own.
    pub const PLAIN: Self = Self {
        step_size: 0.01,
        schedule: Schedule::Constant,
        momentum: Momentum::Constant(0.9),
        transport: Transport::Fixed { theta: 0.5 },
        pull: Pull::None,
        quintics: Quintics::DEFAULT,
    };

    /// Rule of the theory for noise with a finite p-th moment, rank r and N samples, one per step; see [`theory`]. It
    /// is Transported Scion as published if `transported`, else Scion. Times the radius, η is in the units of the
    /// problem.
    ///
    /// # Errors
    /// The errors of [`theory`].
    pub fn theory(p: f32, rank: u32, samples: f32, transported: bool) -> Result<Self, Refusal> {
        let Theory { alpha, step_size } = theory(p, rank, samples, transported)?;
        let transport = Transport::Fixed { theta: if transported { 1.0 } else { 0.0 } };
        Ok(Self { step_size, momentum: Momentum::Constant(1.0 - alpha), transport, ..Self::PLAIN })
    }

    /// Checks that the constants are in range.
    ///
    /// # Errors
    /// [`Refusal::Recipe`] with the first field that is out of range.
    #[inline]
    pub fn check(&self) -> Result<(), Refusal> {
        if !(self.step_size > 0.0 && self.step_size <= LARGEST) {
            return Err(Refusal::Recipe(Field::Step));
        }
        if let Some(strength) = self.pull.strength()
            && !(strength > 0.0 && strength * self.step_size <= 1.0)
        {
            return Err(Refusal::Recipe(Field::Pull));
        }
        self.momentum.check()?;
        self.transport.check(self.momentum)
    }

    /// Momentum factor β_t for step t = 1, 2, …: 0 in the first, so that momentum starts as the first gradient.
    pub fn keep(&self, t: u64) -> f32 {
        self.momentum.at(t)
    }

    /// The weight (1 − β_t)/B of each sample's gradient in step t.
    pub fn weight(&self, t: u64, batch: u32) -> f32 {
        weight(self.keep(t), batch)
    }

    /// Step size η_t.
    pub fn step_size_at(&self, t: u64) -> f32 {
        self.step_size * self.schedule.factor(t)
    }

    /// Constants of step t = 1, 2, …
    #[inline]
    pub fn at(&self, t: u64) -> Constants<'_> {
        let (keep, coming) = (self.keep(t), self.keep(t.wrapping_add(1)));
        Constants { rule: self, step_size: self.step_size_at(t), keep, coming, first: t <= 1 }
    }

    /// Pull κ_t = λη_t, the fraction of the way to A that step t covers; at most 1.
    pub fn pull_at(&self, t: u64) -> f32 {
        self.pull.strength().map_or(0.0, |strength| strength * self.step_size_at(t))
    }

    /// Largest distance that step t can move a parameter inside its ball, in radii of its norm: η_t, or 2η_t under a
    /// pull, times the overshoot of the polar iteration; to rounding. Under a pull to zero, weights X outside the ball
    /// of radius ρ/λ move by up to (η_t + κ_t‖X‖/ρ)·overshoot.
    pub fn movement(&self, t: u64) -> f32 {
        let step = self.step_size_at(t) * self.quintics.overshoot();
        if self.pull == Pull::None { step } else { step + step }
    }

    /// Largest distance that any number of steps can move a parameter, in radii of its norm: from one side of the ball
    /// around the start to the other, 2/λ times the overshoot of the polar iteration; infinite if there is no such
    /// ball.
    pub fn reach(&self) -> f32 {
        match self.pull {
            Pull::Start { strength } => 2.0 / strength * self.quintics.overshoot(),
            Pull::None | Pull::Zero { .. } => f32::INFINITY,
        }
    }

    /// Point at which gradients are taken: X under Nesterov's law, else Y.
    pub fn point(&self) -> Point {
        if self.transport == Transport::Nesterov { Point::Iterate } else { Point::Query }
    }
}

/// Constants of one step. [`Rule::at`] takes them from the rule's schedules; a caller with schedules of its own sets
/// them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Constants<'a> {
    /// The rule. Its law of transport, pull and quintics apply.
    pub rule: &'a Rule,
    /// Step size η_t.
    pub step_size: f32,
    /// Momentum factor β_t.
    pub keep: f32,
    /// Momentum factor β_{t+1} of the coming step.
    pub coming: f32,
    /// True in the first step, in which the query point was X.
    pub first: bool,
}

/// [`Rule::weight`] for a step with this momentum factor.
pub(crate) fn weight(keep: f32, batch: u32) -> f32 {
    (1.0 - keep) / batch as f32
}

/// Pull of every step on the weights: κ_t (A − X) with κ_t = λη_t; λ > 0 is finite, and λη at most 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Pull {
    /// No pull: unconstrained, as published.
    None,
    /// A = 0. λ = 1 keeps X in the ball of radius ρ around 0 that it started in, which is Scion's constrained step;
    /// another λ is decoupled weight decay.
    Zero {
        /// Strength λ.
        strength: f32,
    },
    /// A = X₀, the weights that X started from. X stays in the ball of radius ρ/λ around them, times the overshoot of
    /// the polar iteration, for any number of steps and to rounding.
    Start {
        /// Strength λ.
        strength: f32,
    },
}

impl Pull {
    /// Strength λ; `None` if there is no pull.
    pub fn strength(self) -> Option<f32> {
        match self {
            Pull::None => None,
            Pull::Zero { strength } | Pull::Start { strength } => Some(strength),
        }
    }
}

/// Point at which a forward pass takes the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// X, with which samples are predicted.
    Iterate,
    /// Y, at which gradients are taken.
    Query,
}

/// Norm and radius that measure one parameter's steps. [`Geometry::FROZEN`] is all zeros, so that static memory starts
/// as zeros.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// The norm of the ball.
    pub norm: Norm,
    /// The radius ρ of the ball: > 0 and at most [`LARGEST`], or 0 if the parameter never moves.
    pub radius: f32,
}

impl Geometry {
    /// Geometry of a parameter that never moves.
    pub const FROZEN: Self = Self { norm: Norm::Spectral, radius: 0.0 };
    /// Geometry of the weights of a layer before the last: spectral, radius 3.
    pub const HIDDEN: Self = Self { norm: Norm::Spectral, radius: 3.0 };
    /// Geometry of the weights of the last layer: sign, radius 10.
    pub const HEAD: Self = Self { norm: Norm::Sign, radius: 10.0 };
    /// Geometry of biases and gains: RMS, radius 1.
    pub const BIAS: Self = Self { norm: Norm::Rms, radius: 1.0 };

    /// Usual geometry of a parameter by its role; `last` is true if no weights follow.
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

    /// Factor g = −((η·ρ)·f) of the direction in a step of size η; f is the norm's factor for matrices of `shape`.
    #[inline]
    pub fn gain(&self, step_size: f32, shape: (usize, usize)) -> f32 {
        -(step_size * self.radius * self.norm.factor(shape))
    }

    /// Returns whether the parameter never moves.
    pub fn is_frozen(&self) -> bool {
        self.radius == 0.0
    }

    /// Checks that the radius is in range, and that the norm of a convolution has taps.
    ///
    /// # Errors
    /// [`Refusal::Recipe`] with [`Field::Radius`] or [`Field::Taps`].
    pub fn check(&self) -> Result<(), Refusal> {
        if !(0.0..=LARGEST).contains(&self.radius) {
            return Err(Refusal::Recipe(Field::Radius));
        }
        if self.norm == (Norm::Convolution { taps: 0 }) {
            // The norm's factor would be NaN.
            return Err(Refusal::Recipe(Field::Taps));
        }
        Ok(())
    }
}

/// Role of a parameter in its layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Weights from every input to every output; start at random on the sphere.
    Weights,
    /// Filters that all places share: m filters, n = inputs·taps; start at random on the sphere.
    Convolution {
        /// Number of taps of the kernel.
        taps: u32,
    },
    /// One filter for each channel, as a row; starts at random on the sphere.
    Channels,
    /// Bias, which is added; starts at 0.
    Bias,
    /// Gain, by which outputs are multiplied; starts at 1.
    Gain,
    /// Mean of a feature, which is subtracted: a constant; starts at 0.
    Mean,
    /// Deviation of a feature, by which it is divided: a constant; starts at 1.
    Deviation,
}

impl Role {
    /// Returns whether the parameter mixes or filters, rather than adds or scales.
    pub fn is_weights(self) -> bool {
        matches!(self, Role::Weights | Role::Convolution { .. } | Role::Channels)
    }
}

/// State of one parameter: weights X, query point Y and momentum M, all of one shape.
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
    /// M ← keep·M + weight·G. `keep` is [`Rule::keep`] for the first gradient of a step and 1 for each further one.
    ///
    /// The gradient must be finite.
    pub fn accumulate(&mut self, keep: f32, weight: f32, gradient: &M) {
        self.m.combine(keep, weight, gradient);
    }

    /// Takes step t: X ← X + κ_t(A − X) + η_tρ lmo(M); D = X_new − X_old; then forms the query point of step t + 1. A
    /// frozen parameter does not move. `start` is X₀, which only the pull towards it uses; if it is `None`, that pull
    /// is left out.
    ///
    /// Each operation rounds once: V = g·U, or under the pull to the start g·U, A − X, κ·(A − X) and their sum, or
    /// under the pull to zero g·U, (−κ)·X and their sum; then X + V and the difference D; then D·a, under the lag law
    /// d·s if s is not 0, and the sums from left to right; with g = −((η_t·ρ)·f) and κ = λ·η_t. A step moves X by at
    /// most [`Rule::movement`] times ρ in the norm. `alignment` is the parameter's own, and only the law of that name
    /// uses it.
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
        let constants = rule.at(t);
        geometry.norm.direction(self.argument(&constants), rule.quintics, work);
        self.follow(geometry, &constants, start, alignment, work.direction);
    }

    /// First half of [`Scion::advance`]: returns the matrix whose direction the step follows, M, or under Nesterov's
    /// law (1 + β)M − βM_old, which replaces M_old.
    #[inline]
    pub fn argument(&mut self, constants: &Constants) -> &M {
        if constants.rule.transport == Transport::Nesterov {
            self.y.combine(-constants.keep, 1.0 + constants.keep, &self.m);
            &self.y
        } else {
            &self.m
        }
    }

    /// Second half of [`Scion::advance`]: follows the direction U of [`Scion::argument`], which is overwritten.
    #[inline]
    pub fn follow(
        &mut self,
        geometry: Geometry,
        constants: &Constants,
        start: Option<&M::Start>,
        alignment: &mut Alignment<M::Element>,
        direction: &mut M,
    ) {
        let Constants { rule, step_size: step, keep: beta, coming, first } = *constants;
        let Self { x, y, m } = self;
        let gain = geometry.gain(step, direction.shape());
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
                // Y holds d, and the direction holds D, until their cosine has been taken.
                y.combine(1.0, -1.0, x);
                M::map(x, direction, y, |x, u, _| {
                    let next = next(x.clone(), u);
                    (next.clone(), next - x)
                });
                if !first {
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
    /// Views the state as matrices whose shape is known at run time.
    pub fn slabs(&mut self) -> Scion<Slab<&mut [f32]>> {
        Scion { x: self.x.slab(), y: self.y.slab(), m: self.m.slab() }
    }

    /// Starts from the weights: Y ← X, M ← 0.
    pub fn start(&mut self) {
        for (y, x) in self.y.elements_mut().iter_mut().zip(self.x.elements()) {
            *y = *x;
        }
        self.m.elements_mut().fill(0.0);
    }

    /// Starts from new weights, chosen by the parameter's [`Role`]; random ones are X ← −ρ lmo(R), R uniform in [−1,
    /// 1), row by row. Then starts as by [`Scion::start`]. `scratch` holds [`workspace`](crate::norm::workspace)
    /// numbers and is overwritten; if it is shorter, nothing changes.
    pub fn initialise(&mut self, geometry: Geometry, role: Role, generator: &mut Generator, scratch: &mut [f32]) {
        let drawn = with_workspace(self.x.shape(), scratch, |work| {
            let x = &mut self.x.slab();
            match role {
                Role::Bias | Role::Mean => x.elements_mut().fill(0.0),
                Role::Gain | Role::Deviation => x.elements_mut().fill(1.0),
                Role::Weights | Role::Convolution { .. } | Role::Channels => {
                    x.elements_mut().iter_mut().for_each(|e| *e = 2.0 * generator.uniform() - 1.0);
                    geometry.norm.direction(x, Quintics::DEFAULT, work);
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
