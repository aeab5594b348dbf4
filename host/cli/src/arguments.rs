//! Options shared by several commands: constants of the update rule, and the recipe of a device's adaptation.

use clap::Args;
use graftage::error::Result;
use graftage::rule::{self, Cap};
use graftage_core::adapt::{HoldOut, Recipe};
use graftage_core::polar::Quintics;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;

/// Default recipe of a device.
const DEFAULT: Recipe = Recipe::DEFAULT;
// Omitting these options leaves them unset.
const _: () = assert!(DEFAULT.budget.is_none() && DEFAULT.hold_out.is_none());

/// Constants of the update rule.
#[derive(Args, Clone, Copy)]
pub struct RuleArguments {
    /// Step size η, the maximum of its schedule.
    #[arg(long, value_name = "ETA", default_value_t = DEFAULT.rule.step_size, allow_negative_numbers = true)]
    step_size: f32,
    /// Momentum: BETA, ramp=FROM,TO,STEPS or power=EXPONENT.
    #[arg(long, default_value = rule::momentum_argument(DEFAULT.rule.momentum), allow_negative_numbers = true, value_parser = rule::momentum)]
    momentum: Momentum,
    /// Law of transport: theta=SHARE (0 is Scion, 1 is Transported Scion as published), lag=MEMORY, alignment=DAMPING
    /// or nesterov.
    #[arg(long, value_name = "LAW", default_value = rule::transport_argument(DEFAULT.rule.transport), value_parser = rule::transport)]
    transport: Transport,
    /// Quintics that compute spectral directions: jordan, you, polar-express-5, polar-express-8, cans or converged.
    #[arg(long, default_value = rule::quintics_argument(DEFAULT.rule.quintics), value_parser = rule::quintics)]
    quintics: Quintics,
    /// Pull on the weights: none, zero (Scion's constrained step), zero=LAMBDA (weight decay), start (weights stay
    /// within a radius of the image's) or start=LAMBDA (within 1/LAMBDA radii).
    #[arg(long, default_value = rule::pull_argument(DEFAULT.rule.pull), value_parser = rule::pull)]
    pull: Pull,
}

impl RuleArguments {
    fn rule(&self, schedule: Schedule) -> Result<Rule> {
        let Self { step_size: step, momentum, transport, quintics, pull } = *self;
        let rule = Rule { step_size: step, schedule, momentum, transport, pull, quintics };
        rule::check(&rule)?;
        Ok(rule)
    }
}

/// Recipe of a device's adaptation.
#[derive(Args, Clone, Copy)]
pub struct RecipeArguments {
    #[command(flatten)]
    rule: RuleArguments,
    /// Schedule of the step size: constant, linear=STEPS, wsd=WARMUP,STABLE,DECAY or inverse=STEPS.
    #[arg(long, default_value = rule::schedule_argument(DEFAULT.rule.schedule), value_parser = rule::schedule)]
    schedule: Schedule,
    /// Cap C on a sample's output error, which limits the effect of a single wrong label; none disables it.
    #[arg(long, value_name = "C", allow_negative_numbers = true, default_value = rule::cap_argument(DEFAULT.cap), value_parser = rule::cap)]
    cap: Cap,
    /// Maximum distance that a session may move each matrix, in radii of its norm; steps beyond it are refused.
    #[arg(long, value_name = "RADII", allow_negative_numbers = true)]
    movement_budget: Option<f32>,
    /// Hold out each EVERY-th labelled sample and judge a session by the last KEEP of them: if its weights are no worse
    /// on them, it is committed, else rolled back.
    #[arg(long, value_name = "EVERY,KEEP", value_parser = rule::hold_out)]
    hold_out: Option<HoldOut>,
    /// Samples per step: the new one and others from the replay buffer.
    #[arg(long, default_value_t = DEFAULT.batch)]
    batch: u32,
    /// Steps per sample.
    #[arg(long, default_value_t = DEFAULT.steps)]
    steps: u32,
    /// Number of samples that the replay buffer keeps.
    #[arg(long, default_value_t = DEFAULT.replay)]
    replay: u32,
    /// Seed for draws from the replay buffer.
    #[arg(long, default_value_t = DEFAULT.seed)]
    seed: u64,
}

impl RecipeArguments {
    pub fn recipe(&self) -> Result<Recipe> {
        let Self { batch, steps, replay, seed, movement_budget: budget, hold_out, schedule, cap: Cap(cap), .. } = *self;
        let rule = self.rule.rule(schedule)?;
        let recipe = Recipe { rule, batch, steps, replay, seed, budget, hold_out, cap, functions: DEFAULT.functions };
        recipe.check(usize::MAX)?;
        Ok(recipe)
    }
}

/// Seeds, written as `1..10` (inclusive) or `7`.
#[derive(Clone)]
pub struct Seeds(pub Vec<u64>);

pub fn seeds(text: &str) -> std::result::Result<Seeds, String> {
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a whole number; use e.g. 1..10 or 7"));
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let seeds: Vec<u64> = (number(first)?..=number(last)?).take(1000).collect();
    if seeds.is_empty() { Err("the range is empty; use e.g. 1..10".into()) } else { Ok(Seeds(seeds)) }
}

/// Parses a share, from 0 to 1.
pub fn share(text: &str) -> std::result::Result<f32, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share must be a number from 0 to 1".into())
}
