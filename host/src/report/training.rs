//! The page of one training.

use super::chart::{Chart, Line, short};
use super::page::{document, figure, thin, training_section};
use super::{Training, percent};
use maud::{Markup, html};

/// A training as one HTML file that needs nothing else.
pub fn training_page(training: &Training) -> String {
    let Training { network, parameters, loss, accuracy, samples: (train, test), .. } = training;
    let lead = format!(
        "{network} ({parameters} parameters) learnt from {train} samples by {}: after {} steps its loss on {test} others is \
         {loss:.4} nats, and {} of its answers are right.",
        training.optimizer,
        training.steps,
        percent(*accuracy),
    );
    let sections = html! {
        section { h2 { "How it went" } (training_section(training))
            @for note in training.notes() { p { (note) "." } }
        }
        section { h2 { "How fast it was" } (speed_section(training)) }
        @if let Some(groups) = &training.groups {
            section { h2 { "How each parameter was stepped" } pre { (groups) } }
        }
        section { h2 { "Measurements" } (table(training)) }
    };
    document("Graftage: a training", &lead, &sections)
}

fn speed_section(training: &Training) -> Markup {
    let rates = training.curve.iter().map(|point| (point.step as f64, f64::from(point.rate)));
    let share =
        training.curve.iter().map(|point| point.optimizer_share).sum::<f32>() / training.curve.len().max(1) as f32;
    let title = format!("{} a second", training.unit);
    let chart = Chart {
        title: &title,
        size: (640, 240),
        x: "step",
        y: &title,
        percent: false,
        lines: vec![Line { name: String::new(), points: thin(rates).0 }],
        references: vec![],
    };
    let caption =
        format!("{title}, measurements and checkpoints not counted. The optimizer took {} of it.", percent(share));
    figure(chart, &caption)
}

fn table(training: &Training) -> Markup {
    let measured = training.curve.iter().any(|point| point.train_loss.is_some());
    html! {
        details {
            summary { (training.curve.len()) " measurements" }
            div class="scroll" { table {
                thead { tr {
                    th { "step" } th { "loss of batches" }
                    @if measured { th { "loss, training part" } }
                    th { "loss, test part" } th { "accuracy" } th { (training.unit) " a second" }
                } }
                tbody { @for point in &training.curve { tr {
                    td { (point.step) } td { (short(point.loss.into())) }
                    @if measured { td { (point.train_loss.map_or(String::new(), |loss| short(loss.into()))) } }
                    td { (short(point.test_loss.into())) } td { (percent(point.accuracy)) } td { (short(point.rate.into())) }
                } } }
            } }
        }
    }
}
