//! Each work, with what it needs in memory before the clock starts.

mod eigen;
mod hessian;
mod kept;
mod peak;
mod timing;
mod training;

use std::path::PathBuf;

use kappa_data::DataError;
use kappa_hessian::HessianError;
use kappa_trainer::TrainError;

pub use hessian::samples_of;
pub use training::{configuration, trainer};

use crate::{
    device::{Backend, Chosen},
    npy::NpyError,
    protocol::{Measured, Precision, Work},
};
use kept::Kept;

/// What every work finds: where its inputs are, what it computes on, what the last one left.
pub struct Works {
    inputs: PathBuf,
    place: Chosen,
    kept: Kept,
}

/// A work that was not done.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Nothing went wrong: kappa has no such work, or not here.
    #[error("{0}")]
    Unavailable(&'static str),
    #[error(transparent)]
    File(#[from] NpyError),
    #[error(transparent)]
    Hessian(#[from] HessianError),
    #[error(transparent)]
    Training(#[from] TrainError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("a configuration that was compiled in is none")]
    Configuration(#[from] toml::de::Error),
    #[error("the device failed: {0}")]
    Device(String),
}

impl Works {
    pub fn new(inputs: PathBuf, place: Chosen) -> Self {
        Self { inputs, place, kept: Kept::default() }
    }

    /// Does a work, and tells how long it took.
    pub fn measure(&mut self, work: Work) -> Result<Measured, WorkError> {
        match work {
            Work::Peak { precision, n } => self.peak(precision, n.get()),
            Work::Hessian { precision, inputs } => self.hessian(precision, inputs),
            Work::Eigen { precision, what } => self.eigen(precision, what),
            Work::Top10 { precision, inputs } => self.ten_largest(precision, inputs),
            Work::Epoch { precision, network, batch } => self.epoch(precision, network, batch),
            Work::Unknown => Err(WorkError::Unavailable("kappa has no work of that name")),
        }
    }

    /// Refuses what would be computed otherwise than asked: kappa's GPU kernels are in single
    /// precision, and what is asked for in double goes to the CPU.
    fn require(&self, precision: Precision) -> Result<(), WorkError> {
        match (self.place.backend, precision) {
            (Backend::Wgpu, Precision::F64) => {
                Err(WorkError::Unavailable("kappa computes in single precision on a GPU"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use burn::tensor::Device;

    use super::*;
    use crate::protocol::{Inputs, What};

    #[test]
    fn a_gpu_is_not_timed_for_what_the_cpu_would_do() {
        let (device, name) = (Device::flex(), "a GPU".to_owned());
        let place = Chosen { backend: Backend::Wgpu, device, name, software: false };
        let mut works = Works::new(PathBuf::from("nowhere"), place);
        let (precision, inputs) = (Precision::F64, Inputs::MNIST);
        for work in [
            Work::Peak { precision, n: NonZeroUsize::MIN },
            Work::Hessian { precision, inputs },
            Work::Top10 { precision, inputs },
            Work::Eigen { precision, what: What::Top10 },
        ] {
            assert!(matches!(works.measure(work), Err(WorkError::Unavailable(_))), "{work:?}");
        }
    }
}
