//! Fields of a table as text.

/// Returns `true` if a field stands for a missing value.
pub(super) fn is_missing(field: &str) -> bool {
    field.is_empty() || field == "?"
}

/// Converts a decimal comma to a point; `None` if the field is not a number with a decimal comma.
pub(super) fn point_for_comma(field: &str) -> Option<String> {
    let (whole, fraction) = field.split_once(',')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let point = format!("{whole}.{fraction}");
    (digits(whole.trim_start_matches(['+', '-'])) && fraction.starts_with(|c: char| c.is_ascii_digit()))
        .then_some(point)
        .filter(|point| point.parse::<f64>().is_ok())
}
