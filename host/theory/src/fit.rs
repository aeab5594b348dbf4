//! Slopes on logarithmic axes, with intervals over seeds.

use graftage::statistics::mean;
use serde::{Deserialize, Serialize};

/// A number and the half width of its 95 % interval over seeds. The interval does not cover the bias of a finite range.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Estimate {
    /// Number.
    pub value: f64,
    /// Half width of the interval; `None` if unknown.
    pub interval: Option<f64>,
}

impl Estimate {
    /// Creates an estimate with a known interval.
    pub const fn new(value: f64, interval: f64) -> Self {
        Self { value, interval: Some(interval) }
    }

    /// Creates an estimate without an interval.
    pub const fn exact(value: f64) -> Self {
        Self { value, interval: None }
    }

    /// Returns whether the two intervals meet. They are widened by the rounding error of a number given with three
    /// decimals.
    pub fn meets(&self, other: &Self) -> bool {
        let reach = self.interval.unwrap_or(0.0) + other.interval.unwrap_or(0.0);
        (self.value - other.value).abs() <= reach + 5e-4
    }
}

/// Returns the median; NaN for no values.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half), values.len() % 2) {
        (Some(upper), 0) => (values[half - 1] + upper) / 2.0,
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

/// A line on logarithmic axes: ln y = height + slope·ln x.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PowerLaw {
    /// Exponent.
    pub slope: f64,
    /// Value of ln y at x = 1.
    pub height: f64,
}

impl PowerLaw {
    /// Fits a line to (ln x, ln y) by least squares; NaN for fewer than two points.
    pub fn fit(points: &[(f64, f64)]) -> Self {
        let logarithms = || points.iter().map(|(x, y)| (x.ln(), y.ln()));
        let (x, y) = (mean(logarithms().map(|point| point.0)), mean(logarithms().map(|point| point.1)));
        let products =
            logarithms().fold((0.0, 0.0), |(xy, xx), (a, b)| (xy + (a - x) * (b - y), xx + (a - x) * (a - x)));
        let slope = products.0 / products.1;
        Self { slope, height: y - slope * x }
    }

    /// Returns the line with a given slope through the centre of the points.
    pub fn through(points: &[(f64, f64)], slope: f64) -> Self {
        let height = mean(points.iter().map(|(x, y)| y.ln() - slope * x.ln()));
        Self { slope, height }
    }

    /// Returns y at x.
    pub fn at(self, x: f64) -> f64 {
        (self.height + self.slope * x.ln()).exp()
    }
}

/// Computes a statistic of all seeds with its jackknife interval (Efron and Stein 1981): t√((n−1)/n Σᵢ(sᵢ − s̄)²),
/// where sᵢ is the statistic without seed i and t the quantile of Student's law with n − 1 degrees of freedom. For a
/// mean it is the usual interval.
///
/// `statistic` receives the indices of the seeds to include.
pub fn jackknife(seeds: usize, statistic: impl Fn(&[usize]) -> f64) -> Estimate {
    let all: Vec<usize> = (0..seeds).collect();
    let value = statistic(&all);
    if seeds < 2 {
        return Estimate::exact(value);
    }
    let without = |left: usize| statistic(&all.iter().copied().filter(|seed| *seed != left).collect::<Vec<_>>());
    let others: Vec<f64> = (0..seeds).map(without).collect();
    let centre = mean(others.iter().copied());
    let n = seeds as f64;
    let variance = (n - 1.0) / n * others.iter().map(|other| (other - centre).powi(2)).sum::<f64>();
    Estimate::new(value, student(n - 1.0) * variance.sqrt())
}

/// Returns the 0.975 quantile of Student's law by the Cornish–Fisher expansion. With three degrees of freedom or more
/// it is accurate to 1 %.
fn student(degrees: f64) -> f64 {
    let z = 1.959_964f64;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

/// Returns the minimum (x, y), within the range of the points, of the least-squares polynomial of degree 4 in (ln x, ln
/// y).
pub fn smallest(points: &[(f64, f64)]) -> (f64, f64) {
    const COEFFICIENTS: usize = 5;
    let centre = mean(points.iter().map(|point| point.0.ln()));
    let reach = points.iter().map(|point| (point.0.ln() - centre).abs()).fold(0.0, f64::max);
    // Normal equations in powers of u, |u| ≤ 1, as rows with their right side.
    let mut rows = [[0.0; COEFFICIENTS + 1]; COEFFICIENTS];
    for (x, y) in points {
        let u = (x.ln() - centre) / reach;
        for (i, row) in rows.iter_mut().enumerate() {
            for (j, entry) in row.iter_mut().enumerate() {
                *entry += u.powi(i as i32) * if j < COEFFICIENTS { u.powi(j as i32) } else { y.ln() };
            }
        }
    }
    // The matrix is symmetric and positive definite, so elimination needs no pivoting.
    for pivot in 0..COEFFICIENTS {
        let row = rows[pivot];
        for (i, other) in rows.iter_mut().enumerate() {
            if i != pivot {
                let factor = other[pivot] / row[pivot];
                other.iter_mut().zip(row).for_each(|(entry, above)| *entry -= factor * above);
            }
        }
    }
    let value = |u: f64| (0..COEFFICIENTS).rev().fold(0.0, |sum, i| sum * u + rows[i][COEFFICIENTS] / rows[i][i]);
    const GRID: i32 = 4000;
    let places = (-GRID..=GRID).map(|i| f64::from(i) / f64::from(GRID));
    let best = places.fold((0.0, f64::INFINITY), |best, u| if value(u) < best.1 { (u, value(u)) } else { best });
    ((centre + reach * best.0).exp(), best.1.exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_is_found() {
        let points: Vec<_> = [1.0, 3.0, 10.0, 40.0].map(|x: f64| (x, 2.0 * x.powf(-0.25))).into();
        let law = PowerLaw::fit(&points);
        assert!((law.slope + 0.25).abs() < 1e-12 && (law.at(7.0) - 2.0 * 7f64.powf(-0.25)).abs() < 1e-12);
        assert!((PowerLaw::through(&points, -0.25).at(5.0) - 2.0 * 5f64.powf(-0.25)).abs() < 1e-12);
    }

    #[test]
    fn a_jackknife_of_a_mean_is_its_usual_interval() {
        // 1, …, 8: mean 4.5, standard deviation √6. 2.364624 is the quantile of Student's law with 7 degrees of
        // freedom.
        let found = jackknife(8, |seeds| mean(seeds.iter().map(|seed| *seed as f64 + 1.0)));
        assert_eq!(found.value, 4.5);
        let expected = 2.364_624 * (6.0f64 / 8.0).sqrt();
        assert!((found.interval.unwrap() - expected).abs() < 1e-3 * expected, "{found:?} {expected}");
        assert_eq!(jackknife(1, |_| 3.0), Estimate::exact(3.0));
    }

    #[test]
    fn a_minimum_is_found() {
        // ln y = (ln x − 1)⁴ + (ln x − 1)² + 2, with its minimum at x = e.
        let points: Vec<_> = (-4..=6)
            .map(|i| f64::from(i) / 2.0)
            .map(|u| (u.exp(), ((u - 1.0).powi(4) + (u - 1.0).powi(2) + 2.0).exp()))
            .collect();
        let (x, y) = smallest(&points);
        assert!((x.ln() - 1.0).abs() < 2e-3 && (y.ln() - 2.0).abs() < 1e-5, "{x} {y}");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}
