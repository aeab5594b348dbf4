//! Text form of a run.

use super::fit::Estimate;
use super::{Finding, Results, Verdict};
use std::fmt::Write;

/// Columns: measured quantity, theory, prototype, found value, promised range, and the mark of the promise.
const HEADER: [&str; 6] = ["measured", "theory", "prototype", "found", "promised", ""];

/// Formats an estimate as `-0.240 ± 0.003`, with three or four decimals: four if the interval is below 0.001.
pub(crate) fn words(estimate: &Estimate) -> String {
    let Estimate { value, interval } = estimate;
    match interval {
        Some(interval) => {
            let digits = (-interval.log10()).ceil().clamp(3.0, 4.0);
            let unit = 10f64.powf(digits);
            // Adding 0 removes the sign of a negative zero.
            let (value, digits) = ((value * unit).round() / unit + 0.0, digits as usize);
            format!("{value:.digits$} ± {interval:.digits$}")
        }
        None => number(*value),
    }
}

/// Formats a number with at most three decimals and no trailing zeros; in scientific notation below 0.001.
pub(crate) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns the cells of a finding. The last one is `holds` or `FAILS` if there is a promise, with `*` if found value
/// and prototype are apart.
pub(crate) fn cells(finding: &Finding) -> [String; 6] {
    let Finding { what, theory, prototype, measured, promised } = finding;
    let mark = match (promised, finding.holds()) {
        (None, _) => "",
        (Some(_), true) => "holds",
        (Some(_), false) => "FAILS",
    };
    let apart = prototype.is_some_and(|prototype| !prototype.meets(measured));
    [
        what.clone(),
        number(*theory),
        prototype.as_ref().map_or(String::new(), words),
        words(measured),
        promised.map_or(String::new(), |(low, high)| format!("{} to {}", number(low), number(high))),
        [mark, if apart { "*" } else { "" }].join(" ").trim().to_owned(),
    ]
}

/// Formats all findings as a table per experiment, with a last line that tells whether all promises hold.
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    for outcome in &results.outcomes {
        let rows: Vec<_> = outcome.findings.iter().map(cells).collect();
        let header = HEADER.map(str::to_owned);
        let width = |column: usize| {
            let cells = rows.iter().chain([&header]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
        let _ = writeln!(text, "{} ({:.0} s)", outcome.experiment.title(), outcome.seconds);
        for row in [&header].into_iter().chain(&rows) {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                5 => cell.clone(),
                _ => format!("{cell:>width$}"),
            });
            let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        text.push('\n');
    }
    let Verdict { promised, complaints } = results.verdict();
    let _ = match complaints.len() {
        0 => writeln!(text, "all {promised} promises hold; * marks results that differ from the prototype"),
        failed => writeln!(
            text,
            "{failed} of {promised} promises do NOT hold; * marks results that differ from the prototype"
        ),
    };
    text
}
