//! Interned names, and suggestions for misspelled ones.

use std::collections::HashMap;
use strsim::damerau_levenshtein;

/// Distinct names, numbered in order of first occurrence.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    list: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    /// Returns the number of a name; `None` if it has not occurred.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// Returns the number of a name, adding it if it is new.
    pub fn number(&mut self, name: &str) -> u32 {
        self.find(name).unwrap_or_else(|| {
            let number = self.list.len() as u32;
            self.list.push(name.to_owned());
            self.numbers.insert(name.to_owned(), number);
            number
        })
    }

    /// Returns all names, indexed by their numbers.
    pub fn list(&self) -> &[String] {
        &self.list
    }
}

/// Replaces control characters with blanks, so that a name fits in a one-line message.
pub(super) fn one_line(name: &str) -> String {
    name.replace(char::is_control, " ")
}

/// Maximum number of names that a message lists.
const SHOWN: usize = 10;

/// Lists the existing names for a message, those closest to the missing one first.
pub(super) fn nearest(missing: &str, names: &[String]) -> String {
    let mut order: Vec<&String> = names.iter().collect();
    order.sort_by_cached_key(|name| damerau_levenshtein(&missing.to_lowercase(), &name.to_lowercase()));
    let shown: Vec<_> = order.iter().take(SHOWN).map(|name| one_line(name)).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
