//! What somebody says of a checkpoint that does not say it itself.

use kappa_model::Place;
use serde::{Deserialize, Serialize};

/// How a checkpoint that somebody brings is to be read, where its own names and metadata leave it
/// open. It is part of the question, as the checkpoint is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interpretation {
    /// Where batch norm stands; as the file says, or after the ReLU, if absent.
    pub place: Option<Place>,
    /// What is added to its variance; as the file says, or 1e-5, if absent.
    pub epsilon: Option<f64>,
    /// `OLD=NEW`: the tensor OLD, or all whose names begin with `OLD.`, are called NEW.
    pub rename: Vec<String>,
}

impl Interpretation {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
