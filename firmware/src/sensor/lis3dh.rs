//! ST's LIS3DH, a three-axis accelerometer: the crate `lis3dh` with readings in g and no silent losses.

use super::{Fault, Sensor};
use core::convert::Infallible;
use embedded_hal::i2c::I2c;
use graftage_core::arithmetic::sqrt;
use lis3dh::{Configuration, Error, Lis3dhCore, Lis3dhI2C};

pub use lis3dh::{DataRate, SlaveAddr};

/// Accelerometer at ±2 g with 12 bits. A reading is the acceleration along x, y and z in g, in steps of 0.001.
///
/// The sensor keeps only one reading, so it must be read as often as it measures.
pub struct Lis3dh<B>(lis3dh::Lis3dh<Lis3dhI2C<B>>);

impl<B: I2c> Lis3dh<B> {
    /// Starts measuring at the given data rate.
    ///
    /// # Errors
    /// The error of the bus, and [`Fault::Stranger`].
    pub fn start(bus: B, address: SlaveAddr, datarate: DataRate) -> Result<Self, Fault<B::Error>> {
        let configuration = Configuration { datarate, ..Configuration::default() };
        lis3dh::Lis3dh::new_i2c_with_config(bus, address, configuration).map(Self).map_err(fault)
    }
}

impl<B: I2c> Sensor<3> for Lis3dh<B> {
    type Error = B::Error;

    fn read(&mut self) -> Result<Option<[f32; 3]>, Fault<B::Error>> {
        let status = self.0.get_status().map_err(fault)?;
        if !status.zyxda {
            return Ok(None);
        }
        // Reading clears the status flags.
        let bytes = self.0.read_accel_bytes().map_err(fault)?;
        if status.zyxor {
            return Err(Fault::Overrun);
        }
        let mut axes = [0.0; 3];
        for (axis, bytes) in axes.iter_mut().zip(bytes.as_chunks().0) {
            // Twelve bits, left-justified.
            *axis = f32::from(i16::from_le_bytes(*bytes) >> 4) / 1000.0;
        }
        Ok(Some(axes))
    }
}

/// Returns x, y, z and the magnitude √(x² + y² + z²), which does not depend on how the sensor is mounted.
pub fn with_magnitude([x, y, z]: [f32; 3]) -> [f32; 4] {
    [x, y, z, sqrt(x * x + y * y + z * z)]
}

fn fault<E>(error: Error<E, Infallible>) -> Fault<E> {
    match error {
        Error::Bus(error) => Fault::Bus(error),
        // The chip's identity is wrong; no other value passed to the crate can be invalid.
        _ => Fault::Stranger,
    }
}
