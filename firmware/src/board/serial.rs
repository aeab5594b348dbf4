//! Serial port of a HAL as a link.

use core::convert::Infallible;
use embedded_hal_nb::serial;
use embedded_io::{ErrorType, Read, Write};
use nb::block;

/// Port of a HAL, one byte at a time. A byte that the HAL reports as damaged or overrun is dropped and the next one
/// awaited: noise on the line must not end a program.
pub struct Serial<P>(pub P);

impl<P> ErrorType for Serial<P> {
    type Error = Infallible;
}

impl<P: serial::Read> Read for Serial<P> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        loop {
            if let Ok(byte) = block!(self.0.read()) {
                *first = byte;
                return Ok(1);
            }
        }
    }
}

impl<P: serial::Write> Write for Serial<P> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize, Infallible> {
        for byte in buffer {
            // Any error would concern reception, and no HAL here is known to report one from a write.
            let _ = block!(self.0.write(*byte));
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        let _ = block!(self.0.flush());
        Ok(())
    }
}
