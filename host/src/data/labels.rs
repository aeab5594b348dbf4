//! Labels in a file: whole numbers, or names of classes.

use super::Legend;
use super::names::{Names, nearest, one_line};
use super::table::{is_missing, point_for_comma};
use std::collections::HashSet;

/// More classes than any layer has outputs for; a larger label is a mistake.
const CLASSES: u32 = 65_536;

/// More classes than that are to occur, most of them, or to be said.
const MANY: usize = 1_000;

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
    /// How many classes there are, where that is said.
    classes: Option<usize>,
    names: Names,
    labels: Vec<u32>,
}

impl Labels {
    fn new(kind: Kind) -> Self {
        Self { kind, classes: None, names: Names::default(), labels: Vec::new() }
    }

    /// All whole numbers from 0, or all names; of so many classes, where that is said.
    pub fn open(classes: Option<usize>) -> Self {
        Self { classes, ..Self::new(Kind::Open) }
    }

    /// Of these classes, in this order: by their names or their numbers.
    pub fn known(classes: &[String]) -> Self {
        let mut known = Self::new(Kind::Known);
        classes.iter().for_each(|class| _ = known.names.number(class));
        known
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// All that were taken, where they are whole numbers.
    pub fn whole(&self) -> Option<&[u32]> {
        (self.kind == Kind::Whole).then_some(&self.labels)
    }

    /// Takes one more.
    ///
    /// # Errors
    /// What is wrong with it.
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
                    "classification only: a label is the number of a class, 0 to {}, or its name, which is no number; found {field:?}",
                    CLASSES - 1
                ),
            });
        }
        if point_for_comma(field).is_some() {
            return found("a label is a class, and this is a number with a decimal comma");
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
                let number = whole.filter(|label| (*label as usize) < self.names.list().len());
                match self.names.find(&name).or(number) {
                    Some(label) => label,
                    None => return Err(format!("label {} is {}", one_line(&name), self.known_names(&name))),
                }
            }
            (_, Some(_)) => return found("the labels before it are names"),
            (_, None) => self.names.number(field),
        };
        if label >= CLASSES {
            return found(&format!("more than {CLASSES} classes: is this the column of the labels?"));
        }
        if let Some(classes) = self.classes.filter(|classes| label as usize >= *classes) {
            return found(&format!("there are {classes} classes by the key classes"));
        }
        self.labels.push(label);
        Ok(())
    }

    /// The known classes, in words after "is" that say that a label is none of them.
    fn known_names(&self, label: &str) -> String {
        let names = self.names.list();
        format!("not one of the {} classes {}", names.len(), nearest(label, names))
    }

    /// The labels, and the names of the classes: sorted where the labels are names, else the numbers from 0 to the largest, or
    /// to the last one that is said.
    ///
    /// # Errors
    /// Where there are fewer names than classes are said, or most of many whole numbers are no labels: then they hardly are
    /// classes.
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
                        "classification only: of the {classes} classes 0 to {} that these labels ask for {met} occur; number them from 0, or say \
                         classes = {classes}",
                        classes - 1
                    ));
                }
                Ok((labels, Legend::numbered(classes).classes))
            }
            Kind::Name if said.is_some_and(|classes| classes != names.len()) => Err(format!(
                "labels of {} names, there are {} classes by the key classes",
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
