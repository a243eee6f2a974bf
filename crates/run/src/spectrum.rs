//! `spectrum.json` and `spectrum.safetensors`: what `kappa hessian` leaves.

use std::{fs, path::Path};

use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::{RunError, write_atomically};

/// The version of `spectrum.json`'s schema.
pub const SPECTRUM_VERSION: u32 = 1;

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
    /// Where the time went.
    pub timings: SpectrumTimings,
}

/// What was computed, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectrumSettings {
    /// The checkpoint's file.
    pub checkpoint: String,
    /// "FC" or "FC+BN".
    pub network: String,
    /// The checkpoint's epoch, where it is known.
    pub epoch: Option<usize>,
    /// The data set.
    pub data: String,
    /// The split whose mean loss is differentiated.
    pub split: String,
    /// How pixels became inputs.
    pub scaling: String,
    /// Samples N.
    pub samples: usize,
    /// Features m, the constant one included if `bias` is set.
    pub features: usize,
    /// Classes K.
    pub classes: usize,
    /// Whether the bias b2 is among the parameters.
    pub bias: bool,
    /// By which statistics batch norm normalised: "running", "dataset" or "batch 128";
    /// absent without batch norm.
    pub bn_statistics: Option<String>,
    /// The arithmetic of the sums over samples: "f32" or "f64".
    pub precision: String,
    /// The backend.
    pub backend: String,
    /// The adapter or processor.
    pub device: String,
    /// The L2 penalty of the training, which adds 2 l2 to every eigenvalue; 0
    /// where it is not known.
    pub l2: f64,
}

/// The numbers read off the spectrum of the data Hessian (without L2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectrumSummary {
    /// K m.
    pub size: usize,
    /// lambda_1 .. lambda_10, or as many as there are.
    pub top: Vec<f64>,
    /// The smallest eigenvalue.
    pub lambda_min: f64,
    /// lambda_1 / lambda_min: rounding noise, since the matrix is singular.
    /// Absent if lambda_min is exactly zero.
    pub kappa: Option<f64>,
    /// lambda_1 / lambda_10; absent below ten eigenvalues.
    pub kappa_prime: Option<f64>,
    /// The same two with 2 l2 added to every eigenvalue, if l2 > 0.
    pub kappa_with_l2: Option<f64>,
    /// See `kappa_with_l2`.
    pub kappa_prime_with_l2: Option<f64>,
    /// The sum of the matrix's diagonal.
    pub trace: f64,
    /// How many eigenvalues are above `rank_tolerance` in magnitude.
    pub rank: usize,
    /// size x epsilon of `precision` x the largest magnitude.
    pub rank_tolerance: f64,
}

/// Seconds of each stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SpectrumTimings {
    /// Features and probabilities, from the images, on the device.
    pub features: f64,
    /// The sums over samples, on the device, and their way to the host.
    pub sums: f64,
    /// The matrix from the sums, on the host.
    pub assembly: f64,
    /// The eigenvalues.
    pub eigenvalues: f64,
    /// All of it, from reading the checkpoint to the last eigenvalue.
    pub total: f64,
}

/// A tensor for `spectrum.safetensors`: f32 or f64 by the width of its elements.
#[derive(Debug, Clone)]
pub struct SavedTensor {
    /// Its name.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Bytes an element: 4 (f32) or 8 (f64).
    pub width: usize,
    /// Its elements, little endian, row by row.
    pub bytes: Vec<u8>,
}

/// Writes `spectrum.json` and `spectrum.safetensors` into `folder`.
///
/// # Errors
///
/// [`RunError::Write`].
pub fn write_spectrum(
    folder: &Path,
    record: &SpectrumRecord,
    tensors: &[SavedTensor],
) -> Result<(), RunError> {
    fs::create_dir_all(folder).map_err(|source| RunError::write(folder, source))?;
    write_tensors(&folder.join("spectrum.safetensors"), tensors)?;
    let path = folder.join("spectrum.json");
    let mut json = serde_json::to_vec_pretty(record).map_err(|error| RunError::malformed(&path, error))?;
    json.push(b'\n');
    write_atomically(&path, &json)
}

/// Writes `tensors` as one safetensors file.
pub(crate) fn write_tensors(path: &Path, tensors: &[SavedTensor]) -> Result<(), RunError> {
    let views = tensors
        .iter()
        .map(|tensor| {
            let dtype = if tensor.width == size_of::<f64>() { Dtype::F64 } else { Dtype::F32 };
            TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes).map(|view| (tensor.name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| RunError::malformed(path, error))?;
    let bytes = safetensors::serialize(views, None).map_err(|error| RunError::malformed(path, error))?;
    write_atomically(path, &bytes)
}
