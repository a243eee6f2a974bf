//! A last layer whose H would not fit, by its products alone (`kappa hessian --top`).

use burn::tensor::Device;
use kappa_hessian::{Samples, SymmetricOperator, largest_pairs};

use super::{
    Works,
    hessian::LEADING,
    network::{directions, error_of_product, measured},
};
use crate::{
    error::BenchError,
    files::read_samples,
    protocol::{Measured, OfHessian, Precision},
};

impl Works {
    pub(super) fn layer(
        &mut self,
        precision: Precision,
        inputs: &str,
        what: OfHessian,
        vectors: usize,
    ) -> Result<Measured, BenchError> {
        self.require(precision)?;
        let exact = read_samples(&self.folder, inputs, Precision::F64.dtype(), &Device::flex())?;
        match what {
            OfHessian::Product => {
                let block = directions(exact.size(), vectors);
                let product = |samples: &Samples| samples.product(block.as_ref());
                let (found, seconds) = self.of_samples(precision, inputs, product)?;
                let error = error_of_product(&found, &exact.product(block.as_ref())?);
                Ok(Measured::new(seconds / vectors as f64, error))
            }
            OfHessian::Pairs => {
                let pairs = |samples: &Samples| largest_pairs(samples, LEADING, &());
                let (pairs, seconds) = self.of_samples(precision, inputs, pairs)?;
                measured(seconds, &pairs, &exact)
            }
            OfHessian::Step => Err(BenchError::Unavailable("a last layer alone is not trained")),
        }
    }
}
