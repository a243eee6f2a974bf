//! A last layer in arrays.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use kappa_data::{HostArray, HostArrays, LastLayer};
use kappa_hessian::{SymmetricOperator, largest_pairs};
use kappa_probe::{LayerArrays, Measured, measure};
use kappa_run::{Request, free_memory};
use kappa_world::Alone;
use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyBytes};

use crate::{
    block::{Block, Pairs, doubles},
    failed,
    place::{Place, done},
};

/// Features [N, m] and probabilities [N, K] on the device, in the type that is computed in.
#[pyclass(unsendable)]
pub struct Samples {
    samples: kappa_hessian::Samples,
    device: Device,
}

#[pymethods]
impl Samples {
    /// From numbers in f64.
    #[new]
    fn new(
        place: &Place,
        features: &[u8],
        probabilities: &[u8],
        sizes: [usize; 3],
        double: bool,
    ) -> PyResult<Self> {
        let [n, m, k] = sizes;
        let (device, dtype) = (place.device(), if double { DType::F64 } else { DType::F32 });
        let tensor = |numbers: &[u8], columns| {
            let data = TensorData::new(doubles(numbers), [n, columns]).convert_dtype(dtype);
            Tensor::<2>::from_data(data, (&device, dtype))
        };
        let mut samples = kappa_hessian::Samples::new(m, k, dtype).map_err(failed)?;
        samples.push(tensor(features, m), tensor(probabilities, k)).map_err(failed)?;
        done(&device, || Ok(()))?;
        Ok(Self { samples, device })
    }

    fn hessian(&self) -> PyResult<Hessian> {
        done(&self.device, || self.samples.hessian().map(Hessian).map_err(failed))
    }

    /// The largest eigenpairs, without H.
    fn largest(&self, count: usize) -> PyResult<Pairs> {
        done(&self.device, || largest_pairs(&self.samples, count, &()).map(Pairs).map_err(failed))
    }

    fn product(&self, vectors: &Block) -> PyResult<Block> {
        done(&self.device, || self.samples.product(vectors.0.as_ref()).map(Block).map_err(failed))
    }
}

/// A last layer's H [K m, K m].
#[pyclass(unsendable)]
pub struct Hessian(kappa_hessian::Hessian);

#[pymethods]
impl Hessian {
    fn elements<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, bytemuck::cast_slice(self.0.elements()))
    }

    /// All eigenvalues, largest first.
    fn values(&self) -> PyResult<Vec<f64>> {
        Ok(self.0.spectrum().map_err(failed)?.eigenvalues().to_vec())
    }

    /// The same, with their eigenvectors, which are let go.
    fn pairs(&self) -> PyResult<Vec<f64>> {
        Ok(self.0.eigenpairs().map_err(failed)?.spectrum.eigenvalues().to_vec())
    }
}

/// What `kappa.hessian` is given, without Python.
#[pyclass(unsendable)]
pub struct Layer(HostArrays);

#[pymethods]
impl Layer {
    /// From numbers in f64.
    #[new]
    fn new(features: &[u8], probabilities: &[u8], sizes: [usize; 3]) -> Self {
        let [n, m, k] = sizes;
        let array = |bytes: &[u8], columns| HostArray {
            descr: "<f8".to_owned(),
            shape: vec![n, columns],
            by_columns: false,
            bytes: Arc::new(bytes.to_owned()),
        };
        Self(HostArrays {
            features: vec![array(features, m)],
            logits: None,
            probabilities: Some(vec![array(probabilities, k)]),
            weights: None,
            labels: None,
            logits_are_meant: false,
            ignore_index: -100,
        })
    }

    /// All that `kappa.hessian` does, checks and evidence included: the eigenvalues.
    fn measure(&self, place: &Place) -> PyResult<Vec<f64>> {
        let arrays = LastLayer::from_arrays(&self.0, free_memory()).map_err(failed)?;
        let machine = &place.0.machine;
        let (name, source) = ("layer".to_owned(), "memory".to_owned());
        let world = Arc::new(Alone);
        let layer = LayerArrays { arrays: Arc::new(arrays), name, source, l2: 0.0, machine, world };
        let layer = layer.layer(&Request::new(place.0.precision), &()).map_err(failed)?;
        match measure(layer.into(), env!("CARGO_PKG_VERSION"), &()).map_err(failed)? {
            Measured::Spectrum(whole) => Ok(whole.pairs.spectrum.eigenvalues().to_vec()),
            _ => Err(PyRuntimeError::new_err("a spectrum was asked for")),
        }
    }
}
