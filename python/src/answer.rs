//! What was measured, or read from a folder.

use std::path::PathBuf;

use kappa_hessian::faer::MatRef;
use kappa_probe::{Measured, Subject, WholeSpectrum, measure};
use kappa_report::{save_curvature, save_matrix_free, save_spectrum};
use kappa_run::{CurvatureRecord, MatrixFreeRecord, Saved, SpectrumRecord};
use pyo3::{prelude::*, types::PyBytes};
use serde::Serialize;

use crate::{
    failure::{KappaError, failure},
    watch::Watch,
};

/// An answer: its record, and where it was measured just now the matrix and its eigenvectors.
#[pyclass(frozen, module = "kappa._kappa")]
pub struct Answer(Held);

enum Held {
    Whole(Box<WholeSpectrum>),
    Read { record: Box<SpectrumRecord>, eigenvalues: Vec<f64> },
    MatrixFree(Box<MatrixFreeRecord>),
    Curvature(Box<CurvatureRecord>),
}

impl Answer {
    /// Measures `subject` on the device that was chosen.
    pub fn of(subject: Subject, chosen: &kappa::Chosen, watch: &Watch) -> PyResult<Self> {
        let version = &chosen.machine.provenance.kappa_version;
        let measured = measure(subject, version, watch).map_err(|error| failure(&error))?;
        Ok(Self(match measured {
            Measured::Spectrum(whole) => Held::Whole(whole),
            Measured::MatrixFree(record) => Held::MatrixFree(record),
            Measured::Curvature(record) => Held::Curvature(record),
        }))
    }

    /// An answer that was saved; none of a study's rows.
    pub fn read(saved: Saved) -> Option<Self> {
        Some(Self(match saved {
            Saved::Spectrum { record, eigenvalues, .. } => Held::Read { record, eigenvalues },
            Saved::MatrixFree { record, .. } => Held::MatrixFree(record),
            Saved::Curvature { record, .. } => Held::Curvature(record),
            Saved::Row { .. } | Saved::Whole { .. } => return None,
        }))
    }

    fn whole(&self) -> PyResult<&WholeSpectrum> {
        match &self.0 {
            Held::Whole(whole) => Ok(whole),
            _ => Err(KappaError::new_err(
                "matrix and eigenvectors are there where a whole spectrum was measured, and are not saved \
                 with it: measure it again",
            )),
        }
    }
}

#[pymethods]
impl Answer {
    /// "spectrum", "matrix-free" or "curvature".
    #[getter]
    fn kind(&self) -> &'static str {
        match &self.0 {
            Held::Whole(_) | Held::Read { .. } => "spectrum",
            Held::MatrixFree(_) => "matrix-free",
            Held::Curvature(_) => "curvature",
        }
    }

    /// The record as JSON.
    fn record(&self) -> PyResult<String> {
        fn json(record: &impl Serialize) -> PyResult<String> {
            serde_json::to_string(record).map_err(|error| failure(&error))
        }
        match &self.0 {
            Held::Whole(whole) => json(&whole.record),
            Held::Read { record, .. } => json(record),
            Held::MatrixFree(record) => json(record),
            Held::Curvature(record) => json(record),
        }
    }

    /// All eigenvalues of a whole spectrum, largest first: f64, as bytes.
    fn eigenvalues<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let values = match &self.0 {
            Held::Read { eigenvalues, .. } => eigenvalues,
            _ => self.whole()?.pairs.spectrum.eigenvalues(),
        };
        bytes(py, values.len(), |index| values.get(index).copied().unwrap_or(f64::NAN))
    }

    /// The eigenvectors of the `count` largest: [K m, count] by columns, f64, as bytes.
    fn vectors<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        columns(py, self.whole()?.pairs.leading(count))
    }

    /// H: [K m, K m], f64, as bytes.
    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let elements = self.whole()?.hessian.elements();
        bytes(py, elements.len(), |index| elements.get(index).copied().unwrap_or(f64::NAN))
    }

    /// Writes what the program writes into a folder.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        let saved = py.detach(|| match &self.0 {
            Held::Whole(whole) => {
                let WholeSpectrum { record, pairs, of_whole_matrix, tensors, .. } = &**whole;
                save_spectrum(&folder, record, pairs.spectrum.eigenvalues(), of_whole_matrix, tensors)
                    .map(Some)
            }
            Held::Read { .. } => Ok(None),
            Held::MatrixFree(record) => save_matrix_free(&folder, record).map(Some),
            Held::Curvature(record) => save_curvature(&folder, record).map(Some),
        });
        saved.map_err(|error| failure(&error))?.ok_or_else(|| {
            KappaError::new_err("it was read from a folder, where it is saved already: copy that")
        })
    }
}

/// The answer that a folder holds.
#[pyfunction]
pub fn load(folder: PathBuf) -> PyResult<Answer> {
    let saved = Saved::in_folder(&folder).map_err(|error| failure(&error))?;
    let nothing = || KappaError::new_err(format!("there is no spectrum in {}", folder.display()));
    saved.into_iter().find_map(Answer::read).ok_or_else(nothing)
}

/// A matrix's columns, one after the other, as bytes.
pub fn columns<'py>(py: Python<'py>, matrix: MatRef<'_, f64>) -> PyResult<Bound<'py, PyBytes>> {
    let rows = matrix.nrows().max(1);
    bytes(py, matrix.nrows() * matrix.ncols(), |index| matrix[(index % rows, index / rows)])
}

fn bytes(py: Python<'_>, count: usize, number: impl Fn(usize) -> f64) -> PyResult<Bound<'_, PyBytes>> {
    PyBytes::new_with(py, count * size_of::<f64>(), |bytes| {
        let places = bytes.as_chunks_mut::<{ size_of::<f64>() }>().0;
        places.iter_mut().enumerate().for_each(|(index, place)| *place = number(index).to_ne_bytes());
        Ok(())
    })
}
