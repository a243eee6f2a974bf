//! Which parameters of a network a Hessian is of.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const LAST_LAYER: &str = "output.weight";
const ALL: &str = "all";

/// Parameters of a network, by the names of the model's table.
///
/// On disk and on the screen: `output.weight`, `all`, or names with commas between them,
/// `hidden.weight,norm.weight`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Parameters {
    /// The weights of the last layer, whose Hessian is computed as a matrix.
    #[default]
    LastLayer,
    /// All that are trained.
    All,
    /// These, each once, in the order of the alphabet: it is the same question in any order.
    Named(Vec<String>),
}

impl Parameters {
    /// Whether `name` is one of them, of a network's trained ones.
    pub fn contain(&self, name: &str) -> bool {
        match self {
            Self::LastLayer => name == LAST_LAYER,
            Self::All => true,
            Self::Named(names) => names.iter().any(|other| other == name),
        }
    }

    /// The names, if they are named one by one.
    pub fn names(&self) -> Option<Vec<&str>> {
        match self {
            Self::LastLayer => Some(vec![LAST_LAYER]),
            Self::All => None,
            Self::Named(names) => Some(names.iter().map(String::as_str).collect()),
        }
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastLayer => formatter.write_str(LAST_LAYER),
            Self::All => formatter.write_str(ALL),
            Self::Named(names) => formatter.write_str(&names.join(",")),
        }
    }
}

/// A text that names no parameters.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no parameters; expected {ALL}, or names, {LAST_LAYER} say, with commas between them")]
pub struct NoParameters(String);

impl FromStr for Parameters {
    type Err = NoParameters;

    fn from_str(text: &str) -> Result<Self, NoParameters> {
        let mut names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        names.sort();
        names.dedup();
        let all = names.iter().any(|name| name == ALL);
        if names.iter().any(String::is_empty) || (all && names.len() > 1) {
            return Err(NoParameters(text.to_owned()));
        }
        Ok(match names.as_slice() {
            _ if all => Self::All,
            [only] if only == LAST_LAYER => Self::LastLayer,
            _ => Self::Named(names),
        })
    }
}

impl TryFrom<String> for Parameters {
    type Error = NoParameters;

    fn try_from(text: String) -> Result<Self, NoParameters> {
        text.parse()
    }
}

impl From<Parameters> for String {
    fn from(parameters: Parameters) -> Self {
        parameters.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_order_and_twice_are_one_question() {
        let parsed = |text: &str| text.parse::<Parameters>().unwrap();
        let both = Parameters::Named(vec!["hidden.bias".to_owned(), "output.weight".to_owned()]);
        for text in ["output.weight,hidden.bias", "hidden.bias, output.weight,hidden.bias"] {
            assert_eq!(parsed(text), both);
        }
        assert_eq!(parsed("output.weight,output.weight"), Parameters::LastLayer);
        for parameters in [Parameters::LastLayer, Parameters::All, both] {
            assert_eq!(parsed(&parameters.to_string()), parameters);
        }
        for wrong in ["", ",", "hidden.weight,", "all,hidden.weight"] {
            assert!(wrong.parse::<Parameters>().is_err(), "{wrong}");
        }
    }
}
