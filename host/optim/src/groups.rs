//! Norm, radius and step factor of each parameter: set by name patterns, otherwise derived from name and shape.

use super::{Error, Result};
use graftage_core::norm::Norm;
use graftage_core::scion::{Geometry, Role};
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

/// A parameter for which a group is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter<'a> {
    /// Name, e.g. `layers.0.weight`.
    pub name: &'a str,
    /// Size of its tensor.
    pub size: &'a [i64],
    /// True if it is the last parameter with two or more dimensions: the head.
    pub last: bool,
}

impl Parameter<'_> {
    /// Returns the shape (rows, columns) of the matrix in which it is stepped. A vector is one row. All dimensions but
    /// the first become columns.
    pub fn shape(&self) -> (usize, usize) {
        match *self.size {
            [] => (1, 1),
            [n] => (1, n as usize),
            [m, ref rest @ ..] => (m as usize, rest.iter().product::<i64>() as usize),
        }
    }

    /// Returns its role, derived from its dimensions. A vector is a bias, or a gain if its name contains `gain` or
    /// `norm`. A tensor with more than two dimensions belongs to a convolution.
    pub fn role(&self) -> Role {
        match *self.size {
            [] | [_] if self.name.contains("gain") || self.name.contains("norm") => Role::Gain,
            [] | [_] => Role::Bias,
            [_, _] => Role::Weights,
            [_, _, ref kernel @ ..] => Role::Convolution { taps: kernel.iter().product::<i64>() as u32 },
        }
    }

    /// Returns its geometry if no group sets another one.
    ///
    /// | parameter | norm | radius |
    /// |---|---|---|
    /// | vector | RMS | 1 |
    /// | table whose name contains `embed` | embedding column: every word by itself | 1 |
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

/// Settings of the parameters whose names match a pattern. Settings left open are taken from [`Parameter::usual`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Pattern for names: `*` matches any characters, `?` matches one.
    pub pattern: String,
    /// Norm.
    #[serde(default)]
    pub norm: Option<Norm>,
    /// Radius ρ.
    #[serde(default)]
    pub radius: Option<f32>,
    /// Step factor: multiplies the step size η. Finite and > 0; default 1.
    #[serde(default = "one")]
    pub step_factor: f32,
    /// True if the parameters are frozen.
    #[serde(default)]
    pub freeze: bool,
}

fn one() -> f32 {
    1.0
}

impl Group {
    /// Creates a group that leaves all settings open.
    pub fn new(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), norm: None, radius: None, step_factor: 1.0, freeze: false }
    }

    /// Sets norm and radius.
    pub fn geometry(self, Geometry { norm, radius }: Geometry) -> Self {
        Self { norm: Some(norm), radius: Some(radius), ..self }
    }

    fn matches(&self, name: &str) -> bool {
        WildMatch::new(&self.pattern).matches(name)
    }

    fn settings(&self, parameter: &Parameter) -> Settings {
        let usual = parameter.usual();
        let geometry = Geometry { norm: self.norm.unwrap_or(usual.norm), radius: self.radius.unwrap_or(usual.radius) };
        Settings { geometry: if self.freeze { Geometry::FROZEN } else { geometry }, step_factor: self.step_factor }
    }
}

/// Settings of one parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Settings {
    pub geometry: Geometry,
    /// Step factor.
    pub step_factor: f32,
}

/// Groups of parameters. The first group that matches a parameter applies.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    only: bool,
}

impl Groups {
    /// Gives each parameter the [usual](Parameter::usual) settings for its name and shape.
    pub fn automatic() -> Self {
        Self::default()
    }

    /// Uses these groups first, and the usual settings for parameters that match none of them.
    pub fn overriding(groups: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: groups.into_iter().collect(), only: false }
    }

    /// Uses these groups only. A parameter that matches none of them is an error.
    pub fn only(groups: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: groups.into_iter().collect(), only: true }
    }

    /// Returns the group that applies to a name, if any.
    pub fn find(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.matches(name))
    }

    /// Returns these groups preceded by the groups in `first`, which take precedence.
    pub fn after(&self, first: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: first.into_iter().chain(self.groups.iter().cloned()).collect(), only: self.only }
    }

    /// Checks that each group matches at least one of the names.
    pub(super) fn check<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
        match self.groups.iter().find(|group| !names.clone().any(|name| group.matches(name))) {
            Some(group) => {
                Err(Error::Group { pattern: group.pattern.clone(), names: names.map(str::to_owned).collect() })
            }
            None => Ok(()),
        }
    }

    /// Returns the settings of a parameter.
    pub(super) fn settings(&self, parameter: &Parameter) -> Result<Settings> {
        let wrong = |what: String| Err(Error::Parameter { name: parameter.name.to_owned(), what });
        let settings = match self.find(parameter.name) {
            Some(group) => group.settings(parameter),
            None if self.only => {
                return wrong("no group matches it; add a last group \"*\" for all other parameters".into());
            }
            None => Settings { geometry: parameter.usual(), step_factor: 1.0 },
        };
        if let Err(refusal) = settings.geometry.check() {
            return wrong(refusal.to_string());
        }
        if !(settings.step_factor.is_finite() && settings.step_factor > 0.0) {
            return wrong(format!("its step factor must be finite and > 0, found {}", settings.step_factor));
        }
        Ok(settings)
    }
}
