//! Page of a record: the samples, sessions and steps of a board, and the resulting weights.

use super::chart::{Chart, Reference, Scale, Series, figure, short};
use super::confusion::two_confusions;
use super::layout::Column::{Numbers, Words};
use super::layout::{document, table};
use crate::confusion::{Compared, Confusion};
use crate::record::{Event, Record};
use crate::replay::Target;
use crate::statistics::percent;
use crate::verdict;
use graftage_core::image::Image;
use graftage_core::matrix::Slab;
use graftage_core::session::Verdict;
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

/// Number of samples in the running share of correct predictions.
const WINDOW: usize = 20;

/// Largest number of rows and of columns in a heat map. For a larger parameter, each cell shows the largest of several
/// weights.
const CELLS: usize = 96;

/// Contents of a record, with the results of computing it again.
#[derive(Debug)]
pub struct Account<'a> {
    /// Record.
    pub record: &'a Record,
    /// Image from which the board started.
    pub image: &'a Image<'a>,
    /// Weights in use at the end, parameter by parameter, row by row.
    pub in_use: &'a [f32],
    /// Shape (m, n) of every parameter.
    pub shapes: &'a [(usize, usize)],
    /// Results of computing the record again, the board first.
    pub targets: &'a [Target],
    /// Description of the damage to the record's bytes, if there is any.
    pub damage: Option<String>,
    /// Counts of test samples by class and predicted class, if there are test samples: before with the image, after
    /// with the weights in use at the end.
    pub confusions: Option<Compared<Confusion>>,
}

/// A record in the order of its labelled samples.
#[derive(Default)]
struct Course {
    /// (samples taken, `true` if the last of them was predicted correctly before it was learnt).
    right: Vec<(usize, bool)>,
    /// (step, loss at the query point).
    loss: Vec<(f64, f64)>,
    /// (step, movement of the session so far).
    movement: Vec<(f64, f64)>,
    sessions: Vec<Session>,
    /// (samples taken before, reason).
    refused: Vec<(usize, String)>,
    held_out: usize,
}

struct Session {
    /// Number of labelled samples taken up to its end.
    samples: usize,
    steps: u64,
    movement: f32,
    verdict: Verdict,
}

impl Course {
    fn of(record: &Record, image: &Image) -> Self {
        let (mut course, mut movement, mut step) = (Self::default(), 0.0, 0);
        let rule = &image.header.recipe.rule;
        for event in &record.events {
            match event {
                Event::Sample(lesson) => {
                    let taken = course.right.len() + 1;
                    course.right.push((taken, lesson.taken.prediction.class == lesson.label));
                    course.held_out += usize::from(lesson.taken.held_out);
                    for report in &lesson.reports {
                        step = report.step;
                        movement = (movement + rule.movement(step)).min(rule.reach());
                        course.loss.push((step as f64, report.outcome.loss.into()));
                        course.movement.push((step as f64, movement.into()));
                    }
                }
                Event::Refused(refused) => course.refused.push((course.right.len(), refused.why.to_string())),
                Event::State(_) | Event::Gap => {}
                Event::End(ended) => {
                    let (samples, verdict) = (course.right.len(), ended.verdict);
                    course.sessions.push(Session { samples, steps: step, movement, verdict });
                    movement = 0.0;
                }
            }
        }
        course
    }

    /// Returns the share of correct predictions over all samples so far and, once there are more than [`WINDOW`]
    /// samples, over the last [`WINDOW`].
    fn shares(&self) -> [Series; 2] {
        let share = |window: usize| {
            self.right.iter().enumerate().map(move |(index, (taken, _))| {
                let of = &self.right[(index + 1).saturating_sub(window)..=index];
                let right = of.iter().filter(|(_, right)| *right).count();
                (*taken as f64, 100.0 * right as f64 / of.len() as f64)
            })
        };
        let last = Series::new(format!("of the last {WINDOW}"), share(WINDOW).skip(WINDOW));
        [Series::new(if last.line.is_empty() { "" } else { "of all so far" }, share(usize::MAX)), last]
    }
}

/// Change of a parameter.
struct Moved<'a> {
    /// Number of the parameter, from 1.
    number: usize,
    shape: (usize, usize),
    norm: String,
    radius: f32,
    /// X at the end minus X of the image.
    differences: &'a [f32],
    /// Norm of the difference, in radii; `None` for a frozen parameter.
    movement: Option<f32>,
}

/// Returns the account as a self-contained HTML file.
pub fn account_page(account: &Account) -> String {
    let Account { record, image, in_use, shapes, targets, damage, confusions } = account;
    let course = Course::of(record, image);
    let differences: Vec<f32> = in_use.iter().zip(image.weights()).map(|(end, start)| end - start).collect();
    let committed: f32 = course.sessions.iter().filter(|s| s.verdict.committed).map(|s| s.movement).sum();
    // A weight that starts at the centre of its ball can move only half of the ball's diameter.
    let bound = committed.min(image.header.recipe.rule.reach() / 2.0);
    let sections = html! {
        section { h2 { "The course of learning" } (course_section(&course, image.header.recipe.budget)) }
        @if let Some(Compared { before, after }) = confusions {
            section {
                h2 { "Before and after" }
                ol class="steps" {
                    li {
                        h3 { "The image" }
                        p class="key" { (percent(before.accuracy())) }
                        p { "accuracy on " (before.samples()) " test samples" }
                    }
                    li {
                        h3 { "The weights in use at the end" }
                        p class="key" { (percent(after.accuracy())) }
                        p { "accuracy on the same test samples" }
                    }
                }
                h3 class="above" { "Class by class" }
                (two_confusions(before, after))
            }
        }
        section { h2 { "Sessions" } (sessions_section(&course)) }
        @if !course.refused.is_empty() { section { h2 { "Refused samples" } (refused_section(&course)) } }
        section {
            h2 { "Changes of the weights" }
            (weights_section(&moved(image, shapes, &differences), bound))
        }
        section { h2 { "Verification" } (targets_section(targets, damage.as_deref())) }
    };
    document("Graftage: what a board has learnt", &lead(account, &course), &sections)
}

/// Summarises the page in one or two sentences.
fn lead(Account { record, targets, damage, .. }: &Account, course: &Course) -> String {
    let samples = course.right.len();
    let right = course.right.iter().filter(|(_, right)| *right).count();
    let differing: u64 = targets.iter().map(|target| target.differing).sum();
    let verdict = match (damage, differing) {
        (None, 0) if record.has_gap() => {
            "Recomputed, everything in the record is bit-identical; later events were not recorded.".to_owned()
        }
        (None, 0) => "Recomputed, everything is bit-identical.".to_owned(),
        (Some(damage), 0) => format!("But {damage}; everything before that is bit-identical when recomputed."),
        (_, differing) => format!("Recomputed, it is NOT the same: it differs in {differing} places."),
    };
    format!(
        "{} took {samples} labelled samples in {} steps, {} of them predicted correctly before it was told the label. {verdict}",
        record.board,
        course.loss.len(),
        percent(right as f32 / samples as f32),
    )
}

fn course_section(course: &Course, budget: Option<f32>) -> Markup {
    let chart = |title, x, y, series, references| Chart { title, x, y, scale: Scale::Linear, series, references };
    let steps = |points: &[(f64, f64)]| vec![Series::new("", points.iter().copied())];
    let budget = budget.map(|budget| Reference { name: "budget".to_owned(), y: budget.into() });
    html! {
        (figure(
            chart(
                "Share of samples predicted correctly before they were learnt",
                "labelled samples",
                "predicted correctly, in %",
                course.shares().into(),
                vec![],
            ),
            &format!(
                "Predicted by the session's weights before the board was told the label: of all samples so far and, if there \
                 are more, of the last {WINDOW}.",
            ),
        ))
        (figure(
            chart("Loss over steps", "step", "loss in nats", steps(&course.loss), vec![]),
            "Mean loss of each step's samples, at the query point.",
        ))
        (figure(
            chart("Movement over steps", "step", "movement in radii", steps(&course.movement), budget.into_iter().collect()),
            "The furthest that any matrix can have moved since the session began, in radii of its norm.",
        ))
    }
}

fn sessions_section(course: &Course) -> Markup {
    if course.sessions.is_empty() {
        return html! { p { "No session has ended: the weights in use are those of the image." } };
    }
    let columns = [
        Numbers("Session"),
        Numbers("Samples so far"),
        Numbers("Steps so far"),
        Numbers("Movement in radii"),
        Numbers("Held out"),
        Numbers("Correct before"),
        Numbers("Correct after"),
        Words("Verdict"),
    ];
    html! {
        p {
            (course.held_out) " samples were held out to judge sessions. A session is committed if its weights predict at least "
            "as many held-out samples correctly as the weights in use, both of its own and of those kept from earlier "
            "sessions; otherwise it is rolled back. After two roll-backs in a row, its own alone decide."
        }
        (table(&columns, html! {
            @for (index, Session { samples, steps, movement, verdict }) in course.sessions.iter().enumerate() {
                tr {
                    th scope="row" { (index + 1) }
                    td { (samples) }
                    td { (steps) }
                    td { (short((*movement).into())) }
                    @let all = verdict.all();
                    td { (all.held_out) }
                    td { (all.before) }
                    td { (all.after) }
                    td class=(if verdict.committed { "words" } else { "words bad" }) {
                        (verdict::outcome(verdict))
                        @if let Some(halves) = verdict::halves(verdict) { ": " (halves) }
                    }
                }
            }
        }))
        @for alarm in (1..).zip(&course.sessions).filter_map(|(number, session)| verdict::alarm(number, &session.verdict)) {
            p class="bad" { (alarm) }
        }
    }
}

fn refused_section(course: &Course) -> Markup {
    let columns = [Numbers("Samples before it"), Words("Reason")];
    html! {
        p { "Refused samples, " (course.refused.len()) " in total, changed nothing." }
        (table(&columns, html! {
            @for (taken, why) in &course.refused { tr { th scope="row" { (taken) } td class="words" { (why) } } }
        }))
    }
}

/// Returns the change of every parameter.
fn moved<'a>(image: &Image, shapes: &[(usize, usize)], differences: &'a [f32]) -> Vec<Moved<'a>> {
    let mut rest = differences;
    let parameters = shapes.iter().zip(&image.header.geometries).enumerate();
    let moved = parameters.map_while(|(index, (&(m, n), geometry))| {
        let (mine, others) = rest.split_at_checked(m * n)?;
        rest = others;
        let norm = Slab::new(m, n, mine.to_vec()).and_then(|z| geometry.norm.of(&z, &mut vec![0.0; m + n]));
        Some(Moved {
            number: index + 1,
            shape: (m, n),
            norm: format!("{:?}", geometry.norm),
            radius: geometry.radius,
            differences: mine,
            movement: norm.filter(|_| geometry.radius > 0.0).map(|norm| norm / geometry.radius),
        })
    });
    moved.collect()
}

fn weights_section(moved: &[Moved], bound: f32) -> Markup {
    let columns = [
        Numbers("Parameter"),
        Numbers("Shape"),
        Words("Norm"),
        Numbers("Radius"),
        Numbers("Movement in radii"),
        Numbers("Share of the bound"),
        Numbers("Largest"),
        Numbers("Weights that differ"),
    ];
    html! {
        p {
            "The difference between the weights in use at the end and those of the image, measured in radii of the norm that "
            "the parameter's steps have. Committed steps cannot have taken it beyond " (short(bound.into()))
            ", the sum of the committed sessions' movements or, if less, the ball around the image's weights."
        }
        (table(&columns, html! {
            @for Moved { number, shape: (m, n), norm, radius, differences, movement } in moved {
                tr {
                    th scope="row" { (number) }
                    td { (m) "×" (n) }
                    td class="words" { (norm) }
                    td { (short((*radius).into())) }
                    td { @match movement { Some(movement) => (short((*movement).into())), None => "frozen" } }
                    td {
                        @match movement.filter(|_| bound > 0.0) {
                            Some(movement) => (percent(movement / bound)),
                            None => "–",
                        }
                    }
                    td { (short(largest(differences).into())) }
                    td { (differences.iter().filter(|d| **d != 0.0).count()) " of " (differences.len()) }
                }
            }
        }))
        @for parameter in moved.iter().filter(|parameter| largest(parameter.differences) > 0.0) { (heat_map(parameter)) }
    }
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |largest, number| largest.max(number.abs()))
}

/// Number of shades in a heat map on each side of 0.
const SHADES: usize = 8;

/// Draws a cell for each weight. The colour shows the sign of the difference, the opacity its size.
fn heat_map(Moved { number, shape: (m, n), differences, .. }: &Moved) -> Markup {
    let (tall, wide) = (m.div_ceil(CELLS), n.div_ceil(CELLS));
    let (rows, columns) = (m.div_ceil(tall), n.div_ceil(wide));
    let most = largest(differences);
    let mut shades = vec![String::new(); 2 * SHADES];
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let inside = (row * tall..(row * tall + tall).min(*m)).flat_map(|i| {
            let end = (column * wide + wide).min(*n);
            &differences[i * n + column * wide..i * n + end]
        });
        let cell = inside.fold(0.0f32, |cell, e| if e.abs() > cell.abs() { *e } else { cell });
        let shade = (cell.abs() / most * SHADES as f32).ceil() as usize;
        if shade > 0 {
            let path = &mut shades[shade.min(SHADES) - 1 + if cell < 0.0 { SHADES } else { 0 }];
            // Writing to a string never fails.
            let _ = write!(path, "M{column} {row}h1v1h-1z");
        }
    }
    let side = (860 / columns.max(1)).min(480 / rows.max(1)).clamp(4, 16);
    let mut paths = String::new();
    for (index, path) in shades.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        let (colour, opacity) = (index / SHADES, (index % SHADES + 1) as f32 / SHADES as f32);
        let _ = write!(paths, r#"<path fill="var(--series-{colour})" fill-opacity="{opacity}" d="{path}"/>"#);
    }
    let title = format!("Differences in parameter {number}, {m} rows and {n} columns");
    let several = if tall * wide > 1 {
        format!(" A cell shows the largest of {tall}×{wide} differences.")
    } else {
        String::new()
    };
    html! {
        figure {
            svg class="map" role="img" viewBox={ "0 0 " (columns) " " (rows) } style={ "--width:" (columns * side) "px" }
                shape-rendering="crispEdges" {
                title { (title) }
                (PreEscaped(paths))
            }
            figcaption {
                "Parameter " (number) ", one row for each output: blue weights have grown, orange weights have fallen; the strongest shade is a change of "
                (short(most.into())) "." (several)
            }
        }
    }
}

fn targets_section(targets: &[Target], damage: Option<&str>) -> Markup {
    html! {
        @if let Some(damage) = damage { p class="bad" { "Only the beginning of the record can be read: " (damage) "." } }
        (super::page::targets_table(targets))
        @for target in targets.iter().filter(|target| !target.arrays.is_empty()) {
            p { "Differences from the state read from the board, on " (target.target) ":" }
            ul { @for array in &target.arrays { li { (array) } } }
        }
    }
}
