//! Exact operations on which everything else is built: binary32, round to nearest even, subnormals kept.
//!
//! IEEE 754-2019 defines + − × ÷ √ and comparisons to the bit, so all conforming machines agree on them as long as
//! nothing fuses, reorders or replaces them. Functions that std or a platform's C library computes in its own way
//! (`exp`, `ln`, `max`, `min`, `powi`) are never taken from there; see `docs/arithmetic.md`.

use crate::error::Refusal;
use serde::{Deserialize, Serialize};

/// |x|, by clearing the sign bit; a NaN stays a NaN.
pub fn magnitude(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0x7fff_ffff)
}

/// Largest |element|: +0 for an empty slice; infinite or NaN if any element is.
///
/// The bits of magnitudes are ordered like the magnitudes, with infinity and the NaNs on top. So no NaN is dropped, as
/// it could be by a comparison of floats.
pub fn largest<'a>(elements: impl IntoIterator<Item = &'a f32>) -> f32 {
    // Shifting out the sign bit doubles the magnitude's bits: one shift instead of a mask.
    let mut bits = 0;
    for e in elements {
        let b = e.to_bits() << 1;
        if b > bits {
            bits = b;
        }
    }
    f32::from_bits(bits >> 1)
}

/// √x, correctly rounded (IEEE 754-2019 §5.4.1); NaN if x < 0.
///
/// Newton's iteration in integers: a digit-by-digit root takes five times the instructions, and a normalisation needs a
/// root for every place. The iteration starts from a straight line, because a table costs flash, and computes 1/√a
/// first, which needs no division.
pub fn sqrt(x: f32) -> f32 {
    let bits = x.to_bits();
    // ±0, +∞ and NaN are their own roots; other negative numbers have none.
    if bits.wrapping_sub(1) >= f32::INFINITY.to_bits() - 1 {
        return if x < 0.0 { f32::NAN } else { x };
    }
    // A subnormal is shifted until its highest bit is where normal numbers have their hidden bit. Adding 125 keeps
    // every exponent non-negative. Half of it is the root's exponent, less the one that the root's own hidden bit adds.
    let shift = bits.leading_zeros().saturating_sub(8);
    let bits = (bits << shift) + ((125 - shift) << 23);
    // x = a · 4^n with 1/4 ≤ a < 1, in units of 2^−32; the rest concerns a alone.
    let a = (bits << 7 & 0x3fff_ffff | 1 << 30) << (bits >> 23 & 1);
    // 1/√a ≈ 69/32 − 5/4 · a, in units of 2^−31 and modulo 2: within 9.4 %.
    let r = 0x1400_0000u32.wrapping_sub(5 * (a >> 3));
    // r · (3 − ar²)/2 is never too large. A constant slightly above 3 spreads the error over both sides, which halves
    // it: within 0.8 %, in units of 2^−30.
    let r = upper_half(r, 0xc100_0000 - upper_half(upper_half(r, r), a));
    // Within 10⁻⁴, in units of 2^−27. The 1 is subtracted because the truncated products may make r too large and
    // a − s² negative.
    let r = upper_half(r, 0x3000_0000 - upper_half(upper_half(r, r), a)) - 1;
    // √a in 16 bits, whose square is exact. Adding (a − s²) · r/2 leaves it too small by less than a third of the 24th
    // bit.
    let s = upper_half(a, r) >> 11;
    let root = ((s << 12) + upper_half(a - s * s, r)) >> 4;
    // Hence √a < root + 3/2, and the nearest value is root or root + 1. No square of root + 1/2 is an integer, so there
    // is no tie. The remainder fits into 32 bits, although neither square does.
    let rest = (a << 16).wrapping_sub(root.wrapping_mul(root));
    f32::from_bits((bits >> 24 << 23) + root + u32::from(rest > root))
}

/// Upper 32 bits of a·b.
fn upper_half(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

/// eˣ by the pinned software implementation, never the platform's.
pub fn exp(x: f32) -> f32 {
    libm::expf(x)
}

/// ln x by the pinned software implementation, never the platform's.
pub fn ln(x: f32) -> f32 {
    libm::logf(x)
}

/// tanh x by the pinned software implementation, never the platform's.
pub fn tanh(x: f32) -> f32 {
    libm::tanhf(x)
}

/// Implementation of exp, ln and tanh that a network uses. Each is software and gives the same bits on every target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Functions {
    /// The crate libm: exp and ln within one unit in the last place, tanh within three.
    #[default]
    Libm,
    /// The crate micromath: a few operations each. Its exp errs by up to 0.25 %, see `docs/arithmetic.md`.
    #[cfg(feature = "micromath")]
    Micromath,
}

impl Functions {
    /// Functions with this index in an image; `None` if this build does not have them.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Functions::Libm),
            #[cfg(feature = "micromath")]
            1 => Some(Functions::Micromath),
            _ => None,
        }
    }

    /// eˣ.
    pub fn exp(self, x: f32) -> f32 {
        match self {
            Functions::Libm => exp(x),
            // Micromath turns a NaN into 0 or infinity depending on its sign, which differs by target.
            #[cfg(feature = "micromath")]
            Functions::Micromath if x.is_nan() => x,
            // Beyond this range, the crate's result depends on the build.
            #[cfg(feature = "micromath")]
            Functions::Micromath if x > 88.0 => f32::INFINITY,
            #[cfg(feature = "micromath")]
            Functions::Micromath => micromath::F32Ext::exp(x),
        }
    }

    /// ln x.
    pub fn ln(self, x: f32) -> f32 {
        match self {
            Functions::Libm => ln(x),
            #[cfg(feature = "micromath")]
            Functions::Micromath => micromath::F32Ext::ln(x),
        }
    }

    /// tanh x. With micromath: 1 − 2/(exp(2x) + 1) from −8 to 8, ±1 beyond.
    pub fn tanh(self, x: f32) -> f32 {
        match self {
            Functions::Libm => tanh(x),
            #[cfg(feature = "micromath")]
            Functions::Micromath if x > 8.0 => 1.0,
            #[cfg(feature = "micromath")]
            Functions::Micromath if x < -8.0 => -1.0,
            #[cfg(feature = "micromath")]
            Functions::Micromath => 1.0 - 2.0 / (self.exp(2.0 * x) + 1.0),
        }
    }
}

/// Checks that this machine rounds as IEEE 754 requires: products before they are added, to nearest even, subnormals
/// kept.
///
/// A debugger's setting, a start-up file or a compiler flag can change this. Training would then give different bits.
///
/// # Errors
/// [`Refusal::Arithmetic`] if it does not.
pub fn check() -> Result<(), Refusal> {
    // Hides values from the compiler, which could otherwise compute the results in advance.
    let hide = core::hint::black_box::<f32>;
    let a = hide(1.0 + f32::EPSILON);
    let unfused = (a * a - hide(1.0)).to_bits() == 0x3480_0000;
    let smallest = hide(f32::from_bits(1));
    let subnormal = hide(f32::MIN_POSITIVE) * hide(0.5);
    let kept = (smallest + smallest).to_bits() == 2 && subnormal.to_bits() == 0x0040_0000 && hide(smallest) * 2.0 > 0.0;
    // Halfway between two numbers, rounding goes to the even one: once down, once up.
    let even = hide(1.0) + hide(f32::EPSILON / 2.0) == 1.0 && a + hide(f32::EPSILON / 2.0) == 1.0 + 2.0 * f32::EPSILON;
    if unfused && kept && even { Ok(()) } else { Err(Refusal::Arithmetic) }
}

/// Sum in eight lanes: element i goes to lane i mod 8, each lane ascending from +0; then the lanes are added as the
/// fixed tree ((0+4)+(2+6))+((1+5)+(3+7)).
pub fn sum(elements: impl IntoIterator<Item = f32>) -> f32 {
    let mut l = [0.0f32; 8];
    let mut elements = elements.into_iter();
    'all: loop {
        for lane in &mut l {
            match elements.next() {
                Some(e) => *lane += e,
                None => break 'all,
            }
        }
    }
    tree(l)
}

/// [`sum`] of f(a, b) over two slices of equal length. The lanes are written out, which keeps them in registers.
pub fn sum_over(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut l = [0.0f32; 8];
    let ((a, a_end), (b, b_end)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        let ([a0, a1, a2, a3, a4, a5, a6, a7], [b0, b1, b2, b3, b4, b5, b6, b7]) = (a, b);
        l[0] += f(*a0, *b0);
        l[1] += f(*a1, *b1);
        l[2] += f(*a2, *b2);
        l[3] += f(*a3, *b3);
        l[4] += f(*a4, *b4);
        l[5] += f(*a5, *b5);
        l[6] += f(*a6, *b6);
        l[7] += f(*a7, *b7);
    }
    for ((lane, a), b) in l.iter_mut().zip(a_end).zip(b_end) {
        *lane += f(*a, *b);
    }
    tree(l)
}

/// Adds the lanes in their fixed order.
fn tree(l: [f32; 8]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

/// Two powers of two whose product is 2^−⌊log₂ x⌋, for a positive finite x.
///
/// Multiplying by both in turn brings x into [1, 2) exactly. A single factor would not do, because 2^149 is not a
/// binary32 number.
pub fn into_unit_binade(x: f32) -> (f32, f32) {
    let bits = x.to_bits();
    let exponent = match bits >> 23 {
        // Subnormal: the position of its highest set bit, counted from 2^−149.
        0 => -118 - bits.leading_zeros() as i32,
        biased => biased as i32 - 127,
    };
    let half = -exponent >> 1;
    (power_of_two(half), power_of_two(-exponent - half))
}

/// 2^e for −126 ≤ e ≤ 127.
fn power_of_two(e: i32) -> f32 {
    f32::from_bits(((127 + e) as u32) << 23)
}
