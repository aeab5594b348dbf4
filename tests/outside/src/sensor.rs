//! The sensor, and whoever tells the device what it sees. This one is made up, so that its samples are the same on every
//! machine: how strongly a motor vibrates in eight bands of frequency, in each of its four states.

use graftage_core::random::Generator;

/// Numbers of a sample.
pub const BANDS: usize = 8;

/// How the sensor sits on the motor.
#[derive(Clone, Copy)]
pub enum Mounting {
    /// As it did when the network was trained.
    Factory,
    /// Otherwise: what was a band is the next one.
    Field,
}

/// The sample of that number, and the state that the motor is in.
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
