//! Core's [`Matrix`] over libtorch tensors, on the CPU or a GPU.
//!
//! | type | arithmetic | for |
//! |---|---|---|
//! | [`Exact`] | core's order of evaluation, one kernel per rounding: core's bits | proofs, small networks |
//! | [`Fast`] | matrix products and sums in libtorch's order; directions in bfloat16 if that is their kind | training |
//!
//! On an NVIDIA GPU the elementwise work of a [`Fast`] step is done by our own kernels. Each of them reads and writes
//! memory only once, while libtorch's operations would do it many times.
//!
//! Both types are stacks of matrices of equal shape: a tensor [.., m, n] of kind Float. The norms, the polar iteration
//! and the step are core's, run on these types. Nothing here waits for a GPU. Gradients are not tracked.
//!
//! `copy`, `combine`, `pull`, `map`, `step_ahead` and `sign` write in place, so the result is visible through other
//! references to the same tensor. All other operations replace the tensor by a new one. A [`Matrix::Square`] therefore
//! needs no memory before its first use: any tensor will do. A [`Fast`] can also be [masked](Fast::masked), or [private
//! scratch memory](Fast::scratch).
//!
//! An operation panics if libtorch fails: on tensors with incompatible shapes or devices, or when out of memory.

use crate::cuda::kernels;
use graftage_core::matrix::{Element, Group, Matrix};
use graftage_core::polar::squares;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::ptr::null_mut;
use tch::{Kind, Tensor, no_grad_guard};

/// Arithmetic of the update rule on tensors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// In libtorch's own order of evaluation: see [`Fast`].
    #[default]
    Fast,
    /// In core's order of evaluation, many times slower: see [`Exact`].
    Exact,
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Exact => "exact",
        })
    }
}

/// Number format of products.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// binary32.
    #[default]
    Float32,
    /// bfloat16: two digits, and faster if the device has units for it.
    Bfloat16,
}

/// A stack [.., m, n] whose operations follow core's order of evaluation.
#[derive(Debug)]
pub struct Exact(pub Tensor);

/// A stack [.., m, n] whose operations follow libtorch's order of evaluation.
#[derive(Debug)]
pub struct Fast {
    tensor: Tensor,
    memory: Memory,
}

/// Destination of results.
#[derive(Debug)]
enum Memory {
    /// In place. If there are flags, shape [.., 1, 1], only matrices whose flag is true are written.
    Shared(Option<Tensor>),
    /// A new tensor, which replaces the old one.
    Own {
        /// Kind in which matrix products are computed.
        kind: Kind,
        /// Memory of the product before the last, if there is one; reused for the next.
        spare: Tensor,
        /// True if nothing else refers to the tensor, so that it can become `spare`.
        is_alone: bool,
    },
}

/// A symmetric matrix P of a [`Fast`]'s small side, stored as P + shift·I, so that aS + PS is a single product.
#[derive(Debug)]
pub struct Shifted {
    tensor: Tensor,
    shift: Cell<f32>,
}

impl From<Tensor> for Exact {
    fn from(tensor: Tensor) -> Self {
        Self(tensor)
    }
}

impl From<Tensor> for Fast {
    fn from(tensor: Tensor) -> Self {
        Self { tensor, memory: Memory::Shared(None) }
    }
}

impl From<Tensor> for Shifted {
    fn from(tensor: Tensor) -> Self {
        Self { tensor, shift: Cell::new(0.0) }
    }
}

impl Fast {
    /// Creates a stack in which only the matrices whose flag is true change. `flags` has shape [.., 1, 1] and kind
    /// Bool. All other matrices keep their bits, whatever is computed for them.
    pub fn masked(tensor: Tensor, flags: &Tensor) -> Self {
        Self { tensor, memory: Memory::Shared(Some(flags.shallow_clone())) }
    }

    /// Creates a private stack that its first use fills: a direction, or a result that is not needed. Matrix products
    /// on it are computed in `kind`.
    pub fn scratch(kind: Kind) -> Self {
        Self { tensor: Tensor::new(), memory: Memory::Own { kind, spare: Tensor::new(), is_alone: false } }
    }

    /// Returns the tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Returns the kind in which matrix products are computed.
    fn kind(&self) -> Kind {
        match self.memory {
            Memory::Own { kind, .. } => kind,
            Memory::Shared(_) => self.tensor.kind(),
        }
    }

    /// Returns the address of the flags of a stack that is written in place, null without flags; `None` for a private
    /// stack.
    fn flags_at(&self) -> Option<*mut c_void> {
        match &self.memory {
            Memory::Own { .. } => None,
            Memory::Shared(flags) => Some(flags.as_ref().map_or(null_mut(), Tensor::data_ptr)),
        }
    }

    /// Returns memory for a result that is stored afterwards: the tensor itself or new memory.
    fn room(&self) -> Tensor {
        match self.memory {
            Memory::Shared(None) => self.tensor.shallow_clone(),
            _ => Tensor::empty([0], (Kind::Float, self.tensor.device())),
        }
    }

    fn store(&mut self, result: Tensor) {
        match &mut self.memory {
            Memory::Own { is_alone, .. } => (self.tensor, *is_alone) = (result, false),
            Memory::Shared(None) if result.data_ptr() == self.tensor.data_ptr() => {}
            Memory::Shared(None) => self.tensor.copy_(&result),
            Memory::Shared(Some(flags)) => drop(result.where_self_out(&self.tensor, flags, &self.tensor)),
        }
    }

    /// Replaces the tensor by one that nothing else refers to.
    fn replace(&mut self, tensor: Tensor) {
        self.tensor = tensor;
        if let Memory::Own { is_alone, .. } = &mut self.memory {
            *is_alone = true;
        }
    }
}

impl Shifted {
    /// Computes P ← A B − shift·I, in P's existing memory if the product fits.
    fn set_product(&mut self, a: &Tensor, b: &Tensor, shift: f32) {
        self.tensor = product(a, b, &self.tensor);
        self.shift.set(shift);
    }

    /// Returns P + shift·I.
    fn plus(&self, shift: f32) -> &Tensor {
        let kept = self.shift.replace(shift);
        if kept != shift {
            let _ = self.tensor.diagonal(0, -2, -1).g_add_scalar_(f64::from(shift - kept));
        }
        &self.tensor
    }
}

/// A tensor as an operand of an elementwise formula. Each operation is a kernel of its own, so each rounds once.
#[derive(Debug)]
pub struct Operand(Tensor);

impl From<Tensor> for Operand {
    fn from(tensor: Tensor) -> Self {
        Self(tensor)
    }
}

impl Operand {
    /// Returns the tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// Returns the value for a single matrix.
    pub fn number(&self) -> f32 {
        // An operand with one element always has a value.
        f32::try_from(&self.0.flatten(0, -1)).unwrap_or(f32::NAN)
    }
}

impl Clone for Operand {
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

impl Add for Operand {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Operand {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Mul<f32> for Operand {
    type Output = Self;
    fn mul(self, factor: f32) -> Self {
        // A product with 1 is exact.
        if factor == 1.0 { self } else { Self(self.0 * f64::from(factor)) }
    }
}

impl Mul for Operand {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }
}

impl Add<f32> for Operand {
    type Output = Self;
    fn add(self, term: f32) -> Self {
        Self(self.0 + f64::from(term))
    }
}

impl Element for Operand {
    fn reciprocal(self) -> Self {
        Self(self.0.reciprocal())
    }
}

// Factors go to libtorch as f64, which converts them back to the original f32 exactly.

impl Matrix for Exact {
    type Square = Self;
    type Element = Operand;
    type Start = Tensor;

    fn shape(&self) -> (usize, usize) {
        let (m, n) = shape(&self.0);
        (m as usize, n as usize)
    }
    fn copy(&mut self, other: &Self) {
        let _guard = no_grad_guard();
        self.0.copy_(&other.0);
    }
    fn combine(&mut self, a: f32, b: f32, other: &Self) {
        let _guard = no_grad_guard();
        self.0 *= f64::from(a);
        self.0 += &other.0 * f64::from(b);
    }
    fn pull(&mut self, a: f32, b: f32, start: &Tensor, x: &Self) {
        let _guard = no_grad_guard();
        self.0 *= f64::from(a);
        self.0 += (start - &x.0) * f64::from(b);
    }
    fn map(x: &mut Self, y: &mut Self, d: &Self, f: impl Fn(Operand, Operand, Operand) -> (Operand, Operand)) {
        let _guard = no_grad_guard();
        let operand = |matrix: &Self| Operand(matrix.0.shallow_clone());
        let (first, second) = f(operand(x), operand(y), operand(d));
        x.0.copy_(&first.0);
        y.0.copy_(&second.0);
    }
    fn sign(&mut self, other: &Self) {
        let _guard = no_grad_guard();
        self.0.copy_(&other.0.sign());
    }
    fn normalise(&mut self, group: Group) {
        if self.0.numel() == 0 {
            return;
        }
        let _guard = no_grad_guard();
        let scaled = unit_binade(&self.0, group);
        let squares = &scaled * &scaled;
        let sums = match group {
            Group::Whole => ordered_sum(&squares.flatten(-2, -1)).unsqueeze(-1).unsqueeze(-1),
            Group::Row => ordered_sum(&squares).unsqueeze(-1),
            Group::Column => ordered_sum(&squares.mt()).unsqueeze(-2),
        };
        self.0 = scaled / or_one(sqrt(&sums));
    }
    fn inner(&self, other: &Self) -> Operand {
        let _guard = no_grad_guard();
        Operand(ordered_inner(&self.0, &other.0))
    }
    fn cosine(&self, other: &Self) -> Operand {
        let _guard = no_grad_guard();
        let (s, o) = (unit_binade(&self.0, Group::Whole), unit_binade(&other.0, Group::Whole));
        let square = ordered_inner(&s, &s) * ordered_inner(&o, &o);
        Operand(ordered_inner(&s, &o) / or_one(sqrt(&square)))
    }
    fn gram(&self, gram: &mut Self, _scratch: &mut Self) {
        let _guard = no_grad_guard();
        let (s, t) = (&self.0, self.0.mt());
        gram.0 = if is_wide(s) { ordered_product(s, &t) } else { ordered_product(&t, s) };
    }
    fn multiply(&self, c: f32, left: (f32, &Self), right: (f32, &Self), out: &mut Self) {
        let _guard = no_grad_guard();
        let product = ordered_product(&left.1.0, &right.1.0) * f64::from(c);
        let sum = product + &left.1.0 * f64::from(left.0) + &right.1.0 * f64::from(right.0);
        out.0 = sum.where_self(&sum.ones_like().triu(0).to_kind(Kind::Bool), &sum.mt());
    }
    fn transform(&mut self, a: f32, p: &Self, _scratch: &mut Self) {
        let _guard = no_grad_guard();
        let s = &self.0;
        let product = if is_wide(s) { ordered_product(&p.0, s) } else { ordered_product(s, &p.0) };
        self.0 = s * f64::from(a) + product;
    }
}

impl Matrix for Fast {
    type Square = Shifted;
    type Element = Operand;
    type Start = Tensor;

    fn shape(&self) -> (usize, usize) {
        let (m, n) = shape(&self.tensor);
        (m as usize, n as usize)
    }
    fn is_precise(&self) -> bool {
        self.kind() != Kind::BFloat16
    }
    fn copy(&mut self, other: &Self) {
        let _guard = no_grad_guard();
        self.store(match other.memory {
            Memory::Own { .. } => other.tensor.copy(),
            Memory::Shared(_) => other.tensor.shallow_clone(),
        });
    }
    fn combine(&mut self, a: f32, b: f32, other: &Self) {
        let _guard = no_grad_guard();
        if let Memory::Shared(flags) = &self.memory
            && kernels::combine(&self.tensor, &other.tensor, flags.as_ref(), a, b)
        {
            return;
        }
        let (s, o, a, b) = (in_kind(&self.tensor, Kind::Float), &other.tensor, f64::from(a), f64::from(b));
        // A mean in one pass: s + b(o − s).
        let result = if (a + b) as f32 == 1.0 { s.lerp_scalar_out(&self.room(), o, b) } else { sum(s * a, o * b) };
        self.store(result);
    }
    fn pull(&mut self, a: f32, b: f32, start: &Tensor, x: &Self) {
        let _guard = no_grad_guard();
        let mut way = start - &x.tensor;
        way *= f64::from(b);
        self.store(sum(way, in_kind(&self.tensor, Kind::Float) * f64::from(a)));
    }
    fn map(x: &mut Self, y: &mut Self, d: &Self, f: impl Fn(Operand, Operand, Operand) -> (Operand, Operand)) {
        let _guard = no_grad_guard();
        let operand = |matrix: &Self| Operand(in_kind(&matrix.tensor, Kind::Float));
        let (first, second) = f(operand(x), operand(y), operand(d));
        x.store(first.0);
        y.store(second.0);
    }
    fn step_ahead(x: &mut Self, y: &mut Self, d: &Self, gain: f32, (ahead, before): (f32, f32)) {
        let _guard = no_grad_guard();
        let follows = (ahead, before) == (0.0, 0.0);
        // The kernel takes only one set of flags.
        if let Memory::Shared(flags) = &x.memory
            && (follows || y.flags_at() == x.flags_at())
            && let query = (!follows).then_some(&y.tensor)
            && kernels::step_ahead(&x.tensor, query, &d.tensor, flags.as_ref(), gain, (ahead, before))
        {
            if follows {
                y.store(x.tensor.shallow_clone());
            }
            return;
        }
        let (way, gain) = (in_kind(&d.tensor, Kind::Float), f64::from(gain));
        // A tensor as factor lets one pass over memory convert, multiply and add.
        let factor = |number: f64| Tensor::full([1], number, (Kind::Float, way.device()));
        if !follows {
            // Y comes first, because it depends on the old X.
            let start = match before {
                0.0 => x.tensor.shallow_clone(),
                _ => x.tensor.lerp_scalar_out(&y.room(), &y.tensor, f64::from(before)),
            };
            let room = if before == 0.0 { y.room() } else { start.shallow_clone() };
            y.store(start.addcmul_out(&room, &way, &factor(gain * (1.0 + f64::from(ahead)))));
        }
        x.store(x.tensor.addcmul_out(&x.room(), &way, &factor(gain)));
        if follows {
            y.store(x.tensor.shallow_clone());
        }
    }
    fn sign(&mut self, other: &Self) {
        let _guard = no_grad_guard();
        self.store(other.tensor.sign());
    }
    fn normalise(&mut self, group: Group) {
        if self.tensor.numel() == 0 {
            return;
        }
        let _guard = no_grad_guard();
        let (axes, kind) = (axes(group), self.kind());
        if group == Group::Whole
            && let Some(unit) = kernels::unit(&self.tensor, kind)
        {
            return self.replace(unit);
        }
        let s = in_kind(&self.tensor, Kind::Float);
        // Groups of zeros are divided by the smallest positive number and by 1, and stay zeros.
        let largest = largest(&s, axes).clamp_min(f64::from(f32::from_bits(1)));
        let mut scaled = s / largest;
        let norm = scaled.norm_scalaropt_dim(2.0, axes, true).clamp_min(1.0);
        self.replace(match kind {
            Kind::Float => scaled.g_div_(&norm),
            _ => scaled.div_out(&Tensor::empty(scaled.size(), (kind, scaled.device())), &norm),
        });
    }
    fn inner(&self, other: &Self) -> Operand {
        let _guard = no_grad_guard();
        Operand(inner(&self.tensor, &other.tensor))
    }
    fn cosine(&self, other: &Self) -> Operand {
        let _guard = no_grad_guard();
        let unit = |t: &Tensor| t / or_one(largest(t, axes(Group::Whole)));
        let (s, o) = (unit(&self.tensor), unit(&other.tensor));
        let square = inner(&s, &s) * inner(&o, &o);
        Operand(inner(&s, &o) / or_one(square.sqrt()))
    }
    fn gram(&self, gram: &mut Shifted, _scratch: &mut Shifted) {
        let _guard = no_grad_guard();
        let s = &self.tensor;
        let (a, b) = if is_wide(s) { (s, &s.mt()) } else { (&s.mt(), s) };
        gram.set_product(a, b, 0.0);
    }
    fn multiply(&self, c: f32, (a, left): (f32, &Shifted), (b, right): (f32, &Shifted), out: &mut Shifted) {
        let _guard = no_grad_guard();
        // The right operand is symmetric, so it can be read along its rows: bfloat16 kernels differ threefold in speed.
        if c == 1.0 && !std::ptr::eq(left, right) {
            // LR + aL + bR = (L + bI)(R + aI) − abI.
            out.set_product(left.plus(b), &right.plus(a).mt(), a * b);
        } else if b == 0.0 && std::ptr::eq(left, right) && self.is_precise() && squares(self.shape()) == 2 {
            // cG² + aG = c(G + hI)² − ch²I with h = a/2c. This saves copying an addend to the product's destination. It
            // is done only for a G that is not used again, because adding h rounds off digits of small eigenvalues.
            let h = a / (2.0 * c);
            let g = left.plus(h);
            *out = Shifted { tensor: add_product((0.0, g), c, g, &g.mt()), shift: Cell::new(c * h * h) };
        } else {
            let (l, r) = (left.plus(0.0), right.plus(0.0));
            let sum = add_product((a, l), c, l, &r.mt());
            *out = Shifted::from(if b == 0.0 { sum } else { sum + r * f64::from(b) });
        }
    }
    fn transform(&mut self, a: f32, p: &Shifted, _scratch: &mut Shifted) {
        let _guard = no_grad_guard();
        let s = &self.tensor;
        if self.kind() != Kind::Float {
            // aI would be rounded off the diagonal of P, and by the same amount in step after step.
            let p = p.plus(0.0).mt();
            let (left, right) = if is_wide(s) { (&p, s) } else { (s, &p) };
            let result = add_product((a, s), 1.0, left, right);
            self.replace(result);
            return;
        }
        let p = p.plus(a).mt();
        let nothing = Tensor::new();
        let memory = if let Memory::Own { spare, .. } = &self.memory { spare } else { &nothing };
        let result = if is_wide(s) { product(&p, s, memory) } else { product(s, &p, memory) };
        let before = std::mem::replace(&mut self.tensor, result);
        if let Memory::Own { spare, is_alone, .. } = &mut self.memory {
            *spare = if *is_alone { before } else { nothing };
            *is_alone = true;
        }
    }
}

/// Returns (m, n) of a stack [.., m, n].
fn shape(stack: &Tensor) -> (i64, i64) {
    match stack.size()[..] {
        [.., m, n] => (m, n),
        // A vector counts as one row.
        [n] => (1, n),
        [] => (1, 1),
    }
}

/// Returns whether the rows are the small side.
fn is_wide(stack: &Tensor) -> bool {
    let (m, n) = shape(stack);
    m <= n
}

/// Returns the axes along which a group runs.
fn axes(group: Group) -> &'static [i64] {
    match group {
        Group::Whole => &[-2, -1],
        Group::Row => &[-1],
        Group::Column => &[-2],
    }
}

/// Replaces elements that are not above 0 by 1. As divisors of groups of zeros, they leave the zeros unchanged.
fn or_one(tensor: Tensor) -> Tensor {
    tensor.where_scalarother(&tensor.gt(0.0), 1.0)
}

/// Computes √x, correctly rounded. libtorch's f32 root is not, but the rounded f64 root is exact enough to be rounded
/// again (53 ≥ 2·24 + 2 digits).
fn sqrt(tensor: &Tensor) -> Tensor {
    tensor.to_kind(Kind::Double).sqrt().to_kind(Kind::Float)
}

/// Scales each group by the power of two that brings its largest |element| into [1, 2).
fn unit_binade(tensor: &Tensor, group: Group) -> Tensor {
    let (p, q) = into_unit_binade(&or_one(tensor.abs().amax(axes(group), true)));
    tensor * p * q
}

/// Returns ⟨a, b⟩ of each matrix in the order of core's `sum`, shape [.., 1, 1].
fn ordered_inner(a: &Tensor, b: &Tensor) -> Tensor {
    ordered_sum(&(a * b).flatten(-2, -1)).unsqueeze(-1).unsqueeze(-1)
}

/// Like [`ordered_inner`], but in libtorch's order.
fn inner(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist([-2, -1].as_slice(), true, Kind::Float)
}

/// Core's `into_unit_binade`: returns two powers of two whose product is 2^−⌊log₂ x⌋, for positive x.
fn into_unit_binade(tensor: &Tensor) -> (Tensor, Tensor) {
    // In f64, even an f32 subnormal has its exponent in these bits.
    let bits = tensor.to_kind(Kind::Double).view_dtype(Kind::Int64);
    let exponent: Tensor = 1023 - bits.bitwise_right_shift_tensor_scalar(52);
    let half = exponent.bitwise_right_shift_tensor_scalar(1);
    let rest = exponent - &half;
    let power = |e: Tensor| (e + 127).bitwise_left_shift_tensor_scalar(23).to_kind(Kind::Int).view_dtype(Kind::Float);
    (power(half), power(rest))
}

/// Core's `sum` over the last axis: eight lanes from +0, each ascending, then the fixed tree.
///
/// The last group is padded with +0, which changes no lane because a lane is never −0.
fn ordered_sum(tensor: &Tensor) -> Tensor {
    let padding = -shape(tensor).1 & 7;
    let groups = tensor.constant_pad_nd([0, padding]).unflatten(-1, [-1, 8]).unbind(-2);
    let mut lanes = groups[0].zeros_like();
    for group in &groups {
        lanes += group;
    }
    let lane = |i| lanes.select(-1, i);
    ((lane(0) + lane(4)) + (lane(2) + lane(6))) + ((lane(1) + lane(5)) + (lane(3) + lane(7)))
}

/// Computes A B for shapes [.., m, k] and [.., k, n]; each element is summed from +0 over ascending k.
///
/// The products for many k form one kernel because they are independent. Each addition is a kernel of its own.
fn ordered_product(a: &Tensor, b: &Tensor) -> Tensor {
    /// Largest kernel result that stays in a CPU's cache, in numbers.
    const AT_ONCE: i64 = 1 << 17;
    let (k, n) = shape(b);
    let mut size = a.size();
    if let Some(last) = size.last_mut() {
        *last = n;
    }
    let mut sum = Tensor::zeros(&size, (Kind::Float, a.device()));
    let length = (AT_ONCE / (sum.numel() as i64).max(1)).max(1);
    for start in (0..k).step_by(length as usize) {
        let length = length.min(k - start);
        // Shapes [.., length, m, 1] and [.., length, 1, n].
        let columns = a.narrow(-1, start, length).mt().unsqueeze(-1);
        let rows = b.narrow(-2, start, length).unsqueeze(-2);
        for term in (columns * rows).unbind(-3) {
            sum += term;
        }
    }
    sum
}

/// Returns the largest |element| of each group; NaN if the group contains one.
pub(crate) fn largest(tensor: &Tensor, axes: &[i64]) -> Tensor {
    if tensor.device().is_cuda() {
        tensor.norm_scalaropt_dim(f64::INFINITY, axes, true)
    } else {
        // The infinity norm is slow on a CPU. Two read-only passes are faster.
        tensor.amax(axes, true).maximum(&tensor.amin(axes, true).neg())
    }
}

/// Adds in the memory of the first term.
fn sum(mut first: Tensor, second: Tensor) -> Tensor {
    first += second;
    first
}

/// Converts a tensor to this kind; returns the tensor itself if it has the kind already.
fn in_kind(tensor: &Tensor, kind: Kind) -> Tensor {
    if tensor.kind() == kind { tensor.shallow_clone() } else { tensor.to_kind(kind) }
}

/// Returns a stack with exactly one axis before the matrices.
fn one_axis(stack: &Tensor) -> Tensor {
    match stack.dim() {
        2 => stack.unsqueeze(0),
        3 => stack.shallow_clone(),
        axes => stack.flatten(0, axes as i64 - 3),
    }
}

/// Computes A B of stacks in libtorch's order, in `memory` if the result fits.
fn product(a: &Tensor, b: &Tensor, memory: &Tensor) -> Tensor {
    let mut size = a.size();
    if let (Some(last), (_, n)) = (size.last_mut(), shape(b)) {
        *last = n;
    }
    let (a, b) = (one_axis(a), one_axis(b));
    if memory.defined() && memory.size() == size && memory.kind() == a.kind() {
        a.bmm_out(&one_axis(memory), &b).view(&size[..])
    } else {
        a.bmm(&b).view(&size[..])
    }
}

/// Computes a·S + b·L R of stacks in libtorch's order.
fn add_product((a, s): (f32, &Tensor), b: f32, left: &Tensor, right: &Tensor) -> Tensor {
    one_axis(s).baddbmm(&one_axis(left), &one_axis(right), f64::from(a), f64::from(b)).view_as(s)
}
