//! An experiment's numbers, as TOML.
//!
//! A configuration names every value or takes the default written here; unknown
//! keys, wrong types and values out of range are refused with their line. What a
//! run resolved is written beside it as `config.toml`.

mod batch_size;
mod bounds;
mod hidden;
mod keys;
mod set;
mod study;

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
    study::{Arm, GridConfig, StudyConfig, SweepConfig},
};
use self::{
    bounds::{decay, file_name, non_negative, positive},
    keys::Configuration,
};
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
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over the training split.
    pub epochs: NonZeroUsize,
    /// Samples a step: a number, or "full" for one step an epoch.
    pub batch_size: BatchSize,
    /// Whether a step's loss is the mean or the sum over its samples.
    #[serde(default)]
    pub reduction: Reduction,
    /// The penalty l2 * (the sum over the weight matrices of W^2) added to the loss.
    #[serde(default, deserialize_with = "non_negative")]
    pub l2: f64,
    /// The optimiser.
    pub adam: AdamConfig,
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

/// Adam's four numbers (Kingma and Ba 2015, algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamConfig {
    /// The learning rate alpha.
    #[serde(deserialize_with = "positive")]
    pub learning_rate: f64,
    /// The decay of the first moment.
    #[serde(deserialize_with = "decay", default = "default_beta_1")]
    pub beta_1: f64,
    /// The decay of the second moment.
    #[serde(deserialize_with = "decay", default = "default_beta_2")]
    pub beta_2: f64,
    /// Added to the root of the second moment.
    #[serde(deserialize_with = "positive", default = "default_adam_epsilon")]
    pub epsilon: f64,
}

fn default_beta_1() -> f64 {
    0.9
}
fn default_beta_2() -> f64 {
    0.999
}
fn default_adam_epsilon() -> f64 {
    1e-8
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
mod tests {
    use kappa_model::{Kind, Place};

    use super::*;

    const TEXT: &str = r#"
name = "fc"
[data]
train = 6
validation = 3
test = 2
[network]
hidden = 4
[training]
epochs = 2
batch_size = 3
[training.adam]
learning_rate = 1e-3
"#;

    fn parse(text: &str, assignments: &[&str]) -> Result<Config, RunError> {
        let assignments: Vec<String> = assignments.iter().map(ToString::to_string).collect();
        super::parse("x.toml", text, &assignments)
    }

    fn complaint(text: &str, assignments: &[&str]) -> String {
        parse(text, assignments).map_or_else(|error| error.to_string(), |_| "none".to_owned())
    }

    #[test]
    fn defaults_are_resolved_and_written_out() {
        let config = parse(TEXT, &[]).unwrap();
        assert_eq!(config.network_label(), "FC");
        let written = config.to_toml().unwrap();
        for line in ["seed = 0", "scaling = \"unit\"", "order = \"file\"", "l2 = 0.0", "beta_1 = 0.9"] {
            assert!(written.contains(line), "{line} in {written}");
        }
        assert_eq!(parse(&written, &[]).unwrap(), config);
    }

    #[test]
    fn every_shipped_configuration_is_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if StudyConfig::is_one(&std::fs::read_to_string(&path).unwrap()) {
                let study = StudyConfig::load(&path, &[]).unwrap();
                let written: StudyConfig = super::parse("x", &study.to_toml().unwrap(), &[]).unwrap();
                assert_eq!(written, study);
            } else {
                let config = Config::load(&path, &[]).unwrap();
                assert_eq!(parse(&config.to_toml().unwrap(), &[]).unwrap(), config);
            }
            count += 1;
        }
        assert!(count >= 3);
    }

    #[test]
    fn hidden_layers_are_a_number_or_a_list() {
        assert_eq!(parse(TEXT, &[]).unwrap().network.hidden, [4]);
        let deep = parse(TEXT, &["network.hidden=[8, 5]"]).unwrap();
        assert_eq!(deep.network.hidden, [8, 5]);
        assert!(deep.to_toml().unwrap().contains("hidden = [8, 5]"));
        assert!(parse(TEXT, &["network.hidden=[8]"]).unwrap().to_toml().unwrap().contains("hidden = 8\n"));
    }

    #[test]
    fn values_can_be_set_from_the_command_line() {
        let config = parse(
            TEXT,
            &[
                "training.adam.learning_rate=0.5",
                "training.batch_size=full",
                "network.normalisation.kind=batch",
                "network.normalisation.epsilon=1e-3",
                "data.scaling=standardised",
                "data.folder=/a b",
            ],
        )
        .unwrap();
        assert_eq!(config.training.adam.learning_rate, 0.5);
        assert_eq!(config.training.batch_size, BatchSize::Full);
        let normalisation = config.network.normalisation;
        let (kind, place) = (Kind::Batch, Place::After);
        assert_eq!(normalisation, Normalisation { kind, place, epsilon: 1e-3, ..Normalisation::default() });
        assert_eq!(config.data.scaling, Scaling::Standardised);
        assert_eq!(config.data.folder, Some(PathBuf::from("/a b")));
        assert_eq!(config.network_label(), "FC+BN");
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_told_with_their_line() {
        let misspelt = complaint(&TEXT.replace("learning_rate", "lr"), &[]);
        assert!(misspelt.contains("line 13") && misspelt.contains("unknown field `lr`"), "{misspelt}");
        let wrong = complaint(&TEXT.replace("hidden = 4", "hidden = \"many\""), &[]);
        assert!(wrong.contains("line 8") && wrong.contains("hidden units"), "{wrong}");
        assert!(complaint(&TEXT.replace("epochs = 2", ""), &[]).contains("missing field `epochs`"));
        assert!(complaint("name = [", &[]).contains("line 1"));
    }

    #[test]
    fn absurd_values_are_told_with_their_line() {
        for (from, to, told) in [
            ("learning_rate = 1e-3", "learning_rate = -1e-3", "above 0"),
            ("learning_rate = 1e-3", "learning_rate = inf", "above 0"),
            ("learning_rate = 1e-3", "learning_rate = nan", "above 0"),
            ("learning_rate = 1e-3", "learning_rate = 1e-3\nbeta_1 = 1.0", "below 1"),
            ("epochs = 2", "epochs = 2\nl2 = -1.0", "from 0"),
            ("epochs = 2", "epochs = 0", "nonzero"),
            ("hidden = 4", "hidden = 0", "hidden units"),
            ("hidden = 4", "hidden = 10000000000", "hidden units"),
            ("hidden = 4", "hidden = []", "hidden units"),
            ("hidden = 4", "hidden = [4, 0]", "hidden units"),
            ("hidden = 4", "hidden = 4\nnormalisation.kind = \"bach\"", "unknown variant `bach`"),
            ("hidden = 4", "hidden = 4\nnormalisation.epsilon = 0.0", "above 0"),
            ("hidden = 4", "hidden = 4\nnormalisation.momentum = 2.0", "from 0 to 1"),
            ("batch_size = 3", "batch_size = 0", "a batch size"),
            ("batch_size = 3", "batch_size = -1", "a batch size"),
            ("batch_size = 3", "batch_size = \"half\"", "a batch size"),
            ("train = 6", "train = -6", "invalid value"),
            ("\"fc\"", "\"../fc\"", "invalid name"),
            ("\"fc\"", "\"\"", "invalid name"),
        ] {
            let message = complaint(&TEXT.replace(from, to), &[]);
            assert!(message.contains(told) && message.contains("line "), "{to}: {message}");
        }
    }

    #[test]
    fn a_key_that_is_the_end_of_a_known_one_is_told_with_that_one() {
        let known_as = |text: &str, assignments: &[&str]| match parse(text, assignments) {
            Err(RunError::Config { unknown, .. }) => {
                unknown.into_iter().map(|unknown| unknown.known_as.join(" or ")).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(known_as(TEXT, &["hidden=50"]), ["network.hidden"]);
        assert_eq!(known_as(TEXT, &["adam.epsilon=1"]), ["training.adam.epsilon"]);
        let either = "network.normalisation.epsilon or training.adam.epsilon";
        assert_eq!(known_as(TEXT, &["epsilon=1"]), [either]);
        assert_eq!(known_as(TEXT, &["training.learning_rate=1"]), ["training.adam.learning_rate"]);
        assert_eq!(known_as(&format!("epochs = 3\n{TEXT}"), &[]), ["training.epochs"]);
        // Of a misspelt one nothing is known, and of a wrong value nothing is unknown.
        assert!(known_as(TEXT, &["network.hiden=50"]).is_empty());
        assert!(known_as(TEXT, &["training.epochs=0"]).is_empty());
    }

    #[test]
    fn the_keys_are_those_of_the_guide() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/train.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        let keys = Config::keys();
        assert_eq!(keys.len(), 23, "{keys:?}");
        for key in keys {
            let last = key.rsplit('.').next().unwrap();
            assert!(guide.contains(&format!("`{last}`")) || guide.contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn of_a_run_that_has_begun_only_the_number_of_epochs_can_be_set() {
        let config = parse(TEXT, &[]).unwrap();
        let epochs = NonZeroUsize::new(60).unwrap();
        let training = TrainingConfig { epochs, ..config.training.clone() };
        let longer = Config { training, ..config.clone() };
        assert_eq!(config.prolonged(&["training.epochs=60".to_owned()]).unwrap(), longer);
        let refused = config.prolonged(&["seed=1".to_owned()]).unwrap_err().to_string();
        assert!(refused.contains("seed=1") && refused.contains("training.epochs"), "{refused}");
        for wrong in ["training.epochs=0", "training.epochs=many", "training.epochs"] {
            assert!(config.prolonged(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn batch_norm_on_a_single_sample_is_refused_and_nothing_else_is() {
        let batch_norm = "network.normalisation.kind=batch";
        let check = |settings: &[&str]| parse(TEXT, settings).unwrap().check_batches();
        for refused in ["data.train=7", "training.batch_size=1", "training.batch_size=5"] {
            assert!(check(&[refused]).is_ok(), "{refused} without batch norm");
            let error = check(&[refused, batch_norm]).unwrap_err();
            assert!(matches!(error, RunError::LoneSample(_)), "{refused}: {error}");
        }
        let alone = check(&["data.train=1", "training.batch_size=full", batch_norm]).unwrap_err();
        assert!(alone.to_string().contains("single sample"), "{alone}");
        for allowed in ["training.batch_size=4", "training.batch_size=full", "training.batch_size=60"] {
            assert!(check(&[allowed, batch_norm]).is_ok(), "{allowed}");
        }
    }

    #[test]
    fn a_bad_assignment_is_told_as_it_was_typed() {
        assert!(complaint(TEXT, &["seed"]).contains("seed cannot be set: expected path=value"));
        assert!(complaint(TEXT, &["a..b=1"]).contains("empty part"));
        assert!(complaint(TEXT, &["name.x=1"]).contains("`name` is a value"));
        let unknown = complaint(TEXT, &["training.lr=1"]);
        assert!(
            unknown.contains("with training.lr=1") && unknown.contains("unknown field `lr`"),
            "{unknown}"
        );
        assert!(complaint(TEXT, &["seed=-1"]).contains("with seed=-1"));
    }
}
