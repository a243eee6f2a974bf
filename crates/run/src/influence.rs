//! `influence.json`, `influence.safetensors` and its figures: what `kappa influence` leaves.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::{CheckRecord, FileChecksum, OptimumRecord, SpectrumSettings};

/// The version of `influence.json`'s schema.
pub const INFLUENCE_VERSION: u32 = 1;

/// What is asked of the influence of training samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfluenceRequest {
    /// The precision of the prior; N times what is called damping.
    pub delta: f64,
    /// Whether Newton's method goes to the optimum first.
    pub newton: bool,
    /// The most helpful and the most harmful training samples of each test sample that are kept.
    pub most: NonZeroUsize,
    /// Training samples that are left out for real.
    pub checked: usize,
    /// The seed of what is chosen: those, and the labels that are made wrong.
    pub seed: u64,
    /// The share of labels that are made wrong first, to be found.
    #[serde(default)]
    pub planted: f64,
    /// So many leading eigenpairs to start conjugate gradients from, without the matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<NonZeroUsize>,
}

/// The contents of `influence.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InfluenceRecord {
    /// [`INFLUENCE_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that computed.
    pub kappa_version: String,
    /// The last layer, and its Hessian.
    pub settings: SpectrumSettings,
    /// What was asked.
    pub asked: InfluenceRequest,
    /// How far the weights are from the optimum.
    pub optimum: OptimumRecord,
    /// Test samples, and the files that they were read from.
    pub test_samples: usize,
    /// Those.
    pub test_files: Vec<FileChecksum>,
    /// The training samples whose labels are hardest to explain without them: number, label, likeliest class, what
    /// leaving it out adds to its own loss.
    pub suspects: Vec<SuspectRecord>,
    /// Predictions against the truth, of the samples that were left out for real.
    pub left_out: Option<LeftOutRecord>,
    /// How well labels that were made wrong are found.
    pub planted: Option<PlantedRecord>,
    /// What was checked.
    pub checks: Vec<CheckRecord>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// A training sample that a label may be wrong of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SuspectRecord {
    /// Its number, 0 being the first.
    pub sample: usize,
    /// Its label.
    pub label: usize,
    /// What the classifier takes it for.
    pub likeliest: usize,
    /// Its loss in nats.
    pub loss: f64,
    /// What leaving it out adds to that; absent without the matrix.
    pub self_influence: Option<f64>,
}

/// Predictions against samples that were left out for real.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOutRecord {
    /// The training samples.
    pub samples: Vec<usize>,
    /// Pairs of one of them and a test sample, or itself.
    pub pairs: usize,
    /// The correlation of prediction and truth over all pairs.
    pub correlation: Option<f64>,
    /// The largest |prediction - truth|, in nats, and the largest |truth|.
    pub largest_error: f64,
    /// That.
    pub largest_effect: f64,
    /// The same of the influence function to first order, which leaves the sample's own curvature in.
    pub first_order_error: f64,
    /// Its correlation.
    pub first_order_correlation: Option<f64>,
    /// Pairs whose error is bounded by the third derivative.
    pub bounded: usize,
    /// The largest error over its bound, of those.
    pub worst_share: Option<f64>,
    /// The median of those bounds over the size of the effects.
    pub median_bound: Option<f64>,
    /// Newton steps that it took.
    pub steps: usize,
}

/// How well wrong labels are found by a ranking: the share of the first k that are wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlantedRecord {
    /// Labels that were made wrong.
    pub count: usize,
    /// For each ranking the shares at a tenth of them, a half and all.
    pub rankings: Vec<RankingRecord>,
}

/// A ranking of training samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankingRecord {
    /// By what.
    pub by: String,
    /// k, and the share of the first k whose labels were made wrong.
    pub precision: Vec<(usize, f64)>,
}
