//! One network on one split, as the samples of a Hessian.

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, activation::softmax},
};
use kappa_fused::DeviceError;
use kappa_hessian::{HessianError, InputError, Samples, with_constant_feature};
use kappa_model::{LoneSample, Network, Statistics};
use kappa_run::{Precision, Request};
use kappa_trainer::DeviceSplit;

use crate::{Observer, ProbeError, forward, statistics};

/// Bytes of f32 features that are summed at once, at the least: an eighth of the
/// smallest maximal binding of a WebGPU adapter (128 MiB), so that what is
/// collected beyond them fits too.
const CHUNK_BYTES: usize = 16 << 20;

/// The features and probabilities of `network` on `split`, as `request` says: what the Hessian
/// of its mean loss with respect to the last layer is made of. `observer` is told of each
/// sample.
///
/// # Errors
///
/// [`ProbeError`].
pub fn samples(
    network: &Network,
    split: &DeviceSplit,
    request: &Request,
    observer: &dyn Observer,
) -> Result<Samples, ProbeError> {
    let network = looked_at(network, split, request.statistics, request.forward)?;
    let shape = network.shape();
    let features = shape.features() + usize::from(request.bias);
    let mut samples = Samples::new(features, shape.classes, dtype(request.precision))?;
    for chunk in preactivations(&network, split, request.statistics.granularity()) {
        let device = chunk.device();
        let options = FeatureOptions::of(request);
        let (features, probabilities) = features_and_probabilities(&network, chunk, options)?;
        device.sync().map_err(DeviceError::new)?;
        let before = samples.count();
        samples.push(features, probabilities)?;
        if observer.advance(samples.count() - before).is_break() {
            return Err(HessianError::Stopped.into());
        }
    }
    let samples = match split.world().processes() {
        1 => samples,
        _ => samples.shared(split.world().clone(), split.first(), split.all()),
    };
    if !request.verify {
        return Ok(samples);
    }
    // The network's own arithmetic, and the softmax in the precision asked for.
    let forward = forward::input_error(&network, split, request.statistics, request.forward)?;
    let softmax = InputError::of_softmax(shape.classes, samples.epsilon());
    Ok(samples.with_input_error(InputError {
        features: forward.features,
        probabilities: forward.probabilities + softmax.probabilities,
        logits: softmax.logits,
        underflow: softmax.underflow,
    }))
}

/// What of a request makes features and probabilities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeatureOptions {
    pub precision: Precision,
    pub bias: bool,
    pub statistics: Statistics,
}

impl FeatureOptions {
    fn of(request: &Request) -> Self {
        Self { precision: request.precision, bias: request.bias, statistics: request.statistics }
    }
}

/// `network` as it is looked at: not recording gradients, in the arithmetic of `forward`, its
/// running statistics those asked for.
///
/// # Errors
///
/// [`ProbeError`].
pub fn looked_at(
    network: &Network,
    split: &DeviceSplit,
    statistics: Statistics,
    forward: Precision,
) -> Result<Network, ProbeError> {
    let network = network_in(network, split, statistics, forward)?;
    let shape = network.shape();
    if statistics != Statistics::Dataset || !shape.normalisation.has_statistics() {
        return Ok(network);
    }
    let all: Vec<_> = preactivations(&network, split, statistics.granularity()).collect();
    Ok(statistics::prepared(network, statistics, &all, split))
}

/// `network`, not recording gradients, in the arithmetic of `forward`, if it can be looked at so.
pub(crate) fn network_in(
    network: &Network,
    split: &DeviceSplit,
    statistics: Statistics,
    forward: Precision,
) -> Result<Network, ProbeError> {
    let shape = network.shape();
    if shape.inputs != split.inputs() {
        return Err(ProbeError::OtherImages { network: shape.inputs, images: split.inputs() });
    }
    if let (Statistics::Batch(size), true) = (statistics, shape.normalisation.has_statistics())
        && let Some(lone) = LoneSample::of(split.all(), size.get())
    {
        return Err(lone.into());
    }
    let network = network.valid();
    match forward {
        Precision::F32 => Ok(network),
        Precision::F64 if has_doubles(&network.output_parameters().0.device())? => {
            Ok(network.in_double_precision())
        }
        Precision::F64 => Err(ProbeError::NoDoublePrecision),
    }
}

/// W1 x + b1 of the whole split, in chunks of a multiple of `granularity` samples.
/// Inputs are many times wider than hidden units: images come in small pieces, and
/// are collected until the sums over samples have enough to do at once.
pub(crate) fn preactivations(
    network: &Network,
    split: &DeviceSplit,
    granularity: usize,
) -> impl Iterator<Item = Tensor<2>> {
    let widest = network.shape().hidden.into_iter().max().unwrap_or(1);
    let most = CHUNK_BYTES / (widest * size_of::<f32>());
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

/// G [n, m] and P [n, K] of W1 x + b1 [n, m1], in the precision asked for.
pub(crate) fn features_and_probabilities(
    network: &Network,
    preactivations: Tensor<2>,
    options: FeatureOptions,
) -> Result<(Tensor<2>, Tensor<2>), ProbeError> {
    let dtype = dtype(options.precision);
    if options.precision == Precision::F64 && !has_doubles(&preactivations.device())? {
        return Err(ProbeError::NoDoublePrecision);
    }
    let features = statistics::features(network, options.statistics, preactivations);
    let logits = network.logits(features.clone());
    let features = features.cast(dtype);
    let probabilities = softmax(logits.cast(dtype), 1);
    let features = if options.bias { with_constant_feature(features) } else { features };
    Ok((features, probabilities))
}

/// The type of the tensors' elements.
pub(crate) fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::F64 => DType::F64,
    }
}

/// A tensor's numbers, row by row.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f64>, DeviceError> {
    let data = tensor.try_into_data().map_err(DeviceError::new)?;
    Ok(data.iter::<f64>().collect())
}

/// The arithmetic of sums on `device`: f64 where it has it.
///
/// # Errors
///
/// [`DeviceError`].
pub fn precision_of(device: &Device) -> Result<Precision, DeviceError> {
    Ok(if has_doubles(device)? { Precision::F64 } else { Precision::F32 })
}

/// Whether `device` takes a softmax in double precision as it should. That it has the type is not
/// enough: SPIR-V's Exp is of 16 and 32 bits only (its extended instructions for GLSL, 2.2), and
/// a Vulkan driver makes something of it in 64, on Mesa's software adapter far from e^x.
pub(crate) fn has_doubles(device: &Device) -> Result<bool, DeviceError> {
    if !device.supports_dtype(DType::F64) {
        return Ok(false);
    }
    let logits = [0.0, -0.75, -2.5, -20.0];
    let total: f64 = logits.iter().map(|z: &f64| z.exp()).sum();
    let on_device = Tensor::<2>::from_data([logits.map(|z| z as f32)], device).cast(DType::F64);
    let found = numbers(softmax(on_device, 1))?;
    // A hundred units of rounding for a function of four numbers; single precision is 1e7 of them.
    let right = |(z, found): (&f64, f64)| (found * total / z.exp() - 1.0).abs() < 100.0 * f64::EPSILON;
    Ok(logits.iter().zip(found).all(right))
}
