//! The Hessian of a network's mean loss with respect to any of its parameters, as an operator.
//!
//! With the softmax p of the logits and S = diag(p) - p p^T, dL/dz = (p - y) / N and along a direction
//! S z. / N, of which [`Linearised`] makes H v, through the statistics of a batch too where they are
//! functions of the parameters. With the upstreams of the logits left out it makes
//! G v = J^T S J v / N, the Gauss-Newton matrix.

use std::num::NonZeroUsize;

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, activation::softmax},
};
use kappa_fused::DeviceError;
use kappa_hessian::{
    HessianError, SymmetricOperator,
    faer::{Mat, MatRef},
};
use kappa_model::{Direction, Linearised, Network, Parameter, Pass, Statistics, Upstreams};
use kappa_trainer::DeviceSplit;

use crate::ProbeError;

/// Samples that are gone through at once where no batch says how many.
const ROWS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// Which curvature of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curvature {
    /// The Hessian H.
    Hessian,
    /// The Gauss-Newton matrix G = mean_n J_n^T S_n J_n: H without the network's own curvature.
    GaussNewton,
}

/// The curvature of a network's mean loss over a split with respect to some of its parameters, one
/// after the other in the order of the model's table, each flattened as PyTorch lays it out.
#[derive(Debug, Clone)]
pub struct NetworkHessian {
    hidden: usize,
    parameters: Vec<Parameter>,
    size: usize,
    curvature: Curvature,
    samples: usize,
    place: (Device, DType),
    batches: Vec<Batch>,
}

/// Some samples, or all that share their statistics.
#[derive(Debug, Clone)]
struct Batch {
    at: Linearised,
    /// p: [n, K].
    probabilities: Tensor<2>,
    /// 1 for the likeliest class of each sample, or for each of several: [n, K].
    likeliest: Tensor<2>,
    upstreams: Upstreams,
}

impl NetworkHessian {
    /// The curvature of `network`, in its own arithmetic, on `split` with respect to `parameters`, by
    /// `statistics`: running ones are constants, those of mini-batches and of the whole split
    /// functions of the parameters.
    ///
    /// # Errors
    ///
    /// [`ProbeError::OtherImages`].
    pub fn new(
        network: &Network,
        split: &DeviceSplit,
        parameters: Vec<Parameter>,
        statistics: Statistics,
        curvature: Curvature,
    ) -> Result<Self, ProbeError> {
        let shape = network.shape();
        if shape.inputs != split.inputs() {
            return Err(ProbeError::OtherImages { network: shape.inputs, images: split.inputs() });
        }
        let network = network.valid();
        let weight = network.output_parameters().0;
        let place = (weight.device(), weight.dtype());
        let hidden = shape.hidden.len();
        let size = parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        let wanted = Direction::from_vector(hidden, &parameters, &vec![0.0; size], (&place.0, place.1));
        let (rows, pass) = match statistics {
            Statistics::Running => (ROWS, Pass::Running),
            Statistics::Batch(size) => (size, Pass::Batch),
            Statistics::Dataset => (NonZeroUsize::MAX, Pass::Batch),
        };
        let samples = split.samples();
        let batches = split.batches(rows).map(|chunk| {
            let at = Linearised::new(&network, chunk.images.inputs(), pass);
            let targets = chunk.targets.cast(place.1);
            let probabilities = softmax(at.logits(), 1);
            let likeliest = probabilities.clone().equal(probabilities.clone().max_dim(1));
            // Of the label's class p - 1 is taken as what the others have: in itself it cancels.
            let others = probabilities.clone() * targets.clone().neg().add_scalar(1.0);
            let upstream = others.clone() - targets * others.sum_dim(1);
            let upstreams = at.pull_back(upstream.div_scalar(samples as f64), &wanted);
            Batch { at, probabilities, likeliest: likeliest.float().cast(place.1), upstreams }
        });
        let batches = batches.collect();
        Ok(Self { hidden, parameters, size, curvature, samples, place, batches })
    }

    /// The gradient of the mean loss.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if it cannot be read.
    pub fn gradient(&self) -> Result<Vec<f64>, DeviceError> {
        let wanted = self.direction(&vec![0.0; self.size]);
        self.sum(|batch| Ok(batch.at.gradient(&batch.upstreams, &wanted)))
    }

    /// The Gauss-Newton matrix of the same parameters, at the same point.
    pub fn gauss_newton(&self) -> Self {
        Self { curvature: Curvature::GaussNewton, ..self.clone() }
    }

    /// Of how many units and samples the ReLU's argument is positive at one of two points, and not at
    /// the other.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if that cannot be read.
    pub fn kinks_between(&self, other: &Self) -> Result<usize, DeviceError> {
        let mut kinks = 0;
        for (batch, other) in self.batches.iter().zip(&other.batches) {
            kinks += batch.at.kinks_between(&other.at)?;
        }
        Ok(kinks)
    }

    /// The parameters, in their order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn direction(&self, vector: &[f64]) -> Direction {
        Direction::from_vector(self.hidden, &self.parameters, vector, (&self.place.0, self.place.1))
    }

    /// The sum over the batches, as a vector.
    fn sum(&self, of: impl Fn(&Batch) -> Result<Direction, DeviceError>) -> Result<Vec<f64>, DeviceError> {
        let mut sum = vec![0.0; self.size];
        for batch in &self.batches {
            let part = of(batch)?.to_vector(&self.parameters)?;
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        Ok(sum)
    }

    /// H v, or G v.
    fn along(&self, vector: &[f64]) -> Result<Vec<f64>, DeviceError> {
        let direction = self.direction(vector);
        self.sum(|batch| {
            let tangents = batch.at.push_forward(&direction);
            let upstream = batch.softmax_along(tangents.logits()).div_scalar(self.samples as f64);
            Ok(match self.curvature {
                Curvature::Hessian => {
                    batch.at.gradient_along(&direction, &batch.upstreams, &tangents, upstream)
                }
                Curvature::GaussNewton => {
                    batch.at.gradient(&batch.at.pull_back(upstream, &direction), &direction)
                }
            })
        })
    }
}

impl Batch {
    /// S u = p (u - p . u) of each sample. S ignores what all classes share, and u of the likeliest class
    /// (or of all that are, together) is taken off first: where its p is nearly one, u - p . u would
    /// cancel to rounding.
    fn softmax_along(&self, logits: Tensor<2>) -> Tensor<2> {
        let shared = (logits.clone() * self.likeliest.clone()).sum_dim(1);
        let apart = logits - shared;
        let mean = (self.probabilities.clone() * apart.clone()).sum_dim(1);
        self.probabilities.clone() * (apart - mean)
    }
}

impl SymmetricOperator for NetworkHessian {
    fn size(&self) -> usize {
        self.size
    }

    fn epsilon(&self) -> f64 {
        if self.place.1 == DType::F64 { f64::EPSILON } else { f32::EPSILON.into() }
    }

    fn product(&self, block: MatRef<'_, f64>) -> Result<Mat<f64>, HessianError> {
        if block.nrows() != self.size {
            return Err(HessianError::WrongRows { found: block.nrows(), expected: self.size });
        }
        let mut product = Mat::zeros(self.size, block.ncols());
        for (image, vector) in product.col_iter_mut().zip(block.col_iter()) {
            let found = self.along(&vector.iter().copied().collect::<Vec<_>>())?;
            image.iter_mut().zip(found).for_each(|(to, from)| *to = from);
        }
        Ok(product)
    }

    fn is_semi_definite(&self) -> bool {
        self.curvature == Curvature::GaussNewton
    }
}

#[cfg(test)]
mod tests {
    use kappa_data::LabelledImages;
    use kappa_hessian::largest_pairs;
    use kappa_model::{Initialisation, Kind, NetworkShape, Normalisation, Place};
    use kappa_run::{Precision, Request, Scaling};
    use kappa_trainer::PixelScaling;

    use super::*;
    use crate::samples;

    fn split(device: &Device) -> DeviceSplit {
        let pixels: Vec<u8> = (0..40 * 30).map(|i: u32| (i * 97 % 251) as u8).collect();
        let labels = (0..40).map(|i| i % 3).collect();
        let images = LabelledImages::new("made", [5, 6], pixels, labels).unwrap();
        let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
        DeviceSplit::new(&images, 3, scaling, device)
    }

    fn networks() -> Vec<(Network, Statistics)> {
        let batch = Statistics::Batch(NonZeroUsize::new(16).unwrap());
        let cases = [
            (Kind::None, Place::After, Statistics::Running),
            (Kind::Batch, Place::After, Statistics::Running),
            (Kind::Batch, Place::After, Statistics::Dataset),
            (Kind::Batch, Place::Before, batch),
        ];
        let network = |(kind, place, statistics)| {
            let normalisation = Normalisation { kind, place, ..Normalisation::default() };
            let shape = NetworkShape { inputs: 30, hidden: vec![8, 5], classes: 3, normalisation };
            let network = Network::new(&shape, Initialisation::KaimingUniform, 3, &Device::flex());
            (network.in_double_precision(), statistics)
        };
        cases.into_iter().map(network).collect()
    }

    fn named(network: &Network, name: &str) -> Vec<Parameter> {
        let trained = network.shape().parameters().into_iter().filter(Parameter::is_trained);
        trained.filter(|parameter| name == "all" || parameter.name == name).collect()
    }

    fn matrix(operator: &NetworkHessian) -> Mat<f64> {
        operator.product(Mat::identity(operator.size(), operator.size()).as_ref()).unwrap()
    }

    /// The dense H comes from class pairs of features and probabilities: another code altogether.
    #[test]
    fn of_the_last_layer_it_is_the_dense_hessian() {
        let split = split(&Device::flex());
        for (network, statistics) in networks() {
            let operator = |curvature| {
                let parameters = named(&network, "output.weight");
                matrix(&NetworkHessian::new(&network, &split, parameters, statistics, curvature).unwrap())
            };
            let request = Request { statistics, forward: Precision::F64, ..Request::new(Precision::F64) };
            let dense = samples(&network, &split, &request, &()).unwrap().hessian().unwrap();
            for curvature in [Curvature::Hessian, Curvature::GaussNewton] {
                let found = operator(curvature);
                for (index, expected) in dense.elements().iter().enumerate() {
                    let found = found[(index / 15, index % 15)];
                    // Forty samples' worth of roundings of numbers of order one.
                    assert!(
                        (found - expected).abs() < 1e-13,
                        "{statistics} {curvature:?} {index}: {found} {expected}"
                    );
                }
            }
        }
    }

    /// Without a batch's statistics the network is piecewise linear in each of its weight matrices.
    #[test]
    fn of_one_weight_matrix_it_is_the_gauss_newton_matrix_unless_statistics_are_a_batchs() {
        let split = split(&Device::flex());
        for (network, statistics) in networks() {
            for name in ["hidden.0.weight", "hidden.1.weight"] {
                let of = |curvature| {
                    let parameters = named(&network, name);
                    matrix(&NetworkHessian::new(&network, &split, parameters, statistics, curvature).unwrap())
                };
                let (hessian, gauss_newton) = (of(Curvature::Hessian), of(Curvature::GaussNewton));
                let apart = (&hessian - &gauss_newton).norm_max() / hessian.norm_max();
                let is_linear = statistics == Statistics::Running;
                assert_eq!(apart < 1e-12, is_linear, "{statistics} {name}: {apart}");
            }
        }
    }

    #[test]
    fn its_largest_eigenvalues_are_those_of_the_matrix_of_its_products() {
        let split = split(&Device::flex());
        for (network, statistics) in networks() {
            let parameters = named(&network, "all");
            let operator =
                NetworkHessian::new(&network, &split, parameters, statistics, Curvature::Hessian).unwrap();
            let pairs = largest_pairs(&operator, 3, &()).unwrap();
            let matrix = matrix(&operator);
            let all = matrix.self_adjoint_eigenvalues(kappa_hessian::faer::Side::Lower).unwrap();
            for (found, expected) in pairs.eigenvalues.iter().zip(all.iter().rev()) {
                // The solver's tolerance.
                assert!((found - expected).abs() < 1e-6 * all[all.len() - 1], "{found} {expected}");
            }
        }
    }
}
