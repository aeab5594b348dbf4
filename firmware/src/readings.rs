//! Readings on their way from the interrupt that takes them to whoever uses them.
//!
//! The interrupt never waits: what finds no room is dropped, and the next one that gets through says how many were. So
//! every reading is used or counted.

use heapless::spsc::{Consumer, Producer, Queue};

/// Room for N − 1 readings, each with its number.
#[derive(Debug)]
pub struct Readings<T, const N: usize>(Queue<(u32, T), N>);

impl<T, const N: usize> Readings<T, N> {
    /// With no reading.
    pub const fn new() -> Self {
        Self(Queue::new())
    }

    /// The end of the interrupt, and that of the program.
    pub fn split(&mut self) -> (Source<'_, T>, Drain<'_, T>) {
        let (queue, from) = self.0.split();
        (Source { queue, taken: 0 }, Drain { queue: from, tally: Tally::default() })
    }
}

impl<T, const N: usize> Default for Readings<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where readings are put.
pub struct Source<'a, T> {
    queue: Producer<'a, (u32, T)>,
    taken: u32,
}

impl<T> Source<'_, T> {
    /// Puts a reading; drops it where there is no room.
    pub fn put(&mut self, reading: T) {
        // Of a full queue it comes back: a number is missing.
        let _ = self.queue.enqueue((self.taken, reading));
        self.taken = self.taken.wrapping_add(1);
    }
}

/// Where readings are taken from.
pub struct Drain<'a, T> {
    queue: Consumer<'a, (u32, T)>,
    tally: Tally,
}

/// What became of the readings up to the last one that was got, each modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Readings that were put.
    pub put: u32,
    /// Of these, how many were got.
    pub got: u32,
    /// Of these, how many were dropped.
    pub dropped: u32,
}

impl<T> Drain<'_, T> {
    /// The oldest reading, and how many before it were dropped since the last one; `None` where there is none yet.
    pub fn get(&mut self) -> Option<(T, u32)> {
        let (number, reading) = self.queue.dequeue()?;
        let missing = number.wrapping_sub(self.tally.put);
        self.tally.put = number.wrapping_add(1);
        self.tally.got = self.tally.got.wrapping_add(1);
        self.tally.dropped = self.tally.dropped.wrapping_add(missing);
        Some((reading, missing))
    }

    /// What became of them.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}
