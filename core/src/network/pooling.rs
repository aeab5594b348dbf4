//! Pooling over L places of C channels, channel by channel, with the windows of [`convolution`](super::convolution).
//!
//! | layer | a_pc from the K numbers a'_(pS+k)c | backward |
//! |---|---|---|
//! | [`AveragePool`] | (Σ_k a')/K, taps ascending from +0 | δ/K to each |
//! | [`MaxPool`] | the largest: the first tap's, or a later one that is greater | δ to the first that equals a |
//!
//! In the backward pass, δ' starts from +0 everywhere and takes the windows ascending.

use crate::network::shape::{Slide, Slides, Window, channel, channel_mut};
use crate::network::{Fixed, Kind, Layer, Parameter};
use crate::scion::Point;
use core::marker::PhantomData;

/// Reduction of the numbers of one channel under a window to one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reduction {
    /// Mean of the numbers.
    Average,
    /// Largest of the numbers.
    Maximum,
}

impl Reduction {
    fn forward<'a>(self, numbers: impl Iterator<Item = &'a f32>, taps: f32) -> f32 {
        match self {
            Reduction::Average => numbers.fold(0.0, |sum, a| sum + a) / taps,
            Reduction::Maximum => numbers.copied().reduce(|best, a| if a > best { a } else { best }).unwrap_or(0.0),
        }
    }

    /// Adds the part of the output's error that falls on each number to that number's error.
    fn backward<'a>(self, out: f32, error: f32, numbers: impl Iterator<Item = (&'a f32, &'a mut f32)>, taps: f32) {
        let mut numbers = numbers;
        match self {
            Reduction::Average => numbers.for_each(|(_, e)| *e += error / taps),
            Reduction::Maximum => {
                if let Some((_, e)) = numbers.find(|(a, _)| **a == out) {
                    *e += error;
                }
            }
        }
    }

    const fn kind(self, window: Window) -> Kind {
        match self {
            Reduction::Average => Kind::AveragePool(window),
            Reduction::Maximum => Kind::MaxPool(window),
        }
    }
}

/// Reduction that is given as a type.
pub trait Reduces {
    /// The reduction as a value.
    const REDUCTION: Reduction;
}

/// [`Reduction::Average`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Average;

impl Reduces for Average {
    const REDUCTION: Reduction = Reduction::Average;
}

/// [`Reduction::Maximum`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Maximum;

impl Reduces for Maximum {
    const REDUCTION: Reduction = Reduction::Maximum;
}

/// Layer that reduces each channel at every place of a window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool<P, R> {
    slide: P,
    reduction: PhantomData<R>,
}

/// Average pooling with K taps and stride S over L places of C channels.
pub type AveragePool<const L: usize, const C: usize, const K: usize, const S: usize> = Pool<Slide<L, C, K, S>, Average>;

/// Max pooling with K taps and stride S over L places of C channels.
pub type MaxPool<const L: usize, const C: usize, const K: usize, const S: usize> = Pool<Slide<L, C, K, S>, Maximum>;

impl<R> Pool<Window, R> {
    /// Creates a layer; `None` if the window does not fit.
    pub fn new(window: Window) -> Option<Self> {
        window.makes(window.channels).then_some(Self { slide: window, reduction: PhantomData })
    }
}

impl<P: Slides, R: Reduces> Layer for Pool<P, R> {
    fn inputs(&self) -> usize {
        self.slide.window().length()
    }
    fn outputs(&self) -> usize {
        let window = self.slide.window();
        window.outputs() as usize * window.channels as usize
    }
    fn trace(&self) -> usize {
        self.outputs()
    }
    fn forward(&self, _at: Point, input: &[f32], trace: &mut [f32]) {
        let window = self.slide.window();
        let channels = window.channels as usize;
        for (under, out) in window.over(input).zip(trace.chunks_exact_mut(channels)) {
            for (c, out) in out.iter_mut().enumerate() {
                *out = R::REDUCTION.forward(channel(under, c, channels), window.taps as f32);
            }
        }
    }
    fn backward(&self, _at: Point, input: &[f32], trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        let window = self.slide.window();
        let channels = window.channels as usize;
        let mut outputs = window.over(input).zip(trace.chunks_exact(channels));
        window.backward(errors, channels, input_errors, |errors, under_errors| {
            let Some((under, out)) = outputs.next() else { return };
            for (c, (out, error)) in out.iter().zip(errors).enumerate() {
                let numbers = channel(under, c, channels).zip(channel_mut(under_errors, c, channels));
                R::REDUCTION.backward(*out, *error, numbers, window.taps as f32);
            }
        });
    }
    fn trains(&self) -> bool {
        false
    }
    fn admits(&self, _input: &[f32], _trace: &[f32], _errors: &[f32]) -> bool {
        true
    }
    fn accumulate(&mut self, _keep: f32, _input: &[f32], _trace: &[f32], _errors: &[f32]) {}
    fn parameters(&mut self, _visit: &mut dyn FnMut(Parameter)) {}
}

impl<const L: usize, const C: usize, const K: usize, const S: usize, R: Reduces> Fixed for Pool<Slide<L, C, K, S>, R> {
    const ZERO: Self = Self { slide: Slide, reduction: PhantomData };
    const INPUTS: usize = L * C;
    const OUTPUTS: usize = Slide::<L, C, K, S>::PLACES * C;
    const TRACE: usize = Self::OUTPUTS;
    const WEIGHTS: usize = 0;
    const WORKSPACE: usize = 0;
    const SCHEMA: u64 = R::REDUCTION.kind(Slide::<L, C, K, S>::WINDOW).hash();
}
