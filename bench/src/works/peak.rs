//! A plain product of square matrices: what the machine can do at best.

use burn::tensor::{Tensor, TensorData};
use faer::{Accum, Mat, Par, linalg::matmul::matmul, traits::ComplexField};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    WorkError, Works,
    timing::{Timing, timed},
};
use crate::{
    device::Backend,
    protocol::{Digest, Measured, Precision},
};

/// A matrix, and room for its square.
struct Square<T> {
    factor: Mat<T>,
    product: Mat<T>,
}

impl Works {
    pub(super) fn peak(&mut self, precision: Precision, n: usize) -> Result<Measured, WorkError> {
        self.require(precision)?;
        let timing = match (self.place.backend, precision) {
            (Backend::Wgpu, _) => self.by_device(n)?,
            (_, Precision::F32) => self.by_faer(n, |number| number as f32)?,
            (_, Precision::F64) => self.by_faer(n, |number| number)?,
        };
        let gflops = 2.0 * (n as f64).powi(3) / timing.seconds / 1e9;
        Ok(Measured { gflops: Some(gflops), ..timing.with(Digest::Nothing {}) })
    }

    /// On all threads.
    fn by_faer<T: ComplexField + 'static>(
        &mut self,
        n: usize,
        number: fn(f64) -> T,
    ) -> Result<Timing, WorkError> {
        let load = || {
            let mut numbers = numbers();
            let factor = Mat::from_fn(n, n, |_, _| number(numbers()));
            Ok(Square { factor, product: Mat::zeros(n, n) })
        };
        let multiply = |Square { factor, product }: &mut Square<T>| {
            matmul(
                product.as_mut(),
                Accum::Replace,
                factor.as_ref(),
                factor.as_ref(),
                T::one_impl(),
                Par::rayon(0),
            );
            Ok(())
        };
        let device = &self.place.device;
        self.kept.with(n, load, |square| Ok(timed(device, || multiply(square))?.1))
    }

    /// By burn's own product; in f32, since WGSL has no more.
    fn by_device(&mut self, n: usize) -> Result<Timing, WorkError> {
        let device = &self.place.device;
        let load = || {
            let mut numbers = numbers();
            let factor: Vec<f32> = (0..n * n).map(|_| numbers() as f32).collect();
            Ok(Tensor::<2>::from_data(TensorData::new(factor, [n, n]), device))
        };
        let multiply = |factor: &mut Tensor<2>| Ok(factor.clone().matmul(factor.clone()));
        self.kept.with(n, load, |factor| Ok(timed(device, || multiply(factor))?.1))
    }
}

/// Numbers from 0 to 1, the same each time.
fn numbers() -> impl FnMut() -> f64 {
    let mut generator = ChaCha8Rng::seed_from_u64(0);
    move || generator.random_range(0.0..1.0)
}
