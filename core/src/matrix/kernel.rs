//! The products. All are Aᵀ B of panels: a panel holds W columns of a matrix row by row, so that the innermost loop walks
//! two panels at once and keeps a tile of [`HEIGHT`]×W sums in registers.
//!
//! A `Square` of k×k is kept in ⌈k/W⌉ panels of k rows each. What a panel has beyond the last column is 0, and stays 0, so
//! that one size of tile serves every shape; W changes no bit of any result. W is 4 in this crate; a machine with wide
//! registers can run the same code with another width, compiled for them, as all of it is inlined into its caller.
//!
//! Each sum runs over k ascending from +0 or from the value that it continues; every product is rounded before it is added.
//!
//! Memory is reached by `get` and chunks, which have no path that panics: what lies outside, where nothing of a caller with
//! enough memory does, reads as nothing and is not written.

/// Rows of a tile.
pub const HEIGHT: usize = 4;

/// A tile of sums.
type Tile<const W: usize> = [[f32; W]; HEIGHT];

/// A matrix seen with its small side first: element (s, l) lies at s·`small_stride` + l·`large_stride`.
#[derive(Clone, Copy)]
pub struct Sides {
    /// k, the rows if there are no more of them than columns.
    pub small: usize,
    large: usize,
    wide: bool,
}

impl Sides {
    /// Of a matrix of m rows and n columns, row by row.
    pub fn new((m, n): (usize, usize)) -> Self {
        if m <= n { Self { small: m, large: n, wide: true } } else { Self { small: n, large: m, wide: false } }
    }
}

/// Numbers that a `Square` of k×k takes in panels of W columns.
pub const fn square<const W: usize>(k: usize) -> usize {
    k * k.div_ceil(W) * W
}

/// Numbers of scratch memory that [`product`] takes.
pub const fn product_scratch<const W: usize>(m: usize, k: usize) -> usize {
    k * m.div_ceil(HEIGHT) * HEIGHT + k * W
}

/// `length` numbers from `start` on.
#[inline(always)]
fn part(memory: &[f32], start: usize, length: usize) -> &[f32] {
    memory.get(start..).and_then(|rest| rest.get(..length)).unwrap_or(&[])
}

/// `length` numbers from `start` on, to be written.
#[inline(always)]
fn part_mut(memory: &mut [f32], start: usize, length: usize) -> &mut [f32] {
    memory.get_mut(start..).and_then(|rest| rest.get_mut(..length)).unwrap_or(&mut [])
}

/// tile + Aᵀ B, where A is four of the `A` columns of a panel, from `column` on, and B is a panel.
#[inline(always)]
fn accumulate<const A: usize, const W: usize>(mut tile: Tile<W>, a: &[f32], column: usize, b: &[f32]) -> Tile<W> {
    let ((a, a_end), (b, b_end)) = (a.as_chunks::<A>().0.as_chunks(), b.as_chunks::<W>().0.as_chunks());
    // Two rows between two tests for the end; with four, the loads of a Cortex-M4F no longer fit into its registers.
    for ([a0, a1], [b0, b1]) in a.iter().zip(b) {
        row(&mut tile, a0, column, b0);
        row(&mut tile, a1, column, b1);
    }
    for (a, b) in a_end.iter().zip(b_end) {
        row(&mut tile, a, column, b);
    }
    tile
}

/// What one row of the panels adds to a tile.
#[inline(always)]
fn row<const A: usize, const W: usize>(tile: &mut Tile<W>, a: &[f32; A], column: usize, b: &[f32; W]) {
    // A panel is a whole number of tiles wide.
    if let Some([a0, a1, a2, a3]) = a.as_chunks::<HEIGHT>().0.get(column / HEIGHT) {
        let [t0, t1, t2, t3] = tile;
        for ((((t0, t1), t2), t3), b) in t0.iter_mut().zip(t1).zip(t2).zip(t3).zip(b) {
            *t0 += a0 * b;
            *t1 += a1 * b;
            *t2 += a2 * b;
            *t3 += a3 * b;
        }
    }
}

/// Packs `width` columns of a row-major matrix with rows of `stride` numbers, from `start` on, into a panel of W.
#[inline(always)]
fn pack_columns<const W: usize>(memory: &[f32], start: usize, stride: usize, width: usize, panel: &mut [f32]) {
    let mut rest = memory.get(start..).unwrap_or(&[]);
    for to in panel.as_chunks_mut::<W>().0 {
        match rest.first_chunk::<W>() {
            Some(row) if width >= W => *to = *row,
            _ => {
                *to = [0.0; W];
                to.iter_mut().zip(rest).take(width).for_each(|(to, e)| *to = *e);
            }
        }
        rest = rest.get(stride..).unwrap_or(&[]);
    }
}

/// Packs `height` rows of a row-major matrix with rows of `stride` numbers as the columns of a panel of W: `length` numbers
/// of each, from `start` on.
#[inline(always)]
fn pack_rows<const W: usize>(
    memory: &[f32],
    start: usize,
    stride: usize,
    height: usize,
    length: usize,
    panel: &mut [f32],
) {
    let panel = panel.as_chunks_mut::<W>().0;
    for group in 0..W / HEIGHT {
        let row = |u: usize| {
            let u = group * HEIGHT + u;
            if u < height { part(memory, start + u * stride, length) } else { &[] }
        };
        let rows = [row(0), row(1), row(2), row(3)];
        if rows.iter().all(|row| row.len() == length) {
            let [r0, r1, r2, r3] = rows;
            for ((((to, e0), e1), e2), e3) in panel.iter_mut().zip(r0).zip(r1).zip(r2).zip(r3) {
                if let Some(to) = to.as_chunks_mut::<HEIGHT>().0.get_mut(group) {
                    *to = [*e0, *e1, *e2, *e3];
                }
            }
        } else {
            for (l, to) in panel.iter_mut().take(length).enumerate() {
                if let Some(to) = to.as_chunks_mut::<HEIGHT>().0.get_mut(group) {
                    *to = rows.map(|row| row.get(l).copied().unwrap_or(0.0));
                }
            }
        }
    }
}

/// The tile of a Square at rows `i` on of the panel of column `j`.
#[inline(always)]
fn load<const W: usize>(k: usize, square: &[f32], i: usize, j: usize) -> Tile<W> {
    let rows = part(square, j * k + i * W, HEIGHT.min(k - i) * W).as_chunks::<W>().0;
    rows.first_chunk().copied().unwrap_or_else(|| {
        let mut tile = [[0.0; W]; HEIGHT];
        tile.iter_mut().zip(rows).for_each(|(to, row)| *to = *row);
        tile
    })
}

/// Writes the part of a tile on and above the diagonal, and its mirror image. `i` is a multiple of [`HEIGHT`], `j` of W.
#[inline(always)]
fn store<const W: usize>(k: usize, square: &mut [f32], i: usize, j: usize, tile: Tile<W>) {
    let mut tile = tile;
    if W == HEIGHT && i == j {
        // On the diagonal: below it, what is above.
        for (u, v) in [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)] {
            tile[u][v] = tile[v][u];
        }
    }
    if j + W > k {
        // A copy, so that the tile itself stays in registers.
        return store_edge(k, square, i, j, &{ tile });
    }
    if let Some((rows, _)) = part_mut(square, j * k + i * W, HEIGHT * W).as_chunks_mut::<W>().0.split_first_chunk_mut()
    {
        *rows = tile;
    }
    if i >= j {
        // On the diagonal of wider panels: below it, what is above, once all of that is there.
        if i + HEIGHT == j + W && W > HEIGHT {
            mirror::<W>(part_mut(square, j * k + j * W, W * W).as_chunks_mut().0);
        }
        return;
    }
    let columns = part_mut(square, i / W * W * k + j * W, W * W).as_chunks_mut::<W>().0;
    if let Some((columns, _)) = columns.split_first_chunk_mut::<W>() {
        for (v, column) in columns.iter_mut().enumerate() {
            if let Some(to) = column.as_chunks_mut::<HEIGHT>().0.get_mut(i % W / HEIGHT) {
                *to = tile.map(|row| row[v]);
            }
        }
    }
}

/// Below the diagonal of a block, what is above it.
#[inline(always)]
fn mirror<const W: usize>(block: &mut [[f32; W]]) {
    for r in 1..block.len() {
        let (above, rest) = block.split_at_mut(r);
        if let Some(row) = rest.first_mut() {
            row.iter_mut().zip(above).for_each(|(e, above)| *e = above.get(r).copied().unwrap_or(*e));
        }
    }
}

/// The same of a tile on the diagonal, or at the end.
#[inline(never)]
fn store_edge<const W: usize>(k: usize, square: &mut [f32], i: usize, j: usize, tile: &Tile<W>) {
    for (r, row) in (i..k).zip(tile) {
        for (c, e) in (j..).zip(row).skip_while(|(c, _)| *c < r) {
            write(square, j * k + r * W + (c - j), *e);
            if c < k {
                write(square, r / W * W * k + c * W + r % W, *e);
            }
        }
    }
}

fn write(memory: &mut [f32], index: usize, value: f32) {
    if let Some(place) = memory.get_mut(index) {
        *place = value;
    }
}

/// The panel of a Square that holds column `c`.
#[inline(always)]
fn panel<const W: usize>(k: usize, square: &[f32], c: usize) -> &[f32] {
    part(square, c / W * W * k, k * W)
}

/// Each sum of a tile with the number of another at its place.
#[inline(always)]
fn each<const W: usize>(tile: &mut Tile<W>, f: impl Fn(&mut f32, f32), other: &Tile<W>) {
    for (sums, others) in tile.iter_mut().zip(other) {
        for (sum, other) in sums.iter_mut().zip(others) {
            f(sum, *other);
        }
    }
}

/// G ← S Sᵀ over the large side: packed in pieces of at most k, the sums run on from piece to piece. `scratch` is as long
/// as a Square.
#[inline(always)]
pub fn gram<const W: usize>(sides: Sides, s: &[f32], gram: &mut [f32], scratch: &mut [f32]) {
    let Sides { small: k, large, wide } = sides;
    for start in (0..large).step_by(k.max(1)) {
        let length = k.min(large - start);
        for j in (0..k).step_by(W) {
            let panel = part_mut(scratch, j * length, length * W);
            if wide {
                pack_rows::<W>(s, j * large + start, large, k - j, length, panel);
            } else {
                pack_columns::<W>(s, start * k + j, k, k - j, panel);
            }
        }
        for j in (0..k).step_by(W) {
            for i in (0..k.min(j + W)).step_by(HEIGHT) {
                let tile = if start == 0 { [[0.0; W]; HEIGHT] } else { load::<W>(k, gram, i, j) };
                let [a, b] = [i, j].map(|c| panel::<W>(length, scratch, c));
                store(k, gram, i, j, accumulate::<W, W>(tile, a, i % W, b));
            }
        }
    }
}

/// out ← c·(L R) + a·L + b·R of commuting L and R; a term with a factor of 0 is left out. L is symmetric, so its columns serve as its rows.
#[inline(always)]
pub fn multiply<const W: usize>(k: usize, c: f32, left: (f32, &[f32]), right: (f32, &[f32]), out: &mut [f32]) {
    let ((a, left), (b, right)) = (left, right);
    for j in (0..k).step_by(W) {
        for i in (0..k.min(j + W)).step_by(HEIGHT) {
            let zero = [[0.0; W]; HEIGHT];
            let mut tile = accumulate::<W, W>(zero, panel::<W>(k, left, i), i % W, panel::<W>(k, right, j));
            each(&mut tile, |sum, _| *sum *= c, &zero);
            if a != 0.0 {
                each(&mut tile, |sum, l| *sum += a * l, &load(k, left, i, j));
            }
            if b != 0.0 {
                each(&mut tile, |sum, r| *sum += b * r, &load(k, right, i, j));
            }
            store(k, out, i, j, tile);
        }
    }
}

/// S ← a·S + P S in place (a·S + S P of a tall S), W of the large side at a time: they are packed first, so their place can
/// be written. `scratch` is as long as a Square.
#[inline(always)]
pub fn transform<const W: usize>(sides: Sides, s: &mut [f32], a: f32, p: &[f32], scratch: &mut [f32]) {
    let Sides { small: k, large, wide } = sides;
    let zero = [[0.0; W]; HEIGHT];
    let packed = part_mut(scratch, 0, k * W);
    for l in (0..large).step_by(W) {
        let width = W.min(large - l);
        if wide {
            pack_columns::<W>(s, l, large, width, packed);
            for i in (0..k).step_by(HEIGHT) {
                let tile = accumulate::<W, W>(zero, panel::<W>(k, p, i), i % W, packed);
                finish(s, (i * large + l, large), (k - i, width), tile, |e, sum| *e = a * *e + sum);
            }
        } else {
            pack_rows::<W>(s, l * k, k, width, k, packed);
            for u in (0..width).step_by(HEIGHT) {
                for j in (0..k).step_by(W) {
                    let tile = accumulate::<W, W>(zero, packed, u, panel::<W>(k, p, j));
                    finish(s, ((l + u) * k + j, k), (width - u, k - j), tile, |e, sum| *e = a * *e + sum);
                }
            }
        }
    }
}

/// Each element e with its sum of a tile, for the rows and columns that lie in a row-major matrix: from `start` on, `stride`
/// a row, as many as there are.
#[inline(always)]
fn finish<const W: usize>(
    memory: &mut [f32],
    (start, stride): (usize, usize),
    (height, width): (usize, usize),
    tile: Tile<W>,
    f: impl Fn(&mut f32, f32),
) {
    let row = |row: &mut [f32], sums: &[f32; W]| row.iter_mut().zip(sums).for_each(|(e, sum)| f(e, *sum));
    let memory = memory.get_mut(start..).unwrap_or(&mut []);
    if height < HEIGHT || width < W {
        // A copy, so that the tile itself stays in registers.
        for (memory, sums) in memory.chunks_mut(stride.max(1)).zip(&{ tile }).take(height) {
            row(part_mut(memory, 0, width), sums);
        }
        return;
    }
    let mut rest = memory;
    // Row by row, each a number of its own: a loop over the tile would keep it in memory while it is summed.
    let [t0, t1, t2, t3] = tile;
    for sums in [t0, t1, t2, t3] {
        let (now, after) = rest.split_at_mut(stride.min(rest.len()));
        if let Some(now) = now.first_chunk_mut::<W>() {
            row(now, &sums);
        }
        rest = after;
    }
}

/// C ← A B of an m×k and a k×n matrix, row by row. `scratch` holds [`product_scratch`] numbers; the panels of B in it have
/// W columns, those of Aᵀ [`HEIGHT`].
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
        pack_rows::<HEIGHT>(a, i * k, k, m - i, k, part_mut(left, i * k, k * HEIGHT));
    }
    for j in (0..n).step_by(W) {
        let width = W.min(n - j);
        pack_columns::<W>(b, j, n, width, right);
        for (i, left) in (0..m).step_by(HEIGHT).zip(left.chunks_exact((k * HEIGHT).max(1))) {
            let tile = accumulate::<HEIGHT, W>([[0.0; W]; HEIGHT], left, 0, right);
            finish(c, (i * n + j, n), (m - i, width), tile, |e, sum| *e = sum);
        }
    }
}
