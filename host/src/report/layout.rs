//! Parts that all pages are made of.

use self::Column::{Numbers, Words};
use super::style::STYLE;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Builds a self-contained HTML page.
pub fn document(title: &str, lead: &str, sections: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p class="lead" { (lead) }
                }
                main { (sections) }
            }
        }
    };
    page.into_string().replace(" %", "\u{a0}%").replace(" KB", "\u{a0}KB")
}

/// Column of a table, by its contents.
pub enum Column {
    /// Numbers, under this heading.
    Numbers(&'static str),
    /// Words, under this heading.
    Words(&'static str),
}

/// Builds a table of these rows, which scrolls if it is too wide.
pub fn table(columns: &[Column], rows: Markup) -> Markup {
    html! {
        div class="scroll" {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column {
                                Numbers(name) => { th scope="col" { (name) } }
                                Words(name) => { th scope="col" class="words" { (name) } }
                            }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// Formats a difference as `+0.4`, in percentage points.
pub(super) fn points_above(difference: f32) -> String {
    if !difference.is_finite() {
        return "n/a".to_owned();
    }
    let tenths = (difference * 1000.0).round() + 0.0;
    format!("{:+.1}", tenths / 10.0).replace('-', "−")
}
