//! Page of the experiments on the theory.

use crate::fit::PowerLaw;
use crate::table::{cells, words};
use crate::{Experiment, Extent, Outcome, Panel, Results, Series, Verdict};
use graftage::report::chart::{self, Chart, Scale, swatch};
use graftage::report::document;
use maud::{Markup, html};

/// Returns the results as a self-contained HTML file.
pub fn theory_page(results: &Results) -> String {
    let Verdict { promised, complaints } = results.verdict();
    let extent = if results.extent == Extent::Quick { "The quick run" } else { "The full run" };
    let verdict = match complaints.len() {
        0 => format!("All {promised} promises hold."),
        failed => format!("{failed} of {promised} promises do not hold."),
    };
    let lead = format!(
        "{extent} of core's update rule, seed {}, on problems that reveal the exponents of its theory. {verdict}",
        results.seed
    );
    let sections = html! {
        section {
            h2 { "How to read the plots" }
            p {
                "Both axes are logarithmic, so a power law is a straight line with its exponent as the slope. Circles are measurements, "
                "the line in their colour is fitted to them, and the broad pale line is the theory's prediction"
                ": with the theory's own constants if it has them, otherwise drawn through the middle of the points, so that only "
                "slopes can be compared. Intervals are 95 % over seeds; they do not include the bias of a finite range."
            }
            @if !complaints.is_empty() {
                p class="bad" { "Promises that do not hold:" }
                ul { @for complaint in &complaints { li { (complaint) } } }
            }
        }
        @for outcome in &results.outcomes { (section(outcome)) }
    };
    document("Graftage: the theory, made visible", &lead, &sections)
}

/// Explains an experiment to readers who are new to it.
fn about(experiment: Experiment) -> &'static str {
    match experiment {
        Experiment::Lag => {
            "Momentum averages past gradients, so it lags behind the gradient at the present weights: by an amount \
             proportional to η/α without transport, and to its square with transport, which removes the first-order term."
        }
        Experiment::Average => {
            "The longer the average, the less noise is left in it, but heavy tails reduce the gain: α^((p−1)/p). Each of the \
             r directions adds its share."
        }
        Experiment::Tracking => {
            "Both errors at once: a long average lags, a short one is noisy. The best α and the remaining error are powers \
             of the step size; with transport, a longer average pays off and the error falls faster."
        }
        Experiment::Rate => {
            "The main result: with the theory's α and η, the mean gradient norm after N samples falls as N^−x, where x is \
             (p−1)/(3p−2), and (2p−2)/(5p−3) with transport. Without a long average it does not fall at all against the worst \
             noise, and without transport the transported α and η are no better than the plain ones."
        }
        Experiment::Tuned => {
            "If α and η may be chosen freely for each N, against the worst noise, the best are those of the theory: the best \
             factors hardly change with N."
        }
        Experiment::Rank => {
            "A spectral step moves all r = min(m, n) directions at once and must know all of them, so N samples are worth N/r. \
             The curves coincide at a fixed N/r; at a fixed N the error grows as r^x. In Frobenius geometry, r plays no part."
        }
    }
}

fn section(outcome: &Outcome) -> Markup {
    let title = outcome.experiment.title();
    let mut letters = title.chars();
    let title: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    html! {
        section {
            h2 { (title) }
            p { (about(outcome.experiment)) }
            @for panel in &outcome.panels { (figure(panel)) }
            details {
                summary { (outcome.findings.len()) " numbers, in " (format!("{:.0}", outcome.seconds)) " s" }
                div class="scroll" { (findings(outcome)) }
                p class="note" { "* marks results that differ from the prototype: their intervals do not overlap." }
            }
        }
    }
}

fn figure(panel: &Panel) -> Markup {
    let points = |series: &Series| {
        let fit = series.slope.map(|slope| PowerLaw::through(&series.points, slope.value));
        let fitted = fit.map(|fit| series.points.iter().map(|point| (point.0, fit.at(point.0))).collect());
        chart::Series {
            name: series.name.clone(),
            line: fitted.unwrap_or_default(),
            marks: series.points.clone(),
            beneath: series.theory.clone(),
        }
    };
    let chart = Chart {
        title: &panel.title,
        x: &panel.x,
        y: &panel.y,
        scale: Scale::Logarithmic,
        series: panel.series.iter().map(points).collect(),
        references: vec![],
    };
    html! {
        h3 class="above" { (panel.title) }
        (chart::figure(chart, &panel.caption))
        div class="scroll" {
            table {
                thead { tr {
                    th scope="col" { "" } th scope="col" { "slope predicted" } th scope="col" { "slope fitted" }
                } }
                tbody { @for (index, series) in panel.series.iter().enumerate() { tr {
                    th scope="row" { (swatch(index)) (series.name) }
                    td { (format!("{:.3}", PowerLaw::fit(&series.theory).slope)) }
                    td { (series.slope.as_ref().map_or("n/a".into(), words)) }
                } } }
            }
        }
    }
}

fn findings(outcome: &Outcome) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "measured" } th scope="col" { "theory" } th scope="col" { "prototype" }
                th scope="col" { "found" } th scope="col" { "promised" } th scope="col" { "" }
            } }
            tbody { @for finding in &outcome.findings {
                @let [what, rest @ ..] = cells(finding);
                tr {
                    th scope="row" { (what) }
                    @for cell in rest { td class=[(!finding.holds()).then_some("bad")] { (cell) } }
                }
            } }
        }
    }
}
