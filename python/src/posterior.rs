//! A last layer's posterior in arrays, and the influence of its samples: what `kappa laplace` and
//! `kappa influence` do with files.

use std::path::PathBuf;

use kappa_data::OtherSamples;
use kappa_probe::{Influences, Laplaced, OtherSet, ProbeError, influence, laplace};
use kappa_report::{FoundInfluences, save_influence, save_laplace};
use kappa_run::{InfluenceRequest, LaplaceRequest, SavedTensor, free_memory, read_answer};
use pyo3::{prelude::*, types::PyBytes};
use serde::Serialize;

use crate::{
    arrays::Array,
    devices,
    failure::{KappaError, failure},
    layer::Given,
    requests::{question, request},
    watch::watched,
};

/// The part of what is free that other samples may take, as of the program's.
const SHARE_OF_ARRAYS: u64 = 4;

/// Samples that the layer was not fitted to, as Python gives them: arrays in parts, or in one.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Others {
    name: String,
    features: Vec<Array>,
    labels: Option<Vec<Array>>,
}

impl Others {
    /// Of a layer of `sizes`: classes, of one logit two, and features without the constant one.
    fn read(self, sizes: [usize; 2], bias: bool, ignore_index: i64) -> PyResult<OtherSet> {
        let parts = |parts: Vec<Array>| parts.into_iter().map(Array::borrowed).collect();
        let (features, labels) = (parts(self.features), self.labels.map(parts));
        let budget = free_memory() / SHARE_OF_ARRAYS;
        let samples = OtherSamples::from_arrays(features, labels, sizes, ignore_index, budget);
        let wrong = |error| {
            // All arrays are in memory: which are meant has to be said.
            KappaError::new_err(format!("{} samples: {}", self.name, kappa::message(&error)))
        };
        Ok(OtherSet::new(&self.name, samples.map_err(wrong)?, sizes[1], bias))
    }
}

/// A tensor's elements row by row, its shape, and its type as safetensors names it.
type Handed<'py> = (Bound<'py, PyBytes>, Vec<usize>, String);

/// A posterior: its record, and the arrays beside it.
#[pyclass(frozen, module = "kappa._kappa")]
pub struct LaplaceAnswer(Laplaced);

#[pymethods]
impl LaplaceAnswer {
    /// The record as JSON.
    fn record(&self) -> PyResult<String> {
        json(&self.0.record)
    }

    /// Whether it is about an optimum.
    #[getter]
    fn is_at_optimum(&self) -> bool {
        self.0.record.optimum.passed()
    }

    /// The names of its tensors.
    fn tensors(&self) -> Vec<String> {
        names(&self.0.tensors)
    }

    /// A tensor of that name, if there is one.
    fn tensor<'py>(&self, py: Python<'py>, name: &str) -> Option<Handed<'py>> {
        handed(py, &self.0.tensors, name)
    }

    /// Writes what the program writes into a folder.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        let Laplaced { record, tensors } = &self.0;
        py.detach(|| save_laplace(&folder, record, tensors)).map_err(|error| failure(&error))
    }
}

/// Influences: their record, and the arrays beside it.
#[pyclass(frozen, module = "kappa._kappa")]
pub struct InfluenceAnswer(Influences);

#[pymethods]
impl InfluenceAnswer {
    /// The record as JSON.
    fn record(&self) -> PyResult<String> {
        json(&self.0.record)
    }

    /// Whether it is about an optimum.
    #[getter]
    fn is_at_optimum(&self) -> bool {
        self.0.record.optimum.passed()
    }

    /// The names of its tensors.
    fn tensors(&self) -> Vec<String> {
        names(&self.0.tensors)
    }

    /// A tensor of that name, if there is one.
    fn tensor<'py>(&self, py: Python<'py>, name: &str) -> Option<Handed<'py>> {
        handed(py, &self.0.tensors, name)
    }

    /// All influences [T, N], if they were kept.
    fn table<'py>(&self, py: Python<'py>) -> PyResult<Option<Handed<'py>>> {
        let Influences { record, table: Some(table), .. } = &self.0 else { return Ok(None) };
        let bytes = PyBytes::new_with(py, size_of_val(table.as_slice()), |bytes| {
            let places = bytes.as_chunks_mut::<{ size_of::<f32>() }>().0;
            places.iter_mut().zip(table).for_each(|(place, influence)| *place = influence.to_le_bytes());
            Ok(())
        })?;
        Ok(Some((bytes, vec![record.test_samples, record.settings.samples], "F32".to_owned())))
    }

    /// Writes what the program writes into a folder.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        let Influences { record, tensors, table } = &self.0;
        let found = FoundInfluences { record, tensors, table: table.as_deref() };
        py.detach(|| save_influence(&folder, found, None)).map_err(|error| failure(&error))
    }
}

/// The posterior of a last layer in arrays: `asked` are fields of a request for the layer, `of_posterior` is
/// what is asked beside, both as JSON.
#[pyfunction]
#[pyo3(signature = (given, others, asked, of_posterior, backend, progress=None))]
pub fn laplace_layer(
    py: Python<'_>,
    given: Given,
    others: Vec<Others>,
    asked: String,
    of_posterior: String,
    backend: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<LaplaceAnswer> {
    watched(py, progress, move |watch| {
        let chosen = devices::chosen(&backend)?;
        let request = request(chosen.precision, &asked)?;
        let asked: LaplaceRequest = question(&of_posterior)?;
        let ignore_index = given.ignore_index;
        let read = given.read()?;
        let sets = others.into_iter().map(|others| others.read(read.sizes(), request.bias, ignore_index));
        let sets = sets.collect::<PyResult<Vec<_>>>()?;
        let classifier = read.classifier(&chosen, &request, watch).map_err(|error| failure(&error))?;
        let version = &chosen.machine.provenance.kappa_version;
        let found = laplace(&classifier, &sets, &asked, version, watch);
        found.map(LaplaceAnswer).map_err(|error| failure(&error))
    })
}

/// What leaving out each sample of a last layer in arrays does to the losses of `test`; all of it is kept if
/// `keep_table`.
#[pyfunction]
#[pyo3(signature = (given, test, asked, of_influence, keep_table, backend, progress=None))]
#[allow(clippy::too_many_arguments)]
pub fn influence_layer(
    py: Python<'_>,
    given: Given,
    test: Option<Others>,
    asked: String,
    of_influence: String,
    keep_table: bool,
    backend: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<InfluenceAnswer> {
    watched(py, progress, move |watch| {
        let chosen = devices::chosen(&backend)?;
        let request = request(chosen.precision, &asked)?;
        let asked: InfluenceRequest = question(&of_influence)?;
        let ignore_index = given.ignore_index;
        let read = given.read()?;
        let test = test.ok_or_else(|| failure(&ProbeError::Missing("features of test samples")))?;
        let test = test.read(read.sizes(), request.bias, ignore_index)?;
        let classifier = read.classifier(&chosen, &request, watch).map_err(|error| failure(&error))?;
        let version = &chosen.machine.provenance.kappa_version;
        let found = influence(&classifier, &test, &asked, keep_table, version, watch);
        found.map(InfluenceAnswer).map_err(|error| failure(&error))
    })
}

fn json(record: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(record).map_err(|error| failure(&error))
}

fn names(tensors: &[SavedTensor]) -> Vec<String> {
    tensors.iter().map(|tensor| tensor.name.clone()).collect()
}

fn handed<'py>(py: Python<'py>, tensors: &[SavedTensor], name: &str) -> Option<Handed<'py>> {
    let tensor = tensors.iter().find(|tensor| tensor.name == name)?;
    Some((PyBytes::new(py, &tensor.bytes), tensor.shape.clone(), format!("{:?}", tensor.dtype)))
}

/// The posterior that a folder holds, if it holds one.
#[pyfunction]
pub fn load_laplace(folder: PathBuf) -> PyResult<Option<LaplaceAnswer>> {
    let found = read_answer(&folder).map_err(|error| failure(&error))?;
    Ok(found.map(|(record, tensors)| LaplaceAnswer(Laplaced { record, tensors })))
}

/// The influences that a folder holds, if it holds some; without the table of all of them.
#[pyfunction]
pub fn load_influence(folder: PathBuf) -> PyResult<Option<InfluenceAnswer>> {
    let found = read_answer(&folder).map_err(|error| failure(&error))?;
    Ok(found.map(|(record, tensors)| InfluenceAnswer(Influences { record, tensors, table: None })))
}
