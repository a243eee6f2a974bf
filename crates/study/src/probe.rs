//! One network on one split, as the samples of a Hessian.

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, activation::softmax},
};
use kappa_hessian::{HessianError, Samples, with_constant_feature};
use kappa_model::TwoLayerNet;
use kappa_trainer::DeviceSplit;

use crate::BatchNormStatistics;

/// Bytes of f32 features that are summed at once, at the least: an eighth of the
/// smallest maximal binding of a WebGPU adapter (128 MiB), so that what is
/// collected beyond them fits too.
const CHUNK_BYTES: usize = 16 << 20;

/// The arithmetic of the sums over samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Single: what a GPU computes in.
    F32,
    /// Double. The network itself still computes features and logits in single
    /// precision; from there on, softmax included, everything is double.
    F64,
}

impl Precision {
    /// The type of the tensors' elements.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F64 => DType::F64,
        }
    }

    /// The unit of the arithmetic: the distance from 1 to the next number.
    pub fn epsilon(self) -> f64 {
        match self {
            Self::F32 => f32::EPSILON.into(),
            Self::F64 => f64::EPSILON,
        }
    }

    /// The precision of that [`Self::name`].
    pub fn named(name: &str) -> Option<Self> {
        [Self::F32, Self::F64].into_iter().find(|precision| precision.name() == name)
    }

    /// "f32" or "f64".
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// How a probe is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOptions {
    /// The arithmetic of the sums over samples.
    pub precision: Precision,
    /// Whether the bias b2 is among the parameters, as the weight of a constant feature.
    pub bias: bool,
    /// By which statistics batch norm normalises.
    pub statistics: BatchNormStatistics,
}

/// A probe failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The Hessian could not be computed.
    #[error(transparent)]
    Hessian(#[from] HessianError),
    /// The network and the images do not fit.
    #[error("the network takes {network} inputs, and the images have {images} pixels")]
    OtherImages {
        /// Inputs of the network.
        network: usize,
        /// Pixels an image.
        images: usize,
    },
    /// The device cannot compute in double precision.
    #[error("this device has no double precision: use --precision f32, or a CPU backend (--backend flex)")]
    NoDoublePrecision,
    /// Batch norm by the statistics of mini-batches is another map for each of them.
    #[error(
        "by the statistics of mini-batches batch norm is not one affine map, and cannot be folded: use --bn-stats running or dataset"
    )]
    NotAffine,
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

/// The features and probabilities of `network` on `split`: what the Hessian of its mean
/// loss with respect to the last layer is made of.
///
/// `after_chunk` is called with the number of samples done so far.
///
/// # Errors
///
/// [`ProbeError`].
pub fn probe(
    network: &TwoLayerNet,
    split: &DeviceSplit,
    options: ProbeOptions,
    mut after_chunk: impl FnMut(usize),
) -> Result<Samples, ProbeError> {
    let network = prepared(network, split, options.statistics)?;
    let shape = network.shape();
    let features = shape.hidden + usize::from(options.bias);
    let mut samples = Samples::new(features, shape.classes, options.precision.dtype())?;
    for chunk in preactivations(&network, split, options.statistics.granularity()) {
        let device = chunk.device();
        let (features, probabilities) = features_and_probabilities(&network, chunk, options)?;
        synchronise(&device)?;
        samples.push(features, probabilities)?;
        after_chunk(samples.count());
    }
    Ok(samples)
}

/// `network` as it is probed: not recording gradients, its running statistics those asked for.
fn prepared(
    network: &TwoLayerNet,
    split: &DeviceSplit,
    statistics: BatchNormStatistics,
) -> Result<TwoLayerNet, ProbeError> {
    let shape = network.shape();
    if shape.inputs != split.inputs() {
        return Err(ProbeError::OtherImages { network: shape.inputs, images: split.inputs() });
    }
    let network = network.valid();
    Ok(match statistics {
        BatchNormStatistics::Dataset if shape.batch_norm.is_some() => {
            let all: Vec<_> = preactivations(&network, split, statistics.granularity()).collect();
            statistics.prepare(network, &all)
        }
        _ => network,
    })
}

/// A network whose batch norm was folded into the next layer.
#[derive(Debug, Clone)]
pub struct Folded {
    /// The same function, without batch norm.
    pub network: TwoLayerNet,
    /// max over samples and classes of |z - z'| over what is added up for z, z and z' being
    /// both networks' logits.
    pub difference: f64,
    /// The most that rounding can make of it.
    pub bound: f64,
}

/// `network` with its batch norm, by `statistics`, folded into the next layer
/// ([`TwoLayerNet::folded`]), and how far both are apart on `split`.
///
/// # Errors
///
/// [`ProbeError::NotAffine`] for the statistics of mini-batches, and as [`probe`].
pub fn fold(
    network: &TwoLayerNet,
    split: &DeviceSplit,
    statistics: BatchNormStatistics,
) -> Result<Folded, ProbeError> {
    if let BatchNormStatistics::Batch(_) = statistics {
        return Err(ProbeError::NotAffine);
    }
    let network = prepared(network, split, statistics)?;
    let folded = network.folded();
    let mut difference = 0.0;
    for chunk in preactivations(&network, split, 1) {
        let offset = network.features_of(chunk.clone().slice(0..1).zeros_like()).abs();
        let (features, activations) = (network.features_of(chunk.clone()), folded.features_of(chunk));
        // The terms of g = s a + offset are as large as |g| + |offset|, however small g is.
        let terms = network.logit_magnitudes(features.clone().abs() + offset)
            + folded.logit_magnitudes(activations.clone());
        let apart = (network.logits(features) - folded.logits(activations)).abs()
            / terms.clamp_min(f32::MIN_POSITIVE);
        let apart = apart.max().try_into_scalar::<f64>();
        difference = f64::max(difference, apart.map_err(|error| ProbeError::Device(error.to_string()))?);
    }
    // Of the m roundings of a sum 4 sqrt(m) add up at the most; a feature or a folded weight
    // goes through eight operations. Both networks round.
    let roundings = 2.0 * (4.0 * (network.shape().hidden as f64).sqrt() + 8.0);
    Ok(Folded { network: folded, difference, bound: roundings * f64::from(f32::EPSILON) / 2.0 })
}

/// W1 x + b1 of the whole split, in chunks of a multiple of `granularity` samples.
/// Inputs are many times wider than hidden units: images come in small pieces, and
/// are collected until the sums over samples have enough to do at once.
pub(crate) fn preactivations(
    network: &TwoLayerNet,
    split: &DeviceSplit,
    granularity: usize,
) -> impl Iterator<Item = Tensor<2>> {
    let most = CHUNK_BYTES / (network.shape().hidden * size_of::<f32>());
    let mut pieces = split.chunks_of_multiples(granularity).map(|chunk| chunk.images.preactivations(network));
    std::iter::from_fn(move || {
        let (mut collected, mut samples) = (vec![pieces.next()?], 0);
        samples += collected.last().map_or(0, |piece| piece.dims()[0]);
        while samples < most {
            let Some(piece) = pieces.next() else { break };
            samples += piece.dims()[0];
            collected.push(piece);
        }
        Some(if collected.len() == 1 { collected.remove(0) } else { Tensor::cat(collected, 0) })
    })
}

/// G [n, m] and P [n, K] of W1 x + b1 [n, m], in the precision asked for.
pub(crate) fn features_and_probabilities(
    network: &TwoLayerNet,
    preactivations: Tensor<2>,
    options: ProbeOptions,
) -> Result<(Tensor<2>, Tensor<2>), ProbeError> {
    let dtype = options.precision.dtype();
    if options.precision == Precision::F64 && !has_doubles(&preactivations.device())? {
        return Err(ProbeError::NoDoublePrecision);
    }
    let features = options.statistics.features(network, preactivations);
    let logits = network.logits(features.clone());
    let features = features.cast(dtype);
    let probabilities = softmax(logits.cast(dtype), 1);
    let features = if options.bias { with_constant_feature(features) } else { features };
    Ok((features, probabilities))
}

/// Whether `device` takes a softmax in double precision as it should. That it has the type is not
/// enough: SPIR-V's Exp is of 16 and 32 bits only (its extended instructions for GLSL, 2.2), and
/// a Vulkan driver makes something of it in 64, on Mesa's software adapter far from e^x.
fn has_doubles(device: &Device) -> Result<bool, ProbeError> {
    if !device.supports_dtype(DType::F64) {
        return Ok(false);
    }
    let logits = [0.0, -0.75, -2.5, -20.0];
    let total: f64 = logits.iter().map(|z: &f64| z.exp()).sum();
    let on_device = Tensor::<2>::from_data([logits.map(|z| z as f32)], device).cast(DType::F64);
    let found =
        softmax(on_device, 1).try_into_data().map_err(|error| ProbeError::Device(error.to_string()))?;
    // A hundred units of rounding for a function of four numbers; single precision is 1e7 of them.
    let right = |(z, found): (&f64, f64)| (found * total / z.exp() - 1.0).abs() < 100.0 * f64::EPSILON;
    Ok(logits.iter().zip(found.iter::<f64>()).all(right))
}

fn synchronise(device: &Device) -> Result<(), ProbeError> {
    device.sync().map_err(|error| ProbeError::Device(error.to_string()))
}
