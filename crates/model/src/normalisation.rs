//! What is done to the hidden units: kinds of normalisation, their settings, their layer.

use burn::{
    module::{Param, RunningState},
    nn::{BatchNorm, BatchNormConfig},
    tensor::{DType, Device, Tensor, module::batch_norm},
};
use kappa_fused::batch_norm as batch_norm_by_batch;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{Pass, Role};

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
    /// Batch norm (Ioffe and Szegedy 2015, algorithm 1).
    Batch,
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
        self.kind == Kind::Batch
    }

    /// Whether it stands behind the ReLU, so that a unit that never fires is a constant feature,
    /// its shift, and no zero.
    pub fn stands_behind_relu(&self) -> bool {
        self.kind == Kind::Batch && self.place == Place::After
    }

    /// What a network with it is called: "FC", "FC+BN", "FC+BN before ReLU".
    pub fn label(&self) -> &'static str {
        match (self.kind, self.place) {
            (Kind::None, _) => "FC",
            (Kind::Batch, Place::After) => "FC+BN",
            (Kind::Batch, Place::Before) => "FC+BN before ReLU",
        }
    }
}

impl Kind {
    /// Its tensors, with their names in PyTorch.
    pub(crate) fn tensors(self) -> &'static [(Role, &'static str)] {
        match self {
            Self::None => &[],
            Self::Batch => &[
                (Role::Gain, "weight"),
                (Role::Shift, "bias"),
                (Role::RunningMean, "running_mean"),
                (Role::RunningVariance, "running_var"),
            ],
        }
    }
}

/// Batch norm of `units` hidden units as it begins: gamma 1, beta 0, running mean 0 and
/// variance 1. Nothing for [`Kind::None`].
pub(crate) fn begin(settings: &Normalisation, units: usize, device: &Device) -> Option<BatchNorm> {
    match settings.kind {
        Kind::None => None,
        Kind::Batch => Some(
            BatchNormConfig::new(units)
                .with_epsilon(settings.epsilon)
                .with_momentum(settings.momentum)
                .init(device),
        ),
    }
}

/// Batch norm of [n, m] units, by the statistics that `pass` names.
pub(crate) fn normalised(
    norm: &BatchNorm,
    running_variance: RunningVariance,
    inputs: Tensor<2>,
    pass: Pass,
) -> Tensor<2> {
    match pass {
        Pass::Training => by_batch_in_training(norm, running_variance, inputs),
        Pass::Running => {
            let device = inputs.device();
            let [mean, variance] =
                [&norm.running_mean, &norm.running_var].map(|state| state.value_sync().to_device(&device));
            by_statistics(norm, inputs, mean, variance)
        }
        Pass::Batch => {
            let mean = inputs.clone().mean_dim(0);
            let variance = (inputs.clone() - mean.clone()).powi_scalar(2).mean_dim(0);
            by_statistics(norm, inputs, mean.squeeze_dim(0), variance.squeeze_dim(0))
        }
    }
}

fn by_statistics(norm: &BatchNorm, inputs: Tensor<2>, mean: Tensor<1>, variance: Tensor<1>) -> Tensor<2> {
    batch_norm(inputs, norm.gamma.val(), norm.beta.val(), mean, variance, norm.epsilon)
}

/// By the batch's statistics, of which the running ones take their part.
fn by_batch_in_training(norm: &BatchNorm, running_variance: RunningVariance, inputs: Tensor<2>) -> Tensor<2> {
    let [samples, _] = inputs.dims();
    let (outputs, mean, variance) =
        batch_norm_by_batch(inputs, norm.gamma.val(), norm.beta.val(), norm.epsilon);
    let part_of_variance = norm.momentum * running_variance.factor(samples);
    let parts = [(&norm.running_mean, mean, norm.momentum), (&norm.running_var, variance, part_of_variance)];
    for (running, newest, part) in parts {
        let kept = running.value_sync().to_device(&newest.device()).mul_scalar(1.0 - norm.momentum);
        running.update(kept.add(newest.detach().mul_scalar(part)).detach());
    }
    outputs
}

/// s \[m\] and o \[m\] of the affine map s x + o that batch norm by its running statistics is:
/// s = gamma / sqrt(sigma^2 + epsilon), o = beta - s mu.
pub(crate) fn affine_map(norm: &BatchNorm) -> (Tensor<1>, Tensor<1>) {
    let deviation = norm.running_var.value_sync().add_scalar(norm.epsilon).sqrt();
    let scale = norm.gamma.val() / deviation;
    let offset = norm.beta.val() - scale.clone() * norm.running_mean.value_sync();
    (scale, offset)
}

pub(crate) fn in_double_precision(norm: &BatchNorm) -> BatchNorm {
    let double = |tensor: Tensor<1>| tensor.cast(DType::F64);
    BatchNorm {
        gamma: Param::from_tensor(double(norm.gamma.val())),
        beta: Param::from_tensor(double(norm.beta.val())),
        running_mean: RunningState::new(double(norm.running_mean.value_sync())),
        running_var: RunningState::new(double(norm.running_var.value_sync())),
        ..norm.clone()
    }
}

/// Batch norm whose affine map is |s| x + |o|.
pub(crate) fn magnitudes_of(norm: &BatchNorm) -> BatchNorm {
    let (_, offset) = affine_map(norm);
    BatchNorm {
        gamma: Param::from_tensor(norm.gamma.val().abs()),
        beta: Param::from_tensor(offset.clone().abs()),
        running_mean: RunningState::new(offset.zeros_like()),
        running_var: RunningState::new(norm.running_var.value_sync()),
        ..norm.clone()
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
