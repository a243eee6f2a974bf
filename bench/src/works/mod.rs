//! Each work, with what it needs in memory before the clock starts.

mod hessian;
mod kept;
mod layer;
mod network;
mod peak;
mod training;

use std::path::PathBuf;

pub use network::{directions, parameters, products};
pub use training::{configuration, trainer};

use crate::{
    device::{Backend, Place},
    error::BenchError,
    protocol::{Measured, Precision, Work},
};
use kept::Kept;

/// What every work finds: where its inputs are, what it computes on, what the last one left.
pub struct Works {
    folder: PathBuf,
    place: Place,
    kept: Kept,
}

impl Works {
    /// `folder` is what `kappa-bench inputs` wrote to.
    pub fn new(folder: PathBuf, place: Place) -> Self {
        Self { folder, place, kept: Kept::default() }
    }

    /// Does a work, and tells how long it took.
    pub fn measure(&mut self, work: &Work) -> Result<Measured, BenchError> {
        match work {
            Work::Peak { precision, n } => self.peak(*precision, n.get()),
            Work::Hessian { precision, inputs } => self.hessian(*precision, inputs),
            Work::Top10 { precision, inputs } => self.ten_largest(*precision, inputs),
            Work::Eigen { precision, what } => self.eigen(*precision, *what),
            Work::Epoch { precision, network, batch } => self.epoch(*precision, *network, *batch),
            Work::Network { precision, network, what, vectors } => {
                self.network(*precision, *network, *what, vectors.get())
            }
            Work::Layer { precision, inputs, what, vectors } => {
                self.layer(*precision, inputs, *what, vectors.get())
            }
        }
    }

    /// Refuses what would be computed otherwise than asked: kappa's GPU kernels are in single
    /// precision, and what is asked for in double goes to the CPU.
    fn require(&self, precision: Precision) -> Result<(), BenchError> {
        if (self.place.backend, precision) == (Backend::Wgpu, Precision::F64) {
            return Err(BenchError::Unavailable("kappa computes in single precision on a GPU"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::protocol::{Network, OfHessian};

    #[test]
    fn a_gpu_is_not_timed_for_what_the_cpu_would_do() {
        let place = Place { backend: Backend::Wgpu, ..Backend::Flex.open().unwrap() };
        let mut works = Works::new(PathBuf::from("nowhere"), place);
        let (precision, inputs) = (Precision::F64, "mnist".to_owned());
        let (what, vectors) = (OfHessian::Product, NonZeroUsize::MIN);
        for work in [
            Work::Peak { precision, n: NonZeroUsize::MIN },
            Work::Hessian { precision, inputs: inputs.clone() },
            Work::Top10 { precision, inputs: inputs.clone() },
            Work::Layer { precision, inputs, what, vectors },
            Work::Network { precision, network: Network::Fc, what, vectors },
        ] {
            assert!(matches!(works.measure(&work), Err(BenchError::Unavailable(_))), "{work:?}");
        }
    }
}
