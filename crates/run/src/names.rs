//! Names that stand on disk and on the command line, each spelled once, by serde.

use std::fmt;

use kappa_model::Statistics;
use serde::{Deserialize, Serialize};

use crate::BatchSize;

/// The arithmetic of the sums over samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single: what a GPU computes in.
    F32,
    /// Double. The network itself still computes features and logits in single
    /// precision; from there on, softmax included, everything is double.
    F64,
}

impl Precision {
    /// The unit of the arithmetic: the distance from 1 to the next number.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::F32 => f32::EPSILON.into(),
            Self::F64 => f64::EPSILON,
        }
    }
}

/// Which images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Those that were trained on.
    #[default]
    Train,
    /// Those by which a study chooses.
    Validation,
    /// Those of the test files.
    Test,
}

/// What a last layer's scores of the classes were given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scores {
    /// Before the softmax.
    Logits,
    /// After it.
    Probabilities,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// A GPU, through Vulkan, Metal or DirectX 12.
    Wgpu,
    /// The CPU.
    #[default]
    Flex,
    /// The CPU, by burn's older backend; for portable testing.
    Ndarray,
}

/// What of a network a study's spectrum is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// A network without statistics, as it is.
    Plain,
    /// Its features with their mean taken off.
    Centred,
    /// Its features with their mean taken off, scaled to variance one.
    Standardised,
    /// Its features scaled to unit mean square.
    UnitMeanSquare,
    /// Batch norm by its running statistics.
    Running,
    /// Batch norm by the statistics of the whole split.
    Dataset,
    /// Batch norm by the statistics of mini-batches.
    Batch,
    /// The function of `Running`, with batch norm folded into the next layer.
    Folded,
}

/// By which of its own kinds of statistics a study looks at a network that has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatisticsKind {
    /// The running ones, as at inference.
    Running,
    /// Those of all samples that are looked at.
    Dataset,
    /// Those of mini-batches, as in training.
    Batch,
}

impl StatisticsKind {
    /// The statistics of a network that was trained on batches of `size`. A full batch is the data
    /// set.
    pub fn of_batches(self, size: BatchSize) -> Statistics {
        match (self, size) {
            (Self::Running, _) => Statistics::Running,
            (Self::Batch, BatchSize::Samples(size)) => Statistics::Batch(size),
            (Self::Dataset, _) | (Self::Batch, BatchSize::Full) => Statistics::Dataset,
        }
    }
}

impl From<StatisticsKind> for Variant {
    fn from(kind: StatisticsKind) -> Self {
        match kind {
            StatisticsKind::Running => Self::Running,
            StatisticsKind::Dataset => Self::Dataset,
            StatisticsKind::Batch => Self::Batch,
        }
    }
}

impl From<Statistics> for Variant {
    fn from(statistics: Statistics) -> Self {
        match statistics {
            Statistics::Running => Self::Running,
            Statistics::Dataset => Self::Dataset,
            Statistics::Batch(_) => Self::Batch,
        }
    }
}

/// A number of a spectrum that claims are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Quantity {
    /// The largest eigenvalue.
    #[serde(rename = "lambda_1")]
    Lambda1,
    /// lambda_1 over lambda_10.
    #[serde(rename = "kappa'")]
    KappaPrime,
}

/// Of which epochs a number of a spectrum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum When {
    /// Of the initial weights.
    #[serde(rename = "before training")]
    BeforeTraining,
    /// Of the last epoch.
    #[serde(rename = "at the end")]
    AtTheEnd,
    /// The mean of all trained ones.
    #[serde(rename = "over the epochs")]
    OverTheEpochs,
    /// The worst of all trained ones.
    #[serde(rename = "at every epoch")]
    AtEveryEpoch,
    /// Where the training losses are the same.
    #[serde(rename = "at the same training loss")]
    AtTheSameLoss,
}

impl Variant {
    /// Whether a network is taken as it is: by the statistics of inference, if it has any.
    pub fn is_as_it_is(self) -> bool {
        matches!(self, Self::Plain | Self::Running)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for StatisticsKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for When {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_are_spelled_on_disk() {
        assert_eq!(Variant::UnitMeanSquare.to_string(), "unit_mean_square");
        assert_eq!(serde_json::to_string(&Variant::UnitMeanSquare).unwrap(), "\"unit_mean_square\"");
        assert_eq!([Precision::F32, Precision::F64].map(|name| name.to_string()), ["f32", "f64"]);
        assert_eq!(Backend::Ndarray.to_string(), "ndarray");
        assert_eq!(Split::Validation.to_string(), "validation");
        assert_eq!(
            [Quantity::Lambda1, Quantity::KappaPrime].map(|name| name.to_string()),
            ["lambda_1", "kappa'"]
        );
        assert_eq!(When::AtTheSameLoss.to_string(), "at the same training loss");
    }
}
