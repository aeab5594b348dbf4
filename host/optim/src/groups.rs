//! Which norm, radius and step size each parameter of a model gets: by patterns of names, else by its name and shape.

use super::{Error, Result};
use graftage_core::norm::Norm;
use graftage_core::scion::{Geometry, Role};
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

/// A parameter for which a group is to be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter<'a> {
    /// Its name, e.g. `layers.0.weight`.
    pub name: &'a str,
    /// The size of its tensor.
    pub size: &'a [i64],
    /// Whether it is the last parameter with two dimensions or more: the head.
    pub last: bool,
}

impl Parameter<'_> {
    /// The matrix as which it is stepped: a vector is one row; of more than two dimensions all but the first are columns.
    pub fn shape(&self) -> (usize, usize) {
        match *self.size {
            [] => (1, 1),
            [n] => (1, n as usize),
            [m, ref rest @ ..] => (m as usize, rest.iter().product::<i64>() as usize),
        }
    }

    /// What it is for, by its dimensions: a vector is a bias, or a gain where its name has `gain` or `norm` in it; what has
    /// more than two is a convolution's.
    pub fn role(&self) -> Role {
        match *self.size {
            [] | [_] if self.name.contains("gain") || self.name.contains("norm") => Role::Gain,
            [] | [_] => Role::Bias,
            [_, _] => Role::Weights,
            [_, _, ref kernel @ ..] => Role::Convolution { taps: kernel.iter().product::<i64>() as u32 },
        }
    }

    /// What it gets where no group says otherwise.
    ///
    /// | parameter | norm | radius |
    /// |---|---|---|
    /// | vector | RMS | 1 |
    /// | table whose name has `embed` in it | embedding column: every word by itself | 1 |
    /// | the head: the last matrix | sign | 10 |
    /// | convolution, flattened to outputs × (inputs · taps) | convolution | 3 |
    /// | any other matrix | spectral | 3 |
    pub fn usual(&self) -> Geometry {
        match self.role() {
            Role::Weights if self.name.contains("embed") => Geometry { norm: Norm::EmbeddingColumn, radius: 1.0 },
            role => Geometry::usual(role, self.last),
        }
    }
}

/// What the parameters get whose names fit a pattern. What it leaves open is [`Parameter::usual`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Of names: `*` stands for any characters, `?` for one.
    pub pattern: String,
    /// The norm.
    #[serde(default)]
    pub norm: Option<Norm>,
    /// The radius ρ.
    #[serde(default)]
    pub radius: Option<f32>,
    /// What the step size η is multiplied by, finite and > 0; the rule's step size is that of 1.
    #[serde(default = "one")]
    pub step: f32,
    /// Whether the parameters stay as they are.
    #[serde(default)]
    pub freeze: bool,
}

fn one() -> f32 {
    1.0
}

impl Group {
    /// A group that leaves all open.
    pub fn new(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), norm: None, radius: None, step: 1.0, freeze: false }
    }

    /// With this norm and radius.
    pub fn geometry(self, Geometry { norm, radius }: Geometry) -> Self {
        Self { norm: Some(norm), radius: Some(radius), ..self }
    }

    fn matches(&self, name: &str) -> bool {
        WildMatch::new(&self.pattern).matches(name)
    }

    fn settings(&self, parameter: &Parameter) -> Settings {
        let usual = parameter.usual();
        let geometry = Geometry { norm: self.norm.unwrap_or(usual.norm), radius: self.radius.unwrap_or(usual.radius) };
        Settings { geometry: if self.freeze { Geometry::FROZEN } else { geometry }, step: self.step }
    }
}

/// What one parameter gets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Settings {
    pub geometry: Geometry,
    /// Factor of the step size.
    pub step: f32,
}

/// Groups of parameters; the first that matches a parameter counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    only: bool,
}

impl Groups {
    /// Each parameter gets what is [usual](Parameter::usual) for its name and shape.
    pub fn automatic() -> Self {
        Self::default()
    }

    /// These groups first, and what is usual for parameters that none of them matches.
    pub fn overriding(groups: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: groups.into_iter().collect(), only: false }
    }

    /// Only these groups: a parameter that none of them matches is an error.
    pub fn only(groups: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: groups.into_iter().collect(), only: true }
    }

    /// The group that counts for a name, if any matches it.
    pub fn find(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.matches(name))
    }

    /// These groups after others, which count first.
    pub fn after(&self, first: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: first.into_iter().chain(self.groups.iter().cloned()).collect(), only: self.only }
    }

    /// Says which group no parameter of a model fits.
    pub(super) fn check<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
        match self.groups.iter().find(|group| !names.clone().any(|name| group.matches(name))) {
            Some(group) => {
                Err(Error::Group { pattern: group.pattern.clone(), names: names.map(str::to_owned).collect() })
            }
            None => Ok(()),
        }
    }

    /// What a parameter gets.
    pub(super) fn settings(&self, parameter: &Parameter) -> Result<Settings> {
        let wrong = |what: String| Err(Error::Parameter { name: parameter.name.to_owned(), what });
        let settings = match self.find(parameter.name) {
            Some(group) => group.settings(parameter),
            None if self.only => return wrong("no group matches it; a last group \"*\" takes all the others".into()),
            None => Settings { geometry: parameter.usual(), step: 1.0 },
        };
        if let Err(refusal) = settings.geometry.check() {
            return wrong(refusal.to_string());
        }
        if !(settings.step.is_finite() && settings.step > 0.0) {
            return wrong(format!("the factor of its step size is {}, not finite and > 0", settings.step));
        }
        Ok(settings)
    }
}
