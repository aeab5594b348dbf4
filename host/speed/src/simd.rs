//! Core's matrices with panels as wide as this CPU's registers. The same code is compiled for AVX2 and for the target
//! of the build, the variant is chosen at run time, and all variants give the same bits.
//!
//! A panel of W columns (core's [`kernel`]) is 32 wide if the build enables AVX-512, 16 with AVX2, otherwise 8.

use graftage_core::matrix::kernel::{self, Sides};
use graftage_core::matrix::{Group, Matrix, RowMajor, Slab};
use multiversion::{multiversion, target::target_cfg_f};

/// A matrix whose products run over wide panels. All other operations are those of the slab.
#[derive(Clone, PartialEq, Debug)]
pub struct Wide<S>(pub Slab<S>);

/// Widest panel, for which [`square`] reserves memory.
const WIDEST: usize = 32;

/// Bytes that a CPU loads at once. An access across such a boundary takes two loads.
const LINE: usize = 64;

/// Returns the length of a `Square` of k×k, in numbers, for any panel width and any alignment of the memory.
pub const fn square(k: usize) -> usize {
    kernel::square::<WIDEST>(k) + LINE / size_of::<f32>()
}

/// Returns the length of the scratch memory of [`product`] for an A of m rows and k columns, in numbers.
pub const fn product_scratch(m: usize, k: usize) -> usize {
    kernel::product_scratch::<WIDEST>(m, k) + LINE / size_of::<f32>()
}

/// Returns `memory` from its first 64-byte boundary. The same buffer always gives the same offset.
fn aligned(memory: &[f32]) -> &[f32] {
    memory.get(memory.as_ptr().align_offset(LINE)..).unwrap_or(memory)
}

/// Like [`aligned`], but mutable.
fn aligned_mut(memory: &mut [f32]) -> &mut [f32] {
    let start = memory.as_ptr().align_offset(LINE).min(memory.len());
    memory.split_at_mut(start).1
}

/// Calls a kernel with the panel width of the compilation target.
macro_rules! with_width {
    ($kernel:ident($($argument:expr),*)) => {
        if target_cfg_f!(target_feature = "avx512f") {
            kernel::$kernel::<32>($($argument),*)
        } else if target_cfg_f!(target_feature = "avx2") {
            kernel::$kernel::<16>($($argument),*)
        } else {
            kernel::$kernel::<8>($($argument),*)
        }
    };
}

/// Computes C ← A B of an m×k and a k×n matrix, row by row. `scratch` holds [`product_scratch`] numbers and is
/// overwritten.
pub fn product(sizes: (usize, usize, usize), a: &[f32], b: &[f32], c: &mut [f32], scratch: &mut [f32]) {
    aligned_product(sizes, a, b, c, aligned_mut(scratch));
}

#[multiversion(targets("x86_64+avx2"))]
fn aligned_product(sizes: (usize, usize, usize), a: &[f32], b: &[f32], c: &mut [f32], scratch: &mut [f32]) {
    with_width!(product(sizes, a, b, c, scratch));
}

#[multiversion(targets("x86_64+avx2"))]
fn gram(sides: Sides, s: &[f32], gram: &mut [f32], scratch: &mut [f32]) {
    with_width!(gram(sides, s, gram, scratch));
}

#[multiversion(targets("x86_64+avx2"))]
fn multiply(k: usize, c: f32, left: (f32, &[f32]), right: (f32, &[f32]), out: &mut [f32]) {
    with_width!(multiply(k, c, left, right, out));
}

#[multiversion(targets("x86_64+avx2"))]
fn transform(sides: Sides, s: &mut [f32], a: f32, p: &[f32], scratch: &mut [f32]) {
    with_width!(transform(sides, s, a, p, scratch));
}

impl<S: AsRef<[f32]> + AsMut<[f32]>> Matrix for Wide<S> {
    type Square = [f32];
    type Element = f32;
    type Start = [[u8; 4]];

    fn shape(&self) -> (usize, usize) {
        RowMajor::shape(&self.0)
    }
    fn copy(&mut self, other: &Self) {
        self.0.copy(&other.0);
    }
    fn combine(&mut self, a: f32, b: f32, other: &Self) {
        self.0.combine(a, b, &other.0);
    }
    fn pull(&mut self, a: f32, b: f32, start: &[[u8; 4]], x: &Self) {
        self.0.pull(a, b, start, &x.0);
    }
    fn map(x: &mut Self, y: &mut Self, d: &Self, f: impl Fn(f32, f32, f32) -> (f32, f32)) {
        Matrix::map(&mut x.0, &mut y.0, &d.0, f);
    }
    fn sign(&mut self, other: &Self) {
        self.0.sign(&other.0);
    }
    fn normalise(&mut self, group: Group) {
        self.0.normalise(group);
    }
    fn inner(&self, other: &Self) -> f32 {
        self.0.inner(&other.0)
    }
    fn cosine(&self, other: &Self) -> f32 {
        self.0.cosine(&other.0)
    }
    fn gram(&self, gram: &mut [f32], scratch: &mut [f32]) {
        self::gram(Sides::new(self.shape()), self.0.elements(), aligned_mut(gram), aligned_mut(scratch));
    }
    fn multiply(&self, c: f32, left: (f32, &[f32]), right: (f32, &[f32]), out: &mut [f32]) {
        let (m, n) = self.shape();
        let ((a, left), (b, right)) = (left, right);
        self::multiply(m.min(n), c, (a, aligned(left)), (b, aligned(right)), aligned_mut(out));
    }
    fn transform(&mut self, a: f32, p: &[f32], scratch: &mut [f32]) {
        let sides = Sides::new(self.shape());
        self::transform(sides, self.0.elements_mut(), a, aligned(p), aligned_mut(scratch));
    }
}
