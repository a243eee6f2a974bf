//! Eigenvalues and eigenvectors of MNIST's H.

use kappa_hessian::Hessian;

use super::{WorkError, Works, timing::timed};
use crate::{
    device::Backend,
    npy,
    protocol::{Digest, Inputs, Measured, Precision, What},
};

impl Works {
    pub(super) fn eigen(&mut self, precision: Precision, what: What) -> Result<Measured, WorkError> {
        if what == What::Top10 {
            let note = Some("without H, from features and probabilities");
            return Ok(Measured { note, ..self.ten_largest(precision, Inputs::MNIST)? });
        }
        if precision == Precision::F32 {
            return Err(WorkError::Unavailable("kappa decomposes H in double precision only"));
        }
        let (folder, device) = (&self.inputs, &self.place.device);
        let note = (self.place.backend == Backend::Wgpu).then_some("on the CPU");
        let load = || {
            let [matrix, probabilities] =
                ["H", "P"].map(|array| npy::read(&folder.join(Inputs::MNIST.file(array))));
            let (matrix, probabilities) = (matrix?, probabilities?);
            let (samples, classes) = (probabilities.rows, probabilities.columns);
            let features = matrix.rows / classes.max(1);
            Ok(Hessian::from_elements(features, classes, samples, matrix.elements)?)
        };
        self.kept.with((), load, |hessian| {
            let (spectrum, timing) = if what == What::Pairs {
                let (pairs, timing) = timed(device, || Ok(hessian.eigenpairs(f64::EPSILON)?))?;
                (pairs.spectrum, timing)
            } else {
                timed(device, || Ok(hessian.spectrum()?))?
            };
            Ok(Measured { note, ..timing.with(Digest::of_eigenvalues(spectrum.eigenvalues())) })
        })
    }
}
