//! A study's numbers, as TOML: a recipe, its arms, a grid, seeds, sweeps.

use std::{collections::HashSet, num::NonZeroUsize, path::Path};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Config, WholeConfig, bounds, keys::Configuration, parse, slug};
use crate::{RunError, reading::read_configuration, shown};

/// What a study, and not an arm, sets.
const THE_STUDYS: [&str; 7] = [
    "name",
    "seed",
    "data.folder",
    "training.epochs",
    "training.l2",
    "training.adam.learning_rate",
    "training.descent.learning_rate",
];

/// Arms of one recipe, trained along a grid, with paired seeds, and measured each epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// The study's directory under the output folder.
    #[serde(deserialize_with = "bounds::file_name")]
    pub name: String,
    /// How many paired seeds: all arms of one seed start from the same
    /// weights and see the same batches. They count up from the recipe's seed.
    pub seeds: NonZeroUsize,
    /// Where the best learning rate and L2 parameter are looked for.
    pub grid: GridConfig,
    /// Where the claims are judged besides the chosen point.
    #[serde(default)]
    pub sweep: SweepConfig,
    /// Of which Hessians of the whole network are taken at the chosen point; of none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<WholeConfig>,
    /// Accuracies (fractions) of the validation split whose epoch and second are compared.
    #[serde(default)]
    pub accuracies: Vec<f64>,
    /// The arm that the grid trains, and that the others are compared with; the first if absent.
    #[serde(default)]
    pub reference: String,
    /// What is compared. An assignment (`--set`) can replace all of them
    /// (`arms=[{ name = "FC" }]`), and cannot reach into one: an array has no path.
    pub arms: Vec<Arm>,
    /// A run's configuration, of which each arm sets some values. The grid and the sweeps
    /// replace its learning rate, L2 parameter and width.
    pub recipe: Config,
}

/// One of the things that a study compares: the recipe with some values set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// What it is called: "FC+BN".
    #[serde(deserialize_with = "bounds::label")]
    pub name: String,
    /// The values that it sets, by their keys in the recipe: `set.network.hidden = 50`.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
}

impl Arm {
    /// The name as run directories have it: lower case, "-" for each other sign: "fc-bn".
    pub fn slug(&self) -> String {
        slug(&self.name)
    }

    /// What it sets, as `--set` would be told it: "network.hidden=50".
    pub fn settings(&self) -> Vec<String> {
        let mut settings = Vec::new();
        flatten("", &self.set, &mut settings);
        settings
    }
}

/// Each value of a table by its dotted key.
fn flatten(prefix: &str, table: &Table, settings: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, settings),
            value => settings.push(format!("{prefix}{key}={value}")),
        }
    }
}

/// Puts the values of `set` into `table`, sections into sections.
pub(super) fn merge(table: &mut Table, set: &Table) {
    for (key, value) in set {
        match (table.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(set)) => merge(inner, set),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The grid on which the reference is trained with the first seed; the point of the highest
/// validation accuracy is chosen, and the other arms use the same two values.
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
    /// Widths of the last hidden layer, for the number of zero eigenvalues.
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
        let text = read_configuration(path)?;
        Self::parse(&shown(path), &text, assignments)
    }

    /// The study in `text`, its arms checked; `origin` is its name in messages.
    fn parse(origin: &str, text: &str, assignments: &[String]) -> Result<Self, RunError> {
        let mut study: Self = parse(origin, text, assignments)?;
        let refuse = |problem: String| RunError::config(origin.to_owned(), problem);
        let first = study.arms.first().ok_or_else(|| refuse("a study has at least one arm".to_owned()))?;
        if study.reference.is_empty() {
            study.reference.clone_from(&first.name);
        }
        if !study.arms.iter().any(|arm| arm.name == study.reference) {
            return Err(refuse(format!("the reference is {:?}, and no arm has that name", study.reference)));
        }
        // Names that differ in signs alone would share their run directories.
        let mut slugs = HashSet::new();
        if let Some(arm) = study.arms.iter().find(|arm| !slugs.insert(arm.slug())) {
            return Err(refuse(format!("two arms are named {:?}, or nearly so", arm.name)));
        }
        let configs = study.arms.iter().map(|arm| study.config_of(arm)).collect::<Result<Vec<_>, _>>();
        let configs = configs.map_err(|error| refuse(error.to_string()))?;
        let problem = study.whole.as_ref().and_then(|whole| whole.problem(&configs, &study.recipe.training));
        match problem {
            Some(problem) => Err(refuse(problem)),
            None => Ok(study),
        }
    }

    /// The recipe with the values of `arm`, named by its slug.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`] names the arm and what it sets wrongly.
    pub fn config_of(&self, arm: &Arm) -> Result<Config, RunError> {
        let refuse = |problem: String| RunError::config(format!("the arm {:?}", arm.name), problem);
        let settings = arm.settings();
        let the_studys = THE_STUDYS.into_iter().find(|key| {
            settings.iter().any(|setting| setting.strip_prefix(key).is_some_and(|rest| rest.starts_with('=')))
        });
        if let Some(key) = the_studys {
            return Err(refuse(format!("`{key}` is the study's to set")));
        }
        let mut table = Table::try_from(&self.recipe).map_err(|error| refuse(error.to_string()))?;
        merge(&mut table, &arm.set);
        table.insert("name".to_owned(), Value::String(arm.slug()));
        table.try_into().map_err(|error: toml::de::Error| refuse(error.to_string()))
    }

    /// The place of the reference among the arms.
    pub fn reference_index(&self) -> usize {
        self.arms.iter().position(|arm| arm.name == self.reference).unwrap_or(0)
    }

    /// The names of the arms, in their order.
    pub fn arm_names(&self) -> Vec<String> {
        self.arms.iter().map(|arm| arm.name.clone()).collect()
    }

    /// Whether `text` is a study's configuration and not a run's.
    pub fn is_one(text: &str) -> bool {
        let is_one = |table: Table| table.contains_key("recipe") && !table.contains_key("rates");
        toml::from_str::<Table>(text).is_ok_and(is_one)
    }

    /// The study's configuration as TOML, every value written out.
    ///
    /// # Errors
    ///
    /// [`RunError::Config`], if a number cannot be written.
    pub fn to_toml(&self) -> Result<String, RunError> {
        toml::to_string(self).map_err(|error| RunError::config(self.name.clone(), error.to_string()))
    }

    /// All keys that there are, by their whole paths: "recipe.training.epochs". What an arm sets
    /// has none.
    pub fn keys() -> Vec<String> {
        <Self as Configuration>::keys()
    }
}

impl Configuration for StudyConfig {
    fn shortest() -> String {
        let recipe = Config::shortest().lines().map(|line| format!("recipe.{line}\n")).collect::<String>();
        format!(
            "name = \"x\"\nseeds = 1\ngrid.learning_rates = [1.0]\ngrid.l2 = [0.0]\n\
             whole.epochs = [0]\nwhole.parameters = [\"all\"]\nwhole.statistics = [\"running\"]\nwhole.samples = 1\n\
             arms = [{{ name = \"x\" }}]\n{recipe}"
        )
    }

    fn others() -> &'static [&'static str] {
        &["recipe.training.descent.learning_rate", "recipe.training.descent.momentum"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
name = "arms"
seeds = 1
[grid]
learning_rates = [0.1]
l2 = [0.0]
[[arms]]
name = "FC"
[[arms]]
name = "FC, Kaiming"
set.network.initialisation = "kaiming_uniform"
[recipe]
name = "recipe"
[recipe.data]
train = 6
validation = 3
test = 2
[recipe.network]
hidden = 4
[recipe.training]
epochs = 2
batch_size = 3
[recipe.training.adam]
learning_rate = 1e-3
"#;

    fn study(text: &str, assignments: &[&str]) -> Result<StudyConfig, RunError> {
        let assignments: Vec<String> = assignments.iter().map(ToString::to_string).collect();
        StudyConfig::parse("x.toml", text, &assignments)
    }

    #[test]
    fn an_arm_is_the_recipe_with_its_values_set() {
        let study = study(TEXT, &["recipe.network.hidden=7"]).unwrap();
        let configs: Vec<Config> = study.arms.iter().map(|arm| study.config_of(arm).unwrap()).collect();
        assert_eq!(configs[0], Config { name: "fc".to_owned(), ..study.recipe.clone() });
        assert_eq!(configs[1].name, "fc-kaiming");
        assert_eq!(configs[1].network.hidden, [7], "of the recipe");
        assert_ne!(configs[1].network.initialisation, configs[0].network.initialisation);
        assert_eq!(study.arms[1].settings(), ["network.initialisation=\"kaiming_uniform\""]);
    }

    #[test]
    fn the_reference_is_the_first_arm_unless_another_is_named() {
        let first = study(TEXT, &[]).unwrap();
        assert_eq!((first.reference.as_str(), first.reference_index()), ("FC", 0));
        let second = study(TEXT, &["reference=FC, Kaiming"]).unwrap();
        assert_eq!(second.reference_index(), 1);
        for study in [first, second] {
            let written = study.to_toml().unwrap();
            assert_eq!(StudyConfig::parse("x.toml", &written, &[]).unwrap(), study);
        }
    }

    #[test]
    fn arms_that_cannot_be_are_refused_by_name() {
        let complaint = |from: &str, to: &str| {
            assert!(TEXT.contains(from), "{from}");
            study(&TEXT.replace(from, to), &[]).map_or_else(|error| error.to_string(), |_| "none".to_owned())
        };
        for (from, to, told) in [
            ("\"FC, Kaiming\"", "\"fc\"", "named \"fc\", or nearly so"),
            ("\"FC, Kaiming\"", "\"|\"", "invalid name"),
            ("seeds = 1", "seeds = 1\nreference = \"BN\"", "no arm has that name"),
            ("kaiming_uniform", "normal", "the arm \"FC, Kaiming\""),
            (
                "set.network.initialisation = \"kaiming_uniform\"",
                "set.network.depth = 3",
                "unknown field `depth`",
            ),
            ("set.network.initialisation = \"kaiming_uniform\"", "set.network.hidden = 0", "hidden units"),
            (
                "set.network.initialisation = \"kaiming_uniform\"",
                "set.seed = 3",
                "`seed` is the study's to set",
            ),
            (
                "set.network.initialisation = \"kaiming_uniform\"",
                "set.training.adam.learning_rate = 3",
                "`training.adam.learning_rate` is the study's",
            ),
        ] {
            let message = complaint(from, to);
            assert!(message.contains(told) && message.contains("x.toml"), "{to}: {message}");
        }
        let message = study(TEXT, &["arms=[]"]).unwrap_err().to_string();
        assert!(message.contains("at least one arm"), "{message}");
        // An array of tables has no path; all of it can be given.
        let message = study(TEXT, &["arms.set.seed=1"]).unwrap_err().to_string();
        assert!(message.contains("`arms` is a value, not a section"), "{message}");
        let one = study(TEXT, &["arms=[{ name = \"A\" }]"]).unwrap();
        assert_eq!(one.reference, "A");
    }

    const WHOLE: &str = "whole={ epochs = [0, 2], parameters = [\"all\", \"norm.weight\", \"hidden.weight,norm.bias\"], \
                         statistics = [\"running\", \"batch\"], samples = 4 }";
    const BOTH: &str = "arms=[{ name = \"FC\" }, { name = \"FC+BN\", set = { network = { normalisation = { kind = \"batch\" } } } }]";

    #[test]
    fn a_study_without_hessians_of_the_whole_network_writes_none_of_their_keys() {
        let study = study(TEXT, &[]).unwrap();
        assert_eq!(study.whole, None);
        assert!(!study.to_toml().unwrap().contains("whole"));
    }

    #[test]
    fn what_an_arm_lacks_is_left_out_for_it_and_a_network_without_statistics_is_taken_once() {
        let study = study(TEXT, &[BOTH, WHOLE]).unwrap();
        let whole = study.whole.clone().unwrap();
        let points = |arm: usize| -> Vec<String> {
            let config = study.config_of(&study.arms[arm]).unwrap();
            let points = whole.points(&config);
            let told = points.iter().map(|point| {
                let taken = point.parameters_of(&config).unwrap();
                let by = point.statistics.map_or("-".to_owned(), |kind| kind.to_string());
                format!("{} {by} {} {taken}", point.epoch, point.parameters)
            });
            told.collect()
        };
        assert_eq!(
            points(0),
            [
                "0 - all all",
                "0 - hidden.weight,norm.bias hidden.weight",
                "2 - all all",
                "2 - hidden.weight,norm.bias hidden.weight",
            ]
        );
        assert_eq!(points(1).len(), 2 * 2 * 3);
        assert_eq!(points(1)[4], "0 batch norm.weight norm.weight");
        let written = study.to_toml().unwrap();
        assert_eq!(StudyConfig::parse("x.toml", &written, &[]).unwrap(), study);
        let none = super::tests::study(TEXT, &[BOTH, WHOLE, "whole.epochs=[]"]).unwrap();
        assert!(none.whole.unwrap().points(&none.recipe).is_empty());
    }

    #[test]
    fn what_no_network_of_the_study_has_is_refused_with_what_there_is() {
        for (setting, told) in [
            ("whole.epochs=[0, 3]", "`whole.epochs` has 3, and the training ends with epoch 2"),
            ("whole.epochs=[2, 0]", "not in ascending order"),
            ("whole.epochs=[0, 0]", "each once"),
            (
                "whole.parameters=[\"norm.gamma\"]",
                "\"norm.gamma\", which no arm has; there are all, hidden.weight, hidden.bias",
            ),
            ("whole.parameters=[]", "no parameters"),
            ("whole.statistics=[]", "no statistics"),
            ("whole.statistics=[\"folded\"]", "unknown variant `folded`"),
            ("whole.parameters=[\"all,x\"]", "names no parameters"),
            ("whole.samples=0", "nonzero"),
        ] {
            let message = study(TEXT, &[BOTH, WHOLE, setting]).unwrap_err().to_string();
            assert!(message.contains(told), "{setting}: {message}");
        }
    }
}
