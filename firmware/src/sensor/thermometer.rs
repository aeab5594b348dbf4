//! Thermometer with the interface of the LM75, such as TMP105, TMP75, TMP102 and many others: the crate `lm75`.

use super::{Fault, Sensor};
use embedded_hal::i2c::I2c;
use lm75::ic::Lm75 as Kind;
use lm75::{Error, Lm75};

pub use lm75::Address;

/// Thermometer. A reading is the temperature in °C, from −128 to 127.5 in steps of 0.5.
///
/// The sensor does not tell when a reading is new: reading faster than it measures (LM75: every 100 ms) returns some
/// readings twice.
pub struct Thermometer<B>(Lm75<B, Kind>);

impl<B: I2c> Thermometer<B> {
    /// Creates a thermometer at `address`; the sensor measures from power-on.
    pub fn new(bus: B, address: Address) -> Self {
        Self(Lm75::new(bus, address))
    }
}

impl<B: I2c> Sensor<1> for Thermometer<B> {
    type Error = B::Error;

    fn read(&mut self) -> Result<Option<[f32; 1]>, Fault<B::Error>> {
        match self.0.read_temperature() {
            Ok(celsius) => Ok(Some([celsius])),
            Err(Error::I2C(error)) => Err(Fault::Bus(error)),
            // No value passed to the crate can be invalid.
            Err(Error::InvalidInputData) => Err(Fault::Stranger),
        }
    }
}
