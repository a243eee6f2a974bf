//! The Hessian of a network's mean loss with respect to any of its parameters, as an operator.
//!
//! With the softmax p of the logits and S = diag(p) - p p^T, dL/dz = (p - y) / N and along a direction
//! S z. / N, of which [`Linearised`] makes H v, through the statistics of a batch too where they are
//! functions of the parameters. With the upstreams of the logits left out it makes
//! G v = J^T S J v / N, the Gauss-Newton matrix.

use std::{num::NonZeroUsize, sync::Arc};

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
use kappa_world::{Alone, Combine, World};

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
    /// Of all processes.
    samples: usize,
    /// Whether the network is piecewise linear in each tensor, sample by sample.
    piecewise_linear: bool,
    place: (Device, DType),
    batches: Vec<Batch>,
    /// Vectors that are gone through at once, at the most.
    vectors: usize,
    /// The processes whose images these are, of which the batches are this one's own.
    world: Arc<dyn World>,
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
        let samples = split.all();
        let widest = shape.hidden.iter().copied().fold(shape.inputs.max(shape.classes), usize::max);
        let rows = NonZeroUsize::new(piece::rows(&place.0, widest, place.1)).unwrap_or(NonZeroUsize::MIN);
        // Mini-batches are of one process each, and share nothing.
        let among: Arc<dyn World> = match statistics {
            Statistics::Dataset => split.world().clone(),
            _ => Arc::new(Alone),
        };
        let mut batches: Vec<Vec<Chunk>> = split.batches_in_pieces(length, rows).collect();
        let batches = piece::map(&place.0, &mut batches, |_, pieces| {
            let inputs = pieces.iter().map(|piece| piece.images.clone().inputs());
            let at = Linearised::among(&network, inputs, pass, among.clone());
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
        let kept = 2 * units * place.1.size() * length.get().min(split.samples());
        let vectors = (KEPT_BYTES / kept.max(1)).clamp(1, MOST_VECTORS);
        let kind = shape.normalisation.kind;
        let by_batch = pass == Pass::Batch && shape.normalisation.has_statistics();
        // Layer norm divides by what its layer computes, weight norm by what it stores.
        let piecewise_linear = !by_batch && !matches!(kind, Kind::Layer | Kind::Weight);
        let world = split.world().clone();
        Ok(Self {
            hidden,
            parameters,
            size,
            curvature,
            samples,
            piecewise_linear,
            place,
            batches,
            vectors,
            world,
        })
    }

    /// The gradient of the mean loss.
    ///
    /// # Errors
    ///
    /// [`HessianError::Device`] if it cannot be read, and [`HessianError::World`].
    pub fn gradient(&self) -> Result<Vec<f64>, HessianError> {
        let wanted = self.direction(&vec![0.0; self.size]);
        let found = self.sum(|batch| vec![batch.at.gradient(&batch.upstreams, &wanted)]);
        let own = found.into_iter().next().unwrap_or_else(|| Direction::of_nothing(self.hidden));
        let mut gradient = self.vector(&own)?;
        self.world.combine(&mut gradient, Combine::Sum)?;
        Ok(gradient)
    }

    /// The mean loss, without a penalty.
    ///
    /// # Errors
    ///
    /// As [`Self::gradient`].
    pub fn loss(&self) -> Result<f64, HessianError> {
        let mut sum = 0.0;
        for loss in self.batches.iter().flat_map(|batch| &batch.losses) {
            sum += loss.clone().try_into_data().map_err(DeviceError::new)?.iter::<f64>().sum::<f64>();
        }
        self.world.combine(std::slice::from_mut(&mut sum), Combine::Sum)?;
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
    /// As [`Self::gradient`].
    pub fn traces(&self) -> Result<Option<Vec<f64>>, HessianError> {
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
        self.world.combine(&mut traces, Combine::Sum)?;
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
    /// As [`Self::gradient`].
    pub fn kinks_between(&self, other: &Self) -> Result<usize, HessianError> {
        let batches = self.batches.iter().zip(&other.batches);
        let own: usize =
            batches.map(|(here, there)| here.at.kinks_between(&there.at)).sum::<Result<_, _>>()?;
        let mut kinks = [own as f64];
        self.world.combine(&mut kinks, Combine::Sum)?;
        Ok(kinks[0] as usize)
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
        if self.world.processes() > 1 {
            let mut numbers: Vec<f64> =
                product.col_iter().flat_map(|column| column.iter().copied()).collect();
            self.world.combine(&mut numbers, Combine::Sum)?;
            product = MatRef::from_column_major_slice(&numbers, self.size, block.ncols()).to_owned();
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
mod tests;
