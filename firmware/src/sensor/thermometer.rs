//! A thermometer that speaks as the LM75 does, of which TMP105, TMP75, TMP102 and many others are kin: the crate `lm75`.

use super::{Fault, Sensor};
use embedded_hal::i2c::I2c;
use lm75::ic::Lm75 as Kind;
use lm75::{Error, Lm75};

pub use lm75::Address;

/// The thermometer. A reading is the temperature in °C, from −128 to 127.5 in steps of 0.5.
///
/// It does not say when a reading is new: whoever reads more often than it measures (LM75: every 100 ms) reads some twice.
pub struct Thermometer<B>(Lm75<B, Kind>);

impl<B: I2c> Thermometer<B> {
    /// The thermometer at that address; it measures from its power-on.
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
            // Nothing is given to it that could be wrong.
            Err(Error::InvalidInputData) => Err(Fault::Stranger),
        }
    }
}
