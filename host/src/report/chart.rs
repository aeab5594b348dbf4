//! Charts as SVG that take colours and font from the page around them.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours while drawing; each stands for a variable of the page's style sheet. Series are (1, 0, index).
const INK: RGBColor = RGBColor(2, 0, 0);
const MUTED: RGBColor = RGBColor(2, 0, 1);
const GRID: RGBColor = RGBColor(2, 0, 2);

/// Dashes of each series, so that colour is not all that tells them apart.
const DASHES: [&str; 6] = ["none", "8 4", "2 3", "10 3 2 3", "5 2", "14 4"];

/// Letters of a label at a line's end, and pixels that one takes and that lie between two labels.
const LABEL: (usize, f64, f64) = (30, 7.4, 18.0);

/// Pixels of the width of a predicted line.
const PREDICTED: u32 = 9;

/// Pixels above the plot, where the unit of its y axis stands.
const TOP: i32 = 30;

/// A line; named at its end where it has a name.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A chart; what is not finite, below 0 or above 100 % is left out.
pub struct Chart<'a> {
    /// For who cannot see it.
    pub title: &'a str,
    pub size: (u32, u32),
    pub x: &'a str,
    pub y: &'a str,
    /// Whether y is a share in percent; else y starts at 0.
    pub percent: bool,
    pub lines: Vec<Line>,
    /// Names and heights of horizontal lines.
    pub references: Vec<(String, f64)>,
}

/// The style sheet's variable and the dashes of a series.
fn series(index: usize) -> (String, &'static str) {
    let index = index % DASHES.len();
    (format!("var(--series-{index})"), DASHES[index])
}

/// A short piece of a series' line.
pub fn swatch(index: usize) -> Markup {
    let (colour, dashes) = series(index);
    html! {
        svg class="swatch" viewBox="0 0 36 8" aria-hidden="true" {
            line x1="0" y1="4" x2="36" y2="4" stroke=(colour) stroke-dasharray=(dashes) stroke-width="2.5" {}
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

/// Where labels of these heights stand, sorted from top to bottom, without overlap and above `bottom`.
fn spread(heights: &mut [f64], gap: f64, bottom: f64) {
    let mut free = f64::MIN;
    for height in heights.iter_mut() {
        *height = height.max(free);
        free = *height + gap;
    }
    free = bottom;
    for height in heights.iter_mut().rev() {
        *height = height.min(free);
        free = *height - gap;
    }
}

impl Chart<'_> {
    /// As SVG, or words where there is nothing to draw.
    pub fn draw(mut self) -> Markup {
        let range = 0.0..=if self.percent { 100.0 } else { f64::MAX };
        for line in &mut self.lines {
            line.points.retain(|(x, y)| x.is_finite() && range.contains(y));
        }
        self.references.retain(|(_, y)| range.contains(y));
        let mut svg = String::new();
        if self.lines.iter().all(|line| line.points.is_empty()) || self.paint(&mut svg).is_none() {
            return html! { p class="note" { "Nothing was measured." } };
        }
        // Names at line ends are not to be squeezed.
        let least = if self.lines.iter().any(|line| !line.name.is_empty()) { 640 } else { 0 };
        finish(svg, self.title, self.size, least)
    }

    /// The SVG in placeholder colours.
    fn paint(&self, svg: &mut String) -> Option<()> {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let ends = || self.lines.iter().filter_map(|line| line.points.last()).map(|end| end.1);
        let heights = || points().map(|point| point.1).chain(self.references.iter().map(|reference| reference.1));
        let right = points().fold(1.0, |right: f64, point| right.max(point.0));
        let top = heights().fold(0.0, f64::max);
        let (bottom, top) = if self.percent {
            // Many lines are compared at their ends: one that starts far below is not to flatten them all.
            let lowest = self.references.iter().map(|reference| reference.1).chain(ends()).fold(95.0, f64::min);
            let bottom = if self.lines.len() > 1 { lowest } else { heights().fold(95.0, f64::min) };
            ((bottom / 5.0 - 0.2).floor().max(0.0) * 5.0, ((top / 5.0 + 0.1).ceil() * 5.0).clamp(5.0, 100.0))
        } else {
            (0.0, if top > 0.0 { top * 1.05 } else { 1.0 })
        };
        let names =
            self.lines.iter().map(|line| &line.name).chain(self.references.iter().map(|reference| &reference.0));
        let margin = margin(names);

        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(TOP)
            .margin_right(margin as i32)
            .set_label_area_size(LabelAreaPosition::Left, 44)
            .set_label_area_size(LabelAreaPosition::Bottom, 44)
            .build_cartesian_2d(0.0..right, bottom..top)
            .ok()?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(MUTED)
            .label_style(("sans-serif", 16).into_font().color(&MUTED))
            .axis_desc_style(("sans-serif", 16).into_font().color(&INK))
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .x_desc(self.x)
            .draw()
            .ok()?;
        root.draw(&Text::new(self.y, (6, TOP / 2 - 3), text(&INK))).ok()?;

        let mut labels = Vec::new();
        for (name, y) in &self.references {
            chart.draw_series([PathElement::new([(0.0, *y), (right, *y)], MUTED)]).ok()?;
            labels.push((name, MUTED, chart.backend_coord(&(right, *y))));
        }
        // The first series last, above the others.
        for (index, line) in self.lines.iter().enumerate().rev() {
            let colour = RGBColor(1, 0, (index % DASHES.len()) as u8);
            let width = if index == 0 { 3 } else { 2 };
            chart
                .draw_series(LineSeries::new(
                    line.points.iter().copied().filter(|point| point.1 >= bottom),
                    colour.stroke_width(width),
                ))
                .ok()?;
            if let Some(end) = line.points.last().filter(|_| !line.name.is_empty()) {
                labels.push((&line.name, colour, chart.backend_coord(end)));
            }
        }
        write_names(&root, labels, self.size, margin)?;
        root.present().ok()
    }
}

/// A drawing in placeholder colours as the page's own picture, at least so wide.
fn finish(mut svg: String, title: &str, (width, height): (u32, u32), least: u32) -> Markup {
    for (placeholder, variable) in [(INK, "ink"), (MUTED, "muted"), (GRID, "grid")] {
        svg = svg.replace(&hex(placeholder), &format!("var(--{variable})"));
    }
    for index in 0..DASHES.len() {
        let (colour, dashes) = series(index);
        let drawn = hex(RGBColor(1, 0, index as u8));
        let dashed = format!("stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"");
        svg = svg.replace(&format!("stroke=\"{drawn}\""), &dashed).replace(&drawn, &colour);
    }
    let body = svg.split_once('>').map_or("", |(_, body)| body.trim_end().trim_end_matches("</svg>"));
    let style = format!("--width:{width}px;--least:{least}px");
    html! {
        svg role="img" viewBox={ "0 0 " (width) " " (height) } style=(style) {
            title { (title) }
            (PreEscaped(body))
        }
    }
}

/// Pixels right of the plot that names take.
fn margin<'a>(names: impl Iterator<Item = &'a String>) -> f64 {
    let letters = names.map(|name| name.chars().count().min(LABEL.0)).max().unwrap_or(0);
    if letters == 0 { 18.0 } else { 28.0 + letters as f64 * LABEL.1 }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Writes names with their colours beside the places where their lines end.
fn write_names(
    root: &Area,
    mut labels: Vec<(&String, RGBColor, (i32, i32))>,
    size: (u32, u32),
    margin: f64,
) -> Option<()> {
    labels.sort_by_key(|label| label.2.1);
    let mut places: Vec<f64> = labels.iter().map(|label| f64::from(label.2.1)).collect();
    spread(&mut places, LABEL.2, f64::from(size.1) - 50.0);
    let left = size.0 as i32 - margin as i32;
    for ((name, colour, end), place) in labels.iter().zip(places) {
        let place = place.round() as i32;
        root.draw(&PathElement::new([(end.0 + 2, end.1), (left + 14, place)], MUTED)).ok()?;
        let cut = if name.chars().count() > LABEL.0 { "…" } else { "" };
        let kept: String = name.chars().take(LABEL.0 - cut.chars().count()).chain(cut.chars()).collect();
        root.draw(&Text::new(kept, (left + 18, place), text(colour))).ok()?;
    }
    Some(())
}

/// Measured points in double logarithmic scale, with the line that fits them and the one that was predicted.
pub struct Points {
    pub name: String,
    pub measured: Vec<(f64, f64)>,
    pub fitted: Vec<(f64, f64)>,
    pub predicted: Vec<(f64, f64)>,
}

/// A chart in double logarithmic scale; what is not finite and above 0 is left out.
pub struct LogChart<'a> {
    /// For who cannot see it.
    pub title: &'a str,
    pub size: (u32, u32),
    pub x: &'a str,
    pub y: &'a str,
    pub series: Vec<Points>,
}

impl LogChart<'_> {
    /// As SVG, or words where there is nothing to draw. Points are filled circles, fits the lines of their series, predictions
    /// broad pale lines beneath them.
    pub fn draw(mut self) -> Markup {
        let fits = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && *x > 0.0 && *y > 0.0;
        for series in &mut self.series {
            for points in [&mut series.measured, &mut series.fitted, &mut series.predicted] {
                points.retain(fits);
            }
        }
        let mut svg = String::new();
        if self.series.iter().all(|series| series.measured.is_empty()) || self.paint(&mut svg).is_none() {
            return html! { p class="note" { "Nothing was measured." } };
        }
        finish(svg, self.title, self.size, 640)
    }

    fn paint(&self, svg: &mut String) -> Option<()> {
        let all = || self.series.iter().flat_map(|s| [&s.measured, &s.fitted, &s.predicted]).flatten();
        let range = |of: fn(&(f64, f64)) -> f64, room: f64| {
            let (low, high) = all().map(of).fold((f64::MAX, 0.0), |(low, high), e| (e.min(low), e.max(high)));
            let room = (high / low).powf(room).max(1.02);
            (low / room, high * room)
        };
        let (x, y) = (range(|point| point.0, 0.04), range(|point| point.1, 0.08));
        let margin = margin(self.series.iter().map(|series| &series.name));
        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(TOP)
            .margin_right(margin as i32)
            .set_label_area_size(LabelAreaPosition::Left, 64)
            .set_label_area_size(LabelAreaPosition::Bottom, 44)
            .build_cartesian_2d(
                (x.0..x.1).log_scale().with_key_points(ticks(x)),
                (y.0..y.1).log_scale().with_key_points(ticks(y)),
            )
            .ok()?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(MUTED)
            .label_style(("sans-serif", 16).into_font().color(&MUTED))
            .axis_desc_style(("sans-serif", 16).into_font().color(&INK))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .x_desc(self.x)
            .draw()
            .ok()?;
        root.draw(&Text::new(self.y, (6, TOP / 2 - 3), text(&INK))).ok()?;
        for series in &self.series {
            chart.draw_series(LineSeries::new(series.predicted.iter().copied(), GRID.stroke_width(PREDICTED))).ok()?;
        }
        let mut labels = Vec::new();
        for (index, series) in self.series.iter().enumerate() {
            let colour = RGBColor(1, 0, (index % DASHES.len()) as u8);
            chart.draw_series(LineSeries::new(series.fitted.iter().copied(), colour.stroke_width(2))).ok()?;
            chart.draw_series(series.measured.iter().map(|point| Circle::new(*point, 4, colour.filled()))).ok()?;
            let last = series.fitted.last().or(series.measured.last());
            labels.extend(last.map(|end| (&series.name, colour, chart.backend_coord(end))));
        }
        write_names(&root, labels, self.size, margin)?;
        root.present().ok()
    }
}

/// Round numbers of a range, three to eight of them: powers of ten where it is wide, else with multiples between them.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let candidates = |multiples: &[f64]| -> Vec<f64> {
        let all = decades.clone().flat_map(|power| multiples.iter().map(move |m| m * 10f64.powi(power)));
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let sets: [&[f64]; 5] = [
        &[1.0],
        &[1.0, 3.0],
        &[1.0, 2.0, 5.0],
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8, 3.0, 3.3, 3.6, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0],
    ];
    let found = sets.iter().map(|multiples| candidates(multiples)).find(|ticks| ticks.len() >= 3);
    found.unwrap_or_else(|| vec![low, (low * high).sqrt(), high])
}

/// Text that starts at its place and is centred on its height.
fn text(colour: &RGBColor) -> TextStyle<'_> {
    TextStyle::from(("sans-serif", 16).into_font()).color(colour).pos(Pos::new(HPos::Left, VPos::Center))
}

/// As plotters writes it.
fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}
