//! Names that a file uses again and again, and the one that was meant.

use std::collections::HashMap;
use strsim::damerau_levenshtein;

/// Different names with their numbers, in the order in which they were met.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    list: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    /// The number of a name, if it was met.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The number of a name, which is new or not.
    pub fn number(&mut self, name: &str) -> u32 {
        self.find(name).unwrap_or_else(|| {
            let number = self.list.len() as u32;
            self.list.push(name.to_owned());
            self.numbers.insert(name.to_owned(), number);
            number
        })
    }

    /// All of them.
    pub fn list(&self) -> &[String] {
        &self.list
    }
}

/// A name in a message, which is one line.
pub(super) fn one_line(name: &str) -> String {
    name.replace(char::is_control, " ")
}

/// Names that a message shows.
const SHOWN: usize = 10;

/// The names that there are, that first which is nearest to the one that is not there.
pub(super) fn nearest(missing: &str, names: &[String]) -> String {
    let mut order: Vec<&String> = names.iter().collect();
    order.sort_by_cached_key(|name| damerau_levenshtein(&missing.to_lowercase(), &name.to_lowercase()));
    let shown: Vec<_> = order.iter().take(SHOWN).map(|name| one_line(name)).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
