//! H from features and probabilities on the device, its ten largest eigenvalues without it, and
//! all eigenvalues and eigenvectors of MNIST's.

use burn::tensor::{DType, Device};
use kappa_hessian::{HessianError, Samples, largest_pairs};

use super::Works;
use crate::{
    device::Backend,
    error::BenchError,
    files::{MNIST, read_samples},
    protocol::{Digest, Measured, Precision, What},
    timing::timed,
};

/// The eigenvalues that the paper speaks of.
pub(super) const LEADING: usize = 10;

impl Works {
    pub(super) fn hessian(&mut self, precision: Precision, inputs: &str) -> Result<Measured, BenchError> {
        let (hessian, seconds) = self.of_samples(precision, inputs, Samples::hessian)?;
        Ok(Measured::new(seconds, Digest::of_matrix(&hessian)))
    }

    pub(super) fn ten_largest(&mut self, precision: Precision, inputs: &str) -> Result<Measured, BenchError> {
        let work = |samples: &Samples| largest_pairs(samples, LEADING, &());
        let (pairs, seconds) = self.of_samples(precision, inputs, work)?;
        let note = Some("without H, from features and probabilities".into());
        Ok(Measured { note, ..Measured::new(seconds, Digest::of_eigenvalues(&pairs.eigenvalues)) })
    }

    pub(super) fn of_samples<T>(
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

    pub(super) fn eigen(&mut self, precision: Precision, what: What) -> Result<Measured, BenchError> {
        if precision == Precision::F32 {
            return Err(BenchError::Unavailable("kappa decomposes H in double precision only"));
        }
        let (folder, device) = (&self.folder, &self.place.device);
        let note = (self.place.backend == Backend::Wgpu).then(|| "on the CPU".into());
        let load = || Ok(read_samples(folder, MNIST, DType::F64, &Device::flex())?.hessian()?);
        self.kept.with((), load, |hessian| {
            let (spectrum, seconds) = if what == What::Pairs {
                let (pairs, seconds) = timed(device, || Ok(hessian.eigenpairs()?))?;
                (pairs.spectrum, seconds)
            } else {
                timed(device, || Ok(hessian.spectrum()?))?
            };
            Ok(Measured {
                note: note.clone(),
                ..Measured::new(seconds, Digest::of_eigenvalues(spectrum.eigenvalues()))
            })
        })
    }
}
