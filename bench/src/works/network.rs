//! A network's Hessian with respect to all of its parameters, at its initial weights, on the images
//! that it is trained on.

use std::ops::ControlFlow;

use burn::tensor::Device;
use kappa_data::DataSet;
use kappa_hessian::{ExtremePairs, SymmetricOperator, faer::Mat, largest_pairs};
use kappa_model::{Initialisation, Parameter, Statistics};
use kappa_probe::{Curvature, NetworkHessian};
use kappa_run::BatchSize;
use kappa_trainer::{DeviceSplit, PixelScaling, Trainer, split_data};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Works, configuration, hessian::LEADING, trainer};
use crate::{
    error::BenchError,
    protocol::{Digest, Measured, Network, OfHessian, Precision},
    timing::timed,
};

/// What the works on one network keep. The step beside a product is of a trainer of its own: the
/// Hessian stays where it is.
struct Kept {
    point: Point,
    hessian: NetworkHessian,
    trainer: Trainer,
    /// Products with the first vectors in double precision: [n, k].
    exact: Mat<f64>,
}

/// A network with its initial weights, and its images.
struct Point {
    network: kappa_model::Network,
    split: DeviceSplit,
    statistics: Statistics,
}

impl Works {
    pub(super) fn network(
        &mut self,
        precision: Precision,
        network: Network,
        what: OfHessian,
        vectors: usize,
    ) -> Result<Measured, BenchError> {
        self.require(precision)?;
        let device = &self.place.device;
        let load = || Kept::new(precision, network, device);
        self.kept.with((precision, network), load, |kept| match what {
            OfHessian::Product => kept.product(network, device, vectors),
            OfHessian::Pairs => kept.pairs(precision, network, device),
            OfHessian::Step => {
                let step = || Ok(kept.trainer.epoch(|_| ControlFlow::Continue(()))?);
                let (loss, seconds) = timed(device, step)?;
                Ok(Measured::new(seconds, Digest::Loss { loss }))
            }
        })
    }
}

impl Kept {
    fn new(precision: Precision, network: Network, device: &Device) -> Result<Self, BenchError> {
        let point = Point::new(network, device)?;
        let mut config = configuration(network)?;
        config.training.batch_size = BatchSize::Full;
        let trainer = trainer(&config, &DataSet::mnist()?, device)?;
        Ok(Self { hessian: point.hessian(precision)?, point, trainer, exact: Mat::new() })
    }

    fn product(&mut self, network: Network, device: &Device, vectors: usize) -> Result<Measured, BenchError> {
        let block = directions(self.hessian.size(), vectors);
        if self.exact.ncols() < vectors {
            self.exact = products(network, vectors)?;
        }
        let (found, seconds) = timed(device, || Ok(self.hessian.product(block.as_ref())?))?;
        Ok(Measured::new(seconds / vectors as f64, error_of_product(&found, &self.exact)))
    }

    /// With what is computed once, as the other side's clock runs while it makes its graph.
    fn pairs(&self, precision: Precision, network: Network, device: &Device) -> Result<Measured, BenchError> {
        let work = || Ok(largest_pairs(&self.point.hessian(precision)?, LEADING, &())?);
        let (pairs, seconds) = timed(device, work)?;
        measured(seconds, &pairs, &in_doubles(network)?)
    }
}

impl Point {
    fn new(network: Network, device: &Device) -> Result<Self, BenchError> {
        let (set, config) = (DataSet::mnist()?, configuration(network)?);
        let images = split_data(&set, &config.data, config.seed)?.train;
        let scaling = PixelScaling::new(config.data.scaling, &images)?;
        let split = DeviceSplit::new(&images, set.classes, scaling, device);
        let shape = config.network.shape(set.train.inputs(), set.classes);
        let statistics = match network {
            Network::Fc => Statistics::Running,
            Network::FcBn => Statistics::Dataset,
        };
        let law = Initialisation::GlorotUniform;
        let network = kappa_model::Network::new(&shape, law, config.seed, device);
        Ok(Self { network, split, statistics })
    }

    fn hessian(&self, precision: Precision) -> Result<NetworkHessian, BenchError> {
        let parameters = self.network.shape().parameters().into_iter().filter(Parameter::is_trained);
        let network = match precision {
            Precision::F32 => &self.network,
            Precision::F64 => &self.network.in_double_precision(),
        };
        let parameters = parameters.collect();
        Ok(NetworkHessian::new(network, &self.split, parameters, self.statistics, Curvature::Hessian)?)
    }
}

/// The Hessian in double precision, which is on the CPU.
fn in_doubles(network: Network) -> Result<NetworkHessian, BenchError> {
    Point::new(network, &Device::flex())?.hessian(Precision::F64)
}

/// H V in double precision: [n, count].
pub fn products(network: Network, count: usize) -> Result<Mat<f64>, BenchError> {
    let hessian = in_doubles(network)?;
    Ok(hessian.product(directions(hessian.size(), count).as_ref())?)
}

/// All trained parameters, one after the other.
pub fn parameters(network: Network) -> Result<Vec<f32>, BenchError> {
    let tensors = Point::new(network, &Device::flex())?.network.parameters::<f32>();
    let tensors = tensors.map_err(BenchError::device)?.into_iter();
    Ok(tensors.filter(|(parameter, _)| parameter.is_trained()).flat_map(|(_, values)| values).collect())
}

/// How far the products with the first of some vectors are from the exact ones.
pub(super) fn error_of_product(found: &Mat<f64>, exact: &Mat<f64>) -> Digest {
    let columns = found.col_iter().zip(exact.col_iter());
    let errors = columns.map(|(found, exact)| (found - exact).norm_l2() / exact.norm_l2());
    Digest::Product { relative_error: errors.fold(0.0, f64::max) }
}

/// The vectors that are multiplied by, the same for everybody, of numbers that f32 has: [n, count].
pub fn directions(size: usize, count: usize) -> Mat<f64> {
    let mut generator = ChaCha8Rng::seed_from_u64(0);
    let mut vectors = Mat::zeros(size, count);
    for vector in vectors.col_iter_mut() {
        vector.iter_mut().for_each(|number| *number = f64::from(generator.random_range(-1.0..1.0f32)));
    }
    vectors
}

/// Eigenpairs that were found, with their residuals by products of `exact`.
pub(super) fn measured(
    seconds: f64,
    pairs: &ExtremePairs,
    exact: &dyn SymmetricOperator,
) -> Result<Measured, BenchError> {
    let (values, vectors) = (&pairs.eigenvalues, &pairs.vectors);
    let images = exact.product(vectors.as_ref())?;
    let scale = values.iter().fold(pairs.scale, |max, value| max.max(value.abs()));
    let residual = |(index, &value): (usize, &f64)| {
        (images.col(index) - vectors.col(index) * kappa_hessian::faer::Scale(value)).norm_l2() / scale
    };
    let residual = values.iter().enumerate().map(residual).fold(0.0, f64::max);
    let lambda = |rank: usize| values.get(rank - 1).copied().unwrap_or(f64::NAN);
    let (lambda_1, lambda_10, sum) = (lambda(1), lambda(LEADING), values.iter().sum());
    let note = Some(format!("{} products, residual {residual:.1e}", pairs.products).into());
    Ok(Measured { note, ..Measured::new(seconds, Digest::Pairs { lambda_1, lambda_10, sum, residual }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_do_not_depend_on_how_many_there_are_and_are_exact_in_single_precision() {
        let (two, three) = (directions(100, 2), directions(100, 3));
        assert_eq!(two.as_ref(), three.as_ref().subcols(0, 2));
        assert!(three.col(0) != three.col(1));
        assert!(three.col_iter().flat_map(|column| column.iter()).all(|&x| f64::from(x as f32) == x));
    }

    #[test]
    fn the_residual_that_is_told_is_that_of_the_exact_matrix() {
        let matrix = Mat::from_fn(12, 12, |i, j| if i == j { 12.0 - i as f64 } else { 0.0 });
        let exact = kappa_hessian::DenseMatrix::new(matrix, f64::EPSILON).unwrap();
        let mut pairs = largest_pairs(&exact, LEADING, &()).unwrap();
        pairs.eigenvalues[3] += 0.6;
        let Digest::Pairs { lambda_1, lambda_10, sum, residual } =
            measured(1.0, &pairs, &exact).unwrap().digest
        else {
            panic!("eigenpairs have the digest of some");
        };
        // 12 + 11 + .. + 3, and 0.6 beside one of them; |A| = 12.
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-12;
        assert!(close(lambda_1, 12.0) && close(lambda_10, 3.0) && close(sum, 75.6) && close(residual, 0.05));
    }
}
