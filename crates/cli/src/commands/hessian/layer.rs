//! The last layer of any network, from files.

use std::{ops::Range, path::PathBuf, time::Instant};

use burn::tensor::{DType, Device, Tensor, TensorData, activation::softmax};
use kappa_data::{Elements, LastLayer, LastLayerFiles, Matrix, Scores};
use kappa_hessian::{Samples, with_constant_feature};
use kappa_run::{CheckRecord, FileChecksum, SpectrumSettings};
use kappa_study::ProbeError;

use super::{Settings, Subject};
use crate::{args::HessianArguments, error::CliError};

/// Bytes that one chunk's wider array has, at the most.
const CHUNK_BYTES: usize = 16 << 20;

/// What the files of `arguments` hold.
pub fn subject(arguments: &HessianArguments, settings: &Settings) -> Result<Subject, CliError> {
    let files = LastLayerFiles {
        features: arguments.layer.features.clone().unwrap_or_default(),
        logits: arguments.layer.logits.clone(),
        probabilities: arguments.layer.probabilities.clone(),
        weights: arguments.layer.weights.clone(),
        labels: arguments.layer.labels.clone(),
    };
    let layer = LastLayer::from_files(&files)?;
    let start = Instant::now();
    let samples = samples(&layer, settings)?;
    let name = files.features.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out: PathBuf = match &arguments.out {
        Some(out) => out.clone(),
        None => arguments.root.join(format!("hessian-{name}")),
    };
    let belonging = if settings.asked.verify { belonging(&layer, settings)? } else { None };
    let labels = layer.labels.as_ref().map(|labels| labels[..samples.count()].to_vec());
    let loss = labels.as_ref().and_then(|labels| loss(&layer.scores, labels));
    Ok(Subject {
        settings: SpectrumSettings {
            source: files.features.display().to_string(),
            network: name,
            epoch: None,
            data: None,
            split: None,
            scaling: None,
            samples: samples.count(),
            features: samples.features(),
            classes: samples.classes(),
            bias: settings.bias,
            bn_statistics: None,
            files: layer
                .files
                .iter()
                .map(|file| FileChecksum { file: file.file.clone(), sha256: file.sha256.clone() })
                .collect(),
            input_checks: belonging.into_iter().collect(),
            precision: settings.precision.name().to_owned(),
            backend: settings.machine.provenance.backend.clone(),
            device: settings.machine.provenance.device.clone(),
            l2: arguments.layer.l2,
        },
        // With the bias among the parameters the weights are not all of them.
        weights: layer.weights.as_ref().filter(|_| !settings.bias).map(doubles),
        samples,
        labels,
        loss,
        adam: None,
        others: Vec::new(),
        out,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn samples(layer: &LastLayer, settings: &Settings) -> Result<Samples, CliError> {
    let place = (&settings.machine.device, settings.precision.dtype());
    if !place.0.supports_dtype(place.1) {
        return Err(ProbeError::NoDoublePrecision.into());
    }
    let scores = layer.scores.matrix();
    let (m, k) = (layer.features.columns, scores.columns);
    let count = layer.features.rows.min(settings.limit.unwrap_or(usize::MAX));
    let failed = |error| CliError::from(ProbeError::Hessian(error));
    let mut samples = Samples::new(m + usize::from(settings.bias), k, place.1).map_err(failed)?;
    for rows in chunks(layer, count) {
        let (features, scores) = (tensor(&layer.features, rows.clone(), place), tensor(scores, rows, place));
        let features = if settings.bias { with_constant_feature(features) } else { features };
        let probabilities = match layer.scores {
            Scores::Logits(_) => softmax(scores, 1),
            // In this precision's own rounding.
            Scores::Probabilities(_) => scores.clone() / scores.sum_dim(1),
        };
        samples.push(features, probabilities).map_err(failed)?;
    }
    Ok(samples)
}

/// Whether the logits are W g + b for the given weights and some b: what z_n - W g_n is
/// besides its mean over the samples, over the largest logit. The framework may have
/// computed in as little as bf16, 2^-8; rows that do not belong together are off by order
/// one.
fn belonging(layer: &LastLayer, settings: &Settings) -> Result<Option<CheckRecord>, CliError> {
    let (Scores::Logits(logits), Some(weights)) = (&layer.scores, &layer.weights) else { return Ok(None) };
    let place = (&settings.machine.device, settings.precision.dtype());
    let weights = tensor(weights, 0..weights.rows, place).transpose();
    let rests = || {
        chunks(layer, logits.rows).map(|rows| {
            let made = tensor(&layer.features, rows.clone(), place).matmul(weights.clone());
            tensor(logits, rows, place) - made
        })
    };
    let zero = || Tensor::<2>::zeros([1, logits.columns], place);
    let sum = rests().map(|rest| rest.sum_dim(0)).fold(zero(), |sum, rest| sum + rest);
    let offset = sum.div_scalar(logits.rows as f64);
    let number = |tensor: Tensor<1>| {
        tensor.try_into_scalar::<f64>().map_err(|error| CliError::from(ProbeError::Device(error.to_string())))
    };
    let (mut apart, mut largest) = (0.0f64, f64::MIN_POSITIVE);
    for (rest, rows) in rests().zip(chunks(layer, logits.rows)) {
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

/// The mean of ln sum_a exp(z_a) - z_y.
fn loss(scores: &Scores, labels: &[usize]) -> Option<f64> {
    let Scores::Logits(logits) = scores else { return None };
    let z = doubles(logits);
    let terms = z.chunks_exact(logits.columns).zip(labels).map(|(z, &label)| {
        let largest = z.iter().fold(f64::NEG_INFINITY, |max, &z| max.max(z));
        largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln() - z[label]
    });
    Some(terms.sum::<f64>() / labels.len() as f64)
}

fn doubles(matrix: &Matrix) -> Vec<f64> {
    match &matrix.elements {
        Elements::F32(elements) => elements.iter().map(|&x| f64::from(x)).collect(),
        Elements::F64(elements) => elements.clone(),
    }
}

/// The first `count` samples, as many at once as a chunk holds.
fn chunks(layer: &LastLayer, count: usize) -> impl Iterator<Item = Range<usize>> {
    let columns = layer.features.columns.max(layer.scores.matrix().columns);
    let rows = (CHUNK_BYTES / (columns * size_of::<f64>())).max(1);
    (0..count).step_by(rows).map(move |start| start..(start + rows).min(count))
}

/// Some rows of a matrix, on a device and of a type.
fn tensor(matrix: &Matrix, rows: Range<usize>, place: (&Device, DType)) -> Tensor<2> {
    let shape = [rows.len(), matrix.columns];
    let range = rows.start * matrix.columns..rows.end * matrix.columns;
    let data = match &matrix.elements {
        Elements::F32(elements) => TensorData::new(elements[range].to_vec(), shape),
        Elements::F64(elements) => TensorData::new(elements[range].to_vec(), shape),
    };
    Tensor::from_data(data.convert_dtype(place.1), place)
}
