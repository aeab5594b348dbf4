//! SGD with momentum.

use super::{Baseline, Moment};
use crate::Result;
use tch::Tensor;

/// SGD with momentum: the velocity is a sum of gradients, not their mean.
pub const SGD: Baseline =
    Baseline { key: "sgd", name: "SGD", arrays: &["m"], step_sizes: &[0.025, 0.05, 0.1, 0.2, 0.4], step };

/// M ← βM + G, X ← X − ηM.
fn step(x: &mut Tensor, g: &Tensor, arrays: &mut [Tensor], moment: &Moment) -> Result<()> {
    let Moment { step_size, beta, .. } = *moment;
    if let [m] = arrays {
        let _ = m.f_mul_scalar_(beta)?.f_add_(g)?;
        let _ = x.f_sub_(&(&*m * step_size))?;
    }
    Ok(())
}
