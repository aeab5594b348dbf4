//! Panasonic's AMG8833, an infrared array of 8×8 pixels with ten frames a second.
//!
//! The registers follow its data sheet. The crate `grideye` is not used: it takes the pixels' two's complement for
//! one's complement and reads the pixels one by one.

use super::{Fault, Sensor};
use embedded_hal::i2c::I2c;

/// Number of pixels in a frame, row by row from pixel 1.
pub const PIXELS: usize = 64;

/// Bus address with AD_SELECT low; with AD_SELECT high it is 0x69.
pub const ADDRESS: u8 = 0x68;

const POWER: u8 = 0x00;
const NORMAL: u8 = 0x00;
const RESET: u8 = 0x01;
const INITIAL: u8 = 0x3f;
const RATE: u8 = 0x02;
const TEN: u8 = 0x00;
const STATUS: u8 = 0x04;
const CLEAR: u8 = 0x05;
/// Bit of the status and clear registers: a pixel is beyond its range.
const OVERFLOW: u8 = 1 << 2;
const FRAME: u8 = 0x80;

/// Infrared array. A reading is a frame in °C, from 0 to 80 in steps of 0.25.
///
/// The sensor does not tell when a frame is new: more than ten readings a second return some frames twice. Readings are
/// stable 15 s after the start.
#[derive(Debug)]
pub struct Amg8833<B> {
    bus: B,
    address: u8,
}

impl<B: I2c> Amg8833<B> {
    /// Wakes and resets the sensor, which must have had power for 50 ms.
    ///
    /// # Errors
    /// The error of the bus.
    pub fn start(bus: B, address: u8) -> Result<Self, Fault<B::Error>> {
        let mut array = Self { bus, address };
        for command in [[POWER, NORMAL], [RESET, INITIAL], [RATE, TEN]] {
            array.write(command)?;
        }
        Ok(array)
    }

    fn write(&mut self, command: [u8; 2]) -> Result<(), Fault<B::Error>> {
        self.bus.write(self.address, &command).map_err(Fault::Bus)
    }

    fn registers(&mut self, first: u8, values: &mut [u8]) -> Result<(), Fault<B::Error>> {
        self.bus.write_read(self.address, &[first], values).map_err(Fault::Bus)
    }
}

impl<B: I2c> Sensor<PIXELS> for Amg8833<B> {
    type Error = B::Error;

    fn read(&mut self) -> Result<Option<[f32; PIXELS]>, Fault<B::Error>> {
        let (mut status, mut frame) = ([0], [[0; 2]; PIXELS]);
        self.registers(STATUS, &mut status)?;
        let [status] = status;
        if status & OVERFLOW != 0 {
            self.write([CLEAR, OVERFLOW])?;
            return Err(Fault::Range);
        }
        self.registers(FRAME, frame.as_flattened_mut())?;
        // Twelve bits, two's complement, in quarters of a degree. The shifts extend the sign.
        Ok(Some(frame.map(|pixel| f32::from(i16::from_le_bytes(pixel) << 4 >> 4) * 0.25)))
    }
}
