//! Of how much more of a study's networks than their last layers Hessians are taken.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{Config, TrainingConfig};
use crate::{Parameters, Precision, StatisticsKind};

/// `[whole]` of a study: at the chosen point, of all seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WholeConfig {
    /// After which epochs; none are taken of no epoch.
    pub epochs: Vec<usize>,
    /// With respect to what, one after the other: `all`, `hidden.weight`, ..
    pub parameters: Vec<Parameters>,
    /// By which statistics a network normalises that has any.
    pub statistics: Vec<StatisticsKind>,
    /// The arithmetic, of the network's own layers too.
    #[serde(default = "single")]
    pub precision: Precision,
    /// Over the first so many images of the training split; over all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<NonZeroUsize>,
}

fn single() -> Precision {
    Precision::F32
}

/// One Hessian of a network of a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholePoint {
    /// Epochs of training.
    pub epoch: usize,
    /// With respect to what, as the study's configuration names it.
    pub parameters: Parameters,
    /// By which statistics; none of a network without any.
    pub statistics: Option<StatisticsKind>,
}

impl WholeConfig {
    /// What is taken of a run of `config`, in the order in which it is.
    pub fn points(&self, config: &Config) -> Vec<WholePoint> {
        let statistics: Vec<Option<StatisticsKind>> = match config.network.normalisation.has_statistics() {
            false => vec![None],
            true => self.statistics.iter().copied().map(Some).collect(),
        };
        let mut points = Vec::new();
        for &epoch in &self.epochs {
            for &statistics in &statistics {
                let asked = self.parameters.iter().filter(|asked| present(asked, config).is_some());
                points.extend(asked.map(|asked| WholePoint { epoch, parameters: asked.clone(), statistics }));
            }
        }
        points
    }

    /// What is wrong with it in a study of `arms`, if anything is.
    pub(super) fn problem(&self, arms: &[Config], training: &TrainingConfig) -> Option<String> {
        let last = training.epochs.get();
        if let Some(late) = self.epochs.iter().find(|&&epoch| epoch > last) {
            return Some(format!(
                "`whole.epochs` has {late}, and the training ends with epoch {last}; those up to it, or [] for none, \
                 can be taken"
            ));
        }
        if !self.epochs.is_sorted_by(|a, b| a < b) {
            return Some("`whole.epochs` are not in ascending order, each once".to_owned());
        }
        if self.parameters.is_empty() || self.statistics.is_empty() {
            return Some(
                "`whole` names no parameters or no statistics; `epochs = []` takes nothing".to_owned(),
            );
        }
        let mut existing: Vec<String> = Vec::new();
        for name in arms.iter().flat_map(trained) {
            if !existing.contains(&name) {
                existing.push(name);
            }
        }
        let names = self.parameters.iter().filter_map(Parameters::names).flatten();
        let unknown = names.into_iter().find(|name| !existing.iter().any(|known| known == name));
        unknown.map(|name| {
            format!(
                "`whole.parameters` has {name:?}, which no arm has; there are all, {}",
                existing.join(", ")
            )
        })
    }
}

impl WholePoint {
    /// Those of its parameters that a network of `config` has, if it has any.
    pub fn parameters_of(&self, config: &Config) -> Option<Parameters> {
        present(&self.parameters, config)
    }
}

/// Those of the `asked` parameters that a network of `config` has, if it has any.
fn present(asked: &Parameters, config: &Config) -> Option<Parameters> {
    let Some(names) = asked.names() else { return Some(Parameters::All) };
    let existing = trained(config);
    let names = names.into_iter().filter(|name| existing.iter().any(|known| known == name));
    let names: Vec<&str> = names.collect();
    (!names.is_empty()).then(|| names.join(",").parse().ok()).flatten()
}

/// The names of what is trained in a network of `config`; they do not depend on inputs and classes.
fn trained(config: &Config) -> Vec<String> {
    let parameters = config.network.shape(1, 1).parameters();
    parameters
        .into_iter()
        .filter(|parameter| parameter.is_trained())
        .map(|parameter| parameter.name)
        .collect()
}
