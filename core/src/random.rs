//! Random number generator: PCG-XSH-RR 64/32 (O'Neill 2014, "PCG", §6.3), with the same numbers on 32- and 64-bit
//! machines.

use rand_core::Rng;
use rand_pcg::Pcg32;
use serde::{Deserialize, Serialize};

/// Whole state of a [`Generator`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Seed.
    pub seed: u64,
    /// Stream of the seed.
    pub stream: u64,
    /// Number of draws so far.
    pub draws: u64,
}

/// PCG-XSH-RR 64/32 that counts its draws.
#[derive(Clone, Debug)]
pub struct Generator {
    pcg: Pcg32,
    state: State,
}

impl Generator {
    /// Creates a generator at the start of a stream. The streams of one seed serve independent purposes.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self::at(State { seed, stream, draws: 0 })
    }

    /// Creates a generator in a state that [`Generator::state`] returned.
    #[inline(never)]
    pub fn at(state: State) -> Self {
        let mut pcg = Pcg32::new(state.seed, state.stream);
        pcg.advance(state.draws);
        Self { pcg, state }
    }

    /// State of the generator.
    pub fn state(&self) -> State {
        self.state
    }

    /// Draws 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.state.draws = self.state.draws.wrapping_add(1);
        self.pcg.next_u32()
    }

    /// Draws an index in [0, n) as ⌊bits · n / 2³²⌋: always one draw, with a bias below n/2³²; 0 if n is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(n)) >> 32) as u32
    }

    /// Draws a number in [0, 1): the upper 24 bits of a draw, so each is exact.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Shuffles the items (Fisher and Yates, Durstenfeld's form, from the last to the first).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u32 + 1) as usize;
            items.swap(i, j);
        }
    }
}

/// Purpose of random numbers: streams of the generator that no other purpose uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Division of samples into a training and a test part.
    Split = 1,
    /// Ageing of a sensor.
    Ageing,
    /// Order in which samples reach an adapting device.
    Arrival,
    /// Starting weights.
    Weights,
    /// Samples of each batch.
    Batches,
    /// Labels that become wrong, and the classes that they become.
    WrongLabels,
}

impl Stream {
    /// Returns the generator of a seed for this purpose, at the start of its stream.
    pub fn generator(self, seed: u64) -> Generator {
        Generator::new(seed, self as u64)
    }
}
