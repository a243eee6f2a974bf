//! A last layer in arrays: its answer, its products.

use std::sync::Arc;

use kappa_data::{HostArrays, LastLayer};
use kappa_hessian::{SymmetricOperator, faer::MatRef};
use kappa_probe::{Classifier, Layer, LayerArrays, Observer, ProbeError};
use kappa_run::{Request, free_memory};
use kappa_world::Alone;
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    answer::{Answer, columns},
    arrays::Array,
    devices,
    failure::{KappaError, failure},
    requests::request,
    watch::watched,
};

/// A last layer, as Python gives it: arrays in parts, or in one.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Given {
    features: Vec<Array>,
    logits: Option<Vec<Array>>,
    probabilities: Option<Vec<Array>>,
    weights: Option<Array>,
    labels: Option<Vec<Array>>,
    logits_are_meant: bool,
    pub ignore_index: i64,
    name: String,
    l2: f64,
}

/// A last layer whose arrays were looked at.
pub struct Read {
    arrays: Arc<LastLayer>,
    name: String,
    l2: f64,
}

impl Given {
    /// Looks at the arrays.
    pub fn read(self) -> PyResult<Read> {
        let parts = |parts: Vec<Array>| parts.into_iter().map(Array::borrowed).collect::<Vec<_>>();
        let borrowed = |array: Option<Vec<Array>>| array.map(parts);
        let arrays = HostArrays {
            features: parts(self.features),
            logits: borrowed(self.logits),
            probabilities: borrowed(self.probabilities),
            weights: self.weights.map(Array::borrowed),
            labels: borrowed(self.labels),
            logits_are_meant: self.logits_are_meant,
            ignore_index: self.ignore_index,
        };
        let arrays = LastLayer::from_arrays(&arrays, free_memory()).map_err(|error| failure(&error))?;
        Ok(Read { arrays: Arc::new(arrays), name: self.name, l2: self.l2 })
    }
}

impl Read {
    fn layer(
        &self,
        chosen: &kappa::Chosen,
        request: &Request,
        observer: &dyn Observer,
    ) -> Result<Layer, ProbeError> {
        self.on(chosen).layer(request, observer)
    }

    /// The layer with its labels, at the weights that make its logits.
    pub fn classifier(
        &self,
        chosen: &kappa::Chosen,
        request: &Request,
        observer: &dyn Observer,
    ) -> Result<Classifier, ProbeError> {
        let layer = self.on(chosen);
        let weights = layer.weights(request.bias)?;
        Classifier::new(layer.layer(request, observer)?, weights)
    }

    /// Classes, of one logit two, and features without the constant one: what other samples have, too.
    pub fn sizes(&self) -> [usize; 2] {
        [self.arrays.scores.rows().columns().max(2), self.arrays.features.columns()]
    }

    fn on<'a>(&self, chosen: &'a kappa::Chosen) -> LayerArrays<'a> {
        LayerArrays {
            arrays: self.arrays.clone(),
            name: self.name.clone(),
            source: "memory".to_owned(),
            l2: self.l2,
            machine: &chosen.machine,
            world: Arc::new(Alone),
        }
    }
}

/// What `asked`, fields of a request as JSON, comes to for a last layer in arrays.
#[pyfunction]
#[pyo3(signature = (given, asked, backend, progress=None))]
pub fn measure_layer(
    py: Python<'_>,
    given: Given,
    asked: String,
    backend: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    watched(py, progress, move |watch| {
        let chosen = devices::chosen(&backend)?;
        let request = request(chosen.precision, &asked)?;
        let layer = given.read()?.layer(&chosen, &request, watch).map_err(|error| failure(&error))?;
        Answer::of(layer.into(), &chosen, watch)
    })
}

/// Products with a last layer's Hessian, which is not formed.
#[pyclass(frozen, module = "kappa._kappa")]
pub struct LayerOperator {
    layer: Arc<Layer>,
}

#[pymethods]
impl LayerOperator {
    #[new]
    #[pyo3(signature = (given, asked, backend))]
    fn new(py: Python<'_>, given: Given, asked: String, backend: String) -> PyResult<Self> {
        watched(py, None, move |watch| {
            let chosen = devices::chosen(&backend)?;
            let request = request(chosen.precision, &asked)?;
            let layer = given.read()?.layer(&chosen, &request, watch).map_err(|error| failure(&error))?;
            Ok(Self { layer: Arc::new(layer) })
        })
    }

    /// Classes K and features m.
    #[getter]
    fn sizes(&self) -> (usize, usize) {
        (self.layer.samples().classes(), self.layer.samples().features())
    }

    /// Samples N.
    #[getter]
    fn samples(&self) -> usize {
        self.layer.samples().count()
    }

    /// H V of f64 vectors V [K m, k], column after column, as bytes likewise.
    fn product<'py>(&self, py: Python<'py>, vectors: Array) -> PyResult<Bound<'py, PyBytes>> {
        let layer = self.layer.clone();
        let images = watched(py, None, move |_| {
            let vectors = vectors.borrowed();
            let numbers: Vec<f64> =
                (*vectors.bytes).as_ref().as_chunks().0.iter().map(|&b| f64::from_ne_bytes(b)).collect();
            let size = layer.samples().size();
            if size == 0 || !numbers.len().is_multiple_of(size) {
                return Err(KappaError::new_err(format!(
                    "{} numbers are no vectors of {size}",
                    numbers.len()
                )));
            }
            let block = MatRef::from_column_major_slice(&numbers, size, numbers.len() / size);
            layer.samples().product(block).map_err(|error| failure(&error))
        })?;
        columns(py, images.as_ref())
    }
}
