//! The last layer of any network, in arrays.

use std::{ops::Range, time::Instant};

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};
use kappa_data::{Elements, LastLayer, Matrix, Scores};
use kappa_fused::DeviceError;
use kappa_hessian::{HessianError, Samples, with_constant_feature};
use kappa_run::{CheckRecord, FileChecksum, Request, SpectrumSettings};
use kappa_trainer::Machine;

use crate::{Layer, Observer, ProbeError, loss::mean_loss, samples::dtype};

/// Bytes of the wider array in one chunk, at the most.
const CHUNK_BYTES: usize = 16 << 20;

/// A last layer's features and logits, and what is known beside them.
#[derive(Debug)]
pub struct LayerArrays<'a> {
    /// The arrays.
    pub arrays: &'a LastLayer,
    /// What it is called.
    pub name: String,
    /// Where it was read from.
    pub source: String,
    /// The L2 penalty of its training, 0 if it is not known.
    pub l2: f64,
    /// What computes.
    pub machine: &'a Machine,
}

impl LayerArrays<'_> {
    /// The layer, as `request` wants to see it.
    ///
    /// # Errors
    ///
    /// [`ProbeError::NoDoublePrecision`], [`ProbeError::Device`], [`ProbeError::Hessian`].
    pub fn layer(&self, request: &Request, observer: &dyn Observer) -> Result<Layer, ProbeError> {
        let start = Instant::now();
        let samples = self.samples(request, observer)?;
        let belonging = if request.verify { self.belonging(request)? } else { None };
        let labels = self.arrays.labels.as_ref().and_then(|labels| labels.get(..samples.count()));
        let checksum = |file: &kappa_data::FileDigest| FileChecksum {
            file: file.file.clone(),
            sha256: file.sha256.clone(),
        };
        Ok(Layer {
            settings: SpectrumSettings {
                request: request.clone(),
                source: self.source.clone(),
                network: self.name.clone(),
                epoch: None,
                data: None,
                data_files: Vec::new(),
                scaling: None,
                samples: samples.count(),
                features: samples.features(),
                classes: samples.classes(),
                statistics: None,
                files: self.arrays.files.iter().map(checksum).collect(),
                scores: Some(match self.arrays.scores {
                    Scores::Logits(_) => kappa_run::Scores::Logits,
                    Scores::Probabilities(_) => kappa_run::Scores::Probabilities,
                }),
                input_checks: belonging.into_iter().collect(),
                backend: self.machine.provenance.backend,
                device: self.machine.provenance.device.clone(),
                l2: self.l2,
            },
            // With the bias among the parameters the weights are not all of them.
            weights: self.arrays.weights.as_ref().filter(|_| !request.bias).map(doubles),
            loss: labels.and_then(|labels| loss(&self.arrays.scores, labels)),
            labels: labels.map(<[usize]>::to_vec),
            samples,
            adam: None,
            others: Vec::new(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn samples(&self, request: &Request, observer: &dyn Observer) -> Result<Samples, ProbeError> {
        let place = (&self.machine.device, dtype(request.precision));
        if !place.0.supports_dtype(place.1) {
            return Err(ProbeError::NoDoublePrecision);
        }
        let (features, scores) = (&self.arrays.features, self.arrays.scores.matrix());
        let count = features.rows.min(request.limit.map_or(usize::MAX, usize::from));
        observer.stage(&self.name, Some(count));
        let mut samples =
            Samples::new(features.columns + usize::from(request.bias), scores.columns, place.1)?;
        for rows in self.chunks(count) {
            let taken = rows.len();
            let features = tensor(features, rows.clone(), place);
            let features = if request.bias { with_constant_feature(features) } else { features };
            let probabilities = match self.arrays.scores {
                Scores::Logits(_) => softmax(shifted(scores, rows, place), 1),
                Scores::Probabilities(_) => {
                    let scores = tensor(scores, rows, place);
                    // In this precision's own rounding.
                    scores.clone() / scores.sum_dim(1)
                }
            };
            samples.push(features, probabilities)?;
            if observer.advance(taken).is_break() {
                return Err(HessianError::Stopped.into());
            }
        }
        Ok(samples)
    }

    /// Whether the logits are W g + b for the given weights and some b: what z_n - W g_n is
    /// besides its mean over the samples, over the largest logit. The framework may have
    /// computed in as little as bf16, 2^-8; rows that do not belong together are off by order
    /// one.
    fn belonging(&self, request: &Request) -> Result<Option<CheckRecord>, ProbeError> {
        let (Scores::Logits(logits), Some(weights)) = (&self.arrays.scores, &self.arrays.weights) else {
            return Ok(None);
        };
        let place = (&self.machine.device, dtype(request.precision));
        let weights = tensor(weights, 0..weights.rows, place).transpose();
        let rests = || {
            self.chunks(logits.rows).map(|rows| {
                let made = tensor(&self.arrays.features, rows.clone(), place).matmul(weights.clone());
                tensor(logits, rows, place) - made
            })
        };
        let zero = || Tensor::<2>::zeros([1, logits.columns], place);
        let sum = rests().map(|rest| rest.sum_dim(0)).fold(zero(), |sum, rest| sum + rest);
        let offset = sum.div_scalar(logits.rows as f64);
        let number = |tensor: Tensor<1>| tensor.try_into_scalar::<f64>().map_err(DeviceError::new);
        let (mut apart, mut largest) = (0.0f64, f64::MIN_POSITIVE);
        for (rest, rows) in rests().zip(self.chunks(logits.rows)) {
            let here = number((rest - offset.clone()).abs().max())?;
            // What is not a number is to fail, and not to be passed over as `max` would.
            apart = if here > apart || here.is_nan() { here } else { apart };
            largest = largest.max(number(tensor(logits, rows, place).abs().max())?);
        }
        let (value, bound) = (apart / largest, 2f64.powi(-8));
        Ok(Some(CheckRecord {
            name: "weights".to_owned(),
            quantity: "max |z_n - W g_n - b| / max |z|, b the mean of z_n - W g_n".to_owned(),
            value: value.is_finite().then_some(value),
            bound,
            passed: value <= bound,
        }))
    }

    /// The first `count` samples, as many at once as a chunk holds.
    fn chunks(&self, count: usize) -> impl Iterator<Item = Range<usize>> {
        let columns = self.arrays.features.columns.max(self.arrays.scores.matrix().columns);
        let rows = (CHUNK_BYTES / (columns * size_of::<f64>())).max(1);
        (0..count).step_by(rows).map(move |start| start..(start + rows).min(count))
    }
}

fn loss(scores: &Scores, labels: &[usize]) -> Option<f64> {
    let Scores::Logits(logits) = scores else { return None };
    mean_loss(&doubles(logits), logits.columns, labels)
}

fn doubles(matrix: &Matrix) -> Vec<f64> {
    match &matrix.elements {
        Elements::F32(elements) => elements.iter().map(|&x| f64::from(x)).collect(),
        Elements::F64(elements) => elements.clone(),
    }
}

/// Some rows of logits, on a device and of a type. Where that type has fewer digits, each row's
/// largest is taken off before they are rounded: a softmax ignores what all logits share, and
/// their differences are not to be rounded to its size.
fn shifted(logits: &Matrix, rows: Range<usize>, place: (&Device, DType)) -> Tensor<2> {
    let (Elements::F64(elements), DType::F32) = (&logits.elements, place.1) else {
        return tensor(logits, rows, place);
    };
    let (columns, shape) = (logits.columns, [rows.len(), logits.columns]);
    let taken = elements.get(rows.start * columns..rows.end * columns).unwrap_or_default();
    let row = |z: &[f64]| {
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        z.iter().map(|z| (z - largest) as f32).collect::<Vec<_>>()
    };
    let data: Vec<f32> = taken.chunks_exact(columns).flat_map(row).collect();
    Tensor::from_data(TensorData::new(data, shape), place)
}

/// Some rows of a matrix, on a device and of a type.
fn tensor(matrix: &Matrix, rows: Range<usize>, place: (&Device, DType)) -> Tensor<2> {
    let shape = [rows.len(), matrix.columns];
    let range = rows.start * matrix.columns..rows.end * matrix.columns;
    let data = match &matrix.elements {
        Elements::F32(elements) => TensorData::new(elements.get(range).unwrap_or_default().to_vec(), shape),
        Elements::F64(elements) => TensorData::new(elements.get(range).unwrap_or_default().to_vec(), shape),
    };
    Tensor::from_data(data.convert_dtype(place.1), place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::numbers;

    /// In f32 1e15 + 1 and 1e15 are one number, and so were their probabilities.
    #[test]
    fn what_logits_share_is_taken_off_before_they_lose_digits() {
        let device = Device::flex();
        let elements = Elements::F64([1e15 + 1.0, 1e15, -1e15, 3.0 - 1e15, 1.7e308, -1.7e308].to_vec());
        let logits = Matrix { rows: 3, columns: 2, elements };
        let single = shifted(&logits, 0..3, (&device, DType::F32));
        let expected = [0.0, -1.0, -3.0, 0.0, 0.0, f64::NEG_INFINITY];
        assert_eq!(numbers(single.clone()).unwrap(), expected);
        assert!(numbers(softmax(single, 1)).unwrap().iter().all(|p| p.is_finite()));
        // Some of the rows, and where no digits are lost, all as they are.
        assert_eq!(numbers(shifted(&logits, 1..2, (&device, DType::F32))).unwrap(), [-3.0, 0.0]);
        assert_eq!(numbers(shifted(&logits, 1..2, (&device, DType::F64))).unwrap(), [-1e15, 3.0 - 1e15]);
    }
}
