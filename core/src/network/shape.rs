//! Sizes of layers, given as types, which cost no memory, or as numbers at run time. Both run the same code.

use core::iter;
use core::ops::Range;
use serde::{Deserialize, Serialize};

/// Number that is given as a type or at run time.
pub trait Count {
    /// Returns the number.
    fn count(&self) -> usize;
}

/// Number that is given as a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Constant<const N: usize>;

impl<const N: usize> Count for Constant<N> {
    fn count(&self) -> usize {
        N
    }
}

impl Count for usize {
    fn count(&self) -> usize {
        *self
    }
}

/// Window that slides over places.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Number of input places.
    pub places: u32,
    /// Number of channels per place.
    pub channels: u32,
    /// Number of places under the window.
    pub taps: u32,
    /// Number of places from one window to the next.
    pub stride: u32,
}

impl Window {
    /// Number of output places: ⌊(places − taps)/stride⌋ + 1; 0 if the window does not fit or a field is 0.
    pub const fn outputs(self) -> u32 {
        match (self.places.checked_sub(self.taps), self.taps, self.channels, self.stride) {
            (None, ..) | (_, 0, ..) | (_, _, 0, _) | (.., 0) => 0,
            (Some(left), _, _, stride) => left / stride + 1,
        }
    }

    /// Returns whether a layer that makes `channels` channels of each window is possible: it has outputs, and no size
    /// overflows.
    pub const fn makes(self, channels: u32) -> bool {
        let (inputs, outputs) = (self.places.checked_mul(self.channels), self.outputs().checked_mul(channels));
        inputs.is_some() && matches!(outputs, Some(1..))
    }

    /// Number of values in the input.
    pub(super) const fn length(self) -> usize {
        self.places as usize * self.channels as usize
    }

    /// Number of values under the window.
    pub(super) const fn size(self) -> usize {
        self.taps as usize * self.channels as usize
    }

    /// Index ranges of the window in the input, from the first place to the last.
    pub(super) fn spans(self) -> impl Iterator<Item = Range<usize>> {
        let step = self.stride as usize * self.channels as usize;
        // Not a range: `zip` asks chunks for their number if the other iterator is indexed, and when built for size
        // that division keeps its panic.
        let starts = iter::successors(Some(0), move |start: &usize| start.checked_add(step));
        starts.map(move |start| start..start + self.size()).take(self.outputs() as usize)
    }

    /// Values under the window, from the first place to the last.
    pub(super) fn over(self, input: &[f32]) -> impl Iterator<Item = &[f32]> {
        self.spans().map(|span| input.get(span).unwrap_or(&[]))
    }

    /// Backward pass through a layer, windows ascending, from +0. For each place, `spread` gets its `channels` errors
    /// and adds to the errors under the window. Does nothing if `input_errors` is empty.
    pub(super) fn backward(
        self,
        errors: &[f32],
        channels: usize,
        input_errors: &mut [f32],
        mut spread: impl FnMut(&[f32], &mut [f32]),
    ) {
        if input_errors.is_empty() {
            return;
        }
        input_errors.fill(0.0);
        for (span, errors) in self.spans().zip(errors.chunks_exact(channels)) {
            spread(errors, input_errors.get_mut(span).unwrap_or(&mut []));
        }
    }
}

/// Pieces of `length` numbers, one after another; none if `length` is 0.
// When zipped, `chunks_exact` divides to find out how many there are, and when built for size it keeps a panic for a 0.
pub(super) fn pieces(mut numbers: &[f32], length: usize) -> impl Iterator<Item = &[f32]> {
    iter::from_fn(move || {
        let (piece, rest) = numbers.split_at_checked(length).filter(|_| length > 0)?;
        numbers = rest;
        Some(piece)
    })
}

/// Window that is given as a type or as numbers at run time.
pub trait Slides {
    /// Returns the window's numbers.
    fn window(&self) -> Window;
}

impl Slides for Window {
    fn window(&self) -> Window {
        *self
    }
}

/// Window of K taps and stride S over L places of C channels, as a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slide<const L: usize, const C: usize, const K: usize, const S: usize>;

impl<const L: usize, const C: usize, const K: usize, const S: usize> Slide<L, C, K, S> {
    pub(super) const WINDOW: Window = {
        let window = Window { places: L as u32, channels: C as u32, taps: K as u32, stride: S as u32 };
        assert!(C > 0, "a place has at least one channel");
        assert!(K > 0 && K <= L, "a window has at least one tap and no more than there are places");
        assert!(S > 0, "a window moves by at least one place");
        window
    };
    pub(super) const PLACES: usize = Self::WINDOW.outputs() as usize;
}

impl<const L: usize, const C: usize, const K: usize, const S: usize> Slides for Slide<L, C, K, S> {
    fn window(&self) -> Window {
        Self::WINDOW
    }
}

/// Every `channels`-th number from number `channel` on: one channel of places that lie side by side.
pub(super) fn channel(places: &[f32], channel: usize, channels: usize) -> impl Iterator<Item = &f32> {
    places.get(channel..).unwrap_or(&[]).iter().step_by(channels)
}

/// Like [`channel`], but mutable.
pub(super) fn channel_mut(places: &mut [f32], channel: usize, channels: usize) -> impl Iterator<Item = &mut f32> {
    places.get_mut(channel..).unwrap_or(&mut []).iter_mut().step_by(channels)
}

/// Factors of M at the places of a sample: `keep` at the first, then 1, which changes no bit.
pub(super) fn once(keep: f32) -> impl Iterator<Item = f32> {
    iter::once(keep).chain(iter::repeat(1.0))
}
