//! Counts of samples by true and predicted class.

use crate::data::Samples;
use graftage_core::network::Prediction;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Maximum length of a class name in a text table, in characters; a longer one ends in an ellipsis.
const NAME: usize = 32;

/// Counts of samples by true and predicted class.
///
/// JSON form: `{"classes": ["oak", "lime"], "counts": [[0, 1, 3]]}` means that three samples of `oak` were predicted as
/// `lime`. Pairs that did not occur are omitted, so that a thousand classes do not take a million numbers. A class
/// without a name is called by its number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Confusion {
    classes: Vec<String>,
    counts: BTreeMap<(u32, u32), u64>,
}

/// JSON form of [`Confusion`].
#[derive(Serialize, Deserialize)]
struct Stored {
    classes: Vec<String>,
    counts: Vec<(u32, u32, u64)>,
}

impl From<Stored> for Confusion {
    fn from(Stored { classes, counts }: Stored) -> Self {
        let mut confusion = Self::new(classes);
        counts.into_iter().for_each(|(class, predicted, count)| confusion.add_many(class, predicted, count));
        confusion
    }
}

impl From<Confusion> for Stored {
    fn from(Confusion { classes, counts }: Confusion) -> Self {
        Self {
            classes,
            counts: counts.into_iter().map(|((class, predicted), count)| (class, predicted, count)).collect(),
        }
    }
}

/// Number of samples of a class, and of those predicted correctly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ByClass {
    /// Number of the class.
    pub class: u32,
    /// Name of the class.
    pub name: String,
    /// Number of samples of the class.
    pub samples: u64,
    /// Number of these that were predicted correctly.
    pub right: u64,
}

impl ByClass {
    /// Share of correct predictions; NaN if there are no samples.
    pub fn accuracy(&self) -> f32 {
        share(self.right, self.samples)
    }
}

/// A kind of mistake and its frequency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Number of the true class.
    pub class: u32,
    /// Number of the predicted class.
    pub predicted: u32,
    /// Number of such samples.
    pub count: u64,
}

impl Confusion {
    /// Creates empty counts for classes with these names, indexed by class number.
    pub fn new(classes: Vec<String>) -> Self {
        Self { classes, counts: BTreeMap::new() }
    }

    /// Counts the predictions for samples.
    ///
    /// # Errors
    /// The first error of `predict`; the remaining samples are then skipped.
    pub fn of<E>(
        samples: &Samples,
        classes: Vec<String>,
        mut predict: impl FnMut(&[f32]) -> Result<Prediction, E>,
    ) -> Result<Self, E> {
        let mut confusion = Self::new(classes);
        for (input, class) in samples.iter() {
            confusion.add(class, predict(input)?.class);
        }
        Ok(confusion)
    }

    /// Counts a sample of class `class` that was predicted as `predicted`.
    pub fn add(&mut self, class: u32, predicted: u32) {
        self.add_many(class, predicted, 1);
    }

    fn add_many(&mut self, class: u32, predicted: u32, count: u64) {
        let counted = self.counts.entry((class, predicted)).or_default();
        *counted = counted.saturating_add(count);
    }

    /// Number of samples of `class` that were predicted as `predicted`.
    pub fn count(&self, class: u32, predicted: u32) -> u64 {
        self.counts.get(&(class, predicted)).copied().unwrap_or(0)
    }

    /// Name of a class, or its number if it has no name.
    pub fn name(&self, class: u32) -> String {
        self.classes.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }

    /// Total number of samples.
    pub fn samples(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Share of correct predictions; NaN if there are no samples.
    pub fn accuracy(&self) -> f32 {
        let right = self.counts.iter().filter(|((class, predicted), _)| class == predicted);
        share(right.fold(0, |sum, (_, count)| sum.saturating_add(*count)), self.samples())
    }

    /// Counts of every class that has a name or occurs, ordered by class number.
    pub fn by_class(&self) -> Vec<ByClass> {
        let named = 0..self.classes.len() as u32;
        let classes: BTreeSet<u32> =
            named.chain(self.counts.keys().flat_map(|(class, predicted)| [*class, *predicted])).collect();
        let all = classes.into_iter().map(|class| {
            let of = self.counts.range((class, 0)..=(class, u32::MAX));
            let samples = of.fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
            ByClass { class, name: self.name(class), samples, right: self.count(class, class) }
        });
        all.collect()
    }

    /// All mistakes, the most frequent first.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let wrong = self.counts.iter().filter(|((class, predicted), count)| class != predicted && **count > 0);
        let mut mistakes: Vec<_> = wrong
            .map(|((class, predicted), count)| Mistake { class: *class, predicted: *predicted, count: *count })
            .collect();
        mistakes.sort_by_key(|mistake| std::cmp::Reverse(mistake.count));
        mistakes
    }

    /// Formats a table for the terminal: classes with samples, and a last line with the total.
    pub fn table(&self) -> String {
        let rows = self
            .by_class()
            .into_iter()
            .filter(|class| class.samples > 0)
            .map(|class| (class.name.clone(), class.samples, vec![percent(class.accuracy())]));
        columns(&["correct"], rows, ("all".into(), self.samples(), vec![percent(self.accuracy())]))
    }

    /// Formats a table for the terminal: for each class with samples, the share of correct predictions `before` and
    /// `after`, and the difference in percentage points. Classes are matched by number. Names and sample counts are
    /// those of `after`, or of `before` if `after` has none.
    pub fn comparison(before: &Self, after: &Self) -> String {
        let rows = pairs(before, after).into_iter().map(|Compared { before, after }| {
            let shares = shares(before.accuracy(), after.accuracy());
            let class = if after.samples > 0 { after } else { before };
            (class.name, class.samples, shares)
        });
        let all = ("all".into(), before.samples().max(after.samples()), shares(before.accuracy(), after.accuracy()));
        columns(&["before", "after", "points"], rows, all)
    }
}

/// Counts of the same samples before and after a change of the network.
#[derive(Debug)]
pub struct Compared<T> {
    /// Counts before.
    pub before: T,
    /// Counts after.
    pub after: T,
}

/// Pairs the counts of each class before and after. Only classes with samples in at least one are included.
pub fn pairs(before: &Confusion, after: &Confusion) -> Vec<Compared<ByClass>> {
    let of = |confusion: &Confusion| -> BTreeMap<u32, ByClass> {
        confusion.by_class().into_iter().map(|class| (class.class, class)).collect()
    };
    let (mut before, mut after) = (of(before), of(after));
    let classes: BTreeSet<u32> = before.keys().chain(after.keys()).copied().collect();
    let empty = |class: u32, name: &str| ByClass { class, name: name.to_owned(), samples: 0, right: 0 };
    let all = classes.into_iter().filter_map(|class| match (before.remove(&class), after.remove(&class)) {
        (Some(before), Some(after)) => Some(Compared { before, after }),
        (Some(before), None) => Some(Compared { after: empty(class, &before.name), before }),
        (None, Some(after)) => Some(Compared { before: empty(class, &after.name), after }),
        (None, None) => None,
    });
    all.filter(|Compared { before, after }| before.samples > 0 || after.samples > 0).collect()
}

fn share(right: u64, samples: u64) -> f32 {
    (right as f64 / samples as f64) as f32
}

fn shares(before: f32, after: f32) -> Vec<String> {
    let points = 100.0 * (after - before);
    vec![percent(before), percent(after), if points.is_finite() { format!("{points:+.1}") } else { "–".into() }]
}

fn percent(share: f32) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share) } else { "–".into() }
}

/// Formats lines of a name, a number of samples and further cells, with a heading and a last line for the total.
fn columns(
    heads: &[&str],
    rows: impl Iterator<Item = (String, u64, Vec<String>)>,
    all: (String, u64, Vec<String>),
) -> String {
    let rows: Vec<_> = rows.chain([all]).map(|(name, samples, cells)| (cut(&name, NAME), samples, cells)).collect();
    let wide = rows.iter().map(|row| row.0.chars().count()).fold("class".len(), usize::max);
    let mut text = format!("{:<wide$}  {:>7}", "class", "samples");
    for head in heads {
        // Writing to a string cannot fail.
        let _ = write!(text, "  {head:>7}");
    }
    for (name, samples, cells) in rows {
        let _ = write!(text, "\n{name:<wide$}  {samples:>7}");
        for cell in cells {
            let _ = write!(text, "  {cell:>7}");
        }
    }
    text
}

/// Shortens a name to at most `most` characters, with an ellipsis for the rest. Control characters become blanks.
pub(crate) fn cut(name: &str, most: usize) -> String {
    let mut letters: Vec<char> = name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if letters.len() > most {
        letters.truncate(most - 1);
        letters.push('…');
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pairs: &[(u32, u32, u64)]) -> Confusion {
        let mut confusion = Confusion::new(vec!["oak".into(), "lime".into(), "elm".into()]);
        for (class, predicted, count) in pairs {
            (0..*count).for_each(|_| confusion.add(*class, *predicted));
        }
        confusion
    }

    #[test]
    fn every_sample_is_counted_where_it_belongs() {
        let confusion = counted(&[(0, 0, 3), (0, 1, 1), (1, 1, 2), (1, 0, 4), (7, 0, 1)]);
        let found: Vec<_> = confusion.by_class().into_iter().map(|c| (c.name, c.samples, c.right)).collect();
        let expected = [("oak", 4, 3), ("lime", 6, 2), ("elm", 0, 0), ("7", 1, 0)];
        assert_eq!(found, expected.map(|(name, samples, right)| (name.to_owned(), samples, right)));
        assert_eq!((confusion.samples(), confusion.accuracy()), (11, 5.0 / 11.0));
        let mistakes: Vec<_> = confusion.mistakes().into_iter().map(|m| (m.class, m.predicted, m.count)).collect();
        assert_eq!(mistakes, [(1, 0, 4), (0, 1, 1), (7, 0, 1)]);
        assert!(Confusion::default().accuracy().is_nan());
    }

    #[test]
    fn counts_are_read_again_as_they_were_written() {
        let confusion = counted(&[(0, 0, 3), (0, 1, 1)]);
        let json = serde_json::to_value(&confusion).unwrap();
        assert_eq!(json, serde_json::json!({ "classes": ["oak", "lime", "elm"], "counts": [[0, 0, 3], [0, 1, 1]] }));
        assert_eq!(serde_json::from_value::<Confusion>(json).unwrap(), confusion);
        let far = r#"{ "classes": [], "counts": [[4294967295, 0, 18446744073709551615], [4294967295, 0, 1]] }"#;
        assert_eq!(serde_json::from_str::<Confusion>(far).unwrap().by_class().len(), 2);
    }

    #[test]
    fn tables_say_it_class_by_class() {
        let before = counted(&[(0, 0, 1), (0, 1, 3), (1, 1, 2)]);
        let expected =
            "class  samples  correct\noak          4   25.0 %\nlime         2  100.0 %\nall          6   50.0 %";
        assert_eq!(before.table(), expected);
        let after = counted(&[(0, 0, 3), (0, 1, 1), (1, 1, 1), (1, 2, 1), (2, 2, 1)]);
        let expected = [
            "class  samples   before    after   points",
            "oak          4   25.0 %   75.0 %    +50.0",
            "lime         2  100.0 %   50.0 %    -50.0",
            "elm          1        –  100.0 %        –",
            "all          7   50.0 %   71.4 %    +21.4",
        ];
        assert_eq!(Confusion::comparison(&before, &after).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_long_name_does_not_push_the_numbers_away() {
        let mut confusion = Confusion::new(vec!["x".repeat(100)]);
        confusion.add(0, 0);
        assert!(confusion.table().lines().all(|line| line.chars().count() == 32 + 9 + 9));
    }
}
