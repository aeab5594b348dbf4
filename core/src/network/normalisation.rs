//! RMS normalisation (Zhang and Sennrich 2019) of L places of C channels each, place by place, without an epsilon.
//!
//! With p·q the power of two that brings the largest |a'_c| of a place into [1, 2) (see [`into_unit_binade`]), and δ
//! the errors of the outputs:
//!
//! ```text
//! s_c  = a'_c·p·q                       exact unless a'_c is more than 2^126 below the largest
//! r    = √((Σ_c s_c²)/C)
//! n_c  = s_c/r                          so a' and 2ᵏa' give the same bits; a place of zeros stays 0
//! a_c  = g_c·n_c
//! h_c  = g_c·δ_c
//! δ'_c = ((h_c − n_c·((Σ_j h_j·n_j)/C))/r)·p·q      +0 in a place of zeros, where there is no derivative
//! M_g  ← keep·M_g + δ_c·n_c             places ascending, keep with the first place of the first sample alone
//! ```
//!
//! Sums use [`arithmetic::sum`](crate::arithmetic::sum); everything else is evaluated from left to right. Because
//! |n_c| ≤ √C, a sample is admitted only if max|δ| and max|δ|·√C are at most 2^64/L. The smaller a place, the larger
//! its δ'; if that overflows, an earlier layer that trains refuses the sample.

use crate::arithmetic::{into_unit_binade, largest, sqrt, sum};
use crate::matrix::{FixedMatrix, RowMajor};
use crate::network::shape::{Constant, Count, once, pieces};
use crate::network::{Fixed, Held, Kind, Layer, Parameter, admitted};
use crate::norm::workspace;
use crate::scion::{Point, Role, Scion};

/// RMS normalisation of a number of places, with a gain g of shape (1, channels).
#[derive(Clone, PartialEq, Debug)]
pub struct Normalisation<P, G> {
    places: P,
    gain: Held<G>,
}

/// RMS normalisation of L places of C channels, in static memory.
pub type RmsNorm<const C: usize, const L: usize = 1> = Normalisation<Constant<L>, FixedMatrix<1, C>>;

/// Scale of a place, which is multiplied by p and by q and then divided by r.
#[derive(Clone, Copy)]
struct Scale {
    p: f32,
    q: f32,
    r: f32,
}

impl Scale {
    /// Scale of one place; `None` if all its channels are zero.
    fn of(place: &[f32]) -> Option<Self> {
        let largest = largest(place);
        if largest == 0.0 {
            return None;
        }
        let (p, q) = into_unit_binade(largest);
        let squares = place.iter().map(|a| (a * p * q) * (a * p * q));
        Some(Self { p, q, r: sqrt(sum(squares) / place.len() as f32) })
    }

    /// Normalised value n of an element.
    fn normalised(self, a: f32) -> f32 {
        a * self.p * self.q / self.r
    }
}

/// Normalised elements of a place; zeros if all are zero.
fn normalised(place: &[f32]) -> impl Iterator<Item = f32> {
    let scale = Scale::of(place);
    place.iter().map(move |a| scale.map_or(*a, |scale| scale.normalised(*a)))
}

impl<G: RowMajor> Normalisation<usize, G> {
    /// Creates a layer from a state of shape (1, channels); `None` if its shape is different, or the width is 0 or
    /// overflows.
    pub fn new(places: usize, gain: Scion<G>) -> Option<Self> {
        let (channels, gain) = (gain.x.shape().1, Held::new(gain));
        let fits = places.checked_mul(channels).is_some_and(|width| width > 0) && gain.has_shape((1, channels));
        fits.then_some(Self { places, gain })
    }
}

impl<P: Count, G: RowMajor> Normalisation<P, G> {
    fn channels(&self) -> usize {
        self.gain.state.x.shape().1
    }
}

impl<P: Count, G: RowMajor> Layer for Normalisation<P, G> {
    fn inputs(&self) -> usize {
        self.places.count() * self.channels()
    }
    fn outputs(&self) -> usize {
        self.inputs()
    }
    fn trace(&self) -> usize {
        self.inputs()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let channels = self.channels();
        for (place, out) in pieces(input, channels).zip(trace.chunks_exact_mut(channels)) {
            for ((out, n), g) in out.iter_mut().zip(normalised(place)).zip(self.gain.weights(at)) {
                *out = g * n;
            }
        }
    }
    fn backward(&self, at: Point, input: &[f32], _trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        let (channels, gain) = (self.channels(), self.gain.weights(at));
        let places = pieces(input, channels).zip(errors.chunks_exact(channels));
        for ((place, errors), input_errors) in places.zip(input_errors.chunks_exact_mut(channels)) {
            let Some(scale) = Scale::of(place) else {
                input_errors.fill(0.0);
                continue;
            };
            for ((e, g), error) in input_errors.iter_mut().zip(gain).zip(errors) {
                *e = g * error;
            }
            let products = input_errors.iter().zip(place).map(|(h, a)| h * scale.normalised(*a));
            let mean = sum(products) / channels as f32;
            for (e, a) in input_errors.iter_mut().zip(place) {
                *e = (*e - scale.normalised(*a) * mean) / scale.r * scale.p * scale.q;
            }
        }
    }
    fn trains(&self) -> bool {
        self.gain.trains()
    }
    fn admits(&self, _input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        // No normalised value is larger than this root.
        admitted(self.places.count(), &[sqrt(self.channels() as f32)], trace, errors)
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], _trace: &[f32], errors: &[f32]) {
        let channels = self.channels();
        let places = pieces(input, channels).zip(errors.chunks_exact(channels));
        for (keep, (place, errors)) in once(keep).zip(places) {
            for ((m, n), error) in self.gain.momentum().iter_mut().zip(normalised(place)).zip(errors) {
                *m = keep * *m + error * n;
            }
        }
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        visit(self.gain.parameter(Role::Gain));
    }
}

impl<const C: usize, const L: usize> Fixed for RmsNorm<C, L> {
    const ZERO: Self = Self { places: Constant, gain: Held::zeros([[0.0; C]]) };
    const INPUTS: usize = L * C;
    const OUTPUTS: usize = L * C;
    const TRACE: usize = L * C;
    const WEIGHTS: usize = C;
    const WORKSPACE: usize = workspace(1, C);
    const SCHEMA: u64 = {
        assert!(L > 0 && C > 0, "a normalisation has at least one place of one channel");
        Kind::RmsNorm { places: L as u32, channels: C as u32 }.hash()
    };
}
