//! Convolutions in one dimension over L places of C channels, channels side by side, without padding. Window p begins
//! at place p·S and covers K places; there are P = ⌊(L − K)/S⌋ + 1 windows, each of which makes one output place. The
//! kernel is not flipped (a cross-correlation, as in all of deep learning: Goodfellow, Bengio and Courville 2016,
//! section 9.1).
//!
//! | layer | equation | W | b |
//! |---|---|---|---|
//! | [`Convolution`] | a_pf = b_f + Σ_k Σ_c W_f,kC+c a'_(pS+k)c | F×(K·C) | 1×F |
//! | [`Depthwise`] | a_pc = b_c + Σ_k W_ck a'_(pS+k)c | C×K | 1×C |
//!
//! Each sum starts from b. A convolution then takes its window in ascending order, channels within taps; a depthwise
//! convolution takes its taps in ascending order.
//!
//! In the backward pass, δ' starts from +0 everywhere and takes W δ_p of each window p ascending, and within it of each
//! filter or channel ascending. M takes the places of a sample ascending, each as a dense layer takes a sample, so keep
//! applies only to the first place of the first sample: M_W ← keep·M_W + δ_p a'ᵀ of the window, M_b ← keep·M_b + δ_p.
//! One sample brings P products to each element of M, so it is admitted only if max|δ| and max|δ|·max|a'| are at most
//! 2^64/P.
//!
//! A depthwise-separable convolution (Sifre 2014; MobileNet, Howard et al. 2017) is
//! `chain![Depthwise<L, C, K, S>, Convolution<P, C, F, 1, 1>]`.

use crate::matrix::{FixedMatrix, RowMajor};
use crate::network::dense::Affine;
use crate::network::shape::{Slide, Slides, Window, channel, channel_mut, once, pieces};
use crate::network::{Fixed, Held, Kind, Layer, Parameter, admitted, larger};
use crate::norm::workspace;
use crate::scion::{Point, Role, Scion};

/// Dense layer applied at every place of a window: W of shape (filters, taps·channels), b of shape (1, filters).
#[derive(Clone, PartialEq, Debug)]
pub struct Filters<P, W, B> {
    slide: P,
    filter: Affine<W, B>,
}

/// Convolution with F filters of K taps and stride S over L places of C channels, in static memory.
pub type Convolution<const L: usize, const C: usize, const F: usize, const K: usize, const S: usize> =
    Filters<Slide<L, C, K, S>, [[[f32; C]; K]; F], FixedMatrix<1, F>>;

impl<W: RowMajor, B: RowMajor> Filters<Window, W, B> {
    /// Creates a layer from states of shapes (filters, taps·channels) and (1, filters); `None` if they do not fit the
    /// window.
    pub fn new(window: Window, weights: Scion<W>, bias: Scion<B>) -> Option<Self> {
        let filter = Affine::new(weights, bias)?;
        let fits = window.makes(u32::try_from(filter.outputs()).ok()?) && filter.inputs() == window.size();
        fits.then_some(Self { slide: window, filter })
    }
}

impl<P: Slides, W: RowMajor, B: RowMajor> Layer for Filters<P, W, B> {
    fn inputs(&self) -> usize {
        self.slide.window().length()
    }
    fn outputs(&self) -> usize {
        self.slide.window().outputs() as usize * self.filter.outputs()
    }
    fn trace(&self) -> usize {
        self.outputs()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        for (under, out) in self.slide.window().over(input).zip(trace.chunks_exact_mut(self.filter.outputs())) {
            self.filter.forward(at, under, out);
        }
    }
    fn backward(&self, at: Point, _input: &[f32], _trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        self.slide.window().backward(errors, self.filter.outputs(), input_errors, |errors, under| {
            self.filter.spread(at, errors, under);
        });
    }
    fn trains(&self) -> bool {
        self.filter.trains()
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        admitted(self.slide.window().outputs() as usize, input, trace, errors)
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], _trace: &[f32], errors: &[f32]) {
        let places = self.slide.window().over(input).zip(errors.chunks_exact(self.filter.outputs()));
        for (keep, (under, errors)) in once(keep).zip(places) {
            self.filter.accumulate(keep, under, &[], errors);
        }
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        let taps = self.slide.window().taps;
        visit(self.filter.weights.parameter(Role::Convolution { taps }));
        visit(self.filter.bias.parameter(Role::Bias));
    }
}

impl<const L: usize, const C: usize, const F: usize, const K: usize, const S: usize> Fixed
    for Convolution<L, C, F, K, S>
{
    const ZERO: Self = Self {
        slide: Slide,
        filter: Affine { weights: Held::zeros([[[0.0; C]; K]; F]), bias: Held::zeros([[0.0; F]]) },
    };
    const INPUTS: usize = L * C;
    const OUTPUTS: usize = Slide::<L, C, K, S>::PLACES * F;
    const TRACE: usize = Self::OUTPUTS;
    const WEIGHTS: usize = F * K * C + F;
    const WORKSPACE: usize = larger(workspace(F, K * C), workspace(1, F));
    const SCHEMA: u64 = {
        assert!(F > 0, "a convolution has at least one filter");
        Kind::Convolution { window: Slide::<L, C, K, S>::WINDOW, filters: F as u32 }.hash()
    };
}

/// Layer with one filter per channel at every place of a window: W of shape (channels, taps), b of shape (1, channels).
#[derive(Clone, PartialEq, Debug)]
pub struct ChannelFilters<P, W, B> {
    slide: P,
    weights: Held<W>,
    bias: Held<B>,
}

/// Depthwise convolution with a filter of K taps for each of C channels and stride S over L places, in static memory.
pub type Depthwise<const L: usize, const C: usize, const K: usize, const S: usize> =
    ChannelFilters<Slide<L, C, K, S>, FixedMatrix<C, K>, FixedMatrix<1, C>>;

impl<W: RowMajor, B: RowMajor> ChannelFilters<Window, W, B> {
    /// Creates a layer from states of shapes (channels, taps) and (1, channels); `None` if they do not fit the window.
    pub fn new(window: Window, weights: Scion<W>, bias: Scion<B>) -> Option<Self> {
        let (channels, taps) = (window.channels as usize, window.taps as usize);
        let (weights, bias) = (Held::new(weights), Held::new(bias));
        let fits = weights.has_shape((channels, taps)) && bias.has_shape((1, channels));
        (fits && window.makes(window.channels)).then_some(Self { slide: window, weights, bias })
    }
}

impl<P: Slides, W: RowMajor, B: RowMajor> Layer for ChannelFilters<P, W, B> {
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
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let (window, bias) = (self.slide.window(), self.bias.weights(at));
        let (channels, taps) = (window.channels as usize, window.taps as usize);
        for (under, out) in window.over(input).zip(trace.chunks_exact_mut(channels)) {
            let rows = pieces(self.weights.weights(at), taps);
            for (c, ((out, row), b)) in out.iter_mut().zip(rows).zip(bias).enumerate() {
                *out = *b;
                for (w, a) in row.iter().zip(channel(under, c, channels)) {
                    *out += w * a;
                }
            }
        }
    }
    fn backward(&self, at: Point, _input: &[f32], _trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        let window = self.slide.window();
        let (channels, taps) = (window.channels as usize, window.taps as usize);
        window.backward(errors, channels, input_errors, |errors, under| {
            for (c, (row, error)) in pieces(self.weights.weights(at), taps).zip(errors).enumerate() {
                for (e, w) in channel_mut(under, c, channels).zip(row) {
                    *e += w * error;
                }
            }
        });
    }
    fn trains(&self) -> bool {
        self.weights.trains() || self.bias.trains()
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        admitted(self.slide.window().outputs() as usize, input, trace, errors)
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], _trace: &[f32], errors: &[f32]) {
        let window = self.slide.window();
        let (channels, taps) = (window.channels as usize, window.taps as usize);
        let places = window.over(input).zip(errors.chunks_exact(channels));
        for (keep, (under, errors)) in once(keep).zip(places) {
            for (c, (row, error)) in self.weights.momentum().chunks_exact_mut(taps).zip(errors).enumerate() {
                for (m, a) in row.iter_mut().zip(channel(under, c, channels)) {
                    *m = keep * *m + error * a;
                }
            }
            for (m, error) in self.bias.momentum().iter_mut().zip(errors) {
                *m = keep * *m + error;
            }
        }
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        visit(self.weights.parameter(Role::Channels));
        visit(self.bias.parameter(Role::Bias));
    }
}

impl<const L: usize, const C: usize, const K: usize, const S: usize> Fixed for Depthwise<L, C, K, S> {
    const ZERO: Self = Self { slide: Slide, weights: Held::zeros([[0.0; K]; C]), bias: Held::zeros([[0.0; C]]) };
    const INPUTS: usize = L * C;
    const OUTPUTS: usize = Slide::<L, C, K, S>::PLACES * C;
    const TRACE: usize = Self::OUTPUTS;
    const WEIGHTS: usize = C * K + C;
    const WORKSPACE: usize = larger(workspace(C, K), workspace(1, C));
    const SCHEMA: u64 = Kind::Depthwise(Slide::<L, C, K, S>::WINDOW).hash();
}
