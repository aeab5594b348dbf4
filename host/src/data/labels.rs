//! Labels in a file: whole numbers, or names of classes.

use super::names::{Names, nearest, one_line};

/// More classes than any layer has outputs for; a larger label is a mistake.
const CLASSES: u32 = 65_536;

/// What a label may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The first label decides.
    Open,
    Whole,
    Name,
    /// One of the names that are there.
    Known,
}

/// The labels of a file, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    kind: Kind,
    names: Names,
    labels: Vec<u32>,
}

impl Labels {
    fn new(kind: Kind) -> Self {
        Self { kind, names: Names::default(), labels: Vec::new() }
    }

    /// All whole numbers from 0, or all names.
    pub fn open() -> Self {
        Self::new(Kind::Open)
    }

    /// Whole numbers from 0.
    pub fn whole() -> Self {
        Self::new(Kind::Whole)
    }

    /// Of these classes, in this order.
    pub fn known(classes: &[String]) -> Self {
        let mut known = Self::new(Kind::Known);
        classes.iter().for_each(|class| _ = known.names.number(class));
        known
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Takes one more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn push(&mut self, field: &str) -> Result<(), String> {
        let found = |what: &str| Err(format!("{what}, found {field:?}"));
        let whole = field.parse::<u32>().ok().filter(|label| *label < CLASSES);
        if field.is_empty() || field == "?" {
            return found("the label is missing");
        }
        if whole.is_none() && field.parse::<f64>().is_ok() {
            return found(&format!("the label is a whole number from 0 to {} or a name", CLASSES - 1));
        }
        if self.kind == Kind::Open {
            self.kind = if whole.is_some() { Kind::Whole } else { Kind::Name };
        }
        let label = match (self.kind, whole) {
            (Kind::Whole, Some(label)) => label,
            (Kind::Whole, None) => return found("the label is a whole number from 0"),
            (Kind::Known, whole) => {
                // A number may be written in several ways.
                let name = whole.map_or_else(|| field.to_owned(), |label| label.to_string());
                let Some(label) = self.names.find(&name) else {
                    let (count, near) = (self.names.list().len(), nearest(&name, self.names.list()));
                    return Err(format!("label {} is not one of the {count} classes {near}", one_line(&name)));
                };
                label
            }
            (_, Some(_)) => return found("the labels before it are names"),
            (_, None) => self.names.number(field),
        };
        if label >= CLASSES {
            return found(&format!("more than {CLASSES} classes: is this the column of the labels?"));
        }
        self.labels.push(label);
        Ok(())
    }

    /// The labels, and the names of the classes: sorted where the labels are names, else the numbers from 0 to the largest.
    pub fn finish(self) -> (Vec<u32>, Vec<String>) {
        let Self { kind, names, mut labels } = self;
        let names = names.list();
        match kind {
            Kind::Known => (labels, names.to_vec()),
            Kind::Open | Kind::Whole => {
                let classes = labels.iter().max().map_or(0, |most| most + 1);
                (labels, (0..classes).map(|class| class.to_string()).collect())
            }
            Kind::Name => {
                let mut classes = names.to_vec();
                classes.sort_unstable();
                let mut places = Names::default();
                classes.iter().for_each(|class| _ = places.number(class));
                let places: Vec<_> = names.iter().map(|name| places.number(name)).collect();
                labels.iter_mut().for_each(|label| *label = places[*label as usize]);
                (labels, classes)
            }
        }
    }
}
