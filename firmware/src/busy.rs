//! Line on which a board reports that it is busy while its flash is working.
//!
//! A save can take seconds, and so can a start that finds much to read. Meanwhile the workstation that waits for an
//! answer is told every half second that it will come. [`Line`] is the port for the [`Device`](crate::device::Device),
//! and [`Telling`] the flash for the [`Store`](crate::store::Store).

use core::cell::{Cell, RefCell};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use embedded_storage::nor_flash::{self, NorFlash, ReadNorFlash};
use graftage_link::BUSY;

/// Clock that runs evenly and never stops.
pub trait Clock {
    /// Number of ticks per second.
    const TICKS_PER_SECOND: u32;

    /// Returns the ticks since an arbitrary moment, modulo 2^32: [`u32::wrapping_sub`] gives the time between two
    /// moments.
    fn now(&self) -> u32;
}

/// Port P that a device and the flash of its store share, with the clock C.
pub struct Line<P, C> {
    port: RefCell<P>,
    clock: C,
    /// Time, in ticks, of the last read or the last report that the board is busy.
    last: Cell<u32>,
}

impl<P, C: Clock> Line<P, C> {
    /// Creates a line around a port.
    pub fn new(port: P, clock: C) -> Self {
        let last = Cell::new(clock.now());
        Self { port: RefCell::new(port), clock, last }
    }

    /// Returns the clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }
}

impl<P: Write, C: Clock> Line<P, C> {
    /// Reports that the board is busy, at the earliest half a second after the last read or report.
    fn tell(&self) {
        let now = self.clock.now();
        if now.wrapping_sub(self.last.get()) < C::TICKS_PER_SECOND / 2 {
            return;
        }
        self.last.set(now);
        // This cannot interrupt an answer: the device sends it only after its learner has returned. If the report
        // cannot be sent, the workstation asks again.
        let mut line = self;
        let _ = send(&mut line, &BUSY);
    }
}

/// Sends all bytes and flushes the port.
pub(crate) fn send<P: Write>(port: &mut P, mut bytes: &[u8]) -> Result<(), P::Error> {
    while !bytes.is_empty() {
        let sent = port.write(bytes)?;
        bytes = bytes.get(sent..).unwrap_or(&[]);
    }
    port.flush()
}

impl<P: ErrorType, C> ErrorType for &Line<P, C> {
    type Error = P::Error;
}

// The port is borrowed for one call at a time, in one thread, so borrowing always succeeds.
impl<P: Read, C: Clock> Read for &Line<P, C> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, P::Error> {
        let read = self.port.try_borrow_mut().map_or(Ok(0), |mut port| port.read(bytes));
        self.last.set(self.clock.now());
        read
    }
}

impl<P: ReadReady, C> ReadReady for &Line<P, C> {
    fn read_ready(&mut self) -> Result<bool, P::Error> {
        self.port.try_borrow_mut().map_or(Ok(false), |mut port| port.read_ready())
    }
}

impl<P: Write, C> Write for &Line<P, C> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, P::Error> {
        self.port.try_borrow_mut().map_or(Ok(bytes.len()), |mut port| port.write(bytes))
    }

    fn flush(&mut self) -> Result<(), P::Error> {
        self.port.try_borrow_mut().map_or(Ok(()), |mut port| port.flush())
    }
}

/// Flash F that reports on a line when its board is busy.
pub struct Telling<'a, F, P, C> {
    flash: F,
    line: &'a Line<P, C>,
}

impl<'a, F, P, C> Telling<'a, F, P, C> {
    /// Creates a reporting flash around a flash.
    pub const fn new(flash: F, line: &'a Line<P, C>) -> Self {
        Self { flash, line }
    }
}

impl<F: nor_flash::ErrorType, P, C> nor_flash::ErrorType for Telling<'_, F, P, C> {
    type Error = F::Error;
}

impl<F: ReadNorFlash, P: Write, C: Clock> ReadNorFlash for Telling<'_, F, P, C> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.line.tell();
        self.flash.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: NorFlash, P: Write, C: Clock> NorFlash for Telling<'_, F, P, C> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    /// Erases block by block, as erasing a single block can take seconds.
    fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        let block = F::ERASE_SIZE as u32;
        let mut at = from;
        loop {
            self.line.tell();
            let next = at.saturating_add(block).min(to);
            self.flash.erase(at, next)?;
            if next >= to {
                return Ok(());
            }
            at = next;
        }
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.line.tell();
        self.flash.write(offset, bytes)
    }
}
