//! Tests of the exact operations: bit for bit where IEEE 754 defines the bits, else within one unit in the last place.

mod oracle;

use graftage_core::arithmetic::{exp, into_unit_binade, largest, ln, magnitude, sqrt, sum};
use oracle::{Random, Worst, lanes, tolerance, ulps};

/// Returns the number with this mantissa and exponent, whose ninth bit is the sign.
fn float(exponent: u32, mantissa: u32) -> f32 {
    f32::from_bits(exponent << 23 | mantissa)
}

const MANTISSAS: [u32; 6] = [0, 1, 0x2a_aaaa, 0x40_0000, 0x55_5555, 0x7f_ffff];

#[test]
fn a_sum_has_eight_lanes_and_one_tree() {
    let mut random = Random::new(1);
    let mut sensitive = 0;
    for length in 0..200 {
        let e = random.wide(length);
        let found = sum(e.iter().copied());
        assert_eq!(found.to_bits(), lanes(&e).to_bits(), "{length} elements");
        sensitive += usize::from(found != e.iter().fold(0.0, |s, e| s + e));
    }
    assert!(sensitive > 100, "only {sensitive} of 200 sums depend on the order");
}

#[test]
fn the_tree_of_a_sum_is_the_one_of_the_contract() {
    // An addend that meets the large number before its opposite does is lost, as 2^25 + 1 rounds to 2^25.
    let big = 33_554_432.0;
    assert_eq!(sum([big, 0.0, 0.0, 0.0, -big, 0.0, 1.0, 0.0]), 1.0);
    assert_eq!(sum([big, 0.0, 1.0, 0.0, 0.0, 0.0, -big, 0.0]), 0.0);
    assert_eq!(sum([0.0, 1.0, 0.0, big, 0.0, 0.0, 0.0, -big]), 1.0);
    assert_eq!(sum([big, -big, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), 0.0);
    // Eight places later it is in the first lane again.
    assert_eq!(sum([big, 0.0, 0.0, 0.0, -big, 0.0, 0.0, 0.0, 1.0]), 0.0);
}

#[test]
fn a_sum_is_close_to_the_exact_one() {
    let mut random = Random::new(2);
    let mut worst = Worst::default();
    for length in [1, 7, 8, 9, 100, 1000, 5000] {
        let e = random.vector(length);
        let exact: f64 = e.iter().map(|e| f64::from(*e)).sum();
        let scale: f64 = e.iter().map(|e| f64::from(e.abs())).sum();
        worst.see((f64::from(sum(e)) - exact).abs() / scale);
    }
    worst.at_most("sum", tolerance::SUM);
}

#[test]
fn two_powers_bring_every_positive_float_into_the_unit_binade_exactly() {
    let subnormal = (0..23).flat_map(|i| [1 << i, (2 << i) - 1]).map(f32::from_bits);
    let normal = (1..255).flat_map(|e| MANTISSAS.map(|m| float(e, m)));
    for x in subnormal.chain(normal) {
        let (p, q) = into_unit_binade(x);
        assert!(p.is_normal() && q.is_normal(), "{x:e}");
        let exact = f64::from(x) / f64::from(x).log2().floor().exp2();
        // Just below a power of two, log₂ in float64 may round up to the next integer.
        let exact = if exact < 1.0 { 2.0 * exact } else { exact };
        assert_eq!(f64::from(x * p * q), exact, "{x:e}");
        assert!((1.0..2.0).contains(&exact), "{x:e}");
    }
}

#[test]
fn the_largest_magnitude_keeps_every_nan_and_infinity() {
    let mut random = Random::new(3);
    for length in 1..40 {
        let mut e = random.wide(length);
        let expected = e.iter().fold(0.0, |l: f32, e| l.max(e.abs()));
        assert_eq!(largest(&e), expected);
        let place = random.below(length);
        for infinite in [f32::INFINITY, f32::NEG_INFINITY] {
            e[place] = infinite;
            assert_eq!(largest(&e), f32::INFINITY);
        }
        e[random.below(length)] = f32::INFINITY;
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
            e[place] = nan;
            assert!(largest(&e).is_nan());
        }
    }
    assert_eq!(largest(&[]).to_bits(), 0);
    assert_eq!(largest(&[-0.0]).to_bits(), 0);
}

#[test]
fn a_magnitude_clears_the_sign_alone() {
    let mut random = Random::new(4);
    for _ in 0..10_000 {
        let bits = random.bits() as u32;
        assert_eq!(magnitude(f32::from_bits(bits)).to_bits(), bits % (1 << 31));
    }
}

#[test]
fn a_square_root_is_correctly_rounded() {
    let check = |bits: u32| {
        let x = f32::from_bits(bits);
        // The processor's own square root, which IEEE 754 defines to the bit.
        let (found, exact) = (sqrt(x), x.sqrt());
        assert!(
            found.to_bits() == exact.to_bits() || (found.is_nan() && exact.is_nan()),
            "{x:e}: {found:e}, not {exact:e}"
        );
    };
    // All mantissas with one even and one odd exponent: any other exponent changes only the exponent of the root.
    (float(127, 0).to_bits()..float(129, 0).to_bits()).for_each(check);
    // All subnormals and +0.
    (0..float(1, 0).to_bits()).for_each(check);
    // All exponents and both signs, including −0, infinities and NaNs.
    (0..512).flat_map(|e| MANTISSAS.map(|m| float(e, m).to_bits())).for_each(check);
    let mut random = Random::new(5);
    (0..1_000_000).for_each(|_| check(random.bits() as u32));
}

#[test]
fn exp_and_ln_are_within_an_ulp() {
    let mut random = Random::new(6);
    let (mut of_exp, mut of_ln) = (Worst::default(), Worst::default());
    for _ in 0..200_000 {
        let x = (100.0 * random.uniform()) as f32;
        if x < 88.7 {
            of_exp.see(ulps(exp(x), f64::from(x).exp()));
        }
        let x = f32::from_bits(1 + (random.bits() % 0x7f7f_ffff) as u32);
        of_ln.see(ulps(ln(x), f64::from(x).ln()));
    }
    assert_eq!((exp(0.0), exp(f32::NEG_INFINITY), ln(1.0)), (1.0, 0.0, 0.0));
    of_exp.at_most("exp", tolerance::ULPS);
    of_ln.at_most("ln", tolerance::ULPS);
}
