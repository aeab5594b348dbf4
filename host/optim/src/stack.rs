//! Stacks of matrices that are stepped by the same libtorch calls, and the step itself.

use crate::average::Average;
use crate::decay::Decay;
use crate::groups::Settings;
use crate::tensor::{Exact, Fast, Operand, largest};
use crate::{LARGEST_GRADIENT, Result, baselines, limiter};
use graftage_core::matrix::Matrix;
use graftage_core::norm::Workspace;
use graftage_core::polar::Quintics;
use graftage_core::scion::{Constants, Rule, Scion};
use graftage_core::transport::Alignment;
use tch::{Kind, Tensor};

/// Matrices with the same shape (m, n) and settings. All arrays have shape [s, m, n] for s matrices.
#[derive(Debug)]
pub(crate) struct Stack {
    pub shape: (usize, usize),
    pub settings: Settings,
    /// Weights that the model holds: Y, or X if both are the same; of kind Float, or rounded to BFloat16.
    pub model: Tensor,
    /// X, if the model holds Y or rounds.
    pub x: Option<Tensor>,
    /// Arrays kept beside the weights, named by [`Settings::arrays`]: M alone, or those of a baseline.
    pub arrays: Vec<Tensor>,
    /// M before the last step; only under Nesterov's law.
    pub before: Option<Tensor>,
    /// X₀, only under a pull to the start: X at the time when the optimizer was created or initialised.
    pub start: Option<Tensor>,
    /// Average of X, if one is kept.
    pub average: Option<Tensor>,
    /// Tensor of which the model's gradients are views; `None` before the first step.
    pub gradient: Option<Tensor>,
    /// Sum of the parts' gradients in binary32, if the model holds bfloat16 and a batch came in parts; else 0.
    pub sum: Option<Tensor>,
    /// Running mean of the gradients' norms per matrix, shape [s, 1, 1], 0 before the first; only under a limiter.
    pub norms: Option<Tensor>,
    pub alignment: Alignment<Operand>,
    /// Number of finite gradients per matrix since [`refused`](crate::TransportedScion::refused) was last called.
    /// Shape [s, 1, 1], on the weights' device.
    pub admitted: Tensor,
}

/// Constants of one step, the same for all stacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub rule: &'a Rule,
    /// Number of the step, from 1.
    pub t: u64,
    /// True if M starts at 0.
    pub from_zero: bool,
    /// Factor κ of the limiter.
    pub limiter: Option<f32>,
}

/// Matrices as tensors.
trait Stacked: Matrix<Element = Operand, Square: From<Tensor>, Start = Tensor> {
    fn tensor(&self) -> &Tensor;
}

impl Stacked for Exact {
    fn tensor(&self) -> &Tensor {
        &self.0
    }
}

impl Stacked for Fast {
    fn tensor(&self) -> &Tensor {
        self.tensor()
    }
}

impl Stack {
    /// Returns X.
    pub fn x(&self) -> &Tensor {
        self.x.as_ref().unwrap_or(&self.model)
    }

    /// Returns the average of X, or X if there is none.
    pub fn average(&self) -> &Tensor {
        self.average.as_ref().unwrap_or_else(|| self.x())
    }

    /// Returns the first array beside the weights, which under the rule is M.
    pub fn m(&self) -> &Tensor {
        self.arrays.first().unwrap_or(&self.model)
    }

    /// Returns whether the model holds its weights in bfloat16.
    pub fn is_rounded(&self) -> bool {
        self.model.kind() == Kind::BFloat16
    }

    /// Returns the gradient of a step, in binary32: the mean over the samples of which it holds a sum, if `samples` is
    /// not 0. The model's gradients become that mean.
    pub fn mean_gradient(&mut self, samples: usize) -> Result<Option<Tensor>> {
        let Some(gradient) = &mut self.gradient else { return Ok(None) };
        let divide = |sum: &mut Tensor| if samples > 0 { sum.f_div_scalar_(samples as f64).map(drop) } else { Ok(()) };
        if gradient.kind() == Kind::Float {
            divide(gradient)?;
            return Ok(Some(gradient.shallow_clone()));
        }
        let mut whole = match &mut self.sum {
            // It has all parts but the last, or is 0 if there was only one.
            Some(sum) => sum.f_add(gradient)?,
            None => gradient.f_to_kind(Kind::Float)?,
        };
        if let Some(sum) = &mut self.sum {
            let _ = sum.f_zero_()?;
        }
        divide(&mut whole)?;
        gradient.f_copy_(&whole)?;
        Ok(Some(whole))
    }

    /// Returns the direction U of M.
    pub fn direction(&self, quintics: Quintics) -> Tensor {
        let [mut first, mut second, mut third] = [(); 3].map(|()| <Fast as Matrix>::Square::from(Tensor::new()));
        let mut direction = Fast::scratch(Kind::Float);
        let mut work = Workspace { direction: &mut direction, squares: [&mut first, &mut second, &mut third] };
        let m = Fast::from(self.m().shallow_clone());
        self.settings.geometry.norm.direction(&m, quintics, &mut work);
        direction.tensor().shallow_clone()
    }

    /// Returns whether its parameters never move.
    pub fn is_frozen(&self) -> bool {
        self.settings.geometry.is_frozen()
    }

    /// Takes a step, with spectral directions from products in `kind`. Parameters whose gradient is not new or not
    /// finite stay unchanged.
    pub fn step_fast(&mut self, step: Step, kind: Kind, new: &[bool], gradient: &Tensor) -> Result<()> {
        let mut admitted = largest(gradient, &[-2, -1]).f_lt(LARGEST_GRADIENT)?;
        if new.contains(&false) {
            let new = Tensor::f_from_slice(new)?.f_view([-1, 1, 1])?.f_to_device(admitted.device())?;
            admitted = admitted.f_logical_and(&new)?;
        }
        let _ = self.admitted.f_add_(&admitted)?;
        // On a CPU the check costs no wait. If all gradients are admitted, the step writes in place.
        let all = !admitted.device().is_cuda() && bool::try_from(admitted.f_all()?)?;
        let gradient = self.limited(step, gradient, &admitted)?;
        if let Some(baseline) = self.settings.baseline {
            return self.step_baseline(step, baseline, &gradient, (!all).then_some(&admitted));
        }
        let of = |tensor: &Tensor| match tensor.shallow_clone() {
            tensor if all => Fast::from(tensor),
            tensor => Fast::masked(tensor, &admitted),
        };
        let kind = if self.settings.geometry.norm.is_spectral() { kind } else { Kind::Float };
        let before = self.alignment.clone();
        self.step(step, &gradient, of, || Fast::scratch(kind))?;
        self.keep_alignment(&before, &admitted)
    }

    /// Takes a step in core's order of evaluation. Parameters whose gradient is not new stay unchanged.
    pub fn step_exact(&mut self, step: Step, new: &[bool], gradient: &Tensor) -> Result<()> {
        if !new.contains(&false) {
            return self.step_whole(step, gradient);
        }
        let new = Tensor::f_from_slice(new)?.f_to_device(self.model.device())?;
        let members = new.f_nonzero()?.f_flatten(0, -1)?;
        let part = |tensor: &Tensor| tensor.f_index_select(0, &members);
        let some = |tensor: &Option<Tensor>| tensor.as_ref().map(part).transpose();
        let mean = self.alignment.mean.as_ref().map(|mean| part(mean.tensor())).transpose()?;
        let mut stack = Self {
            shape: self.shape,
            settings: self.settings.clone(),
            model: part(&self.model)?,
            x: some(&self.x)?,
            arrays: self.arrays.iter().map(part).collect::<std::result::Result<_, _>>()?,
            before: some(&self.before)?,
            start: some(&self.start)?,
            average: None,
            gradient: None,
            sum: None,
            norms: some(&self.norms)?,
            alignment: Alignment { mean: mean.map(Operand::from), weight: self.alignment.weight },
            admitted: part(&self.admitted)?,
        };
        stack.step_whole(step, &part(gradient)?)?;
        let arrays = self.arrays.iter_mut().zip(&stack.arrays).map(|(whole, part)| (Some(whole), Some(part)));
        let others = [
            (Some(&mut self.model), Some(&stack.model)),
            (self.x.as_mut(), stack.x.as_ref()),
            (self.before.as_mut(), stack.before.as_ref()),
            (self.norms.as_mut(), stack.norms.as_ref()),
        ];
        for (whole, part) in others.into_iter().chain(arrays) {
            if let (Some(whole), Some(part)) = (whole, part) {
                let _ = whole.f_index_copy_(0, &members, part)?;
            }
        }
        let before = self.alignment.clone();
        if let Some(mean) = &stack.alignment.mean {
            let size = [&[self.model.size()[0]], &mean.tensor().size()[1..]].concat();
            let whole = Tensor::f_zeros(&size[..], (Kind::Float, self.model.device()))?;
            let whole = whole.f_index_copy(0, &members, mean.tensor())?;
            self.alignment = Alignment { mean: Some(whole.into()), weight: stack.alignment.weight };
        }
        self.keep_alignment(&before, &new.f_view([-1, 1, 1])?)
    }

    /// Takes a step of all parameters in core's order of evaluation.
    fn step_whole(&mut self, step: Step, gradient: &Tensor) -> Result<()> {
        let all = Tensor::f_ones_like(&self.admitted)?.f_to_kind(Kind::Bool)?;
        let gradient = self.limited(step, gradient, &all)?;
        if let Some(baseline) = self.settings.baseline {
            return self.step_baseline(step, baseline, &gradient, None);
        }
        let like = self.model.shallow_clone();
        self.step(step, &gradient, |tensor| Exact(tensor.shallow_clone()), || Exact(like.empty_like()))
    }

    /// Returns the gradient as the limiter lets it through. Only the means of admitted matrices change.
    fn limited(&mut self, step: Step, gradient: &Tensor, admitted: &Tensor) -> Result<Tensor> {
        match step.limiter {
            None => Ok(gradient.shallow_clone()),
            Some(factor) => {
                let norms = match &self.norms {
                    Some(norms) => norms.shallow_clone(),
                    None => Tensor::f_zeros([gradient.size()[0], 1, 1], (Kind::Float, gradient.device()))?,
                };
                let limited = limiter::limit(gradient, &norms, factor)?;
                self.norms = Some(limited.norms.f_where_self(admitted, &norms)?);
                Ok(limited.gradient)
            }
        }
    }

    /// Lets parameters that a step left unchanged keep what the alignment law knew of them `before`.
    fn keep_alignment(&mut self, before: &Alignment<Operand>, moved: &Tensor) -> Result<()> {
        if let Some(mean) = &self.alignment.mean {
            // Such a parameter keeps the ratio of its sums, so its mean is scaled with the weight.
            let ratio = self.alignment.weight / before.weight;
            let zeros = || mean.tensor().zeros_like();
            let kept = before.mean.as_ref().map_or_else(zeros, |mean| (mean.clone() * ratio).tensor().shallow_clone());
            self.alignment.mean = Some(mean.tensor().f_where_self(moved, &kept)?.into());
        }
        Ok(())
    }

    /// Takes a step of X, M and Y in place. `of` wraps an array as a matrix, `scratch` creates a matrix for temporary
    /// results.
    fn step<M: Stacked>(
        &mut self,
        Step { rule, t, from_zero, .. }: Step,
        gradient: &Tensor,
        of: impl Fn(&Tensor) -> M,
        scratch: impl Fn() -> M,
    ) -> Result<()> {
        let geometry = self.settings.geometry;
        let (rule, [step_size, keep, coming]) = self.settings.at(rule, t, from_zero);
        let constants = Constants { rule: &rule, step_size, keep, coming, first: t <= 1 };
        // Y as the model has it, in binary32.
        let query = if self.is_rounded() { self.model.f_to_kind(Kind::Float)? } else { self.model.shallow_clone() };
        let y = match (&self.before, &self.x) {
            (Some(before), _) => of(before),
            (None, Some(_)) => of(&query),
            // The query point is X, so its result is not needed.
            (None, None) => scratch(),
        };
        let mut state = Scion { x: of(self.x()), y, m: of(self.m()) };
        state.accumulate(keep, 1.0 - keep, &of(gradient));
        let [mut first, mut second, mut third] = [Tensor::new(), Tensor::new(), Tensor::new()].map(M::Square::from);
        let squares = [&mut first, &mut second, &mut third];
        let mut work = Workspace { direction: &mut scratch(), squares };
        geometry.norm.direction(state.argument(&constants), rule.quintics, &mut work);
        if let Some(Decay { strength, cautious: true }) = self.settings.decay {
            // X + gU with U + (ηλ/−g)·X in place of U, where both have the same sign.
            let direction = work.direction.tensor();
            let (x, share) = (self.x(), -strength * step_size / geometry.gain(step_size, work.direction.shape()));
            let shrinks = x.f_mul(direction)?.f_gt(0.0)?;
            let decay = x.f_mul(&shrinks)?;
            work.direction.combine(1.0, if share.is_finite() { share } else { 0.0 }, &of(&decay));
        }
        state.follow(geometry, &constants, self.start.as_ref(), &mut self.alignment, work.direction);
        if self.is_rounded() {
            let shown = if self.before.is_some() { self.x() } else { &query };
            self.model.shallow_clone().f_copy_(shown)?;
        }
        Ok(())
    }

    /// Takes a step of an optimizer beside the rule. Matrices whose flag is false stay unchanged.
    fn step_baseline(
        &mut self,
        Step { rule, t, from_zero, .. }: Step,
        baseline: &baselines::Baseline,
        gradient: &Tensor,
        flags: Option<&Tensor>,
    ) -> Result<()> {
        let (_, [step_size, _, beta]) = self.settings.at(rule, t, from_zero);
        let moment = baselines::Moment { step_size: step_size.into(), beta: beta.into(), step: t };
        let own = |tensor: &Tensor| if flags.is_some() { tensor.copy() } else { tensor.shallow_clone() };
        let (mut x, mut arrays) = (own(self.x()), self.arrays.iter().map(own).collect::<Vec<_>>());
        baseline.advance(&mut x, gradient, &mut arrays, &moment, self.settings.decay)?;
        if let Some(flags) = flags {
            let weights = self.x.as_mut().unwrap_or(&mut self.model);
            for (array, new) in [weights].into_iter().chain(&mut self.arrays).zip([&x].into_iter().chain(&arrays)) {
                array.f_copy_(&new.f_where_self(flags, array)?)?;
            }
        }
        if self.is_rounded() {
            self.model.shallow_clone().f_copy_(self.x())?;
        }
        Ok(())
    }

    /// Lets the average follow X after step t.
    pub fn follow_average(&mut self, average: Average, t: u64) -> Result<()> {
        let x = self.x.as_ref().unwrap_or(&self.model);
        if let Some(mean) = &mut self.average {
            let _ = mean.f_lerp_(x, average.weight(t))?;
        }
        Ok(())
    }
}
