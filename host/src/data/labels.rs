//! Labels in a file: whole numbers or class names.

use super::Legend;
use super::field::{is_missing, point_for_comma};
use super::names::{Names, nearest, one_line};
use std::collections::HashSet;

/// Upper bound on the number of classes, more than any layer has outputs for. A larger label is a mistake.
const CLASSES: u32 = 65_536;

/// Number of classes above which at least half must occur, unless the number is given explicitly.
const MANY: usize = 1_000;

/// Kind of the labels of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Decided by the first label.
    Open,
    Whole,
    Name,
    /// One of the known class names, or its number.
    Known,
}

/// Collected labels of a file.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    kind: Kind,
    /// Number of classes, if given.
    classes: Option<usize>,
    names: Names,
    labels: Vec<u32>,
}

impl Labels {
    fn new(kind: Kind) -> Self {
        Self { kind, classes: None, names: Names::default(), labels: Vec::new() }
    }

    /// Creates a collection whose labels are all whole numbers from 0 or all names. `classes` is the number of classes,
    /// if given.
    pub fn open(classes: Option<usize>) -> Self {
        Self { classes, ..Self::new(Kind::Open) }
    }

    /// Creates a collection of labels from known classes, in this order. A label is a class's name or number.
    pub fn known(classes: &[String]) -> Self {
        let mut known = Self::new(Kind::Known);
        classes.iter().for_each(|class| _ = known.names.number(class));
        known
    }

    /// Number of labels collected.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns all labels if they are whole numbers.
    pub fn whole(&self) -> Option<&[u32]> {
        (self.kind == Kind::Whole).then_some(&self.labels)
    }

    /// Appends a label.
    ///
    /// # Errors
    /// A description of what is wrong with the label.
    pub fn push(&mut self, field: &str) -> Result<(), String> {
        let found = |what: &str| Err(format!("{what}, found {field:?}"));
        let whole = field.parse::<u32>().ok().filter(|label| *label < CLASSES);
        if is_missing(field) {
            return found("the label is missing");
        }
        if whole.is_none() && field.parse::<f64>().is_ok() {
            return Err(match &self.kind {
                Kind::Known => format!("label {field} is {}", self.known_names(field)),
                _ => format!(
                    "only classification is supported: a label must be a class number from 0 to {} or a class name that is not a number, found {field:?}",
                    CLASSES - 1
                ),
            });
        }
        if point_for_comma(field).is_some() {
            return found("a label must be a class, not a number with a decimal comma");
        }
        if self.kind == Kind::Open {
            self.kind = if whole.is_some() { Kind::Whole } else { Kind::Name };
        }
        let label = match (self.kind, whole) {
            (Kind::Whole, Some(label)) => label,
            (Kind::Whole, None) => return found("the label must be a whole number from 0"),
            (Kind::Known, whole) => {
                // A number may be written in several ways.
                let name = whole.map_or_else(|| field.to_owned(), |label| label.to_string());
                let number = whole.filter(|label| (*label as usize) < self.names.list().len());
                match self.names.find(&name).or(number) {
                    Some(label) => label,
                    None => return Err(format!("label {} is {}", one_line(&name), self.known_names(&name))),
                }
            }
            (_, Some(_)) => return found("the label must be a name like those before it"),
            (_, None) => self.names.number(field),
        };
        if label >= CLASSES {
            return found(&format!("more than {CLASSES} classes: is this the column of the labels?"));
        }
        if let Some(classes) = self.classes.filter(|classes| label as usize >= *classes) {
            return found(&format!("the key classes says that there are only {classes} classes"));
        }
        self.labels.push(label);
        Ok(())
    }

    /// Message part after "is": the label is none of the known classes.
    fn known_names(&self, label: &str) -> String {
        let names = self.names.list();
        format!("not one of the {} classes {}", names.len(), nearest(label, names))
    }

    /// Returns the labels and the class names. Named classes are sorted; otherwise the names are the numbers from 0 to
    /// the largest label, or up to the given number of classes.
    ///
    /// # Errors
    /// If the number of names differs from the given number of classes. Also if there are many whole-number classes and
    /// fewer than half of them occur: then the labels are hardly classes.
    pub fn finish(self) -> Result<(Vec<u32>, Vec<String>), String> {
        let Self { kind, classes: said, names, mut labels } = self;
        let names = names.list();
        match kind {
            Kind::Known => Ok((labels, names.to_vec())),
            Kind::Open | Kind::Whole => {
                let classes = said.unwrap_or(labels.iter().max().map_or(0, |most| *most as usize + 1));
                let met = labels.iter().collect::<HashSet<_>>().len();
                if said.is_none() && classes > MANY && 2 * met < classes {
                    return Err(format!(
                        "only classification is supported: these labels stand for {classes} classes, 0 to {}, of which only {met} occur; number them \
                         from 0, or set classes = {classes}",
                        classes - 1
                    ));
                }
                Ok((labels, Legend::numbered(classes).classes))
            }
            Kind::Name if said.is_some_and(|classes| classes != names.len()) => Err(format!(
                "its labels have {} names, but the key classes says {} classes",
                names.len(),
                said.unwrap_or(0)
            )),
            Kind::Name => {
                let mut classes = names.to_vec();
                classes.sort_unstable();
                let mut places = Names::default();
                classes.iter().for_each(|class| _ = places.number(class));
                let places: Vec<_> = names.iter().map(|name| places.number(name)).collect();
                labels.iter_mut().for_each(|label| *label = places[*label as usize]);
                Ok((labels, classes))
            }
        }
    }
}
