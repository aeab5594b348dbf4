//! Sensors on an I²C bus, and features of their readings as input for a network.
//!
//! A sensor reads a few numbers in a stated unit. An infrared frame is a sample as it is. For a quantity that varies in
//! time, such as an acceleration, a [`window::Window`] of readings becomes a sample. All of it uses core's exact
//! arithmetic: the same readings give the same bits on every machine.

pub mod amg8833;
pub mod lis3dh;
pub mod thermometer;
pub mod window;

use core::fmt;
use embedded_hal::i2c;

/// Sensor whose readings have N numbers; each implementation documents them and their unit.
pub trait Sensor<const N: usize> {
    /// Error of the bus.
    type Error: i2c::Error;

    /// Returns the newest reading; `None` if the sensor has no reading that was not read before.
    ///
    /// # Errors
    /// See [`Fault`]; the next reading may succeed.
    fn read(&mut self) -> Result<Option<[f32; N]>, Fault<Self::Error>>;
}

/// Reason why there is no reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault<E> {
    /// The bus failed: no device answers, or the transfer broke off.
    Bus(E),
    /// Another device answers at the sensor's address.
    Stranger,
    /// The measured quantity is beyond the sensor's range.
    Range,
    /// The sensor has measured more often than it was read: one or more readings before this one are lost, and this one
    /// with them.
    Overrun,
}

impl<E: fmt::Debug> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Bus(error) => write!(f, "bus: {error:?}"),
            Fault::Stranger => f.write_str("another device answers at the sensor's address"),
            Fault::Range => f.write_str("beyond the sensor's range"),
            Fault::Overrun => f.write_str("readings were lost in the sensor"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Fault<E> {}
