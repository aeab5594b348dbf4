//! The constants of the update and how a device adapts, as options of several commands.

use clap::Args;
use graftage::error::Result;
use graftage_core::adapt::Recipe;
use graftage_core::scion::Rule;

/// The constants of the update.
#[derive(Args, Clone, Copy)]
pub struct RuleArguments {
    /// Step size η.
    #[arg(long, value_name = "ETA")]
    step_size: Option<f32>,
    /// Momentum β.
    #[arg(long, value_name = "BETA", default_value_t = Rule::DEFAULT.momentum)]
    momentum: f32,
    /// Share of the transport: 0 is Scion, 1 Transported Scion as published.
    #[arg(long, default_value_t = Rule::DEFAULT.theta)]
    theta: f32,
    /// Keep every parameter in the ball of its radius.
    #[arg(long)]
    constrained: bool,
}

impl RuleArguments {
    pub fn rule(&self, usual: f32) -> Result<Rule> {
        let step = self.step_size.unwrap_or(usual);
        let rule = Rule { step, momentum: self.momentum, theta: self.theta, constrained: self.constrained };
        rule.check()?;
        Ok(rule)
    }
}

/// How a device adapts.
#[derive(Args, Clone, Copy)]
pub struct RecipeArguments {
    #[command(flatten)]
    rule: RuleArguments,
    /// Samples a step: the new one and others from the replay buffer.
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Steps a sample.
    #[arg(long, default_value_t = 2)]
    steps: u32,
    /// Samples that the replay buffer keeps.
    #[arg(long, default_value_t = 128)]
    replay: u32,
    /// Seed of the draws from the replay buffer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl RecipeArguments {
    pub fn recipe(&self) -> Result<Recipe> {
        let Self { batch, steps, replay, seed, .. } = *self;
        let recipe = Recipe { rule: self.rule.rule(Rule::DEFAULT.step)?, batch, steps, replay, seed };
        recipe.check(usize::MAX)?;
        Ok(recipe)
    }
}
