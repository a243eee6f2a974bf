//! Eigenvalues and eigenvectors of MNIST's H.

use burn::tensor::{DType, Device};

use super::Works;
use crate::{
    device::Backend,
    error::BenchError,
    files::{MNIST, read_samples},
    protocol::{Digest, Measured, Precision, What},
    timing::timed,
};

impl Works {
    pub(super) fn eigen(&mut self, precision: Precision, what: What) -> Result<Measured, BenchError> {
        if what == What::Top10 {
            let note = Some("without H, from features and probabilities");
            return Ok(Measured { note, ..self.ten_largest(precision, MNIST)? });
        }
        if precision == Precision::F32 {
            return Err(BenchError::Unavailable("kappa decomposes H in double precision only"));
        }
        let (folder, device) = (&self.folder, &self.place.device);
        let note = (self.place.backend == Backend::Wgpu).then_some("on the CPU");
        let load = || Ok(read_samples(folder, MNIST, DType::F64, &Device::flex())?.hessian()?);
        self.kept.with((), load, |hessian| {
            let (spectrum, seconds) = if what == What::Pairs {
                let (pairs, seconds) = timed(device, || Ok(hessian.eigenpairs(f64::EPSILON)?))?;
                (pairs.spectrum, seconds)
            } else {
                timed(device, || Ok(hessian.spectrum()?))?
            };
            Ok(Measured { note, ..Measured::new(seconds, Digest::of_eigenvalues(spectrum.eigenvalues())) })
        })
    }
}
