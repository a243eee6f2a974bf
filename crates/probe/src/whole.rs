//! The Hessian of a network's mean loss with respect to any of its parameters, as an operator.
//!
//! With the softmax p of the logits and S = diag(p) - p p^T, dL/dz = (p - y) / N and along a direction
//! S z. / N, of which [`Linearised`] makes H v, through the statistics of a batch too where they are
//! functions of the parameters. With the upstreams of the logits left out it makes
//! G v = J^T S J v / N, the Gauss-Newton matrix.

use std::num::NonZeroUsize;

use burn::{
    module::Module,
    tensor::{
        DType, Device, Tensor, TensorData,
        activation::{log_softmax, softmax},
    },
};
use kappa_fused::{DeviceError, piece};
use kappa_hessian::{
    HessianError, SymmetricOperator,
    faer::{Mat, MatRef},
};
use kappa_model::{Direction, Kind, Linearised, Network, Parameter, Pass, Statistics, Upstreams};
use kappa_trainer::{Chunk, DeviceSplit};

use crate::ProbeError;

/// Bytes of what a product keeps of all samples while it waits for what they share, at the most, unless
/// one vector alone keeps more.
const KEPT_BYTES: usize = 192 << 20;
/// Vectors that are gone through at once, at the most: more share no more.
const MOST_VECTORS: usize = 4;

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
    /// Whether the network is piecewise linear in each tensor, sample by sample.
    piecewise_linear: bool,
    place: (Device, DType),
    batches: Vec<Batch>,
    /// Vectors that are gone through at once, at the most.
    vectors: usize,
}

/// All samples that share their statistics.
#[derive(Debug, Clone)]
struct Batch {
    at: Linearised,
    /// Of each piece.
    softmax: Vec<Softmax>,
    upstreams: Upstreams,
    /// The loss of each piece, summed over its samples: \[1\].
    losses: Vec<Tensor<1>>,
}

/// The probabilities of some samples.
#[derive(Debug, Clone)]
struct Softmax {
    /// p: [n, K].
    probabilities: Tensor<2>,
    /// 1 for the likeliest class of each sample, or for each of several: [n, K].
    likeliest: Tensor<2>,
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
        let (length, pass) = match statistics {
            Statistics::Running => (NonZeroUsize::MAX, Pass::Running),
            Statistics::Batch(size) => (size, Pass::Batch),
            Statistics::Dataset => (NonZeroUsize::MAX, Pass::Batch),
        };
        let samples = split.samples();
        let widest = shape.hidden.iter().copied().fold(shape.inputs.max(shape.classes), usize::max);
        let rows = NonZeroUsize::new(piece::rows(&place.0, widest, place.1)).unwrap_or(NonZeroUsize::MIN);
        let mut batches: Vec<Vec<Chunk>> = split.batches_in_pieces(length, rows).collect();
        let batches = piece::map(&place.0, &mut batches, |_, pieces| {
            let inputs = pieces.iter().map(|piece| piece.images.clone().inputs());
            let at = Linearised::new(&network, inputs, pass);
            let mut pieces: Vec<_> = at.logits().into_iter().zip(std::mem::take(pieces)).collect();
            let softmax = piece::map(&place.0, &mut pieces, |_, (logits, piece)| {
                let targets = piece.targets.clone().cast(place.1);
                let loss = (log_softmax(logits.clone(), 1) * targets.clone()).sum().neg();
                (loss, Softmax::new(logits.clone(), targets))
            });
            let (losses, softmax): (Vec<_>, Vec<_>) = softmax.into_iter().unzip();
            let (softmax, upstreams): (Vec<_>, Vec<_>) = softmax.into_iter().unzip();
            let share = |upstream: Tensor<2>| upstream.div_scalar(samples as f64);
            let upstreams = at.pull_back(upstreams.into_iter().map(share).collect(), &wanted);
            Batch { at, softmax, upstreams, losses }
        });
        let units = shape.hidden.iter().sum::<usize>().max(1);
        // Two tensors of a layer's width wait: a. or x. , and h. .
        let kept = 2 * units * place.1.size() * length.get().min(samples);
        let vectors = (KEPT_BYTES / kept.max(1)).clamp(1, MOST_VECTORS);
        let kind = shape.normalisation.kind;
        let by_batch = pass == Pass::Batch && shape.normalisation.has_statistics();
        // Layer norm divides by what its layer computes, weight norm by what it stores.
        let piecewise_linear = !by_batch && !matches!(kind, Kind::Layer | Kind::Weight);
        Ok(Self { hidden, parameters, size, curvature, samples, piecewise_linear, place, batches, vectors })
    }

    /// The gradient of the mean loss.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if it cannot be read.
    pub fn gradient(&self) -> Result<Vec<f64>, DeviceError> {
        let wanted = self.direction(&vec![0.0; self.size]);
        let found = self.sum(|batch| vec![batch.at.gradient(&batch.upstreams, &wanted)]);
        self.vector(&found.into_iter().next().unwrap_or_else(|| Direction::of_nothing(self.hidden)))
    }

    /// The mean loss, without a penalty.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if it cannot be read.
    pub fn loss(&self) -> Result<f64, DeviceError> {
        let mut sum = 0.0;
        for loss in self.batches.iter().flat_map(|batch| &batch.losses) {
            sum += loss.clone().try_into_data().map_err(DeviceError::new)?.iter::<f64>().sum::<f64>();
        }
        Ok(sum / self.samples as f64)
    }

    /// The Gauss-Newton matrix of the same parameters, at the same point.
    pub fn gauss_newton(&self) -> Self {
        Self { curvature: Curvature::GaussNewton, ..self.clone() }
    }

    /// tr H_tt of each tensor t, and so tr H as their sum, exactly; nothing where the network is not piecewise
    /// linear in each of them: where statistics are a batch's, with layer norm and with weight norm.
    ///
    /// In any one tensor alone it is piecewise linear otherwise, and H_tt = G_tt. With S = sum_k s_k s_k',
    /// s_k = sqrt(p_k) (e_k - p), that is a sum of squares,
    ///
    /// ```text
    /// tr G_tt = 1/N sum_n sum_k |J_nt' s_nk|^2 .
    /// ```
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if it cannot be read.
    pub fn traces(&self) -> Result<Option<Vec<f64>>, DeviceError> {
        if !self.piecewise_linear {
            return Ok(None);
        }
        let wanted = self.direction(&vec![0.0; self.size]);
        let mut traces = vec![0.0; self.parameters.len()];
        for batch in &self.batches {
            let classes = batch.softmax.first().map_or(0, |softmax| softmax.probabilities.dims()[1]);
            for class in 0..classes {
                let scores = batch.softmax.iter().map(|softmax| softmax.root(class)).collect();
                let upstreams = batch.at.pull_back(scores, &wanted);
                let squares = batch.at.squared_gradients(&upstreams, &self.parameters)?;
                let samples = self.samples as f64;
                traces.iter_mut().zip(squares).for_each(|(trace, squares)| *trace += squares / samples);
            }
        }
        Ok(Some(traces))
    }

    /// The parameters, in their order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The number of pairs of a sample and a hidden unit whose ReLU lets something through at one of two
    /// points and nothing at the other: kinks of the loss between them. Both are of networks of one
    /// shape, by the same statistics of the same split; what only one of them has is not counted.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if they cannot be read.
    pub fn kinks_between(&self, other: &Self) -> Result<usize, DeviceError> {
        let batches = self.batches.iter().zip(&other.batches);
        batches.map(|(here, there)| here.at.kinks_between(&there.at)).sum()
    }

    fn direction(&self, vector: &[f64]) -> Direction {
        Direction::from_vector(self.hidden, &self.parameters, vector, (&self.place.0, self.place.1))
    }

    fn vector(&self, direction: &Direction) -> Result<Vec<f64>, DeviceError> {
        direction.to_vector(&self.parameters)
    }

    /// The sums over the batches.
    fn sum(&self, of: impl Fn(&Batch) -> Vec<Direction> + Sync) -> Vec<Direction> {
        let mut batches: Vec<&Batch> = self.batches.iter().collect();
        Direction::sum_in_parts(&self.place.0, &mut batches, |_, batch| of(batch))
    }

    /// H v, or G v, of each of some vectors.
    fn along(&self, directions: &[Direction]) -> Vec<Direction> {
        self.sum(|batch| {
            let upstreams = (self.curvature == Curvature::Hessian).then_some(&batch.upstreams);
            batch.at.products(directions, upstreams, |piece, logits| {
                // There is one of each piece.
                let upstream = batch.softmax.get(piece).map(|softmax| softmax.along(logits.clone()));
                upstream.unwrap_or(logits).div_scalar(self.samples as f64)
            })
        })
    }
}

impl Softmax {
    /// Of logits and targets [n, K], with p - y of each sample.
    fn new(logits: Tensor<2>, targets: Tensor<2>) -> (Self, Tensor<2>) {
        let probabilities = softmax(logits, 1);
        let likeliest = probabilities.clone().equal(probabilities.clone().max_dim(1));
        let likeliest = likeliest.float().cast(probabilities.dtype());
        // Of the label's class p - 1 is taken as what the others have: in itself it cancels.
        let others = probabilities.clone() * targets.clone().neg().add_scalar(1.0);
        let upstream = others.clone() - targets * others.sum_dim(1);
        (Self { probabilities, likeliest }, upstream)
    }

    /// sqrt(p_k) (e_k - p) of each sample: [n, K]. Of class k 1 - p_k is what the others have.
    fn root(&self, class: usize) -> Tensor<2> {
        let probabilities = self.probabilities.clone();
        let [rows, classes] = probabilities.dims();
        let own = probabilities.clone().slice([0..rows, class..class + 1]);
        let unit = (0..classes).map(|other| f64::from(u8::from(other == class)));
        let unit = TensorData::new(unit.collect::<Vec<f64>>(), [1, classes]).convert_dtype(own.dtype());
        let unit = Tensor::<2>::from_data(unit, (&own.device(), own.dtype()));
        let others = probabilities * unit.clone().neg().add_scalar(1.0);
        (unit * others.clone().sum_dim(1) - others) * own.sqrt()
    }

    /// S u = p (u - p . u) of each sample. S ignores what all classes share, and u of the likeliest class
    /// (or of all that are, together) is taken off first: where its p is nearly one, u - p . u would
    /// cancel to rounding.
    fn along(&self, logits: Tensor<2>) -> Tensor<2> {
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
        let vectors: Vec<_> = block.col_iter().collect();
        for (number, vectors) in vectors.chunks(self.vectors).enumerate() {
            let directions: Vec<Direction> = vectors
                .iter()
                .map(|vector| self.direction(&vector.iter().copied().collect::<Vec<_>>()))
                .collect();
            for (index, found) in self.along(&directions).iter().enumerate() {
                let image = product.col_mut(number * self.vectors + index);
                image.iter_mut().zip(self.vector(found)?).for_each(|(to, from)| *to = from);
            }
        }
        Ok(product)
    }

    /// The Gauss-Newton matrix is, and H is that matrix in one tensor alone where the network is
    /// piecewise linear in it.
    fn is_semi_definite(&self) -> bool {
        self.curvature == Curvature::GaussNewton || (self.piecewise_linear && self.parameters.len() == 1)
    }
}

#[cfg(test)]
mod tests {
    use kappa_data::LabelledImages;
    use kappa_hessian::largest_pairs;
    use kappa_model::{Initialisation, NetworkShape, Normalisation, Place};
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
            (Kind::Centre, Place::After, Statistics::Dataset),
            (Kind::Scale, Place::After, batch),
            (Kind::Layer, Place::After, Statistics::Running),
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

    /// A network is piecewise linear in each of its weight matrices unless something divides by what depends
    /// on them.
    #[test]
    fn of_one_weight_matrix_it_is_the_gauss_newton_matrix_where_the_network_is_linear_in_it() {
        let split = split(&Device::flex());
        for (network, statistics) in networks() {
            for name in ["hidden.0.weight", "hidden.1.weight"] {
                let of = |curvature| {
                    let parameters = named(&network, name);
                    matrix(&NetworkHessian::new(&network, &split, parameters, statistics, curvature).unwrap())
                };
                let (hessian, gauss_newton) = (of(Curvature::Hessian), of(Curvature::GaussNewton));
                let apart = (&hessian - &gauss_newton).norm_max() / hessian.norm_max();
                let is_linear = match network.shape().normalisation.kind {
                    // To take a mean off is linear, whosever it is.
                    Kind::Centre => true,
                    Kind::Layer => false,
                    _ => statistics == Statistics::Running,
                };
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

    fn made(count: usize, salt: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 7919 + salt * 31) % 101) as f64 / 50.0 - 1.0).collect()
    }

    fn block(operator: &NetworkHessian, columns: usize) -> Mat<f64> {
        let vectors: Vec<_> = (0..columns).map(|salt| made(operator.size(), salt)).collect();
        Mat::from_fn(operator.size(), columns, |i, j| vectors[j][i])
    }

    /// Images of several pieces, and of several parts of pieces.
    fn large_split(device: &Device) -> DeviceSplit {
        let samples = 6 * piece::rows(device, 30, DType::F64) + 77;
        let pixels: Vec<u8> = (0..samples * 30).map(|i| (i * 7919 % 251) as u8).collect();
        let labels = (0..samples).map(|i| (i * 7 % 3) as u8).collect();
        let images = LabelledImages::new("made", [5, 6], pixels, labels).unwrap();
        let scaling = PixelScaling::new(Scaling::Unit, &images).unwrap();
        DeviceSplit::new(&images, 3, scaling, device)
    }

    #[test]
    fn the_bits_are_the_same_on_any_number_of_threads_and_in_any_block() {
        let split = large_split(&Device::flex());
        for (network, statistics) in networks() {
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let parameters = named(&network, "all");
                    let operator =
                        NetworkHessian::new(&network, &split, parameters, statistics, Curvature::Hessian)
                            .unwrap();
                    let block = block(&operator, 5);
                    (operator.gradient().unwrap(), operator.product(block.as_ref()).unwrap(), operator)
                })
            };
            let (gradient, product, operator) = on(1);
            for threads in [2, 3] {
                let (other_gradient, other_product, _) = on(threads);
                assert_eq!(gradient, other_gradient, "{statistics}");
                assert_eq!(product, other_product, "{statistics}");
            }
            let block = block(&operator, 5);
            for column in 0..5 {
                let alone = operator.product(block.subcols(column, 1)).unwrap();
                assert_eq!(alone.col(0), product.col(column), "{statistics} {column}");
            }
        }
    }

    #[test]
    fn a_product_over_many_pieces_is_the_central_difference_of_the_gradient() {
        const STEP: f64 = 1e-6;
        let split = large_split(&Device::flex());
        for (network, statistics) in networks() {
            let parameters = named(&network, "all");
            let at = |network: &Network| {
                NetworkHessian::new(network, &split, parameters.clone(), statistics, Curvature::Hessian)
                    .unwrap()
            };
            let operator = at(&network);
            // Along the last layer alone no ReLU changes.
            let mut vector = vec![0.0; operator.size()];
            let last = operator.size() - 18;
            vector[last..].copy_from_slice(&made(18, 3));
            let direction = operator.direction(&vector);
            let [ahead, behind] = [STEP, -STEP].map(|step| at(&network.moved(&direction, step)));
            assert_eq!(ahead.kinks_between(&behind).unwrap(), 0);
            let [ahead, behind] = [ahead, behind].map(|operator| operator.gradient().unwrap());
            let found =
                operator.product(Mat::from_fn(operator.size(), 1, |i, _| vector[i]).as_ref()).unwrap();
            for index in 0..operator.size() {
                let expected = (ahead[index] - behind[index]) / (2.0 * STEP);
                // h^2 and epsilon / h, 1e-12 and 2e-10, times numbers of order one to ten.
                assert!(
                    (found[(index, 0)] - expected).abs() < 1e-8,
                    "{statistics} {index}: {} {expected}",
                    found[(index, 0)]
                );
            }
        }
    }

    #[test]
    fn kinks_between_two_points_are_the_pairs_whose_relu_changes() {
        let device = Device::flex();
        let split = split(&device);
        let shape =
            NetworkShape { inputs: 30, hidden: vec![8], classes: 3, normalisation: Normalisation::default() };
        let network = Network::new(&shape, Initialisation::KaimingUniform, 3, &device).in_double_precision();
        let parameters = named(&network, "all");
        let at = |network: &Network| {
            NetworkHessian::new(network, &split, parameters.clone(), Statistics::Running, Curvature::Hessian)
                .unwrap()
        };
        let here = at(&network);
        let direction = here.direction(&made(here.size(), 1));
        // Whether each unit of each sample is above zero.
        let above = |network: &Network| -> Vec<bool> {
            let images = split.batches(NonZeroUsize::MAX).next().unwrap().images;
            let features = network.features(images.preactivations(network), Pass::Running);
            features.into_data().iter::<f64>().map(|x| x > 0.0).collect()
        };
        let mut counts = Vec::new();
        for step in [0.0, 1e-2, 1.0] {
            let moved = network.moved(&direction, step);
            let expected = above(&network).iter().zip(above(&moved)).filter(|(a, b)| **a != *b).count();
            assert_eq!(here.kinks_between(&at(&moved)).unwrap(), expected, "{step}");
            counts.push(expected);
        }
        assert!(counts[0] == 0 && counts[2] > 0, "{counts:?}");
    }
}
