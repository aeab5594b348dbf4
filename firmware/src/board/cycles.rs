//! Clock of a Cortex-M whose debug unit counts the processor's cycles.

use super::Clock;
use cortex_m::peripheral::{DCB, DWT};

/// Cycle counter of a processor at HZ. The processor must not sleep, as no cycles are counted meanwhile.
pub struct Cycles<const HZ: u32>(DWT);

impl<const HZ: u32> Cycles<HZ> {
    /// Starts the counter.
    pub fn start(mut control: DCB, mut unit: DWT) -> Self {
        control.enable_trace();
        unit.enable_cycle_counter();
        Self(unit)
    }
}

impl<const HZ: u32> Clock for Cycles<HZ> {
    const TICKS_PER_SECOND: u32 = HZ;

    fn now(&self) -> u32 {
        self.0.cyccnt.read()
    }
}
