//! What a measurement leaves: its record, its arrays, and plots of them.

use std::path::Path;

use kappa_run::{
    CurvatureRecord, EpochSpectrum, LaplaceRecord, MatrixFreeRecord, SavedTensor, SpectrumRecord,
    write_answer, write_curvature, write_matrix_free, write_over_epochs, write_spectrum,
};

use crate::{
    ReportError, calibration_plot, density_plot, epochs_plot, gap_plot, marginal_plot, subsets_plot,
};

/// Writes a whole spectrum into `folder`: `spectrum.json`, `spectrum.safetensors` with `tensors`,
/// a plot of all eigenvalues beside those `of_whole_matrix`, and one of the subsets if there are
/// any.
///
/// # Errors
///
/// [`ReportError`].
pub fn save_spectrum(
    folder: &Path,
    record: &SpectrumRecord,
    eigenvalues: &[f64],
    of_whole_matrix: &[f64],
    tensors: &[SavedTensor],
) -> Result<(), ReportError> {
    let gap = gap_plot(record, eigenvalues, of_whole_matrix)?;
    let subsets = subsets_plot(record)?;
    Ok(write_spectrum(folder, record, tensors, &gap, subsets.as_deref())?)
}

/// Writes what was found without the matrix into `folder`: `matrix-free.json`, and a plot of the
/// density if there is one.
///
/// # Errors
///
/// [`ReportError`].
pub fn save_matrix_free(folder: &Path, record: &MatrixFreeRecord) -> Result<(), ReportError> {
    let name = &record.settings.network;
    let plot = record.density.as_ref().map(|density| density_plot(name, density)).transpose()?;
    Ok(write_matrix_free(folder, record, plot.as_deref())?)
}

/// Writes what was found of a network's Hessian into `folder`: `curvature.json`, and a plot of the density
/// if there is one.
///
/// # Errors
///
/// [`ReportError`].
pub fn save_curvature(folder: &Path, record: &CurvatureRecord) -> Result<(), ReportError> {
    let name = format!("{}, {}", record.settings.network, record.settings.request.parameters);
    let plot = record.density.as_ref().map(|density| density_plot(&name, density)).transpose()?;
    Ok(write_curvature(folder, record, plot.as_deref())?)
}

/// Writes a posterior into `folder`: `laplace.json`, `laplace.safetensors` with `tensors`, the marginal likelihood
/// along the prior, and how often what is said of each labelled set comes true.
///
/// # Errors
///
/// [`ReportError`].
pub fn save_laplace(
    folder: &Path,
    record: &LaplaceRecord,
    tensors: &[SavedTensor],
) -> Result<(), ReportError> {
    let mut figures = vec![("marginal.svg", marginal_plot(record)?)];
    if let Some(first) = record.predictions.first() {
        figures.extend(calibration_plot(first)?.map(|figure| ("calibration.svg", figure)));
    }
    Ok(write_answer(folder, record, tensors, &figures)?)
}

/// Writes what spectra are over the epochs as `stem.csv`, and a plot of it, which says that it is
/// of `title`, as `stem.svg`.
///
/// # Errors
///
/// [`ReportError`].
pub fn save_over_epochs(stem: &Path, rows: &[EpochSpectrum], title: &str) -> Result<(), ReportError> {
    Ok(write_over_epochs(stem, rows, &epochs_plot(title, rows)?)?)
}
