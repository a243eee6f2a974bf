//! `laplace.json`, `laplace.safetensors` and two figures: what `kappa laplace` leaves.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::{CheckRecord, FileChecksum, SpectrumSettings};

/// The version of `laplace.json`'s schema.
pub const LAPLACE_VERSION: u32 = 1;

/// What is asked of a posterior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaplaceRequest {
    /// The prior's precision; where absent that which makes the marginal likelihood largest.
    pub delta: Option<f64>,
    /// Whether Newton's method goes to the optimum first.
    pub newton: bool,
    /// Draws of the logits of each sample.
    pub draws: NonZeroUsize,
    /// Their seed.
    pub seed: u64,
    /// So many leading eigenpairs, and the prior elsewhere, without the matrix; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<NonZeroUsize>,
}

/// The contents of `laplace.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaplaceRecord {
    /// [`LAPLACE_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that computed.
    pub kappa_version: String,
    /// The last layer, and its Hessian.
    pub settings: SpectrumSettings,
    /// What was asked.
    pub asked: LaplaceRequest,
    /// How far the weights are from the optimum.
    pub optimum: OptimumRecord,
    /// The Gaussian about them.
    pub posterior: PosteriorRecord,
    /// What it says of other samples.
    pub predictions: Vec<PredictionRecord>,
    /// How well samples of the first set of them are told from those of each other one.
    pub separations: Vec<SeparationRecord>,
    /// What cheaper posteriors make of the first set.
    pub cheaper: Vec<CheaperRecord>,
    /// What was checked.
    pub checks: Vec<CheckRecord>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// How far weights are from the optimum of sum_n l_n + delta/2 |W|^2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimumRecord {
    /// sqrt(s' A^-1 s) of the weights that were given, s being the gradient: how many deviations of the posterior
    /// they are away.
    pub given: f64,
    /// What ln exp(-F) is short of the optimum's there, to second order: half of that squared, in nats.
    pub short_of: f64,
    /// Steps of Newton's method that were taken.
    pub steps: usize,
    /// As `given`, of the weights that the posterior is about.
    pub reached: f64,
    /// The most of it by which a posterior is to be trusted.
    pub bound: f64,
    /// |W - W given| / |W given|.
    pub moved: f64,
    /// The mean loss in nats,
    pub loss: f64,
    /// and |W|^2.
    pub square: f64,
}

impl OptimumRecord {
    /// Whether the posterior is about an optimum.
    pub fn passed(&self) -> bool {
        self.reached <= self.bound
    }
}

/// The Gaussian about some weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PosteriorRecord {
    /// The prior's precision.
    pub delta: f64,
    /// That which makes the marginal likelihood largest; absent if none does.
    pub best_delta: Option<f64>,
    /// ln p(D | delta), at the least and at the most: the same of a posterior that leaves nothing out.
    pub log_marginal: [f64; 2],
    /// ln p(D | best delta), likewise.
    pub best_log_marginal: Option<[f64; 2]>,
    /// gamma: parameters that the data determine rather than the prior.
    pub determined: f64,
    /// Parameters in all.
    pub size: usize,
    /// Of a posterior that leaves eigenvectors out: the share of each of its variances that is at least right.
    pub least_share: f64,
    /// ln p(D | delta) along delta: delta, the least and the most.
    pub curve: Vec<[f64; 3]>,
}

/// What a posterior says of a set of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionRecord {
    /// What it is called.
    pub set: String,
    /// The files that it was read from.
    pub files: Vec<FileChecksum>,
    /// How many.
    pub samples: usize,
    /// The mean variance of what probabilities see of their logits.
    pub mean_variance: f64,
    /// By the weights alone, and each way of taking the posterior into account.
    pub methods: Vec<MethodRecord>,
}

/// Probabilities made in one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodRecord {
    /// In which.
    pub method: Method,
    /// The mean of -sum p ln p, in nats.
    pub mean_entropy: f64,
    /// How good they are, where labels are known.
    pub scores: Option<ScoresRecord>,
}

/// A way from logits and their covariance to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The softmax of the logits alone.
    Map,
    /// Of logits that are shrunk by their variances, as other tools do it.
    Probit,
    /// The same without what all logits share, which no probability depends on.
    ProbitOfContrasts,
    /// The mean over draws.
    Sampling,
    /// The Laplace bridge.
    Bridge,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Map, Self::ProbitOfContrasts, Self::Probit, Self::Sampling, Self::Bridge];

    /// As it stands in files and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Probit => "probit",
            Self::ProbitOfContrasts => "probit_of_contrasts",
            Self::Sampling => "sampling",
            Self::Bridge => "bridge",
        }
    }
}

/// How good probabilities are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoresRecord {
    /// The share whose likeliest class is their label.
    pub accuracy: f64,
    /// The mean of -ln p_y in nats; absent where it is not finite.
    pub log_loss: Option<f64>,
    /// The mean of sum_k (p_k - [k = y])^2.
    pub brier: f64,
    /// The expected calibration error, by 15 bins of equal width.
    pub calibration_error: f64,
    /// The bins that have samples: how many, their mean confidence, the share that is right.
    pub bins: Vec<(usize, f64, f64)>,
}

/// How well a score tells two sets of samples apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeparationRecord {
    /// The other set.
    pub set: String,
    /// The score: the entropy of probabilities made in one way, or the variance of logits.
    pub score: String,
    /// The share of all pairs of one sample of each in which the other set's has the larger score.
    pub auroc: f64,
}

/// What a cheaper posterior makes of a set of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheaperRecord {
    /// Which.
    pub posterior: String,
    /// |Sigma' - Sigma| / |Sigma| over all samples, of what probabilities see of their logits' covariances.
    pub distance: f64,
    /// The mean of its variances over that of the exact ones.
    pub ratio: f64,
    /// By the probit of contrasts, where labels are known.
    pub scores: Option<ScoresRecord>,
    /// Of the variance of logits, against the first other set if there is one.
    pub auroc: Option<f64>,
}
