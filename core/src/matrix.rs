//! The operations that the update rule needs, of one real m×n matrix or of a stack of equal ones.
//!
//! [`Matrix`] is implemented once here, for everything that lies row by row in memory: [`FixedMatrix`], whose shape is a
//! type, and [`Slab`], whose shape is known at run time. Both run the kernels below, so they agree in every bit.
//! Numbers that depend on the data (norms, powers of two, zero tests) never leave an operation, so that an
//! implementation on an accelerator need not wait for them.
//!
//! Order of evaluation, everywhere: a product is rounded before it is added; a matrix product accumulates each output
//! element over k ascending, from +0 or from the value that it continues; a sum is [`arithmetic::sum`]. Blocks over rows
//! and columns change no bit.

use crate::arithmetic::{self, into_unit_binade, largest, sqrt};
use core::ops::{Add, Mul, Sub};

/// The elements that share one 2-norm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// All elements of a matrix.
    Whole,
    /// Each row.
    Row,
    /// Each column.
    Column,
}

/// What an elementwise formula is written in: one number, or a tensor of them. Every operation rounds once.
pub trait Element: Clone + Add<Output = Self> + Sub<Output = Self> + Mul<f32, Output = Self> {}
impl Element for f32 {}

/// A real m×n matrix, or a stack of them. k = min(m, n); the small side is the rows if m ≤ n, else the columns.
///
/// All operations are total on finite elements: whoever fills a matrix sees to it that they are finite. Two operands of
/// one operation have one shape.
pub trait Matrix {
    /// A symmetric k×k matrix of the small side.
    type Square: ?Sized;
    /// What [`Matrix::map`] computes with.
    type Element: Element;
    /// One number for each matrix of the stack, kept where the matrix is.
    type Scalar;

    /// (m, n).
    fn shape(&self) -> (usize, usize);

    /// self ← other.
    fn copy(&mut self, other: &Self);

    /// self ← a·self + b·other: two rounded products, one rounded sum.
    fn combine(&mut self, a: f32, b: f32, other: &Self);

    /// (x, y) ← f(x, d), element by element.
    fn map(
        x: &mut Self,
        y: &mut Self,
        d: &Self,
        f: impl Fn(Self::Element, Self::Element) -> (Self::Element, Self::Element),
    );

    /// self ← sign(self), element by element, of the unscaled element; sign(±0) = +0.
    fn sign(&mut self);

    /// Divides each group by its 2-norm; a group of zeros stays.
    ///
    /// A group is first scaled by the power of two that brings its largest |element| into [1, 2), which is exact unless
    /// an element is more than 2^126 below the largest; then each element is divided by √(Σ e²).
    fn normalise(&mut self, group: Group);

    /// ⟨self, other⟩ = Σᵢ selfᵢ·otherᵢ, row by row, as one [`arithmetic::sum`].
    fn inner(&self, other: &Self) -> Self::Scalar;

    /// gram ← S Sᵀ where m ≤ n, else Sᵀ S. `scratch` is overwritten.
    fn gram(&self, gram: &mut Self::Square, scratch: &mut Self::Square);

    /// out ← c·G² + b·G: the product G², then two rounded products and one rounded sum.
    fn quadratic(&self, b: f32, c: f32, gram: &Self::Square, out: &mut Self::Square);

    /// self ← a·S + P S where m ≤ n, else a·S + S P. `scratch` is overwritten.
    fn transform(&mut self, a: f32, p: &Self::Square, scratch: &mut Self::Square);
}

/// Elements that lie row by row in one piece of memory.
pub trait RowMajor {
    /// (rows, columns).
    fn shape(&self) -> (usize, usize);
    /// rows·columns numbers, row by row.
    fn elements(&self) -> &[f32];
    /// The same, to be written.
    fn elements_mut(&mut self) -> &mut [f32];

    /// This matrix as one whose shape is known at run time: one copy of the code serves all shapes.
    fn slab(&mut self) -> Slab<&mut [f32]> {
        let (rows, columns) = self.shape();
        Slab { rows, columns, elements: self.elements_mut() }
    }
}

/// An m×n matrix whose shape is a type: R rows of C numbers.
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

/// A matrix whose shape is known at run time, over memory that somebody else owns or that it holds (a `Vec`).
#[derive(Clone, PartialEq, Debug)]
pub struct Slab<S> {
    rows: usize,
    columns: usize,
    elements: S,
}

impl<S: AsRef<[f32]> + AsMut<[f32]>> Slab<S> {
    /// The first rows·columns numbers of the memory, row by row; `None` where it is too short.
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
        // `new` has seen that there are enough.
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
    type Scalar = f32;

    fn shape(&self) -> (usize, usize) {
        RowMajor::shape(self)
    }
    fn copy(&mut self, other: &Self) {
        for (s, o) in self.elements_mut().iter_mut().zip(other.elements()) {
            *s = *o;
        }
    }
    fn combine(&mut self, a: f32, b: f32, other: &Self) {
        for (s, o) in self.elements_mut().iter_mut().zip(other.elements()) {
            *s = a * *s + b * *o;
        }
    }
    fn map(x: &mut Self, y: &mut Self, d: &Self, f: impl Fn(f32, f32) -> (f32, f32)) {
        for ((x, y), d) in x.elements_mut().iter_mut().zip(y.elements_mut()).zip(d.elements()) {
            (*x, *y) = f(*x, *d);
        }
    }
    fn sign(&mut self) {
        for e in self.elements_mut() {
            *e = if *e > 0.0 {
                1.0
            } else if *e < 0.0 {
                -1.0
            } else {
                0.0
            };
        }
    }
    fn normalise(&mut self, group: Group) {
        let (m, n) = RowMajor::shape(self);
        let elements = self.elements_mut();
        if elements.is_empty() {
            return;
        }
        match group {
            Group::Whole => normalise(elements, 1),
            Group::Row => elements.chunks_mut(n).for_each(|row| normalise(row, 1)),
            Group::Column => {
                (0..n).for_each(|j| normalise(elements.get_mut(j..=(m - 1) * n + j).unwrap_or(&mut []), n))
            }
        }
    }
    fn inner(&self, other: &Self) -> f32 {
        arithmetic::sum(self.elements().iter().zip(other.elements()).map(|(a, b)| a * b))
    }
    fn gram(&self, gram: &mut [f32], scratch: &mut [f32]) {
        kernel::gram(Sides::new(RowMajor::shape(self)), self.elements(), gram, scratch);
    }
    fn quadratic(&self, b: f32, c: f32, gram: &[f32], out: &mut [f32]) {
        kernel::quadratic(Sides::new(RowMajor::shape(self)).small, b, c, gram, out);
    }
    fn transform(&mut self, a: f32, p: &[f32], scratch: &mut [f32]) {
        kernel::transform(Sides::new(RowMajor::shape(self)), self.elements_mut(), a, p, scratch);
    }
}

/// Divides every `stride`-th element, from the first on, by the 2-norm of them all.
fn normalise(elements: &mut [f32], stride: usize) {
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

/// A matrix seen with its small side first: element (s, l) lies at s·`small_stride` + l·`large_stride`.
#[derive(Clone, Copy)]
struct Sides {
    small: usize,
    large: usize,
    small_stride: usize,
    large_stride: usize,
}

impl Sides {
    fn new((m, n): (usize, usize)) -> Self {
        if m <= n {
            Self { small: m, large: n, small_stride: n, large_stride: 1 }
        } else {
            Self { small: n, large: m, small_stride: 1, large_stride: n }
        }
    }
    fn at(self, s: usize, l: usize) -> usize {
        s * self.small_stride + l * self.large_stride
    }
}

/// The products. All are Aᵀ B of panels: a panel holds four columns (at the end: one) of a matrix row by row, so that
/// the innermost loop walks two panels with eight loads for sixteen multiply-accumulates.
///
/// A `Square` is kept in panels, too: columns i to i + w of a k×k matrix lie at i·k to (i + w)·k; k² numbers in all.
///
/// Memory is reached by `panel`, `read` and `write`, which have no path that panics: what lies outside, where nothing of a
/// caller with enough memory does, reads as nothing and is not written.
mod kernel {
    use super::Sides;

    /// `length` numbers from `start` on.
    fn panel(memory: &[f32], start: usize, length: usize) -> &[f32] {
        memory.get(start..start + length).unwrap_or(&[])
    }

    /// `length` numbers from `start` on, to be written.
    fn panel_mut(memory: &mut [f32], start: usize, length: usize) -> &mut [f32] {
        memory.get_mut(start..start + length).unwrap_or(&mut [])
    }

    fn read(memory: &[f32], index: usize) -> f32 {
        memory.get(index).copied().unwrap_or(0.0)
    }

    fn write(memory: &mut [f32], index: usize, value: f32) {
        if let Some(place) = memory.get_mut(index) {
            *place = value;
        }
    }

    /// Widths of the blocks that cover 0..n: fours, then ones.
    fn blocks(n: usize) -> impl Iterator<Item = (usize, usize)> {
        let whole = n & !3;
        (0..whole).step_by(4).map(|i| (i, 4)).chain((whole..n).map(|i| (i, 1)))
    }

    /// Where element (row, column) of a k×k Square lies.
    fn at(k: usize, row: usize, column: usize) -> usize {
        if column < k & !3 { (column & !3) * k + row * 4 + column % 4 } else { column * k + row }
    }

    /// acc + Aᵀ B of two panels, k ascending: H×W accumulators that stay in registers.
    #[inline(always)]
    fn block<const H: usize, const W: usize>(mut acc: [[f32; W]; H], a: &[f32], b: &[f32]) -> [[f32; W]; H] {
        for (a, b) in a.as_chunks::<H>().0.iter().zip(b.as_chunks::<W>().0) {
            for (acc, a) in acc.iter_mut().zip(a) {
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc += a * b;
                }
            }
        }
        acc
    }

    /// What is done with one block of a product.
    trait Tile {
        /// The block of H×W elements at (i, j).
        fn tile<const H: usize, const W: usize>(&mut self, i: usize, j: usize);

        /// All blocks of an m×n product that `wanted` names.
        fn cover(&mut self, m: usize, n: usize, wanted: impl Fn(usize, usize) -> bool) {
            for (i, h) in blocks(m) {
                for (j, w) in blocks(n) {
                    if wanted(i, j + w) {
                        match (h, w) {
                            (4, 4) => self.tile::<4, 4>(i, j),
                            (4, _) => self.tile::<4, 1>(i, j),
                            (_, 4) => self.tile::<1, 4>(i, j),
                            (_, _) => self.tile::<1, 1>(i, j),
                        }
                    }
                }
            }
        }
    }

    /// Of a symmetric product only blocks that touch the upper triangle are computed; the rest is mirrored.
    fn upper(i: usize, end: usize) -> bool {
        end > i
    }

    /// G ← S Sᵀ over the large side: packed in pieces of at most k columns, the sums run on from piece to piece.
    pub fn gram(sides: Sides, s: &[f32], gram: &mut [f32], scratch: &mut [f32]) {
        let k = sides.small;
        let mut done = 0;
        while done < sides.large {
            let length = if sides.large - done < k { sides.large - done } else { k };
            for (i, w) in blocks(k) {
                for (l, packed) in panel_mut(scratch, i * length, w * length).chunks_exact_mut(w).enumerate() {
                    for (u, e) in packed.iter_mut().enumerate() {
                        *e = read(s, sides.at(i + u, done + l));
                    }
                }
            }
            Gram { k, length, continues: done > 0, panels: scratch, gram }.cover(k, k, upper);
            done += length;
        }
    }

    struct Gram<'a> {
        k: usize,
        length: usize,
        continues: bool,
        panels: &'a [f32],
        gram: &'a mut [f32],
    }

    impl Tile for Gram<'_> {
        fn tile<const H: usize, const W: usize>(&mut self, i: usize, j: usize) {
            let mut acc = [[0.0; W]; H];
            if self.continues {
                for (u, row) in acc.iter_mut().enumerate() {
                    for (v, e) in row.iter_mut().enumerate() {
                        *e = read(self.gram, at(self.k, i + u, j + v));
                    }
                }
            }
            let l = self.length;
            let (a, b) = (panel(self.panels, i * l, H * l), panel(self.panels, j * l, W * l));
            mirror(self.k, self.gram, i, j, block(acc, a, b));
        }
    }

    /// Writes a block of a symmetric matrix at (i, j) and its mirror image at (j, i).
    fn mirror<const H: usize, const W: usize>(k: usize, square: &mut [f32], i: usize, j: usize, block: [[f32; W]; H]) {
        for (u, row) in block.into_iter().enumerate() {
            for (v, e) in row.into_iter().enumerate() {
                write(square, at(k, i + u, j + v), e);
                write(square, at(k, j + v, i + u), e);
            }
        }
    }

    /// out ← c·G² + b·G. G is symmetric, so its columns serve as its rows.
    pub fn quadratic(k: usize, b: f32, c: f32, gram: &[f32], out: &mut [f32]) {
        Quadratic { k, b, c, gram, out }.cover(k, k, upper);
    }

    struct Quadratic<'a> {
        k: usize,
        b: f32,
        c: f32,
        gram: &'a [f32],
        out: &'a mut [f32],
    }

    impl Tile for Quadratic<'_> {
        fn tile<const H: usize, const W: usize>(&mut self, i: usize, j: usize) {
            let (k, gram) = (self.k, self.gram);
            let mut acc = block::<H, W>([[0.0; W]; H], panel(gram, i * k, H * k), panel(gram, j * k, W * k));
            for (u, row) in acc.iter_mut().enumerate() {
                for (v, e) in row.iter_mut().enumerate() {
                    *e = self.c * *e + self.b * read(gram, at(k, i + u, j + v));
                }
            }
            mirror(k, self.out, i, j, acc);
        }
    }

    /// S ← a·S + P S in place, a few columns at a time: the old ones are packed first, so their place can be written.
    pub fn transform(sides: Sides, s: &mut [f32], a: f32, p: &[f32], scratch: &mut [f32]) {
        let k = sides.small;
        // Four packed columns must fit into the k² numbers of `scratch`.
        let wide = if k < 4 { 1 } else { 4 };
        let mut l = 0;
        while l < sides.large {
            let width = if l + wide <= sides.large { wide } else { 1 };
            for (i, packed) in panel_mut(scratch, 0, k * width).chunks_exact_mut(width).enumerate() {
                for (v, e) in packed.iter_mut().enumerate() {
                    *e = read(s, sides.at(i, l + v));
                }
            }
            Transform { sides, s, a, p, packed: panel(scratch, 0, k * width), l }.cover(k, width, |_, _| true);
            l += width;
        }
    }

    struct Transform<'a> {
        sides: Sides,
        s: &'a mut [f32],
        a: f32,
        p: &'a [f32],
        packed: &'a [f32],
        l: usize,
    }

    impl Tile for Transform<'_> {
        fn tile<const H: usize, const W: usize>(&mut self, i: usize, j: usize) {
            let k = self.sides.small;
            let acc = block::<H, W>([[0.0; W]; H], panel(self.p, i * k, H * k), panel(self.packed, j * k, W * k));
            for (u, row) in acc.into_iter().enumerate() {
                for (v, product) in row.into_iter().enumerate() {
                    if let Some(e) = self.s.get_mut(self.sides.at(i + u, self.l + j + v)) {
                        *e = self.a * *e + product;
                    }
                }
            }
        }
    }
}
