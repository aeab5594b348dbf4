//! AdamW.

use super::{Baseline, Moment};
use crate::Result;
use tch::Tensor;

const BETA2: f64 = 0.95;
const EPSILON: f64 = 1e-8;

/// AdamW (Loshchilov and Hutter 2019, algorithm 2) without weight decay; β₁ is the momentum, β₂ = 0.95, ε = 1e-8.
pub const ADAMW: Baseline = Baseline {
    key: "adamw",
    name: "AdamW",
    arrays: &["m", "v"],
    step_sizes: &[0.0015, 0.003, 0.006, 0.012, 0.024],
    step,
};

/// M ← β₁M + (1 − β₁)G, V ← β₂V + (1 − β₂)G², X ← X − η·M/(1 − β₁ᵗ) / (√(V/(1 − β₂ᵗ)) + ε).
fn step(x: &mut Tensor, g: &Tensor, arrays: &mut [Tensor], moment: &Moment) -> Result<()> {
    let Moment { step_size, beta, step } = *moment;
    if let [m, v] = arrays {
        let corrections = [beta, BETA2].map(|beta| 1.0 - beta.powf(step as f64));
        let _ = m.f_lerp_(g, 1.0 - beta)?;
        let _ = v.f_lerp_(&g.f_square()?, 1.0 - BETA2)?;
        let size = (&*v / corrections[1]).f_sqrt()?.f_add_scalar(EPSILON)?;
        let _ = x.f_addcdiv_(&(&*m * (-step_size / corrections[0])), &size)?;
    }
    Ok(())
}
