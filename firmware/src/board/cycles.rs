//! The clock of a Cortex-M whose debug unit counts the processor's cycles.

use super::Clock;
use cortex_m::peripheral::{DCB, DWT};

/// Cycles of a processor at HZ, which must not sleep: it counts no cycle then.
pub struct Cycles<const HZ: u32>(DWT);

impl<const HZ: u32> Cycles<HZ> {
    /// The counter, running.
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
