//! Page of a story, for readers who judge the board and for readers who are new to the method.

use super::chart::{Chart, Reference, Scale, Series, figure, pair, short, swatch};
use super::confusion::two_confusions;
use super::layout::Column::{Numbers, Words};
use super::layout::{document, points_above, table};
use super::{Control, Story, Summary};
use super::{kilobytes, same_bits, sentence, summary};
use crate::rehearse::{Method, Rehearsal};
use crate::replay::{Target, Verification};
use crate::rule::{momentum_words, pull_words, schedule_words, transport_words};
use crate::session::Memory;
use crate::statistics::{Spread, percent};
use crate::training::{GroupPoint, Training, TrainingPoint};
use maud::{Markup, html};

/// Returns the story as a self-contained HTML file.
pub fn page(story: &Story) -> String {
    let Story { training, rehearsal, session, verification, memory } = story;
    let summary = summary(story);
    let sections = html! {
        section { h2 { "What happened" } (steps(story, &summary)) }
        section { h2 { "Training on the workstation" } (training_section(training)) }
        section {
            h2 { "The board's rule compared with its controls" }
            (rehearsal_section(rehearsal, &summary))
        }
        section {
            h2 { "Bit-identical everywhere?" }
            (verification_section(verification, &session.digest, &summary))
        }
        @if let Some((before, after)) = &session.confusion {
            section { h2 { "Class by class, on the board" } (two_confusions(before, after)) }
        }
        section { h2 { "The firmware's memory" } (memory_section(memory)) }
        section { h2 { "How to reproduce it" } (reproduction(rehearsal)) }
    };
    document("Graftage: what the board learnt", &sentence(&summary), &sections)
}

/// Shows the key numbers, in four steps.
fn steps(story: &Story, summary: &Summary) -> Markup {
    let Story { training, session, .. } = story;
    let (train, test) = training.samples;
    let recovered = match summary.recovered {
        Some(share) if share < 0.0 => "Its accuracy is lower than before it learnt.".to_owned(),
        Some(share) => format!("It recovered {} of the accuracy lost to ageing.", percent(share)),
        None => "Ageing had cost no accuracy that could be recovered.".to_owned(),
    };
    let differing = if summary.targets.len() < 2 { "n/a".to_owned() } else { summary.differing_updates.to_string() };
    let step = |title: &str, key: &str, what: Markup| {
        html! { li { h3 { (title) } p class="key" { (key) } p { (what) } } }
    };
    let learnt = session.curve.iter().map(|(samples, share)| (*samples as f64, f64::from(*share) * 100.0));
    html! {
        ol class="steps" {
            (step("1. Trained", &percent(summary.accuracy_clean), html! {
                "accuracy on " (test) " test samples. On the workstation, a network (" (training.network) ", "
                (training.parameters) " parameters) learnt from " (train) " other samples."
            }))
            (step("2. The sensor aged", &percent(summary.accuracy_aged), html! {
                "accuracy on the same test samples seen through the aged sensor. The network now runs on the board, "
                (session.board) ", and is unchanged."
            }))
            (step("3. The board learnt", &percent(summary.accuracy_adapted), html! {
                "accuracy after " (session.samples) " labelled samples from the aged sensor: " (session.updates)
                " updates of the weights, all on the board, in " (short(session.seconds.into())) " s. " (recovered)
                @if session.verdict.alarm { " The session raised an alarm: its labels may be wrong." }
                @if session.refused > 0 { " Samples refused: " (session.refused) "." }
                @if session.dropped > 0 { " Frames dropped on the link: " (session.dropped) "." }
            }))
            (step("4. Checked", &differing, html! {
                "differences in " (summary.compared_updates) " updates, on " (summary.targets.len()) " targets. The board's "
                "updates are recomputed elsewhere from the record of its samples, and compared bit by bit."
            }))
        }
        (figure(Chart {
            title: "Share of samples that the board predicted correctly before it learnt them, over samples learnt",
            x: "samples learnt",
            y: "predicted correctly, in %",
            scale: Scale::Linear,
            series: vec![Series::new("", learnt)],
            references: vec![],
        }, "While it learns: the share of all samples so far that was predicted correctly before the board was told the label."))
    }
}

/// Describes the course of a training.
pub(super) fn training_section(training: &Training) -> Markup {
    let curve = |name: &str, y: fn(&TrainingPoint) -> Option<f32>| {
        let points = training.curve.iter().filter_map(|point| Some((point.step as f64, f64::from(y(point)?))));
        Series::new(name, points)
    };
    let losses = [
        curve("batches, at Y", |point| Some(point.loss)),
        curve("training part", |point| point.train_loss),
        curve("validation part", |point| point.validation_loss),
        curve("test part", |point| Some(point.test_loss)),
        curve("test part, averaged weights", |point| point.average_loss),
    ];
    let chart = |title, y, series| Chart { title, x: "step", y, scale: Scale::Linear, series, references: vec![] };
    let (ratios, duals) =
        (of_groups(training, |group| group.step_over_weights), of_groups(training, |group| group.dual));
    html! {
        p {
            (training.steps) " steps of " (training.optimizer) ", " (training.batch) " "
            @if training.unit == "tokens" { "windows of the text" } @else { "samples" }
            " each, in " (training.arithmetic) " arithmetic; step size " (short(training.rule.step_size.into()))
            " " (training.schedule.clone().unwrap_or_else(|| schedule_words(training.rule.schedule))) ", " (momentum_words(training.rule.momentum)) ", "
            (transport_words(training.rule.transport)) ", " (pull_words(training.rule.pull)) @for setting in &training.settings { ", " (setting) } ", seed " (training.seed) "."
        }
        (pair([
            (
                chart("Loss over steps", "loss in nats", losses.into()),
                "Mean loss; 0 would mean certainty in every correct answer.",
            ),
            (
                chart(
                    "Accuracy on the test part over steps",
                    "accuracy in %",
                    vec![curve("", |point| Some(100.0 * point.accuracy))],
                ),
                "Accuracy on the test part, which is never trained on.",
            ),
        ]))
        // A training by AdamW or SGD alone has none of these numbers.
        @if !ratios.is_empty() {
            (pair([
                (
                    chart("Length of the steps over that of the weights", "ratio", ratios),
                    "Norm of a step over the norm of the weights, by group of parameters.",
                ),
                (
                    chart("Dual norm of the momentum", "⟨M, U⟩", duals),
                    "First-order decrease of the loss for a step size of 1, by group of parameters.",
                ),
            ]))
        }
    }
}

/// Returns a curve for each group of parameters that has such numbers.
fn of_groups(training: &Training, number: fn(&GroupPoint) -> Option<f32>) -> Vec<Series> {
    let groups = training.curve.last().map_or(&[][..], |point| &point.groups);
    let curve = |name: &str| {
        let found = |point: &TrainingPoint| {
            let group = point.groups.iter().find(|group| group.group == name)?;
            Some((point.step as f64, f64::from(number(group)?)))
        };
        Series::new(name, training.curve.iter().filter_map(found))
    };
    groups.iter().filter(|group| number(group).is_some()).map(|group| curve(&group.group)).collect()
}

fn rehearsal_section(rehearsal: &Rehearsal, summary: &Summary) -> Markup {
    let Rehearsal { samples, tuned_on, reported_on, clean, aged, methods } = rehearsal;
    let line = |method: &Method| {
        Series::new(&method.name, method.curve.iter().map(|(x, y)| (*x as f64, f64::from(*y) * 100.0)))
    };
    let board = methods.first();
    let row = |mark: Markup, method: Option<&Method>, accuracy: &Spread| {
        html! {
            th scope="row" { (mark) }
            td { @if let Some(method) = method { (short(method.step_size.into())) } @else { "–" } }
            td { (with_deviation(accuracy)) }
            @match board {
                Some(board) if !std::ptr::eq(&board.accuracy, accuracy) => {
                    td { (points_above(accuracy.mean - board.accuracy.mean)) }
                    td { (seeds_won(accuracy, &board.accuracy)) }
                }
                _ => { td { "–" } td { "–" } }
            }
        }
    };
    let columns = [
        Numbers("Method"),
        Numbers("Step size"),
        Numbers("Accuracy, mean ± deviation"),
        Numbers("Difference in points"),
        Numbers("Seeds on which it is better"),
    ];
    html! {
        p {
            "A rehearsal on the workstation: " (reported_on.len()) " sensors age, each in its own way. On each of them, "
            "every method learns the same " (samples) " labelled samples, one by one. A method starts from the trained "
            "weights unless its name says otherwise. Each method's step size was chosen "
            @if tuned_on.iter().any(|seed| reported_on.contains(seed)) { "partly on the same sensors." }
            @else { "on other sensors." }
        }
        p { strong { (verdict(summary)) } }
        (figure(Chart {
            title: "Accuracy on aged test samples over samples learnt, for each method",
            x: "labelled samples learnt",
            y: "accuracy in %, mean over the reported ageing seeds",
            scale: Scale::Linear,
            series: methods.iter().map(line).collect(),
            references: [("as new", *clean), ("aged, not adapted", aged.mean)]
                .map(|(name, share)| Reference { name: name.to_owned(), y: f64::from(share) * 100.0 }).into(),
        }, "Accuracy on the aged test samples. The board's rule is the thick line."))
        (table(&columns, html! {
            @for (index, method) in methods.iter().enumerate() {
                tr class=[(index == 0).then_some("own")] {
                    (row(html! {
                        (swatch(index)) (method.name) @if index == 0 { " (the board's rule)" }
                    }, Some(method), &method.accuracy))
                }
            }
            tr { (row(html! { "Aged, not adapted" }, None, aged)) }
        }))
        details {
            summary { "How the step sizes were chosen" }
            p {
                "Mean final accuracy, on ageing seeds " (seeds(tuned_on)) "; the chosen step size is in bold. "
                @for method in methods.iter().filter(|method| at_edge(method)) {
                    "For " (method.name) ", it is the smallest or largest that was tried: a better one may lie beyond. "
                }
            }
            div class="scroll" {
                table {
                    @for method in methods {
                        tr {
                            th scope="row" { (method.name) }
                            @for (step, accuracy) in &method.grid {
                                td class=[(*step == method.step_size).then_some("chosen")] {
                                    (short((*step).into())) br; (percent(*accuracy))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Compares the controls with the board's rule, in words.
fn verdict(summary: &Summary) -> String {
    let by = |control: &Control| match points_above(control.lead(summary)).trim_start_matches(['+', '−']) {
        "0.0" => format!("less than 0.1 points{}", control.caution(summary)),
        points => format!("{points} points{}", control.caution(summary)),
    };
    let ranked = summary.ranked();
    let better = ranked.iter().take_while(|control| control.lead(summary) > 0.0);
    let better =
        better.map(|control| format!("{} does better than the board's rule by {}.", control.name, by(control)));
    match ranked.first().map(|best| (best, best.lead(summary))) {
        Some((_, lead)) if lead > 0.0 => better.collect::<Vec<_>>().join(" "),
        Some((best, 0.0)) => format!("No control does better than the board's rule; {} is level with it.", best.name),
        Some((best, lead)) if lead < 0.0 => {
            format!("No control does better than the board's rule. The best, {}, is behind by {}.", best.name, by(best))
        }
        _ => "There is nothing to compare the board's rule with.".to_owned(),
    }
}

fn verification_section(verification: &Verification, board: &str, summary: &Summary) -> Markup {
    let agree = verification.targets.iter().all(|target| target.digest.eq_ignore_ascii_case(board));
    html! {
        p {
            "The record holds every sample that the board took and, after each update, a digest of its state: a number "
            "that changes with any bit of the weights. The first target below was recorded; each of the others computed "
            "the updates independently from that record."
        }
        p {
            strong { (same_bits(summary)) }
            @if !agree { " Not all digests after the last update equal the board's, " code { (board) } "." }
        }
        (targets_table(&verification.targets))
    }
}

/// Builds a table of the results on each target, the record first.
pub(super) fn targets_table(targets: &[Target]) -> Markup {
    let columns =
        [Numbers("Target"), Numbers("Updates"), Numbers("Differing"), Words("First difference"), Words("Last digest")];
    html! {
        (table(&columns, html! {
            @for (index, target) in targets.iter().enumerate() {
                tr {
                    th scope="row" { (target.target) @if index == 0 { " (the record)" } }
                    td { (target.steps) }
                    td class=[(target.differing > 0).then_some("bad")] { (target.differing) }
                    td class="words" { (target.first_difference.as_deref().unwrap_or("none")) }
                    td class="words" { code { (target.digest) } }
                }
            }
        }))
    }
}

fn memory_section(memory: &Memory) -> Markup {
    let parts: u64 = memory.parts.iter().fold(0, |sum, part| sum.saturating_add(part.1));
    let rest = memory.ram.saturating_sub(parts);
    let largest = memory.parts.iter().map(|part| part.1).chain([memory.flash, memory.image, rest]).max().unwrap_or(0);
    let row = |name: &str, bytes: u64| {
        let width = bytes as f64 * 100.0 / largest.max(1) as f64;
        html! {
            tr {
                th scope="row" { (name) }
                td { (bytes) }
                td { (kilobytes(bytes)) }
                td class="bars" { span class="bar" style={ "width:" (format!("{width:.1}")) "%" } {} }
            }
        }
    };
    let head = |title: &str, total: Option<u64>| {
        let sum = total.map_or_else(String::new, |bytes| format!(", {} in total", kilobytes(bytes)));
        html! { tr { th scope="rowgroup" colspan="4" class="group" { (title) (sum) } } }
    };
    html! {
        p { "These sizes are known before the firmware starts, because it has no heap. 1 KB is 1024 bytes." }
        div class="scroll" {
            table class="memory" {
                thead {
                    tr {
                        th scope="col" { "Part" } th scope="col" { "Bytes" } th scope="col" { "KB" }
                        th scope="col" class="words" { "To scale" }
                    }
                }
                tbody {
                    (head("Flash", None))
                    (row("code and constants", memory.flash))
                    (row("weights image", memory.image))
                }
                tbody {
                    (head("RAM without the stack", Some(memory.ram)))
                    @for (part, bytes) in &memory.parts { (row(part, *bytes)) }
                    @if rest > 0 { (row("everything else", rest)) }
                }
            }
        }
    }
}

fn reproduction(rehearsal: &Rehearsal) -> Markup {
    html! {
        p { "In a checkout of Graftage, this command trains, rehearses, adapts, verifies and writes this page:" }
        pre { code { "cargo xtask demo" } }
        dl {
            dt { "Aged" }
            dd {
                "Each element of the sensor has aged independently: where it read x, it now reads gain · x + offset. An "
                "ageing seed determines the gain and offset of every element, and so stands for one aged sensor."
            }
            dt { "Mean ± deviation" }
            dd {
                "Mean and sample standard deviation of the accuracy over the reported ageing seeds, here "
                (seeds(&rehearsal.reported_on)) ". The deviation shows how much sensors differ, not how certain the mean "
                "is. A difference is “within one deviation” if it does not exceed the larger of the two methods' deviations."
            }
            dt { "Points" }
            dd { "Percentage points: from 90.0 % to 95.0 % is 5 points." }
            dt { "Transported Scion" }
            dd {
                "The rule that trains the network and updates it on the board. It keeps a running mean of gradients, taken "
                "slightly ahead of the weights in the direction of their last step. Each update then moves every layer "
                "against that mean by a fixed length, which the step size sets and a norm suited to the layer measures, so "
                "how far a session can move the weights is known before it begins. (Zhang and Lin 2026, "
                "arXiv 2605.18528.)"
            }
        }
    }
}

/// Formats a spread as `95.2 ± 1.1 %`; without a deviation for a single seed.
fn with_deviation(Spread { mean, deviation, by_seed }: &Spread) -> String {
    let percents = (mean * 100.0, deviation * 100.0);
    if percents.0.is_finite() && percents.1.is_finite() && by_seed.len() > 1 {
        format!("{:.1} ± {:.1} %", percents.0, percents.1)
    } else {
        percent(*mean)
    }
}

/// Counts the seeds in which one spread is above another, as `7 of 10 seeds`.
fn seeds_won(one: &Spread, other: &Spread) -> String {
    let (seeds, others) = (&one.by_seed, &other.by_seed);
    if seeds.is_empty() || seeds.len() != others.len() {
        return "n/a".to_owned();
    }
    format!("{} of {} seeds", seeds.iter().zip(others).filter(|(one, other)| one > other).count(), seeds.len())
}

/// Returns `true` if the chosen step size is the smallest or largest of several.
fn at_edge(method: &Method) -> bool {
    let steps = || method.grid.iter().map(|(step, _)| *step);
    method.grid.len() > 1
        && (steps().all(|step| step >= method.step_size) || steps().all(|step| step <= method.step_size))
}

/// Formats seeds as `1 to 10`, or one by one.
fn seeds(seeds: &[u64]) -> String {
    match seeds {
        [first, .., last] if seeds.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1])) => {
            format!("{first} to {last}")
        }
        _ => seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}
