//! A plain product of square matrices: what the machine can do at best.

use burn::tensor::{DType, Distribution, Tensor};
use faer::{Accum, Mat, Par, linalg::matmul::matmul, traits::ComplexField};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Works;
use crate::{
    device::Backend,
    error::BenchError,
    protocol::{Digest, Measured, Precision},
    timing::timed,
};

impl Works {
    pub(super) fn peak(&mut self, precision: Precision, n: usize) -> Result<Measured, BenchError> {
        self.require(precision)?;
        let seconds = match (self.place.backend, precision) {
            (Backend::Wgpu, _) => self.by_device(n)?,
            (Backend::Flex, Precision::F32) => self.by_faer(n, |number| number as f32)?,
            (Backend::Flex, Precision::F64) => self.by_faer(n, |number| number)?,
        };
        Ok(Measured::new(seconds, Digest::Nothing {}))
    }

    /// On all threads.
    fn by_faer<T: ComplexField + 'static>(
        &mut self,
        n: usize,
        number: fn(f64) -> T,
    ) -> Result<f64, BenchError> {
        let load = || {
            let mut generator = ChaCha8Rng::seed_from_u64(0);
            let factor = Mat::from_fn(n, n, |_, _| number(generator.random_range(0.0..1.0)));
            Ok((factor, Mat::zeros(n, n)))
        };
        let device = &self.place.device;
        self.kept.with(n, load, |(factor, product): &mut (Mat<T>, Mat<T>)| {
            let (factor, product) = (factor.as_ref(), product.as_mut());
            let multiply = || {
                matmul(product, Accum::Replace, factor, factor, T::one_impl(), Par::rayon(0));
                Ok(())
            };
            Ok(timed(device, multiply)?.1)
        })
    }

    /// By burn's own product; in f32, since WGSL has no more.
    fn by_device(&mut self, n: usize) -> Result<f64, BenchError> {
        let device = &self.place.device;
        let load = || Ok(Tensor::<2>::random([n, n], Distribution::Uniform(0.0, 1.0), (device, DType::F32)));
        let multiply = |factor: &mut Tensor<2>| Ok(factor.clone().matmul(factor.clone()));
        self.kept.with(n, load, |factor| Ok(timed(device, || multiply(factor))?.1))
    }
}
