//! How a sensor ages, and how it is mounted.

use super::Samples;
use graftage_core::random::{Generator, Stream};

/// A sensor each of whose elements has drifted by itself: x becomes gain·x + offset.
#[derive(Clone, PartialEq, Debug)]
pub struct AgedSensor {
    gain: Vec<f32>,
    offset: Vec<f32>,
}

impl AgedSensor {
    /// For each element a gain from U(0.2, 1.2), then an offset from U(0, 0.5), in units of the scaled features.
    pub fn draw(inputs: usize, seed: u64) -> Self {
        Self::drawn(inputs, &mut Stream::Ageing.generator(seed))
    }

    fn drawn(inputs: usize, generator: &mut Generator) -> Self {
        let (mut gain, mut offset) = (Vec::new(), Vec::new());
        for _ in 0..inputs {
            gain.push(0.2 + generator.uniform());
            offset.push(0.5 * generator.uniform());
        }
        Self { gain, offset }
    }

    /// This share of the way from one to another.
    fn between(from: &Self, to: &Self, share: f32) -> Self {
        let between =
            |from: &[f32], to: &[f32]| from.iter().zip(to).map(|(from, to)| from + share * (to - from)).collect();
        Self { gain: between(&from.gain, &to.gain), offset: between(&from.offset, &to.offset) }
    }

    fn read(&self, input: &mut [f32]) {
        for ((x, gain), offset) in input.iter_mut().zip(&self.gain).zip(&self.offset) {
            *x = *gain * *x + *offset;
        }
    }
}

/// A sensor that goes on ageing: as new at first, then along a line from one drawn state to the next.
#[derive(Clone, PartialEq, Debug)]
pub struct AgeingSensor(Vec<AgedSensor>);

impl AgeingSensor {
    /// Samples from one drawn state to the next.
    const PERIOD: usize = 4000;

    /// For a life of so many samples. Its first drawn state is that of [`AgedSensor::draw`], the others are drawn after it.
    pub fn draw(inputs: usize, seed: u64, samples: usize) -> Self {
        let mut generator = Stream::Ageing.generator(seed);
        let new = AgedSensor { gain: vec![1.0; inputs], offset: vec![0.0; inputs] };
        let drawn = (0..samples.div_ceil(Self::PERIOD)).map(|_| AgedSensor::drawn(inputs, &mut generator));
        Self([new].into_iter().chain(drawn).collect())
    }

    /// The sensor after so many samples; after the last drawn state, that one.
    pub fn after(&self, samples: usize) -> AgedSensor {
        let last = self.0.len() - 1;
        let state = (samples / Self::PERIOD).min(last);
        let share = (samples % Self::PERIOD) as f32 / Self::PERIOD as f32;
        AgedSensor::between(&self.0[state], &self.0[(state + 1).min(last)], share)
    }
}

impl Samples {
    /// As an aged sensor sees them.
    pub fn aged(&self, sensor: &AgedSensor) -> Self {
        let mut aged = self.clone();
        aged.features.chunks_exact_mut(self.inputs.max(1)).for_each(|input| sensor.read(input));
        aged
    }

    /// As an ageing sensor sees them one after another, from its first day on.
    pub fn ageing(&self, sensor: &AgeingSensor) -> Self {
        let mut ageing = self.clone();
        let inputs = ageing.features.chunks_exact_mut(self.inputs.max(1));
        inputs.enumerate().for_each(|(index, input)| sensor.after(index).read(input));
        ageing
    }

    /// Square images of such a side as a sensor sees them that is mounted otherwise: its pixel (row, column) shows the one at
    /// `place(row, column)`, or 0 where that is outside the image. Samples of another length are returned as they are.
    pub fn mounted(&self, side: usize, place: impl Fn(usize, usize) -> Option<(usize, usize)>) -> Self {
        let mut mounted = self.clone();
        if side * side != self.inputs {
            return mounted;
        }
        let width = self.inputs.max(1);
        for (pixels, image) in mounted.features.chunks_exact_mut(width).zip(self.features.chunks_exact(width)) {
            for (index, pixel) in pixels.iter_mut().enumerate() {
                let place = place(index / side, index % side).filter(|(row, column)| *row < side && *column < side);
                *pixel = place.map_or(0.0, |(row, column)| image[row * side + column]);
            }
        }
        mounted
    }
}
