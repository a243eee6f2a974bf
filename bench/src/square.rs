//! A plain product of square matrices: what the machine can do at best.

use burn::tensor::{DType, Device, Tensor, TensorData};
use faer::{Accum, Mat, MatRef, Par, linalg::matmul::matmul, traits::ComplexField};
use kappa_run::Backend;
use pyo3::prelude::*;

use crate::{
    block::doubles,
    place::{Place, done},
};

/// A factor A, and room for A A.
#[pyclass(unsendable)]
pub struct Square {
    factor: Factor,
    device: Device,
}

enum Factor {
    F32(Mat<f32>, Mat<f32>),
    F64(Mat<f64>, Mat<f64>),
    /// By burn's own product; in f32, since WGSL has no more.
    Gpu(Tensor<2>),
}

#[pymethods]
impl Square {
    /// Of n x n elements in f64.
    #[new]
    fn new(place: &Place, elements: &[u8], n: usize, double: bool) -> Self {
        let elements = doubles(elements);
        let device = place.device();
        let given = MatRef::from_row_major_slice(&elements, n, n);
        let factor = if place.0.machine.provenance.backend == Backend::Wgpu {
            let data = TensorData::new(elements, [n, n]);
            Factor::Gpu(Tensor::from_data(data.convert::<f32>(), (&device, DType::F32)))
        } else if double {
            Factor::F64(given.to_owned(), Mat::zeros(n, n))
        } else {
            Factor::F32(Mat::from_fn(n, n, |i, j| given[(i, j)] as f32), Mat::zeros(n, n))
        };
        Self { factor, device }
    }

    /// On all threads.
    fn multiply(&mut self) -> PyResult<()> {
        done(&self.device, || {
            match &mut self.factor {
                Factor::F32(factor, product) => square(factor, product),
                Factor::F64(factor, product) => square(factor, product),
                // What nobody holds need not be computed.
                Factor::Gpu(factor) => {
                    drop(done(&self.device, || Ok(factor.clone().matmul(factor.clone())))?)
                }
            }
            Ok(())
        })
    }
}

fn square<T: ComplexField>(factor: &Mat<T>, product: &mut Mat<T>) {
    matmul(product, Accum::Replace, factor, factor, T::one_impl(), Par::rayon(0));
}
