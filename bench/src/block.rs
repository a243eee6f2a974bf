//! Vectors, from Python and to it.

use faer::{Mat, MatRef};
use kappa_hessian::ExtremePairs;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};

/// Vectors of n numbers: [n, k].
#[pyclass(unsendable)]
pub struct Block(pub Mat<f64>);

#[pymethods]
impl Block {
    /// From k vectors in f64, one after the other.
    #[new]
    fn new(vectors: &[u8], size: usize) -> PyResult<Self> {
        let numbers = doubles(vectors);
        if size == 0 || !numbers.len().is_multiple_of(size) {
            return Err(PyValueError::new_err(format!("{} numbers are no vectors of {size}", numbers.len())));
        }
        Ok(Self(MatRef::from_column_major_slice(&numbers, size, numbers.len() / size).to_owned()))
    }

    /// The same back.
    fn vectors<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let numbers: Vec<f64> = self.0.col_iter().flat_map(|column| column.iter().copied()).collect();
        PyBytes::new(py, bytemuck::cast_slice(&numbers))
    }
}

/// The largest eigenpairs of what is known by its products.
#[pyclass(unsendable)]
pub struct Pairs(pub ExtremePairs);

#[pymethods]
impl Pairs {
    #[getter]
    fn values(&self) -> Vec<f64> {
        self.0.eigenvalues.clone()
    }

    #[getter]
    fn vectors(&self) -> Block {
        Block(self.0.vectors.clone())
    }

    #[getter]
    fn products(&self) -> usize {
        self.0.products
    }
}

/// Numbers from their bytes, wherever those lie.
pub fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytemuck::pod_collect_to_vec(bytes)
}
