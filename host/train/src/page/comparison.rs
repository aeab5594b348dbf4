//! Page of a comparison.

use crate::tournament::compare::{Comparison, Row};
use graftage::report::Column::Numbers;
use graftage::report::chart::{Chart, Reference, Scale, Series, figure, short};
use graftage::report::{document, table};
use graftage::statistics::Moments;
use maud::{Markup, html};

/// Returns a comparison as a self-contained HTML file.
pub fn comparison_page(comparison: &Comparison) -> String {
    let Comparison { network, steps, target, part, tuned_on, reported_on, rows, warnings } = comparison;
    let lead = format!(
        "{network}: {steps} steps with each optimizer, from the same weights and with the same batches. The loss is the mean on \
         the {part} part, in nats.",
    );
    let seeds = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let sections = html! {
        section { h2 { "Results" }
            p { "Step size and momentum were chosen on seeds " (seeds(tuned_on)) "; the results are from seeds "
                (seeds(reported_on)) ". Differences and ratios are taken seed by seed against the first row, with the standard \
                error of their mean. The target is a loss of " (short((*target).into())) "." }
            (results(rows))
            @for warning in warnings { p { (warning) "." } }
        }
        section { h2 { "Curves" } (curves(comparison)) }
        section { h2 { "Pairs tried" } (grids(rows)) }
    };
    document("Graftage: optimizers side by side", &lead, &sections)
}

fn with_error(spread: &Option<Moments>) -> String {
    let signed = |spread: Moments| format!("{}{}", if spread.mean < 0.0 { "" } else { "+" }, spread.with_error(4));
    spread.map_or("–".to_owned(), |spread| signed(spread).replace('-', "−"))
}

fn results(rows: &[Row]) -> Markup {
    let columns = [
        Numbers("optimizer"),
        Numbers("step size"),
        Numbers("momentum"),
        Numbers("final loss"),
        Numbers("difference from the first"),
        Numbers("steps to target"),
        Numbers("ratio to the first"),
        Numbers("test loss"),
        Numbers("test accuracy"),
    ];
    let rows = html! {
        @for row in rows { tr {
            th scope="row" { (row.name) }
            td { (short(row.step_size.into())) } td { (short(row.momentum.into())) }
            td { (row.last.with_deviation(4)) }
            td { (with_error(&row.difference)) }
            td { @match &row.reached {
                Some(steps) => { (steps.with_deviation(0)) }
                None => { "not in all runs" }
            } }
            td { @match &row.ratio {
                Some(ratio) => { (ratio.with_error(2)) }
                None => { "–" }
            } }
            td { (format!("{:.4}", row.test.mean)) }
            td { (format!("{:.2} %", 100.0 * row.accuracy.mean)) }
        } }
    };
    table(&columns, rows)
}

/// Draws the mean curve of each row without its first tenth, in which the losses are large and not informative.
fn curves(comparison: &Comparison) -> Markup {
    let line = |row: &Row| {
        let runs = &row.runs;
        let shortest = runs.iter().map(|run| run.curve.len()).min().unwrap_or(0);
        let mean = |at: usize| runs.iter().map(|run| f64::from(run.curve[at].1)).sum::<f64>() / runs.len() as f64;
        let points = (shortest / 10..shortest).map(|at| (runs[0].curve[at].0 as f64, mean(at)));
        Series::new(&row.name, points)
    };
    // More than six lines are hard to distinguish, so only the best by final loss are shown.
    let mut rows: Vec<_> = comparison.rows.iter().collect();
    rows.sort_by(|a, b| a.last.mean.total_cmp(&b.last.mean));
    let chart = Chart {
        title: "Loss over steps",
        x: "step",
        y: "loss in nats",
        scale: Scale::Linear,
        series: rows.into_iter().take(6).map(line).collect(),
        references: vec![Reference { name: "target".to_owned(), y: comparison.target.into() }],
    };
    figure(
        chart,
        "Mean over the reported seeds, without the first tenth of the measurements, for the six rows with the \
         lowest final loss.",
    )
}

fn grids(rows: &[Row]) -> Markup {
    let columns =
        [Numbers("step size"), Numbers("momentum"), Numbers("final loss or steps, mean over the tuning seeds")];
    html! {
        @for row in rows.iter().filter(|row| !row.grid.is_empty()) {
            details {
                summary { (row.name) ": " (row.grid.len()) " pairs" }
                (table(&columns, html! {
                    @for (step, momentum, loss) in &row.grid {
                        tr class=[((step, momentum) == (&row.step_size, &row.momentum)).then_some("chosen")] {
                            td { (short((*step).into())) } td { (short((*momentum).into())) } td { (short((*loss).into())) }
                        }
                    }
                }))
            }
        }
    }
}
