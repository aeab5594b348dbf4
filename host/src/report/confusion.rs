//! Tables of classes against predicted classes.

use super::layout::Column::{Numbers, Words};
use super::layout::{points_above, table};
use crate::confusion::{ByClass, Compared, Confusion, Mistake, cut, pairs};
use crate::statistics::percent;
use maud::{Markup, html};

/// Largest number of classes whose matrix is shown completely. For more, only the most important rows are shown.
const WHOLE: usize = 20;

/// Largest length of a class's name in a matrix and in a row, in characters.
const NAME: (usize, usize) = (14, 48);

/// Percentage of the strongest shade. Text on top of it stays readable.
const SHADE: f64 = 55.0;

/// Shows the matrix of up to [`WHOLE`] classes; for more, the weakest classes and the most frequent mistakes.
pub fn confusion(confusion: &Confusion) -> Markup {
    let classes = confusion.by_class();
    html! {
        p {
            "Of " (confusion.samples()) " samples, " (percent(confusion.accuracy())) " are predicted correctly."
            @let mistakes = confusion.mistakes();
            @if let Some(Mistake { class, predicted, count }) = mistakes.first() {
                " The most frequent mistake: " (times(*count)) ", " (quoted(confusion, *class)) " is taken for "
                (quoted(confusion, *predicted)) "."
            }
        }
        @if classes.len() <= WHOLE { (matrix(confusion, &classes)) } @else { (most(confusion, classes)) }
    }
}

/// Compares the same samples before and after: class by class, with both matrices if there are few classes.
pub fn two_confusions(before: &Confusion, after: &Confusion) -> Markup {
    let mut rows = pairs(before, after);
    let all = rows.len();
    let change = |Compared { before, after }: &Compared<ByClass>| after.accuracy() - before.accuracy();
    if all > WHOLE {
        // The worst losses and the greatest gains.
        rows.sort_by(|one, other| change(one).total_cmp(&change(other)));
        rows.drain(WHOLE / 2..all - WHOLE / 2);
    }
    let row = |name: &str, samples: u64, before: f32, after: f32| {
        html! {
            th scope="row" { (cut(name, NAME.1)) }
            td { (samples) } td { (percent(before)) } td { (percent(after)) }
            td class=[(after < before).then_some("bad")] { (points_above(after - before)) }
        }
    };
    let columns =
        [Numbers("Class"), Numbers("Samples"), Numbers("Before"), Numbers("After"), Numbers("Difference in points")];
    html! {
        @if all > WHOLE {
            p { "Of " (all) " classes, those whose accuracy fell the most and those whose accuracy rose the most." }
        }
        (table(&columns, html! {
            @for Compared { before, after } in &rows {
                @let class = if after.samples > 0 { after } else { before };
                tr { (row(&class.name, class.samples, before.accuracy(), after.accuracy())) }
            }
            tr class="own" {
                (row("all", before.samples().max(after.samples()), before.accuracy(), after.accuracy()))
            }
        }))
        h3 class="above" { "Before" } (confusion(before))
        h3 class="above" { "After" } (confusion(after))
    }
}

/// Draws a row for each class of samples and a column for each predicted class.
fn matrix(confusion: &Confusion, classes: &[ByClass]) -> Markup {
    let cell = |class: &ByClass, predicted: &ByClass| {
        let count = confusion.count(class.class, predicted.class);
        let share = if class.samples > 0 { count as f64 / class.samples as f64 } else { 0.0 };
        let kind = match (count, class.class == predicted.class) {
            (0, _) => "none",
            (_, true) => "right",
            (_, false) => "wrong",
        };
        html! { td class=(kind) style={ "--part:" (format!("{:.0}", SHADE * share)) "%" } { (count) } }
    };
    // Names are upright if they are wider than the counts below them.
    let upright = classes.iter().any(|class| class.name.chars().count() > 4);
    html! {
        div class="scroll" {
            table class="confusion" {
                thead { tr {
                    th scope="col" { "Class" }
                    @for predicted in classes {
                        th scope="col" class=[upright.then_some("upright")] title=(predicted.name) {
                            (cut(&predicted.name, NAME.0))
                        }
                    }
                    th scope="col" { "Correct" }
                } }
                tbody { @for class in classes { tr {
                    th scope="row" title=(class.name) { (cut(&class.name, NAME.0)) }
                    @for predicted in classes { (cell(class, predicted)) }
                    th scope="row" { (percent(class.accuracy())) }
                } } }
            }
        }
        p class="note" {
            "Each row holds the samples of a class, each column those predicted to be of a class. Blue is correct, orange is "
            "wrong; the stronger the shade, the larger the share of the row."
        }
    }
}

/// Shows the most important rows of many classes.
fn most(confusion: &Confusion, mut classes: Vec<ByClass>) -> Markup {
    let all = classes.len();
    classes.retain(|class| class.samples > 0);
    classes.sort_by(|one, other| one.accuracy().total_cmp(&other.accuracy()).then(other.samples.cmp(&one.samples)));
    let samples = |class: u32| classes.iter().find(|other| other.class == class).map_or(0, |class| class.samples);
    let weakest = [Numbers("Class"), Numbers("Samples"), Numbers("Correct"), Numbers("Share correct")];
    let mistaken = [Numbers("Class"), Words("Taken for"), Numbers("Times"), Numbers("Share of the class")];
    html! {
        p {
            "There are " (all) " classes, " (classes.len()) " of them with samples. These have the lowest accuracy:"
        }
        (table(&weakest, html! { @for class in classes.iter().take(WHOLE) { tr {
            th scope="row" { (cut(&class.name, NAME.1)) }
            td { (class.samples) } td { (class.right) } td { (percent(class.accuracy())) }
        } } }))
        @let mistakes = confusion.mistakes();
        @if !mistakes.is_empty() {
            p { "The most frequent mistakes:" }
            (table(&mistaken, html! { @for Mistake { class, predicted, count } in mistakes.iter().take(WHOLE) { tr {
                th scope="row" { (cut(&confusion.name(*class), NAME.1)) }
                td class="words" { (cut(&confusion.name(*predicted), NAME.1)) }
                td { (count) } td { (percent(*count as f32 / samples(*class) as f32)) }
            } } }))
        }
    }
}

fn quoted(confusion: &Confusion, class: u32) -> String {
    format!("“{}”", cut(&confusion.name(class), NAME.1))
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}
