//! Matrix operations of the update rule, on one real m×n matrix or a stack of equal ones.
//!
//! [`Matrix`] is implemented here once for everything that is stored row by row: [`FixedMatrix`], whose shape is part
//! of its type, and [`Slab`], whose shape is known at run time. Both run the kernels below, so they agree in every bit.
//! Numbers that depend on the data (norms, powers of two, zero tests) never leave an operation, so an implementation on
//! an accelerator need not wait for them.
//!
//! Order of evaluation, everywhere: a product is rounded before it is added; a matrix product accumulates each output
//! element over k ascending, from +0 or from the value that it continues; a sum is an [`arithmetic::sum`]. Blocking
//! over rows and columns changes no bit.

pub mod kernel;

use crate::arithmetic::{self, into_unit_binade, largest, sqrt, sum_over};
use core::ops::{Add, Mul, Sub};
use kernel::Sides;

/// Elements that share one 2-norm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// All elements of a matrix.
    Whole,
    /// Each row.
    Row,
    /// Each column.
    Column,
}

/// Operand of a formula: one number, or a tensor of them. Every operation rounds once.
///
/// A scalar for a whole matrix is an element, too: combined with an element of the matrix, it is broadcast.
pub trait Element:
    Clone + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Add<f32, Output = Self> + Mul<f32, Output = Self>
{
    /// 1/self.
    fn reciprocal(self) -> Self;
}

impl Element for f32 {
    fn reciprocal(self) -> Self {
        1.0 / self
    }
}

/// A real m×n matrix, or a stack of them. k = min(m, n); the small side is the rows if m ≤ n, else the columns.
///
/// All operations are total on finite elements; the caller must keep the elements finite. Both operands of an operation
/// have the same shape.
pub trait Matrix {
    /// Symmetric k×k matrix of the small side.
    type Square: ?Sized;
    /// Operand of [`Matrix::map`]; also one number per matrix of the stack, stored where the matrix is.
    type Element: Element;
    /// Storage of the weights that a matrix started from.
    type Start: ?Sized;

    /// Shape (m, n).
    fn shape(&self) -> (usize, usize);

    /// Returns whether elements have the 24 bits of binary32, so that the square of a small singular value is not lost
    /// in a Gram matrix.
    fn is_precise(&self) -> bool {
        true
    }

    /// self ← other.
    fn copy(&mut self, other: &Self);

    /// self ← a·self + b·other: two rounded products, one rounded sum.
    fn combine(&mut self, a: f32, b: f32, other: &Self);

    /// self ← a·self + b·(start − x): a product, a difference, a product and a sum, each rounded. `start` has as many
    /// elements as self.
    fn pull(&mut self, a: f32, b: f32, start: &Self::Start, x: &Self);

    /// (x, y) ← f(x, y, d), element by element.
    fn map(
        x: &mut Self,
        y: &mut Self,
        d: &Self,
        f: impl Fn(Self::Element, Self::Element, Self::Element) -> (Self::Element, Self::Element),
    );

    /// Takes a step along d and forms a point ahead of it, element by element: x⁺ = x + d·gain, then
    /// y ← x⁺ + (x⁺ − x)·ahead + (y − x)·before and x ← x⁺. The last term of y is left out if `before` is 0.
    fn step_ahead(x: &mut Self, y: &mut Self, d: &Self, gain: f32, (ahead, before): (f32, f32)) {
        let both = |x: Self::Element, d: Self::Element| {
            let next = x.clone() + d * gain;
            (next.clone(), next.clone() + (next - x) * ahead)
        };
        if before != 0.0 {
            Self::map(x, y, d, |x, y, d| {
                let (next, query) = both(x.clone(), d);
                (next, query + (y - x) * before)
            });
        } else {
            Self::map(x, y, d, |x, _, d| both(x, d));
        }
    }

    /// self ← sign(other), element by element on the unscaled elements; sign(±0) = +0.
    fn sign(&mut self, other: &Self);

    /// Divides each group by its 2-norm; a group of zeros is left unchanged.
    ///
    /// A group is first scaled by the power of two that brings its largest |element| into [1, 2), which is exact unless
    /// an element is more than 2^126 below the largest. Then each element is divided by √(Σ e²).
    fn normalise(&mut self, group: Group);

    /// ⟨self, other⟩ = Σᵢ selfᵢ·otherᵢ, row by row, as one [`arithmetic::sum`].
    fn inner(&self, other: &Self) -> Self::Element;

    /// Cosine of the angle between self and other, ⟨s, o⟩/√(⟨s, s⟩·⟨o, o⟩), with s and o scaled as
    /// [`Matrix::normalise`] scales them before it divides; 0 if either is 0.
    fn cosine(&self, other: &Self) -> Self::Element;

    /// gram ← S Sᵀ if m ≤ n, else Sᵀ S. `scratch` is overwritten.
    fn gram(&self, gram: &mut Self::Square, scratch: &mut Self::Square);

    /// out ← c·(L R) + a·L + b·R for `left` = (a, L) and `right` = (b, R). L and R commute, so out is symmetric.
    ///
    /// The upper triangle and the diagonal of the product are computed, then three rounded products and two rounded
    /// sums from left to right; a term with a factor of 0 is left out. The lower triangle is the mirror image.
    fn multiply(&self, c: f32, left: (f32, &Self::Square), right: (f32, &Self::Square), out: &mut Self::Square);

    /// self ← a·S + P S if m ≤ n, else a·S + S P. `scratch` is overwritten.
    fn transform(&mut self, a: f32, p: &Self::Square, scratch: &mut Self::Square);
}

/// Number of `f32` values in a `Square` of k×k.
pub const fn square(k: usize) -> usize {
    kernel::square::<4>(k)
}

/// Matrix whose elements are stored row by row in one piece of memory.
pub trait RowMajor {
    /// Shape (rows, columns).
    fn shape(&self) -> (usize, usize);
    /// The rows·columns elements, row by row.
    fn elements(&self) -> &[f32];
    /// Like [`RowMajor::elements`], but mutable.
    fn elements_mut(&mut self) -> &mut [f32];

    /// Views this matrix as one whose shape is known at run time, so that one copy of the code serves all shapes.
    fn slab(&mut self) -> Slab<&mut [f32]> {
        let (rows, columns) = self.shape();
        Slab { rows, columns, elements: self.elements_mut() }
    }
}

/// Matrix of R rows and C columns, whose shape is part of its type.
pub type FixedMatrix<const R: usize, const C: usize> = [[f32; C]; R];

impl<const R: usize, const C: usize> RowMajor for FixedMatrix<R, C> {
    fn shape(&self) -> (usize, usize) {
        (R, C)
    }
    fn elements(&self) -> &[f32] {
        self.as_flattened()
    }
    fn elements_mut(&mut self) -> &mut [f32] {
        self.as_flattened_mut()
    }
}

/// The flattened filters of a convolution: F rows of K·C numbers.
impl<const F: usize, const K: usize, const C: usize> RowMajor for [[[f32; C]; K]; F] {
    fn shape(&self) -> (usize, usize) {
        (F, K * C)
    }
    fn elements(&self) -> &[f32] {
        self.as_flattened().as_flattened()
    }
    fn elements_mut(&mut self) -> &mut [f32] {
        self.as_flattened_mut().as_flattened_mut()
    }
}

/// Matrix whose shape is known at run time, over memory that it borrows or owns (a `Vec`).
#[derive(Clone, PartialEq, Debug)]
pub struct Slab<S> {
    rows: usize,
    columns: usize,
    elements: S,
}

impl<S: AsRef<[f32]> + AsMut<[f32]>> Slab<S> {
    /// Creates a matrix over the first rows·columns numbers of `elements`, row by row; `None` if there are fewer.
    pub fn new(rows: usize, columns: usize, elements: S) -> Option<Self> {
        (rows.checked_mul(columns)? <= elements.as_ref().len()).then_some(Self { rows, columns, elements })
    }
}

impl<S: AsRef<[f32]> + AsMut<[f32]>> RowMajor for Slab<S> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }
    fn elements(&self) -> &[f32] {
        let elements = self.elements.as_ref();
        // `new` checked that there are enough.
        elements.get(..self.rows * self.columns).unwrap_or(elements)
    }
    fn elements_mut(&mut self) -> &mut [f32] {
        let (elements, count) = (self.elements.as_mut(), self.rows * self.columns);
        let end = if count < elements.len() { count } else { elements.len() };
        elements.split_at_mut(end).0
    }
}

impl<M: RowMajor> Matrix for M {
    type Square = [f32];
    type Element = f32;
    /// Binary32 as little-endian bytes, row by row: the words of an image, read where they lie in flash.
    type Start = [[u8; 4]];

    fn shape(&self) -> (usize, usize) {
        RowMajor::shape(self)
    }
    fn copy(&mut self, other: &Self) {
        elementwise::copy(self.elements_mut(), other.elements());
    }
    fn combine(&mut self, a: f32, b: f32, other: &Self) {
        elementwise::combine(self.elements_mut(), a, b, other.elements());
    }
    fn pull(&mut self, a: f32, b: f32, start: &[[u8; 4]], x: &Self) {
        elementwise::pull(self.elements_mut(), a, b, start, x.elements());
    }
    fn map(x: &mut Self, y: &mut Self, d: &Self, f: impl Fn(f32, f32, f32) -> (f32, f32)) {
        for ((x, y), d) in x.elements_mut().iter_mut().zip(y.elements_mut()).zip(d.elements()) {
            (*x, *y) = f(*x, *y, *d);
        }
    }
    fn sign(&mut self, other: &Self) {
        elementwise::sign(self.elements_mut(), other.elements());
    }
    fn normalise(&mut self, group: Group) {
        let (m, n) = RowMajor::shape(self);
        let elements = self.elements_mut();
        if elements.is_empty() {
            return;
        }
        match group {
            Group::Whole => normalise(elements, 1),
            Group::Row => elements.chunks_mut(n.max(1)).for_each(|row| normalise(row, 1)),
            Group::Column => {
                (0..n).for_each(|j| normalise(elements.get_mut(j..=(m - 1) * n + j).unwrap_or(&mut []), n))
            }
        }
    }
    fn inner(&self, other: &Self) -> f32 {
        sum_over(self.elements(), other.elements(), |a, b| a * b)
    }
    fn cosine(&self, other: &Self) -> f32 {
        cosine(self.elements(), other.elements())
    }
    fn gram(&self, gram: &mut [f32], scratch: &mut [f32]) {
        four::gram(Sides::new(RowMajor::shape(self)), self.elements(), gram, scratch);
    }
    fn multiply(&self, c: f32, left: (f32, &[f32]), right: (f32, &[f32]), out: &mut [f32]) {
        four::multiply(Sides::new(RowMajor::shape(self)).small, c, left, right, out);
    }
    fn transform(&mut self, a: f32, p: &[f32], scratch: &mut [f32]) {
        four::transform(Sides::new(RowMajor::shape(self)), self.elements_mut(), a, p, scratch);
    }
}

/// C ← A B for an m×k and a k×n matrix, row by row; `sizes` is (m, k, n). `scratch`, which is overwritten, holds
/// [`product_scratch`] numbers.
pub fn product(sizes: (usize, usize, usize), a: &[f32], b: &[f32], c: &mut [f32], scratch: &mut [f32]) {
    four::product(sizes, a, b, c, scratch);
}

/// Number of `f32` values of scratch memory that [`product`] needs for an A of m rows and k columns.
pub const fn product_scratch(m: usize, k: usize) -> usize {
    kernel::product_scratch::<4>(m, k)
}

/// Kernels with panels of four columns: one copy for all shapes, compiled with this crate's settings.
mod four {
    use super::kernel::{self, Sides};

    #[inline(never)]
    pub fn gram(sides: Sides, s: &[f32], gram: &mut [f32], scratch: &mut [f32]) {
        kernel::gram::<4>(sides, s, gram, scratch);
    }

    #[inline(never)]
    pub fn multiply(k: usize, c: f32, left: (f32, &[f32]), right: (f32, &[f32]), out: &mut [f32]) {
        kernel::multiply::<4>(k, c, left, right, out);
    }

    #[inline(never)]
    pub fn transform(sides: Sides, s: &mut [f32], a: f32, p: &[f32], scratch: &mut [f32]) {
        kernel::transform::<4>(sides, s, a, p, scratch);
    }

    #[inline(never)]
    pub fn product(sizes: (usize, usize, usize), a: &[f32], b: &[f32], c: &mut [f32], scratch: &mut [f32]) {
        kernel::product::<4>(sizes, a, b, c, scratch);
    }
}

/// Implementation of [`Matrix::cosine`].
fn cosine(s: &[f32], o: &[f32]) -> f32 {
    let (largest_s, largest_o) = (largest(s), largest(o));
    if largest_s == 0.0 || largest_o == 0.0 {
        return 0.0;
    }
    let ((p, q), (u, v)) = (into_unit_binade(largest_s), into_unit_binade(largest_o));
    let (s, o) = ((s, p, q), (o, u, v));
    inner_scaled(s, o) / sqrt(inner_scaled(s, s) * inner_scaled(o, o))
}

/// ⟨s, o⟩ of two arrays, each scaled by its two factors.
// Not inlined: speed does not matter here, and firmware needs only one copy.
#[inline(never)]
fn inner_scaled((s, p, q): (&[f32], f32, f32), (o, u, v): (&[f32], f32, f32)) -> f32 {
    arithmetic::sum(s.iter().zip(o).map(|(s, o)| (s * p * q) * (o * u * v)))
}

/// Element-wise operations, also in one copy for all shapes. They are plain loops, which are short and fast when
/// compiled for size; operations that only move numbers take four at a time.
pub(crate) mod elementwise {
    use core::mem::swap;

    #[inline(never)]
    pub fn copy(s: &mut [f32], o: &[f32]) {
        let ((s, s_end), (o, o_end)) = (s.as_chunks_mut(), o.as_chunks());
        // Element by element: a loop over arrays becomes a call to memcpy, which moves one number at a time.
        s.iter_mut().zip(o).for_each(|(s, [a, b, c, d])| *s = [*a, *b, *c, *d]);
        s_end.iter_mut().zip(o_end).for_each(|(s, o)| *s = *o);
    }

    /// (s, o) ← (o, s).
    #[inline(never)]
    pub fn exchange(s: &mut [f32], o: &mut [f32]) {
        let ((s, s_end), (o, o_end)) = (s.as_chunks_mut::<4>(), o.as_chunks_mut());
        s.iter_mut().zip(o).for_each(|(s, o)| (*s, *o) = (*o, *s));
        s_end.iter_mut().zip(o_end).for_each(|(s, o)| swap(s, o));
    }

    #[inline(never)]
    pub fn combine(s: &mut [f32], a: f32, b: f32, o: &[f32]) {
        // A product with 1 is exact.
        if a == 1.0 {
            s.iter_mut().zip(o).for_each(|(s, o)| *s += b * o);
        } else {
            s.iter_mut().zip(o).for_each(|(s, o)| *s = a * *s + b * o);
        }
    }

    /// s ← a·s + b·(start − x).
    #[inline(never)]
    pub fn pull(s: &mut [f32], a: f32, b: f32, start: &[[u8; 4]], x: &[f32]) {
        let step = |s: &mut f32, start: &[u8; 4], x: &f32| *s = a * *s + b * (f32::from_le_bytes(*start) - x);
        s.iter_mut().zip(start).zip(x).for_each(|((s, start), x)| step(s, start, x));
    }

    #[inline(never)]
    pub fn sign(s: &mut [f32], o: &[f32]) {
        s.iter_mut().zip(o).for_each(|(s, o)| {
            let bits = o.to_bits();
            // Rotating the sign bit to the end turns ±0 into 0 or 1.
            let zero = bits.rotate_left(1) < 2;
            *s = f32::from_bits(if zero { 0 } else { 1.0f32.to_bits() | bits & 1 << 31 });
        });
    }
}

/// Divides every `stride`-th element, from the first on, by the 2-norm of all of these.
fn normalise(elements: &mut [f32], stride: usize) {
    if stride == 1 {
        return normalise_all(elements);
    }
    let largest = largest(elements.iter().step_by(stride));
    if largest == 0.0 {
        return;
    }
    let (p, q) = into_unit_binade(largest);
    for e in elements.iter_mut().step_by(stride) {
        *e = *e * p * q;
    }
    let norm = sqrt(arithmetic::sum(elements.iter().step_by(stride).map(|e| e * e)));
    for e in elements.iter_mut().step_by(stride) {
        *e /= norm;
    }
}

/// Like [`normalise`], for contiguous elements.
#[inline(never)]
fn normalise_all(elements: &mut [f32]) {
    let largest = largest(&*elements);
    if largest == 0.0 {
        return;
    }
    let (p, q) = into_unit_binade(largest);
    elements.iter_mut().for_each(|e| *e = *e * p * q);
    let norm = sqrt(sum_over(elements, elements, |e, _| e * e));
    elements.iter_mut().for_each(|e| *e /= norm);
}
