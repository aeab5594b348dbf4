//! Names of a data set's columns and classes, which are stored with everything trained on it.

use super::names::one_line;
use serde::{Deserialize, Serialize};

/// Names of the feature columns, the label column and the classes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Legend {
    /// Feature columns, in the order of the network's inputs; empty if the training file had no column names.
    pub features: Vec<String>,
    /// Label column; `None` if the training file had no column names.
    pub label: Option<String>,
    /// Other columns of the training file: groups and ignored ones. A file of samples may contain them.
    pub others: Vec<String>,
    /// Class names, indexed by label; whole numbers from 0 if the labels are numbers.
    pub classes: Vec<String>,
}

impl Legend {
    /// Creates a legend of `classes` classes named by their numbers, without column names.
    pub fn numbered(classes: usize) -> Self {
        Self { classes: (0..classes).map(|class| class.to_string()).collect(), ..Self::default() }
    }

    /// Returns `true` if any class has a name other than its number.
    pub fn names_classes(&self) -> bool {
        (0..).zip(&self.classes).any(|(number, name): (usize, _)| *name != number.to_string())
    }

    /// Describes the classes and their numbers in one line; `None` if the classes are named by their numbers.
    pub fn classes_in_words(&self) -> Option<String> {
        let each = self.classes.iter().enumerate().map(|(number, name)| format!("{number} {}", one_line(name)));
        self.names_classes().then(|| format!("classes: {}", each.collect::<Vec<_>>().join(", ")))
    }
}

/// A legend as stored in a checkpoint. Checkpoints written before legends existed contain only the classes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Classes(Vec<String>),
    Whole { features: Vec<String>, label: Option<String>, others: Vec<String>, classes: Vec<String> },
}

impl From<Written> for Legend {
    fn from(written: Written) -> Self {
        match written {
            Written::Classes(classes) => Self { classes, ..Self::default() },
            Written::Whole { features, label, others, classes } => Self { features, label, others, classes },
        }
    }
}
