//! Dense layers: a = b + W a', each element starting from b, inputs ascending. In the backward pass, δ' = Wᵀδ, outputs
//! ascending from +0; M_W ← keep·M_W + δ a'ᵀ, M_b ← keep·M_b + δ.

use crate::matrix::elementwise::combine;
use crate::matrix::{FixedMatrix, RowMajor};
use crate::network::{Fixed, Held, Kind, Layer, Parameter, admitted, larger};
use crate::norm::workspace;
use crate::scion::{Point, Role, Scion};

/// Dense layer a = b + W a' over matrices in any storage: W of shape (outputs, inputs), b of shape (1, outputs).
#[derive(Clone, PartialEq, Debug)]
pub struct Affine<W, B> {
    pub(super) weights: Held<W>,
    pub(super) bias: Held<B>,
}

/// Dense layer with I inputs and O outputs, in static memory.
pub type Dense<const I: usize, const O: usize> = Affine<FixedMatrix<O, I>, FixedMatrix<1, O>>;

impl<W: RowMajor, B: RowMajor> Affine<W, B> {
    /// Creates a layer from states of shapes (outputs, inputs) and (1, outputs); `None` if they do not fit together.
    pub fn new(weights: Scion<W>, bias: Scion<B>) -> Option<Self> {
        let (outputs, inputs) = weights.x.shape();
        let (weights, bias) = (Held::new(weights), Held::new(bias));
        let fits = inputs > 0 && weights.has_shape((outputs, inputs)) && bias.has_shape((1, outputs));
        fits.then_some(Self { weights, bias })
    }

    /// Adds Wᵀδ, outputs ascending, to the errors of the inputs.
    pub(super) fn spread(&self, at: Point, errors: &[f32], input_errors: &mut [f32]) {
        add_transposed(self.weights.weights(at), errors, input_errors);
    }
}

impl<W: RowMajor, B: RowMajor> Layer for Affine<W, B> {
    fn inputs(&self) -> usize {
        self.weights.state.x.shape().1
    }
    fn outputs(&self) -> usize {
        self.weights.state.x.shape().0
    }
    fn trace(&self) -> usize {
        self.outputs()
    }
    fn forward(&self, at: Point, input: &[f32], trace: &mut [f32]) {
        let (weights, bias) = (self.weights.weights(at), self.bias.weights(at));
        multiply(weights, bias, input, trace);
    }
    fn backward(&self, at: Point, _input: &[f32], _trace: &[f32], errors: &mut [f32], input_errors: &mut [f32]) {
        if input_errors.is_empty() {
            return;
        }
        input_errors.fill(0.0);
        self.spread(at, errors, input_errors);
    }
    fn admits(&self, input: &[f32], trace: &[f32], errors: &[f32]) -> bool {
        admitted(1, input, trace, errors)
    }
    fn trains(&self) -> bool {
        self.weights.trains() || self.bias.trains()
    }
    fn accumulate(&mut self, keep: f32, input: &[f32], _trace: &[f32], errors: &[f32]) {
        add_outer(self.weights.momentum(), keep, errors, input);
        combine(self.bias.momentum(), keep, 1.0, errors);
    }
    fn parameters(&mut self, visit: &mut dyn FnMut(Parameter)) {
        visit(self.weights.parameter(Role::Weights));
        visit(self.bias.parameter(Role::Bias));
    }
}

/// out ← bias + W a, each element from its bias, inputs ascending.
#[inline(never)]
fn multiply(weights: &[f32], bias: &[f32], a: &[f32], out: &mut [f32]) {
    let (out_fours, out_ones) = out.as_chunks_mut::<4>();
    let (bias_fours, bias_ones) = bias.as_chunks::<4>();
    let mut rest = weights;
    let mut row = || take(&mut rest, a.len());
    for (out, bias) in out_fours.iter_mut().zip(bias_fours) {
        *out = dot(*bias, [row(), row(), row(), row()], a);
    }
    for (out, bias) in out_ones.iter_mut().zip(bias_ones) {
        *out = *bias;
        row().iter().zip(a).for_each(|(w, a)| *out += w * a);
    }
}

/// Splits the next row off `rest`.
// The compiler sees that the row has the length of a or is empty, which it does not see of a chunk.
#[inline(always)]
fn take<'a>(rest: &mut &'a [f32], length: usize) -> &'a [f32] {
    let (row, after) = rest.split_at_checked(length).unwrap_or_default();
    *rest = after;
    row
}

/// Like [`take`], but mutable.
#[inline(always)]
fn take_mut<'a>(rest: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (row, after) = core::mem::take(rest).split_at_mut_checked(length).unwrap_or_default();
    *rest = after;
    row
}

/// Applies f to each a and its partners in four rows, so that each a is read once. Eight are written out at a time,
/// because compilers do not unroll loops when they optimise for size.
macro_rules! along_four_rows {
    ($a:expr, $rows:expr, $as_chunks:ident, $f:ident) => {{
        let [r0, r1, r2, r3] = $rows;
        let ((r0, e0), (r1, e1)) = (r0.$as_chunks::<8>(), r1.$as_chunks::<8>());
        let ((r2, e2), (r3, e3)) = (r2.$as_chunks::<8>(), r3.$as_chunks::<8>());
        let (a, end) = $a.as_chunks::<8>();
        for ((((a, r0), r1), r2), r3) in a.iter().zip(r0).zip(r1).zip(r2).zip(r3) {
            let [a0, a1, a2, a3, a4, a5, a6, a7] = a;
            let ([p0, p1, p2, p3, p4, p5, p6, p7], [q0, q1, q2, q3, q4, q5, q6, q7]) = (r0, r1);
            let ([u0, u1, u2, u3, u4, u5, u6, u7], [v0, v1, v2, v3, v4, v5, v6, v7]) = (r2, r3);
            $f(a0, p0, q0, u0, v0);
            $f(a1, p1, q1, u1, v1);
            $f(a2, p2, q2, u2, v2);
            $f(a3, p3, q3, u3, v3);
            $f(a4, p4, q4, u4, v4);
            $f(a5, p5, q5, u5, v5);
            $f(a6, p6, q6, u6, v6);
            $f(a7, p7, q7, u7, v7);
        }
        for ((((a, r0), r1), r2), r3) in end.iter().zip(e0).zip(e1).zip(e2).zip(e3) {
            $f(a, r0, r1, r2, r3);
        }
    }};
}

/// Continues four sums with the products of four rows and a.
#[inline(always)]
fn dot([mut s0, mut s1, mut s2, mut s3]: [f32; 4], rows: [&[f32]; 4], a: &[f32]) -> [f32; 4] {
    let mut add = |a: &f32, w0: &f32, w1: &f32, w2: &f32, w3: &f32| {
        s0 += w0 * a;
        s1 += w1 * a;
        s2 += w2 * a;
        s3 += w3 * a;
    };
    along_four_rows!(a, rows, as_chunks, add);
    [s0, s1, s2, s3]
}

/// out ← out + Wᵀ δ, outputs ascending.
#[inline(never)]
fn add_transposed(weights: &[f32], errors: &[f32], out: &mut [f32]) {
    let (errors_of_fours, errors_of_ones) = errors.as_chunks();
    let mut rows = weights.chunks_exact(out.len().max(1));
    for [e0, e1, e2, e3] in errors_of_fours {
        let mut row = || rows.next().unwrap_or(&[]);
        for ((((e, w0), w1), w2), w3) in out.iter_mut().zip(row()).zip(row()).zip(row()).zip(row()) {
            *e = *e + w0 * e0 + w1 * e1 + w2 * e2 + w3 * e3;
        }
    }
    for (row, error) in rows.zip(errors_of_ones) {
        combine(out, 1.0, *error, row);
    }
}

/// M ← keep·M + δ aᵀ.
#[inline(never)]
fn add_outer(momentum: &mut [f32], keep: f32, errors: &[f32], a: &[f32]) {
    let (errors_of_fours, errors_of_ones) = errors.as_chunks();
    let mut rest = momentum;
    let mut row = || take_mut(&mut rest, a.len());
    for [e0, e1, e2, e3] in errors_of_fours {
        let rows = [row(), row(), row(), row()];
        // A product with 1 is exact. All samples of a batch except the first take this branch.
        if keep == 1.0 {
            let add = |a: &f32, m0: &mut f32, m1: &mut f32, m2: &mut f32, m3: &mut f32| {
                *m0 += e0 * a;
                *m1 += e1 * a;
                *m2 += e2 * a;
                *m3 += e3 * a;
            };
            along_four_rows!(a, rows, as_chunks_mut, add);
        } else {
            let [m0, m1, m2, m3] = rows;
            for ((((a, m0), m1), m2), m3) in a.iter().zip(m0).zip(m1).zip(m2).zip(m3) {
                *m0 = keep * *m0 + e0 * a;
                *m1 = keep * *m1 + e1 * a;
                *m2 = keep * *m2 + e2 * a;
                *m3 = keep * *m3 + e3 * a;
            }
        }
    }
    for error in errors_of_ones {
        combine(row(), keep, *error, a);
    }
}

impl<const I: usize, const O: usize> Fixed for Dense<I, O> {
    const ZERO: Self = Self {
        weights: Held::new(Scion { x: [[0.0; I]; O], y: [[0.0; I]; O], m: [[0.0; I]; O] }),
        bias: Held::new(Scion { x: [[0.0; O]], y: [[0.0; O]], m: [[0.0; O]] }),
    };
    const INPUTS: usize = I;
    const OUTPUTS: usize = O;
    const TRACE: usize = O;
    const WEIGHTS: usize = O * I + O;
    const WORKSPACE: usize = larger(workspace(O, I), workspace(1, O));
    const SCHEMA: u64 = {
        assert!(I > 0 && O > 0, "a dense layer has at least one input and one output");
        Kind::Dense { inputs: I as u32, outputs: O as u32 }.hash()
    };
}
