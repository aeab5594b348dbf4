//! Sensor with labels. It is simulated, so that its samples are the same on every machine: the vibration of a motor in
//! eight frequency bands, in each of its four states.

use graftage_core::random::Generator;

/// Number of values in a sample.
pub const BANDS: usize = 8;

/// Mounting of the sensor on the motor.
#[derive(Clone, Copy)]
pub enum Mounting {
    /// Mounting with which the network was trained.
    Factory,
    /// Different mounting, which shifts each band to the next one.
    Field,
}

/// Returns the sample with this number and the state of the motor.
pub fn sample(number: u64, mounting: Mounting) -> ([f32; BANDS], u32) {
    let mut generator = Generator::new(2026, number);
    let state = generator.below(4);
    let shift = match mounting {
        Mounting::Factory => 0,
        Mounting::Field => 1,
    };
    let bands = core::array::from_fn(|band| {
        let own = (band + BANDS - shift) % BANDS / 2 == state as usize;
        let level = if own { 0.375 } else { 0.0 };
        level + generator.below(256) as f32 / 512.0
    });
    (bands, state)
}
