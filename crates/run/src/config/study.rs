//! A study's numbers, as TOML: a recipe, a grid, seeds, sweeps.

use std::{num::NonZeroUsize, path::Path};

use serde::{Deserialize, Serialize};
use toml::Table;

use kappa_model::Normalisation;

use super::{Config, bounds, parse};
use crate::RunError;

/// Both networks, trained along a grid, with paired seeds, and measured each epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// The study's directory under the output folder.
    #[serde(deserialize_with = "bounds::file_name")]
    pub name: String,
    /// How many paired seeds: FC and FC+BN of one seed start from the same
    /// weights and see the same batches. They count up from the recipe's seed.
    pub seeds: NonZeroUsize,
    /// Where the best learning rate and L2 parameter are looked for.
    pub grid: GridConfig,
    /// Where the claims are judged besides the chosen point.
    #[serde(default)]
    pub sweep: SweepConfig,
    /// Accuracies (fractions) of the validation split whose epoch and second are compared.
    #[serde(default)]
    pub accuracies: Vec<f64>,
    /// The batch norm that FC+BN has and FC has not.
    pub batch_norm: Normalisation,
    /// FC as a run's configuration. The grid and the sweeps replace its learning
    /// rate, L2 parameter and width.
    pub recipe: Config,
}

/// The grid on which FC is trained with the first seed; the point of the highest
/// validation accuracy is chosen, and FC+BN uses the same two values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridConfig {
    /// Learning rates.
    #[serde(deserialize_with = "bounds::positives")]
    pub learning_rates: Vec<f64>,
    /// L2 parameters.
    #[serde(deserialize_with = "bounds::non_negatives")]
    pub l2: Vec<f64>,
}

/// Points besides the chosen one, one value changed at a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// Learning rates.
    #[serde(default, deserialize_with = "bounds::positives_or_none")]
    pub learning_rates: Vec<f64>,
    /// L2 parameters.
    #[serde(default, deserialize_with = "bounds::non_negatives_or_none")]
    pub l2: Vec<f64>,
    /// Widths of the hidden layer, for the number of zero eigenvalues.
    #[serde(default)]
    pub widths: Vec<NonZeroUsize>,
}

impl StudyConfig {
    /// Reads `path` and applies `assignments`, as [`Config::load`] does.
    ///
    /// # Errors
    ///
    /// [`RunError`] names the file and line, or the assignment.
    pub fn load(path: &Path, assignments: &[String]) -> Result<Self, RunError> {
        let text = std::fs::read_to_string(path).map_err(|source| RunError::read(path, source))?;
        parse(&path.display().to_string(), &text, assignments)
    }

    /// Whether `text` is a study's configuration and not a run's.
    pub fn is_one(text: &str) -> bool {
        toml::from_str::<Table>(text).is_ok_and(|table| table.contains_key("recipe"))
    }

    /// The study's configuration as TOML, every value written out.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`], if a number cannot be written.
    pub fn to_toml(&self) -> Result<String, RunError> {
        toml::to_string(self)
            .map_err(|error| RunError::Config { origin: self.name.clone(), problem: error.to_string() })
    }
}
