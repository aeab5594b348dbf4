//! Limiter of gradients: a single gradient that is many times too large would otherwise rule the momentum for hundreds
//! of steps, as a direction depends on no length.
//!
//! With the Frobenius norm n = ‖G‖ of a matrix's gradient, the running mean n̄ and a factor κ,
//!
//! ```text
//! b = min(n, κ n̄)      G ← (b/n) G      n̄ ← 0.9 n̄ + 0.1 b      n̄ = n in the first step
//! ```
//!
//! The mean takes in what is let through, so a lasting growth of the gradients is followed, by a factor of up to
//! 0.9 + 0.1κ a step.

use crate::Result;
use crate::tensor::largest;
use tch::{Kind, Tensor};

/// Share of the old mean in the new one.
const MEMORY: f64 = 0.9;

/// Gradients as the limiter lets them through, with the means after them.
pub(crate) struct Limited {
    pub gradient: Tensor,
    pub norms: Tensor,
}

/// Limits gradients, shape [s, m, n], to κ times the means of their norms, shape [s, 1, 1]. A mean of 0 lets anything
/// through. A gradient that is not finite gives results that are not.
pub(crate) fn limit(gradient: &Tensor, means: &Tensor, factor: f32) -> Result<Limited> {
    // Squares of the largest gradients would overflow.
    let largest = largest(gradient, &[-2, -1]);
    let unit = largest.f_where_scalarother(&largest.f_gt(0.0)?, 1.0)?;
    let scaled = gradient.f_div(&unit)?;
    let norms =
        scaled.f_mul(&scaled)?.f_sum_dim_intlist([-2, -1].as_slice(), true, Kind::Float)?.f_sqrt()?.f_mul(&unit)?;
    let first = means.f_eq(0.0)?;
    let bounded = norms.f_where_self(&first, &norms.f_minimum(&means.f_mul_scalar(f64::from(factor))?)?)?;
    // Without a gradient there is nothing to scale.
    let share = bounded.f_div(&norms)?.f_where_scalarother(&norms.f_gt(0.0)?, 1.0)?;
    let mean = means.f_lerp(&bounded, 1.0 - MEMORY)?;
    Ok(Limited { gradient: gradient.f_mul(&share)?, norms: bounded.f_where_self(&first, &mean)? })
}
