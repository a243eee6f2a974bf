//! `curvature.json`: what `kappa hessian --parameters` leaves, and what a study keeps of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    AdamRecord, CheckRecord, DensityRecord, RunError, SpectrumSettings, json::json_bytes,
    place::refuse_other_question, write::Aside,
};

/// The version of `curvature.json`'s schema.
pub const CURVATURE_VERSION: u32 = 1;

/// The contents of `curvature.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvatureRecord {
    /// [`CURVATURE_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that computed.
    pub kappa_version: String,
    /// What was computed, and how.
    pub settings: SpectrumSettings,
    /// The numbers.
    pub curvature: CurvatureSummary,
    /// What was checked of them; absent if that was skipped.
    pub evidence: Option<CurvatureEvidence>,
    /// Each tensor alone, if it was asked for.
    pub blocks: Option<BlocksRecord>,
    /// What Adam sees: the largest eigenvalues of D^(-1/2) H D^(-1/2); absent where its state is not
    /// that of all these parameters.
    pub adam: Option<AdamRecord>,
    /// 2 (1 + momentum) / learning rate: above this curvature steps of plain descent overshoot; of a run.
    pub descent_threshold: Option<f64>,
    /// The density of all eigenvalues, if it was asked for.
    pub density: Option<DensityRecord>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The numbers read off the Hessian of some parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvatureSummary {
    /// The parameters, tensor after tensor: H has as many rows as all have elements.
    pub tensors: Vec<TensorSize>,
    /// The largest eigenvalues.
    pub largest: EndRecord,
    /// The smallest one: H is indefinite; absent where it is known not to be, in one tensor alone and
    /// without a batch's statistics, where the network is piecewise linear.
    pub smallest: Option<EndRecord>,
    /// So many eigenvalues at the least are negative: as many were found (Cauchy's interlacing theorem).
    pub negative: usize,
    /// lambda_1 / lambda_10; absent below ten eigenvalues.
    pub kappa_prime: Option<f64>,
    /// Of each of the largest eigenvectors the share |v_t|^2 in each tensor: [k, tensors].
    pub shares: Vec<Vec<f64>>,
    /// tr H.
    pub trace: TraceRecord,
    /// Of the Gauss-Newton matrix G along each of the largest eigenvectors, v' G v: what is left of
    /// the eigenvalue is the network's own curvature.
    pub gauss_newton_along: Vec<f64>,
    /// The largest eigenvalue of G.
    pub gauss_newton_lambda_1: f64,
    /// |g| of the mean loss's gradient with respect to these parameters.
    pub gradient: f64,
    /// Its share |V' g|^2 / |g|^2 in the space of the largest eigenvectors.
    pub gradient_share: Option<f64>,
}

/// One of the tensors that a Hessian is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSize {
    /// Its name.
    pub name: String,
    /// How many elements it has.
    pub elements: usize,
}

/// One end of a spectrum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndRecord {
    /// The outermost first.
    pub eigenvalues: Vec<f64>,
    /// |H v - lambda v| / |H| of each.
    pub residuals: Vec<f64>,
    /// The most that a residual may be.
    pub residual_bound: f64,
    /// Products with H.
    pub products: usize,
}

/// A trace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// tr H.
    pub value: f64,
    /// Its standard error, where it was estimated by random vectors; absent of a closed form.
    pub error: Option<f64>,
}

/// What was checked of a network's Hessian.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvatureEvidence {
    /// Whether all checks passed.
    pub passed: bool,
    /// The checks.
    pub checks: Vec<CheckRecord>,
    /// |H v - lambda_1 v| / |H| with H in double precision, where the rest was in single precision: what
    /// rounding made of it.
    pub rounding: Option<f64>,
    /// Decimal digits of lambda_1 that are known by its residual and its distance from lambda_2.
    pub known_digits_of_lambda_1: u32,
    /// Seconds that it took.
    pub seconds: f64,
}

/// H against its blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlocksRecord {
    /// The Hessian of each tensor alone, in their order.
    pub blocks: Vec<BlockRecord>,
    /// The largest eigenvalues of H with all blocks between tensors set to zero: those of all blocks
    /// together.
    pub largest: Vec<f64>,
    /// |lambda_1 of that - lambda_1| / lambda_1.
    pub error: Option<f64>,
    /// The share of |H|_F^2 that lies between tensors.
    pub between: Option<f64>,
    /// Its standard error.
    pub between_error: Option<f64>,
}

/// The Hessian of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockRecord {
    /// The tensor's name.
    pub tensor: String,
    /// Its largest eigenvalues.
    pub largest: Vec<f64>,
    /// lambda_1 / lambda_10.
    pub kappa_prime: Option<f64>,
    /// Products that it took.
    pub products: usize,
}

impl EndRecord {
    /// Whether no residual is above the bound.
    pub fn passed(&self) -> bool {
        self.residuals.iter().all(|&residual| residual <= self.residual_bound)
    }
}

impl CurvatureSummary {
    /// n, the number of rows of H.
    pub fn size(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.elements).fold(0, usize::saturating_add)
    }

    /// The ends of the spectrum that were looked for.
    pub fn ends(&self) -> impl Iterator<Item = &EndRecord> {
        [&self.largest].into_iter().chain(&self.smallest)
    }

    /// The smallest eigenvalue, if it was looked for.
    pub fn lambda_min(&self) -> Option<f64> {
        self.smallest.as_ref()?.eigenvalues.first().copied()
    }

    /// lambda_1, if there is one.
    pub fn lambda_1(&self) -> Option<f64> {
        self.largest.eigenvalues.first().copied()
    }

    /// The share of the tensor `name` in the eigenvector of lambda_1.
    pub fn leading_share(&self, name: &str) -> Option<f64> {
        let place = self.tensors.iter().position(|tensor| tensor.name == name)?;
        self.shares.first()?.get(place).copied()
    }
}

/// Writes `curvature.json` into `folder`, and `density.svg` if there is a `plot`, in place of an
/// answer to the same question.
///
/// # Errors
///
/// [`RunError::OtherQuestion`], [`RunError::UnknownQuestion`] or [`RunError::Write`].
pub fn write_curvature(folder: &Path, record: &CurvatureRecord, plot: Option<&str>) -> Result<(), RunError> {
    refuse_other_question(folder, &record.settings)?;
    let mut files = Aside::new(folder)?;
    if let Some(plot) = plot {
        files.add(&folder.join("density.svg"), plot.as_bytes())?;
    }
    let path = folder.join("curvature.json");
    files.add(&path, &json_bytes(&path, record)?)?;
    files.put()
}
