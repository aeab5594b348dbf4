//! Feature normalisation, learnt from the training part and applied to all samples.

use super::Samples;
use crate::error::{Error, Result};
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::Path;

/// Method of feature normalisation.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Normalise {
    /// No normalisation.
    #[default]
    None,
    /// Division by this number.
    Divide(f32),
    /// Mean 0 and standard deviation 1 over all features together.
    Overall,
    /// Mean 0 and standard deviation 1 for each feature separately.
    Features,
    /// [`Normalise::Overall`], then clipping at this many deviations on either side.
    OverallClipped(f32),
    /// [`Normalise::Features`], then clipping at this many deviations on either side.
    FeaturesClipped(f32),
}

/// Largest change that binary32 may make to a normalised value of the training part.
const MOVED: f64 = 1e-3;

impl Normalise {
    /// Returns `true` if a mean is learnt, which then replaces missing values.
    pub(super) fn fills(self) -> bool {
        !matches!(self, Self::None | Self::Divide(_))
    }

    /// Number of deviations at which values are clipped, if any.
    fn clip(self) -> Option<f32> {
        match self {
            Self::OverallClipped(clip) | Self::FeaturesClipped(clip) => Some(clip),
            _ => None,
        }
    }

    /// Checks the scale and the clip.
    ///
    /// # Errors
    /// If one of them is not finite and > 0.
    pub(super) fn check(self) -> Result<()> {
        let scale = if let Self::Divide(scale) = self { scale } else { 1.0 };
        Normalisation { clip: self.clip(), ..Normalisation::division(scale) }.check(1)
    }

    /// Learns a normalisation from the training part, in binary64. Missing values (NaN) are ignored.
    ///
    /// The deviation of n values with mean μ is σ = √(Σ(x − μ)²/n); a σ of 0 becomes 1. Values, mean and deviation are
    /// rounded to binary32, as on a device. Columns in which this moves a normalised value by more than 1e-3 stay in
    /// binary64: see [`Wide`].
    ///
    /// # Errors
    /// The index of a feature without any value: there is no mean to fill it with.
    pub(super) fn learn(self, train: &Samples<f64>, columns: &[String]) -> std::result::Result<Normalisation, usize> {
        let apart = match self {
            Self::None => return Ok(Self::divided(1.0, train, columns)),
            Self::Divide(scale) => return Ok(Self::divided(scale, train, columns)),
            Self::Overall | Self::OverallClipped(_) => 1,
            Self::Features | Self::FeaturesClipped(_) => train.inputs,
        };
        let (mut rounded, mut exact) = (vec![Moments::default(); apart], vec![Moments::default(); apart]);
        for values in train.features.chunks_exact(apart) {
            for ((x, rounded), exact) in
                values.iter().zip(&mut rounded).zip(&mut exact).filter(|((x, _), _)| !x.is_nan())
            {
                rounded.push(f64::from(*x as f32));
                exact.push(*x);
            }
        }
        if let Some(feature) = exact.iter().position(|moments| moments.count == 0.0) {
            return Err(feature);
        }
        let constants = |moments: &Moments| match (moments.mean as f32, moments.deviation() as f32) {
            (mean, deviation) if mean.is_finite() && deviation.is_finite() => {
                (mean, if deviation == 0.0 { 1.0 } else { deviation })
            }
            // The constants exceed binary32, so every column they apply to is wide.
            _ => (0.0, 1.0),
        };
        let (mean, deviation) = rounded.iter().map(constants).unzip();
        let narrow = Normalisation { mean, deviation, clip: self.clip(), wide: Vec::new() };
        Ok(narrow.widened(train, columns, MOVED, |column| {
            let moments = &exact[column % apart];
            (moments.mean, moments.deviation())
        }))
    }

    /// Creates a division. Binary32 changes a quotient by no more than its own rounding, unless a value is out of its
    /// range.
    fn divided(scale: f32, train: &Samples<f64>, columns: &[String]) -> Normalisation {
        Normalisation::division(scale).widened(train, columns, f64::MAX, |_| (0.0, f64::from(scale)))
    }
}

/// Reads `"features"`, `{ divide = 16.0 }` or `{ features = { clip = 5.0 } }`.
impl<'de> Deserialize<'de> for Normalise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Form;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Clip {
            clip: f32,
        }
        const FORMS: &str = "normalise = \"features\", normalise = \"overall\", normalise = { divide = NUMBER }, \
            normalise = { features = { clip = DEVIATIONS } } or normalise = { overall = { clip = DEVIATIONS } }";
        impl<'de> Visitor<'de> for Form {
            type Value = Normalise;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(FORMS)
            }
            fn visit_str<E: de::Error>(self, word: &str) -> std::result::Result<Normalise, E> {
                match word {
                    "none" => Ok(Normalise::None),
                    "overall" => Ok(Normalise::Overall),
                    "features" => Ok(Normalise::Features),
                    _ => Err(E::custom(format_args!("unknown normalisation {word:?}: write {FORMS}"))),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Normalise, A::Error> {
                let wrong = || de::Error::custom(format_args!("write {FORMS}, above the first table"));
                let read = match map.next_key::<String>()?.as_deref() {
                    Some("divide") => Normalise::Divide(map.next_value()?),
                    Some("overall") => Normalise::OverallClipped(map.next_value::<Clip>().map_err(|_| wrong())?.clip),
                    Some("features") => Normalise::FeaturesClipped(map.next_value::<Clip>().map_err(|_| wrong())?.clip),
                    _ => return Err(wrong()),
                };
                match map.next_entry::<IgnoredAny, IgnoredAny>()? {
                    None => Ok(read),
                    Some(_) => Err(wrong()),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// Writes the form that is read.
impl Serialize for Normalise {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        enum Form {
            None,
            Divide(f32),
            Overall,
            Features,
            #[serde(rename = "overall")]
            OverallClipped {
                clip: f32,
            },
            #[serde(rename = "features")]
            FeaturesClipped {
                clip: f32,
            },
        }
        match *self {
            Self::None => Form::None,
            Self::Divide(scale) => Form::Divide(scale),
            Self::Overall => Form::Overall,
            Self::Features => Form::Features,
            Self::OverallClipped(clip) => Form::OverallClipped { clip },
            Self::FeaturesClipped(clip) => Form::FeaturesClipped { clip },
        }
        .serialize(serializer)
    }
}

/// Running mean and sum of squared distances from it (Welford 1962, "Note on a method for calculating corrected sums of
/// squares and products"). For equal values the sum is exactly 0.
#[derive(Clone, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, x: f64) {
        self.count += 1.0;
        let before = x - self.mean;
        self.mean += before / self.count;
        self.squares += before * (x - self.mean);
    }

    fn deviation(&self) -> f64 {
        match (self.squares / self.count).sqrt() {
            0.0 => 1.0,
            deviation => deviation,
        }
    }
}

/// Normalisation learnt from a training part: x becomes (x − mean)/deviation, in binary32, and is then clipped.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Means: one for all features, or one for each.
    pub mean: Vec<f32>,
    /// Deviations, as many as means.
    pub deviation: Vec<f32>,
    /// Bound c > 0: values above c become c, values below −c become −c.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// Columns that are normalised in binary64 instead, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wide: Vec<Wide>,
}

/// A column whose values binary32 cannot resolve well enough, such as a time in milliseconds since 1970. Here x becomes
/// (x − mean)/deviation in binary64 and is then rounded. It cannot be used on a device, which receives only binary32.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wide {
    /// Index among the features, from 0.
    pub column: usize,
    /// Column name, or the index if it has none.
    pub name: String,
    /// Mean.
    pub mean: f64,
    /// Deviation.
    pub deviation: f64,
    /// Largest change that binary32 would make to a normalised value of the training part; `None` if a value exceeds
    /// its range.
    pub moved: Option<f64>,
}

impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = &self.name;
        match self.moved {
            Some(moved) => write!(f, "column {name:?}: rounding to binary32 changes it by up to {moved:.2} deviations"),
            None => write!(f, "column {name:?}: its numbers are too large for binary32"),
        }
    }
}

impl Normalisation {
    /// Creates a pure division by `scale`.
    pub(super) fn division(scale: f32) -> Self {
        Self { mean: vec![0.0], deviation: vec![scale], ..Self::default() }
    }

    /// Adds the columns in which binary32 moves a value by more than `most` as wide. `exact` returns a column's mean
    /// and deviation.
    fn widened(
        mut self,
        train: &Samples<f64>,
        columns: &[String],
        most: f64,
        exact: impl Fn(usize) -> (f64, f64),
    ) -> Self {
        let apart = self.mean.len();
        let mut moved = vec![0f64; train.inputs];
        for values in train.features.chunks_exact(train.inputs.max(1)) {
            for (column, (x, moved)) in values.iter().zip(&mut moved).enumerate().filter(|(_, (x, _))| !x.is_nan()) {
                let at = column % apart;
                let narrow = f64::from((*x as f32 - self.mean[at]) / self.deviation[at]);
                let (mean, deviation) = exact(column);
                let distance = (narrow - (x - mean) / deviation).abs();
                *moved = if distance.is_nan() { f64::INFINITY } else { moved.max(distance) };
            }
        }
        for (column, moved) in moved.into_iter().enumerate().filter(|(_, moved)| *moved > most) {
            let (mean, deviation) = exact(column);
            let name = columns.get(column).cloned().unwrap_or_else(|| column.to_string());
            self.wide.push(Wide { column, name, mean, deviation, moved: moved.is_finite().then_some(moved) });
        }
        self
    }

    /// Checks that the normalisation can be applied to samples of `inputs` features.
    ///
    /// # Errors
    /// If the numbers of means and deviations are neither one nor `inputs`, a mean is not finite, a deviation or the
    /// clip is not finite and > 0, or a wide column does not exist.
    pub fn check(&self, inputs: usize) -> Result<()> {
        let (means, deviations) = (self.mean.len(), self.deviation.len());
        if means != deviations || (means != 1 && means != inputs) {
            let what = format!("found {means} means and {deviations} deviations for samples of {inputs} features");
            return Err(Error::Usage(format!("normalisation: {what}")));
        }
        if let Some(wide) = self.wide.iter().find(|wide| wide.column >= inputs) {
            let what = format!("there is no column {} in samples of {inputs} features", wide.column);
            return Err(Error::Usage(format!("normalisation: {what}")));
        }
        let means = self.mean.iter().copied().map(f64::from).chain(self.wide.iter().map(|wide| wide.mean));
        if let Some(mean) = means.into_iter().find(|mean| !mean.is_finite()) {
            return Err(Error::Usage(format!("normalisation: the mean {mean} is not finite")));
        }
        let positive = self.deviation.iter().chain(&self.clip).copied().map(f64::from);
        let mut positive = positive.chain(self.wide.iter().map(|wide| wide.deviation));
        match positive.find(|number| !(number.is_finite() && *number > 0.0)) {
            Some(number) => Err(Error::Usage(format!(
                "normalisation: every divisor and clip must be finite and > 0, found {number}"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses columns that binary32 cannot hold, since a device receives binary32.
    ///
    /// # Errors
    /// If there are wide columns; the message names them and the remedy.
    pub fn check_binary32(&self) -> Result<()> {
        let wide: Vec<_> = self.wide.iter().map(ToString::to_string).collect();
        if wide.is_empty() {
            return Ok(());
        }
        let what = "a device takes binary32: subtract an offset in the file and train again, or ignore the column";
        Err(Error::Usage(format!("{}; {what}", wide.join("; "))))
    }

    fn clipped(&self, x: f64) -> f64 {
        match self.clip.map(f64::from) {
            Some(clip) if x > clip => clip,
            Some(clip) if x < -clip => -clip,
            _ => x,
        }
    }

    /// Clips samples that are already scaled, if this normalisation clips.
    pub fn clip(&self, samples: &mut Samples) {
        if self.clip.is_some() {
            samples.features.iter_mut().for_each(|x| *x = self.clipped(f64::from(*x)) as f32);
        }
    }

    /// Normalises samples that [`Normalisation::check`] accepts. A missing value (NaN) becomes the mean, and thus 0.
    /// `path` and `columns` are used in the error message.
    ///
    /// # Errors
    /// If a normalised value still exceeds binary32.
    pub(super) fn apply(&self, path: &Path, columns: &[String], raw: &Samples<f64>) -> Result<Samples> {
        let apart = self.mean.len().max(1);
        let mut wide = vec![None; raw.inputs];
        self.wide.iter().for_each(|column| wide[column.column] = Some(column));
        let mut features = Vec::with_capacity(raw.features.len());
        for values in raw.features.chunks_exact(raw.inputs.max(1)) {
            for (column, (x, wide)) in values.iter().zip(&wide).enumerate() {
                let at = column % apart;
                let scaled = match wide {
                    _ if x.is_nan() => 0.0,
                    None => f64::from((*x as f32 - self.mean[at]) / self.deviation[at]),
                    Some(Wide { mean, deviation, .. }) => (x - mean) / deviation,
                };
                let scaled = self.clipped(scaled) as f32;
                if !scaled.is_finite() {
                    let name = columns.get(column).cloned().unwrap_or_else(|| column.to_string());
                    let what = format!(
                        "column {name:?}: {x:?} is too large for binary32 even when normalised: correct it, or ignore the column"
                    );
                    return Err(Error::content(path, what));
                }
                features.push(scaled);
            }
        }
        Ok(Samples { inputs: raw.inputs, features, labels: raw.labels.clone() })
    }

    /// Converts normalised samples back to their original units, up to rounding. A value that was missing becomes the
    /// mean; one that was clipped stays at the clip.
    ///
    /// # Errors
    /// Same as [`Normalisation::check_binary32`].
    pub fn undo(&self, samples: &Samples) -> Result<Samples> {
        self.check_binary32()?;
        let mut raw = samples.clone();
        for values in raw.features.chunks_exact_mut(self.mean.len().max(1)) {
            for ((x, mean), deviation) in values.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *x = *x * deviation + mean;
            }
        }
        Ok(raw)
    }

    /// Returns the divisor if the normalisation is a pure division: no mean, no clip and no wide columns.
    pub fn scale(&self) -> Option<f32> {
        match (&self.mean[..], &self.deviation[..], self.clip, &self.wide[..]) {
            ([0.0], [scale], None, []) => Some(*scale),
            _ => None,
        }
    }
}
