//! Tests of the generator: it yields the published numbers on every target, and its draws have the right distributions.

mod oracle;

use graftage_core::random::{Generator, State};
use oracle::Pcg;

#[test]
fn the_numbers_are_those_of_the_published_demonstration() {
    let mut generator = Generator::new(42, 54);
    let expected = [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e];
    assert_eq!(expected.map(|_| generator.bits()), expected);
}

#[test]
fn every_draw_follows_from_the_definition() {
    for (seed, stream) in [(0, 0), (1, 0), (0, 1), (u64::MAX, 7), (0x0123_4567_89ab_cdef, 1 << 40)] {
        let (mut generator, mut pcg) = (Generator::new(seed, stream), Pcg::new(seed, stream));
        for n in [1usize, 2, 3, 7, 32, 1000, 0x8000_0001, u32::MAX as usize].into_iter().cycle().take(8000) {
            assert_eq!(generator.below(n as u32) as usize, pcg.below(n));
            let uniform = generator.uniform();
            assert_eq!(uniform, (pcg.bits() >> 8) as f32 / 16_777_216.0);
            assert!((0.0..1.0).contains(&uniform));
        }
    }
}

#[test]
fn an_index_is_below_its_bound_and_uniform() {
    for n in [2u32, 7, 10, 37] {
        let mut generator = Generator::new(9, u64::from(n));
        let mut counts = vec![0.0; n as usize];
        for _ in 0..50_000 {
            counts[generator.below(n) as usize] += 1.0;
        }
        let expected = 50_000.0 / f64::from(n);
        let square: f64 = counts.iter().map(|c: &f64| (c - expected).powi(2) / expected).sum();
        // Mean n − 1, variance 2(n − 1), within five standard deviations.
        let freedom = f64::from(n - 1);
        assert!(square < freedom + 5.0 * (2.0 * freedom).sqrt(), "n = {n}: χ² = {square}");
    }
    assert_eq!(Generator::new(9, 0).below(0), 0);
}

#[test]
fn uniform_numbers_fill_the_unit_interval() {
    let mut generator = Generator::new(3, 1);
    let numbers: Vec<f64> = (0..50_000).map(|_| f64::from(generator.uniform())).collect();
    let mean = numbers.iter().sum::<f64>() / 50_000.0;
    assert!((mean - 0.5).abs() < 5.0 / (12.0f64 * 50_000.0).sqrt(), "mean {mean}");
    assert!(numbers.iter().any(|e| *e < 1e-3) && numbers.iter().any(|e| *e > 0.999));
}

#[test]
fn a_shuffle_is_the_permutation_of_durstenfeld() {
    let (mut generator, mut pcg) = (Generator::new(5, 2), Pcg::new(5, 2));
    for length in [0, 1, 2, 3, 10, 100] {
        let mut items: Vec<usize> = (0..length).collect();
        let mut expected = items.clone();
        generator.shuffle(&mut items);
        for last in (2..=length).rev() {
            expected.swap(last - 1, pcg.below(last));
        }
        assert_eq!(items, expected);
        items.sort_unstable();
        assert!(items.into_iter().eq(0..length));
    }
}

#[test]
fn all_orders_are_equally_likely() {
    let mut generator = Generator::new(6, 0);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..24_000 {
        let mut items = [0, 1, 2, 3];
        generator.shuffle(&mut items);
        *counts.entry(items).or_insert(0u32) += 1;
    }
    // 1000 ± five standard deviations.
    assert!(counts.len() == 24 && counts.values().all(|c| (845..1155).contains(c)), "{counts:?}");
}

#[test]
fn the_state_names_the_place_in_the_stream() {
    let state = |draws| State { seed: 11, stream: 12, draws };
    let mut generator = Generator::new(11, 12);
    assert_eq!(generator.state(), state(0));
    generator.bits();
    generator.below(5);
    generator.uniform();
    assert_eq!(generator.state(), state(3));
    // One draw for each position except the first.
    generator.shuffle(&mut [0; 10]);
    assert_eq!(generator.state(), state(12));
    let mut again = Generator::new(11, 12);
    assert_eq!((0..13).map(|_| again.bits()).last(), Some(generator.bits()));
}
