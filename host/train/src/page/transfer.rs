//! Page of a transfer.

use crate::tournament::transfer::{Curve, Transfer};
use graftage::report::Column::Numbers;
use graftage::report::chart::{Chart, Scale, Series, figure, short};
use graftage::report::{document, table};
use maud::{Markup, html};

/// Returns a transfer as a self-contained HTML file.
pub fn transfer_page(transfer: &Transfer) -> String {
    let Transfer { network, steps, momentum, seeds, curves } = transfer;
    let lead = format!(
        "{network} and wider, {steps} steps at each step size and width, momentum {momentum}, mean of {} seeds: does the best \
         step size stay the same as the model grows?",
        seeds.len()
    );
    let mut names: Vec<_> = curves.iter().map(|curve| curve.name.as_str()).collect();
    names.dedup();
    let sections = html! {
        @for name in names {
            @let curves: Vec<_> = curves.iter().filter(|curve| curve.name == name).collect();
            section { h2 { (name) } (picture(&curves)) (widths(&curves)) }
        }
    };
    document("Graftage: step sizes across widths", &lead, &sections)
}

fn picture(curves: &[&Curve]) -> Markup {
    let line = |curve: &&Curve| {
        let points = curve.losses.iter().map(|(step, loss)| (f64::from(*step).log2(), loss.mean));
        Series::new(format!("width {}", curve.width), points)
    };
    let chart = Chart {
        title: "Final loss over the step size",
        x: "binary logarithm of the step size",
        y: "final loss in nats",
        scale: Scale::Linear,
        series: curves.iter().map(line).collect(),
        references: vec![],
    };
    figure(chart, "If the lowest points line up vertically, a step size tuned on a small model also suits a large one.")
}

fn widths(curves: &[&Curve]) -> Markup {
    let columns = [
        Numbers("width"),
        Numbers("parameters"),
        Numbers("best step size"),
        Numbers("its loss"),
        Numbers("cost of the first width's best step size"),
    ];
    let rows = html! {
        @for curve in curves { tr {
            th scope="row" { (curve.width) } td { (curve.parameters) }
            td { (short(curve.best.into())) @if curve.at_edge { ", at the edge of the grid" } }
            td { @for (step, loss) in &curve.losses { @if *step == curve.best {
                (loss.with_deviation(4))
            } } }
            td { (curve.cost.with_error(4)) }
        } }
    };
    table(&columns, rows)
}
