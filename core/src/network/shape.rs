//! Sizes of layers: types, which cost no memory, or numbers that are known at run time. Both run the same code.

use core::iter;
use core::ops::Range;
use serde::{Deserialize, Serialize};

/// How many there are of something.
pub trait Count {
    /// That many.
    fn count(&self) -> usize;
}

/// A number that is a type.
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

/// A window that slides over places.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Places that come in.
    pub places: u32,
    /// Channels of each.
    pub channels: u32,
    /// Places under the window.
    pub taps: u32,
    /// Places from one window to the next.
    pub stride: u32,
}

impl Window {
    /// Places that go out: ⌊(places − taps)/stride⌋ + 1; 0 where the window does not fit, or a number is 0.
    pub const fn outputs(self) -> u32 {
        match (self.places.checked_sub(self.taps), self.taps, self.channels, self.stride) {
            (None, ..) | (_, 0, ..) | (_, _, 0, _) | (.., 0) => 0,
            (Some(left), _, _, stride) => left / stride + 1,
        }
    }

    /// Whether there can be a layer that makes so many channels of each window.
    pub const fn makes(self, channels: u32) -> bool {
        let (inputs, outputs) = (self.places.checked_mul(self.channels), self.outputs().checked_mul(channels));
        inputs.is_some() && matches!(outputs, Some(1..))
    }

    /// Numbers that come in.
    pub(super) const fn length(self) -> usize {
        self.places as usize * self.channels as usize
    }

    /// Numbers under the window.
    pub(super) const fn size(self) -> usize {
        self.taps as usize * self.channels as usize
    }

    /// Where the window lies, from the first place to the last.
    pub(super) fn spans(self) -> impl Iterator<Item = Range<usize>> {
        let step = self.stride as usize * self.channels as usize;
        // Not a range's: an iterator by index lets `zip` ask chunks for their number, and built for size that division keeps
        // its panic.
        let starts = iter::successors(Some(0), move |start: &usize| start.checked_add(step));
        starts.map(move |start| start..start + self.size()).take(self.outputs() as usize)
    }

    /// What lies under the window, from the first place to the last.
    pub(super) fn over(self, input: &[f32]) -> impl Iterator<Item = &[f32]> {
        self.spans().map(|span| input.get(span).unwrap_or(&[]))
    }

    /// Backward through a layer: `spread` adds to the errors under the window what each place's `errors`, so many of them,
    /// say; windows ascending, from +0. Nothing is done where nobody asks for errors.
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

/// Pieces of so many numbers, one after another; none of 0.
// `chunks_exact` divides to know how many they are where it is zipped, and built for size keeps a panic for a 0.
pub(super) fn pieces(mut numbers: &[f32], length: usize) -> impl Iterator<Item = &[f32]> {
    iter::from_fn(move || {
        let (piece, rest) = numbers.split_at_checked(length).filter(|_| length > 0)?;
        numbers = rest;
        Some(piece)
    })
}

/// A window: a type, or numbers at run time.
pub trait Slides {
    /// Those numbers.
    fn window(&self) -> Window;
}

impl Slides for Window {
    fn window(&self) -> Window {
        *self
    }
}

/// The window over L places of C channels with K taps, S places further each time.
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

/// The same, to be written.
pub(super) fn channel_mut(places: &mut [f32], channel: usize, channels: usize) -> impl Iterator<Item = &mut f32> {
    places.get_mut(channel..).unwrap_or(&mut []).iter_mut().step_by(channels)
}

/// What M is multiplied by at each place of a sample: `keep` at the first, then 1, which changes no bit.
pub(super) fn once(keep: f32) -> impl Iterator<Item = f32> {
    iter::once(keep).chain(iter::repeat(1.0))
}
