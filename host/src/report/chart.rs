//! Charts that take colours and font from the page around them, and any width: lines are stretched, text is not.
//!
//! Lines and points are an SVG without a shape of its own, whose strokes keep their width; labels are HTML beside it,
//! placed in percent. So text has its size in a window of any width, and none of it can be cut by the edge of a picture.

use self::axis::{Axis, Ends};
use maud::{Markup, html};
use std::fmt::Write;

mod axis;

/// Colours that a style sheet has for series.
const COLOURS: usize = 6;

/// Dashes of series, so that colour is not all that tells them apart.
const DASHES: [&str; COLOURS] = ["none", "8 4", "2 3", "10 3 2 3", "5 2", "14 4"];

/// Dashes of horizontal lines.
const REFERENCES: [&str; 3] = ["1 4", "6 3 1 3", "3 3"];

/// Points that a line is drawn through at most; more are averaged.
const MOST: usize = 1000;

/// Points of a line that each are marked; more would hide it.
const MARKED: usize = 24;

/// Measurements of one kind; what is not finite is left out and counted.
#[derive(Default)]
pub struct Series {
    /// For the legend; nothing where there is only one.
    pub name: String,
    /// Points that a line goes through.
    pub line: Vec<(f64, f64)>,
    /// Points that are marked.
    pub marks: Vec<(f64, f64)>,
    /// A broad pale line below all others.
    pub beneath: Vec<(f64, f64)>,
}

impl Series {
    /// A line through these points, which are marked where they are few.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let line: Vec<_> = points.into_iter().collect();
        let marks = if line.len() <= MARKED { line.clone() } else { Vec::new() };
        Self { name: name.into(), line, marks, beneath: Vec::new() }
    }

    fn parts(&self) -> [&Vec<(f64, f64)>; 3] {
        [&self.line, &self.marks, &self.beneath]
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.parts().into_iter().flatten().copied()
    }

    /// Drops what cannot be drawn; how many points of the line, or of the marks, that were.
    fn clean(&mut self, drawable: impl Fn(f64) -> bool) -> usize {
        let clean = |points: &mut Vec<(f64, f64)>| {
            let before = points.len();
            points.retain(|(x, y)| drawable(*x) && drawable(*y));
            before - points.len()
        };
        clean(&mut self.beneath);
        clean(&mut self.line).max(clean(&mut self.marks))
    }

    /// Averages a line of too many points; of how many each is the mean then. A mean lies at the last x that it covers.
    fn thin(&mut self) -> usize {
        let count = self.line.len().div_ceil(MOST).max(1);
        if count > 1 {
            let mean = |points: &[(f64, f64)]| {
                let share = 1.0 / points.len() as f64;
                (points[points.len() - 1].0, points.iter().map(|point| point.1 * share).sum())
            };
            self.line = self.line.chunks(count).map(mean).collect();
        }
        count
    }
}

/// The map from numbers to places, of both axes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// In proportion.
    Linear,
    /// By their logarithms; what is not above 0 cannot be drawn.
    Logarithmic,
}

/// A chart.
pub struct Chart<'a> {
    /// For who cannot see it.
    pub title: &'a str,
    /// The quantity to the right, and its unit.
    pub x: &'a str,
    /// The quantity upwards, and its unit.
    pub y: &'a str,
    /// The scale of both.
    pub scale: Scale,
    /// The first is drawn above the others, and thicker.
    pub series: Vec<Series>,
    /// Names and heights of horizontal lines.
    pub references: Vec<(String, f64)>,
}

/// Colour, as the style sheet's variable, and dashes of a series.
fn style(index: usize) -> (String, &'static str) {
    let colour = index % COLOURS;
    (format!("var(--series-{colour})"), DASHES[(colour + index / COLOURS) % DASHES.len()])
}

/// A short piece of a series' line.
pub fn swatch(index: usize) -> Markup {
    let (colour, dashes) = style(index);
    piece(&colour, dashes)
}

fn piece(colour: &str, dashes: &str) -> Markup {
    html! {
        svg class="swatch" viewBox="0 0 36 8" aria-hidden="true" {
            path d="M0 4H36" stroke=(colour) stroke-dasharray=(dashes) stroke-width="2.5" {}
        }
    }
}

/// At most three significant digits.
pub fn short(x: f64) -> String {
    let rounded = format!("{x:.2e}").parse().unwrap_or(x);
    match rounded.abs() {
        0.0 | 1e-4..1e6 => rounded.to_string(),
        size if size.is_finite() => format!("{rounded:e}"),
        _ => "n/a".to_owned(),
    }
}

/// Charts side by side where there is room, with plots of one size.
pub fn pair(charts: [(Chart, &str); 2]) -> Markup {
    let charts = charts.map(|(chart, caption)| (Ready::from(chart), caption));
    let gutter = charts.iter().filter_map(|(ready, _)| ready.as_ref().map(Ready::gutter)).max().unwrap_or(0);
    html! { div class="pair" { @for (ready, caption) in &charts { (captioned(ready.as_ref(), gutter, caption)) } } }
}

/// A chart with its caption, or words where there is nothing to draw.
pub fn figure(chart: Chart, caption: &str) -> Markup {
    let ready = Ready::from(chart);
    captioned(ready.as_ref(), ready.as_ref().map_or(0, Ready::gutter), caption)
}

fn captioned(ready: Option<&Ready>, gutter: usize, caption: &str) -> Markup {
    html! {
        figure {
            @match ready {
                Some(ready) => (ready.draw(gutter)),
                None => p class="note" { "Nothing was measured that can be drawn." },
            }
            figcaption { (caption) }
        }
    }
}

/// A chart of which all can be drawn.
struct Ready<'a> {
    chart: Chart<'a>,
    x: Axis,
    y: Axis,
    /// Points that are left out.
    missing: usize,
    /// Measurements that a point of a line is the mean of, at most.
    averaged: usize,
}

impl<'a> Ready<'a> {
    /// Nothing where there is nothing to draw.
    fn from(mut chart: Chart<'a>) -> Option<Self> {
        let drawable = |number: f64| match chart.scale {
            Scale::Linear => number.abs() < 1e300,
            Scale::Logarithmic => (1e-300..1e300).contains(&number),
        };
        let missing = chart.series.iter_mut().map(|series| series.clean(drawable)).sum();
        chart.references.retain(|(_, y)| drawable(*y));
        let averaged = chart.series.iter_mut().map(Series::thin).max().unwrap_or(1);
        let x: Vec<_> = chart.series.iter().flat_map(Series::points).map(|point| point.0).collect();
        let y = chart.series.iter().flat_map(Series::points).map(|point| point.1);
        let y: Vec<_> = y.chain(chart.references.iter().map(|reference| reference.1)).collect();
        let (x, y) = (Axis::new(&x, chart.scale, Ends::Data)?, Axis::new(&y, chart.scale, Ends::Ticks)?);
        Some(Self { chart, x, y, missing, averaged })
    }

    /// Characters left of the plot.
    fn gutter(&self) -> usize {
        self.y.ticks().map(|(_, label)| label.chars().count()).max().unwrap_or(0)
    }

    fn draw(&self, gutter: usize) -> Markup {
        let Chart { title, x, y, series, references, .. } = &self.chart;
        html! {
            div class="chart" style={ "--gutter:" (gutter) "ch" } {
                div class="unit" { (y) }
                div class="plot" {
                    svg role="img" viewBox="0 0 100 100" preserveAspectRatio="none" {
                        title { (title) }
                        (self.grid())
                        @for (index, (_, y)) in references.iter().enumerate() {
                            @let dashes = REFERENCES[index % REFERENCES.len()];
                            path d={ "M0 " (self.height(*y)) "H100" } stroke="var(--muted)" stroke-dasharray=(dashes) {}
                        }
                        @for series in series {
                            (path(&self.through(&series.beneath), "beneath", "var(--grid)", "none"))
                        }
                        @for (index, series) in series.iter().enumerate().rev() { (self.series(index, series)) }
                    }
                    @for (place, label) in self.y.ticks() {
                        span class="left" style={ "top:" (decimal(100.0 - place)) "%" } { (label) }
                    }
                    @for (place, label) in self.x.ticks() {
                        span class="below" style={ "left:" (decimal(place)) "%" } { (label) }
                    }
                }
                div class="unit x" { (x) }
                (self.legend())
                @if self.missing > 0 {
                    p class="note" {
                        (counted(self.missing, "point")) " that cannot be drawn (no finite number, or beyond the scale)."
                    }
                }
                @if self.averaged > 1 {
                    p class="note" { "Each point of a line is the mean of up to " (self.averaged) " measurements." }
                }
            }
        }
    }

    fn grid(&self) -> Markup {
        let mut lines = String::new();
        for (place, _) in self.y.ticks() {
            // A string takes whatever is written.
            let _ = write!(lines, "M0 {}H100", decimal(100.0 - place));
        }
        for (place, _) in self.x.ticks().filter(|_| self.chart.scale == Scale::Logarithmic) {
            let _ = write!(lines, "M{} 0V100", decimal(place));
        }
        html! { path d=(lines) stroke="var(--grid)" {} }
    }

    fn series(&self, index: usize, series: &Series) -> Markup {
        let (colour, dashes) = style(index);
        let mut marks = String::new();
        for (x, y) in &series.marks {
            // A line without length has round ends and nothing between them.
            let _ = write!(marks, "M{} {}h0", decimal(self.x.place(*x)), self.height(*y));
        }
        html! {
            (path(&self.through(&series.line), if index == 0 { "line first" } else { "line" }, &colour, dashes))
            (path(&marks, "marks", &colour, "none"))
        }
    }

    /// What draws a line through these points.
    fn through(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(
                path,
                "{}{} {}",
                if path.is_empty() { 'M' } else { 'L' },
                decimal(self.x.place(*x)),
                self.height(*y)
            );
        }
        path
    }

    /// From the top, in percent.
    fn height(&self, y: f64) -> String {
        decimal(100.0 - self.y.place(y))
    }

    /// The names of all that is drawn and has one.
    fn legend(&self) -> Markup {
        let Chart { series, references, .. } = &self.chart;
        let named = series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
        let drawn = named.filter(|(_, series)| series.points().next().is_some());
        let names: Vec<_> = drawn.map(|(index, series)| (swatch(index), series.name.clone())).collect();
        let lines = references.iter().enumerate().map(|(index, (name, y))| {
            (piece("var(--muted)", REFERENCES[index % REFERENCES.len()]), format!("{name}: {}", short(*y)))
        });
        let names: Vec<_> = names.into_iter().chain(lines).collect();
        html! {
            @if !names.is_empty() { ul class="legend" { @for (swatch, name) in &names { li { (swatch) (name) } } } }
        }
    }
}

fn path(d: &str, class: &str, colour: &str, dashes: &str) -> Markup {
    html! { @if !d.is_empty() { path class=(class) d=(d) stroke=(colour) stroke-dasharray=(dashes) {} } }
}

/// With as many digits as a screen shows.
fn decimal(percent: f64) -> String {
    let text = format!("{percent:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `1 point is left out`, `2 points are left out`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("Left out is 1 {what}") } else { format!("Left out are {count} {what}s") }
}
