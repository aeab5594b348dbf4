//! Text forms of the update rule's constants, as taken by options and shown in reports.

use crate::error;
use graftage_core::adapt::HoldOut;
use graftage_core::polar::Quintics;
use graftage_core::schedule::{Momentum, Schedule};
use graftage_core::scion::{Pull, Rule};
use graftage_core::transport::Transport;

/// Checks that a rule's constants are within their ranges and that its step size is not 0 at every step.
///
/// # Errors
/// If not; the message names the constant.
pub fn check(rule: &Rule) -> error::Result<()> {
    rule.check()?;
    // Every schedule that is not 0 throughout starts above 0.
    if rule.schedule.factor(1) > 0.0 {
        return Ok(());
    }
    let what = "schedule: its step size is 0 at every step, so nothing is learnt; use constant, or at least one step";
    Err(error::Error::Usage(what.into()))
}

/// Parses a law of transport: `theta=0.5`, `lag=0.6`, `alignment=1.5` or `nesterov`.
///
/// # Errors
/// A one-line message with the accepted forms.
pub fn transport(text: &str) -> Result<Transport, String> {
    let value = match text.split_once('=') {
        _ if text == "nesterov" => return Ok(Transport::Nesterov),
        Some((law, value)) => Some((law, number(value)?)),
        None => None,
    };
    match value {
        Some(("theta", theta)) => Ok(Transport::Fixed { theta }),
        Some(("lag", memory)) => Ok(Transport::Lag { memory }),
        Some(("alignment", damping)) => Ok(Transport::Alignment { damping }),
        _ => Err("a law must be theta=SHARE, lag=MEMORY, alignment=DAMPING or nesterov".into()),
    }
}

/// Parses a momentum: `0.9`, `ramp=FROM,TO,STEPS` or `power=EXPONENT`.
///
/// # Errors
/// A one-line message with the accepted forms.
pub fn momentum(text: &str) -> Result<Momentum, String> {
    let wrong = || "a momentum must be BETA, ramp=FROM,TO,STEPS or power=EXPONENT".to_owned();
    match text.split_once('=') {
        None => Ok(Momentum::Constant(number(text)?)),
        Some(("power", exponent)) => Ok(Momentum::Power { exponent: number(exponent)? }),
        Some(("ramp", values)) => match values.split(',').collect::<Vec<_>>()[..] {
            [from, to, steps] => {
                Ok(Momentum::Ramp { from: number(from)?, to: number(to)?, steps: steps.parse().map_err(|_| wrong())? })
            }
            _ => Err(wrong()),
        },
        Some(_) => Err(wrong()),
    }
}

/// Parses `EVERY,KEEP`.
///
/// # Errors
/// A one-line message with the accepted form.
pub fn hold_out(text: &str) -> Result<HoldOut, String> {
    let numbers = text.split_once(',').and_then(|(every, keep)| Some((every.parse().ok()?, keep.parse().ok()?)));
    let (every, keep) =
        numbers.ok_or("must be EVERY,KEEP: every EVERY-th sample is held out, and KEEP of them are kept")?;
    Ok(HoldOut { every, keep })
}

/// Parses a pull: `none`, `zero`, `zero=STRENGTH`, `start` or `start=STRENGTH`. The strength λ is 1 by default.
///
/// # Errors
/// A one-line message with the accepted forms.
pub fn pull(text: &str) -> Result<Pull, String> {
    let (towards, strength) = match text.split_once('=') {
        Some((towards, strength)) => (towards, number(strength)?),
        None if text == "none" => return Ok(Pull::None),
        None => (text, 1.0),
    };
    match towards {
        "zero" => Ok(Pull::Zero { strength }),
        "start" => Ok(Pull::Start { strength }),
        _ => Err("a pull must be none, zero, start, zero=LAMBDA or start=LAMBDA".into()),
    }
}

/// Parses a cap: `none` or a number.
///
/// # Errors
/// A one-line message with the accepted forms.
pub fn cap(text: &str) -> Result<Cap, String> {
    match text {
        "none" => Ok(Cap(None)),
        _ => Ok(Cap(Some(number(text).map_err(|what| format!("{what}, nor none"))?))),
    }
}

/// Upper bound on a sample's output error; `None` means no bound. It is a separate type so that clap does not treat the
/// option as optional.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cap(pub Option<f32>);

/// Parses a schedule: `constant`, `linear=STEPS`, `wsd=WARMUP,STABLE,DECAY` or `inverse=STEPS`.
///
/// # Errors
/// A one-line message with the accepted forms.
pub fn schedule(text: &str) -> Result<Schedule, String> {
    let wrong = || "a schedule must be constant, linear=STEPS, wsd=WARMUP,STABLE,DECAY or inverse=STEPS".to_owned();
    let steps = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    match text.split_once('=') {
        None if text == "constant" => Ok(Schedule::Constant),
        Some(("linear", count)) => Ok(Schedule::Linear { steps: steps(count)? }),
        Some(("inverse", count)) => Ok(Schedule::Inverse { steps: steps(count)? }),
        Some(("wsd", counts)) => match counts.split(',').collect::<Vec<_>>()[..] {
            [warmup, stable, decay] => {
                Ok(Schedule::WarmupStableDecay { warmup: steps(warmup)?, stable: steps(stable)?, decay: steps(decay)? })
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// Chains of quintics and their names.
const QUINTICS: [(&str, Quintics); 6] = [
    ("jordan", Quintics::Jordan),
    ("you", Quintics::You),
    ("polar-express-5", Quintics::PolarExpress5),
    ("polar-express-8", Quintics::PolarExpress8),
    ("cans", Quintics::Cans),
    ("converged", Quintics::Converged),
];

/// Parses the name of quintics.
///
/// # Errors
/// A one-line message with the accepted names.
pub fn quintics(text: &str) -> Result<Quintics, String> {
    let found = QUINTICS.iter().find(|(name, _)| *name == text).map(|(_, quintics)| *quintics);
    found.ok_or_else(|| format!("quintics must be one of {}", QUINTICS.map(|(name, _)| name).join(", ")))
}

/// Formats a law of transport so that [`transport`] can parse it.
pub fn transport_argument(law: Transport) -> String {
    match law {
        Transport::Fixed { theta } => format!("theta={theta}"),
        Transport::Lag { memory } => format!("lag={memory}"),
        Transport::Alignment { damping } => format!("alignment={damping}"),
        Transport::Nesterov => "nesterov".to_owned(),
    }
}

/// Formats a momentum so that [`momentum`] can parse it.
pub fn momentum_argument(momentum: Momentum) -> String {
    match momentum {
        Momentum::Constant(beta) => beta.to_string(),
        Momentum::Ramp { from, to, steps } => format!("ramp={from},{to},{steps}"),
        Momentum::Power { exponent } => format!("power={exponent}"),
    }
}

/// Formats a schedule so that [`schedule`] can parse it.
pub fn schedule_argument(schedule: Schedule) -> String {
    match schedule {
        Schedule::Constant => "constant".to_owned(),
        Schedule::Linear { steps } => format!("linear={steps}"),
        Schedule::WarmupStableDecay { warmup, stable, decay } => format!("wsd={warmup},{stable},{decay}"),
        Schedule::Inverse { steps } => format!("inverse={steps}"),
    }
}

/// Formats a pull so that [`pull`] can parse it.
pub fn pull_argument(pull: Pull) -> String {
    let of = |towards: &str, strength: f32| match strength {
        1.0 => towards.to_owned(),
        _ => format!("{towards}={strength}"),
    };
    match pull {
        Pull::None => "none".to_owned(),
        Pull::Zero { strength } => of("zero", strength),
        Pull::Start { strength } => of("start", strength),
    }
}

/// Formats a cap so that [`cap`] can parse it.
pub fn cap_argument(cap: Option<f32>) -> String {
    cap.map_or_else(|| "none".to_owned(), |cap| cap.to_string())
}

/// Formats quintics so that [`quintics`] can parse them.
pub fn quintics_argument(quintics: Quintics) -> String {
    // All quintics have a name; a test checks this.
    QUINTICS.iter().find(|(_, found)| *found == quintics).map_or("", |(name, _)| name).to_owned()
}

/// Describes a law of transport in words.
pub fn transport_words(law: Transport) -> String {
    match law {
        Transport::Fixed { theta } => format!("transport θ = {theta}"),
        Transport::Lag { memory } => format!("lag feedback b′ = {memory}"),
        Transport::Alignment { damping } => format!("alignment damping q = {damping}"),
        Transport::Nesterov => "Nesterov's argument".to_owned(),
    }
}

/// Describes a momentum in words.
pub fn momentum_words(momentum: Momentum) -> String {
    match momentum {
        Momentum::Constant(beta) => format!("momentum β = {beta}"),
        Momentum::Ramp { from, to, steps } => format!("momentum β from {from} to {to} in {steps} steps"),
        Momentum::Power { exponent } => format!("momentum β = 1 − t^−{exponent}"),
    }
}

/// Describes a schedule in words that follow a step size.
pub fn schedule_words(schedule: Schedule) -> String {
    match schedule {
        Schedule::Constant => "throughout".to_owned(),
        Schedule::Linear { steps } => format!("falling linearly to 0 in {steps} steps"),
        Schedule::WarmupStableDecay { warmup, stable, decay } => {
            format!("after a warmup of {warmup} steps, for {stable} steps, then falling to 0 in {decay} steps")
        }
        Schedule::Inverse { steps } => format!("falling as 1/√(1 + (t−1)/{steps})"),
    }
}

/// Describes a pull in words.
pub fn pull_words(pull: Pull) -> String {
    match pull {
        Pull::None => "no pull".to_owned(),
        Pull::Zero { strength } => format!("a pull to zero with λ = {strength}"),
        Pull::Start { strength } => format!("a pull to the start with λ = {strength}"),
    }
}

fn number(text: &str) -> Result<f32, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_are_read_as_they_are_written() {
        assert_eq!(transport("theta=0.5"), Ok(Transport::Fixed { theta: 0.5 }));
        assert_eq!(transport("lag=0.6"), Ok(Transport::Lag { memory: 0.6 }));
        assert_eq!(transport("alignment=1.5"), Ok(Transport::Alignment { damping: 1.5 }));
        assert_eq!(transport("nesterov"), Ok(Transport::Nesterov));
        assert_eq!(momentum("0.9"), Ok(Momentum::Constant(0.9)));
        assert_eq!(momentum("ramp=0.5,0.9,10"), Ok(Momentum::Ramp { from: 0.5, to: 0.9, steps: 10 }));
        assert_eq!(momentum("power=0.5"), Ok(Momentum::Power { exponent: 0.5 }));
        for law in ["theta=0.5", "lag=0.6", "alignment=1.5", "nesterov"] {
            assert_eq!(transport(law).map(transport_argument), Ok(law.to_owned()));
        }
        for beta in ["0.9", "ramp=0.5,0.9,10", "power=0.5"] {
            assert_eq!(momentum(beta).map(momentum_argument), Ok(beta.to_owned()));
        }
        assert_eq!(schedule("constant"), Ok(Schedule::Constant));
        assert_eq!(schedule("linear=7"), Ok(Schedule::Linear { steps: 7 }));
        assert_eq!(schedule("wsd=1,2,3"), Ok(Schedule::WarmupStableDecay { warmup: 1, stable: 2, decay: 3 }));
        assert_eq!(schedule("inverse=7"), Ok(Schedule::Inverse { steps: 7 }));
        for written in ["constant", "linear=7", "wsd=1,2,3", "inverse=7"] {
            assert_eq!(schedule(written).map(schedule_argument), Ok(written.to_owned()));
        }
        assert_eq!(pull("zero"), Ok(Pull::Zero { strength: 1.0 }));
        assert_eq!(pull("start=0.5"), Ok(Pull::Start { strength: 0.5 }));
        for written in ["none", "zero", "zero=0.1", "start", "start=2"] {
            assert_eq!(pull(written).map(pull_argument), Ok(written.to_owned()));
        }
        for written in ["none", "0.35"] {
            assert_eq!(cap(written).map(|cap| cap_argument(cap.0)), Ok(written.to_owned()));
        }
        for wrong in ["", "theta", "theta=", "theta=a", "gamma=1", "ramp=1", "linear=-1", "wsd=1,2", "nesterov=1"] {
            assert!(transport(wrong).is_err(), "{wrong}");
            assert!(momentum(wrong).is_err(), "{wrong}");
            assert!(schedule(wrong).is_err(), "{wrong}");
            assert!(quintics(wrong).is_err(), "{wrong}");
            assert!(pull(wrong).is_err(), "{wrong}");
            assert!(cap(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_chain_has_a_name() {
        for expected in Quintics::ALL {
            assert_eq!(
                QUINTICS.iter().filter(|(name, found)| quintics(name) == Ok(*found) && *found == expected).count(),
                1
            );
            assert_eq!(quintics(&quintics_argument(expected)), Ok(expected));
        }
    }
}
