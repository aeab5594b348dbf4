//! The names in a data set: they travel with whatever was trained on it.

use serde::{Deserialize, Serialize};

/// Names of feature columns, label column and classes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Legend {
    /// Feature columns, in the order of the network's inputs; empty where the training's file named none.
    pub features: Vec<String>,
    /// Column of labels; `None` where the training's file named none.
    pub label: Option<String>,
    /// Columns of that file that are neither: groups, and what was ignored. A file of samples may have them.
    pub others: Vec<String>,
    /// Names of the classes, by their labels; whole numbers from 0 where the labels are numbers.
    pub classes: Vec<String>,
}

impl Legend {
    /// So many classes that are called by their numbers; columns without names.
    pub fn numbered(classes: usize) -> Self {
        Self { classes: (0..classes).map(|class| class.to_string()).collect(), ..Self::default() }
    }
}

/// A legend in a checkpoint. Checkpoints from before there were legends have the classes alone.
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
