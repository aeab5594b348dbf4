//! Tests that options and pages state the defaults in [`Recipe::DEFAULT`].

use crate::common::Folder;
use graftage::rule;
use graftage_core::adapt::Recipe;
use std::collections::BTreeMap;

/// Returns the default of each option of `graft` that is a part of its recipe; `None` if it has none.
fn defaults() -> BTreeMap<&'static str, Option<String>> {
    let Recipe { rule, batch, steps, replay, seed, budget, hold_out, cap, functions: _ } = Recipe::DEFAULT;
    BTreeMap::from([
        ("--step-size", Some(rule.step_size.to_string())),
        ("--momentum", Some(rule::momentum_argument(rule.momentum))),
        ("--transport", Some(rule::transport_argument(rule.transport))),
        ("--schedule", Some(rule::schedule_argument(rule.schedule))),
        ("--quintics", Some(rule::quintics_argument(rule.quintics))),
        ("--pull", Some(rule::pull_argument(rule.pull))),
        ("--cap", Some(rule::cap_argument(cap))),
        ("--batch", Some(batch.to_string())),
        ("--steps", Some(steps.to_string())),
        ("--replay", Some(replay.to_string())),
        ("--seed", Some(seed.to_string())),
        ("--movement-budget", budget.map(|budget| budget.to_string())),
        ("--hold-out", hold_out.map(|hold_out| format!("{hold_out:?}"))),
    ])
}

#[test]
fn the_page_shows_the_default_of_each_option() {
    let page = include_str!("../../../../docs/adaptation.md");
    let (_, table) = page.split_once("| option of `graft` | default |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cell = |text: &str| text.trim().strip_prefix('`')?.strip_suffix('`').map(str::to_owned);
    let mut shown: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            (cell(cells[1]).unwrap_or_else(|| panic!("{row}")), cell(cells[2]))
        })
        .collect();
    // The number of layers that learn is no part of the recipe.
    assert_eq!(shown.remove("--train-last"), Some(None));
    let expected = defaults().into_iter().map(|(option, default)| (option.to_owned(), default));
    assert_eq!(shown, expected.collect());
}

#[test]
fn an_option_that_is_not_given_is_the_default() {
    let help = Folder::empty().graftage("graft --help").succeeded();
    for (option, default) in defaults() {
        let (_, about) = help.split_once(&format!("      {option}")).unwrap_or_else(|| panic!("no {option}: {help}"));
        let about = about.split("\n      --").next().unwrap();
        let said = about.split_once("[default: ").map(|(_, rest)| rest.split_once(']').unwrap().0.to_owned());
        assert_eq!(said, default, "{option}");
    }
}
