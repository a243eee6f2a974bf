//! From features and probabilities on the device: H, or its ten largest eigenvalues
//! without it.

use kappa_hessian::{HessianError, Samples};

use super::Works;
use crate::{
    error::BenchError,
    files::read_samples,
    protocol::{Digest, Measured, Precision},
    timing::timed,
};

/// The eigenvalues that the paper speaks of.
const LEADING: usize = 10;

impl Works {
    pub(super) fn hessian(&mut self, precision: Precision, inputs: &str) -> Result<Measured, BenchError> {
        let (hessian, seconds) = self.of_samples(precision, inputs, Samples::hessian)?;
        Ok(Measured::new(seconds, Digest::of_matrix(&hessian)))
    }

    pub(super) fn ten_largest(&mut self, precision: Precision, inputs: &str) -> Result<Measured, BenchError> {
        let work = |samples: &Samples| samples.leading_pairs(LEADING, &|| ());
        let (pairs, seconds) = self.of_samples(precision, inputs, work)?;
        Ok(Measured::new(seconds, Digest::of_eigenvalues(&pairs.eigenvalues)))
    }

    fn of_samples<T>(
        &mut self,
        precision: Precision,
        inputs: &str,
        work: impl FnOnce(&Samples) -> Result<T, HessianError>,
    ) -> Result<(T, f64), BenchError> {
        self.require(precision)?;
        let device = &self.place.device;
        let load = || read_samples(&self.folder, inputs, precision.dtype(), device);
        let key = (precision, inputs.to_owned());
        self.kept.with(key, load, |samples| timed(device, || Ok(work(samples)?)))
    }
}
