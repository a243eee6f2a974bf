//! A run's directory, read.

use std::path::PathBuf;

use kappa_run::{RunDir, Saved, read_tensors};
use pyo3::{prelude::*, types::PyBytes};
use serde::Serialize;

use crate::{answer::Answer, failure::failure};

/// A run that kappa has trained.
#[pyclass(frozen, module = "kappa._kappa")]
pub struct StoredRun(RunDir);

/// Name, shape, type as safetensors names it, elements row by row.
type Stored<'py> = (String, Vec<usize>, String, Bound<'py, PyBytes>);

#[pymethods]
impl StoredRun {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        RunDir::open(&path).map(Self).map_err(|error| failure(&error))
    }

    /// What it is, as JSON.
    fn manifest(&self) -> PyResult<String> {
        json(&self.0.manifest().map_err(|error| failure(&error))?)
    }

    /// A row for each epoch, as JSON.
    fn metrics(&self) -> PyResult<String> {
        json(&self.0.metrics().map_err(|error| failure(&error))?)
    }

    /// The epochs that have a checkpoint.
    fn epochs(&self) -> PyResult<Vec<usize>> {
        self.0.epochs().map_err(|error| failure(&error))
    }

    /// The tensors after an epoch, or after the last one.
    fn checkpoint<'py>(&self, py: Python<'py>, epoch: Option<usize>) -> PyResult<Vec<Stored<'py>>> {
        let (_, path) = self.0.checkpoint(epoch).map_err(|error| failure(&error))?;
        let tensors = read_tensors(&path).map_err(|error| failure(&error))?;
        let stored = tensors.into_iter().map(|tensor| {
            let dtype = format!("{:?}", tensor.dtype);
            (tensor.name, tensor.shape, dtype, PyBytes::new(py, &tensor.bytes))
        });
        Ok(stored.collect())
    }

    /// The answers of `kappa hessian`.
    fn answers(&self) -> PyResult<Vec<Answer>> {
        let saved = self.0.saved().map_err(|error| failure(&error))?;
        Ok(saved.into_iter().filter_map(Answer::read).collect())
    }

    /// What a study has measured of it: a row as JSON, and its eigenvalues.
    fn rows(&self) -> PyResult<Vec<(String, Vec<f64>)>> {
        let saved = self.0.saved().map_err(|error| failure(&error))?;
        let rows = saved.into_iter().filter_map(|saved| match saved {
            Saved::Row { row, eigenvalues, .. } => Some(json(&row).map(|row| (row, eigenvalues))),
            _ => None,
        });
        rows.collect()
    }
}

fn json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| failure(&error))
}
