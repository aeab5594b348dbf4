//! Role, norm, radius and step factor of each parameter: set by name patterns, otherwise derived from name and shape.

use super::baselines::Baseline;
use super::decay::Decay;
use super::schedule::{Course, Knots, Window};
use super::{Error, Result};
use graftage_core::norm::Norm;
use graftage_core::schedule::Momentum;
use graftage_core::scion::{self, Geometry, Pull, Rule};
use graftage_core::transport::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::Tensor;
use wildmatch::WildMatch;

/// Use of a parameter in its model. The usual norm, radius and start follow from it.
///
/// | role | norm | radius | start |
/// |---|---|---|---|
/// | hidden matrix | spectral | 3 | on the sphere |
/// | head | sign | 10 | on the sphere |
/// | embedding table, a row for each word or place | embedding column: every word by itself | 1 | on the sphere |
/// | convolution, flattened to outputs × (inputs · taps) | convolution | 3 | on the sphere |
/// | depthwise convolution, a row for each channel | row | 3 | on the sphere |
/// | experts: a stack of hidden matrices, each stepped by itself | spectral | 3 | on the sphere |
/// | bias | RMS | 1 | 0 |
/// | gain of a normalisation | RMS | 1 | 1 |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Hidden matrix.
    Hidden,
    /// Head, which makes the outputs.
    Head,
    /// Embedding table: a row for each word or place.
    Embedding,
    /// Convolution: outputs × inputs × kernel.
    Convolution,
    /// Depthwise convolution, whose channels do not mix: channels × 1 × kernel.
    Depthwise,
    /// Stack of hidden matrices: experts × outputs × inputs.
    Experts,
    /// Bias, which is added.
    Bias,
    /// Gain of a normalisation, which multiplies.
    Gain,
}

/// Names of layers that are heads.
const HEADS: [&str; 7] = ["head", "lm_head", "output", "classifier", "unembed", "unembedding", "logits"];

/// Words in names of embedding tables, besides those that contain `embed`.
const TABLES: [&str; 6] = ["wte", "wpe", "tok", "token", "tok_emb", "pos_emb"];

/// Last words in names of gains.
const GAINS: [&str; 4] = ["gain", "scale", "gamma", "weight"];

/// A parameter for which a group is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter<'a> {
    /// Name, e.g. `layers.0.weight`.
    pub name: &'a str,
    /// Size of its tensor.
    pub size: &'a [i64],
}

/// Role that was derived from name and size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Derived {
    /// Role.
    pub role: Role,
    /// True if the parameter may well have another role, which a group should then set.
    pub doubtful: bool,
}

impl<'a> Parameter<'a> {
    /// Returns the words of the name, which dots separate.
    fn words(self) -> impl Iterator<Item = &'a str> {
        self.name.split('.')
    }

    /// Returns whether the name says that it is a head, which no numbered block has.
    fn is_head(self) -> bool {
        let layer = self.words().filter(|word| *word != "weight").last();
        let numbered = self.words().any(|word| word.bytes().all(|letter| letter.is_ascii_digit()));
        layer.is_some_and(|layer| HEADS.contains(&layer)) && !numbered
    }

    /// Returns whether the name says that it is an embedding table.
    fn is_table(self) -> bool {
        self.words().any(|word| TABLES.contains(&word)) || self.name.contains("embed")
    }

    /// Returns its role as far as its own name and size tell; `None` for a tensor of three dimensions that may be a
    /// convolution or a stack.
    fn own_role(self) -> Option<Derived> {
        let sure = |role| Some(Derived { role, doubtful: false });
        match *self.size {
            // A vector with the name of weights belongs to a normalisation.
            [] | [_] => {
                let gain = self.words().last().is_some_and(|last| GAINS.contains(&last))
                    || self.name.contains("gain")
                    || self.name.contains("norm") && !self.name.ends_with("bias");
                sure(if gain { Role::Gain } else { Role::Bias })
            }
            [_, _] if self.is_head() => sure(Role::Head),
            [_, _] if self.is_table() => sure(Role::Embedding),
            [_, _] => sure(Role::Hidden),
            [_, _, _] if self.name.contains("conv") => sure(Role::Convolution),
            [_, _, _] if self.name.contains("expert") => sure(Role::Experts),
            [_, _, _] => None,
            // A depthwise convolution has the size of one that reads grey images.
            [outputs, 1, ..] if outputs > 1 => Some(Derived { role: Role::Convolution, doubtful: true }),
            _ => sure(Role::Convolution),
        }
    }

    /// Returns the name with `#` for each number, and the size. Parameters of equal blocks have it in common.
    fn pattern(self) -> (String, &'a [i64]) {
        let mut pattern = String::new();
        for letter in self.name.chars() {
            match letter.is_ascii_digit() {
                true if pattern.ends_with('#') => {}
                true => pattern.push('#'),
                false => pattern.push(letter),
            }
        }
        (pattern, self.size)
    }
}

/// Returns the roles of a model's parameters, in their order, as far as names and sizes tell; `None` for a tensor of
/// three dimensions that may be a convolution or a stack.
///
/// If no name says which matrix is the head, the last one is taken for it, which is doubtful. It is not if a name says
/// that there is an embedding table of another number of rows, as the model may be tied then; nor if the last matrix is
/// one of several blocks of matrices, as the parameters may be those of a body.
pub fn roles(parameters: &[Parameter]) -> Vec<Option<Derived>> {
    let mut roles: Vec<_> = parameters.iter().map(|parameter| parameter.own_role()).collect();
    let last = parameters.iter().rposition(|parameter| parameter.size.len() >= 2);
    let named = roles.iter().flatten().any(|derived| derived.role == Role::Head);
    let Some(last) = last.filter(|last| !named && roles[*last].is_some_and(|derived| derived.role == Role::Hidden))
    else {
        return roles;
    };
    let rows = parameters[last].size[0];
    let mut tables = parameters.iter().filter(|parameter| parameter.size.len() == 2 && parameter.is_table()).peekable();
    let tied = tables.peek().is_some() && tables.all(|table| table.size[0] != rows);
    let matrices = || parameters.iter().filter(|parameter| parameter.size.len() >= 2).map(|matrix| matrix.pattern());
    let repeated = |pattern: &(String, &[i64])| matrices().filter(|other| other == pattern).count() > 1;
    let own = parameters[last].pattern();
    let in_body = repeated(&own) && matrices().any(|other| other != own && repeated(&other));
    if !tied && !in_body {
        roles[last] = Some(Derived { role: Role::Head, doubtful: true });
    }
    roles
}

/// Matrices in which a tensor is stepped: `count` of them, one after another, each of this shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Matrices {
    pub count: usize,
    pub shape: (usize, usize),
}

impl Role {
    /// Returns the matrices in which a tensor is stepped; `None` if a tensor of this size cannot have the role. A
    /// vector is one row. All dimensions but the first, or of experts the second, become columns.
    pub(super) fn matrices(self, size: &[i64]) -> Option<Matrices> {
        let product = |size: &[i64]| size.iter().product::<i64>() as usize;
        let one = |m, n| Some(Matrices { count: 1, shape: (m, n) });
        match (self, size) {
            (Role::Bias | Role::Gain, _) => one(1, product(size)),
            (Role::Hidden | Role::Head | Role::Embedding, [m, rest @ ..]) => one(*m as usize, product(rest)),
            (Role::Hidden, []) => one(1, 1),
            (Role::Convolution, [m, _, rest @ ..]) if !rest.is_empty() => one(*m as usize, product(&size[1..])),
            (Role::Depthwise, [m, _, rest @ ..]) if !rest.is_empty() => one(*m as usize, product(&size[1..])),
            (Role::Experts, [count, m, rest @ ..]) if !rest.is_empty() => {
                Some(Matrices { count: *count as usize, shape: (*m as usize, product(rest)) })
            }
            _ => None,
        }
    }

    /// Returns core's role of each matrix of a tensor of this size, which decides its start.
    pub(super) fn in_core(self, size: &[i64]) -> scion::Role {
        match self {
            Role::Hidden | Role::Head | Role::Embedding | Role::Experts => scion::Role::Weights,
            Role::Convolution => scion::Role::Convolution { taps: size.iter().skip(2).product::<i64>() as u32 },
            Role::Depthwise => scion::Role::Channels,
            Role::Bias => scion::Role::Bias,
            Role::Gain => scion::Role::Gain,
        }
    }

    /// Returns the geometry of each matrix of a tensor of this size, if no group sets another one.
    pub fn usual(self, size: &[i64]) -> Geometry {
        match self {
            Role::Embedding => Geometry { norm: Norm::EmbeddingColumn, radius: 1.0 },
            role => Geometry::usual(role.in_core(size), role == Role::Head),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Role::Hidden => "hidden",
            Role::Head => "head",
            Role::Embedding => "embedding",
            Role::Convolution => "convolution",
            Role::Depthwise => "depthwise",
            Role::Experts => "experts",
            Role::Bias => "bias",
            Role::Gain => "gain",
        })
    }
}

/// Settings of the parameters whose names match a pattern. Settings left open are the usual ones of the [role](Role)
/// and the optimizer's, and a role left open is [derived](roles) from names and sizes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// Pattern for names: `*` matches any characters, `?` matches one.
    pub pattern: String,
    /// Roles of the parameters that the group is for; empty for all roles.
    #[serde(default)]
    pub of_roles: Vec<Role>,
    /// Role.
    #[serde(default)]
    pub role: Option<Role>,
    /// Numbers of rows of consecutive parts, which are stepped like parameters of their own, as the queries, keys and
    /// values of a fused matrix, or the gates of a recurrent layer. Part i is `NAME[i]`, and may have a group of its
    /// own.
    #[serde(default)]
    pub split: Vec<usize>,
    /// Number of parts that take turns row by row, instead of `split`.
    #[serde(default)]
    pub interleaved: Option<usize>,
    /// Number of heads: equal blocks of rows of the parameter, or of each part, each of which is stepped by itself.
    #[serde(default)]
    pub heads: Option<usize>,
    /// Optimizer beside the rule that steps the parameters, e.g. `adamw`. Norm and radius then decide only the start.
    #[serde(default)]
    pub rule: Option<&'static Baseline>,
    /// Norm.
    #[serde(default)]
    pub norm: Option<Norm>,
    /// Radius ρ.
    #[serde(default)]
    pub radius: Option<f32>,
    /// Scale of the steps, instead of a radius.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// Step factor: multiplies the step size η. Finite and > 0; default 1.
    #[serde(default = "one")]
    pub step_factor: f32,
    /// Schedule of the step size.
    #[serde(default)]
    pub schedule: Option<Course>,
    /// Momentum β over the steps, each value in [0, 1). Under a law of transport, β may vary as well.
    #[serde(default)]
    pub momentum: Option<Knots>,
    /// Windows of steps in which transport rests: gradients are taken at X. Not under Nesterov's law.
    #[serde(default)]
    pub rest: Vec<Window>,
    /// Decoupled weight decay, instead of the rule's pull.
    #[serde(default)]
    pub decay: Option<Decay>,
    /// True if the parameters are frozen.
    #[serde(default)]
    pub freeze: bool,
}

fn one() -> f32 {
    1.0
}

/// Scale of the steps of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// ρ such that the elements of a step have a root mean square of 0.2·η, as AdamW's have on average: then AdamW's
    /// step size and decay carry over (Liu et al. 2025, "Muon is scalable", section 2.2: 0.2·√max(m, n)). Parameters
    /// with other than spectral norms keep their radius.
    RmsMatch,
}

impl Group {
    /// Creates a group that leaves all settings open.
    pub fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.to_owned(),
            of_roles: Vec::new(),
            role: None,
            split: Vec::new(),
            interleaved: None,
            heads: None,
            rule: None,
            norm: None,
            radius: None,
            scale: None,
            step_factor: 1.0,
            schedule: None,
            momentum: None,
            rest: Vec::new(),
            decay: None,
            freeze: false,
        }
    }

    /// Restricts the group to parameters of these roles.
    pub fn of_roles(self, roles: &[Role]) -> Self {
        Self { of_roles: roles.to_vec(), ..self }
    }

    /// Sets the role.
    pub fn role(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }

    /// Divides the parameters into parts of so many rows each.
    pub fn split(self, split: &[usize]) -> Self {
        Self { split: split.to_vec(), ..self }
    }

    /// Sets norm and radius.
    pub fn geometry(self, Geometry { norm, radius }: Geometry) -> Self {
        Self { norm: Some(norm), radius: Some(radius), ..self }
    }

    fn matches(&self, name: &str) -> bool {
        WildMatch::new(&self.pattern).matches(name)
    }

    /// Returns the pattern, with the roles if there are any.
    fn title(&self) -> String {
        let roles: Vec<_> = self.of_roles.iter().map(Role::to_string).collect();
        if roles.is_empty() { self.pattern.clone() } else { format!("{} ({})", self.pattern, roles.join(", ")) }
    }

    /// Returns whether the group is for a parameter of this name and role.
    fn is_for(&self, name: &str, role: Role) -> bool {
        self.matches(name) && (self.of_roles.is_empty() || self.of_roles.contains(&role))
    }

    /// Takes what this group leaves open from another one.
    fn or(self, usual: &Self) -> Self {
        let usual = usual.clone();
        Self {
            rule: self.rule.or(usual.rule),
            norm: self.norm.or(usual.norm),
            scale: self.scale.or(usual.scale.filter(|_| self.radius.is_none())),
            schedule: self.schedule.or(usual.schedule),
            momentum: self.momentum.or(usual.momentum),
            rest: if self.rest.is_empty() { usual.rest } else { self.rest },
            decay: self.decay.or(usual.decay),
            ..self
        }
    }
}

/// Rows of a tensor, all dimensions but the first whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    /// Name of the parameter.
    pub parameter: String,
    /// True for the first part of the parameter.
    pub first_part: bool,
    first: i64,
    count: i64,
    /// Distance of one row from the next.
    stride: i64,
}

impl Rows {
    fn new(parameter: &str, first: i64, count: i64, stride: i64) -> Self {
        Self { parameter: parameter.to_owned(), first_part: false, first, count, stride }
    }

    /// Returns the size of these rows of a tensor of this size.
    pub fn size(&self, size: &[i64]) -> Vec<i64> {
        match size {
            [] => Vec::new(),
            [_, rest @ ..] => [&[self.count], rest].concat(),
        }
    }

    /// Returns these rows of a tensor, as a view.
    pub fn of(&self, tensor: &Tensor) -> Result<Tensor> {
        let end = self.first + self.stride * (self.count - 1) + 1;
        Ok(tensor.f_slice(0, self.first, end, self.stride)?)
    }
}

/// A parameter or a part of one, with its settings.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Planned {
    pub name: String,
    /// Pattern of the group with its roles, or the role if no group matches.
    pub group: String,
    /// Rows of a part; `None` for a whole parameter.
    pub rows: Option<Rows>,
    /// Number of parts that are equal and follow each other, which need no rows.
    pub parts: usize,
    pub matrices: Matrices,
    pub settings: Settings,
}

/// Settings of one parameter.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Settings {
    pub geometry: Geometry,
    /// Optimizer beside the rule that steps it.
    pub baseline: Option<&'static Baseline>,
    pub step_factor: f32,
    /// Schedule of the step size, and the number of steps over which it runs.
    pub schedule: Option<(Course, u64)>,
    pub momentum: Option<Knots>,
    pub rest: Vec<Window>,
    pub decay: Option<Decay>,
}

impl Settings {
    /// Returns the rule as it is for this parameter in step t, with its step size η_t and β_t, β_{t+1}.
    pub fn at(&self, rule: &Rule, t: u64, from_zero: bool) -> (Rule, [f32; 3]) {
        let mut own = Rule { step_size: rule.step_size * self.step_factor, ..*rule };
        if let Some(Decay { strength, cautious }) = self.decay {
            // A cautious decay is part of the direction.
            own.pull = if cautious || strength == 0.0 { Pull::None } else { Pull::Zero { strength } };
        }
        if self.rest.iter().any(|window| window.contains(t + 1)) {
            own.transport = Transport::Fixed { theta: 0.0 };
        }
        let step_size = match &self.schedule {
            Some((course, steps)) => own.step_size * course.factor(t, *steps),
            None => own.step_size_at(t),
        };
        let keep = |t: u64| match &self.momentum {
            _ if t <= 1 && !from_zero => 0.0,
            Some(momentum) => momentum.at(t),
            None if t <= 1 => rule.momentum.at(2).min(match rule.momentum {
                Momentum::Power { .. } => 0.0,
                _ => 1.0,
            }),
            None => rule.momentum.at(t),
        };
        (own, [step_size, keep(t), keep(t + 1)])
    }

    /// Checks that the rule's constants are in range for this parameter.
    pub fn check(&self, rule: &Rule) -> Result<()> {
        let (mut own, _) = self.at(rule, 1, false);
        if let Some(momentum) = &self.momentum {
            own.momentum = Momentum::Constant(momentum.smallest());
        }
        // A schedule may end at 0.
        own.step_size = if rule.step_size == 0.0 { f32::MIN_POSITIVE } else { own.step_size };
        if self.baseline.is_some() {
            own.transport = Transport::Fixed { theta: 0.0 };
            own.pull = Pull::None;
        }
        if let Some(Decay { strength, .. }) = self.decay
            && strength * own.step_size > 1.0
        {
            let what = format!("times a step size of {} it must be at most 1, found {strength}", own.step_size);
            return Err(Error::wrong("the decay", what));
        }
        own.check()?;
        if self.baseline.is_none() && !self.rest.is_empty() && rule.transport == Transport::Nesterov {
            let what = "transport cannot rest under Nesterov's law, which takes gradients at X";
            return Err(Error::wrong("the rule", what));
        }
        Ok(())
    }

    /// Returns the names of the arrays that are kept beside the weights.
    pub fn arrays(&self) -> &'static [&'static str] {
        self.baseline.map_or(&["m"], |baseline| baseline.arrays)
    }
}

/// Groups of parameters. The first group that matches a parameter applies.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    only: bool,
    /// Settings for what groups leave open. The first that is for a parameter applies.
    usual: Vec<Group>,
    /// Number of steps over which schedules run.
    steps: Option<u64>,
}

impl Groups {
    /// Gives each parameter the usual settings of its [role](roles).
    pub fn automatic() -> Self {
        Self::default()
    }

    /// Uses these groups first, and the usual settings for parameters that match none of them.
    pub fn overriding(groups: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: groups.into_iter().collect(), ..Self::default() }
    }

    /// Uses these groups only. A parameter that matches none of them is an error.
    pub fn only(groups: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: groups.into_iter().collect(), only: true, ..Self::default() }
    }

    /// Takes what a group leaves open from these groups, in their order, as far as they are for the parameter. Only
    /// rule, norm, scale, schedule, momentum, rest and decay are taken.
    pub fn usually(self, usual: impl IntoIterator<Item = Group>) -> Self {
        Self { usual: usual.into_iter().chain(self.usual).collect(), ..self }
    }

    /// Sets the number of steps over which schedules run.
    pub fn over(self, steps: u64) -> Self {
        Self { steps: Some(steps), ..self }
    }

    /// Returns the group that sets the role of a parameter, if any: groups for given roles do not.
    pub(super) fn find(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.of_roles.is_empty() && group.matches(name))
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

    /// Returns the role of each parameter: its group's, or else the derived one.
    ///
    /// # Errors
    /// Returns an error if a parameter matches no group, has three dimensions and an unclear role, or cannot have the
    /// role of its group.
    pub(super) fn roles(&self, parameters: &[Parameter]) -> Result<Vec<Derived>> {
        let own = |parameter: &Parameter| self.find(parameter.name).and_then(|group| group.role);
        // Parameters whose groups say their roles leave no head to be found among them.
        let open: Vec<_> = parameters.iter().copied().filter(|parameter| own(parameter).is_none()).collect();
        let headed = parameters.iter().any(|parameter| own(parameter) == Some(Role::Head));
        let mut derived = roles(&open).into_iter();
        let role = |parameter: &Parameter| {
            let Parameter { name, size } = *parameter;
            let wrong = |what: String| Err(Error::Parameter { name: name.to_owned(), what });
            if let Some(group) = self.groups.iter().find(|group| group.role.is_some() && !group.of_roles.is_empty()) {
                let pattern = &group.pattern;
                return wrong(format!("the group {pattern:?} both sets a role and is for given roles; use two groups"));
            }
            match own(parameter) {
                Some(role) if role.matrices(size).is_none() => wrong(format!("a tensor of size {size:?} is no {role}")),
                Some(role) => Ok(Derived { role, doubtful: false }),
                None => match derived.next().flatten() {
                    Some(Derived { role: Role::Head, doubtful: true }) if headed => {
                        Ok(Derived { role: Role::Hidden, doubtful: false })
                    }
                    Some(derived) => Ok(derived),
                    None => wrong(format!(
                        "a tensor of size {size:?} may be a convolution or a stack of matrices; set its role to convolution, \
                         depthwise or experts in a group"
                    )),
                },
            }
        };
        parameters.iter().map(role).collect()
    }

    /// Returns the parts in which a parameter with this role is stepped, each with its settings.
    pub(super) fn plan(&self, parameter: &Parameter, role: Role) -> Result<Vec<Planned>> {
        let Parameter { name, size } = *parameter;
        let wrong = |what: String| Err(Error::Parameter { name: name.to_owned(), what });
        let open = Group::new("*");
        let usual = self.usual.iter().filter(|group| group.is_for(name, role)).fold(open.clone(), Group::or);
        let found = self.groups.iter().find(|group| group.is_for(name, role)).cloned();
        let is_matched = found.is_some();
        let group = match found {
            None if self.only => {
                return wrong("no group matches it; add a last group \"*\" for all other parameters".into());
            }
            group => group.unwrap_or(open).or(&usual),
        };
        let rows = size.first().copied().unwrap_or(1);
        let (split, turns) = (&group.split, group.interleaved.map(|turns| turns as i64));
        let heads = group.heads.unwrap_or(1);
        if role == Role::Experts && (!split.is_empty() || turns.is_some() || heads != 1) {
            return wrong("experts are divided already: they have no split, interleaved or heads".into());
        }
        let parts: Vec<Rows> = match turns {
            Some(_) if !split.is_empty() => return wrong("its group has both split and interleaved; use one".into()),
            Some(turns) if turns < 1 || rows % turns != 0 => {
                return wrong(format!("its {rows} rows cannot be divided into {turns} interleaved parts"));
            }
            Some(turns) => (0..turns).map(|first| Rows::new(name, first, rows / turns, turns)).collect(),
            None if split.is_empty() => vec![Rows::new(name, 0, rows, 1)],
            None if split.contains(&0) || split.iter().sum::<usize>() as i64 != rows => {
                let sum = split.iter().sum::<usize>();
                return wrong(format!(
                    "its {rows} rows cannot be split into {split:?}, which makes {sum}, without zeros"
                ));
            }
            None => {
                let mut first = 0;
                let part = |count: &usize| {
                    first += *count as i64;
                    Rows::new(name, first - *count as i64, *count as i64, 1)
                };
                split.iter().map(part).collect()
            }
        };
        let divided = parts.len() > 1;
        let mut planned = Vec::new();
        for (at, rows) in parts.into_iter().enumerate() {
            let size = rows.size(size);
            let Some(Matrices { count, shape: (m, n) }) = role.matrices(&size) else {
                return wrong(format!("a tensor of size {size:?} is no {role}"));
            };
            let is_vector = matches!(role, Role::Bias | Role::Gain);
            let by_rows = if is_vector { n } else { m };
            if heads == 0 || by_rows % heads != 0 {
                return wrong(format!("its {by_rows} rows cannot be divided into {heads} heads"));
            }
            let shape = if is_vector { (1, n / heads) } else { (m / heads, n) };
            let part = if divided { format!("{name}[{at}]") } else { name.to_owned() };
            let own = self.groups.iter().find(|group| group.pattern.contains('[') && group.matches(&part));
            let matched = is_matched || own.is_some();
            let own = own.map_or_else(|| group.clone(), |own| own.clone().or(&usual));
            let settings = own.settings(&Parameter { name: &part, size: &size }, role, shape, self.steps)?;
            let matrices = Matrices { count: count * heads, shape };
            let group = if matched { own.title() } else { role.to_string() };
            planned.push(Planned { name: part, group, rows: divided.then_some(rows), parts: 1, matrices, settings });
        }
        // Equal parts that follow each other are matrices of one tensor, and need no copies.
        if let Some(first) = planned.first().filter(|_| divided && turns.is_none())
            && planned.iter().all(|part| (part.matrices, &part.settings) == (first.matrices, &first.settings))
        {
            let Planned { matrices: Matrices { count, shape }, group, settings, .. } = first.clone();
            let matrices = Matrices { count: count * planned.len(), shape };
            let (name, parts) = (name.to_owned(), planned.len());
            return Ok(vec![Planned { name, group, rows: None, parts, matrices, settings }]);
        }
        for (at, part) in planned.iter_mut().enumerate() {
            if let Some(rows) = &mut part.rows {
                rows.first_part = at == 0;
            }
        }
        Ok(planned)
    }
}

impl Group {
    /// Returns the settings of a parameter with this role, whose matrices have this shape.
    fn settings(
        &self,
        parameter: &Parameter,
        role: Role,
        (m, n): (usize, usize),
        steps: Option<u64>,
    ) -> Result<Settings> {
        let Parameter { name, size } = *parameter;
        let wrong = |what: String| Err(Error::Parameter { name: name.to_owned(), what });
        let usual = role.usual(size);
        let norm = self.norm.unwrap_or(usual.norm);
        let mut geometry = Geometry { norm, radius: self.radius.unwrap_or(usual.radius) };
        if let Some(Scale::RmsMatch) = self.scale {
            if self.radius.is_some() {
                return wrong("its group has both a radius and a scale; use one".into());
            }
            // A matrix whose singular values are 1 has elements with a root mean square of 1/√max(m, n).
            if norm.is_spectral() {
                geometry.radius = RMS * (m.max(n) as f32).sqrt() / norm.factor((m, n));
            }
        }
        let geometry = if self.freeze { Geometry::FROZEN } else { geometry };
        if let Err(refusal) = geometry.check() {
            return wrong(refusal.to_string());
        }
        if norm.is_spectral() && matches!(role, Role::Bias | Role::Gain) {
            return wrong(format!(
                "its norm {norm:?} is for matrices, but it is a {role}; set another norm or its role"
            ));
        }
        if let Norm::Convolution { taps } = norm
            && !n.is_multiple_of((taps as usize).max(1))
        {
            return wrong(format!("its {n} columns are no multiple of the {taps} taps of its norm"));
        }
        let step_factor = self.step_factor;
        if !(step_factor.is_finite() && step_factor > 0.0) {
            return wrong(format!("its step factor must be finite and > 0, found {step_factor}"));
        }
        if let Some(Decay { strength, .. }) = self.decay
            && !(0.0..f32::INFINITY).contains(&strength)
        {
            return wrong(format!("its decay must be finite and ≥ 0, found {strength}"));
        }
        if let Some(Err(what)) = self.momentum.as_ref().map(|momentum| momentum.check(1.0)) {
            return wrong(format!("momentum: {what}"));
        }
        if let Some(Window { first, last }) = self.rest.iter().find(|rest| rest.first == 0 || rest.last < rest.first) {
            return wrong(format!(
                "its rest [{first}, {last}] is no window: steps count from 1, and the last is not before the first"
            ));
        }
        if self.baseline_with_varying_momentum() {
            return wrong("its group's rule takes only a constant momentum".into());
        }
        let schedule = match (&self.schedule, steps) {
            (Some(course), Some(steps)) => match course.check(steps) {
                Ok(()) => Some((course.clone(), steps)),
                Err(what) => return wrong(what),
            },
            (Some(_), None) => return wrong("its group has a schedule, but no number of steps is set".into()),
            (None, _) => None,
        };
        let Self { rule: baseline, momentum, rest, decay, .. } = self.clone();
        Ok(Settings { geometry, baseline, step_factor, schedule, momentum, rest, decay })
    }

    fn baseline_with_varying_momentum(&self) -> bool {
        self.rule.is_some() && self.momentum.as_ref().is_some_and(|momentum| momentum.as_constant().is_none())
    }
}

/// Root mean square of the elements of AdamW's steps of size 1.
const RMS: f32 = 0.2;
