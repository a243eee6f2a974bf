//! What is asked of a network's Hessian: the request that a record is the answer to.

use std::num::NonZeroUsize;

use kappa_model::Statistics;
use serde::{Deserialize, Serialize};

use crate::{Parameters, Precision, Split};

/// What is to be measured. The record that comes of it holds it, so that it can be asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The images whose mean loss is differentiated, where there are images.
    pub split: Split,
    /// The first so many samples of them; all if absent.
    pub limit: Option<NonZeroUsize>,
    /// With respect to which parameters of a network.
    #[serde(default, skip_serializing_if = "is_last_layer")]
    pub parameters: Parameters,
    /// Whether each tensor of them is taken alone too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocks: bool,
    /// The arithmetic of a network's own layers, whose features and logits the samples are; files
    /// have them already.
    pub forward: Precision,
    /// The arithmetic of the sums over samples.
    pub precision: Precision,
    /// Whether the bias of the last layer is among the parameters.
    pub bias: bool,
    /// By which statistics a network normalises that has any.
    pub statistics: Statistics,
    /// Whether the normalisation is folded away first.
    pub folded: bool,
    /// Whether what comes out is checked.
    pub verify: bool,
    /// Whether matrix, features and probabilities are kept.
    pub keep_matrix: bool,
    /// Whether to tell what lies in the space of the ten leading eigenvectors.
    pub directions: bool,
    /// The epochs of the same run whose leading space that one is compared with.
    pub overlap_with: Vec<usize>,
    /// Of how many random subsets of each size spectra are taken too.
    pub subsets: Option<NonZeroUsize>,
    /// So many largest eigenvalues, without the matrix.
    pub top: Option<NonZeroUsize>,
    /// The density of all eigenvalues, without the matrix.
    pub density: Option<DensityRequest>,
    /// The seed of subsets and density.
    pub seed: u64,
}

/// How a density is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DensityRequest {
    /// Random vectors.
    pub probes: NonZeroUsize,
    /// Lanczos steps of each.
    pub steps: NonZeroUsize,
}

impl Request {
    /// The whole spectrum over the training split, by the running statistics, checked; nothing
    /// else.
    pub fn new(precision: Precision) -> Self {
        Self {
            split: Split::Train,
            limit: None,
            parameters: Parameters::LastLayer,
            blocks: false,
            forward: Precision::F32,
            precision,
            bias: false,
            statistics: Statistics::Running,
            folded: false,
            verify: true,
            keep_matrix: false,
            directions: false,
            overlap_with: Vec::new(),
            subsets: None,
            top: None,
            density: None,
            seed: 0,
        }
    }

    /// Whether it is about more of a network than its last layer's weights, and so about products
    /// that go through the whole of it.
    pub fn is_of_network(&self) -> bool {
        self.parameters != Parameters::LastLayer
    }

    /// Whether it is of a last layer, and answered without the matrix.
    pub fn is_matrix_free(&self) -> bool {
        !self.is_of_network() && (self.top.is_some() || self.density.is_some())
    }

    /// Whether the answer depends on the seed; that of a network does by its trace.
    pub fn is_random(&self) -> bool {
        self.is_of_network() || self.subsets.is_some() || self.density.is_some()
    }
}

fn is_last_layer(parameters: &Parameters) -> bool {
    *parameters == Parameters::LastLayer
}
