//! What is done to the hidden units: kinds of normalisation, and their settings.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::Role;

/// A normalisation of the hidden units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Normalisation {
    /// Which one.
    pub kind: Kind,
    /// Where it stands.
    pub place: Place,
    /// Added to the variance before its root is taken.
    #[serde(deserialize_with = "positive")]
    pub epsilon: f64,
    /// The weight of the newest batch in the running statistics, in [0, 1].
    #[serde(deserialize_with = "fraction")]
    pub momentum: f64,
    /// Which variance of a batch the running one takes its part of.
    pub running_variance: RunningVariance,
}

/// Which variance of a mini-batch of n samples goes into batch norm's running variance. The batch
/// itself is normalised by the biased one in any case (Ioffe and Szegedy 2015, algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunningVariance {
    /// The sum of squares by n, as Keras has it.
    #[default]
    Biased,
    /// By n - 1, as PyTorch has it.
    Unbiased,
}

impl RunningVariance {
    /// By what the biased variance of `samples` is multiplied.
    pub(crate) fn factor(self, samples: usize) -> f64 {
        match self {
            Self::Biased => 1.0,
            // Of a single sample the variance is zero by either.
            Self::Unbiased => samples as f64 / samples.saturating_sub(1).max(1) as f64,
        }
    }
}

/// The kind of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// None.
    #[default]
    None,
    /// Batch norm: (x - mu) / sqrt(v + epsilon), mu and v the batch's mean and variance of each unit,
    /// then a trainable gain and shift (Ioffe and Szegedy 2015, algorithm 1).
    Batch,
    /// Half of it, x - mu, and a trainable shift.
    Centre,
    /// The other half, x / sqrt(v + epsilon), and a trainable gain.
    Scale,
    /// Layer norm: as batch norm, mu and v those of each sample over its units (Ba, Kiros and Hinton
    /// 2016, eq. 3), gain and shift of each unit.
    Layer,
    /// Weight norm: of every weight matrix, the last layer's too, the rows w = g v / |v| (Salimans and
    /// Kingma 2016, eq. 2). It has no place.
    Weight,
}

/// Where a normalisation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Between the ReLU and the next layer, as in the paper.
    #[default]
    After,
    /// Between the layer's product and the ReLU (Ioffe and Szegedy).
    Before,
}

impl Default for Normalisation {
    /// None. The settings are PyTorch's, but for the running variance, for whoever sets a kind.
    fn default() -> Self {
        Self {
            kind: Kind::None,
            place: Place::After,
            epsilon: 1e-5,
            momentum: 0.1,
            running_variance: RunningVariance::Biased,
        }
    }
}

impl Normalisation {
    /// Whether it normalises by statistics of the samples, which may be running ones.
    pub fn has_statistics(&self) -> bool {
        matches!(self.kind, Kind::Batch | Kind::Centre | Kind::Scale)
    }

    /// Whether it stands behind the ReLU and shifts, so that a unit that never fires is a constant
    /// feature and no zero.
    pub fn stands_behind_relu(&self) -> bool {
        matches!(self.kind, Kind::Batch | Kind::Centre) && self.place == Place::After
    }

    /// What a network with it is called: "FC", "FC+BN", "FC+BN before ReLU".
    pub fn label(&self) -> &'static str {
        match (self.kind, self.place) {
            (Kind::None, _) => "FC",
            (Kind::Batch, Place::After) => "FC+BN",
            (Kind::Batch, Place::Before) => "FC+BN before ReLU",
            (Kind::Centre, Place::After) => "FC+centre",
            (Kind::Centre, Place::Before) => "FC+centre before ReLU",
            (Kind::Scale, Place::After) => "FC+scale",
            (Kind::Scale, Place::Before) => "FC+scale before ReLU",
            (Kind::Layer, Place::After) => "FC+LN",
            (Kind::Layer, Place::Before) => "FC+LN before ReLU",
            (Kind::Weight, _) => "FC+WN",
        }
    }
}

impl fmt::Display for Kind {
    /// As it stands in configurations and on disk.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Batch => "batch",
            Self::Centre => "centre",
            Self::Scale => "scale",
            Self::Layer => "layer",
            Self::Weight => "weight",
        })
    }
}

impl Kind {
    /// The tensors of its layer, with their names in PyTorch.
    pub(crate) fn tensors(self) -> &'static [(Role, &'static str)] {
        const GAIN: (Role, &str) = (Role::Gain, "weight");
        const SHIFT: (Role, &str) = (Role::Shift, "bias");
        const MEAN: (Role, &str) = (Role::RunningMean, "running_mean");
        const VARIANCE: (Role, &str) = (Role::RunningVariance, "running_var");
        match self {
            Self::None | Self::Weight => &[],
            Self::Batch => &[GAIN, SHIFT, MEAN, VARIANCE],
            Self::Centre => &[SHIFT, MEAN],
            Self::Scale => &[GAIN, VARIANCE],
            Self::Layer => &[GAIN, SHIFT],
        }
    }

    /// Whether a mean is taken off.
    pub(crate) fn centres(self) -> bool {
        matches!(self, Self::Batch | Self::Centre | Self::Layer)
    }

    /// Whether it divides by a deviation.
    pub(crate) fn scales(self) -> bool {
        matches!(self, Self::Batch | Self::Scale | Self::Layer)
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    let allowed = value.is_finite() && value > 0.0 && value <= 1e3;
    allowed.then_some(value).ok_or_else(|| {
        D::Error::custom(format!("invalid value: {value}, expected a number above 0, 1000 at most"))
    })
}

fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    let allowed = (0.0..=1.0).contains(&value);
    allowed
        .then_some(value)
        .ok_or_else(|| D::Error::custom(format!("invalid value: {value}, expected a number from 0 to 1")))
}
