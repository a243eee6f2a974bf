//! Why a normalisation trains faster, as an experiment: arms, interventions, rates, measures.

use std::{collections::HashSet, num::NonZeroUsize, path::Path};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Arm, Config, bounds, keys::Configuration, parse, study::merge};
use crate::{RunError, reading::read_configuration, shown};

/// What `kappa why` does: arms of one recipe, descended from paired seeds, and what
/// changes one thing in them and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyConfig {
    /// Its directory under the output folder.
    #[serde(deserialize_with = "bounds::file_name")]
    pub name: String,
    /// How many paired seeds, counted up from the recipe's.
    pub seeds: NonZeroUsize,
    /// Steps of a training, at the most.
    pub steps: NonZeroUsize,
    /// Training losses (nats) whose steps are counted, each below the one before; the last orders arms.
    #[serde(deserialize_with = "bounds::positives")]
    pub losses: Vec<f64>,
    /// Learning rates.
    pub rates: RatesConfig,
    /// After which steps of the training at the matched rate measures are taken.
    pub measured: Vec<usize>,
    /// Steps after which an intervention looks at H again.
    pub renewed: NonZeroUsize,
    /// What is compared; the first is what the others are held against.
    pub arms: Vec<Arm>,
    /// What is changed in one of them.
    #[serde(default)]
    pub interventions: Vec<Intervention>,
    /// The same again with some values set, as an arm sets a recipe's: on other data, or deeper.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<Arm>,
    /// A run's configuration, of which each arm sets some values.
    pub recipe: Config,
}

/// Where learning rates are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesConfig {
    /// That at which all are compared.
    #[serde(deserialize_with = "bounds::positive")]
    pub matched: f64,
    /// Octaves above and below it in which the best one is looked for, at the most.
    pub octaves: u32,
    /// Steps after which a training is stable, if it is below half of its initial loss.
    pub stable_steps: NonZeroUsize,
    /// How often the octave in which the largest stable rate lies is halved.
    pub halvings: u32,
}

/// One thing changed in an arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intervention {
    /// What it is called: "FC, equalised".
    #[serde(deserialize_with = "bounds::label")]
    pub name: String,
    /// The arm in which it is changed.
    pub arm: String,
    /// What is.
    pub change: Change,
    /// The arm that it is taken from, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
}

/// What is changed. With lambda_i and u_i the eigenpairs of the exact H of the last layer's weights W, a
/// symmetric matrix M = sum_i f_i u_i u_i' is applied to the gradient of W, so that H is M H to the descent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The ten leading eigenvalues made equal, f_i = lambda_1 / lambda_i, the rest untouched: kappa' = 1.
    Equalised,
    /// The ratios of the ten leading to lambda_1 made those of another arm at that step.
    Stiffened,
    /// All eigenvalues made equal, but for a damping of a thousandth of lambda_1.
    Whitened,
    /// What the whitened have of it beyond the ten leading, those untouched.
    Amplified,
    /// The gradient of W within the ten leading eigenvectors alone.
    Top,
    /// The gradient of W without them.
    Bulk,
    /// W as it began.
    Held,
    /// Another arm's function at initialisation, its normalisation folded into the next layer.
    FoldedIntoNext,
    /// The same, its scale folded into the layer before it.
    FoldedIntoOwn,
    /// Each normalised unit with another mean and deviation at each step (Santurkar et al. 2018, appendix,
    /// algorithm 1, without its variation within a batch).
    Noise,
}

impl Change {
    /// Whether it is made of H, for steps that are the gradient's own.
    fn is_of_descent(self) -> bool {
        use Change::{Amplified, Bulk, Equalised, Stiffened, Top, Whitened};
        matches!(self, Equalised | Stiffened | Whitened | Amplified | Top | Bulk)
    }
}

impl WhyConfig {
    /// Reads `path` and applies `assignments`, as [`Config::load`] does.
    ///
    /// # Errors
    ///
    /// [`RunError`] names the file and line, or the assignment.
    pub fn load(path: &Path, assignments: &[String]) -> Result<Self, RunError> {
        let (origin, text) = (shown(path), read_configuration(path)?);
        let why: Self = parse(&origin, &text, assignments)?;
        match why.problem() {
            Some(problem) => Err(RunError::config(origin, problem)),
            None => Ok(why),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.arms.len() < 2 {
            return Some("there are two arms at the least".to_owned());
        }
        if self.losses.windows(2).any(|pair| matches!(pair, [a, b] if a <= b)) {
            return Some("each of `losses` is below the one before".to_owned());
        }
        let mut names = HashSet::new();
        let all = self.arms.iter().map(|arm| &arm.name);
        for name in all.chain(self.interventions.iter().map(|change| &change.name)) {
            if !names.insert(slug(name)) {
                return Some(format!("two arms or interventions are named {name:?}, or nearly so"));
            }
        }
        let arm = |name: &str| self.arms.iter().find(|arm| arm.name == name);
        for change in &self.interventions {
            let other = change.like.iter().find(|like| arm(like).is_none());
            if let Some(missing) = arm(&change.arm).is_none().then_some(&change.arm).or(other) {
                return Some(format!("{:?} is of the arm {missing:?}, which there is not", change.name));
            }
            let needs =
                matches!(change.change, Change::Stiffened | Change::FoldedIntoNext | Change::FoldedIntoOwn);
            if needs && change.like.is_none() {
                return Some(format!("{:?} needs `like`, the arm that it is taken from", change.name));
            }
        }
        for arm in &self.arms {
            let config = match self.config_of(arm) {
                Ok(config) => config,
                Err(error) => return Some(error.to_string()),
            };
            if config.training.l2 != 0.0 {
                return Some(format!("the arm {:?} is to have no penalty: training.l2 = 0", arm.name));
            }
            let of_descent = |change: &&Intervention| change.arm == arm.name && change.change.is_of_descent();
            let adapts = config.training.optimizer.adam().is_some();
            if let Some(change) = self.interventions.iter().find(of_descent).filter(|_| adapts) {
                return Some(format!(
                    "{:?} changes what descent sees of H, and Adam sees another one: \
                     training.optimizer = \"descent\"",
                    change.name
                ));
            }
        }
        let mut names = HashSet::new();
        let twice = self.again.iter().find(|again| !names.insert(again.slug()));
        twice.map(|again| format!("what is done again is named {:?} twice, or nearly so", again.name))
    }

    /// This with the values of `again`, in a directory of its own.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] names what it sets wrongly.
    pub fn again(&self, again: &Arm) -> Result<Self, RunError> {
        let origin = format!("again, {:?}", again.name);
        let refuse = |problem: String| RunError::config(origin.clone(), problem);
        let mut table = Table::try_from(self).map_err(|error| refuse(error.to_string()))?;
        table.remove("again");
        merge(&mut table, &again.set);
        table.insert("name".to_owned(), Value::String(again.slug()));
        let why: Self = table.try_into().map_err(|error: toml::de::Error| refuse(error.to_string()))?;
        match why.problem() {
            Some(problem) => Err(refuse(problem)),
            None => Ok(why),
        }
    }

    /// Whether `text` is the configuration of a `kappa why`.
    pub fn is_one(text: &str) -> bool {
        let is_one = |table: Table| table.contains_key("recipe") && table.contains_key("rates");
        toml::from_str::<Table>(text).is_ok_and(is_one)
    }

    /// The recipe with the values of `arm`.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] names the arm and what it sets wrongly.
    pub fn config_of(&self, arm: &Arm) -> Result<Config, RunError> {
        let refuse = |problem: String| RunError::config(format!("the arm {:?}", arm.name), problem);
        let mut table = Table::try_from(&self.recipe).map_err(|error| refuse(error.to_string()))?;
        merge(&mut table, &arm.set);
        table.insert("name".to_owned(), Value::String(arm.slug()));
        table.try_into().map_err(|error: toml::de::Error| refuse(error.to_string()))
    }

    /// As TOML, every value written out.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`], if a number cannot be written.
    pub fn to_toml(&self) -> Result<String, RunError> {
        toml::to_string(self).map_err(|error| RunError::config(self.name.clone(), error.to_string()))
    }
}

/// A name as files have it: lower case, "-" for each other sign.
pub fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

impl Configuration for WhyConfig {
    fn shortest() -> String {
        let recipe = Config::shortest().lines().map(|line| format!("recipe.{line}\n")).collect::<String>();
        format!(
            "name = \"x\"\nseeds = 1\nsteps = 1\nlosses = [1.0]\nrates.matched = 1.0\nrates.octaves = 1\n\
             rates.stable_steps = 1\nrates.halvings = 1\nmeasured = [0]\nrenewed = 1\n\
             arms = [{{ name = \"x\" }}]\n{recipe}"
        )
    }

    fn others() -> &'static [&'static str] {
        &["recipe.training.descent.learning_rate", "recipe.training.descent.momentum"]
    }
}
