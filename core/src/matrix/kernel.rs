//! Matrix products, all of them Aᵀ B of panels. A panel holds W columns of a matrix row by row, so the innermost loop
//! walks two panels at once and keeps a tile of [`HEIGHT`]×W sums in registers.
//!
//! A `Square` of k×k is stored in ⌈k/W⌉ panels of k rows each. The entries of a panel beyond the last column are 0 and
//! stay 0, so one size of tile serves every shape. W changes no bit of any result. W is 4 in this crate. A machine with
//! wide registers can run the same code with another width, compiled for these registers, because all computing code is
//! inlined into its caller. `Products::fill` is instantiated only once for W = 4, which keeps firmware small.
//!
//! Compilers do not unroll loops when they optimise for size, and memory that a loop indexes stays out of registers. So
//! four numbers, and the rows of a tile, are written out here. The remaining loop over the fours of a row has a single
//! iteration if W is 4, so it disappears.
//!
//! Each sum runs over k ascending from +0 or from the value that it continues; every product is rounded before it is
//! added.
//!
//! Memory is accessed by `get` and chunks, which have no panic path. What lies out of bounds reads as empty and is not
//! written; this does not happen if the caller provides enough memory.

use super::elementwise::combine;

/// Number of rows of a tile.
pub const HEIGHT: usize = 4;

/// A tile of sums.
type Tile<const W: usize> = [[f32; W]; HEIGHT];

/// Matrix seen with its small side first: element (s, l) lies at s·`large` + l if `wide`, else at l·`small` + s.
#[derive(Clone, Copy)]
pub struct Sides {
    /// Length k of the small side: the rows if there are no more of them than columns.
    pub small: usize,
    large: usize,
    wide: bool,
}

impl Sides {
    /// Sides of a matrix of m rows and n columns, stored row by row.
    pub fn new((m, n): (usize, usize)) -> Self {
        if m <= n { Self { small: m, large: n, wide: true } } else { Self { small: n, large: m, wide: false } }
    }
}

/// Number of `f32` values in a `Square` of k×k with panels of W columns.
pub const fn square<const W: usize>(k: usize) -> usize {
    k * k.div_ceil(W) * W
}

/// Number of `f32` values of scratch memory that [`product`] needs.
pub const fn product_scratch<const W: usize>(m: usize, k: usize) -> usize {
    k * m.div_ceil(HEIGHT) * HEIGHT + k * W
}

/// All numbers from `start` on; none if there are fewer.
#[inline(always)]
fn from(memory: &[f32], start: usize) -> &[f32] {
    memory.get(start..).unwrap_or(&[])
}

/// `length` numbers from `start` on; none if there are fewer.
#[inline(always)]
fn part(memory: &[f32], start: usize, length: usize) -> &[f32] {
    from(memory, start).get(..length).unwrap_or(&[])
}

/// Like [`part`], but mutable.
#[inline(always)]
fn part_mut(memory: &mut [f32], start: usize, length: usize) -> &mut [f32] {
    memory.get_mut(start..).and_then(|rest| rest.get_mut(..length)).unwrap_or(&mut [])
}

/// tile + Aᵀ B, where A is four of the `A` columns of a panel, from `column` on, and B is a panel.
#[inline(always)]
fn accumulate<const A: usize, const W: usize>(tile: &Tile<W>, a: &[f32], column: usize, b: &[f32]) -> Tile<W> {
    let mut tile = *tile;
    let ((a, _), (b, _)) = (a.as_chunks::<A>(), b.as_chunks::<W>());
    let ((a_pairs, _), (b_pairs, _)) = (a.as_chunks(), b.as_chunks());
    // Two rows per end test. With four, the loads no longer fit into the registers of a Cortex-M4F.
    for (&[a0, a1], &[b0, b1]) in a_pairs.iter().zip(b_pairs) {
        row(&mut tile, &a0, column, &b0);
        row(&mut tile, &a1, column, &b1);
    }
    let paired = 2 * a_pairs.len().min(b_pairs.len());
    if let (Some(a), Some(b)) = (a.get(paired), b.get(paired)) {
        row(&mut tile, a, column, b);
    }
    tile
}

/// Adds the products of one row of the panels to a tile.
#[inline(always)]
fn row<const A: usize, const W: usize>(tile: &mut Tile<W>, a: &[f32; A], column: usize, b: &[f32; W]) {
    // The width of a panel is a multiple of the height of a tile.
    if let Some([a0, a1, a2, a3]) = a.as_chunks::<HEIGHT>().0.get(column / HEIGHT) {
        let [t0, t1, t2, t3] = tile;
        all(t0, b, |sum, b| *sum += a0 * b);
        all(t1, b, |sum, b| *sum += a1 * b);
        all(t2, b, |sum, b| *sum += a2 * b);
        all(t3, b, |sum, b| *sum += a3 * b);
    }
}

/// Applies f to each of W numbers and its partner.
#[inline(always)]
fn all<const W: usize>(x: &mut [f32; W], y: &[f32; W], f: impl Fn(&mut f32, f32)) {
    for (x, y) in x.as_chunks_mut().0.iter_mut().zip(y.as_chunks().0) {
        four(x, y, &f);
    }
}

/// Like [`all`], for four numbers.
#[inline(always)]
fn four([x0, x1, x2, x3]: &mut [f32; 4], [y0, y1, y2, y3]: &[f32; 4], f: impl Fn(&mut f32, f32)) {
    f(x0, *y0);
    f(x1, *y1);
    f(x2, *y2);
    f(x3, *y3);
}

/// Packs `width` columns of a row-major matrix with rows of `stride` numbers, from `start` on, into a panel of W.
#[inline(never)]
fn pack_columns<const W: usize>(memory: &[f32], start: usize, stride: usize, width: usize, panel: &mut [f32]) {
    let mut rest = from(memory, start);
    for to in panel.as_chunks_mut::<W>().0 {
        match rest.first_chunk::<W>() {
            Some(row) if width >= W => {
                // Copied one by one: copying an array is a call if the two may overlap.
                for (to, [e0, e1, e2, e3]) in to.as_chunks_mut().0.iter_mut().zip(row.as_chunks().0) {
                    *to = [*e0, *e1, *e2, *e3];
                }
            }
            _ => {
                to.fill(0.0);
                to.iter_mut().zip(rest).take(width).for_each(|(to, e)| *to = *e);
            }
        }
        rest = from(rest, stride);
    }
}

/// Packs `height` rows of a row-major matrix with rows of `stride` numbers as the columns of a panel of W. Of each row,
/// as many numbers as the panel has rows are taken, from `start` on.
#[inline(never)]
fn pack_rows<const W: usize>(memory: &[f32], start: usize, stride: usize, height: usize, panel: &mut [f32]) {
    let panel = panel.as_chunks_mut::<W>().0;
    for group in 0..W / HEIGHT {
        // Rows beyond the last repeat the last.
        let row = |u: usize| from(memory, start + (group * HEIGHT + u).min(height - 1) * stride);
        for ((((to, e0), e1), e2), e3) in panel.iter_mut().zip(row(0)).zip(row(1)).zip(row(2)).zip(row(3)) {
            if let Some(to) = to.as_chunks_mut().0.get_mut(group) {
                *to = [*e0, *e1, *e2, *e3];
            }
        }
    }
    if height < W {
        panel.iter_mut().for_each(|to| to.iter_mut().skip(height).for_each(|e| *e = 0.0));
    }
}

/// Products of panels, tile by tile: out ← keep·out + c·(Aᵀ B) + a·T, without the terms that are `None`.
struct Products<'a> {
    /// Panels of A.
    left: &'a [f32],
    /// Panels of B.
    right: &'a [f32],
    /// Number of rows of the panels.
    length: usize,
    /// Number of rows of out.
    height: usize,
    /// Number of columns of out.
    width: usize,
    /// True if tiles below the diagonal are left out.
    upper: bool,
    /// Offset of the first tile. The tile at row i and column j begins at start + i·row + j·column; its rows are `row`
    /// apart.
    start: usize,
    row: usize,
    column: usize,
    /// True if the sums of a `Square` continue from its present values.
    continued: bool,
    /// Factor of the product; left out if it is 1, as a product with 1 is exact.
    c: f32,
    /// Factor of out; `None` overwrites it.
    keep: Option<f32>,
    /// a and T, where T is a `Square` like out.
    term: Option<(f32, &'a [f32])>,
}

impl<'a> Products<'a> {
    /// out ← Aᵀ B for part of a matrix with rows of `row` numbers, from its start on.
    #[inline(always)]
    fn row_major(
        length: usize,
        (height, width): (usize, usize),
        row: usize,
        left: &'a [f32],
        right: &'a [f32],
    ) -> Self {
        let (start, column, upper, continued) = (0, 1, false, false);
        let (c, keep, term) = (1.0, None, None);
        Self { left, right, length, height, width, upper, start, row, column, continued, c, keep, term }
    }

    /// out ← Aᵀ B for a `Square`, on and above its diagonal.
    #[inline(always)]
    fn symmetric<const W: usize>(k: usize, left: &'a [f32], right: &'a [f32]) -> Self {
        let products = Self::row_major(k, (k, k.div_ceil(W) * W), W, left, right);
        Self { upper: true, column: k, ..products }
    }

    /// Computes the products, from panels of `A` columns of A and panels of W columns of B.
    #[inline(always)]
    fn fill<const A: usize, const W: usize>(self, out: &mut [f32]) {
        if A == HEIGHT && W == HEIGHT { self.fill_narrow(out) } else { self.fill_inline::<A, W>(out) }
    }

    #[inline(never)]
    fn fill_narrow(&self, out: &mut [f32]) {
        self.fill_inline::<HEIGHT, HEIGHT>(out);
    }

    #[inline(always)]
    fn fill_inline<const A: usize, const W: usize>(&self, out: &mut [f32]) {
        for j in (0..self.width).step_by(W) {
            let right = part(self.right, j * self.length, self.length * W);
            let height = if self.upper { self.height.min(j + W) } else { self.height };
            for i in (0..height).step_by(HEIGHT) {
                let at = self.start + i * self.row + j * self.column;
                let left = from(self.left, i / A * A * self.length);
                let (mut before, mut term) = (None, None);
                let zero = const { &[[0.0; W]; HEIGHT] };
                let before = if self.continued { tile(out, at, &mut before) } else { zero };
                let mut sums = accumulate::<A, W>(before, left, i % A, right);
                if self.c != 1.0 {
                    each(&mut sums, zero, |sum, _| *sum *= self.c);
                }
                if let Some((a, square)) = self.term {
                    each(&mut sums, tile(square, at, &mut term), |sum, e| *sum += a * e);
                }
                self.write(out, at, (self.height - i, self.width - j), sums);
            }
        }
    }

    /// Writes the rows and columns of a tile that lie within out.
    #[inline(always)]
    fn write<const W: usize>(&self, out: &mut [f32], at: usize, (height, width): (usize, usize), sums: Tile<W>) {
        if height < HEIGHT || width < W {
            // A copy, so that the tile itself stays in registers.
            for (u, sums) in { sums }.iter().enumerate().take(height) {
                for (e, sum) in part_mut(out, at + u * self.row, width.min(W)).iter_mut().zip(sums) {
                    *e = self.keep.map_or(*sum, |keep| keep * *e + sum);
                }
            }
            return;
        }
        // Row by row, and written out, for the same reason.
        let mut write = |u: usize, sums: &[f32; W]| {
            if let Some((row, _)) = out.get_mut(at + u * self.row..).and_then(|out| out.split_first_chunk_mut()) {
                match self.keep {
                    Some(keep) => all(row, sums, |e, sum| *e = keep * *e + sum),
                    None => all(row, sums, |e, sum| *e = sum),
                }
            }
        };
        let [t0, t1, t2, t3] = sums;
        write(0, &t0);
        write(1, &t1);
        write(2, &t2);
        write(3, &t3);
    }
}

/// Applies f to each sum of a tile and its partner in another.
#[inline(always)]
fn each<const W: usize>([t0, t1, t2, t3]: &mut Tile<W>, [o0, o1, o2, o3]: &Tile<W>, f: impl Fn(&mut f32, f32)) {
    all(t0, o0, &f);
    all(t1, o1, &f);
    all(t2, o2, &f);
    all(t3, o3, &f);
}

/// Tile of a `Square` that begins at `at`. At the end, where rows are missing, it is assembled in `last`.
#[inline(always)]
fn tile<'a, const W: usize>(square: &'a [f32], at: usize, last: &'a mut Option<Tile<W>>) -> &'a Tile<W> {
    let rows = from(square, at).as_chunks().0;
    rows.first_chunk().unwrap_or_else(|| last.insert(last_tile(rows)))
}

#[inline(never)]
fn last_tile<const W: usize>(rows: &[[f32; W]]) -> Tile<W> {
    let mut tile = [[0.0; W]; HEIGHT];
    tile.iter_mut().zip(rows).for_each(|(to, row)| *to = *row);
    tile
}

/// Mirrors the part of a `Square` above its diagonal to the part below.
#[inline(never)]
fn mirror<const W: usize>(k: usize, square: &mut [f32]) {
    for j in (0..k).step_by(W) {
        let (before, panel) = square.split_at_mut((j * k).min(square.len()));
        let panel = panel.as_chunks_mut::<W>().0;
        for (i, [r0, r1, r2, r3]) in (0..j).step_by(HEIGHT).zip(panel.as_chunks().0) {
            let columns = part_mut(before, i / W * W * k + j * W, W * W.min(k - j)).as_chunks_mut::<W>().0;
            for ((((to, e0), e1), e2), e3) in columns.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
                if let Some(to) = to.as_chunks_mut().0.get_mut(i % W / HEIGHT) {
                    *to = [*e0, *e1, *e2, *e3];
                }
            }
        }
        let block = panel.get_mut(j..k.min(j + W)).unwrap_or(&mut []);
        for r in 1..block.len() {
            let (above, rest) = block.split_at_mut(r);
            if let Some(row) = rest.first_mut() {
                row.iter_mut().zip(above).for_each(|(e, above)| *e = above.get(r).copied().unwrap_or(*e));
            }
        }
    }
}

/// G ← S Sᵀ over the large side, packed in pieces of at most k; the sums continue from piece to piece. `scratch` is as
/// long as a `Square`.
#[inline(always)]
pub fn gram<const W: usize>(sides: Sides, s: &[f32], gram: &mut [f32], scratch: &mut [f32]) {
    let Sides { small: k, large, wide } = sides;
    for start in (0..large).step_by(k.max(1)) {
        let length = k.min(large - start);
        for j in (0..k).step_by(W) {
            let panel = part_mut(scratch, j * length, length * W);
            if wide {
                pack_rows::<W>(s, j * large + start, large, k - j, panel);
            } else {
                pack_columns::<W>(s, start * k + j, k, k - j, panel);
            }
        }
        let products = Products { length, continued: start > 0, ..Products::symmetric::<W>(k, scratch, scratch) };
        products.fill::<W, W>(gram);
    }
    mirror::<W>(k, gram);
}

/// out ← c·(L R) + a·L + b·R for commuting L and R; a term with a factor of 0 is left out. L is symmetric, so its
/// columns serve as its rows.
#[inline(always)]
pub fn multiply<const W: usize>(k: usize, c: f32, left: (f32, &[f32]), right: (f32, &[f32]), out: &mut [f32]) {
    let ((a, left), (b, right)) = (left, right);
    let term = [(a, left), (b, right)].into_iter().find(|(factor, _)| *factor != 0.0);
    Products { c, term, ..Products::symmetric::<W>(k, left, right) }.fill::<W, W>(out);
    if a != 0.0 && b != 0.0 {
        let length = square::<W>(k);
        combine(part_mut(out, 0, length), 1.0, b, part(right, 0, length));
    }
    mirror::<W>(k, out);
}

/// S ← a·S + P S in place (a·S + S P for a tall S), W of the large side at a time. They are packed first, so their
/// place can be overwritten. `scratch` is as long as a `Square`.
#[inline(always)]
pub fn transform<const W: usize>(sides: Sides, s: &mut [f32], a: f32, p: &[f32], scratch: &mut [f32]) {
    let Sides { small: k, large, wide } = sides;
    let packed = part_mut(scratch, 0, k * W);
    for l in (0..large).step_by(W) {
        let width = W.min(large - l);
        if wide {
            pack_columns::<W>(s, l, large, width, packed);
        } else {
            pack_rows::<W>(s, l * k, k, width, packed);
        }
        let packed = &*packed;
        let ((left, height), (right, width), start, row) =
            if wide { ((p, k), (packed, width), l, large) } else { ((packed, width), (p, k), l * k, k) };
        let products = Products { start, keep: Some(a), ..Products::row_major(k, (height, width), row, left, right) };
        products.fill::<W, W>(s);
    }
}

/// C ← A B for an m×k and a k×n matrix, row by row. `scratch` holds [`product_scratch`] numbers; its panels of B have W
/// columns, those of Aᵀ [`HEIGHT`].
#[inline(always)]
pub fn product<const W: usize>(
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    scratch: &mut [f32],
) {
    let (right, left) = scratch.split_at_mut((k * W).min(scratch.len()));
    for i in (0..m).step_by(HEIGHT) {
        pack_rows::<HEIGHT>(a, i * k, k, m - i, part_mut(left, i * k, k * HEIGHT));
    }
    for j in (0..n).step_by(W) {
        let width = W.min(n - j);
        pack_columns::<W>(b, j, n, width, right);
        Products { start: j, ..Products::row_major(k, (m, width), n, left, right) }.fill::<HEIGHT, W>(c);
    }
}
