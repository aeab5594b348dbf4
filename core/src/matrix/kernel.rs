//! The products. All are Aᵀ B of panels: a panel holds four columns (at the end: one) of a matrix row by row, so that
//! the innermost loop walks two panels with eight loads for sixteen multiply-accumulates.
//!
//! A `Square` is kept in panels, too: columns i to i + w of a k×k matrix lie at i·k to (i + w)·k; k² numbers in all.
//!
//! Memory is reached by `panel`, `read` and `write`, which have no path that panics: what lies outside, where nothing of a
//! caller with enough memory does, reads as nothing and is not written.

/// A matrix seen with its small side first: element (s, l) lies at s·`small_stride` + l·`large_stride`.
#[derive(Clone, Copy)]
pub struct Sides {
    /// k, the rows if there are no more of them than columns.
    pub small: usize,
    large: usize,
    small_stride: usize,
    large_stride: usize,
}

impl Sides {
    /// Of a matrix of m rows and n columns, row by row.
    pub fn new((m, n): (usize, usize)) -> Self {
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

/// Numbers that a `Square` of k×k takes in panels of W columns.
pub const fn square<const W: usize>(k: usize) -> usize {
    k * k
}

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
pub fn gram<const W: usize>(sides: Sides, s: &[f32], gram: &mut [f32], scratch: &mut [f32]) {
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
            if i + u <= j + v {
                write(square, at(k, i + u, j + v), e);
                write(square, at(k, j + v, i + u), e);
            }
        }
    }
}

/// out ← c·(L R) + a·L + b·R of commuting L and R. L is symmetric, so its columns serve as its rows.
pub fn multiply<const W: usize>(k: usize, c: f32, left: (f32, &[f32]), right: (f32, &[f32]), out: &mut [f32]) {
    Multiply { k, c, left, right, out }.cover(k, k, upper);
}

struct Multiply<'a> {
    k: usize,
    c: f32,
    left: (f32, &'a [f32]),
    right: (f32, &'a [f32]),
    out: &'a mut [f32],
}

impl Tile for Multiply<'_> {
    fn tile<const H: usize, const W: usize>(&mut self, i: usize, j: usize) {
        let (k, (a, left), (b, right)) = (self.k, self.left, self.right);
        let mut acc = block::<H, W>([[0.0; W]; H], panel(left, i * k, H * k), panel(right, j * k, W * k));
        for (u, row) in acc.iter_mut().enumerate() {
            for (v, e) in row.iter_mut().enumerate() {
                let at = at(k, i + u, j + v);
                *e = self.c * *e + a * read(left, at) + b * read(right, at);
            }
        }
        mirror(k, self.out, i, j, acc);
    }
}

/// S ← a·S + P S in place, a few columns at a time: the old ones are packed first, so their place can be written.
pub fn transform<const W: usize>(sides: Sides, s: &mut [f32], a: f32, p: &[f32], scratch: &mut [f32]) {
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
