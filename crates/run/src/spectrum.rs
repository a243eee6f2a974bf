//! `spectrum.json`, `spectrum.safetensors` and `gap.svg`: what `kappa hessian` leaves.

use std::{collections::BTreeMap, path::Path};

use kappa_model::Statistics;
use serde::{Deserialize, Serialize};

use crate::{
    Backend, FileChecksum, Interpretation, Request, RunError, SavedTensor, Scaling, Scores, Split,
    json::json_bytes, place::refuse_other_question, tensors::tensor_bytes, write::Aside,
};

/// The version of `spectrum.json`'s schema.
pub const SPECTRUM_VERSION: u32 = 6;

/// The contents of `spectrum.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectrumRecord {
    /// [`SPECTRUM_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that computed.
    pub kappa_version: String,
    /// What was computed, and how.
    pub settings: SpectrumSettings,
    /// The numbers.
    pub spectrum: SpectrumSummary,
    /// What was checked of them; absent if that was skipped.
    pub evidence: Option<EvidenceRecord>,
    /// What lies in the space of the ten leading eigenvectors, if it was asked for.
    pub directions: Option<DirectionsRecord>,
    /// The spectra of growing random subsets, if they were asked for.
    pub subsets: Vec<SubsetRecord>,
    /// Where the time went.
    pub timings: SpectrumTimings,
}

impl SpectrumRecord {
    /// All that was checked, of the spectrum and of what went in.
    pub fn checks(&self) -> impl Iterator<Item = &CheckRecord> {
        let of_spectrum = self.evidence.iter().flat_map(|evidence| &evidence.checks);
        of_spectrum.chain(&self.settings.input_checks)
    }
}

/// What was computed, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectrumSettings {
    /// What was asked for.
    pub request: Request,
    /// The checkpoint's file, or that of the features.
    pub source: String,
    /// "FC", "FC+BN", "FC+BN folded", or the name of the features' file.
    pub network: String,
    /// The checkpoint's epoch, where it is known.
    pub epoch: Option<usize>,
    /// The data set: `mnist` for MNIST itself, wherever it lay, else its folder's name; absent
    /// where features were given.
    pub data: Option<String>,
    /// The files of the data set, likewise.
    pub data_files: Vec<FileChecksum>,
    /// How pixels became inputs, likewise.
    pub scaling: Option<Scaling>,
    /// Samples N.
    pub samples: usize,
    /// Features m, the constant one included if the bias is among the parameters.
    pub features: usize,
    /// Classes K; 1 of one logit a sample, whose sigmoid is the probability of class 1.
    pub classes: usize,
    /// By which statistics the network normalised; absent where it has none.
    pub statistics: Option<Statistics>,
    /// What is added to batch norm's variance; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// What was said of a checkpoint that does not say it itself.
    #[serde(default, skip_serializing_if = "Interpretation::is_empty")]
    pub interpretation: Interpretation,
    /// The checkpoint, or the files that features, scores, weights and labels were read from.
    pub files: Vec<FileChecksum>,
    /// What the scores were given as; absent where a network computed them.
    pub scores: Option<Scores>,
    /// Which samples were left out by their label; known where labels were given.
    #[serde(default)]
    pub ignored: Option<IgnoredSamples>,
    /// What was checked before: of a folded network how far its logits are from the
    /// unfolded one's, of given weights whether they make the logits.
    pub input_checks: Vec<CheckRecord>,
    /// The backend.
    pub backend: Backend,
    /// The adapter or processor.
    pub device: String,
    /// The L2 penalty of the training, which adds 2 l2 to every eigenvalue; 0
    /// where it is not known.
    pub l2: f64,
}

impl SpectrumSettings {
    /// The split whose mean loss is differentiated, where there are images.
    pub fn split(&self) -> Option<Split> {
        self.data.as_ref().map(|_| self.request.split)
    }
}

/// The numbers read off the spectrum of the data Hessian (without L2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectrumSummary {
    /// K m.
    pub size: usize,
    /// lambda_1 .. lambda_10, or as many as there are.
    pub top: Vec<f64>,
    /// lambda_1 / lambda_10; absent below ten eigenvalues.
    pub kappa_prime: Option<f64>,
    /// lambda_1 / lambda_(K-1): how unlike the outliers are; absent of one logit, as is the gap.
    pub outlier_ratio: Option<f64>,
    /// lambda_(K-1) / lambda_K: the gap at the edge of the outliers.
    pub outlier_gap: Option<f64>,
    /// How many eigenvalues are above `rank_tolerance` in magnitude.
    pub rank: usize,
    /// size x epsilon of `precision` x the largest magnitude.
    pub rank_tolerance: f64,
    /// lambda_1 / lambda_rank: the condition number of what is not zero.
    pub kappa_of_rank: Option<f64>,
    /// The smallest eigenvalue that the plain decomposition of the whole matrix gives.
    pub lambda_min: f64,
    /// lambda_1 / that: rounding noise, since the matrix is singular. Absent if it is zero.
    pub kappa: Option<f64>,
    /// (lambda_1 + 2 l2) / (0 + 2 l2), if l2 > 0: the condition number with the penalty.
    pub kappa_with_l2: Option<f64>,
    /// lambda_1 / lambda_10 with 2 l2 added to both, if l2 > 0.
    pub kappa_prime_with_l2: Option<f64>,
    /// The sum of the matrix's diagonal.
    pub trace: f64,
    /// trace / lambda_1.
    pub effective_rank: Option<f64>,
    /// exp of the entropy of the eigenvalues' shares of the trace.
    pub entropy_rank: Option<f64>,
    /// Why eigenvalues are zero.
    pub null_space: NullSpaceRecord,
}

/// The zeros among the eigenvalues, by their reason.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NullSpaceRecord {
    /// m, since softmax ignores a shift of all logits; 0 of one logit.
    pub shift: usize,
    /// Classes a that never occur, with a probability of zero in every sample whose
    /// probabilities leave any doubt; each is m zeros.
    pub absent_classes: usize,
    /// Features that are zero in every sample whose probabilities leave any doubt; each is
    /// K - a - 1 zeros, of one logit 1.
    pub silent_features: usize,
    /// Features that the others already say in those samples; each is as many zeros.
    pub dependent_features: usize,
    /// All of these zeros, (1 + a) m + (K - a - 1)(m - rank G); of one logit m - rank G.
    pub explained: usize,
    /// Eigenvalues below the rank tolerance that no structure explains.
    pub numerical: usize,
    /// The largest difference, over lambda_1, between an eigenvalue from the subspace of
    /// the contrasts and from the plain decomposition of the whole matrix.
    pub against_whole_matrix: f64,
}

/// What was checked of a spectrum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// Whether all checks passed.
    pub passed: bool,
    /// The checks.
    pub checks: Vec<CheckRecord>,
    /// The relative error of the sums over samples, as some blocks of H summed again in
    /// f64 show it.
    pub rounding: f64,
    /// Decimal digits of lambda_1 that are known by it.
    pub known_digits_of_lambda_1: u32,
    /// Of lambda_10.
    pub known_digits_of_lambda_10: Option<u32>,
    /// Of kappa'.
    pub known_digits_of_kappa_prime: Option<u32>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// Its name.
    pub name: String,
    /// The quantity.
    pub quantity: String,
    /// What it came out as; absent if it is not a number (and did not pass), and if nothing can
    /// be seen, and so nothing was checked (and it passed, with a bound of 1).
    pub value: Option<f64>,
    /// The most that rounding can make of it.
    pub bound: f64,
    /// Whether it is within the bound.
    pub passed: bool,
}

/// What lies in the space of the ten leading eigenvectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DirectionsRecord {
    /// The mean loss in nats (without L2), where labels are known.
    pub loss: Option<f64>,
    /// The share of samples whose likeliest class is their label, likewise.
    pub accuracy: Option<f64>,
    /// The share of the most frequent label: what guessing it always would be right in.
    pub most_frequent: Option<f64>,
    /// |g| of the mean loss's gradient, likewise.
    pub gradient: Option<f64>,
    /// The share |V' g|^2 / |g|^2 of it.
    pub gradient_share: Option<f64>,
    /// The same share of the last update, where the optimiser's state is known.
    pub update_share: Option<f64>,
    /// The same share of the weights, where they are known.
    pub weights_share: Option<f64>,
    /// `|E[S] x E[gg'] - H|_F / |H|_F`: the distance of the Kronecker factorisation.
    pub kronecker_error: f64,
    /// The overlap of its ten leading eigenvectors with H's.
    pub kronecker_overlap: f64,
    /// Its largest eigenvalue over lambda_1.
    pub kronecker_lambda_1: f64,
    /// What Adam sees: the spectrum of D^(-1/2) H D^(-1/2).
    pub adam: Option<AdamRecord>,
    /// The overlap with the ten leading eigenvectors after other epochs.
    pub overlaps: Vec<OverlapRecord>,
}

/// Samples that were left out by their label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoredSamples {
    /// The label.
    pub label: i64,
    /// How many have it.
    pub samples: usize,
}

/// The spectrum of D^(-1/2) H D^(-1/2), D = diag(sqrt(v_hat) + epsilon).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdamRecord {
    /// Its lambda_1 .. lambda_10.
    pub top: Vec<f64>,
    /// lambda_1 / lambda_10.
    pub kappa_prime: Option<f64>,
    /// 38 / learning rate for beta_1 = 0.9, 2 (1 + beta_1) / ((1 - beta_1) learning rate) in
    /// general: above this curvature steps along a direction grow (Cohen et al. 2022,
    /// "Adaptive Gradient Methods at the Edge of Stability", section 3).
    pub stability_threshold: f64,
}

/// How much two epochs' leading eigenspaces have in common.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OverlapRecord {
    /// The other epoch.
    pub epoch: usize,
    /// |A' B|_F^2 / 10.
    pub overlap: f64,
}

/// The spectra of random subsets of one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubsetRecord {
    /// Samples in each; the last record is all of them, once.
    pub samples: usize,
    /// lambda_1 of each subset.
    pub lambda_1: Vec<f64>,
    /// lambda_10 of each.
    pub lambda_10: Vec<f64>,
    /// kappa' of each.
    pub kappa_prime: Vec<f64>,
}

/// Seconds of each stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SpectrumTimings {
    /// Features and probabilities, from the images, on the device.
    pub features: f64,
    /// The sums over samples, on the device, their way to the host, and the matrix.
    pub sums: f64,
    /// All eigenpairs, and the eigenvalues of the whole matrix.
    pub eigenpairs: f64,
    /// The evidence.
    pub evidence: f64,
    /// What else was asked for.
    pub rest: f64,
    /// All of it, without reading the files.
    pub total: f64,
}

/// Writes `spectrum.json`, `spectrum.safetensors`, `gap.svg` and, if there is one,
/// `subsets.svg` into `folder`, in place of an answer to the same question: all are written aside
/// first, so that one without room costs nothing.
///
/// # Errors
///
/// [`RunError::OtherQuestion`], [`RunError::UnknownQuestion`] or [`RunError::Write`].
pub fn write_spectrum(
    folder: &Path,
    record: &SpectrumRecord,
    tensors: &[SavedTensor],
    gap_plot: &str,
    subsets_plot: Option<&str>,
) -> Result<(), RunError> {
    refuse_other_question(folder, &record.settings)?;
    let mut files = Aside::new(folder)?;
    let path = folder.join("spectrum.safetensors");
    files.add(&path, &tensor_bytes(&path, tensors, &BTreeMap::new())?)?;
    files.add(&folder.join("gap.svg"), gap_plot.as_bytes())?;
    if let Some(plot) = subsets_plot {
        files.add(&folder.join("subsets.svg"), plot.as_bytes())?;
    }
    let path = folder.join("spectrum.json");
    files.add(&path, &json_bytes(&path, record)?)?;
    files.put()
}
