//! Comparisons and transfers as HTML pages.

mod comparison;
mod transfer;

pub use comparison::comparison_page;
pub use transfer::transfer_page;
