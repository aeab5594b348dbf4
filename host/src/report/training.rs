//! Page of one training.

use super::chart::{Chart, Scale, Series, figure, short};
use super::confusion::confusion;
use super::layout::document;
use super::page::training_section;
use super::{Training, percent};
use maud::{Markup, html};

/// Returns a training as a self-contained HTML file.
pub fn training_page(training: &Training) -> String {
    let sections = html! {
        section { h2 { "Progress" } (training_section(training))
            @for note in training.notes() { p { (note) "." } }
        }
        @if let Some(counted) = &training.confusion {
            section { h2 { "Which classes are confused" } (confusion(counted)) }
        }
        section { h2 { "Speed" } (speed_section(training)) }
        @if let Some(groups) = &training.groups {
            section { h2 { "The steps of each parameter" } pre { (groups) } }
        }
        section { h2 { "Measurements" } (table(training)) }
    };
    document("Graftage: a training", &lead(training), &sections)
}

/// Summarises the page in one or two sentences.
fn lead(training: &Training) -> String {
    let Training { network, parameters, optimizer, steps, batch, loss, accuracy, samples: (train, test), .. } =
        training;
    let (what, drawn) = match training.unit.as_str() {
        "tokens" => ("windows of the text", format!("{} tokens", training.drawn)),
        _ => ("samples", training.drawn.to_string()),
    };
    let loss = match loss.abs() {
        0.0..1e6 => format!("{loss:.4} nats"),
        size if size.is_finite() => format!("{} nats", short((*loss).into())),
        _ => "not a finite number".to_owned(),
    };
    format!(
        "{network} ({parameters} parameters) was trained by {optimizer}: {steps} steps of {batch} {what}, {drawn} drawn \
         from a training part of {train}. On the test part of {test}, the loss is {loss} and the accuracy {}.",
        percent(*accuracy),
    )
}

fn speed_section(training: &Training) -> Markup {
    let rates = training.curve.iter().map(|point| (point.step as f64, f64::from(point.rate)));
    let share =
        training.curve.iter().map(|point| point.optimizer_share).sum::<f32>() / training.curve.len().max(1) as f32;
    let title = format!("{} per second", training.unit);
    let chart = Chart {
        title: &title,
        x: "step",
        y: &title,
        scale: Scale::Linear,
        series: vec![Series::new("", rates)],
        references: vec![],
    };
    let caption = format!("Excluding measurements and checkpoints. The optimizer took {} of the time.", percent(share));
    figure(chart, &caption)
}

fn table(training: &Training) -> Markup {
    let measured = training.curve.iter().any(|point| point.train_loss.is_some());
    html! {
        details {
            summary { (training.curve.len()) " measurements" }
            div class="scroll" { table {
                thead { tr {
                    th { "step" } th { "loss on batches" }
                    @if measured { th { "loss, training part" } }
                    th { "loss, test part" } th { "accuracy" } th { (training.unit) " per second" }
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
