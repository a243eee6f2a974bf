//! `matrix-free.json`: what `kappa hessian --top` and `--density` leave.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{RunError, SpectrumSettings, json::json_bytes, place::refuse_other_question, write::Aside};

/// The version of `matrix-free.json`'s schema.
pub const MATRIX_FREE_VERSION: u32 = 5;

/// The contents of `matrix-free.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixFreeRecord {
    /// [`MATRIX_FREE_VERSION`].
    pub schema_version: u32,
    /// The version of kappa that computed.
    pub kappa_version: String,
    /// What was computed, and how.
    pub settings: SpectrumSettings,
    /// The largest eigenvalues, if they were asked for.
    pub top: Option<TopRecord>,
    /// The density of all of them, if it was asked for.
    pub density: Option<DensityRecord>,
}

/// The largest eigenvalues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopRecord {
    /// lambda_1, lambda_2, ..
    pub eigenvalues: Vec<f64>,
    /// |H v - lambda v| / lambda_1 of each.
    pub residuals: Vec<f64>,
    /// The most that a residual may be; absent if that was not checked.
    pub residual_bound: Option<f64>,
    /// Whether all residuals are within it.
    pub passed: Option<bool>,
    /// Products with H.
    pub products: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The density of eigenvalues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DensityRecord {
    /// For each random vector its nodes, largest first: eigenvalue, share of all eigenvalues.
    pub probes: Vec<Vec<(f64, f64)>>,
    /// The share of eigenvalues that are zero since softmax ignores a shift: 1/K; 0 of one logit.
    pub shift: f64,
    /// The estimated trace.
    pub trace: f64,
    /// Its standard error; absent for one random vector.
    pub trace_error: Option<f64>,
    /// tr H from the samples, mean_n tr(S_n) |g_n|^2; absent where it is not a last layer's.
    #[serde(default)]
    pub trace_of_samples: Option<f64>,
    /// Products with H.
    pub products: usize,
    /// The generator's seed.
    pub seed: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Writes `matrix-free.json` into `folder`, and `density.svg` if there is a `plot`, in place of an
/// answer to the same question.
///
/// # Errors
///
/// [`RunError::OtherQuestion`], [`RunError::UnknownQuestion`] or [`RunError::Write`].
pub fn write_matrix_free(
    folder: &Path,
    record: &MatrixFreeRecord,
    plot: Option<&str>,
) -> Result<(), RunError> {
    refuse_other_question(folder, &record.settings)?;
    let mut files = Aside::new(folder)?;
    if let Some(plot) = plot {
        files.add(&folder.join("density.svg"), plot.as_bytes())?;
    }
    let path = folder.join("matrix-free.json");
    files.add(&path, &json_bytes(&path, record)?)?;
    files.put()
}
