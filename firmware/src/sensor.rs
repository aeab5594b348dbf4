//! Sensors on an I²C bus, and what of their readings a network takes.
//!
//! A sensor reads a few numbers in a stated unit. An infrared frame is a sample as it is; of what goes on in time, such as
//! an acceleration, a [`window::Window`] of readings becomes a sample. All of it is core's exact arithmetic: the same readings
//! give the same bits on every machine.

pub mod amg8833;
pub mod lis3dh;
pub mod thermometer;
pub mod window;

use core::fmt;
use embedded_hal::i2c;

/// What reads N numbers; each sensor says which, and in what unit.
pub trait Sensor<const N: usize> {
    /// The bus's own error.
    type Error: i2c::Error;

    /// The newest reading; `None` where the sensor has none that was not read before.
    ///
    /// # Errors
    /// See [`Fault`]; the next reading may succeed.
    fn read(&mut self) -> Result<Option<[f32; N]>, Fault<Self::Error>>;
}

/// Why there is no reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault<E> {
    /// The bus's own: nobody answers, or not to the end.
    Bus(E),
    /// Something else answers at the sensor's address.
    Stranger,
    /// What is measured is beyond the sensor's range.
    Range,
    /// The sensor has measured more often than it was read: one or more readings before this one are lost, and this one with
    /// them.
    Overrun,
}

impl<E: fmt::Debug> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Bus(error) => write!(f, "bus: {error:?}"),
            Fault::Stranger => f.write_str("something else answers at the sensor's address"),
            Fault::Range => f.write_str("beyond the sensor's range"),
            Fault::Overrun => f.write_str("readings were lost in the sensor"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Fault<E> {}
