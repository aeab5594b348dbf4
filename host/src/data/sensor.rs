//! Simulated ageing of a sensor, and changes of its mounting.

use super::Samples;
use graftage_core::random::{Generator, Stream};

/// A sensor whose elements have aged independently: x becomes gain·x + offset.
#[derive(Clone, PartialEq, Debug)]
pub struct AgedSensor {
    gain: Vec<f32>,
    offset: Vec<f32>,
}

impl AgedSensor {
    /// Draws for each element a gain from U(0.2, 1.2) and then an offset from U(0, 0.5), in units of the scaled
    /// features.
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

    /// Interpolates linearly between two states; `share` 0 is `from`, 1 is `to`.
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

/// A sensor that keeps ageing: it starts as new and moves along straight lines from one drawn state to the next.
#[derive(Clone, PartialEq, Debug)]
pub struct AgeingSensor(Vec<AgedSensor>);

impl AgeingSensor {
    /// Number of samples between two drawn states.
    const PERIOD: usize = 4000;

    /// Draws the states for a life of `samples` samples. The first one is that of [`AgedSensor::draw`]; the others are
    /// drawn after it.
    pub fn draw(inputs: usize, seed: u64, samples: usize) -> Self {
        let mut generator = Stream::Ageing.generator(seed);
        let new = AgedSensor { gain: vec![1.0; inputs], offset: vec![0.0; inputs] };
        let drawn = (0..samples.div_ceil(Self::PERIOD)).map(|_| AgedSensor::drawn(inputs, &mut generator));
        Self([new].into_iter().chain(drawn).collect())
    }

    /// Returns the sensor after `samples` samples. Beyond the last drawn state, it stays there.
    pub fn after(&self, samples: usize) -> AgedSensor {
        let last = self.0.len() - 1;
        let state = (samples / Self::PERIOD).min(last);
        let share = (samples % Self::PERIOD) as f32 / Self::PERIOD as f32;
        AgedSensor::between(&self.0[state], &self.0[(state + 1).min(last)], share)
    }
}

impl Samples {
    /// Returns the samples as an aged sensor measures them.
    pub fn aged(&self, sensor: &AgedSensor) -> Self {
        let mut aged = self.clone();
        aged.features.chunks_exact_mut(self.inputs.max(1)).for_each(|input| sensor.read(input));
        aged
    }

    /// Returns the samples as an ageing sensor measures them one after another, starting as new.
    pub fn ageing(&self, sensor: &AgeingSensor) -> Self {
        let mut ageing = self.clone();
        let inputs = ageing.features.chunks_exact_mut(self.inputs.max(1));
        inputs.enumerate().for_each(|(index, input)| sensor.after(index).read(input));
        ageing
    }

    /// Returns square images of `side` × `side` pixels as a differently mounted sensor sees them. Pixel (row, column)
    /// shows the one at `place(row, column)`, or 0 if that is outside the image. Samples of another length are returned
    /// unchanged.
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
