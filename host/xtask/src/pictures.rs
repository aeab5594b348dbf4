//! `cargo xtask pictures`: draws the pictures of the README, light and dark, from the demo's results.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{console, project};

/// Draws both pictures.
pub fn run() -> Result<()> {
    let docs = project::root().join("docs");
    let results = project::root().join("target/demo/rehearsal.json");
    let demo = demo(&read(&results)?).with_context(|| format!("{}: not a rehearsal of the demo", results.display()))?;
    for (name, picture) in [("flow.svg", flow()), ("demo.svg", demo)] {
        std::fs::write(docs.join(name), picture)?;
        console::say(&format!("docs/{name}"));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).with_context(|| format!("{}: run `cargo xtask demo` first", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Colours, for a light and for a dark page.
const STYLE: &str = "<style>
  svg { --ink: #1c2024; --muted: #5c646c; --grid: #d9dcd8; --panel: #f1f2ee; --s0: #0b57b0; --s1: #b8430b; --s2: #19752f; --s3: #8432c8 }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6e8ea; --muted: #9aa3ab; --grid: #3a4046; --panel: #20252a; --s0: #6cb0ff; --s1: #ff9d66; --s2: #6fd08a; --s3: #c79bff }
  }
  text { font: 14px system-ui, sans-serif; fill: var(--ink) }
  .small { font-size: 12px; fill: var(--muted) }
  .strong { font-weight: 600 }
  rect { fill: var(--panel); stroke: var(--grid) }
  path { fill: none; stroke: var(--muted) }
</style>
";

/// A picture of this size, in pixels, that screen readers announce by its title.
fn svg(width: u32, height: u32, title: &str, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n<title>{title}</title>\n{STYLE}{content}</svg>\n"
    )
}

/// Steps of the flow: place of the box as (column, row), heading, and what happens there.
const STEPS: [((u32, u32), &str, &str); 6] = [
    ((0, 0), "Train", "graftage train, on a GPU"),
    ((1, 0), "Graft", "checkpoint → weights image"),
    ((2, 0), "Flash", "firmware with the same core"),
    ((2, 1), "Adapt", "the board learns, for its user"),
    ((1, 1), "Record", "every sample and every step"),
    ((0, 1), "Replay", "the same bits, or the first that differ"),
];

/// The flow from data to audit.
fn flow() -> String {
    const BOX: (u32, u32) = (240, 64);
    const GAP: (u32, u32) = (44, 44);
    let corner = |(column, row): (u32, u32)| (10 + column * (BOX.0 + GAP.0), 10 + row * (BOX.1 + GAP.1));
    let mut content = String::from(
        "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8\"/></marker></defs>\n",
    );
    for (place, heading, what) in STEPS {
        let ((x, y), middle) = (corner(place), BOX.0 / 2);
        // Writing to a string never fails.
        let _ = writeln!(
            content,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/><text class=\"strong\" x=\"{}\" y=\"{}\" \
             text-anchor=\"middle\">{heading}</text><text class=\"small\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{what}</text>",
            BOX.0,
            BOX.1,
            x + middle,
            y + 28,
            x + middle,
            y + 48
        );
    }
    for pair in STEPS.windows(2) {
        let (((c0, r0), ..), ((c1, r1), ..)) = (pair[0], pair[1]);
        let ((x0, y0), (x1, y1)) = (corner((c0, r0)), corner((c1, r1)));
        let d = match (c1.cmp(&c0), r0 == r1) {
            (std::cmp::Ordering::Greater, _) => format!("M{} {}H{}", x0 + BOX.0 + 4, y0 + BOX.1 / 2, x1 - 4),
            (std::cmp::Ordering::Less, _) => format!("M{} {}H{}", x0 - 4, y0 + BOX.1 / 2, x1 + BOX.0 + 4),
            (std::cmp::Ordering::Equal, _) => format!("M{} {}V{}", x0 + BOX.0 / 2, y0 + BOX.1 + 4, y1 - 4),
        };
        let _ = writeln!(content, "<path d=\"{d}\" stroke-width=\"1.5\" marker-end=\"url(#head)\"/>");
    }
    let (width, height) = (20 + 3 * BOX.0 + 2 * GAP.0, 20 + 2 * BOX.1 + GAP.1);
    svg(width, height, "The flow: train, graft, flash, adapt, record, replay", &content)
}

/// Methods of the chart, by their keys in the rehearsal.
const METHODS: [&str; 4] = ["transported_scion", "adam", "sgd_momentum", "from_scratch"];

/// Accuracy of the rehearsal's methods over the labelled samples of a stream; `None` if the results lack something.
fn demo(rehearsal: &Value) -> Option<String> {
    const PLOT: [f64; 4] = [60.0, 40.0, 520.0, 260.0];
    let [left, top, width, height] = PLOT;
    let (clean, samples) = (rehearsal["clean"].as_f64()?, rehearsal["samples"].as_f64()?);
    let seeds = rehearsal["reported_on"].as_array()?.len();
    let x = |count: f64| left + width * count / samples;
    let y = |accuracy: f64| top + height * (1.0 - accuracy);
    let mut content = String::new();
    let _ = writeln!(
        content,
        "<text class=\"strong\" x=\"{left}\" y=\"20\">Accuracy on test samples through an aged sensor, mean of {seeds} sensors</text>"
    );
    for fifth in 0..=5 {
        let accuracy = f64::from(fifth) / 5.0;
        let _ = writeln!(
            content,
            "<path d=\"M{left} {y:.1}H{}\" style=\"stroke:var(--grid)\"/><text class=\"small\" x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{} %</text>",
            left + width,
            left - 8.0,
            y(accuracy) + 4.0,
            20 * fifth,
            y = y(accuracy)
        );
    }
    for count in (0..=4).map(|quarter| samples * f64::from(quarter) / 4.0) {
        let _ = writeln!(
            content,
            "<text class=\"small\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{count}</text>",
            x(count),
            top + height + 20.0
        );
    }
    let _ = writeln!(
        content,
        "<text class=\"small\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">labelled samples learnt</text>",
        left + width / 2.0,
        top + height + 40.0
    );
    let _ = writeln!(
        content,
        "<path d=\"M{left} {c:.1}H{}\" stroke-dasharray=\"3 4\"/><text class=\"small\" x=\"{}\" y=\"{:.1}\">sensor as new</text>",
        left + width,
        left + width + 10.0,
        y(clean) + 4.0,
        c = y(clean)
    );
    let methods = rehearsal["methods"].as_array()?;
    let drawn: Vec<_> = METHODS.iter().filter_map(|key| methods.iter().find(|method| method["key"] == **key)).collect();
    // The names at the ends of the lines keep a distance from each other.
    let mut names: Vec<(f64, usize, &str)> = Vec::new();
    for (index, method) in drawn.iter().enumerate() {
        let points: Vec<(f64, f64)> = method["curve"]
            .as_array()?
            .iter()
            .map(|point| Some((point[0].as_f64()?, point[1].as_f64()?)))
            .collect::<Option<_>>()?;
        let mut d = String::new();
        for (count, accuracy) in &points {
            let _ = write!(d, "{}{:.1} {:.1}", if d.is_empty() { 'M' } else { 'L' }, x(*count), y(*accuracy));
        }
        let thick = if index == 0 { "3" } else { "1.8" };
        let _ = writeln!(content, "<path d=\"{d}\" style=\"stroke:var(--s{index});stroke-width:{thick}\"/>");
        names.push((y(points.last()?.1), index, method["name"].as_str()?));
    }
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut above = y(clean) + 4.0;
    for (end, index, name) in names {
        above = f64::max(end + 4.0, above + 16.0);
        let _ = writeln!(
            content,
            "<text class=\"small\" x=\"{}\" y=\"{above:.1}\" style=\"fill:var(--s{index})\">{name}</text>",
            left + width + 10.0
        );
    }
    Some(svg(820, 350, "Accuracy while a device adapts to an aged sensor", &content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_is_drawn_and_anything_else_is_not() {
        let curve = serde_json::json!([[0, 0.6], [100, 0.9], [200, 0.95]]);
        let method = serde_json::json!({ "key": "adam", "name": "Adam", "curve": curve });
        let rehearsal =
            serde_json::json!({ "clean": 0.98, "samples": 200, "reported_on": [1, 2], "methods": [method] });
        let picture = demo(&rehearsal).unwrap();
        // From the left edge of the plot to its right one; 95 % lies a twentieth of the height below the top.
        assert!(picture.contains("M60.0 144.0L320.0 66.0L580.0 53.0") && picture.contains(">Adam</text>"), "{picture}");
        assert_eq!(demo(&serde_json::json!({ "clean": 0.98 })), None);
    }
}
