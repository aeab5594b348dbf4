//! Queue of readings from the interrupt that takes them to the program that uses them.
//!
//! The interrupt never waits. A reading that finds no room is dropped, and the next reading that gets through tells how
//! many were dropped. Every reading is therefore used or counted.

use heapless::spsc::{Consumer, Producer, Queue};

/// Queue with room for N − 1 numbered readings.
#[derive(Debug)]
pub struct Readings<T, const N: usize>(Queue<(u32, T), N>);

impl<T, const N: usize> Readings<T, N> {
    /// Creates an empty queue.
    pub const fn new() -> Self {
        Self(Queue::new())
    }

    /// Splits the queue into the interrupt's end and the program's end.
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

/// Interrupt's end of the queue.
pub struct Source<'a, T> {
    queue: Producer<'a, (u32, T)>,
    taken: u32,
}

impl<T> Source<'_, T> {
    /// Puts a reading; drops it if there is no room.
    pub fn put(&mut self, reading: T) {
        // A full queue rejects the reading, which leaves a gap in the numbers.
        let _ = self.queue.enqueue((self.taken, reading));
        self.taken = self.taken.wrapping_add(1);
    }
}

/// Program's end of the queue.
pub struct Drain<'a, T> {
    queue: Consumer<'a, (u32, T)>,
    tally: Tally,
}

/// Counts of readings up to the last one received, each modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Number of readings put.
    pub put: u32,
    /// Number of readings received.
    pub got: u32,
    /// Number of readings dropped.
    pub dropped: u32,
}

/// Reading that the program receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<T> {
    /// The reading.
    pub reading: T,
    /// Number of readings dropped between it and the one before.
    pub dropped: u32,
}

impl<T> Drain<'_, T> {
    /// Returns the oldest reading; `None` if the queue is empty.
    pub fn get(&mut self) -> Option<Received<T>> {
        let (number, reading) = self.queue.dequeue()?;
        let dropped = number.wrapping_sub(self.tally.put);
        self.tally.put = number.wrapping_add(1);
        self.tally.got = self.tally.got.wrapping_add(1);
        self.tally.dropped = self.tally.dropped.wrapping_add(dropped);
        Some(Received { reading, dropped })
    }

    /// Returns the counts so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}
