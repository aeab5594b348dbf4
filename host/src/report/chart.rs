//! Charts that take colours and font from the surrounding page and adapt to any width: lines are stretched, text is
//! not.
//!
//! Lines and points form an SVG without an aspect ratio of its own, whose strokes keep their width. Labels are HTML
//! beside it, positioned in percent. Text therefore keeps its size in a window of any width and is never cut off at the
//! edge of the picture.

use self::axis::{Axis, Ends};
use maud::{Markup, html};
use std::fmt::Write;

mod axis;

/// Number of colours for series in the style sheet.
const COLOURS: usize = 6;

/// Dash patterns of series, so that they differ not only in colour.
const DASHES: [&str; COLOURS] = ["none", "8 4", "2 3", "10 3 2 3", "5 2", "14 4"];

/// Dash patterns of horizontal lines.
const REFERENCES: [&str; 3] = ["1 4", "6 3 1 3", "3 3"];

/// Largest number of points in a line; more points are averaged.
const MOST: usize = 1000;

/// Largest number of points of a line that are also marked. More marks would hide the line.
const MARKED: usize = 24;

/// Measurements of one kind. Values that are not finite are left out and counted.
#[derive(Default)]
pub struct Series {
    /// Name for the legend; empty if there is only one series.
    pub name: String,
    /// Points that a line connects.
    pub line: Vec<(f64, f64)>,
    /// Points that are marked.
    pub marks: Vec<(f64, f64)>,
    /// Points of a broad pale line below all others.
    pub beneath: Vec<(f64, f64)>,
}

impl Series {
    /// Creates a line through these points. They are also marked if they are few.
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

    /// Drops points that cannot be drawn, and returns how many of the line or of the marks were dropped.
    fn clean(&mut self, drawable: impl Fn(f64) -> bool) -> usize {
        let clean = |points: &mut Vec<(f64, f64)>| {
            let before = points.len();
            points.retain(|(x, y)| drawable(*x) && drawable(*y));
            before - points.len()
        };
        clean(&mut self.beneath);
        clean(&mut self.line).max(clean(&mut self.marks))
    }

    /// Averages the points of a line that has too many, and returns how many points each mean covers. A mean is placed
    /// at the last x that it covers.
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

/// Map from numbers to positions, for both axes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Linear.
    Linear,
    /// Logarithmic. Numbers that are not above 0 cannot be drawn.
    Logarithmic,
}

/// A horizontal line.
pub struct Reference {
    /// Name for the legend.
    pub name: String,
    /// Height, in the unit of the vertical axis.
    pub y: f64,
}

/// A chart.
pub struct Chart<'a> {
    /// Title, for readers who cannot see the chart.
    pub title: &'a str,
    /// Quantity on the horizontal axis, with its unit.
    pub x: &'a str,
    /// Quantity on the vertical axis, with its unit.
    pub y: &'a str,
    /// Scale of both axes.
    pub scale: Scale,
    /// Series. The first one is drawn thicker and above the others.
    pub series: Vec<Series>,
    /// Horizontal lines.
    pub references: Vec<Reference>,
}

/// Returns the colour, as a variable of the style sheet, and the dash pattern of a series.
fn style(index: usize) -> (String, &'static str) {
    let colour = index % COLOURS;
    (format!("var(--series-{colour})"), DASHES[(colour + index / COLOURS) % DASHES.len()])
}

/// Draws a short piece of a series' line.
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

/// Formats a number with at most three significant digits.
pub fn short(x: f64) -> String {
    let rounded = format!("{x:.2e}").parse().unwrap_or(x);
    match rounded.abs() {
        0.0 | 1e-4..1e6 => rounded.to_string(),
        size if size.is_finite() => format!("{rounded:e}"),
        _ => "n/a".to_owned(),
    }
}

/// Draws two charts side by side if there is room, with plots of the same size.
pub fn pair(charts: [(Chart, &str); 2]) -> Markup {
    let charts = charts.map(|(chart, caption)| (Ready::from(chart), caption));
    let gutter = charts.iter().filter_map(|(ready, _)| ready.as_ref().map(Ready::gutter)).max().unwrap_or(0);
    html! { div class="pair" { @for (ready, caption) in &charts { (captioned(ready.as_ref(), gutter, caption)) } } }
}

/// Draws a chart with its caption, or a note if there is nothing to draw.
pub fn figure(chart: Chart, caption: &str) -> Markup {
    let ready = Ready::from(chart);
    captioned(ready.as_ref(), ready.as_ref().map_or(0, Ready::gutter), caption)
}

fn captioned(ready: Option<&Ready>, gutter: usize, caption: &str) -> Markup {
    html! {
        figure {
            @match ready {
                Some(ready) => (ready.draw(gutter)),
                None => p class="note" { "There are no measurements that can be drawn." },
            }
            figcaption { (caption) }
        }
    }
}

/// A chart in which everything can be drawn.
struct Ready<'a> {
    chart: Chart<'a>,
    x: Axis,
    y: Axis,
    /// Number of points that are left out.
    missing: usize,
    /// Largest number of measurements in the mean that a point of a line shows.
    averaged: usize,
}

impl<'a> Ready<'a> {
    /// Prepares a chart; `None` if there is nothing to draw.
    fn from(mut chart: Chart<'a>) -> Option<Self> {
        let drawable = |number: f64| match chart.scale {
            Scale::Linear => number.abs() < 1e300,
            Scale::Logarithmic => (1e-300..1e300).contains(&number),
        };
        let missing = chart.series.iter_mut().map(|series| series.clean(drawable)).sum();
        chart.references.retain(|reference| drawable(reference.y));
        let averaged = chart.series.iter_mut().map(Series::thin).max().unwrap_or(1);
        let x: Vec<_> = chart.series.iter().flat_map(Series::points).map(|point| point.0).collect();
        let y = chart.series.iter().flat_map(Series::points).map(|point| point.1);
        let y: Vec<_> = y.chain(chart.references.iter().map(|reference| reference.y)).collect();
        let (x, y) = (Axis::new(&x, chart.scale, Ends::Data)?, Axis::new(&y, chart.scale, Ends::Ticks)?);
        Some(Self { chart, x, y, missing, averaged })
    }

    /// Returns the width of the labels left of the plot, in characters.
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
                        @for (index, Reference { y, .. }) in references.iter().enumerate() {
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
                        (counted(self.missing, "point")) " that cannot be drawn (not a finite number, or beyond the scale)."
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
            // Writing to a string never fails.
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
            // A line of length 0 is drawn as its round ends only.
            let _ = write!(marks, "M{} {}h0", decimal(self.x.place(*x)), self.height(*y));
        }
        html! {
            (path(&self.through(&series.line), if index == 0 { "line first" } else { "line" }, &colour, dashes))
            (path(&marks, "marks", &colour, "none"))
        }
    }

    /// Returns the path of a line through these points.
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

    /// Returns the distance of y from the top, in percent.
    fn height(&self, y: f64) -> String {
        decimal(100.0 - self.y.place(y))
    }

    /// Draws the legend: the names of all series and lines that have one.
    fn legend(&self) -> Markup {
        let Chart { series, references, .. } = &self.chart;
        let named = series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
        let drawn = named.filter(|(_, series)| series.points().next().is_some());
        let names: Vec<_> = drawn.map(|(index, series)| (swatch(index), series.name.clone())).collect();
        let lines = references.iter().enumerate().map(|(index, Reference { name, y })| {
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

/// Formats a percentage with as many digits as a screen can show.
fn decimal(percent: f64) -> String {
    let text = format!("{percent:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns `Left out is 1 point` or `Left out are 2 points`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("Not shown: 1 {what}") } else { format!("Not shown: {count} {what}s") }
}
