//! What takes the steps of a training.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{
    BatchSize, Reduction, TrainingConfig,
    bounds::{decay, non_negative, positive},
};

/// An optimiser, with its numbers. In TOML `training.optimizer` names it, `adam` if it is not there, and
/// a table of that name has its numbers; the table of another one is passed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Adam.
    Adam(AdamConfig),
    /// Gradient descent.
    Descent(DescentConfig),
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

/// Gradient descent: v = momentum v + g, and a step of - learning_rate v.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescentConfig {
    /// The learning rate.
    #[serde(deserialize_with = "positive")]
    pub learning_rate: f64,
    /// What is kept of the steps before; none if it is 0.
    #[serde(deserialize_with = "decay", default)]
    pub momentum: f64,
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

impl AdamConfig {
    /// 2 (1 + beta_1) / ((1 - beta_1) learning rate): the largest eigenvalue of D^(-1) H that its steps
    /// stand, D = sqrt(v) + epsilon (Cohen et al. 2022, "Adaptive Gradient Methods at the Edge of
    /// Stability", section 3).
    pub fn stability_threshold(&self) -> f64 {
        2.0 * (1.0 + self.beta_1) / ((1.0 - self.beta_1) * self.learning_rate)
    }
}

impl DescentConfig {
    /// 2 (1 + momentum) / learning rate: the largest eigenvalue of H that its steps stand (Cohen et al. 2021,
    /// "Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability", appendix B).
    pub fn stability_threshold(&self) -> f64 {
        2.0 * (1.0 + self.momentum) / self.learning_rate
    }
}

impl Optimizer {
    /// Its learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Adam(adam) => adam.learning_rate,
            Self::Descent(descent) => descent.learning_rate,
        }
    }

    /// Its learning rate, to be set.
    pub fn learning_rate_mut(&mut self) -> &mut f64 {
        match self {
            Self::Adam(adam) => &mut adam.learning_rate,
            Self::Descent(descent) => &mut descent.learning_rate,
        }
    }

    /// Where its steps cease to be stable.
    pub fn stability_threshold(&self) -> f64 {
        match self {
            Self::Adam(adam) => adam.stability_threshold(),
            Self::Descent(descent) => descent.stability_threshold(),
        }
    }

    /// Adam's numbers, if it is Adam.
    pub fn adam(&self) -> Option<&AdamConfig> {
        match self {
            Self::Adam(adam) => Some(adam),
            Self::Descent(_) => None,
        }
    }
}

/// A training as it stands on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    epochs: NonZeroUsize,
    batch_size: BatchSize,
    #[serde(default)]
    reduction: Reduction,
    #[serde(default, deserialize_with = "non_negative")]
    l2: f64,
    #[serde(default)]
    optimizer: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adam: Option<AdamConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    descent: Option<DescentConfig>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    #[default]
    Adam,
    Descent,
}

impl TryFrom<Written> for TrainingConfig {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { epochs, batch_size, reduction, l2, optimizer, adam, descent } = written;
        let (name, optimizer) = match optimizer {
            Name::Adam => ("adam", adam.map(Optimizer::Adam)),
            Name::Descent => ("descent", descent.map(Optimizer::Descent)),
        };
        let optimizer = optimizer.ok_or_else(|| {
            format!("missing table `training.{name}`, with the `learning_rate` of the optimizer {name:?}")
        })?;
        Ok(Self { epochs, batch_size, reduction, l2, optimizer })
    }
}

impl From<TrainingConfig> for Written {
    fn from(training: TrainingConfig) -> Self {
        let TrainingConfig { epochs, batch_size, reduction, l2, optimizer } = training;
        let (name, adam, descent) = match optimizer {
            Optimizer::Adam(adam) => (Name::Adam, Some(adam), None),
            Optimizer::Descent(descent) => (Name::Descent, None, Some(descent)),
        };
        Self { epochs, batch_size, reduction, l2, optimizer: name, adam, descent }
    }
}
