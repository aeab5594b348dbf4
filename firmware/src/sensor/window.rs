//! Features of consecutive readings as one sample, for a quantity that varies in time.
//!
//! The features of W values v of a channel are, in this order:
//!
//! | feature | equation | unit |
//! |---|---|---|
//! | mean | μ = Σ v / W | that of v |
//! | deviation | √(Σ (v − μ)² / W) | that of v |
//! | energy | Σ v² / W | its square |
//! | peak | max abs(v − μ) | that of v |
//! | crossings | how often v goes from below μ to μ or above, or back, / W | none |
//!
//! Sums and square root are those of [`graftage_core::arithmetic`]. A feature is finite if the values and the sum of
//! their squares are.

use graftage_core::arithmetic::{largest, sqrt, sum};
use heapless::Vec;

/// Number of features per channel.
pub const FEATURES: usize = 5;

/// Window of up to W readings of C channels.
#[derive(Clone, Debug, Default)]
pub struct Window<const C: usize, const W: usize>(Vec<[f32; C], W>);

impl<const C: usize, const W: usize> Window<C, W> {
    /// Creates an empty window.
    pub const fn new() -> Self {
        const { assert!(W > 0, "a window without readings has no mean") }
        Self(Vec::new())
    }

    /// Takes a reading. Every W-th call returns the features of the last W readings, channel by channel. Windows do not
    /// overlap.
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

    /// Starts a new window: readings before and after a gap must not form one.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Returns the features of values that `values` yields anew on each call.
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
