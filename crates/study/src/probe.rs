//! One network's Hessian on one split.

use std::time::Instant;

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor, activation::softmax},
};
use kappa_hessian::{Accumulator, Hessian, HessianError, Spectrum, with_constant_feature};
use kappa_model::TwoLayerNet;
use kappa_run::SpectrumTimings;
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
    fn dtype(self) -> DType {
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
    /// Whether features and probabilities are kept.
    pub keep_inputs: bool,
    /// By which statistics batch norm normalises.
    pub statistics: BatchNormStatistics,
}

/// What a probe finds.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The Hessian of the data loss (without L2).
    pub hessian: Hessian,
    /// Its eigenvalues.
    pub spectrum: Spectrum,
    /// Where the time went.
    pub timings: SpectrumTimings,
    /// What the Hessian was computed from, if it was to be kept.
    pub inputs: Option<ProbedInputs>,
}

/// Features and probabilities as they entered the Hessian.
#[derive(Debug, Clone, Default)]
pub struct ProbedInputs {
    /// [N, m], in the probe's precision, little endian.
    pub features: Vec<u8>,
    /// [N, K], likewise.
    pub probabilities: Vec<u8>,
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
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

/// The Hessian of `network`'s mean loss over `split` with respect to its last
/// layer, and its spectrum.
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
) -> Result<Probe, ProbeError> {
    let start = Instant::now();
    let mut timings =
        SpectrumTimings { features: 0.0, sums: 0.0, assembly: 0.0, eigenvalues: 0.0, total: 0.0 };
    let shape = network.shape();
    if shape.inputs != split.inputs() {
        return Err(ProbeError::OtherImages { network: shape.inputs, images: split.inputs() });
    }
    let network = network.valid();
    let granularity = options.statistics.granularity();
    let network = timed(&mut timings.features, || match options.statistics {
        BatchNormStatistics::Dataset if network.shape().batch_norm.is_some() => {
            let all: Vec<_> = preactivations(&network, split, granularity).collect();
            options.statistics.prepare(network, &all)
        }
        _ => network,
    });
    let mut sums = Accumulator::new(shape.hidden + usize::from(options.bias), shape.classes)?;
    let mut inputs = options.keep_inputs.then(ProbedInputs::default);
    let mut samples = 0;
    let mut chunks = preactivations(&network, split, granularity);
    while let Some(chunk) = timed(&mut timings.features, || chunks.next()) {
        let device = chunk.device();
        let (features, probabilities) = timed(&mut timings.features, || {
            let found = features_and_probabilities(&network, chunk, options)?;
            synchronise(&device)?;
            Ok::<_, ProbeError>(found)
        })?;
        samples += features.dims()[0];
        if let Some(inputs) = &mut inputs {
            inputs.features.extend(bytes_of(&features)?);
            inputs.probabilities.extend(bytes_of(&probabilities)?);
        }
        timed(&mut timings.sums, || sums.add(features, probabilities))?;
        after_chunk(samples);
    }
    let hessian = timed(&mut timings.assembly, || sums.finish())?;
    let spectrum = timed(&mut timings.eigenvalues, || hessian.spectrum())?;
    timings.total = start.elapsed().as_secs_f64();
    Ok(Probe { hessian, spectrum, timings, inputs })
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
    let mut pieces = split.chunks_of_multiples(granularity).map(|chunk| network.preactivations(chunk.inputs));
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
    if !preactivations.device().supports_dtype(dtype) {
        return Err(ProbeError::NoDoublePrecision);
    }
    let features = options.statistics.features(network, preactivations);
    let logits = network.logits(features.clone());
    let features = features.cast(dtype);
    let probabilities = softmax(logits.cast(dtype), 1);
    let features = if options.bias { with_constant_feature(features) } else { features };
    Ok((features, probabilities))
}

fn synchronise(device: &Device) -> Result<(), ProbeError> {
    device.sync().map_err(|error| ProbeError::Device(error.to_string()))
}

fn bytes_of(tensor: &Tensor<2>) -> Result<Vec<u8>, ProbeError> {
    let data = tensor.clone().try_into_data().map_err(|error| ProbeError::Device(error.to_string()))?;
    Ok(data.as_bytes().to_vec())
}

/// Adds the seconds that `work` takes to `seconds`.
fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *seconds += start.elapsed().as_secs_f64();
    result
}
