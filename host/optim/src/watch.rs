//! Watch over trainings in which no gradient is finite any more.

use super::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Number of steps without any finite gradient after which [`step`](super::TransportedScion::step) returns an error. It
/// may come up to twice as many steps later, as no step waits for a GPU.
pub const PATIENCE: u64 = 50;

/// Number of finite gradients, looked at now and then by copies for which nobody waits.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Number of new gradients, and of finite ones among them, at the last look.
    seen: (u64, i64),
    /// The same at a later time. The second number may still be on its way from the device.
    coming: Option<(u64, Tensor)>,
    stuck: bool,
}

impl Watch {
    /// Reports once that no gradient was finite between two looks.
    pub fn check(&mut self) -> Result<()> {
        if std::mem::take(&mut self.stuck) { Err(Error::NoFiniteGradient { steps: PATIENCE }) } else { Ok(()) }
    }

    /// Looks at the numbers of new gradients and of finite ones. The latter lie on a device.
    pub fn look<'a>(&mut self, offered: u64, admitted: impl Iterator<Item = &'a Tensor>) -> Result<()> {
        let sums = admitted.map(|admitted| admitted.f_sum(Kind::Int64)).collect::<std::result::Result<Vec<_>, _>>()?;
        // Parameters may lie on several devices.
        let mut total = Tensor::f_zeros([1], (Kind::Int64, sums.first().map_or(Device::Cpu, Tensor::device)))?;
        for sum in &sums {
            total = total.f_add(&sum.f_to_device(total.device())?)?;
        }
        let waits = total.device().is_cuda();
        // The memory of such a copy is pinned, so it does not wait.
        let copy = total.f_to_device_(Device::Cpu, Kind::Int64, true, false)?;
        let arrived = match waits {
            // Many more launches than the queue holds have begun since that copy, so it has ended.
            true => self.coming.replace((offered, copy)),
            false => Some((offered, copy)),
        };
        if let Some((offered, admitted)) = arrived {
            let now = (offered, i64::try_from(admitted)?);
            self.stuck = now.0 > self.seen.0 && now.1 == self.seen.1;
            self.seen = now;
        }
        Ok(())
    }
}
