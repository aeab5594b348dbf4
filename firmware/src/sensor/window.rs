//! Readings in a row as one sample: what a network takes of something that goes on in time.
//!
//! Of W values v of a channel, in this order:
//!
//! | feature | equation | unit |
//! |---|---|---|
//! | mean | μ = Σ v / W | that of v |
//! | deviation | √(Σ (v − μ)² / W) | that of v |
//! | energy | Σ v² / W | its square |
//! | peak | max abs(v − μ) | that of v |
//! | crossings | how often v goes from below μ to μ or above, or back, / W | none |
//!
//! Sums and root are [`graftage_core::arithmetic`]'s; a feature is finite where the values are and their squares' sum is.

use graftage_core::arithmetic::{largest, sqrt, sum};
use heapless::Vec;

/// Features of a channel.
pub const FEATURES: usize = 5;

/// Up to W readings of C channels.
#[derive(Clone, Debug, Default)]
pub struct Window<const C: usize, const W: usize>(Vec<[f32; C], W>);

impl<const C: usize, const W: usize> Window<C, W> {
    /// With no reading.
    pub const fn new() -> Self {
        const { assert!(W > 0, "a window without readings has no mean") }
        Self(Vec::new())
    }

    /// Takes a reading. Every W-th returns the features of the last W, channel by channel: what a window is made of it is
    /// made of once.
    pub fn push(&mut self, reading: [f32; C]) -> Option<[[f32; FEATURES]; C]> {
        // There is room: a full window is cleared.
        let _ = self.0.push(reading);
        if !self.0.is_full() {
            return None;
        }
        let mut features = [[0.0; FEATURES]; C];
        for (channel, features) in features.iter_mut().enumerate() {
            *features = of(|| self.0.iter().filter_map(move |reading| reading.get(channel)).copied());
        }
        self.0.clear();
        Some(features)
    }

    /// Starts anew: readings before a gap and after it make no window.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The features of some values, which are gone through again and again.
fn of<V: Iterator<Item = f32>>(values: impl Fn() -> V) -> [f32; FEATURES] {
    let count = values().count() as f32;
    let mean = sum(values()) / count;
    let apart = || values().map(|v| v - mean);
    let deviation = sqrt(sum(apart().map(|d| d * d)) / count);
    let energy = sum(values().map(|v| v * v)) / count;
    let peak = apart().fold(0.0, |peak, d| largest(&[peak, d]));
    let crossings = apart().zip(apart().skip(1)).filter(|(a, b)| (*a < 0.0) != (*b < 0.0)).count() as f32 / count;
    [mean, deviation, energy, peak, crossings]
}
