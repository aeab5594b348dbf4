//! Numbers by which one watches a training, by group.

use crate::tensor::Arithmetic;
use crate::{Result, TransportedScion};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad_guard};

/// Numbers of the parameters of one group after the last step. Norms are Frobenius norms over all of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Telemetry {
    /// Pattern of the group with its roles, or the role of parameters that no group matches.
    pub group: String,
    /// Step size of the last step, times the step factor.
    pub step_size: f32,
    /// Norm of the gradient.
    pub gradient: f32,
    /// Dual norm ⟨M, U⟩ of the momentum with the direction U that its norm gives, times radius and factor, summed over
    /// the matrices: the first-order decrease for a step size of 1. Only under the rule.
    pub dual: Option<f32>,
    /// Norm of the weights X.
    pub weights: f32,
    /// Distance of the query point Y from X.
    pub ahead: f32,
    /// Norm of the last step as its direction gives it, without pull and decay, over that of the weights. Only under
    /// the rule.
    pub step_over_weights: Option<f32>,
    /// Number of matrices and steps whose gradient was refused, as by [`TransportedScion::refused`].
    pub refused: u64,
}

/// Sums over a group.
#[derive(Clone, Default)]
struct Sums {
    step_size: f64,
    squares: [f64; 4],
    dual: f64,
    refused: u64,
    by_rule: bool,
}

/// Number of sums per matrix.
const SUMS: usize = 6;

impl TransportedScion {
    /// Returns numbers about the last step by group. It takes a spectral direction of every matrix and one read from
    /// the device, so it is meant for now and then, when the loss is read. Under Nesterov's law U is the direction of M
    /// alone.
    ///
    /// # Errors
    /// Returns an error if libtorch fails.
    pub fn telemetry(&self) -> Result<Vec<Telemetry>> {
        let _guard = no_grad_guard();
        self.adopt()?;
        let t = self.steps.max(1);
        let mut all = Vec::new();
        for stack in &self.stacks {
            let per_matrix = |tensor: &Tensor| -> Result<Tensor> {
                Ok(tensor.f_sum_dim_intlist([-2, -1].as_slice(), false, Kind::Double)?)
            };
            let square = |tensor: &Tensor| per_matrix(&tensor.f_to_kind(Kind::Double)?.f_square()?);
            let (x, zeros) =
                (stack.x(), || Tensor::f_zeros([stack.model.size()[0]], (Kind::Double, stack.model.device())));
            let gradient = stack.gradient.as_ref().map_or_else(|| Ok(zeros()?), square)?;
            let ahead = if stack.x.is_some() { square(&stack.model.f_sub(x)?)? } else { zeros()? };
            let (dual, length) = match stack.settings.baseline {
                None if !stack.is_frozen() => {
                    let direction = stack.direction(self.rule.quintics);
                    (per_matrix(&direction.f_mul(stack.m())?)?, square(&direction)?)
                }
                _ => (zeros()?, zeros()?),
            };
            let admitted = stack.admitted.f_flatten(0, -1)?.f_to_kind(Kind::Double)?;
            let sums: [Tensor; SUMS] = [gradient, square(x)?, ahead, length, dual, admitted];
            all.push(Tensor::f_stack(&sums, 0)?.f_to_device(self.stacks[0].model.device())?);
        }
        let sums = Tensor::f_cat(&all, 1)?.f_to_device(Device::Cpu)?;
        let columns = sums.size()[1] as usize;
        let sums = Vec::<f64>::try_from(sums.f_flatten(0, -1)?)?;
        let first: Vec<usize> = self
            .stacks
            .iter()
            .scan(0, |before, stack| {
                let first = *before;
                *before += stack.model.size()[0] as usize;
                Some(first)
            })
            .collect();
        let mut groups: Vec<(&str, Sums)> = Vec::new();
        for place in &self.places {
            let stack = &self.stacks[place.stack];
            let geometry = &stack.settings.geometry;
            let (_, [step_size, ..]) = stack.settings.at(&self.rule, t, self.from_zero);
            let at = groups.iter().position(|(name, _)| *name == place.group).unwrap_or(groups.len());
            if at == groups.len() {
                groups.push((&place.group, Sums::default()));
            }
            let total = &mut groups[at].1;
            let gain = f64::from(geometry.radius * geometry.norm.factor(stack.shape));
            total.step_size = step_size.into();
            total.by_rule |= stack.settings.baseline.is_none() && !stack.is_frozen();
            for matrix in place.matrices() {
                let of = |sum: usize| sums[sum * columns + first[place.stack] + matrix];
                let scales = [1.0, 1.0, 1.0, (gain * f64::from(step_size)).powi(2)];
                for (at, (square, scale)) in total.squares.iter_mut().zip(scales).enumerate() {
                    *square += scale * of(at);
                }
                total.dual += gain * of(4);
                // In exact arithmetic a step with such a gradient is an error.
                if !stack.is_frozen() && self.arithmetic == Arithmetic::Fast {
                    total.refused += place.offered.saturating_sub(of(5) as u64);
                }
            }
        }
        let told = |(group, sums): (&str, Sums)| {
            let [gradient, weights, ahead, step] = sums.squares.map(f64::sqrt);
            let by_rule = |number: f64| sums.by_rule.then_some(number as f32);
            Telemetry {
                group: group.to_owned(),
                step_size: sums.step_size as f32,
                gradient: gradient as f32,
                dual: by_rule(sums.dual),
                weights: weights as f32,
                ahead: ahead as f32,
                step_over_weights: by_rule(if weights > 0.0 { step / weights } else { 0.0 }),
                refused: sums.refused,
            }
        };
        Ok(groups.into_iter().map(told).collect())
    }
}
