//! An experiment's numbers, as TOML.
//!
//! A configuration names every value or takes the default written here; unknown
//! keys, wrong types and values out of range are refused with their line. What a
//! run resolved is written beside it as `config.toml`.

mod batch_size;
mod bounds;
mod hidden;
mod keys;
mod optimizer;
mod set;
mod study;
mod whole;
mod why;

use std::{
    fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use kappa_model::{Initialisation, LoneSample, NetworkShape, Normalisation};
use serde::{Deserialize, Serialize};
use toml::Table;

pub use self::{
    batch_size::BatchSize,
    keys::UnknownKey,
    optimizer::{AdamConfig, DescentConfig, Optimizer},
    study::{Arm, GridConfig, StudyConfig, SweepConfig},
    whole::{WholeConfig, WholePoint},
    why::{Change, Intervention, RatesConfig, WhyConfig, slug},
};
use self::{bounds::file_name, keys::Configuration};
use crate::{RunError, reading::read_configuration, shown};

/// One network, trained once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the run directories' names begin with: letters, digits, `-`, `_`, `.`.
    #[serde(deserialize_with = "file_name")]
    pub name: String,
    /// The seed of the initial weights, the batch order and shuffled splits.
    #[serde(default)]
    pub seed: u64,
    /// The images.
    pub data: DataConfig,
    /// The network.
    pub network: NetworkConfig,
    /// How it is trained.
    pub training: TrainingConfig,
}

/// Which images, and how they are split and scaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A folder of IDX files; the embedded MNIST if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Images to train on.
    pub train: NonZeroUsize,
    /// Images to validate on, from the training files too.
    pub validation: NonZeroUsize,
    /// Images to test on, from the test files.
    pub test: NonZeroUsize,
    /// In which order the splits take them.
    #[serde(default)]
    pub order: Order,
    /// How pixels become inputs.
    #[serde(default)]
    pub scaling: Scaling,
}

/// In which order splits take images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they stand in the files.
    #[default]
    File,
    /// Shuffled by the seed.
    Shuffled,
}

/// How pixels 0..255 become inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// pixel / 255.
    #[default]
    Unit,
    /// (pixel - mean) / standard deviation, one mean and one deviation over all
    /// pixels of the training split.
    Standardised,
}

impl fmt::Display for Scaling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// The network between pixels and classes, whose numbers come from the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Hidden units of each layer, the first layer's first; in TOML a number for one layer.
    #[serde(with = "hidden")]
    pub hidden: Vec<usize>,
    /// The law of the initial weights.
    #[serde(default)]
    pub initialisation: Initialisation,
    /// What is done to the hidden units; nothing if absent.
    #[serde(default)]
    pub normalisation: Normalisation,
}

impl NetworkConfig {
    /// Features of the last layer: units of the last hidden one.
    pub fn features(&self) -> usize {
        self.hidden.last().copied().unwrap_or(0)
    }

    /// The network for so many inputs and classes.
    pub fn shape(&self, inputs: usize, classes: usize) -> NetworkShape {
        NetworkShape { inputs, hidden: self.hidden.clone(), classes, normalisation: self.normalisation }
    }
}

/// How the network is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "optimizer::Written", into = "optimizer::Written")]
pub struct TrainingConfig {
    /// Passes over the training split.
    pub epochs: NonZeroUsize,
    /// Samples a step: a number, or "full" for one step an epoch.
    pub batch_size: BatchSize,
    /// Whether a step's loss is the mean or the sum over its samples.
    pub reduction: Reduction,
    /// The penalty l2 * (the sum over the weight matrices of W^2) added to the loss.
    pub l2: f64,
    /// The optimiser.
    pub optimizer: Optimizer,
}

/// Mean or sum over the samples of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The mean.
    #[default]
    Mean,
    /// The sum, as the paper writes it.
    Sum,
}

impl Config {
    /// Reads `path` and applies `assignments` (`path.to.key=value`, the value as
    /// in TOML, quotes optional around a word).
    ///
    /// # Errors
    ///
    /// [`RunError`] names the file and line, or the assignment.
    pub fn load(path: &Path, assignments: &[String]) -> Result<Self, RunError> {
        let text = read_configuration(path)?;
        parse(&shown(path), &text, assignments)
    }

    /// The configuration as TOML, every value written out.
    pub fn to_toml(&self) -> Result<String, RunError> {
        toml::to_string(self).map_err(|error| RunError::config(self.name.clone(), error.to_string()))
    }

    /// The same for a run that has begun, with what `assignments` set: training.epochs, which
    /// decides nothing but where it ends.
    ///
    /// # Errors
    ///
    /// [`RunError::Begun`] for anything else, and as [`Self::load`].
    pub fn prolonged(&self, assignments: &[String]) -> Result<Self, RunError> {
        const EPOCHS: &str = "training.epochs";
        let is_other =
            |assignment: &&String| assignment.split_once('=').is_some_and(|(key, _)| key.trim() != EPOCHS);
        if let Some(other) = assignments.iter().find(is_other) {
            return Err(RunError::Begun { assignment: other.clone(), allowed: EPOCHS });
        }
        parse(&self.name, &self.to_toml()?, assignments)
    }

    /// Refuses batch norm on mini-batches of which one is a single sample: its variance, zero,
    /// would go into the running statistics of every epoch.
    ///
    /// # Errors
    ///
    /// [`RunError::LoneSample`].
    pub fn check_batches(&self) -> Result<(), RunError> {
        let samples = self.data.train.get();
        let batch_size = match self.training.batch_size {
            BatchSize::Full => samples,
            BatchSize::Samples(size) => size.get(),
        };
        let lone = LoneSample::of(samples, batch_size);
        match lone.filter(|_| self.network.normalisation.has_statistics()) {
            Some(lone) => Err(lone.into()),
            None => Ok(()),
        }
    }

    /// All keys that there are, by their whole paths: "training.adam.learning_rate".
    pub fn keys() -> Vec<String> {
        <Self as Configuration>::keys()
    }

    /// What its network is called: "FC", "FC+BN", ..
    pub fn network_label(&self) -> &'static str {
        self.network.normalisation.label()
    }
}

impl Configuration for Config {
    fn shortest() -> String {
        "name = \"x\"\ndata.folder = \".\"\ndata.train = 1\ndata.validation = 1\ndata.test = 1\n\
         network.hidden = 1\ntraining.epochs = 1\ntraining.batch_size = 1\ntraining.adam.learning_rate = 1.0\n"
            .to_owned()
    }

    fn others() -> &'static [&'static str] {
        &["training.descent.learning_rate", "training.descent.momentum"]
    }
}

/// Reads a configuration of either kind from `text`; `origin` is its name in messages.
fn parse<T: Configuration>(origin: &str, text: &str, assignments: &[String]) -> Result<T, RunError> {
    let refuse = |origin: String, error: toml::de::Error, unknown| RunError::Config {
        origin,
        problem: error.to_string(),
        unknown,
    };
    let mut table: Table =
        toml::from_str(text).map_err(|error| refuse(origin.to_owned(), error, Vec::new()))?;
    if assignments.is_empty() {
        // From the text itself: a table does not know its lines.
        return toml::from_str(text)
            .map_err(|error| refuse(origin.to_owned(), error, keys::unknown_keys::<T>(&table)));
    }
    for assignment in assignments {
        set::set(&mut table, assignment)?;
    }
    let unknown = keys::unknown_keys::<T>(&table);
    table
        .try_into()
        .map_err(|error| refuse(format!("{origin} with {}", assignments.join(", ")), error, unknown))
}

#[cfg(test)]
mod tests;
