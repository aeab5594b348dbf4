//! SBCon, Arm's two-wire serial bus with two pins and three registers, driven by software as I²C with a single master.

use core::ptr::{read_volatile, write_volatile};
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation, SevenBitAddress};

const SCL: u32 = 1;
const SDA: u32 = 2;

/// Half a period of 400 kHz at 25 MHz, in cycles.
const HALF: u32 = 31;

/// Bus whose pins are set through one register and cleared through another.
///
/// Several values may exist for one bus, each with its own devices, in the program and in its interrupts: a transaction
/// is not interrupted and leaves no state behind. At 400 kHz a byte takes 23 µs, a page of an EEPROM 3 ms.
#[derive(Clone)]
pub struct Sbcon(*mut u32);

impl Sbcon {
    /// Returns the bus whose registers begin at the address `registers`.
    ///
    /// # Safety
    /// The registers are those of an SBCon, and nothing but this value and its clones uses them.
    pub const unsafe fn at(registers: usize) -> Self {
        Self(registers as *mut u32)
    }

    fn set(&mut self, pin: u32, high: bool) {
        // SAFETY: registers of this bus, as the caller of `at` guarantees.
        unsafe { write_volatile(self.0.add(usize::from(!high)), pin) }
    }

    /// Waits half a period, then raises the clock for another half.
    fn tick(&mut self) {
        cortex_m::asm::delay(HALF);
        self.set(SCL, true);
        cortex_m::asm::delay(HALF);
    }

    /// Pulses the clock; returns the level of the data line while the clock is high.
    fn clock(&mut self) -> bool {
        self.tick();
        // SAFETY: as above.
        let bit = unsafe { read_volatile(self.0) } & SDA != 0;
        self.set(SCL, false);
        bit
    }

    /// Sets the data line, raises the clock and toggles the data line. The direction distinguishes a start from a stop.
    fn turn(&mut self, high: bool) {
        for (pin, high) in [(SDA, high), (SCL, true), (SDA, !high)] {
            self.set(pin, high);
            cortex_m::asm::delay(HALF);
        }
    }

    /// Sends a start or a repeated start.
    fn start(&mut self) {
        self.turn(true);
        self.set(SCL, false);
    }

    fn stop(&mut self) {
        self.turn(false);
    }

    /// Sends a byte; returns whether it is acknowledged.
    fn send(&mut self, byte: u8) -> bool {
        // Set the data line only for the first bit and for bits that differ from the one before: in the emulator,
        // register accesses take most of the time.
        let turns = (byte ^ byte >> 1) | 0x80;
        for bit in (0..8).rev() {
            if turns >> bit & 1 != 0 {
                self.set(SDA, byte >> bit & 1 != 0);
            }
            self.tick();
            self.set(SCL, false);
        }
        self.set(SDA, true);
        !self.clock()
    }

    fn receive(&mut self, acknowledge: bool) -> u8 {
        self.set(SDA, true);
        let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(self.clock()));
        self.set(SDA, !acknowledge);
        self.clock();
        byte
    }

    /// Carries out a transaction up to its stop.
    fn transact(&mut self, address: u8, operations: &mut [Operation]) -> Result<(), NoAcknowledgeSource> {
        let mut reading = None;
        let mut operations = operations.iter_mut().peekable();
        while let Some(operation) = operations.next() {
            let reads = matches!(operation, Operation::Read(_));
            if reading.replace(reads) != Some(reads) {
                self.start();
                if !self.send(address << 1 | u8::from(reads)) {
                    return Err(NoAcknowledgeSource::Address);
                }
            }
            match operation {
                Operation::Write(bytes) => {
                    if !bytes.iter().all(|byte| self.send(*byte)) {
                        return Err(NoAcknowledgeSource::Data);
                    }
                }
                Operation::Read(bytes) => {
                    let more = matches!(operations.peek(), Some(Operation::Read(_)));
                    let mut bytes = bytes.iter_mut().peekable();
                    while let Some(byte) = bytes.next() {
                        *byte = self.receive(more || bytes.peek().is_some());
                    }
                }
            }
        }
        Ok(())
    }
}

impl ErrorType for Sbcon {
    type Error = ErrorKind;
}

impl I2c<SevenBitAddress> for Sbcon {
    fn transaction(&mut self, address: u8, operations: &mut [Operation]) -> Result<(), ErrorKind> {
        let done = cortex_m::interrupt::free(|_| {
            let done = self.transact(address, operations);
            self.stop();
            done
        });
        done.map_err(ErrorKind::NoAcknowledge)
    }
}
