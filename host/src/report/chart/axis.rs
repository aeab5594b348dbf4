//! Axis of a chart: the range of the data, and round numbers along it.

use super::{Scale, short};

/// Percentage of an axis that stays free at each end, for the width of lines and marks.
const MARGIN: f64 = 2.0;

/// Largest number of parts into which ticks divide an axis: a vertical axis, and one along the data.
const PARTS: (usize, usize) = (5, 8);

/// Number of characters that fit side by side below the narrowest chart, with two spaces between labels.
const ROOM: usize = 36;

/// Rule for the ends of an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Ends of the data. Labels stand side by side.
    Data,
    /// Next round numbers, and 0 if the data come near it. Labels stand above each other.
    Ticks,
}

/// An axis.
pub struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Creates an axis that shows all of these numbers, which the scale must be able to draw; `None` if there are none.
    pub fn new(numbers: &[f64], scale: Scale, ends: Ends) -> Option<Self> {
        let first = *numbers.first()?;
        let (low, high) = numbers.iter().fold((first, first), |(low, high), e| (e.min(low), e.max(high)));
        Some(match scale {
            Scale::Linear => Self::linear(low, high, numbers.iter().all(|e| e.fract() == 0.0), ends),
            Scale::Logarithmic => Self::logarithmic(low, high, ends),
        })
    }

    fn linear(mut low: f64, mut high: f64, whole: bool, ends: Ends) -> Self {
        // Between numbers of nearly the same size there are no round numbers to show.
        let size = high.abs().max(low.abs());
        let alike = high - low <= 1e-4 * size;
        if alike && ends == Ends::Data {
            let (middle, room) = (low / 2.0 + high / 2.0, if size > 0.0 { 1e-4 * size } else { 1.0 });
            let label = if whole { label(middle.round(), 1.0) } else { short(middle).replace('-', "−") };
            return Self { low: low - room, high: high + room, scale: Scale::Linear, ticks: vec![(middle, label)] };
        }
        if ends == Ends::Ticks && low >= 0.0 && (alike || low < 0.5 * high) {
            low = 0.0;
        } else if ends == Ends::Ticks && high <= 0.0 && (alike || high > 0.5 * low) {
            high = 0.0;
        }
        if high - low < 1e-300 {
            (low, high) = (0.0, 1.0);
        }
        let mut ticks = Vec::new();
        let parts = if ends == Ends::Ticks { PARTS.0 } else { PARTS.1 };
        for count in (2..=parts).rev() {
            let step = round_step((high - low) / count as f64);
            let step = if whole && step < 1.0 { 1.0 } else { step };
            let (from, to) = match ends {
                Ends::Data => ((low / step).ceil(), (high / step).floor()),
                Ends::Ticks => ((low / step).floor(), (high / step).ceil()),
            };
            if from > to {
                break;
            }
            ticks = (0..=(to - from) as usize).map(|k| (from + k as f64) * step).map(|e| (e, label(e, step))).collect();
            if ends == Ends::Ticks {
                (low, high) = (from * step, to * step);
                break;
            }
            if fits(&ticks) {
                break;
            }
        }
        if ends == Ends::Data && !fits(&ticks) {
            ticks.truncate(1);
        }
        Self { low, high, scale: Scale::Linear, ticks }
    }

    fn logarithmic(low: f64, high: f64, ends: Ends) -> Self {
        let room = if ends == Ends::Ticks { 0.04 } else { 0.0 };
        let room = (high / low).min(1e300).powf(room).max(1.02);
        let (low, high) = ((low / room).max(1e-302), (high * room).min(1e302));
        let mut ticks: Vec<_> = round_numbers(low, high).into_iter().map(|e| (e, short(e))).collect();
        while ends == Ends::Data && !fits(&ticks) || ticks.len() > 2 * PARTS.0 {
            let mut index = 0;
            ticks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        Self { low, high, scale: Scale::Logarithmic, ticks }
    }

    /// Returns the position of a number, in percent of the axis.
    pub fn place(&self, number: f64) -> f64 {
        let share = match self.scale {
            // Halves, because the difference of the largest numbers overflows.
            Scale::Linear => (number / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0),
            Scale::Logarithmic => (number.ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
        };
        MARGIN + (100.0 - 2.0 * MARGIN) * share
    }

    /// Returns the ticks as (position in percent, label).
    pub fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().map(|(number, label)| (self.place(*number), label.as_str()))
    }
}

/// Returns `true` if the labels fit side by side; a single label always fits.
fn fits(ticks: &[(f64, String)]) -> bool {
    let longest = ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
    ticks.len() <= 1 || ticks.len() * (longest + 2) <= ROOM
}

/// Returns the smallest of 1, 2 and 5 times a power of ten that is not below `least`, which is above 0.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let multiples = [1.0, 2.0, 5.0, 10.0].map(|multiple| multiple * power);
    multiples.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Formats a multiple of a step with enough digits to distinguish it from its neighbours.
fn label(number: f64, step: f64) -> String {
    let digits = |size: f64| size.log10().floor();
    let text = if number == 0.0 {
        "0".to_owned()
    } else if step >= 1e-4 && number.abs() < 1e7 {
        format!("{number:.*}", (-digits(step * 1.000_001)).max(0.0) as usize)
    } else {
        let digits = (digits(number.abs() * 1.000_001) - digits(step * 1.000_001)).max(0.0);
        format!("{number:.*e}", digits as usize)
    };
    text.replace('-', "−")
}

/// Returns round numbers in a range, three or more if possible: powers of ten in a wide range, with multiples in
/// between in a narrower one.
fn round_numbers(low: f64, high: f64) -> Vec<f64> {
    let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let candidates = |multiples: &[f64]| -> Vec<f64> {
        let all = decades.clone().flat_map(|power| multiples.iter().map(move |m| m * 10f64.powi(power)));
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let sets: [&[f64]; 5] = [
        &[1.0],
        &[1.0, 3.0],
        &[1.0, 2.0, 5.0],
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8, 3.0, 3.3, 3.6, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0],
    ];
    let found = sets.iter().map(|multiples| candidates(multiples)).find(|ticks| ticks.len() >= 3);
    found.unwrap_or_else(|| vec![low.sqrt() * high.sqrt()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(numbers: &[f64], ends: Ends) -> Vec<String> {
        let axis = Axis::new(numbers, Scale::Linear, ends).unwrap();
        assert!(numbers.iter().all(|number| (0.0..=100.0).contains(&axis.place(*number))), "{numbers:?}");
        axis.ticks().map(|(_, label)| label.to_owned()).collect()
    }

    #[test]
    fn an_axis_of_heights_ends_at_round_numbers_and_begins_at_0_where_the_data_come_near() {
        assert_eq!(labels(&[10.0, 97.0], Ends::Ticks), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&[91.5, 97.0], Ends::Ticks), ["90", "92", "94", "96", "98"]);
        assert_eq!(labels(&[-0.3, 0.25], Ends::Ticks), ["−0.4", "−0.2", "0", "0.2", "0.4"]);
        assert_eq!(labels(&[100.0], Ends::Ticks), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&[0.0], Ends::Ticks), ["0", "1"]);
        assert_eq!(labels(&[3e-7], Ends::Ticks), ["0", "1e−7", "2e−7", "3e−7"]);
    }

    #[test]
    fn an_axis_along_the_data_begins_and_ends_with_them() {
        assert_eq!(labels(&[150.0, 10_000.0], Ends::Data), ["2000", "4000", "6000", "8000", "10000"]);
        assert_eq!(labels(&[-8.0, 3.0], Ends::Data), ["−8", "−6", "−4", "−2", "0", "2"]);
        assert_eq!(labels(&[1.0, 3.0], Ends::Data), ["1", "2", "3"]);
        assert_eq!(labels(&[-9.5, -3.5], Ends::Data), ["−9", "−8", "−7", "−6", "−5", "−4"]);
        assert_eq!(labels(&[1_957_030.0, 1_957_040.0], Ends::Data), ["1957035"]);
        assert_eq!(labels(&[7.0], Ends::Data), ["7"]);
        assert_eq!(labels(&[-5.5], Ends::Data), ["−5.5"]);
        let axis = Axis::new(&[150.0, 10_000.0], Scale::Linear, Ends::Data).unwrap();
        assert_eq!((axis.place(150.0), axis.place(10_000.0)), (MARGIN, 100.0 - MARGIN));
    }

    #[test]
    fn labels_beside_each_other_have_room() {
        let ranges =
            [(0.0, 1.0), (0.0, 1e6), (0.0, 1e9), (1e-9, 2e-9), (1e300, 1e301), (-1e300, 1e300), (5e-324, 1e-310)];
        for (low, high) in ranges {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                if scale == Scale::Logarithmic && low < 1e-300 {
                    continue;
                }
                let axis = Axis::new(&[low, high], scale, Ends::Data).unwrap();
                let length: usize = axis.ticks().map(|(_, label)| label.chars().count() + 2).sum();
                assert!(length <= ROOM && axis.ticks().next().is_some(), "{low} to {high}: {length}");
                assert!(axis.ticks().all(|(place, _)| (0.0..=100.0).contains(&place)), "{low} to {high}");
            }
        }
    }
}
